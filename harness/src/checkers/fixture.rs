//! Hand-written histories for the checkers' tests: a small run in which all is well, and ways to spoil it.

use crate::{
    checkers::{Case, Checker, Finding, check_with},
    history::{Event, EventKind, FaultStep, History, Ledger, Lifecycle, Phase},
    plan::{
        Arrival, ArrivalShape, Arrivals, ClusterPlan, Expect, FaultKind, LoadPlan, PLAN_FORMAT, Plan,
        PlannedFault, Service, Topology,
    },
};

/// When the load of the fixture begins.
pub(crate) const LOAD_US: u64 = 1_000_000;
/// Time between its messages.
const GAP_US: u64 = 100_000;

/// An event.
pub(crate) fn at(at_us: u64, what: EventKind) -> Event {
    Event { at_us, what }
}

/// A log line of the one writer.
pub(crate) fn said(event: Lifecycle) -> EventKind {
    EventKind::Lifecycle { process: "writer-1".into(), event }
}

/// A run: four users on two nodes in one room, one writer, one partition, ten messages a second.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) arrivals: Arrivals,
    pub(crate) events: Vec<Event>,
}

impl Run {
    /// A run of `messages` messages in which all is well. Message `m` is due at `m / 10` s, sent by user `m % 4`, and
    /// stands at offset `m`.
    pub(crate) fn clean(messages: u32) -> Self {
        let plan = plan(messages);
        let mut arrivals = Arrivals::of(&plan);
        arrivals.list = (0..messages)
            .map(|m| Arrival { due_us: u64::from(m) * GAP_US, user: m % 4, room: 0, body_bytes: 20 })
            .collect();
        let load_end_us = LOAD_US + u64::from(messages) * GAP_US;
        let settled_us = load_end_us + 3_000_000;
        let mut events = vec![
            at(0, EventKind::Phase(Phase::Environment)),
            at(10, EventKind::Phase(Phase::Cluster)),
            at(500_000, EventKind::Phase(Phase::Gather)),
            at(LOAD_US, EventKind::Phase(Phase::Load)),
            at(load_end_us, EventKind::Phase(Phase::LoadEnded)),
            at(load_end_us + 1_000, EventKind::Phase(Phase::Healed)),
            at(settled_us, EventKind::Phase(Phase::Settled)),
            at(settled_us + 1_000, EventKind::Phase(Phase::Read)),
        ];
        for (pid, process) in ["node-1", "node-2", "writer-1"].into_iter().enumerate() {
            let pid = pid as u32 + 100;
            events.push(at(100, EventKind::Started { process: process.into(), pid }));
            let said = EventKind::Lifecycle { process: process.into(), event: Lifecycle::Listening };
            events.push(at(150, said));
            events.push(at(200, EventKind::Ready { process: process.into() }));
            for tick in 0..=(settled_us - LOAD_US) / 500_000 {
                let process = process.into();
                let sample =
                    EventKind::Sample { process, rss_kib: 60_000, open_files: 80, threads: 4, cpu_ms: tick };
                events.push(at(LOAD_US + tick * 500_000, sample));
            }
        }
        events.push(at(300_000, said(Lifecycle::WriterAssigned { partitions: "0".into() })));
        for user in 0..4_u32 {
            let node = (user % 2) as u16;
            events.push(at(600_000, EventKind::Connected { user, node }));
            let joined = EventKind::Joined { user, room: 0, partition: 0, offset: 0, resumed: false };
            events.push(at(700_000, joined));
            let why = "the run is over".to_owned();
            events.push(at(settled_us + 400, EventKind::Left { user, room: 0 }));
            events.push(at(settled_us + 500, EventKind::Disconnected { user, node, why }));
        }
        for message in 0..messages {
            let due_us = LOAD_US + u64::from(message) * GAP_US;
            let offset = i64::from(message);
            events.push(at(due_us + 100, EventKind::Sent { message }));
            events.push(at(due_us + 2_000, EventKind::Acked { message, partition: 0, offset }));
            for user in 0..4 {
                let received = EventKind::Received { user, message, partition: 0, offset, replayed: false };
                events.push(at(due_us + 3_000 + u64::from(user), received));
            }
            events.push(at(settled_us + 2_000, Self::record(message, offset)));
            events.push(at(settled_us + 3_000, Self::row(message, offset, true)));
            if message % 10 == 5 {
                let wrote = said(Lifecycle::WriterWrote { records: 10, rows: 10, took_us: 900 });
                events.push(at(due_us + 10_000, wrote));
            }
        }
        for (ledger, entries) in
            [(Ledger::Kafka, messages), (Ledger::Postgres, messages), (Ledger::DeadLetters, 0)]
        {
            events.push(at(settled_us + 4_000, EventKind::LedgerRead { ledger, entries: entries.into() }));
        }
        events.sort_by_key(|event| event.at_us);
        Self { plan, arrivals, events }
    }

