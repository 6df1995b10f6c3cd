//! [`History`]: a run as columns, indexed by message and by user. Immutable.
//!
//! Memory is linear and small: 32 bytes a message, 40 a receipt (32 and two index entries), 24 a ledger entry. A million
//! messages with ten receipts each take about half a gigabyte.

use chat_protocol::events::Code;
use serde::{Deserialize, Serialize};

use crate::history::{
    event::{FaultStep, Ledger, Lifecycle, Phase, Reaction, Reason},
    groups::Groups,
};

/// A time that never came; keeps a column entry at eight bytes where an `Option` needs sixteen.
pub(crate) const NEVER: u64 = u64::MAX;
/// Partition and offset of what was said without a position (topology `relay`); keeps an entry as small as one with.
pub(crate) const NOWHERE: (i32, i64) = (-1, -1);

/// What became of a message, as far as its sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was recorded: it never came up.
    Unseen,
    /// It was due and never left: its user had no session or was not in the room, the socket took no more, or the
    /// generator did not get to it.
    NotSent,
    /// It left, and the history ends before an answer.
    Unanswered,
    /// The promise was given (be it late: an ack after a timeout still promises).
    Acked,
    /// The node said no: nothing was written.
    Refused(Code),
    /// It may or may not be in the log.
    Indeterminate(Reason),
}

/// A message from its sender's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageOutcome {
    pub(crate) sent_us: u64,
    pub(crate) fate_us: u64,
    pub(crate) offset: i64,
    pub(crate) partition: i32,
    pub(crate) fate: Fate,
}

impl MessageOutcome {
    pub(crate) const UNSEEN: Self =
        Self { sent_us: NEVER, fate_us: NEVER, offset: NOWHERE.1, partition: NOWHERE.0, fate: Fate::Unseen };

    /// When it was handed to the socket.
    pub fn sent_us(&self) -> Option<u64> {
        (self.sent_us != NEVER).then_some(self.sent_us)
    }

    /// What became of it.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// When its fate was known.
    pub fn fate_us(&self) -> Option<u64> {
        (self.fate_us != NEVER).then_some(self.fate_us)
    }

    /// When it was acked, if it was.
    pub fn acked_us(&self) -> Option<u64> {
        (self.fate == Fate::Acked).then_some(self.fate_us)
    }

    /// Partition and offset in the ack, if there was one that named them.
    pub fn acked_at(&self) -> Option<(i32, i64)> {
        let place = (self.partition, self.offset);
        (self.fate == Fate::Acked && place != NOWHERE).then_some(place)
    }

    /// True when the promise was given.
    pub fn is_acked(&self) -> bool {
        self.fate == Fate::Acked
    }

    /// True when it left without an answer that settles its fate.
    pub fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Unanswered | Fate::Indeterminate(_))
    }
}

/// Where a history that was cut short ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Byte at which the incomplete frame begins.
    pub at_byte: u64,
    /// Bytes of it that are there.
    pub bytes: u64,
}

/// A message that reached a member's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// When.
    pub at_us: u64,
    /// Offset it came with.
    pub offset: i64,
    /// Which message.
    pub message: u32,
    /// Whose socket.
    pub user: u32,
    /// Partition it came with.
    pub partition: i32,
    /// By catch-up rather than live.
    pub replayed: bool,
}

impl Receipt {
    /// Partition and offset it came with, if it did.
    pub fn place(&self) -> Option<(i32, i64)> {
        let place = (self.partition, self.offset);
        (place != NOWHERE).then_some(place)
    }
}

/// A message as found in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands (in PostgreSQL: where the row says it stood).
    pub offset: i64,
    /// Which message.
    pub message: u32,
    /// Partition.
    pub partition: i32,
    /// Its body is the body that was sent.
    pub body_ok: bool,
}

/// A record that a fault put into the log, as found in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Where it was found.
    pub ledger: Ledger,
    /// Its partition in the log.
    pub partition: i32,
    /// Its offset in the log.
    pub offset: i64,
    /// Among the dead letters: why it was set aside.
    pub reason: String,
}

/// A step in a user's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserStep {
    /// When.
    pub at_us: u64,
    /// Who.
    pub user: u32,
    /// What.
    pub what: UserEvent,
}

/// What a user did, or what was done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the events of the same name")]
pub enum UserEvent {
    /// A session began.
    Connected { node: u16 },
    /// The session ended.
    Disconnected { node: u16, why: String },
    /// A room was entered or resumed.
    Joined { room: u32, partition: i32, offset: i64, resumed: bool },
    /// A room was refused.
    JoinFailed { room: u32, why: String },
    /// A room was left on purpose.
    Left { room: u32 },
    /// What was asked for by a resume is no longer in the log.
    ResumeRefused { room: u32, partition: i32, offset: i64 },
}

