//! File descriptors: as many as the system gives, and no more of them to callers than leaves
//! enough for the way out and the database.
//!
//! Without this, whoever opens idle connections takes the last descriptor: deliveries then fail
//! for a reason that is not their receiver's, and the database cannot open its files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the process's own limit to what it may have at most, and answers how many connections
/// can be taken: `wanted`, but no more than half of all descriptors.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where the system refuses, the present limit stays.
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let taken = share(wanted, current);
    if taken < wanted {
        tracing::warn!(
            wanted,
            taken,
            "fewer connections are taken than was set: the limit of open files is too low"
        );
    }
    taken
}

/// Half of what there is, at least one; `None` is no limit.
fn share(wanted: usize, descriptors: Option<u64>) -> usize {
    let half = descriptors.map_or(usize::MAX, |all| {
        usize::try_from(all / 2).unwrap_or(usize::MAX)
    });
    wanted.min(half).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_at_most_half_of_the_descriptors() {
        for (wanted, descriptors, taken) in [
            (4_096, Some(20_000), 4_096),
            (4_096, Some(1_024), 512),
            (100, Some(1_024), 100),
            (4_096, None, 4_096),
            (4_096, Some(0), 1),
        ] {
            assert_eq!(share(wanted, descriptors), taken, "{descriptors:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        assert!(connections_max(1) == 1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