    /// The same run of a cluster that knows no positions: everything but the ledgers goes without.
    pub(crate) fn relayed(mut self) -> Self {
        self.plan.cluster.topology = Topology::Relay;
        self.mapped(|what| match what {
            EventKind::Joined { user, room, .. } => EventKind::JoinedUnplaced { user, room },
            EventKind::Acked { message, .. } => EventKind::AckedUnplaced { message },
            EventKind::Received { user, message, .. } => EventKind::ReceivedUnplaced { user, message },
            other => other,
        })
    }

    /// A record of the topic.
    pub(crate) fn record(message: u32, offset: i64) -> EventKind {
        EventKind::InKafka { message, partition: 0, offset, body_ok: true }
    }

    /// A row.
    pub(crate) fn row(message: u32, offset: i64, body_ok: bool) -> EventKind {
        EventKind::InPostgres { message, partition: 0, offset, body_ok }
    }

    /// PostgreSQL is stopped for a while, in milliseconds of the load; the writer pauses and resumes as it should.
    pub(crate) fn with_postgres_outage(mut self, from_ms: u64, to_ms: u64) -> Self {
        let fault = FaultKind::ServiceStop { service: Service::Postgres };
        self.plan.faults.push(PlannedFault { at_ms: from_ms, for_ms: to_ms - from_ms, fault });
        let away = LOAD_US + from_ms * 1_000..LOAD_US + to_ms * 1_000 + 600_000;
        self.events.retain(|event| {
            !(away.contains(&event.at_us)
                && matches!(event.what, EventKind::Lifecycle { event: Lifecycle::WriterWrote { .. }, .. }))
        });
        let step = |step| EventKind::Fault { fault: 0, step };
        self.at_ms(from_ms, step(FaultStep::Asked))
            .at_ms(from_ms + 50, step(FaultStep::Injected))
            .at_ms(from_ms + 60, step(FaultStep::Proved { evidence: "connection refused".into() }))
            .at_ms(from_ms + 140, said(Lifecycle::WriterFailed { error: "connection closed".into() }))
            .at_ms(from_ms + 150, said(Lifecycle::WriterPaused { error: "connection closed".into() }))
            .at_ms(from_ms + 650, said(Lifecycle::WriterProbed { ok: false }))
            .at_ms(to_ms, step(FaultStep::HealAsked))
            .at_ms(to_ms + 500, step(FaultStep::Healed { evidence: "select 1 answered".into() }))
            .at_ms(to_ms + 550, said(Lifecycle::WriterProbed { ok: true }))
            .at_ms(to_ms + 600, said(Lifecycle::WriterResumed { paused_ms: to_ms - from_ms + 450 }))
    }

    /// With another fault, proved at once: asked for, injected, to be healed and healed at the given milliseconds of the load.
    pub(crate) fn with_fault(mut self, fault: FaultKind, [asked, injected, heal, healed]: [u64; 4]) -> Self {
        let number = self.plan.faults.len() as u32;
        self.plan.faults.push(PlannedFault { at_ms: asked, for_ms: heal - asked, fault });
        let step = |step| EventKind::Fault { fault: number, step };
        self.at_ms(asked, step(FaultStep::Asked))
            .at_ms(injected, step(FaultStep::Injected))
            .at_ms(injected, step(FaultStep::Proved { evidence: "seen".into() }))
            .at_ms(heal, step(FaultStep::HealAsked))
            .at_ms(healed, step(FaultStep::Healed { evidence: "gone".into() }))
    }

    /// With a fault, by its number, that is never healed.
    pub(crate) fn never_healed(self, number: u32) -> Self {
        self.without(|what| match what {
            EventKind::Fault { fault, step } if *fault == number => {
                matches!(step, FaultStep::HealAsked | FaultStep::Healed { .. })
            }
            _ => false,
        })
    }

    /// As it is left when the harness dies at a millisecond of the load.
    pub(crate) fn until_ms(mut self, end_ms: u64) -> Self {
        self.events.retain(|event| event.at_us <= LOAD_US + end_ms * 1_000);
        self
    }

    /// With holes: any event may be missing.
    pub(crate) fn with_holes(self) -> Self {
        self.with(EventKind::Lost { events: 7 })
    }

