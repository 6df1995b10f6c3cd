//! The only place that polls: wait for a fact, with a name, a limit, and the last thing seen when it did not come.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// A fact that did not come true in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("waited {waited_ms} ms for {what}; last seen: {last}")]
pub struct WaitError {
    /// The fact, as a noun phrase: "node-2 ready".
    pub what: String,
    /// How long was waited.
    pub waited_ms: u128,
    /// What the last probe said instead.
    pub last: String,
}

/// How often a probe is repeated unless the caller knows better: fast enough not to be felt, slow enough not to be load.
pub const PROBE_EVERY: Duration = Duration::from_millis(50);

/// Repeats `probe` until it returns `Ok`, or `limit` has passed. `Err` says what is the case instead.
///
/// A probe that hangs does not extend the wait: it is cut off at the limit.
///
/// # Errors
///
/// [`WaitError`] with the last state seen.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, WaitError> {
    let began = Instant::now();
    let deadline = tokio::time::Instant::now() + limit;
    let mut last = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => last = format!("{last} (the probe did not answer)"),
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(WaitError { what: what.to_owned(), waited_ms: began.elapsed().as_millis(), last });
        }
        pause(PROBE_EVERY.min(deadline.saturating_duration_since(tokio::time::Instant::now()))).await;
    }
}

/// Lets time pass. For pacing (a load schedule, a fault's length, a sampling interval), never for hoping.
pub async fn pause(length: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one sanctioned sleep; callers pace, they do not hope"
    )]
    tokio::time::sleep(length).await;
}

/// Lets time pass until an instant. For pacing.
pub async fn pause_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fact_that_never_comes_is_reported_with_its_last_state() {
        let mut asked = 0;
        let error = until("the moon", Duration::from_millis(200), async || {
            asked += 1;
            Err::<(), _>(format!("asked {asked} times"))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
        assert!(error.last.starts_with("asked "), "{error}");
    }

    #[tokio::test]
    async fn a_hanging_probe_is_cut_off_at_the_limit() {
        let error = until("an answer", Duration::from_millis(100), async || {
            std::future::pending::<()>().await;
            Err::<(), _>("unreachable")
        })
        .await
        .unwrap_err();
        assert!(error.last.contains("did not answer"), "{error}");
    }
}
