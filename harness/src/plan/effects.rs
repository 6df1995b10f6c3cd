//! What a planned fault does to the cluster, said once: every part that asks "whom does this cut off?", "what does it
//! hold?", "who is ended by it?" asks here. The match is exhaustive, so a new fault does not compile until it says so.

use super::{FaultKind, LinkName, Plan, ProcessName, Service, Toxic};

impl Plan {
    /// What a fault does to this plan's cluster.
    pub fn effects(&self, fault: &FaultKind) -> Effects {
        Effects::of(self.cluster.nodes, self.cluster.writers, fault)
    }
}

/// What a fault does while it is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Links on which nothing that is asked is answered. A black hole in one direction is enough: an answer that nobody
    /// hears is as good as none.
    pub cut: Vec<LinkName>,
    /// Links that are slow, lossy, or whose connections end, and on which some things are answered all the same.
    pub degraded: Vec<LinkName>,
    /// Writers whose PostgreSQL takes no write, or no session, though their links are whole.
    pub unwritable: Vec<ProcessName>,
    /// The service that ends the cluster's sessions again and again, and takes new ones.
    pub ends_sessions: Option<Service>,
    /// Processes that are ended, and started again at its end.
    pub ended: Vec<ProcessName>,
    /// Processes that do nothing until its end.
    pub frozen: Vec<ProcessName>,
    /// Processes that are restarted in turn: each is away for a part of it only.
    pub restarted: Vec<ProcessName>,
    /// Processes that it ends are asked to (SIGTERM), and drain first.
    pub drains: bool,
    /// Partitions of writers come and go, though no writer is touched.
    pub regroups: bool,
    /// What clients act out; the harness only looks whether they do.
    pub clients: Option<ClientFault>,
    /// What it holds, so that no other fault may hold it at the same time.
    pub holds: Vec<Held>,
    /// Services that must answer for it to be done and undone, though it leaves them running.
    pub needs: Vec<Service>,
}

/// A fault that clients act out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// Users lose their connection, and come back at once.
    ReconnectStorm {
        /// Of all users, in percent.
        share_percent: u32,
        /// Time from one blow to the next.
        redial_every_ms: u32,
    },
    /// Users do not read.
    Slow {
        /// Of all users, in percent.
        share_percent: u32,
    },
    /// Users are gone without a goodbye.
    Crash {
        /// Of all users, in percent.
        share_percent: u32,
    },
    /// Clients, none of them users of the plan, break the protocol.
    Malformed {
        /// How many.
        clients: u32,
    },
    /// The same clients go beyond its limits.
    Oversize {
        /// How many.
        clients: u32,
    },
}

impl ClientFault {
    /// The fault as one that clients act out, if it is.
    pub fn of(fault: &FaultKind) -> Option<Self> {
        Effects::of(0, 0, fault).clients
    }

    /// The share of the users that it strikes, in percent.
    pub fn struck_percent(self) -> Option<u32> {
        match self {
            Self::ReconnectStorm { share_percent, .. }
            | Self::Slow { share_percent }
            | Self::Crash { share_percent } => Some(share_percent),
            Self::Malformed { .. } | Self::Oversize { .. } => None,
        }
    }

    /// True when those whom it strikes hear no answer until its end.
    pub fn deafens(self) -> bool {
        match self {
            Self::Slow { .. } | Self::Crash { .. } => true,
            Self::ReconnectStorm { .. } | Self::Malformed { .. } | Self::Oversize { .. } => false,
        }
    }
}

/// What one fault at a time may hold. Toxics are not here: each has a name of its own at the proxy, and any number of
/// them may lie on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A service.
    Service(Service),
    /// A link.
    Link(LinkName),
    /// A process.
    Process(ProcessName),
    /// A process's wall clock.
    Clock(ProcessName),
    /// PostgreSQL's setting that makes transactions read-only.
    ReadOnly,
    /// The lock on the messages table.
    MessagesTable,
    /// The connections that PostgreSQL has to give.
    PostgresConnections,
    /// The file system of PostgreSQL's tables.
    PostgresDisk,
    /// Redis's limit of what it keeps for a slow reader.
    RedisOutputBuffer,
}

