//! Faults that grow: a toxic is changed in steps, from nothing to its full strength.

use std::{sync::Arc, time::Duration};

use tokio_util::task::AbortOnDropHandle;

use crate::{
    environment::{AppliedToxic, Environment},
    plan::Toxic,
};

/// Steps of a ramp. Each is a request to the proxy, and smooth enough: people do not feel a tenth.
const STEPS: u32 = 10;

/// The toxic a ramp begins with.
pub(super) fn first(toxic: &Toxic) -> Toxic {
    at(toxic, 1)
}

/// Changes toxics step by step until they are at their full strength.
pub(super) fn grow(
    environment: Arc<Environment>,
    applied: Vec<AppliedToxic>,
    toxic: Toxic,
    over: Duration,
) -> AbortOnDropHandle<()> {
    let task = tokio::spawn(async move {
        let mut pace = tokio::time::interval(over / STEPS);
        pace.tick().await;
        for step in 2..=STEPS {
            pace.tick().await;
            let strength = at(&toxic, step);
            let proxies = environment.proxies();
            let updates = applied.iter().map(|applied| proxies.update(applied, &strength));
            for error in futures_util::future::join_all(updates).await.into_iter().filter_map(Result::err) {
                // The evidence is looked for at full strength, so a step that failed for good is found out.
                tracing::warn!(%error, step, "a ramp missed a step");
            }
        }
        pace.tick().await;
    });
    AbortOnDropHandle::new(task)
}

/// A toxic at some tenths of its strength: of a delay that is so many tenths, of a bandwidth the inverse.
fn at(toxic: &Toxic, step: u32) -> Toxic {
    let tenth =
        |full: u32| u32::try_from(u64::from(full) * u64::from(step) / u64::from(STEPS)).unwrap_or(full);
    match toxic {
        Toxic::Latency { latency_ms, jitter_ms } => {
            Toxic::Latency { latency_ms: tenth(*latency_ms), jitter_ms: tenth(*jitter_ms) }
        }
        Toxic::Bandwidth { kbytes_per_s } => {
            Toxic::Bandwidth { kbytes_per_s: kbytes_per_s.saturating_mul(STEPS) / step.max(1) }
        }
        other => other.clone(),
    }
}

/// Waits for the end of a ramp.
pub(super) async fn grown(ramp: &mut Option<AbortOnDropHandle<()>>) {
    if let Some(growing) = ramp.as_mut() {
        // However it ended: what is there now is looked at next.
        let _ = growing.await;
        *ramp = None;
    }
}

/// Ends a ramp where it is.
pub(super) async fn cut(ramp: Option<AbortOnDropHandle<()>>) {
    if let Some(growing) = ramp {
        growing.abort();
        let _ = growing.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_grows_to_exactly_what_was_asked_for() {
        let latency = Toxic::Latency { latency_ms: 300, jitter_ms: 25 };
        assert_eq!(first(&latency), Toxic::Latency { latency_ms: 30, jitter_ms: 2 });
        assert_eq!(at(&latency, STEPS), latency);
        let bandwidth = Toxic::Bandwidth { kbytes_per_s: 20 };
        assert_eq!(first(&bandwidth), Toxic::Bandwidth { kbytes_per_s: 200 });
        assert_eq!(at(&bandwidth, STEPS), bandwidth);
    }
}
