//! Faults. Each is a room that says how it is begun, seen, ended and seen to be gone; [`inject`] turns a planned one into
//! an [`ActiveFault`], and healing it consumes it and shows that it is gone.
//!
//! Beginning is never taken at its word: every probe opens connections of its own, none asks whoever injected, and only
//! what a probe sees makes a fault count.

mod active;
mod clients;
mod each;
mod kafka;
mod link;
pub mod player;
mod postgres;
mod process;
mod redis;
mod repeat;
mod service;

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::active::{ActiveFault, inject};
use crate::{
    cluster::{Cluster, ClusterError},
    environment::{Environment, EnvironmentError, ProxyError},
    plan::{ClientFault, FaultKind},
};

/// How long a probe waits for an answer before silence is what it saw. A healthy round trip is a few milliseconds.
pub const PROBE_LIMIT: Duration = Duration::from_millis(1_500);

/// A session, subscription or record is young if it began at most this long ago: the blow that ended its predecessor is
/// recent.
const YOUNG: Duration = Duration::from_secs(3);

/// What a look saw: that which was looked for, or what was there instead.
pub type Seen = Result<String, String>;

/// What a fault may act on: the system under test.
#[derive(Debug, Clone)]
pub struct SystemUnderTest {
    /// The services and proxies.
    pub environment: Arc<Environment>,
    /// The processes.
    pub cluster: Arc<Cluster>,
}

/// Why a fault is not in force, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The environment could not do it.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A proxy could not be told, or did not do as told.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The cluster could not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// PostgreSQL could not be told.
    #[error("PostgreSQL refused: {0}")]
    Postgres(#[from] sqlx::Error),
    /// Redis could not be told.
    #[error("Redis refused: {0}")]
    Redis(#[from] fred::error::Error),
    /// Kafka could not be told.
    #[error("Kafka refused: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// It is not gone after healing.
    #[error("the fault is still there after healing: {0}")]
    StillThere(String),
    /// A process's socket could not be borrowed.
    #[error(
        "a socket of process {pid} could not be borrowed (pidfd_getfd): {error}; in a container, grant it CAP_SYS_PTRACE"
    )]
    NotBorrowed {
        /// Whose.
        pid: u32,
        /// Why.
        error: std::io::Error,
    },
    /// A blow that hit nobody.
    #[error("{0}")]
    Missed(String),
    /// It could not be begun, and what had been could not be undone.
    #[error("{error}; and what was begun could not be undone: {left}")]
    HalfDone {
        /// Why it could not be begun.
        error: Box<FaultError>,
        /// What is left, by name.
        left: String,
    },
    /// It could not be ended everywhere.
    #[error("still hurt: {0}")]
    Left(String),
    /// Nobody answered in time.
    #[error("not {doing} within {} s", limit.as_secs_f64())]
    TookTooLong {
        /// "begun", "ended".
        doing: &'static str,
        /// The limit.
        limit: Duration,
    },
}

/// One fault, from its beginning to its end. A value of it has not begun yet.
#[async_trait(?Send)]
trait Fault<Sut = SystemUnderTest>: Debug {
    /// How long before its time it is to be begun.
    fn lead(&self) -> Duration {
        Duration::ZERO
    }

    /// Puts it in force. When that fails halfway, or is given up, [`Fault::end`] undoes what was begun.
    async fn begin(&mut self, sut: &Sut) -> Result<(), FaultError>;

    /// Waits until it is at its full strength: until then there is nothing to be proved.
    async fn grown(&mut self) {}

    /// Looks for it with a probe that knows nothing of the injection.
    async fn prove(&self, sut: &Sut) -> Seen;

    /// Waits until it is over by itself. Most never are.
    async fn over(&mut self) {
        std::future::pending().await
    }

    /// Puts everything back as it was, on every target that can be; where nothing was changed, nothing is. Says what is
    /// worth saying of it.
    async fn end(&mut self, sut: &Sut) -> Result<Option<String>, FaultError>;

    /// Looks for health where it was.
    async fn gone(&self, sut: &Sut) -> Seen;
}

/// The room of a planned fault.
fn of(kind: &FaultKind) -> Box<dyn Fault> {
    let away = |service: &_, how| Box::new(service::ServiceAway { service: *service, how });
    let ended = |processes: &Vec<_>, how| Box::new(process::Ended { processes: processes.clone(), how });
    match kind {
        FaultKind::ServiceStop { service } => away(service, service::How::Stopped),
        FaultKind::ServiceKill { service } => away(service, service::How::Killed),
        FaultKind::ServicePause { service } => away(service, service::How::Frozen),
        FaultKind::LinkDown { links } => Box::new(link::Down { links: links.clone() }),
        FaultKind::LinkToxic { links, toxic, direction, ramp_ms } => {
            Box::new(link::LinkToxic::new(links.clone(), toxic.clone(), *direction, *ramp_ms))
        }
        FaultKind::LinkLoss { links, direction, loss_percent } => {
            Box::new(link::PacketLoss::new(links.clone(), *direction, *loss_percent))
        }
        FaultKind::LinkHalfClose { links } => Box::new(link::HalfClose::new(links.clone())),
        FaultKind::ProcessKill { processes } => ended(processes, process::How::Killed),
        FaultKind::ProcessTerminate { processes } => ended(processes, process::How::Terminated),
        FaultKind::ProcessPause { processes } => Box::new(process::Frozen { processes: processes.clone() }),
        FaultKind::RollingRestart { processes, gap_ms } => {
            Box::new(process::RollingRestart::new(processes.clone(), Duration::from_millis(*gap_ms)))
        }
        FaultKind::ProcessClockSkew { processes, offset_s } => {
            Box::new(process::ClockSkew { processes: processes.clone(), offset_s: *offset_s })
        }
        FaultKind::RedisClientKill => Box::<redis::ClientKill>::default(),
        FaultKind::RedisOutputBuffer { links } => Box::new(redis::OutputBuffer::new(links.clone())),
        FaultKind::PostgresTerminate => Box::<postgres::Terminate>::default(),
        FaultKind::PostgresReadOnly => Box::new(postgres::ReadOnly),
        FaultKind::PostgresLock => Box::<postgres::MessagesLock>::default(),
        FaultKind::PostgresConnectionLimit => Box::<postgres::ConnectionLimit>::default(),
        FaultKind::PostgresDiskFull => Box::new(postgres::DiskFull),
        FaultKind::KafkaPoison => Box::<kafka::PoisonRecords>::default(),
        FaultKind::KafkaRebalance => Box::<kafka::Rebalance>::default(),
        FaultKind::KafkaPartitionsAdded { partitions } => {
            Box::new(kafka::PartitionsAdded { partitions: *partitions })
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

fn struck(fault: ClientFault) -> Box<dyn Fault> {
    Box::new(clients::Struck::new(fault))
}

/// Looks for a fault that was not begun by us, or before we looked.
///
/// # Errors
///
/// What the probe saw in place of the fault.
pub async fn prove(kind: &FaultKind, sut: &SystemUnderTest) -> Seen {
    of(kind).prove(sut).await
}

/// How long before its time a fault is to be injected: one on clients only looks at them, and must have done so before they
/// act.
pub fn lead(kind: &FaultKind) -> Duration {
    of(kind).lead()
}

/// A look for health that finds the fault, turned round.
fn contrary(seen: Seen) -> Seen {
    match seen {
        Ok(fault) => Err(fault),
        Err(instead) => Ok(instead),
    }
}
