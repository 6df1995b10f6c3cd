//! A fault in force: proved while it is, and healed once.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{
    FaultError, Field, clients, disk, evidence, half_close, overflow, postgres, ramp, rolling, slots,
    stranger, striking::Striking,
};
use crate::{environment::toxiproxy::AppliedToxic, plan::FaultKind, wait};

/// Longest time a healed service, process or link may take to be whole again before healing has failed.
pub const HEAL_LIMIT: Duration = Duration::from_secs(30);

/// A fault in force. Must be healed; dropping it leaves the cluster hurt.
#[must_use = "a fault that is not healed outlives its window"]
#[derive(Debug)]
pub struct ActiveFault {
    pub(super) kind: FaultKind,
    pub(super) hold: Hold,
}

/// What keeps a fault in force.
#[derive(Debug)]
pub(super) enum Hold {
    /// A state of a service, link or process; undone by a call.
    State,
    /// Toxics of this fault on its links; others may be there beside them. They may still be growing.
    Toxics { applied: Vec<AppliedToxic>, ramp: Option<AbortOnDropHandle<()>> },
    /// Processes being restarted one after another.
    Rolling(rolling::Rolling),
    /// An open transaction that holds a lock; undone by closing it.
    Session(Box<sqlx::PgConnection>),
    /// Every connection that PostgreSQL has to give; undone by giving them back.
    Slots(slots::Slots),
    /// Links choked and a limit lowered until an output buffer overflowed; undone by restoring both.
    Overflow(overflow::Overflow),
    /// A member of the writers' group; undone by leaving.
    Stranger(stranger::Stranger),
    /// A blow that is struck again and again; undone by stopping.
    Striking(Striking),
    /// Connections that are half-closed again and again.
    HalfClosed { before: half_close::Before, striking: Striking },
    /// Nothing: the load acts the fault out, by the plan. Kept is what was there before.
    Clients(clients::Before),
}

impl ActiveFault {
    /// Waits until the fault is at its full strength: until then there is nothing to be proved.
    pub async fn grown(&mut self) {
        if let Hold::Toxics { ramp, .. } = &mut self.hold {
            ramp::grown(ramp).await;
        }
    }

    /// Looks for the fault: [`evidence::prove`], which for a rolling restart or a fault on clients also knows how things
    /// were before.
    ///
    /// # Errors
    ///
    /// What the probe saw in place of the fault.
    pub async fn prove(&self, field: &Field) -> Result<String, String> {
        match &self.hold {
            Hold::Rolling(rolling) => rolling.prove(field).await,
            Hold::Clients(before) => clients::prove(&self.kind, before, field).await,
            Hold::HalfClosed { before, .. } => before.prove(),
            _ => evidence::prove(&self.kind, field).await,
        }
    }

    /// Waits until the fault is over by itself. Most never are.
    pub async fn over(&mut self) {
        match &mut self.hold {
            Hold::Rolling(rolling) => rolling.over().await,
            _ => std::future::pending().await,
        }
    }

    /// Ends the fault and shows that it is gone. Returns what was seen.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when it could not be ended, or is still to be seen within [`HEAL_LIMIT`].
    pub async fn heal(self, field: &Field) -> Result<String, FaultError> {
        let mut before = None;
        let done = match self.hold {
            Hold::State => None,
            Hold::Clients(seen) => {
                before = Some(seen);
                None
            }
            Hold::Toxics { applied, ramp } => {
                ramp::cut(ramp).await;
                for toxic in &applied {
                    field.environment.proxies().remove(toxic).await?;
                }
                None
            }
            Hold::Session(session) => {
                sqlx::Connection::close(*session).await?;
                None
            }
            Hold::Slots(slots) => Some(format!("{} connections given back", slots.give_back().await)),
            Hold::Overflow(overflow) => {
                overflow::undo(field, &overflow).await?;
                None
            }
            Hold::Stranger(stranger) => {
                stranger.leave().await;
                None
            }
            Hold::Striking(striking) | Hold::HalfClosed { striking, .. } => {
                let hits = striking.end().await;
                let what = match self.kind {
                    FaultKind::KafkaPoison => "records produced",
                    FaultKind::LinkHalfClose { .. } => "connections hit",
                    _ => "sessions hit",
                };
                Some(format!("{hits} further {what} meanwhile"))
            }
            Hold::Rolling(rolling) => Some(rolling.heal(field).await?),
        };
        match &self.kind {
            FaultKind::ServiceStop { service } | FaultKind::ServiceKill { service } => {
                field.environment.start(*service).await?;
            }
            FaultKind::ServicePause { service } => field.environment.unpause(*service).await?,
            FaultKind::LinkDown { links } => {
                for link in links {
                    field.environment.proxies().enable(*link).await?;
                }
            }
            FaultKind::ProcessKill { processes } | FaultKind::ProcessTerminate { processes } => {
                for process in processes {
                    field.cluster.start(*process).await?;
                }
            }
            FaultKind::ProcessPause { processes } => {
                for process in processes {
                    field.cluster.resume(*process).await?;
                }
            }
            FaultKind::ProcessClockSkew { processes, .. } => {
                for process in processes {
                    field.cluster.set_clock(*process, 0)?;
                }
            }
            FaultKind::PostgresReadOnly => {
                postgres::set_read_only(&field.environment.verifier().postgres_url, false).await?;
            }
            FaultKind::PostgresDiskFull => {
                disk::empty(&field.environment.verifier().postgres_url).await?;
            }
            FaultKind::LinkToxic { .. }
            | FaultKind::LinkHalfClose { .. }
            | FaultKind::RollingRestart { .. }
            | FaultKind::RedisClientKill
            | FaultKind::RedisOutputBuffer { .. }
            | FaultKind::PostgresTerminate
            | FaultKind::PostgresLock
            | FaultKind::ClientReconnectStorm { .. }
            | FaultKind::ClientSlow { .. }
            | FaultKind::ClientCrash { .. }
            | FaultKind::ClientMalformed { .. }
            | FaultKind::ClientOversize { .. }
            | FaultKind::PostgresConnectionLimit
            | FaultKind::KafkaPoison
            | FaultKind::KafkaRebalance
            | FaultKind::KafkaPartitionsAdded { .. } => {}
        }
        let seen = wait::until("the fault gone", HEAL_LIMIT, async || match &before {
            Some(before) => clients::gone(&self.kind, before, field).await,
            None => evidence::gone(&self.kind, field).await,
        })
        .await
        .map_err(|error| FaultError::StillThere(error.to_string()))?;
        Ok(match done {
            Some(done) => format!("{seen}; {done}"),
            None => seen,
        })
    }
}
