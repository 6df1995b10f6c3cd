//! Which process a pid means. Numbers are used again, so a pid alone is never enough to signal somebody: the start time
//! in `/proc` goes with it.

use std::{collections::BTreeMap, fs};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Clock ticks between boot and its start (field 22 of `/proc/<pid>/stat`).
    pub started: u64,
}

/// What `/proc/<pid>/stat` says that we use.
#[derive(Debug, Clone, Copy)]
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    // The command, in parentheses, may hold spaces and parentheses itself: everything after the last one counts.
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Identity {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.started })
    }

    /// Ourselves.
    pub fn own() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        Self::of(pid).unwrap_or(Self { pid, started: 0 })
    }

    /// The letter `ps` shows (`R`, `S`, `T` …), while the process exists. A zombie (`Z`, ended and not yet reaped) is gone.
    pub fn state(self) -> Option<char> {
        stat(self.pid)
            .filter(|now| now.started == self.started && !matches!(now.state, 'Z' | 'X'))
            .map(|now| now.state)
    }

    /// True while it runs, sleeps or is frozen.
    pub fn is_alive(self) -> bool {
        self.state().is_some()
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
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = stat(pid) {
                children.entry(stat.parent).or_default().push(Self { pid, started: stat.started });
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) T 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0";
        let stat = parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.started), ('T', 7, 987));
    }

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let own = Identity::own();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
    }
}
