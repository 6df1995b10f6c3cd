//! Faults as planned: a closed list, so the compiler names every place to update when one is added.

pub mod catalogue;
mod targets;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

pub use targets::Targets;

/// A service the cluster rents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// Kafka.
    Kafka,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Redis, Self::Kafka];

    /// As in scenario files and link names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| format!("`{text}` is not a service; there are postgres, redis and kafka"))
    }
}

/// A process under test, by name: `node-1`, `writer-2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProcessName {
    /// A chat node; counted from one.
    Node(u16),
    /// A writer; counted from one.
    Writer(u16),
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(n) => write!(f, "node-{n}"),
            Self::Writer(n) => write!(f, "writer-{n}"),
        }
    }
}

impl FromStr for ProcessName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a process; write node-1, writer-2, …");
        let (kind, number) = text.rsplit_once('-').ok_or_else(wrong)?;
        let number: u16 = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        match kind {
            "node" => Ok(Self::Node(number)),
            "writer" => Ok(Self::Writer(number)),
            _ => Err(wrong()),
        }
    }
}

/// The proxied edge between a process and a service: `node-2->redis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    /// The process that connects.
    pub process: ProcessName,
    /// The service it connects to.
    pub service: Service,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.process, self.service)
    }
}

impl FromStr for LinkName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (process, service) =
            text.split_once("->").ok_or_else(|| format!("`{text}` is not a link; write node-2->redis"))?;
        Ok(Self { process: process.trim().parse()?, service: service.trim().parse()? })
    }
}

/// Names are strings on disk.
macro_rules! as_string {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_string!(ProcessName, LinkName);

/// What a proxy does to a connection. Attributes as in Toxiproxy; a direction is a toxic's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "toxic", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Toxic {
    /// Every chunk is held back.
    Latency {
        /// By this much,
        latency_ms: u32,
        /// give or take this much.
        jitter_ms: u32,
    },
    /// Bytes trickle.
    Bandwidth {
        /// Kilobytes per second.
        kbytes_per_s: u32,
    },
    /// Bytes are cut into small pieces.
    Slicer {
        /// Average piece.
        average_bytes: u32,
        /// Give or take.
        variation_bytes: u32,
        /// Pause between pieces.
        delay_us: u32,
    },
    /// Bytes vanish and nobody is told; connections stay open.
    BlackHole,
    /// Connections are reset (RST) after a while.
    Reset {
        /// After this much.
        after_ms: u32,
    },
    /// The connection is cut after some bytes.
    LimitData {
        /// This many.
        bytes: u32,
    },
    /// Closing takes long.
    SlowClose {
        /// This long.
        delay_ms: u32,
    },
}

/// Which way a toxic works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the process to the service.
    Upstream,
    /// From the service to the process.
    Downstream,
    /// Both.
    Both,
}

/// What breaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    /// A service is shut down in an orderly way, and started at the end.
    ServiceStop {
        /// Which.
        service: Service,
    },
    /// A service is killed with SIGKILL, and started at the end.
    ServiceKill {
        /// Which.
        service: Service,
    },
    /// A service is frozen: connections stay open, nothing answers.
    ServicePause {
        /// Which.
        service: Service,
    },
    /// Links refuse connections and cut the open ones.
    LinkDown {
        /// Which.
        links: Vec<LinkName>,
    },
    /// Links misbehave.
    LinkToxic {
        /// Which.
        links: Vec<LinkName>,
        /// How.
        toxic: Toxic,
        /// Which way.
        direction: Direction,
        /// Strength grows from nothing to full over this time; at once when zero. Latency and bandwidth only.
        #[serde(default)]
        ramp_ms: u64,
    },
    /// The kernel loses packets of links, and TCP sends them again.
    LinkLoss {
        /// Which.
        links: Vec<LinkName>,
        /// Which way.
        direction: Direction,
        /// Of the packets on that way, in percent.
        loss_percent: u32,
    },
    /// The service's side of the open connections ends (the process reads end of stream), while bytes still pass the
    /// other way; again and again until the end.
    LinkHalfClose {
        /// Which.
        links: Vec<LinkName>,
    },
    /// Processes are killed with SIGKILL, and started again at the end.
    ProcessKill {
        /// Which.
        processes: Vec<ProcessName>,
    },
    /// Processes are asked to stop with SIGTERM, and started again at the end.
    ProcessTerminate {
        /// Which.
        processes: Vec<ProcessName>,
    },
    /// Processes are frozen with SIGSTOP, and thawed with SIGCONT at the end.
    ProcessPause {
        /// Which.
        processes: Vec<ProcessName>,
    },
    /// Processes are restarted one after another: SIGTERM, gone, started, ready, next. Over when the last is ready; the
    /// fault's length is the time that may take.
    RollingRestart {
        /// Which, in this order.
        processes: Vec<ProcessName>,
        /// Pause between a process that is ready and the next one's SIGTERM.
        gap_ms: u64,
    },
    /// The wall clocks of processes are off; their monotonic clocks are not.
    ProcessClockSkew {
        /// Which.
        processes: Vec<ProcessName>,
        /// By this much; negative for a clock that is behind.
        offset_s: i64,
    },
    /// Redis closes the subscriptions of every client (`CLIENT KILL TYPE pubsub`), again and again until the end.
    RedisClientKill,
    /// Nodes read from Redis so slowly that Redis itself gives their subscriptions up: its output buffer for them is
    /// over its limit.
    RedisOutputBuffer {
        /// Which; links of nodes to Redis.
        links: Vec<LinkName>,
    },
    /// PostgreSQL ends every session of the cluster (`pg_terminate_backend`), again and again until the end.
    PostgresTerminate,
    /// PostgreSQL takes no writes (`default_transaction_read_only`), as after a failover to a replica.
    PostgresReadOnly,
    /// Somebody holds an exclusive lock on the messages table.
    PostgresLock,
    /// PostgreSQL has no connection left to give, and has ended those of the cluster.
    PostgresConnectionLimit,
    /// The file system that holds the messages table is full.
    PostgresDiskFull,
    /// Somebody else produces records into the messages topic that no table can hold, a round a second.
    KafkaPoison,
    /// An extra consumer joins the writers' consumer group, is given partitions, writes nothing, and leaves at the end.
    KafkaRebalance,
    /// The messages topic gets more partitions. They stay: healing only sees to it that the writers have them.
    KafkaPartitionsAdded {
        /// How many more.
        partitions: u16,
    },
    /// Users lose their connection all at once and redial at once, again and again until the end.
    ClientReconnectStorm {
        /// Of all users, in percent.
        share_percent: u32,
        /// Time from one blow to the next.
        redial_every_ms: u32,
    },
    /// Users stop reading their sockets until the end. One that is cut off for it comes back at the end.
    ClientSlow {
        /// Of all users, in percent.
        share_percent: u32,
    },
    /// Users vanish without a goodbye, half of them by RST and half by FIN, and stay away until the end.
    ClientCrash {
        /// Of all users, in percent.
        share_percent: u32,
    },
    /// Clients that are not users of the plan send frames that break the protocol, over and over.
    ClientMalformed {
        /// How many at once.
        #[serde(alias = "strangers")]
        clients: u32,
    },
    /// Such clients send frames and bodies above the limits, over and over.
    ClientOversize {
        /// How many at once.
        #[serde(alias = "strangers")]
        clients: u32,
    },
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// When it begins, after the start of the load.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// What breaks.
    pub fault: FaultKind,
}

