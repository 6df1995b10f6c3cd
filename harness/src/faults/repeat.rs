//! Faults that are blows, not states.

use std::{fmt::Display, time::Duration};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::wait;

/// Blows are struck this often until they end: clients come back within a second, and are to be hit again while they are
/// still busy recovering.
const STRIKE_EVERY: Duration = Duration::from_millis(1_000);

/// A blow that a task strikes again and again.
#[derive(Debug)]
pub(super) struct Repeating {
    stop: CancellationToken,
    task: AbortOnDropHandle<u64>,
}

/// No more blows. Says how often somebody was hit.
pub(super) async fn end(striking: &mut Option<Repeating>) -> Option<String> {
    let Repeating { stop, task } = striking.take()?;
    stop.cancel();
    let hits = task.await.unwrap_or(0);
    Some(format!("{hits} times more meanwhile"))
}

/// Strikes until it is told to end. The first blow is the caller's: it must have hit somebody.
pub(super) fn repeat<F, E>(blow: impl Fn() -> F + Send + 'static) -> Repeating
where
    F: Future<Output = Result<u64, E>> + Send,
    E: Display + Send,
{
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut hits = 0;
        while stopped.run_until_cancelled(wait::pause(STRIKE_EVERY)).await.is_some() {
            match blow().await {
                Ok(hit) => hits += hit,
                Err(error) => tracing::debug!(%error, "a blow missed"),
            }
        }
        hits
    });
    Repeating { stop, task: AbortOnDropHandle::new(task) }
}
