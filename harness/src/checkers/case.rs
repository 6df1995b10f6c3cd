//! What every checker is given: the plan, the schedule, the history, and what follows from them that several checkers
//! need.

use crate::{
    checkers::{
        expected_deliveries::{ExpectedDeliveries, Placement},
        recovery::{self, Recovered},
        windows::{self, Window},
    },
    history::{Fate, History, Ledger, Phase, index::LedgerState},
    plan::{Arrival, Arrivals, Plan},
};

/// One run, ready to be judged.
#[derive(Debug)]
pub struct Case<'a> {
    /// What was to happen.
    pub plan: &'a Plan,
    /// The schedule: a message's number is its index.
    pub arrivals: &'a Arrivals,
    /// What happened.
    pub history: &'a History,
    /// One a planned fault.
    pub windows: Vec<Window>,
    /// How users fared after each fault, in the order of `windows`.
    pub recovered: Vec<Recovered>,
    /// What each member was owed.
    pub expected: ExpectedDeliveries,
    /// Zero of the schedule.
    load_us: u64,
}

impl<'a> Case<'a> {
    /// Works out what several checkers need.
    pub fn new(plan: &'a Plan, arrivals: &'a Arrivals, history: &'a History) -> Self {
        let mut case = Self {
            plan,
            arrivals,
            history,
            windows: windows::windows(plan, history),
            recovered: Vec::new(),
            expected: ExpectedDeliveries::of(arrivals, history),
            load_us: history.phase(Phase::Load).unwrap_or(0),
        };
        case.recovered = recovery::recovered(&case);
        case
    }

    /// Messages of the schedule and of the history, whichever are more.
    pub fn messages(&self) -> u32 {
        u32::try_from(self.arrivals.list.len()).unwrap_or(u32::MAX).max(self.history.messages())
    }

    /// A message's place in the schedule.
    pub fn arrival(&self, message: u32) -> Option<&Arrival> {
        self.arrivals.list.get(message as usize)
    }

    /// Where an acked or logged message stands: as its ack says, or else where Kafka holds it.
    pub fn place(&self, message: u32) -> Option<(i32, i64)> {
        let logged = || self.history.in_kafka(message).next().map(|entry| (entry.partition, entry.offset));
        self.history.outcome(message).acked_at().or_else(logged)
    }

    /// What an acked or logged message is held against expectations by: the position in its ack, or else where Kafka holds it;
    /// the times, in a cluster that knows no positions.
    pub fn placement(&self, message: u32) -> Option<Placement> {
        if self.plan.cluster.topology.gives_positions() {
            let sent_us = self.history.outcome(message).sent_us().unwrap_or(0);
            return self.place(message).map(|(partition, offset)| Placement::At {
                partition,
                offset,
                sent_us,
            });
        }
        let outcome = self.history.outcome(message);
        if !outcome.is_acked() && self.history.in_kafka(message).len() == 0 {
            return None;
        }
        Some(Placement::Between {
            sent_us: outcome.sent_us()?,
            acked_us: outcome.acked_us().unwrap_or(u64::MAX),
        })
    }

    /// True when a message was acked before the ledgers came to rest: then its members were still there to see it.
    pub fn owed_to_members(&self, message: u32) -> bool {
        let at_rest_us = self.history.at_rest_us();
        self.history.outcome(message).acked_us().is_some_and(|acked_us| acked_us <= at_rest_us)
    }

    /// When a message was meant to be sent, on the run's clock.
    pub fn due_us(&self, message: u32) -> Option<u64> {
        self.arrival(message).map(|arrival| self.load_us.saturating_add(arrival.due_us))
    }

    /// Zero of the schedule and of the fault timeline, on the run's clock.
    pub fn load_us(&self) -> u64 {
        self.load_us
    }

    /// End of the warm-up, on the run's clock.
    pub fn warm_us(&self) -> u64 {
        self.load_us.saturating_add(self.plan.load.warm_up_ms.saturating_mul(1_000))
    }

    /// End of the schedule, on the run's clock.
    pub fn load_end_us(&self) -> u64 {
        self.load_us.saturating_add(self.plan.load.duration_ms.saturating_mul(1_000))
    }

    /// Why the absence of an event proves nothing, if that is so: the history is cut, has holes, or ends before the
    /// ledgers came to rest.
    pub fn incomplete(&self) -> Option<String> {
        if let Some(doubt) = self.history.doubts().first() {
            return Some(doubt.clone());
        }
        if self.history.phase(Phase::Settled).is_none() {
            return Some("the run ended before the ledgers came to rest".to_owned());
        }
        None
    }

    /// Why the absence of a message from a ledger proves nothing, if that is so.
    pub fn unread(&self, ledger: Ledger) -> Option<String> {
        match self.history.ledger(ledger) {
            LedgerState::Unread => return Some(format!("{} was not read", ledger_name(ledger))),
            LedgerState::Unreadable { why } => {
                return Some(format!("{} could not be read: {why}", ledger_name(ledger)));
            }
            LedgerState::Read { entries } => {
                let (_, foreign) = self.history.foreign();
                let found = self.history.entries(ledger) + self.history.poison(ledger).count() as u64;
                if found < *entries && foreign == 0 {
                    return Some(format!(
                        "{} has {entries} entries, {found} were recorded",
                        ledger_name(ledger)
                    ));
                }
            }
        }
        self.incomplete()
    }

    /// How many messages were acked.
    pub fn acked(&self) -> u64 {
        let acked = |message: &u32| self.history.outcome(*message).fate() == Fate::Acked;
        (0..self.history.messages()).filter(acked).count() as u64
    }

    /// True when the time from `from_us` to `to_us` touches a fault, or the time users needed to get over it.
    pub fn disturbed(&self, from_us: u64, to_us: u64) -> bool {
        self.recovered.iter().any(|after| {
            after.disturbed.is_some_and(|(began_us, normal_us)| from_us < normal_us && to_us >= began_us)
        })
    }

    /// A time as people read it: seconds after the start of the load.
    pub fn at(&self, at_us: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 microseconds")]
        let seconds = (at_us as f64 - self.load_us as f64) / 1e6;
        format!("{seconds:.3} s")
    }

    /// A message as people read it: name, sender, room, and whose id it was sent with if that is not its own.
    pub fn name(&self, message: u32) -> String {
        let name = Plan::message_name(message);
        let Some(arrival) = self.arrival(message) else { return format!("{name} (not in the schedule)") };
        let (user, room) = (self.plan.user_name(arrival.user), self.plan.room_name(arrival.room));
        match self.arrivals.owner(message) {
            None => format!("{name} ({user} in {room})"),
            Some(owner) => {
                format!("{name} ({user} in {room}, with the id of {})", Plan::message_name(owner))
            }
        }
    }
}

/// A ledger's name, for people.
pub fn ledger_name(ledger: Ledger) -> &'static str {
    match ledger {
        Ledger::Kafka => "Kafka",
        Ledger::Postgres => "PostgreSQL",
        Ledger::DeadLetters => "the dead-letter topic",
    }
}