impl Effects {
    /// What a fault does to a cluster of so many nodes and writers.
    #[must_use]
    pub fn of(nodes: u16, writers: u16, fault: &FaultKind) -> Self {
        // Writers do not use Redis.
        let writers_to = |service| if service == Service::Redis { 0 } else { writers };
        let links_to = |service| {
            let nodes = (1..=nodes).map(ProcessName::Node);
            let all = nodes.chain((1..=writers_to(service)).map(ProcessName::Writer));
            all.map(|process| LinkName { process, service }).collect()
        };
        let unwritable = |held| Self {
            unwritable: (1..=writers).map(ProcessName::Writer).collect(),
            holds: vec![held],
            needs: vec![Service::Postgres],
            ..Self::default()
        };
        let none = Self::default();
        match fault {
            FaultKind::ServiceStop { service } | FaultKind::ServiceKill { service } => {
                Self { cut: links_to(*service), holds: vec![Held::Service(*service)], ..none }
            }
            FaultKind::ServicePause { service } => {
                Self { cut: links_to(*service), holds: vec![Held::Service(*service)], ..none }
            }
            FaultKind::LinkDown { links } => {
                Self { cut: links.clone(), holds: held(links, Held::Link), ..none }
            }
            FaultKind::LinkToxic { links, toxic: Toxic::BlackHole, .. } => {
                Self { cut: links.clone(), ..none }
            }
            FaultKind::LinkToxic {
                links,
                toxic:
                    Toxic::Latency { .. }
                    | Toxic::Bandwidth { .. }
                    | Toxic::Slicer { .. }
                    | Toxic::Reset { .. }
                    | Toxic::LimitData { .. }
                    | Toxic::SlowClose { .. },
                ..
            } => Self { degraded: links.clone(), ..none },
            FaultKind::LinkLoss { links, direction: _, loss_percent: _ } => {
                Self { degraded: links.clone(), holds: held(links, Held::Link), ..none }
            }
            FaultKind::LinkHalfClose { links } => {
                Self { degraded: links.clone(), holds: held(links, Held::Link), ..none }
            }
            FaultKind::ProcessKill { processes } => {
                Self { ended: processes.clone(), holds: held(processes, Held::Process), ..none }
            }
            FaultKind::ProcessTerminate { processes } => {
                let holds = held(processes, Held::Process);
                Self { ended: processes.clone(), drains: true, holds, ..none }
            }
            FaultKind::ProcessPause { processes } => {
                Self { frozen: processes.clone(), holds: held(processes, Held::Process), ..none }
            }
            FaultKind::RollingRestart { processes, gap_ms: _ } => {
                let holds = held(processes, Held::Process);
                Self { restarted: processes.clone(), drains: true, holds, ..none }
            }
            FaultKind::ProcessClockSkew { processes, offset_s: _ } => {
                Self { holds: held(processes, Held::Clock), ..none }
            }
            FaultKind::RedisClientKill => ends_sessions(Service::Redis),
            FaultKind::RedisOutputBuffer { links } => Self {
                degraded: links.clone(),
                holds: vec![Held::RedisOutputBuffer],
                needs: vec![Service::Redis],
                ..none
            },
            FaultKind::PostgresTerminate => ends_sessions(Service::Postgres),
            FaultKind::PostgresReadOnly => unwritable(Held::ReadOnly),
            FaultKind::PostgresLock => unwritable(Held::MessagesTable),
            FaultKind::PostgresConnectionLimit => unwritable(Held::PostgresConnections),
            FaultKind::PostgresDiskFull => unwritable(Held::PostgresDisk),
            FaultKind::KafkaPoison => Self { needs: vec![Service::Kafka], ..none },
            FaultKind::KafkaRebalance | FaultKind::KafkaPartitionsAdded { partitions: _ } => {
                Self { regroups: true, needs: vec![Service::Kafka], ..none }
            }
            FaultKind::ClientReconnectStorm { share_percent, redial_every_ms } => {
                struck(ClientFault::ReconnectStorm {
                    share_percent: *share_percent,
                    redial_every_ms: *redial_every_ms,
                })
            }
            FaultKind::ClientSlow { share_percent } => {
                struck(ClientFault::Slow { share_percent: *share_percent })
            }
            FaultKind::ClientCrash { share_percent } => {
                struck(ClientFault::Crash { share_percent: *share_percent })
            }
            FaultKind::ClientMalformed { clients } => struck(ClientFault::Malformed { clients: *clients }),
            FaultKind::ClientOversize { clients } => struck(ClientFault::Oversize { clients: *clients }),
        }
    }

    /// Processes that it ends, freezes or restarts.
    pub fn broken(&self) -> impl Iterator<Item = ProcessName> {
        self.ended.iter().chain(&self.frozen).chain(&self.restarted).copied()
    }

    /// Processes whose wall clocks it sets.
    pub fn clocks(&self) -> impl Iterator<Item = ProcessName> {
        self.holds
            .iter()
            .filter_map(|held| if let Held::Clock(process) = held { Some(*process) } else { None })
    }

    /// True when it does so to this very process throughout. (A restart in turn does not: exits say when it came by.)
    pub fn breaks(&self, process: ProcessName) -> bool {
        self.ended.contains(&process) || self.frozen.contains(&process)
    }

    /// The processes whose links to a service it cuts, and which can therefore do nothing there.
    pub fn cut_off_from(&self, service: Service) -> impl Iterator<Item = ProcessName> {
        self.cut.iter().filter(move |link| link.service == service).map(|link| link.process)
    }

    /// Writers that can store nothing while it is in force.
    pub fn cannot_store(&self) -> impl Iterator<Item = ProcessName> {
        let cut_off = self.cut_off_from(Service::Postgres).filter(|process| is_writer(*process));
        self.unwritable.iter().copied().chain(cut_off)
    }

