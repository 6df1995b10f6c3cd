//! The load: users of the chat who connect, join, send on an open-loop schedule, and record all that they see.
//!
//! ```text
//!  Arrivals ──→ pacer (thread) ──due──→ participant ──Session──→ chat node
//!                                          │  └─→ Recorder: Sent, Acked, Received, …
//!  goose (users' lives: start, live, leave)┘─────→ Goose's own metrics, a cross-check
//! ```
//!
//! Three stages, so that the run decides when time begins and when users may go: [`Load::gather`] (everybody is in their
//! rooms), [`Load::schedule`] (every message has met its fate), [`Load::finish`] (everybody has left). Between the last two
//! the users stay: they receive what comes late and resume what breaks, while the run heals and settles.
//!
//! Knows addresses and nothing else of the cluster: what the load says about a fault it has seen for itself.

mod bodies;
mod client_faults;
mod generator_stats;
mod goose;
mod malformed_clients;
mod pacer;
mod participant;
pub mod socket_io;
pub mod stats;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    bodies::{Bodies, PREPARED_MAX_BYTES},
    client_faults::Strokes,
    pacer::Pacer,
    participant::{Nodes, Participant},
};
pub use self::{
    goose::claim_interrupts,
    stats::{LiveStats, SpreadSummary},
};
use crate::{
    history::Recorder,
    plan::{Arrivals, Plan},
    target::reference::identity::Identity,
    wait,
};

/// Time to gather, whatever the number of users: a cold cluster creates its topics and groups meanwhile.
const GATHER_LIMIT: Duration = Duration::from_secs(30);
/// And for each user: ten times what one takes to join on two cores shared with the cluster.
const GATHER_LIMIT_PER_USER: Duration = Duration::from_millis(20);
/// How long after the last ack timeout every fate must be known. Users answer for themselves within milliseconds; only a
/// generator that stands still needs longer.
const FATE_MARGIN: Duration = Duration::from_secs(10);

/// Where the load may go.
#[derive(Debug, Clone)]
pub struct LoadTargets {
    /// Addresses of the chat nodes, `node-1` first.
    pub nodes: Vec<SocketAddr>,
}

/// Why there is no load, or no end to it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A plan without users, or targets without nodes.
    #[error("a load needs at least one user and one node")]
    Nobody,
    /// Not everybody got into their rooms.
    #[error("failed to gather the users: {wait}; last trouble: {trouble}")]
    Gather {
        /// How long, and how many made it.
        wait: wait::WaitError,
        /// Why a session or a room was last not to be had.
        trouble: String,
    },
    /// Messages without a fate: the generator stands still.
    #[error("failed to bring the schedule to its end")]
    Schedule(#[source] wait::WaitError),
    /// [`Load::schedule`] was called twice.
    #[error("the schedule has run already")]
    TwiceScheduled,
    /// The system gave no thread to the pacer.
    #[error("failed to start the pacer")]
    Pacer(#[source] std::io::Error),
    /// The run was cancelled.
    #[error("the load was cancelled")]
    Cancelled,
    /// Goose would not start, or would not end.
    #[error("failed to run the users in goose: {0}")]
    Goose(String),
}

/// What users are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Connect, join, send what is due, receive, resume.
    Living,
    /// Leave in order.
    Finishing,
    /// Go.
    Cancelled,
}

/// What all users share.
struct World {
    plan: Arc<Plan>,
    identity: Identity,
    arrivals: Arc<Arrivals>,
    strokes: Strokes,
    bodies: Bodies,
    nodes: Nodes,
    recorder: Recorder,
    stats: Arc<LiveStats>,
    /// Zero of the schedule, once it is known.
    zero: OnceLock<Instant>,
}

impl World {
    /// When a message is due; `None` before the schedule began.
    fn due(&self, message: u32) -> Option<Instant> {
        let arrival = self.arrivals.list.get(message as usize)?;
        Some(*self.zero.get()? + Duration::from_micros(arrival.due_us))
    }
}

/// What the load did, in numbers. The history holds the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSummary {
    /// Messages of the schedule.
    pub offered: u64,
    /// Handed to a socket.
    pub sent: u64,
    /// Due while their user was not in the room.
    pub not_sent: u64,
    /// Promised, late promises included.
    pub acked: u64,
    /// Of those, promised after they had been counted as indeterminate.
    pub acked_late: u64,
    /// Refused.
    pub refused: u64,
    /// Left open.
    pub indeterminate: u64,
    /// Receipts by members.
    pub received: u64,
    /// Things no plan explains.
    pub unexplained: u64,
    /// Sessions that ended before the run did.
    pub disconnects: u64,
    /// How late messages left.
    pub lateness: SpreadSummary,
    /// Ack latency from the due time, warm-up included.
    pub ack_latency: SpreadSummary,
    /// Fates of sent messages as Goose counted them; equals `acked - acked_late + refused + indeterminate` of a whole run.
    pub goose_counted: u64,
}

/// A running load. Dropped without [`Load::finish`], it lets its users go without a goodbye.
pub struct Load {
    world: Arc<World>,
    stage: Arc<watch::Sender<Stage>>,
    cancel: CancellationToken,
    /// The way to tell each user what is due; taken by the pacer.
    due: Vec<mpsc::Sender<u32>>,
    pacer: Option<Pacer>,
    attack: goose::Attack,
    helpers: Vec<AbortOnDropHandle<()>>,
}

