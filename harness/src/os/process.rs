//! Processes. Pids are given out again, so a pid alone is never enough to signal one: its start time goes with it.

use std::{collections::BTreeMap, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use procfs::{
    Current, Uptime, WithCurrentSystemInfo,
    process::{Process, Stat, Status},
};
use serde::{Deserialize, Serialize};

/// Bit of CAP_NET_ADMIN in the kernel's masks of capabilities.
const CAP_NET_ADMIN: u32 = 12;

/// One process, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Clock ticks between boot and its start.
    pub started: u64,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Open files and sockets; zero where nobody counts them.
    pub open_files: u32,
    /// Threads.
    pub threads: u32,
    /// Processor time since its start, of all its threads, in ms.
    pub cpu_ms: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    Process::new(pid).and_then(|process| process.stat()).ok()
}

fn own_status() -> Option<Status> {
    Process::myself().and_then(|process| process.status()).ok()
}

impl Identity {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.starttime })
    }

    /// Ourselves.
    pub fn own() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        Self::of(pid).unwrap_or(Self { pid, started: 0 })
    }

    /// The letter `ps` shows (`R`, `S`, `T` …), while the process exists. A zombie (`Z`, ended and not yet reaped) is gone.
    pub fn state(self) -> Option<char> {
        let now = stat(self.pid)?;
        (now.starttime == self.started && !matches!(now.state, 'Z' | 'X')).then_some(now.state)
    }

    /// True while it runs, sleeps or is frozen.
    pub fn is_alive(self) -> bool {
        self.state().is_some()
    }

    /// How long ago it was started.
    pub fn age(self) -> Option<Duration> {
        let uptime = Uptime::current().ok()?.uptime_duration();
        let started_ms = self.started.saturating_mul(1_000) / procfs::ticks_per_second();
        Some(uptime.saturating_sub(Duration::from_millis(started_ms)))
    }

    /// Sends a signal to this very process. A process that is gone needs none.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EPERM` when it belongs to somebody else.
    pub fn signal(self, signal: Signal) -> Result<(), Errno> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// The process and everything it started, parents first. PostgreSQL's backends each lead a session of their own, so
    /// a process group does not hold them together; their parent does.
    pub fn tree(self) -> Vec<Self> {
        let mut children: BTreeMap<i32, Vec<Self>> = BTreeMap::new();
        let all = procfs::process::all_processes().into_iter().flatten().flatten();
        for stat in all.filter_map(|process| process.stat().ok()) {
            children.entry(stat.ppid).or_default().push(Self { pid: stat.pid, started: stat.starttime });
        }
        let mut tree = vec![self];
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(children.remove(&parent.pid).unwrap_or_default());
            next += 1;
        }
        tree
    }

    /// Kills the process and everything it started, without waiting. Frozen first, so that it starts no child meanwhile.
    pub fn kill_tree(self) -> Vec<Self> {
        if !self.is_alive() {
            return Vec::new();
        }
        let _ = self.signal(Signal::SIGSTOP);
        let tree = self.tree();
        for process in &tree {
            let _ = process.signal(Signal::SIGKILL);
        }
        tree
    }
}

impl Usage {
    /// Of the process with this pid; `None` when there is none, or it is somebody else's.
    pub fn of(pid: u32) -> Option<Self> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let stat = process.stat().ok()?;
        Some(Self {
            rss_kib: stat.rss_bytes().get() / 1_024,
            open_files: u32::try_from(process.fd_count().ok()?).ok()?,
            threads: u32::try_from(stat.num_threads).ok()?,
            cpu_ms: (stat.utime + stat.stime).saturating_mul(1_000) / procfs::ticks_per_second(),
        })
    }
}

