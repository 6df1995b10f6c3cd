//! Every connection that PostgreSQL has to give, taken: the sessions of others are ended and their slots filled with idle
//! sessions of the harness, reserved ones included, until nothing is left.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    faults::{FaultError, postgres},
    wait,
};

/// SQLSTATE of "sorry, too many clients already".
pub(super) const TOO_MANY: &str = "53300";

/// Sessions opened side by side: enough to be done soon, few enough not to starve a small machine.
const AT_ONCE: usize = 12;
/// Longest time to take every slot. There are a few hundred at most, and a log-in is some milliseconds of hashing.
const TAKE_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether a slot has become free: a session that the harness had meanwhile has ended.
const AGAIN: Duration = Duration::from_millis(200);

/// All slots, held until given back. Dropped, they are given back as well.
#[derive(Debug)]
pub(super) struct Slots {
    stop: CancellationToken,
    task: AbortOnDropHandle<Vec<PgConnection>>,
}

/// Takes every slot; returns when a further session is refused and nobody else has one.
///
/// What is free is taken first, while the sessions of others live on, as that takes seconds; only then are they ended and
/// their slots taken, which is a moment. So the fault begins all at once.
pub(super) async fn take(url: &str) -> Result<Slots, FaultError> {
    let mut held = vec![postgres::connect(url).await?];
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
    let opened = futures_util::future::join_all((0..AT_ONCE).map(|_| postgres::connect(url))).await;
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
    match postgres::terminate_others(foreman).await {
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
pub(super) fn is_too_many(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == TOO_MANY)
}

impl Slots {
    /// Gives every slot back; returns how many.
    pub(super) async fn give_back(self) -> usize {
        self.stop.cancel();
        let held = self.task.await.unwrap_or_default();
        let count = held.len();
        // One that cannot say goodbye any more is closed by being dropped.
        futures_util::future::join_all(held.into_iter().map(Connection::close)).await;
        count
    }
}