/// What it does, for people: "postgres stopped". The live display and every report use these words.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&description(self))
    }
}

fn description(fault: &FaultKind) -> String {
    let links = |links: &[LinkName]| listed(links.iter().map(ToString::to_string));
    let processes = |names: &[ProcessName]| listed(names.iter().map(ToString::to_string));
    match fault {
        FaultKind::ServiceStop { service } => format!("{service} stopped"),
        FaultKind::ServiceKill { service } => format!("{service} killed"),
        FaultKind::ServicePause { service } => format!("{service} frozen"),
        FaultKind::LinkDown { links: which } => format!("{} down", links(which)),
        FaultKind::LinkToxic { links: which, toxic, ramp_ms, .. } => {
            let growing = if *ramp_ms > 0 { "growing to " } else { "" };
            format!("{growing}{} on {}", toxic_name(toxic), links(which))
        }
        FaultKind::LinkLoss { links: which, loss_percent, .. } => {
            format!("{loss_percent} % of packets lost on {}", links(which))
        }
        FaultKind::LinkHalfClose { links: which } => format!("{} half-closed", links(which)),
        FaultKind::ProcessKill { processes: which } => format!("{} killed", processes(which)),
        FaultKind::ProcessTerminate { processes: which } => format!("{} terminated", processes(which)),
        FaultKind::ProcessPause { processes: which } => format!("{} frozen", processes(which)),
        FaultKind::RollingRestart { processes: which, .. } => {
            format!("{} restarted in turn", processes(which))
        }
        FaultKind::ProcessClockSkew { processes: which, offset_s } => {
            format!("clock of {} {offset_s:+} s off", processes(which))
        }
        FaultKind::RedisClientKill => "redis closes subscriptions".to_owned(),
        FaultKind::RedisOutputBuffer { links: which } => {
            format!("redis output buffer of {} overflows", links(which))
        }
        FaultKind::PostgresTerminate => "postgres ends sessions".to_owned(),
        FaultKind::PostgresReadOnly => "postgres read-only".to_owned(),
        FaultKind::PostgresLock => "messages table locked".to_owned(),
        FaultKind::PostgresConnectionLimit => "postgres gives no connection".to_owned(),
        FaultKind::PostgresDiskFull => "postgres disk full".to_owned(),
        FaultKind::KafkaPoison => "poison records in kafka".to_owned(),
        FaultKind::KafkaRebalance => "an extra consumer in the writers' group".to_owned(),
        FaultKind::KafkaPartitionsAdded { partitions } => format!("{partitions} partitions added"),
        FaultKind::ClientReconnectStorm { share_percent, redial_every_ms } => {
            format!("{share_percent} % of users reconnect every {redial_every_ms} ms")
        }
        FaultKind::ClientSlow { share_percent } => format!("{share_percent} % of users do not read"),
        FaultKind::ClientCrash { share_percent } => format!("{share_percent} % of users vanished"),
        FaultKind::ClientMalformed { clients } => format!("{clients} clients send malformed frames"),
        FaultKind::ClientOversize { clients } => format!("{clients} clients send oversize frames"),
    }
}

fn toxic_name(toxic: &Toxic) -> String {
    match toxic {
        Toxic::Latency { latency_ms, jitter_ms } => format!("{latency_ms}±{jitter_ms} ms latency"),
        Toxic::Bandwidth { kbytes_per_s } => format!("{kbytes_per_s} kB/s"),
        Toxic::Slicer { average_bytes, .. } => format!("slices of {average_bytes} B"),
        Toxic::BlackHole => "black hole".to_owned(),
        Toxic::Reset { after_ms } => format!("reset after {after_ms} ms"),
        Toxic::LimitData { bytes } => format!("cut after {bytes} B"),
        Toxic::SlowClose { delay_ms } => format!("close takes {delay_ms} ms"),
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [first, second] => format!("{first} and {second}"),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
