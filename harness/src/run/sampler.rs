//! Once a second: what each process costs, for the history; and how the run stands, for whoever watches.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    faults::{SystemUnderTest, player::InForce},
    history::{EventKind, Recorder},
    load::LiveStats,
    os::process::{Usage, usage_of_trees},
    plan::Plan,
    progress::Progress,
    wait,
};

const EVERY: Duration = Duration::from_secs(1);
/// A log in CI wants a line now and then, not every second.
const PLAIN_LINE_EVERY_S: u64 = 5;

/// A task that repeats until stopped.
#[derive(Debug)]
pub(super) struct Repeating {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Repeating {
    fn spawn<F: Future<Output = ()> + Send>(mut each: impl FnMut(u64) -> F + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            for tick in 0.. {
                each(tick).await;
                if stopped.run_until_cancelled(wait::pause(EVERY)).await.is_none() {
                    return;
                }
            }
        });
        Self { stop, task: AbortOnDropHandle::new(task) }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "a sampler failed");
        }
    }
}

/// Samples from /proc every process of the cluster, and the services and proxies as far as they run on this machine.
pub(super) fn start(sut: SystemUnderTest, recorder: Recorder) -> Repeating {
    Repeating::spawn(move |_| {
        let (sut, recorder) = (sut.clone(), recorder.clone());
        async move {
            for (name, pid) in sut.cluster.pids().await {
                if let Some(usage) = Usage::of(pid) {
                    recorder.record(sample(name.to_string(), usage));
                }
            }
            let (names, pids): (Vec<_>, Vec<_>) = sut.environment.pids().into_iter().unzip();
            for (name, usage) in names.into_iter().zip(usage_of_trees(&pids)) {
                if let Some(usage) = usage {
                    recorder.record(sample(name, usage));
                }
            }
        }
    })
}

fn sample(process: String, usage: Usage) -> EventKind {
    let Usage { rss_kib, open_files, threads, cpu_ms } = usage;
    EventKind::Sample { process, rss_kib, open_files, threads, cpu_ms }
}

/// Tells how the load stands.
pub(super) fn show(
    plan: &Plan,
    zero: Instant,
    stats: &Arc<LiveStats>,
    in_force: &InForce,
    progress: &Progress,
) -> Repeating {
    let total_s = plan.load.duration_ms / 1_000;
    let users = plan.load.users;
    let (stats, in_force, progress) = (Arc::clone(stats), in_force.clone(), progress.clone());
    Repeating::spawn(move |tick| {
        let line = format!(
            "{:>3} / {total_s} s   users {}/{users}   sent {}   acked {}   open {}   received {}   {}",
            zero.elapsed().as_secs(),
            stats.connected.load(Relaxed),
            stats.sent.load(Relaxed),
            stats.acked.load(Relaxed),
            stats.indeterminate.load(Relaxed),
            stats.received.load(Relaxed),
            in_force.describe().unwrap_or_else(|| "healthy".to_owned()),
        );
        if progress.is_live() {
            progress.now(line);
        } else if tick % PLAIN_LINE_EVERY_S == 0 {
            progress.say(line);
        }
        async {}
    })
}