/// What processes use together with everything they started, in their order; `None` where a process is gone. Memory that
/// several share is counted in each. Processor time includes that of children who have ended. One walk over all processes.
pub fn usage_of_trees(roots: &[u32]) -> Vec<Option<Usage>> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let stats: BTreeMap<i32, Stat> =
        all.filter_map(|process| process.stat().ok()).map(|stat| (stat.pid, stat)).collect();
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for stat in stats.values() {
        children.entry(stat.ppid).or_default().push(stat.pid);
    }
    let of = |root: &u32| {
        let mut tree = vec![i32::try_from(*root).ok().filter(|root| stats.contains_key(root))?];
        let mut usage = Usage { rss_kib: 0, open_files: 0, threads: 0, cpu_ms: 0 };
        while let Some(pid) = tree.pop() {
            tree.extend(children.get(&pid).into_iter().flatten());
            let Some(stat) = stats.get(&pid) else { continue };
            let of_the_ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            usage.rss_kib += stat.rss_bytes().get() / 1_024;
            usage.threads += u32::try_from(stat.num_threads).unwrap_or(0);
            usage.cpu_ms +=
                (stat.utime + stat.stime + of_the_ended).saturating_mul(1_000) / procfs::ticks_per_second();
        }
        Some(usage)
    };
    roots.iter().map(of).collect()
}

/// Processor time of a process since its start, of all its threads, the ended ones included: the kernel's own sum of what
/// `/proc/PID/task/*/schedstat` shows of each that still runs. `None` when there is no such process.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    Some(clock_gettime(clock).ok()?.into())
}

/// The state letter of whatever has a pid now, a zombie's too.
pub fn state(pid: u32) -> Option<char> {
    stat(i32::try_from(pid).ok()?).map(|stat| stat.state)
}

/// Resident memory of this process in KiB; zero when it cannot be read.
pub fn own_memory_kib() -> u64 {
    own_status().and_then(|status| status.vmrss).unwrap_or(0)
}

/// Whether this process may administer the network (CAP_NET_ADMIN).
pub fn may_administer_network() -> bool {
    own_status().is_some_and(|status| status.capeff >> CAP_NET_ADMIN & 1 == 1)
}

/// Whether this process ignores a signal: `nohup` starts programs so.
pub fn ignores(signal: Signal) -> bool {
    // Signals are bits from the right; the first is number one.
    own_status().is_some_and(|status| status.sigign >> (signal as i32 - 1) & 1 == 1)
}

/// The namespace of pids this process lives in, as `/proc/self/ns/pid` names it; empty when it cannot be read.
pub fn pid_namespace() -> String {
    let namespaces = Process::myself().and_then(|process| process.namespaces());
    let pid =
        namespaces.ok().and_then(|all| all.0.get(std::ffi::OsStr::new("pid")).map(|found| found.identifier));
    pid.map(|identifier| format!("pid:[{identifier}]")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = Identity::own();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
        assert_eq!(Identity::of(i32::MAX), None);
    }

    #[test]
    fn a_process_is_as_old_as_its_start_says() {
        let (own, first) = (Identity::own(), Identity::of(1).unwrap());
        assert!(own.age().unwrap() < Duration::from_secs(3_600), "{own:?}");
        assert!(first.age() >= own.age(), "{first:?} {own:?}");
    }

    #[test]
    fn the_system_tells_what_we_use() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 1_000 && usage.open_files > 2 && usage.threads > 0, "{usage:?}");
        assert!(own_memory_kib() > 1_000, "{}", own_memory_kib());
        assert!(pid_namespace().starts_with("pid:["), "{}", pid_namespace());
        assert!(!ignores(Signal::SIGCHLD));
    }

    #[test]
    fn a_tree_uses_what_its_parts_use() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let [Some(ours), Some(childs), None] = usage_of_trees(&[own, child.id(), u32::MAX])[..] else {
            panic!("{:?}", usage_of_trees(&[own, child.id(), u32::MAX]))
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ours.rss_kib > childs.rss_kib && ours.threads > childs.threads, "{ours:?} {childs:?}");
    }

    #[test]
    fn processor_time_is_told_finer_than_in_ticks() {
        let (before, began) = (cpu_time(std::process::id()).unwrap(), std::time::Instant::now());
        while began.elapsed() < Duration::from_millis(3) {}
        assert!(cpu_time(std::process::id()).unwrap() > before);
        assert_eq!(cpu_time(u32::MAX), None);
    }
}