/// What nodes made of the bad frames of one kind that bad clients sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrames {
    /// Index into `plan.faults`.
    pub fault: u32,
    /// Which frame.
    pub frame: String,
    /// What became of it.
    pub treated: Reaction,
    /// How often.
    pub times: u64,
}

/// A step in a process's life.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessStep {
    /// When.
    pub at_us: u64,
    /// Index into [`History::processes`].
    pub process: u16,
    /// What.
    pub what: ProcessEvent,
}

/// What a process did.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the events of the same name")]
pub enum ProcessEvent {
    /// A life began.
    Started { pid: u32 },
    /// It answered `/readyz`.
    Ready,
    /// The life ended.
    Exited { status: String, asked: bool },
    /// A contractual log line.
    Said(Lifecycle),
}

/// What a process cost at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// Index into [`History::processes`].
    pub process: u16,
    /// Resident memory.
    pub rss_kib: u64,
    /// Open descriptors.
    pub open_files: u32,
    /// Threads.
    pub threads: u32,
    /// CPU time since it began.
    pub cpu_ms: u64,
}

/// The generator's account of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratorSecond {
    /// When it was written.
    pub at_us: u64,
    /// Worst lateness.
    pub lateness_max_us: u64,
    /// Messages sent.
    pub sent: u32,
    /// CPU time since it began.
    pub cpu_ms: u64,
    /// Resident memory.
    pub rss_kib: u64,
}

/// How the final read of a ledger went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LedgerState {
    /// It was never read.
    #[default]
    Unread,
    /// It was read to its end.
    Read {
        /// Entries found.
        entries: u64,
    },
    /// It could not be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// A run, in columns.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) messages: Vec<MessageOutcome>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) receipts_of_message: Groups,
    pub(crate) receipts_of_user: Groups,
    pub(crate) kafka: Vec<Entry>,
    pub(crate) kafka_of: Groups,
    pub(crate) postgres: Vec<Entry>,
    pub(crate) postgres_of: Groups,
    pub(crate) dead_letters: Vec<(u32, String)>,
    pub(crate) dead_letters_of: Groups,
    pub(crate) user_steps: Vec<UserStep>,
    pub(crate) steps_of_user: Groups,
    pub(crate) processes: Vec<String>,
    pub(crate) process_steps: Vec<ProcessStep>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) generator: Vec<GeneratorSecond>,
    pub(crate) faults: Vec<Vec<(u64, FaultStep)>>,
    pub(crate) phases: Vec<(Phase, u64)>,
    pub(crate) ledgers: [LedgerState; 3],
    pub(crate) poison: Vec<Poison>,
    pub(crate) foreign: Vec<(Ledger, String)>,
    pub(crate) foreign_total: u64,
    pub(crate) unexplained: Vec<(u64, u32, String)>,
    pub(crate) unexplained_total: u64,
    pub(crate) notes: Vec<(u64, String)>,
    pub(crate) bad_frames: Vec<BadFrames>,
    pub(crate) doubts: Vec<String>,
    pub(crate) holes: Option<String>,
    pub(crate) cut: Option<Cut>,
    pub(crate) events: u64,
    pub(crate) last_us: u64,
}

impl History {
    /// What nodes made of bad frames of clients, by fault, frame and treatment.
    pub fn bad_frames(&self) -> &[BadFrames] {
        &self.bad_frames
    }

