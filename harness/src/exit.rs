//! Exit codes: the interface to CI. Documented in README.md; never renumbered.

use std::process::ExitCode;

/// How `squall` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every checker's claim holds, or the command did what it was asked.
    Holds,
    /// A claim is violated: messages were lost, doubled, reordered, …
    Violated,
    /// The run cannot tell: a fault did not bite, nothing was observed, the history is cut short.
    Unknown,
    /// A build is slower than its baseline.
    Slower,
    /// A stated latency or rate objective was missed, though nothing was lost.
    ObjectiveMissed,
    /// The command line or a scenario file is wrong.
    Usage,
    /// A service, a port, the disk, or a tool is missing: nothing was tested.
    Environment,
    /// A defect of the harness itself.
    Bug,
    /// Ctrl-C or SIGTERM; everything was taken down first.
    Interrupted,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Violated => 1,
            Self::Unknown => 2,
            Self::Slower => 3,
            Self::ObjectiveMissed => 4,
            Self::Usage => 64,
            Self::Environment => 69,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
