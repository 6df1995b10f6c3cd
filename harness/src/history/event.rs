//! What can happen in a run: the vocabulary of the history. Appended to, never edited; a change of meaning is a new
//! [`HISTORY_FORMAT`].
#![expect(missing_docs, reason = "fields of events carry their meaning in the variant above them")]

use chat_protocol::events::Code;
use serde::{Deserialize, Serialize};

/// Version of the history file.
pub const HISTORY_FORMAT: u32 = 1;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since the run began ([`crate::clock::Clock`]).
    pub at_us: u64,
    /// What.
    pub what: EventKind,
}

/// What happened. Messages, users and rooms are numbers of the plan; processes are names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// The run entered a phase. [`Phase::Load`] is the zero of the schedule and of the fault timeline.
    Phase(Phase),

    // -- users (recorded by the load) ------------------------------------------------------------------------------
    /// A user has a Socket.IO session with a node (zero-based).
    Connected { user: u32, node: u16 },
    /// The session ended, for whatever reason.
    Disconnected { user: u32, node: u16, why: String },
    /// A room was entered or resumed; every message of the room at or after `offset` is owed to the user, until the
    /// user leaves. After a reconnect with `resumed`, the expectation runs on from before without a hole.
    Joined { user: u32, room: u32, partition: i32, offset: i64, resumed: bool },
    /// The user was refused a room (or a resume), and will try again.
    JoinFailed { user: u32, room: u32, why: String },
    /// The user left a room of their own will: nothing more is owed.
    Left { user: u32, room: u32 },
    /// A message was handed to the socket.
    Sent { message: u32 },
    /// A message was due and never left, so it has no fate to be judged: its user had no session or was not in the room,
    /// the socket took no more, or the generator did not get to it.
    NotSent { message: u32 },
    /// The promise was given.
    Acked { message: u32, partition: i32, offset: i64 },
    /// The node said no; `Code::Unavailable` is recorded as [`EventKind::Indeterminate`] instead.
    Refused { message: u32, code: Code },
    /// No answer, or an answer that leaves it open: the message may or may not be in the log.
    Indeterminate { message: u32, why: Reason },
    /// A message reached a member's socket.
    Received { user: u32, message: u32, partition: i32, offset: i64, replayed: bool },
    /// Something reached a socket that no plan explains: an unknown id, a wrong body, a room the user is not in.
    Unexplained { user: u32, detail: String },

    // -- processes (recorded by the cluster, from their logs and exits) ----------------------------------------------
    /// A process was started; `pid` of this life.
    Started { process: String, pid: u32 },
    /// It answered `/readyz` with 200.
    Ready { process: String },
    /// It ended. `asked` is true when the harness (a fault, or the end of the run) ended it.
    Exited { process: String, status: String, asked: bool },
    /// A line of its log that is part of the contract (`chat_protocol::lifecycle`), reduced to what checkers use.
    Lifecycle { process: String, event: Lifecycle },
    /// Memory, descriptors and CPU time of a process, sampled from /proc.
    Sample { process: String, rss_kib: u64, open_files: u32, threads: u32, cpu_ms: u64 },

    // -- faults (recorded by the player; numbers index `plan.faults`) ------------------------------------------------
    /// A step in a fault's life.
    Fault { fault: u32, step: FaultStep },

    // -- final reads (recorded by the verifier, past every proxy) -----------------------------------------------------
    /// A record of the topic that carries one of our messages; `body_ok` compares it with the plan's body.
    InKafka { message: u32, partition: i32, offset: i64, body_ok: bool },
    /// A row that carries one of our messages.
    InPostgres { message: u32, partition: i32, offset: i64, body_ok: bool },
    /// A record of the dead-letter topic that carries one of our messages.
    InDeadLetters { message: u32, reason: String },
    /// Something in a ledger that no plan explains.
    Foreign { ledger: Ledger, detail: String },
    /// A ledger was read to its end.
    LedgerRead { ledger: Ledger, entries: u64 },
    /// A ledger could not be read.
    LedgerUnreadable { ledger: Ledger, why: String },

    // -- the harness about itself --------------------------------------------------------------------------------------
    /// Once a second: how late sends left (worst of the second), how many, and what the generator cost.
    Generator { lateness_max_us: u64, sent: u32, cpu_ms: u64, rss_kib: u64 },
    /// Something a reader should know.
    Note { text: String },

    // -- users of the topology `relay`, in which nobody knows a position (recorded by the load) --------------------------
    /// A room was entered: every message of it that is sent from now on is owed to the user, until the user leaves.
    JoinedUnplaced { user: u32, room: u32 },
    /// The promise was given, without a position.
    AckedUnplaced { message: u32 },
    /// A message reached a member's socket, without a position.
    ReceivedUnplaced { user: u32, message: u32 },

    // -- clients (recorded by the load; at the end, as the file stores variants by their place) ----------------------
    /// The user asked to resume a room from `offset`, and the log no longer has it. The user joins afresh, and what the
    /// room said from that offset on is owed all the same.
    ResumeRefused { user: u32, room: u32, partition: i32, offset: i64 },
    /// A bad client (of a fault, not a user of the plan) sent a frame that no node may take, and what the node made of it.
    BadFrame { fault: u32, frame: String, treated: Reaction },

    // -- poison (recorded by the verifier) ---------------------------------------------------------------------------
    /// The final read found a record that a fault put into the log. `partition` and `offset` are its place in the log,
    /// in the dead-letter topic as well; there, `reason` says why it was set aside.
    Poison { ledger: Ledger, partition: i32, offset: i64, reason: String },

    // -- doubts: why the absence of an event from this history proves nothing ----------------------------------------
    /// So many events did not fit into the recorder's queue since the last time this was said (recorded by the recorder).
    Lost { events: u64 },
    /// The time to come to rest ran out while something still moved: what is missing may have been on its way (recorded
    /// by the run).
    Unsettled { why: String },
}