    /// Messages there is anything about: ids are `0..messages()`.
    pub fn messages(&self) -> u32 {
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX)
    }

    /// A message from its sender's side.
    pub fn outcome(&self, message: u32) -> MessageOutcome {
        self.messages.get(message as usize).copied().unwrap_or(MessageOutcome::UNSEEN)
    }

    /// Every receipt of a message, in file order.
    pub fn receipts_of(&self, message: u32) -> impl Iterator<Item = &Receipt> {
        self.receipts_of_message.get(message).iter().map(|index| &self.receipts[*index as usize])
    }

    /// Every receipt of a user, in the order it came.
    pub fn received_by(&self, user: u32) -> impl Iterator<Item = &Receipt> {
        self.receipts_of_user.get(user).iter().map(|index| &self.receipts[*index as usize])
    }

    /// A user's receipts from a time on, in the order they came, without walking the earlier ones.
    pub fn received_since(&self, user: u32, from_us: u64) -> impl Iterator<Item = &Receipt> {
        let all = self.receipts_of_user.get(user);
        let first = all.partition_point(|index| self.receipts[*index as usize].at_us < from_us);
        all[first..].iter().map(|index| &self.receipts[*index as usize])
    }

    /// Every receipt, in file order.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Records of the topic that carry a message.
    pub fn in_kafka(&self, message: u32) -> impl ExactSizeIterator<Item = &Entry> {
        self.kafka_of.get(message).iter().map(|index| &self.kafka[*index as usize])
    }

    /// Rows that carry a message.
    pub fn in_postgres(&self, message: u32) -> impl ExactSizeIterator<Item = &Entry> {
        self.postgres_of.get(message).iter().map(|index| &self.postgres[*index as usize])
    }

    /// Reasons a message was dead-lettered for.
    pub fn in_dead_letters(&self, message: u32) -> impl ExactSizeIterator<Item = &str> {
        self.dead_letters_of.get(message).iter().map(|index| self.dead_letters[*index as usize].1.as_str())
    }

    /// Entries found in a ledger.
    pub fn entries(&self, ledger: Ledger) -> u64 {
        let entries = match ledger {
            Ledger::Kafka => self.kafka.len(),
            Ledger::Postgres => self.postgres.len(),
            Ledger::DeadLetters => self.dead_letters.len(),
        };
        entries as u64
    }

    /// Records that a fault put into the log, as found in a ledger.
    pub fn poison(&self, ledger: Ledger) -> impl Iterator<Item = &Poison> {
        self.poison.iter().filter(move |poison| poison.ledger == ledger)
    }

    /// How the final read of a ledger went.
    pub fn ledger(&self, ledger: Ledger) -> &LedgerState {
        &self.ledgers[ledger as usize]
    }

    /// Things found in ledgers that no plan explains (the first few), and how many there are.
    pub fn foreign(&self) -> (&[(Ledger, String)], u64) {
        (&self.foreign, self.foreign_total)
    }

    /// Things that reached sockets and that no plan explains (the first few: when, whose, what), and how many there are.
    pub fn unexplained(&self) -> (&[(u64, u32, String)], u64) {
        (&self.unexplained, self.unexplained_total)
    }

    /// Users there is anything about: ids are `0..users()`.
    pub fn users(&self) -> u32 {
        self.steps_of_user.keys()
    }

    /// A user's life.
    pub fn steps_of(&self, user: u32) -> impl Iterator<Item = &UserStep> {
        self.steps_of_user.get(user).iter().map(|index| &self.user_steps[*index as usize])
    }

    /// Names of processes; steps and samples carry an index into them.
    pub fn processes(&self) -> &[String] {
        &self.processes
    }

    /// Name of a process.
    pub fn process_name(&self, process: u16) -> &str {
        self.processes.get(usize::from(process)).map_or("?", String::as_str)
    }

    /// Lives of all processes, in file order.
    pub fn process_steps(&self) -> &[ProcessStep] {
        &self.process_steps
    }

    /// What processes cost, in file order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The generator's account of itself.
    pub fn generator(&self) -> &[GeneratorSecond] {
        &self.generator
    }

    /// The steps of a planned fault.
    pub fn fault(&self, fault: usize) -> &[(u64, FaultStep)] {
        self.faults.get(fault).map_or(&[], Vec::as_slice)
    }

    /// When a phase began (its first time).
    pub fn phase(&self, phase: Phase) -> Option<u64> {
        self.phases.iter().find(|(at, _)| *at == phase).map(|(_, at_us)| *at_us)
    }

    /// When users and ledgers had come to rest; never, in a history that ends before. What happens later is the end of the
    /// run: users leave and disconnect then.
    pub fn at_rest_us(&self) -> u64 {
        self.phase(Phase::Settled).unwrap_or(NEVER)
    }

    /// What the harness wanted a reader to know.
    pub fn notes(&self) -> &[(u64, String)] {
        &self.notes
    }

    /// Where the file was cut off, if it was.
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Reasons not to trust the absence of anything in this history: it is cut off, it has holes, or things still moved
    /// when it ended. They make the run `unknown`.
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// The doubt that also holds for the middle of this history, if there is one: an event that is there may not have been
    /// the first of its kind. Where only the end is missing, what came late is late all the same.
    pub fn holes(&self) -> Option<&str> {
        self.holes.as_deref()
    }

    /// Adds a reason not to trust the absence of anything. For tests: those of a run are in its file.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_doubt(mut self, why: impl Into<String>) -> Self {
        self.doubts.push(why.into());
        self
    }

    /// Events read.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Time of the latest event.
    pub fn last_us(&self) -> u64 {
        self.last_us
    }
}
