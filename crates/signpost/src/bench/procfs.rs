//! CPU time and memory of processes, from Linux's `/proc`.
//!
//! Elsewhere, and for a process that is gone, there is no answer (`None`), and the report says so.

use std::fs;
use std::time::Duration;

/// Length of one tick of `/proc/<pid>/stat`: `USER_HZ` is 100 on every architecture this runs on.
const TICK: Duration = Duration::from_millis(10);

/// Which process to ask about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Process {
    /// This one.
    Own,
    /// The one with this id.
    Pid(u32),
    /// The one with this id and its children, living and ended: a PostgreSQL server.
    Family(u32),
}

impl Process {
    fn read(self, file: &str) -> Option<String> {
        let path = match self {
            Self::Own => format!("/proc/self/{file}"),
            Self::Pid(pid) | Self::Family(pid) => format!("/proc/{pid}/{file}"),
        };
        fs::read_to_string(path).ok()
    }

    /// CPU time, user and system, of all its threads, living and ended.
    pub(super) fn cpu(self) -> Option<Duration> {
        let own = times_in_stat(&self.read("stat")?)?;
        match self {
            Self::Own | Self::Pid(_) => Some(own.own),
            Self::Family(pid) => Some(own.own + own.ended_children + cpu_of_children(pid)),
        }
    }

    /// Resident memory.
    pub(super) fn memory(self) -> Option<Memory> {
        memory_in_status(&self.read("status")?)
    }
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Now.
    pub(super) resident_bytes: u64,
    /// The most it ever was.
    pub(super) peak_bytes: u64,
}

/// CPU time of several processes together; `None` if there are none, or one cannot be asked.
pub(super) fn cpu_of(processes: &[Process]) -> Option<Duration> {
    if processes.is_empty() {
        return None;
    }
    processes.iter().map(|process| process.cpu()).sum()
}

/// Resident memory of several processes together; `None` if there are none, or one cannot be
/// asked. Their peaks need not have been at the same time.
pub(super) fn memory_of(processes: &[Process]) -> Option<Memory> {
    let mut all = processes.iter().map(|process| process.memory());
    let first = all.next()??;
    all.try_fold(first, |sum, memory| {
        let memory = memory?;
        Some(Memory {
            resident_bytes: sum.resident_bytes + memory.resident_bytes,
            peak_bytes: sum.peak_bytes + memory.peak_bytes,
        })
    })
}

/// CPU time of the living children of a process.
fn cpu_of_children(parent: u32) -> Duration {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Duration::ZERO;
    };
    processes
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| times_in_stat(&stat))
        .filter(|times| times.parent == parent)
        .map(|times| times.own)
        .sum()
}

/// What a process's `stat` says of its CPU time.
#[derive(Debug, PartialEq, Eq)]
struct Times {
    parent: u32,
    /// Its own, user and system.
    own: Duration,
    /// Of its children that ended and were waited for.
    ended_children: Duration,
}

/// Reads `ppid`, field 4, and `utime`, `stime`, `cutime` and `cstime`, fields 14 to 17. The name,
/// field 2, may hold anything, so counting starts behind its closing parenthesis.
fn times_in_stat(stat: &str) -> Option<Times> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let mut ticks = fields.skip(9).map(|field| field.parse::<u32>().ok());
    let mut two = || Some(TICK * (ticks.next()?? + ticks.next()??));
    Some(Times {
        parent,
        own: two()?,
        ended_children: two()?,
    })
}

fn memory_in_status(status: &str) -> Option<Memory> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory {
        resident_bytes: kibibytes("VmRSS:")? * 1024,
        peak_bytes: kibibytes("VmHWM:")? * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_hostile_name() {
        let stat = "42 (a ) b 1 2) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 1000";
        let times = Times {
            parent: 1,
            own: Duration::from_secs(3),
            ended_children: Duration::from_millis(150),
        };
        assert_eq!(times_in_stat(stat), Some(times));
        assert_eq!(times_in_stat("42"), None);
    }

    #[test]
    fn memory_is_in_kibibytes() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            memory_in_status(status),
            Some(Memory {
                resident_bytes: 1 << 20,
                peak_bytes: 2 << 20
            })
        );
        assert_eq!(memory_in_status("Name:\tkernel thread\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_both() {
        let memory = Process::Own.memory().unwrap();
        assert!(memory.resident_bytes > 0 && memory.peak_bytes >= memory.resident_bytes);
        assert!(Process::Own.cpu().is_some());
        let own = Process::Pid(std::process::id());
        assert_eq!(cpu_of(&[]), None);
        assert_eq!(memory_of(&[]), None);
        assert!(cpu_of(&[own, own]) >= own.cpu());
        assert!(memory_of(&[own, own]).is_some());
        assert_eq!(cpu_of(&[own, Process::Pid(u32::MAX)]), None);
        // In ticks, and so coarser than a process of its own is measured.
        assert!(Process::Family(std::process::id()).cpu().is_some());
        assert!(Process::Pid(u32::MAX).cpu().is_none());
    }
}
