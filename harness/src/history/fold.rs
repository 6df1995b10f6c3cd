//! The one pass that turns events into the columns of [`History`].

use crate::{
    history::{
        event::{Event, EventKind},
        groups::Groups,
        index::{
            BadFrames, Cut, Entry, Fate, GeneratorSecond, History, LedgerState, MessageOutcome, NOWHERE,
            Poison, ProcessEvent, ProcessStep, Receipt, Sample, UserEvent, UserStep,
        },
    },
    plan::Plan,
};

/// Highest message or user number that is believed. A number beyond it is no load's doing, and would be an allocation of
/// gigabytes; it becomes a doubt instead.
const NUMBER_MAX: u32 = 50_000_000;
/// Unexplained and foreign things kept word by word; the rest is counted.
const KEPT_MAX: usize = 100;

/// A history in the making.
#[derive(Debug)]
pub struct Fold {
    history: History,
    users: u32,
    strays: u64,
    lost: u64,
}

impl Fold {
    /// An empty history of a plan.
    pub fn new(plan: &Plan) -> Self {
        let history = History { faults: vec![Vec::new(); plan.faults.len()], ..History::default() };
        Self { history, users: plan.load.users.min(NUMBER_MAX), strays: 0, lost: 0 }
    }

    /// Takes one event.
    pub fn push(&mut self, event: Event) {
        let at_us = event.at_us;
        self.history.events += 1;
        self.history.last_us = self.history.last_us.max(at_us);
        match event.what {
            EventKind::Sent { .. }
            | EventKind::NotSent { .. }
            | EventKind::Acked { .. }
            | EventKind::AckedUnplaced { .. }
            | EventKind::Refused { .. }
            | EventKind::Indeterminate { .. } => self.push_fate(at_us, &event.what),
            EventKind::Received { user, message, partition, offset, replayed } => {
                if self.knows_message(message) && self.knows_user(user) {
                    let receipt = Receipt { at_us, offset, message, user, partition, replayed };
                    self.history.receipts.push(receipt);
                }
            }
            EventKind::ReceivedUnplaced { user, message } => {
                if self.knows_message(message) && self.knows_user(user) {
                    let (partition, offset) = NOWHERE;
                    let receipt = Receipt { at_us, offset, message, user, partition, replayed: false };
                    self.history.receipts.push(receipt);
                }
            }
            EventKind::Connected { user, node } => self.push_user(at_us, user, UserEvent::Connected { node }),
            EventKind::Disconnected { user, node, why } => {
                self.push_user(at_us, user, UserEvent::Disconnected { node, why });
            }
            EventKind::Joined { user, room, partition, offset, resumed } => {
                self.push_user(at_us, user, UserEvent::Joined { room, partition, offset, resumed });
            }
            EventKind::JoinedUnplaced { user, room } => {
                let (partition, offset) = NOWHERE;
                self.push_user(at_us, user, UserEvent::Joined { room, partition, offset, resumed: false });
            }
            EventKind::JoinFailed { user, room, why } => {
                self.push_user(at_us, user, UserEvent::JoinFailed { room, why })
            }
            EventKind::Left { user, room } => self.push_user(at_us, user, UserEvent::Left { room }),
            EventKind::ResumeRefused { user, room, partition, offset } => {
                self.push_user(at_us, user, UserEvent::ResumeRefused { room, partition, offset });
            }
            EventKind::Unexplained { user, detail } => {
                self.history.unexplained_total += 1;
                if self.history.unexplained.len() < KEPT_MAX {
                    self.history.unexplained.push((at_us, user, detail));
                }
            }
            EventKind::Started { process, pid } => {
                self.push_process(at_us, &process, ProcessEvent::Started { pid })
            }
            EventKind::Ready { process } => self.push_process(at_us, &process, ProcessEvent::Ready),
            EventKind::Exited { process, status, asked } => {
                self.push_process(at_us, &process, ProcessEvent::Exited { status, asked });
            }
            EventKind::Lifecycle { process, event } => {
                self.push_process(at_us, &process, ProcessEvent::Said(event))
            }
            EventKind::Sample { process, rss_kib, open_files, threads, cpu_ms } => {
                let process = self.process(&process);
                self.history.samples.push(Sample { at_us, process, rss_kib, open_files, threads, cpu_ms });
            }
            EventKind::InKafka { message, partition, offset, body_ok } if self.knows_message(message) => {
                self.history.kafka.push(Entry { offset, message, partition, body_ok });
            }
            EventKind::InPostgres { message, partition, offset, body_ok } if self.knows_message(message) => {
                self.history.postgres.push(Entry { offset, message, partition, body_ok });
            }
            EventKind::InDeadLetters { message, reason } if self.knows_message(message) => {
                self.history.dead_letters.push((message, reason));
            }
            other => self.push_account(at_us, other),
        }
    }