impl Load {
    /// Starts all users and waits until each has a session and is in its rooms.
    ///
    /// When `cancel` is cancelled, here or later, users go at once and whatever is awaited ends with
    /// [`LoadError::Cancelled`].
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn gather(
        plan: Arc<Plan>,
        arrivals: Arc<Arrivals>,
        targets: LoadTargets,
        recorder: Recorder,
        stats: Arc<LiveStats>,
        cancel: CancellationToken,
    ) -> Result<Self, LoadError> {
        let users = plan.load.users;
        if users == 0 || targets.nodes.is_empty() {
            return Err(LoadError::Nobody);
        }
        let bodies = Bodies::of(&arrivals, PREPARED_MAX_BYTES);
        let zero = OnceLock::new();
        let strokes = Strokes::of(&plan);
        let (nodes, identity) = (targets.nodes, Identity::of(&plan.cluster));
        let world =
            Arc::new(World { plan, identity, arrivals, strokes, bodies, nodes, recorder, stats, zero });

        let (stage, stages) = watch::channel(Stage::Living);
        let stage = Arc::new(stage);
        let (due, participants) = (0..users)
            .map(|user| {
                let (tell, due) = mpsc::channel(pacer::DUE_MAX);
                (tell, Participant::new(user, Arc::clone(&world), due, stages.clone()))
            })
            .unzip();
        let attack = goose::Attack::start(participants, &cancel)?;
        let helpers = vec![
            {
                let (cancel, stage) = (cancel.clone(), Arc::clone(&stage));
                AbortOnDropHandle::new(tokio::spawn(async move {
                    cancel.cancelled().await;
                    stage.send_replace(Stage::Cancelled);
                }))
            },
            {
                let world = Arc::clone(&world);
                AbortOnDropHandle::new(tokio::spawn(async move { generator_stats::keep(&world).await }))
            },
        ];
        let load = Self { world, stage, cancel, due, pacer: None, attack, helpers };
        match load.wait_for_everybody(users).await {
            Ok(()) => Ok(load),
            Err(error) => {
                load.stage.send_replace(Stage::Cancelled);
                // Why nobody gathered matters more than how they went.
                let _ = load.finish().await;
                Err(error)
            }
        }
    }

    async fn wait_for_everybody(&self, users: u32) -> Result<(), LoadError> {
        let stats = &self.world.stats;
        let limit = GATHER_LIMIT + GATHER_LIMIT_PER_USER * users;
        let gathered = wait::until("all users in their rooms", limit, async || {
            let joined = stats.joined.load(Relaxed);
            if !self.attack.has_failed() && joined < u64::from(users) {
                return Err(format!("{joined} of {users} users joined"));
            }
            self.attack.ready().await;
            Ok(())
        });
        tokio::select! {
            () = self.cancel.cancelled() => Err(LoadError::Cancelled),
            gathered = gathered => gathered.map_err(|wait| LoadError::Gather {
                wait,
                trouble: stats.last_trouble().unwrap_or_else(|| "none".to_owned()),
            }),
        }
    }

    /// Sends every message when it is due, counted from `zero`, and waits until the last one has met its fate.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn schedule(&mut self, zero: Instant) -> Result<(), LoadError> {
        let world = &self.world;
        world.zero.set(zero).map_err(|_| LoadError::TwiceScheduled)?;
        // Everybody with something to do on purpose sets an alarm for it.
        self.stage.send_modify(|_| {});
        self.helpers.extend(malformed_clients::start(world, zero));
        let due = std::mem::take(&mut self.due);
        self.pacer = Some(Pacer::start(Arc::clone(world), due, zero).map_err(LoadError::Pacer)?);

        let offered = world.arrivals.list.len() as u64;
        let length = Duration::from_millis(world.plan.load.duration_ms + world.plan.load.ack_timeout_ms);
        let limit = zero.saturating_duration_since(Instant::now()) + length + FATE_MARGIN;
        let ended = wait::until("the fate of every message", limit, async || {
            let fates = world.stats.fates();
            if fates >= offered { Ok(()) } else { Err(format!("{fates} of {offered} known")) }
        });
        let ended = tokio::select! {
            () = self.cancel.cancelled() => Err(LoadError::Cancelled),
            ended = ended => ended.map_err(LoadError::Schedule),
        };
        // Walked to its end, or not wanted any more.
        self.pacer = None;
        ended
    }

    /// Lets the users leave their rooms and nodes, and sums up. After a cancelled run they just go.
    ///
    /// # Errors
    ///
    /// [`LoadError::Goose`] when users do not end.
    pub async fn finish(mut self) -> Result<LoadSummary, LoadError> {
        // First, so that nobody is told to send any more.
        self.pacer = None;
        self.due.clear();
        self.stage.send_if_modified(|stage| {
            let lives = *stage == Stage::Living;
            if lives {
                *stage = if self.cancel.is_cancelled() { Stage::Cancelled } else { Stage::Finishing };
            }
            lives
        });
        let goose_counted = self.attack.end().await?;
        let stats = &self.world.stats;
        Ok(LoadSummary {
            offered: self.world.arrivals.list.len() as u64,
            sent: stats.sent.load(Relaxed),
            not_sent: stats.not_sent.load(Relaxed),
            acked: stats.acked.load(Relaxed),
            acked_late: stats.acked_late.load(Relaxed),
            refused: stats.refused.load(Relaxed),
            indeterminate: stats.indeterminate.load(Relaxed),
            received: stats.received.load(Relaxed),
            unexplained: stats.unexplained.load(Relaxed),
            disconnects: stats.disconnects.load(Relaxed),
            lateness: stats.lateness(),
            ack_latency: stats.ack_latency(),
            goose_counted,
        })
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("stage", &*self.stage.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
