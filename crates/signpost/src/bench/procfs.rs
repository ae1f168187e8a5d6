//! CPU time and memory of a process, from Linux's `/proc`.
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
}

impl Process {
    fn read(self, file: &str) -> Option<String> {
        let path = match self {
            Self::Own => format!("/proc/self/{file}"),
            Self::Pid(pid) => format!("/proc/{pid}/{file}"),
        };
        fs::read_to_string(path).ok()
    }

    /// CPU time, user and system, of all its threads, living and ended.
    pub(super) fn cpu(self) -> Option<Duration> {
        cpu_in_stat(&self.read("stat")?)
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

/// Reads `utime` and `stime`, fields 14 and 15. The name, field 2, may hold anything, so counting
/// starts behind its closing parenthesis.
fn cpu_in_stat(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
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
        assert_eq!(cpu_in_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_in_stat("42"), None);
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
        assert!(Process::Pid(u32::MAX).cpu().is_none());
    }
}
