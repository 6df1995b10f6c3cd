//! A rolling restart: SIGTERM, gone, started, ready, and the next. Like a deployment, it is over when the last is ready.
//!
//! **Evidence**: while it rolls, a process that is gone, or whose pid or start time in /proc are others than before; at
//! the end, for every process, that it was seen gone (no such pid, its address refuses), that pid or start time in /proc
//! are others than before, and that it is ready.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::alive;
use crate::{
    faults::{Fault, FaultError, Seen, SystemUnderTest},
    os::process::Identity,
    plan::ProcessName,
    wait,
};

/// A process that has ended is seen gone within this.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A rolling restart.
#[derive(Debug)]
pub(in crate::faults) struct RollingRestart {
    pub(in crate::faults) processes: Vec<ProcessName>,
    /// From a process that is ready to the SIGTERM of the next.
    pub(in crate::faults) gap: Duration,
    under_way: Option<UnderWay>,
}

/// One that has begun.
#[derive(Debug)]
struct UnderWay {
    before: Vec<(ProcessName, Option<Identity>)>,
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<Outcome>>,
    outcome: Outcome,
}

/// What has been done.
#[derive(Debug, Default)]
struct Outcome {
    /// What showed each process gone.
    gone: Vec<(ProcessName, String)>,
    /// The first thing that went wrong; the roll ended there.
    trouble: Option<String>,
}

async fn roll(
    sut: &SystemUnderTest,
    processes: &[ProcessName],
    gap: Duration,
    stopped: &CancellationToken,
) -> Outcome {
    let mut outcome = Outcome::default();
    for (turn, process) in processes.iter().enumerate() {
        if turn > 0 {
            stopped.run_until_cancelled(wait::pause(gap)).await;
        }
        if stopped.is_cancelled() {
            break;
        }
        match restart(sut, *process).await {
            Ok(gone) => outcome.gone.push((*process, gone)),
            Err(error) => {
                outcome.trouble = Some(format!("{process}: {error}"));
                break;
            }
        }
    }
    outcome
}

async fn restart(sut: &SystemUnderTest, process: ProcessName) -> Result<String, String> {
    // A process that had to be killed is started again all the same.
    let ended = sut.cluster.terminate(process).await.map_err(|error| error.to_string());
    let gone = wait::until("it gone", GONE_LIMIT, async || sut.cluster.observe_gone(process).await).await;
    sut.cluster.start(process).await.map_err(|error| error.to_string())?;
    ended?;
    gone.map_err(|error| error.to_string())
}

impl RollingRestart {
    pub(in crate::faults) fn new(processes: Vec<ProcessName>, gap: Duration) -> Self {
        Self { processes, gap, under_way: None }
    }
}

#[async_trait(?Send)]
impl Fault for RollingRestart {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let life = |process: &ProcessName| (*process, sut.cluster.incarnation(*process));
        let before = self.processes.iter().map(life).collect();
        let stop = CancellationToken::new();
        let (gap, stopped) = (self.gap, stop.clone());
        let (sut, processes) = (sut.clone(), self.processes.clone());
        // On a thread of its own: waiting for facts is nothing that may move between threads.
        let runtime = tokio::runtime::Handle::current();
        let task =
            tokio::task::spawn_blocking(move || runtime.block_on(roll(&sut, &processes, gap, &stopped)));
        let task = Some(AbortOnDropHandle::new(task));
        self.under_way = Some(UnderWay { before, stop, task, outcome: Outcome::default() });
        Ok(())
    }

    /// A process that is away, or is not the one from before.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let Some(under_way) = &self.under_way else { return away(&self.processes, sut).await };
        let mut instead = Vec::new();
        for (process, before) in &under_way.before {
            match sut.cluster.incarnation(*process) {
                Some(now) if *before != Some(now) => {
                    let age_ms = now.age().unwrap_or_default().as_millis();
                    return Ok(format!("{process} was started anew: pid {}, {age_ms} ms old", now.pid));
                }
                Some(now) => instead.push(format!("{process} still has pid {}", now.pid)),
                None => return away(&[*process], sut).await,
            }
        }
        Err(instead.join("; "))
    }

    /// Until the last process is ready, or one failed.
    async fn over(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.over().await;
        }
    }

    /// Lets the restart under way come to its end, begins no other, and shows that every process was restarted.
    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        match self.under_way.take() {
            Some(under_way) => under_way.end(sut).await.map(Some),
            None => Ok(None),
        }
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        alive(&self.processes, sut).await
    }
}

impl UnderWay {
    async fn over(&mut self) {
        if let Some(task) = self.task.as_mut() {
            self.outcome = match task.await {
                Ok(outcome) => outcome,
                Err(error) => Outcome { trouble: Some(error.to_string()), ..Outcome::default() },
            };
            self.task = None;
        }
    }

    async fn end(mut self, sut: &SystemUnderTest) -> Result<String, FaultError> {
        let in_time = self.task.as_ref().is_none_or(|task| task.is_finished());
        self.stop.cancel();
        self.over().await;
        let still = |text: String| Err(FaultError::StillThere(text));
        if let Some(trouble) = &self.outcome.trouble {
            return still(format!("the restart stopped at {trouble}"));
        }
        let (done, all) = (self.outcome.gone.len(), self.before.len());
        if !in_time || done < all {
            return still(format!(
                "only {done} of {all} processes were restarted in the time given by for_s"
            ));
        }
        let mut seen = Vec::new();
        for (process, before) in &self.before {
            let now = sut.cluster.incarnation(*process);
            match (before, now) {
                (Some(before), Some(now)) if *before != now => {
                    seen.push(format!("{process} was pid {} and is pid {}", before.pid, now.pid));
                }
                (_, now) => return still(format!("{process} was {before:?} and is {now:?}")),
            }
        }
        Ok(seen.join("; "))
    }
}

/// Looks for a process that is away at this moment.
async fn away(processes: &[ProcessName], sut: &SystemUnderTest) -> Result<String, String> {
    let mut instead = Vec::new();
    for process in processes {
        match sut.cluster.observe_gone(*process).await {
            Ok(gone) => return Ok(format!("{process}: {gone}")),
            Err(there) => instead.push(there),
        }
    }
    Err(instead.join("; "))
}
