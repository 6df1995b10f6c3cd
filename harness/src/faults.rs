//! Faults: `inject` turns a wish into an [`ActiveFault`], `heal` consumes it and shows that it is gone.
//!
//! Injecting is never taken at its word. [`evidence`] probes from outside, on connections of its own, and only what it
//! sees makes a fault count.

mod active;
mod bulk;
pub mod clients;
mod disk;
pub mod evidence;
mod half_close;
mod kafka;
mod links;
mod overflow;
pub mod player;
mod postgres;
mod ramp;
mod redis;
mod rolling;
mod slots;
mod sockets;
mod stranger;
mod striking;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use self::active::Hold;
pub use self::active::{ActiveFault, HEAL_LIMIT};
use self::striking::strike;
use crate::{
    cluster::{Cluster, ClusterError},
    environment::{Environment, EnvironmentError, toxiproxy::ProxyError},
    plan::{FaultKind, LinkName},
};

/// Everything a fault may lay hands on.
#[derive(Debug, Clone)]
pub struct Field {
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
}

/// Puts a fault in force.
///
/// # Errors
///
/// [`FaultError`] when it could not be; whatever was begun is undone.
pub async fn inject(kind: &FaultKind, field: &Field) -> Result<ActiveFault, FaultError> {
    let hold = match kind {
        FaultKind::ServiceStop { service } => state(field.environment.stop(*service).await)?,
        FaultKind::ServiceKill { service } => state(field.environment.kill(*service).await)?,
        FaultKind::ServicePause { service } => state(field.environment.pause(*service).await)?,
        FaultKind::LinkDown { links } => {
            for link in links {
                if let Err(error) = field.environment.proxies().disable(*link).await {
                    for link in links {
                        undone(*link, field.environment.proxies().enable(*link).await);
                    }
                    return Err(error.into());
                }
            }
            Hold::State
        }
        FaultKind::LinkToxic { links, toxic, direction, ramp_ms } => {
            let over = (*ramp_ms > 0).then(|| Duration::from_millis(*ramp_ms));
            let begin = if over.is_some() { ramp::first(toxic) } else { toxic.clone() };
            let mut applied = Vec::new();
            for link in links {
                match field.environment.proxies().add(*link, &begin, *direction).await {
                    Ok(toxics) => applied.extend(toxics),
                    Err(error) => {
                        for toxic in &applied {
                            undone(*link, field.environment.proxies().remove(toxic).await);
                        }
                        return Err(error.into());
                    }
                }
            }
            let environment = Arc::clone(&field.environment);
            let ramp = over.map(|over| ramp::grow(environment, applied.clone(), toxic.clone(), over));
            Hold::Toxics { applied, ramp }
        }
        FaultKind::LinkHalfClose { links } => half_close::inject(field, links).await?,
        FaultKind::ProcessKill { processes } => {
            for process in processes {
                field.cluster.kill(*process).await?;
            }
            Hold::State
        }
        FaultKind::ProcessTerminate { processes } => {
            for process in processes {
                field.cluster.terminate(*process).await?;
            }
            Hold::State
        }
        FaultKind::ProcessPause { processes } => {
            for process in processes {
                field.cluster.pause(*process).await?;
            }
            Hold::State
        }
        FaultKind::RollingRestart { processes, gap_ms } => {
            Hold::Rolling(rolling::begin(field, processes, Duration::from_millis(*gap_ms)))
        }
        FaultKind::ProcessClockSkew { processes, offset_s } => {
            for process in processes {
                field.cluster.set_clock(*process, *offset_s)?;
            }
            Hold::State
        }
        FaultKind::RedisClientKill => {
            let endpoint = field.environment.verifier().redis_url;
            redis::kill_subscribers(&endpoint).await?;
            Hold::Striking(strike(move || {
                let endpoint = endpoint.clone();
                async move { redis::kill_subscribers(&endpoint).await.map_err(|error| error.to_string()) }
            }))
        }
        FaultKind::PostgresTerminate => {
            let endpoint = field.environment.verifier().postgres_url;
            postgres::terminate_sessions(&endpoint).await?;
            Hold::Striking(strike(move || {
                let endpoint = endpoint.clone();
                async move { postgres::terminate_sessions(&endpoint).await.map_err(|error| error.to_string()) }
            }))
        }
        FaultKind::PostgresReadOnly => {
            postgres::set_read_only(&field.environment.verifier().postgres_url, true).await?;
            Hold::State
        }
        FaultKind::PostgresLock => Hold::Session(Box::new(
            postgres::lock_messages(&field.environment.verifier().postgres_url).await?,
        )),
        FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. } => Hold::Clients(clients::Before::of(field).await),
        FaultKind::PostgresConnectionLimit => {
            Hold::Slots(slots::take(&field.environment.verifier().postgres_url).await?)
        }
        FaultKind::PostgresDiskFull => {
            disk::fill(&field.environment.verifier().postgres_url).await?;
            Hold::State
        }
        FaultKind::RedisOutputBuffer { links } => Hold::Overflow(overflow::inject(field, links).await?),
        FaultKind::KafkaPoison => {
            let producer = kafka::producer(&field.environment.verifier())?;
            kafka::poison(&producer, &field.cluster, 0).await?;
            let (cluster, rounds) = (Arc::clone(&field.cluster), Arc::new(AtomicU32::new(1)));
            Hold::Striking(strike(move || {
                let (producer, cluster) = (producer.clone(), Arc::clone(&cluster));
                let round = rounds.fetch_add(1, Relaxed);
                async move { kafka::poison(&producer, &cluster, round).await.map_err(|error| error.to_string()) }
            }))
        }
        FaultKind::KafkaRebalance => {
            Hold::Stranger(stranger::join(&field.environment.verifier(), field.cluster.names()).await?)
        }
        FaultKind::KafkaPartitionsAdded { partitions } => {
            kafka::add_partitions(&field.environment.verifier(), &field.cluster, *partitions).await?;
            Hold::State
        }
    };
    Ok(ActiveFault { kind: kind.clone(), hold })
}

/// How long before its time a fault is to be injected: one on clients only looks at them, and must have done so before they
/// act.
pub fn lead(kind: &FaultKind) -> Duration {
    if clients::concerns(kind) { clients::LEAD } else { Duration::ZERO }
}

fn state(done: Result<(), EnvironmentError>) -> Result<Hold, FaultError> {
    done?;
    Ok(Hold::State)
}

/// What is undone after a failed injection is undone as well as can be; the injection's error is the one that counts.
fn undone(link: LinkName, undone: Result<(), ProxyError>) {
    if let Err(error) = undone {
        tracing::warn!(%link, %error, "could not restore a link after a failed injection");
    }
}