    /// Without some events. The verifier counts what it found, so the counts follow.
    pub(crate) fn without(mut self, which: impl Fn(&EventKind) -> bool) -> Self {
        self.events.retain(|event| !which(&event.what));
        let found = |which: fn(&EventKind) -> bool| {
            self.events.iter().filter(|event| which(&event.what)).count() as u64
        };
        let in_kafka = found(|what| matches!(what, EventKind::InKafka { .. }));
        let in_postgres = found(|what| matches!(what, EventKind::InPostgres { .. }));
        self.mapped(|what| match what {
            EventKind::LedgerRead { ledger: Ledger::Kafka, .. } => {
                EventKind::LedgerRead { ledger: Ledger::Kafka, entries: in_kafka }
            }
            EventKind::LedgerRead { ledger: Ledger::Postgres, .. } => {
                EventKind::LedgerRead { ledger: Ledger::Postgres, entries: in_postgres }
            }
            other => other,
        })
    }

    /// With one more event at the end.
    pub(crate) fn with(mut self, what: EventKind) -> Self {
        let last_us = self.events.last().map_or(0, |event| event.at_us);
        self.events.push(at(last_us, what));
        self
    }

    /// With one more event, in milliseconds of the load.
    pub(crate) fn at_ms(mut self, at_ms: u64, what: EventKind) -> Self {
        let at_us = LOAD_US + at_ms * 1_000;
        let index = self.events.partition_point(|event| event.at_us <= at_us);
        self.events.insert(index, at(at_us, what));
        self
    }

    /// With one more event, just before another.
    pub(crate) fn inserted_before(mut self, which: impl Fn(&EventKind) -> bool, what: EventKind) -> Self {
        let index =
            self.events.iter().position(|event| which(&event.what)).expect("the event to insert before");
        let at_us = self.events[index].at_us;
        self.events.insert(index, at(at_us, what));
        self
    }

    /// With another event in the place of one.
    pub(crate) fn replaced(mut self, which: impl Fn(&EventKind) -> bool, by: EventKind) -> Self {
        let event = self.events.iter_mut().find(|event| which(&event.what)).expect("the event to replace");
        event.what = by;
        self
    }

    /// With two events in each other's place and time.
    pub(crate) fn swapped(
        mut self,
        one: impl Fn(&EventKind) -> bool,
        other: impl Fn(&EventKind) -> bool,
    ) -> Self {
        let index =
            |which: &dyn Fn(&EventKind) -> bool| self.events.iter().position(|event| which(&event.what));
        let (one, other) = (index(&one).expect("one event"), index(&other).expect("the other event"));
        let (one_us, other_us) = (self.events[one].at_us, self.events[other].at_us);
        self.events.swap(one, other);
        self.events[one].at_us = one_us;
        self.events[other].at_us = other_us;
        self
    }

    /// With every event changed.
    pub(crate) fn mapped(self, change: impl Fn(EventKind) -> EventKind) -> Self {
        self.mapped_at(|at_us, what| (at_us, change(what)))
    }

    /// With every event after the load changed.
    pub(crate) fn mapped_late(self, change: impl Fn(EventKind) -> EventKind) -> Self {
        let end_us = LOAD_US + self.plan.load.duration_ms * 1_000;
        self.mapped_at(|at_us, what| (at_us, if at_us > end_us { change(what) } else { what }))
    }

    /// With every event, and its time, changed.
    pub(crate) fn mapped_at(mut self, change: impl Fn(u64, EventKind) -> (u64, EventKind)) -> Self {
        let change = |Event { at_us, what }| {
            let (at_us, what) = change(at_us, what);
            at(at_us, what)
        };
        self.events = self.events.into_iter().map(change).collect();
        self
    }

    /// The history.
    pub(crate) fn history(&self) -> History {
        History::from_events(&self.plan, self.events.clone())
    }

    /// The case.
    pub(crate) fn case<'a>(&'a self, history: &'a History) -> Case<'a> {
        Case::new(&self.plan, &self.arrivals, history)
    }

    /// What one checker finds.
    pub(crate) fn judged(&self, checker: &dyn Checker) -> Finding {
        let history = self.history();
        check_with(&[checker], &self.case(&history)).findings.remove(0)
    }
}

fn plan(messages: u32) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        scenario: "fixture".into(),
        title: "a run in which all is well".into(),
        seed: 1,
        cluster: ClusterPlan {
            topology: Topology::DurableFirst,
            nodes: 2,
            writers: 1,
            partitions: 1,
            tokens: false,
            node_flags: Vec::new(),
            writer_flags: Vec::new(),
            node_bug: None,
            writer_bug: None,
        },
        load: LoadPlan {
            users: 4,
            rooms: 1,
            rooms_per_user: 1,
            room_prefix: "room-".into(),
            rate_per_s: 10.0,
            arrivals: ArrivalShape::Uniform,
            body_min_bytes: 20,
            body_max_bytes: 20,
            warm_up_ms: 0,
            duration_ms: u64::from(messages) * 100,
            ack_timeout_ms: 5_000,
            lateness_p99_max_ms: 50,
            reused_ids_per_1000: 0,
        },
        faults: Vec::new(),
        expect: Expect::default(),
        settle_limit_ms: 30_000,
    }
}
