//! Once a second: what each process costs, for the history; and how the run stands, for whoever watches.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    cluster::Cluster,
    faults::player::InForce,
    history::{EventKind, Recorder},
    load::LiveStats,
    os::process::Usage,
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

/// Samples every process of the cluster from /proc.
pub(super) fn start(cluster: Arc<Cluster>, recorder: Recorder) -> Repeating {
    Repeating::spawn(move |_| {
        let (cluster, recorder) = (Arc::clone(&cluster), recorder.clone());
        async move {
            for (name, pid) in cluster.pids().await {
                if let Some(sample) = sample(&name.to_string(), pid) {
                    recorder.record(sample);
                }
            }
        }
    })
}

fn sample(process: &str, pid: u32) -> Option<EventKind> {
    let Usage { rss_kib, open_files, threads, cpu_ms } = Usage::of(pid)?;
    Some(EventKind::Sample { process: process.to_owned(), rss_kib, open_files, threads, cpu_ms })
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