    /// True when partitions of writers may come and go because of it.
    pub fn disturbs_the_group(&self) -> bool {
        let kafka = |link: &LinkName| link.service == Service::Kafka;
        self.regroups || self.cut.iter().chain(&self.degraded).any(kafka) || self.broken().any(is_writer)
    }

    /// The services at which it is done, whether to themselves, to their links or to their sessions.
    pub fn services(&self) -> impl Iterator<Item = Service> {
        let links = self.cut.iter().chain(&self.degraded).map(|link| link.service);
        links.chain(self.needs.iter().copied())
    }

    /// True when clients, none of them users of the plan, break the protocol.
    pub fn abuses(&self) -> bool {
        self.clients.is_some_and(|fault| fault.struck_percent().is_none())
    }

    /// Why it must not be in force together with another: both hold the same thing, and whichever ends first would heal
    /// the other, or one of them ends the service that the other needs to be undone.
    pub fn clash(&self, other: &Self) -> Option<Clash> {
        if self.holds.iter().any(|thing| other.holds.contains(thing)) {
            return Some(Clash::SameThing);
        }
        let ends = |one: &Self, two: &Self| {
            let needed = |held: &Held| matches!(held, Held::Service(service) if two.needs.contains(service));
            one.holds.iter().any(needed)
        };
        (ends(self, other) || ends(other, self)).then_some(Clash::NeedsIt)
    }
}

/// Why two faults must not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// They hold the same thing.
    SameThing,
    /// One takes away the service that the other is undone with.
    NeedsIt,
}

fn struck(fault: ClientFault) -> Effects {
    Effects { clients: Some(fault), ..Effects::default() }
}

fn ends_sessions(service: Service) -> Effects {
    Effects { ends_sessions: Some(service), needs: vec![service], ..Effects::default() }
}

fn held<T: Copy>(things: &[T], held: impl Fn(T) -> Held) -> Vec<Held> {
    things.iter().map(|thing| held(*thing)).collect()
}

fn is_writer(process: ProcessName) -> bool {
    matches!(process, ProcessName::Writer(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fault::Direction;

    fn of(fault: &FaultKind) -> Effects {
        Effects::of(2, 1, fault)
    }

    fn links(names: &[&str]) -> Vec<LinkName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_service_that_is_away_cuts_every_link_to_it_and_writers_have_none_to_redis() {
        let stop = |service| of(&FaultKind::ServiceStop { service }).cut;
        assert_eq!(stop(Service::Redis), links(&["node-1->redis", "node-2->redis"]));
        assert_eq!(stop(Service::Kafka), links(&["node-1->kafka", "node-2->kafka", "writer-1->kafka"]));
    }

    #[test]
    fn who_cannot_store_is_the_same_whatever_keeps_it_from_storing() {
        let writer = ProcessName::Writer(1);
        let hole = |links| FaultKind::LinkToxic {
            links,
            toxic: Toxic::BlackHole,
            direction: Direction::Upstream,
            ramp_ms: 0,
        };
        for (fault, cannot) in [
            (FaultKind::ServicePause { service: Service::Postgres }, true),
            (FaultKind::PostgresReadOnly, true),
            (FaultKind::PostgresLock, true),
            (FaultKind::PostgresDiskFull, true),
            (FaultKind::PostgresConnectionLimit, true),
            (hole(links(&["writer-1->postgres"])), true),
            (hole(links(&["node-1->postgres"])), false),
            (FaultKind::PostgresTerminate, false),
            (FaultKind::ServiceStop { service: Service::Kafka }, false),
            (FaultKind::ProcessKill { processes: vec![writer] }, false),
        ] {
            let expected: Vec<ProcessName> = if cannot { vec![writer] } else { Vec::new() };
            assert_eq!(of(&fault).cannot_store().collect::<Vec<_>>(), expected, "{fault}");
        }
    }

    #[test]
    fn a_restart_in_turn_breaks_nobody_throughout() {
        let processes = vec![ProcessName::Node(1), ProcessName::Writer(1)];
        let rolling = of(&FaultKind::RollingRestart { processes: processes.clone(), gap_ms: 0 });
        assert!(rolling.drains && rolling.disturbs_the_group());
        assert_eq!(rolling.broken().collect::<Vec<_>>(), processes);
        assert!(!rolling.breaks(ProcessName::Node(1)));
        assert!(of(&FaultKind::ProcessKill { processes }).breaks(ProcessName::Node(1)));
    }

    #[test]
    fn clients_act_out_their_faults_themselves() {
        let crash = FaultKind::ClientCrash { share_percent: 30 };
        assert_eq!(ClientFault::of(&crash).and_then(ClientFault::struck_percent), Some(30));
        let malformed = FaultKind::ClientMalformed { clients: 3 };
        assert!(of(&malformed).abuses() && !of(&crash).abuses());
        assert_eq!(ClientFault::of(&FaultKind::KafkaPoison), None);
    }
}
