//! Which dependencies answer, and what follows from that.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chat_process::emit;
use chat_protocol::Topology;
use serde::Serialize;
use tokio::sync::SetOnce;

use crate::limits;

/// What is known about the dependencies of this node.
#[derive(Debug)]
pub struct Health {
    born: Instant,
    /// Milliseconds from `born` to the last own beat heard; 0 for never.
    beat_heard: AtomicU64,
    kafka: AtomicBool,
    /// Whether positions can be given out: the ends of all partitions are known.
    started: AtomicBool,
    postgres: AtomicBool,
    draining: AtomicBool,
    /// Topology `relay`: whether it is known that some node holds the lease. Always true in `durable-first`.
    relay: AtomicBool,
    /// Why a dependency does not serve this node, where it answered and said so.
    reasons: Mutex<BTreeMap<&'static str, String>>,
    /// Why the topic, as it is set up, is of no use to this node, as seen last.
    unfit: Mutex<Option<String>>,
    /// Why nothing but a restart makes this node of use again.
    broken: SetOnce<String>,
    /// Planted bug `no-resubscribe`: the node believes that its subscription lives.
    blind: AtomicBool,
}

/// The body of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether this node should be given clients.
    pub ready: bool,
    /// Dependencies without which it is not ready.
    pub missing: Vec<&'static str>,
    /// Dependencies without which only a part works: `postgres` is needed for `history` alone.
    pub degraded: Vec<&'static str>,
    /// Whether it is shutting down.
    pub draining: bool,
    /// Why a dependency is missing, where it answered and said so.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<&'static str, String>,
}

impl Health {
    /// A node of which nothing is known yet.
    pub fn of(topology: Topology) -> Self {
        Self {
            born: Instant::now(),
            beat_heard: AtomicU64::new(0),
            kafka: AtomicBool::new(false),
            started: AtomicBool::new(false),
            postgres: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            relay: AtomicBool::new(topology != Topology::Relay),
            reasons: Mutex::default(),
            unfit: Mutex::default(),
            broken: SetOnce::new(),
            blind: AtomicBool::new(false),
        }
    }

    /// The node heard its own beat: its publisher, Redis and its subscription all work.
    pub fn own_beat_heard(&self) {
        let elapsed = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_heard.store(elapsed.max(1), Ordering::Relaxed);
        self.reasons().remove("redis");
    }

    /// The connection of the subscription ended.
    pub fn subscription_lost(&self) {
        self.beat_heard.store(0, Ordering::Relaxed);
    }

    /// Whether the node must not rely on the bus.
    pub fn subscription_dead(&self) -> bool {
        if self.blind.load(Ordering::Relaxed) {
            return false;
        }
        let heard = self.beat_heard.load(Ordering::Relaxed);
        heard == 0
            || self.born.elapsed().saturating_sub(Duration::from_millis(heard))
                > limits::SUBSCRIPTION_DEAD_AFTER
    }

    /// Planted bug `no-resubscribe`.
    pub fn look_away(&self) {
        self.blind.store(true, Ordering::Relaxed);
    }

    /// Kafka answered a question about the whole topic.
    pub fn kafka_answered(&self) {
        self.kafka.store(true, Ordering::Relaxed);
        self.started.store(true, Ordering::Relaxed);
        self.reasons().remove("kafka");
    }

    /// A dependency answered, and what it said keeps this node from working. Says it once in the log.
    pub fn refused(&self, dependency: &'static str, reason: String) {
        let mut reasons = self.reasons();
        if reasons.get(dependency) != Some(&reason) {
            tracing::error!(dependency, reason, "refused");
            reasons.insert(dependency, reason);
        }
    }

    /// How the topic is set up suits this node, or why not. Says so in the log when it changes.
    pub fn topic_suits(&self, suits: Result<(), String>) {
        let mut unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = suits.err();
        if *unfit != seen {
            match &seen {
                Some(reason) => tracing::error!(reason, "the topic is of no use as it is"),
                None => tracing::info!("the topic is of use again"),
            }
            *unfit = seen;
        }
    }

    /// Nothing but a restart makes this node of use again: from now on it is not ready, takes nothing and lets nobody in. The
    /// first reason stands.
    pub fn broke(&self, reason: String) {
        if self.broken.set(reason.clone()).is_ok() {
            tracing::error!(reason, "this node is broken until it is restarted");
        }
    }

    /// Why this node is broken, if it is.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Returns when this node is broken.
    pub async fn until_broken(&self) {
        self.broken.wait().await;
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kafka did not answer, or gave up a message.
    pub fn kafka_failed(&self) {
        self.kafka.store(false, Ordering::Relaxed);
    }

    /// Redis said who holds the lease, be it this node: what is sent from now on is relayed by somebody.
    pub fn relay_known(&self) {
        self.relay.store(true, Ordering::Relaxed);
    }

    /// Whether PostgreSQL answered the last question.
    pub fn postgres_answers(&self, answers: bool) {
        self.postgres.store(answers, Ordering::Relaxed);
        if answers {
            self.reasons().remove("postgres");
        }
    }

    /// The node begins to shut down.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is shutting down.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The whole picture.
    pub fn readiness(&self) -> Readiness {
        let draining = self.draining();
        let mut missing = Vec::new();
        let mut reasons = self.reasons().clone();
        let unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let useless = self.broken().map(|reason| format!("{reason}; restart this node")).or(unfit);
        let answers = self.kafka.load(Ordering::Relaxed) && self.started.load(Ordering::Relaxed);
        if !answers || useless.is_some() {
            missing.push("kafka");
        }
        reasons.extend(useless.map(|reason| ("kafka", reason)));
        if self.subscription_dead() {
            missing.push("redis");
        }
        if !self.relay.load(Ordering::Relaxed) {
            missing.push("relay");
        }
        let degraded = if self.postgres.load(Ordering::Relaxed) { Vec::new() } else { vec!["postgres"] };
        reasons.retain(|dependency, _| missing.contains(dependency) || degraded.contains(dependency));
        Readiness { ready: missing.is_empty() && !draining, missing, degraded, draining, reasons }
    }
}

/// Writes a line whenever readiness changes. Never ends.
pub async fn report(health: Arc<Health>) {
    let mut said: Option<Vec<&'static str>> = None;
    let mut pace = tokio::time::interval(limits::READINESS_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        pace.tick().await;
        let readiness = health.readiness();
        if readiness.draining {
            // What follows is the shutdown's to say.
            return;
        }
        if said.as_ref() != Some(&readiness.missing) {
            let missing = readiness.missing.join(",");
            emit!(Readiness, ready = readiness.ready, missing);
            said = Some(readiness.missing);
        }
    }
}
