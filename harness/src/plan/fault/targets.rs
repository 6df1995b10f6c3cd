//! At how many things a fault is aimed, and the same fault aimed at fewer.

use super::{FaultKind, LinkName, ProcessName};

/// What a fault is aimed at, as far as its author chose.
#[derive(Debug, PartialEq, Eq)]
pub enum Targets<'a> {
    /// Links.
    Links(&'a mut Vec<LinkName>),
    /// Processes.
    Processes(&'a mut Vec<ProcessName>),
    /// Users, in percent of all, or other clients, by number.
    Clients(&'a mut u32),
    /// Nothing to choose.
    One,
}

impl FaultKind {
    /// What it is aimed at.
    pub fn targets(&mut self) -> Targets<'_> {
        match self {
            Self::LinkDown { links }
            | Self::LinkToxic { links, .. }
            | Self::LinkLoss { links, .. }
            | Self::LinkHalfClose { links }
            | Self::RedisOutputBuffer { links } => Targets::Links(links),
            Self::ProcessKill { processes }
            | Self::ProcessTerminate { processes }
            | Self::ProcessPause { processes }
            | Self::RollingRestart { processes, .. }
            | Self::ProcessClockSkew { processes, .. } => Targets::Processes(processes),
            Self::ClientReconnectStorm { share_percent: clients, .. }
            | Self::ClientSlow { share_percent: clients }
            | Self::ClientCrash { share_percent: clients }
            | Self::ClientMalformed { clients }
            | Self::ClientOversize { clients } => Targets::Clients(clients),
            Self::ServiceStop { .. }
            | Self::ServiceKill { .. }
            | Self::ServicePause { .. }
            | Self::RedisClientKill
            | Self::PostgresTerminate
            | Self::PostgresReadOnly
            | Self::PostgresLock
            | Self::PostgresConnectionLimit
            | Self::PostgresDiskFull
            | Self::KafkaPoison
            | Self::KafkaRebalance
            | Self::KafkaPartitionsAdded { .. } => Targets::One,
        }
    }

    /// How many it is aimed at.
    pub fn aimed_at(&self) -> usize {
        match self.clone().targets() {
            Targets::Links(links) => links.len(),
            Targets::Processes(processes) => processes.len(),
            Targets::Clients(clients) => *clients as usize,
            Targets::One => 1,
        }
    }

    /// The same fault aimed at half as many: either half of what it names, or half the clients. Nothing where that would
    /// be none.
    pub fn halves(&self) -> Vec<Self> {
        let (mut first, mut second) = (self.clone(), self.clone());
        match (first.targets(), second.targets()) {
            (Targets::Links(first), Targets::Links(second)) if first.len() > 1 => split(first, second),
            (Targets::Processes(first), Targets::Processes(second)) if first.len() > 1 => {
                split(first, second);
            }
            // One half of the clients is as good as the other.
            (Targets::Clients(clients), _) if *clients > 1 => {
                *clients /= 2;
                return vec![first];
            }
            _ => return Vec::new(),
        }
        vec![first, second]
    }
}

/// Of two equal lists, leaves the first half in one and the rest in the other.
fn split<T>(first: &mut Vec<T>, second: &mut Vec<T>) {
    let half = first.len() / 2;
    first.truncate(half);
    second.drain(..half);
}
