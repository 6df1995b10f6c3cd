//! Every connection that PostgreSQL has to give, taken: the sessions of others are ended and their slots filled with idle
//! sessions of the harness, reserved ones included, until nothing is left.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{connect, terminate_others};
use crate::{
    faults::{Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest},
    wait,
};

/// SQLSTATE of "sorry, too many clients already".
const TOO_MANY: &str = "53300";

/// Sessions opened side by side: enough to be done soon, few enough not to starve a small machine.
const AT_ONCE: usize = 12;
/// Longest time to take every slot. There are a few hundred at most, and a log-in is some milliseconds of hashing.
const TAKE_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether a slot has become free: a session that the harness had meanwhile has ended.
const AGAIN: Duration = Duration::from_millis(200);

/// Nobody else has a session, or can have one.
#[derive(Debug, Default)]
pub(in crate::faults) struct ConnectionLimit {
    slots: Option<Slots>,
}

#[async_trait(?Send)]
impl Fault for ConnectionLimit {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        self.slots = Some(take(&sut.environment.verifier().postgres_url).await?);
        Ok(())
    }

    /// Every process asks for a session through its own link, as its own role, and is refused for want of a slot.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let asking = sessions(sut).await;
        let count = asking.len();
        for (process, session) in asking {
            match session {
                Err(Some(error)) if is_too_many(&error) => {}
                Err(Some(error)) => return Err(format!("{process}: {error}")),
                Err(None) => return Err(format!("{process}: no answer")),
                Ok(()) => return Err(format!("{process} can have a session")),
            }
        }
        Ok(format!("{count} links asked for a session and got {TOO_MANY}"))
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        match self.slots.take() {
            Some(slots) => Ok(Some(format!("{} connections given back", slots.give_back().await))),
            None => Ok(None),
        }
    }

    /// Every process can have a session through its own link.
    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        let asking = sessions(sut).await;
        let count = asking.len();
        for (process, session) in asking {
            if let Err(error) = session {
                let why = error.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
                return Err(format!("{process}: {why}"));
            }
        }
        Ok(format!("a session can be had through each of {count} links"))
    }
}

/// Asks for a session through each process's link. Without an error: no answer in time.
async fn sessions(sut: &SystemUnderTest) -> Vec<(String, Result<(), Option<sqlx::Error>>)> {
    let processes = sut.cluster.plan().processes();
    let asking = processes.into_iter().map(|process| async move {
        let url = sut.environment.endpoints(process).postgres_url;
        let session = tokio::time::timeout(PROBE_LIMIT, connect(&url)).await;
        let asked = match session {
            Ok(Ok(session)) => {
                // Given back at once: the next to ask may be a writer.
                drop(session.close().await);
                Ok(())
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        };
        (process.to_string(), asked)
    });
    futures_util::future::join_all(asking).await
}

/// All slots, held until given back. Dropped, they are given back as well.
#[derive(Debug)]
struct Slots {
    stop: CancellationToken,
    task: AbortOnDropHandle<Vec<PgConnection>>,
}

/// Takes every slot; returns when a further session is refused and nobody else has one.
///
/// What is free is taken first, while the sessions of others live on, as that takes seconds; only then are they ended and
/// their slots taken, which is a moment. So the fault begins all at once.
async fn take(url: &str) -> Result<Slots, FaultError> {
    let mut held = vec![connect(url).await?];
    let taken = async |held: &mut Vec<PgConnection>| {
        wait::until("every free connection taken", TAKE_LIMIT, async || fill(url, held).await).await?;
        wait::until("every connection taken", TAKE_LIMIT, async || seize(url, held).await).await
    };
    taken(&mut held).await.map_err(|error| FaultError::Missed(error.to_string()))?;
    let (stop, url) = (CancellationToken::new(), url.to_owned());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        while stopped.run_until_cancelled(wait::pause(AGAIN)).await.is_some() {
            if let Err(error) = seize(&url, &mut held).await {
                tracing::debug!(error, "not every connection is taken");
            }
        }
        held
    });
    Ok(Slots { stop, task: AbortOnDropHandle::new(task) })
}

/// Takes what is free. `Err` when there may be more.
async fn fill(url: &str, held: &mut Vec<PgConnection>) -> Result<(), String> {
    let opened = futures_util::future::join_all((0..AT_ONCE).map(|_| connect(url))).await;
    let mut refused = false;
    for session in opened {
        match session {
            Ok(session) => held.push(session),
            Err(error) if is_too_many(&error) => refused = true,
            Err(error) => return Err(error.to_string()),
        }
    }
    if refused {
        Ok(())
    } else {
        Err(format!("{} sessions are held, and there are more to be had", held.len()))
    }
}

/// Ends the sessions of others and takes their slots. `Err` when there were any.
async fn seize(url: &str, held: &mut Vec<PgConnection>) -> Result<(), String> {
    let foreman = held.first_mut().ok_or("no session is left to work with")?;
    match terminate_others(foreman).await {
        Ok(0) => fill(url, held).await,
        Ok(others) => {
            // Their slots are free within milliseconds, and they are back for them within a fraction of a second.
            fill(url, held).await?;
            Err(format!("{others} sessions of others were still there"))
        }
        Err(error) => {
            // It was ended by somebody; the next one takes over.
            held.remove(0);
            Err(error.to_string())
        }
    }
}

/// Whether PostgreSQL refused a session for want of a slot.
fn is_too_many(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == TOO_MANY)
}

impl Slots {
    /// Gives every slot back; returns how many.
    async fn give_back(self) -> usize {
        self.stop.cancel();
        let held = self.task.await.unwrap_or_default();
        let count = held.len();
        // One that cannot say goodbye any more is closed by being dropped.
        futures_util::future::join_all(held.into_iter().map(Connection::close)).await;
        count
    }
}
