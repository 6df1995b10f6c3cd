//! A plan: every choice made, nothing left to chance or to the machine. It is written to `plan.json` before anything
//! starts, and `squall run --plan` carries it out again.

pub mod arrivals;
pub mod clients;
pub mod effects;
pub mod fault;
#[cfg(test)]
pub(crate) mod fixture;
pub mod poison;
pub mod shortened;

use serde::{Deserialize, Serialize};

pub use arrivals::{Arrival, Arrivals};
pub use chat_protocol::Topology;
pub use effects::{ClientFault, Effects};
pub use fault::{FaultKind, LinkName, PlannedFault, ProcessName, Service, Toxic};

/// Version of `plan.json`. A reader refuses what it does not know.
pub const PLAN_FORMAT: u32 = 1;

/// What will happen in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// Name of the scenario it was made from.
    pub scenario: String,
    /// One line for people: what is done to the cluster.
    pub title: String,
    /// Everything random comes from here.
    pub seed: u64,
    /// The system under test.
    pub cluster: ClusterPlan,
    /// The users.
    pub load: LoadPlan,
    /// What breaks, and when, relative to the start of the load; sorted by start.
    pub faults: Vec<PlannedFault>,
    /// What must be true afterwards.
    pub expect: Expect,
    /// Longest wait, after the last fault is healed and the last message is sent, for the ledgers to come to rest.
    pub settle_limit_ms: u64,
}

/// The system under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    /// How a message gets to Kafka, and what an ack means.
    #[serde(default)]
    pub topology: Topology,
    /// Chat nodes, named `node-1` ….
    pub nodes: u16,
    /// Writers, named `writer-1` ….
    pub writers: u16,
    /// Partitions of the message topic.
    pub partitions: i32,
    /// Whether users prove who they are by tokens that the load signs; otherwise nodes believe any name, as in plans of before.
    #[serde(default)]
    pub tokens: bool,
    /// Extra command-line flags for every node.
    pub node_flags: Vec<String>,
    /// Extra command-line flags for every writer.
    pub writer_flags: Vec<String>,
    /// A defect compiled into the nodes on purpose (needs a build with `planted-bugs`).
    pub node_bug: Option<String>,
    /// A defect compiled into the writers on purpose.
    pub writer_bug: Option<String>,
}

/// The users and what they send. Open loop: the schedule does not wait for answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// Users; user `u` starts on node `u % nodes`.
    pub users: u32,
    /// Rooms, named `{room_prefix}{n}`.
    pub rooms: u32,
    /// Rooms each user is in.
    pub rooms_per_user: u32,
    /// Prefix of room names; unique per run where a database is shared.
    pub room_prefix: String,
    /// Messages per second over all users, on average.
    pub rate_per_s: f64,
    /// Shape of the arrivals.
    pub arrivals: ArrivalShape,
    /// Smallest body.
    pub body_min_bytes: u32,
    /// Largest body.
    pub body_max_bytes: u32,
    /// Start of the load that latency figures leave out (correctness does not).
    pub warm_up_ms: u64,
    /// Length of the load, warm-up included.
    pub duration_ms: u64,
    /// How long a client waits for an ack before the message's fate is indeterminate.
    pub ack_timeout_ms: u64,
    /// p99 of the generator's own lateness, outside faults, from which on the run proves nothing.
    #[serde(default = "lateness_p99_max_ms")]
    pub lateness_p99_max_ms: u64,
    /// So many of 1,000 messages carry the id of a message that another user sent to the same room; zero in plans of before.
    #[serde(default)]
    pub reused_ids_per_1000: u32,
}

/// Enough to meet every fault, and few enough to change no figure.
pub const REUSED_IDS_PER_1000: u32 = 20;

/// Below this the generator's lateness is noise against the latencies it measures.
pub const LATENESS_P99_MAX_MS: u64 = 50;

fn lateness_p99_max_ms() -> u64 {
    LATENESS_P99_MAX_MS
}

/// Shape of the arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalShape {
    /// Independent users: exponential gaps.
    Poisson,
    /// One message every `1 / rate`.
    Uniform,
}

/// What must be true of a run, beyond the claims that must always hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// At least this many messages are acked while a fault is in force (liveness under the fault).
    pub min_acked_during_faults: Option<u64>,
    /// Writers stop writing within this time of PostgreSQL going away.
    pub writers_pause_within_ms: Option<u64>,
    /// Writers write again within this time of its return.
    pub writers_resume_within_ms: Option<u64>,
    /// After each heal, acks succeed again within this time.
    pub recover_within_ms: Option<u64>,
    /// A node that is cut off from Redis or Kafka turns unready, naming it, within this time.
    #[serde(default)]
    pub nodes_detect_within_ms: Option<u64>,
    /// Objective for the p99 of ack latency outside fault windows (missed: exit 4).
    pub ack_p99_ms: Option<u64>,
    /// Objective for the p99 of receipt latency outside fault windows (missed: exit 4).
    pub receipt_p99_ms: Option<u64>,
}

impl Plan {
    /// Name of a room.
    pub fn room_name(&self, room: u32) -> String {
        format!("{}{room}", self.load.room_prefix)
    }

    /// Name of a user.
    pub fn user_name(&self, user: u32) -> String {
        format!("user-{user}")
    }

    /// The rooms a user is in: neighbours on a ring, so that every room has about as many members as any other, on
    /// every node.
    pub fn rooms_of(&self, user: u32) -> impl Iterator<Item = u32> + use<> {
        let rooms = self.load.rooms.max(1);
        // Users of one node must not all share the same rooms: step by a whole turn of the nodes.
        let first = (user / u32::from(self.cluster.nodes.max(1))) % rooms;
        (0..self.load.rooms_per_user.min(rooms)).map(move |k| (first + k) % rooms)
    }

    /// The node a user connects to first (zero-based).
    pub fn home_node(&self, user: u32) -> u16 {
        u16::try_from(user % u32::from(self.cluster.nodes.max(1))).unwrap_or(0)
    }

    /// What a message is called in reports: its index in the schedule. Also the id it is sent with, unless it takes
    /// another's ([`Arrivals::id`]).
    pub fn message_name(message: u32) -> String {
        format!("m{message}")
    }

    /// The index in the schedule that a name stands for, if it is one of ours.
    pub fn message_named(id: &str) -> Option<u32> {
        id.strip_prefix('m')?.parse().ok()
    }

    /// The number of a user of this name.
    pub fn user_named(name: &str) -> Option<u32> {
        name.strip_prefix("user-")?.parse().ok()
    }

    /// Names of all processes under test.
    pub fn processes(&self) -> Vec<ProcessName> {
        let nodes = (1..=self.cluster.nodes).map(ProcessName::Node);
        nodes.chain((1..=self.cluster.writers).map(ProcessName::Writer)).collect()
    }
}