    /// Phases, faults, ledgers, and the harness about itself.
    fn push_account(&mut self, at_us: u64, what: EventKind) {
        let history = &mut self.history;
        match what {
            EventKind::Phase(phase) => history.phases.push((phase, at_us)),
            EventKind::Fault { fault, step } => match history.faults.get_mut(fault as usize) {
                Some(steps) => steps.push((at_us, step)),
                None => history.doubts.push(format!("the history has a fault {fault} that the plan has not")),
            },
            EventKind::Poison { ledger, partition, offset, reason } => {
                history.poison.push(Poison { ledger, partition, offset, reason });
            }
            EventKind::Foreign { ledger, detail } => {
                history.foreign_total += 1;
                if history.foreign.len() < KEPT_MAX {
                    history.foreign.push((ledger, detail));
                }
            }
            EventKind::LedgerRead { ledger, entries } => {
                history.ledgers[ledger as usize] = LedgerState::Read { entries }
            }
            EventKind::LedgerUnreadable { ledger, why } => {
                history.ledgers[ledger as usize] = LedgerState::Unreadable { why };
            }
            EventKind::Generator { lateness_max_us, sent, cpu_ms, rss_kib } => {
                history.generator.push(GeneratorSecond { at_us, lateness_max_us, sent, cpu_ms, rss_kib });
            }
            EventKind::Note { text } => history.notes.push((at_us, text)),
            EventKind::Lost { events } => self.lost = self.lost.saturating_add(events),
            EventKind::Unsettled { why } => {
                history.doubts.push(format!("something still moved when the time to settle ran out: {why}"));
            }
            EventKind::BadFrame { fault, frame, treated } => {
                let alike = |known: &&mut BadFrames| {
                    known.fault == fault && known.frame == frame && known.treated == treated
                };
                let full = history.bad_frames.len() >= KEPT_MAX;
                match history.bad_frames.iter_mut().find(alike) {
                    Some(known) => known.times += 1,
                    // A load sends a dozen kinds; a file that names more was not written by one.
                    None if full => {}
                    None => history.bad_frames.push(BadFrames { fault, frame, treated, times: 1 }),
                }
            }
            // Strays were counted by their guard; everything else was taken by `push`.
            _ => {}
        }
    }

    fn push_fate(&mut self, at_us: u64, what: &EventKind) {
        let (message, fate) = match *what {
            EventKind::Sent { message } => (message, Fate::Unanswered),
            EventKind::NotSent { message } => (message, Fate::NotSent),
            EventKind::Acked { message, .. } | EventKind::AckedUnplaced { message } => (message, Fate::Acked),
            EventKind::Refused { message, code } => (message, Fate::Refused(code)),
            EventKind::Indeterminate { message, why } => (message, Fate::Indeterminate(why)),
            _ => return,
        };
        if !self.knows_message(message) {
            return;
        }
        let life = &mut self.history.messages[message as usize];
        if let Fate::Unanswered = fate {
            life.sent_us = at_us;
            // The reader of the socket may have recorded the ack first.
            if life.fate == Fate::Unseen {
                life.fate = fate;
            }
            return;
        }
        // The first answer stands, but a promise that comes after a timeout is a promise.
        if matches!(life.fate, Fate::Unseen | Fate::Unanswered) || (fate == Fate::Acked && life.is_open()) {
            life.fate = fate;
            life.fate_us = at_us;
        }
        if let EventKind::Acked { partition, offset, .. } = *what
            && life.fate == Fate::Acked
            && life.fate_us == at_us
        {
            life.partition = partition;
            life.offset = offset;
        }
    }

    fn push_user(&mut self, at_us: u64, user: u32, what: UserEvent) {
        if self.knows_user(user) {
            self.history.user_steps.push(UserStep { at_us, user, what });
        }
    }

    fn push_process(&mut self, at_us: u64, name: &str, what: ProcessEvent) {
        let process = self.process(name);
        self.history.process_steps.push(ProcessStep { at_us, process, what });
    }

    /// Number of a process; there are a handful, so a scan is quicker than a map.
    fn process(&mut self, name: &str) -> u16 {
        let names = &mut self.history.processes;
        let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn knows_message(&mut self, message: u32) -> bool {
        if message > NUMBER_MAX {
            self.strays += 1;
            return false;
        }
        let length = message as usize + 1;
        if self.history.messages.len() < length {
            self.history.messages.resize(length, MessageOutcome::UNSEEN);
        }
        true
    }

    fn knows_user(&mut self, user: u32) -> bool {
        if user > NUMBER_MAX {
            self.strays += 1;
            return false;
        }
        self.users = self.users.max(user + 1);
        true
    }

    /// Indexes the columns.
    pub fn finish(mut self, cut: Option<Cut>) -> History {
        let history = &mut self.history;
        let messages = history.messages.len();
        let users = self.users as usize;
        history.receipts_of_message =
            Groups::of(messages, history.receipts.iter().map(|receipt| receipt.message));
        history.receipts_of_user = Groups::of(users, history.receipts.iter().map(|receipt| receipt.user));
        history.kafka_of = Groups::of(messages, history.kafka.iter().map(|entry| entry.message));
        history.postgres_of = Groups::of(messages, history.postgres.iter().map(|entry| entry.message));
        history.dead_letters_of =
            Groups::of(messages, history.dead_letters.iter().map(|(message, _)| *message));
        history.steps_of_user = Groups::of(users, history.user_steps.iter().map(|step| step.user));
        history.cut = cut;
        if let Some(cut) = cut {
            history.doubts.push(format!("the history file is cut off at byte {}", cut.at_byte));
        }
        let lost = (self.lost > 0).then(|| {
            format!("{} events did not fit into the recorder's queue: the history has holes", self.lost)
        });
        let strays = (self.strays > 0)
            .then(|| format!("{} events name messages or users that cannot be", self.strays));
        for hole in [lost, strays].into_iter().flatten() {
            history.holes.get_or_insert_with(|| hole.clone());
            history.doubts.push(hole);
        }
        self.history
    }
}

impl History {
    /// Folds events that are already in memory (tests, mostly; files go through [`History::read`]).
    pub fn from_events(plan: &Plan, events: impl IntoIterator<Item = Event>) -> Self {
        let mut fold = Fold::new(plan);
        for event in events {
            fold.push(event);
        }
        fold.finish(None)
    }
}