/// What a node made of a bad frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reaction {
    /// The connection was ended.
    Cut,
    /// The verb was answered with an error.
    Refused(Code),
    /// Nothing came of it.
    Ignored,
    /// It was taken for good.
    Taken,
    /// There was no node to send it to.
    Unreached,
}

/// Phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Services are being started.
    Environment,
    /// Nodes and writers are being started.
    Cluster,
    /// Users connect and join.
    Gather,
    /// The schedule begins: zero of `due_us` and of the fault timeline.
    Load,
    /// The last message of the schedule is due and its ack has come or timed out.
    LoadEnded,
    /// Every fault is healed and verified so.
    Healed,
    /// Users and ledgers have come to rest, or the time for it ran out. If something still moved then, a
    /// [`EventKind::Unsettled`] stands before this and makes every absence doubtful. If nothing had moved for long, nothing more
    /// was to come: that is at rest, too, with a [`EventKind::Note`] of what was missing.
    Settled,
    /// The final reads are done.
    Read,
}

/// Why a message's fate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// No ack within `ack_timeout_ms`.
    Timeout,
    /// The session ended first.
    Disconnected,
    /// The node could not say (`Code::Unavailable`).
    Unavailable,
    /// The run ended first.
    RunEnded,
}

/// A step in a fault's life. Only [`FaultStep::Proved`] makes a fault count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FaultStep {
    /// Injection begins.
    Asked,
    /// The injector says it is done.
    Injected,
    /// An independent probe shows the fault in force; what it saw.
    Proved { evidence: String },
    /// The probe shows no fault where one was injected.
    Unproved { evidence: String },
    /// The injector failed; the run cannot tell anything about this fault.
    Failed { error: String },
    /// Healing begins.
    HealAsked,
    /// A probe shows the fault gone; what it saw.
    Healed { evidence: String },
    /// Healing failed or could not be shown.
    HealFailed { error: String },
}

/// The reduced form of `chat_protocol::lifecycle::LifecycleEvent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// A node's readiness changed.
    Readiness { ready: bool, missing: String },
    /// A node left the live path.
    CatchUpStarted { reason: String },
    /// A node is back on the live path.
    CatchUpEnded { delivered: u64 },
    /// Partitions came.
    WriterAssigned { partitions: String },
    /// Partitions went.
    WriterRevoked { partitions: String },
    /// Paused.
    WriterPaused { error: String },
    /// Probed.
    WriterProbed { ok: bool },
    /// Resumed.
    WriterResumed { paused_ms: u64 },
    /// A batch was committed.
    WriterWrote { records: u32, rows: u32, took_us: u64 },
    /// A write failed.
    WriterFailed { error: String },
    /// A record was set aside.
    WriterDeadLettered { partition: i32, offset: i64, reason: String },
    /// A panic.
    Panicked { message: String },
    /// Graceful shutdown began.
    Draining,
    /// Graceful shutdown ended.
    Stopped,
    /// A node relays from Redis to Kafka from now on (topology `relay`).
    RelayStarted,
    /// It does not any more.
    RelayEnded { reason: String },
    /// It takes connections: the first line of every process, by which its log is known to be readable.
    Listening,
}

/// The ledgers that are reconciled. The third, what clients were told and saw, is the rest of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ledger {
    /// The message topic.
    Kafka,
    /// The messages table.
    Postgres,
    /// The dead-letter topic.
    DeadLetters,
}
