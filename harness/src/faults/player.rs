//! Plays the timeline: each fault at its time, proved, held, healed, verified; every step in the history.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    faults::{self, PROBE_LIMIT, SystemUnderTest},
    history::{EventKind, FaultStep, Recorder},
    plan::{Plan, PlannedFault},
    progress::Progress,
    wait,
};

/// How long after its injection a fault may take to be seen. Longer than one probe, so a probe that raced is repeated.
const PROOF_LIMIT: Duration = Duration::from_secs(8);

/// One probe that meets a silent service or link, and a little more.
const ONE_PROBE: Duration = PROBE_LIMIT.saturating_add(Duration::from_millis(500));

/// The faults in force right now, for the live display.
#[derive(Debug, Clone, Default)]
pub struct InForce(Arc<Mutex<Vec<(u32, String)>>>);

impl InForce {
    /// "postgres stopped", or nothing.
    pub fn describe(&self) -> Option<String> {
        let list = self.0.lock().map(|list| list.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>());
        list.ok().filter(|list| !list.is_empty()).map(|list| list.join(" + "))
    }

    fn set(&self, fault: u32, text: Option<String>) {
        if let Ok(mut list) = self.0.lock() {
            list.retain(|(number, _)| *number != fault);
            list.extend(text.map(|text| (fault, text)));
        }
    }
}

/// Plays all faults of the plan. Returns when the last is healed; once `cancel` is called, every fault still in force
/// is healed at once and no other begins.
pub async fn play(
    plan: &Plan,
    zero: Instant,
    sut: &SystemUnderTest,
    recorder: &Recorder,
    in_force: &InForce,
    progress: &Progress,
    cancel: &CancellationToken,
) {
    let playing = (0_u32..).zip(&plan.faults).map(|(number, planned)| {
        let one = One {
            number,
            planned: planned.clone(),
            zero,
            sut: sut.clone(),
            recorder: recorder.clone(),
            in_force: in_force.clone(),
            progress: progress.clone(),
            cancel: cancel.clone(),
        };
        Box::pin(one.play())
    });
    futures_util::future::join_all(playing).await;
}

struct One {
    number: u32,
    planned: PlannedFault,
    zero: Instant,
    sut: SystemUnderTest,
    recorder: Recorder,
    in_force: InForce,
    progress: Progress,
    cancel: CancellationToken,
}

impl One {
    async fn play(self) {
        let begins = self.zero + Duration::from_millis(self.planned.at_ms);
        let ends = begins + Duration::from_millis(self.planned.for_ms);
        let early = begins - faults::lead(&self.planned.fault);
        if self.cancel.run_until_cancelled(wait::pause_until(early)).await.is_none() {
            return;
        }
        let name = self.planned.fault.to_string();
        self.step(FaultStep::Asked);
        let mut active = match faults::inject(&self.planned.fault, &self.sut).await {
            Ok(active) => active,
            Err(error) => {
                self.say(&format!("{name}: NOT injected: {error}"));
                return self.step(FaultStep::Failed { error: error.to_string() });
            }
        };
        self.cancel.run_until_cancelled(wait::pause_until(begins)).await;
        self.step(FaultStep::Injected);
        self.in_force.set(self.number, Some(name.clone()));
        self.cancel.run_until_cancelled(active.grown()).await;
        // An injection that took longer than the fault was to last leaves one good look all the same.
        let left = ends.saturating_duration_since(Instant::now()).max(ONE_PROBE);
        let look = async || active.prove(&self.sut).await;
        let proof = wait::until("evidence of the fault", PROOF_LIMIT.min(left), look).await;
        match proof {
            Ok(evidence) => {
                self.say(&format!("{name}: {evidence}"));
                self.step(FaultStep::Proved { evidence });
            }
            Err(error) => {
                self.say(&format!("{name}: NOT proved: {}", error.last));
                self.step(FaultStep::Unproved { evidence: error.last });
            }
        }
        let over = async {
            tokio::select! {
                () = wait::pause_until(ends) => {}
                () = active.over() => {}
            }
        };
        self.cancel.run_until_cancelled(over).await;
        self.step(FaultStep::HealAsked);
        let healed = active.heal(&self.sut).await;
        self.in_force.set(self.number, None);
        match healed {
            Ok(evidence) => {
                self.say(&format!("{name}: healed ({evidence})"));
                self.step(FaultStep::Healed { evidence });
            }
            Err(error) => {
                self.say(&format!("{name}: NOT healed: {error}"));
                self.step(FaultStep::HealFailed { error: error.to_string() });
            }
        }
    }

    fn step(&self, step: FaultStep) {
        self.recorder.record(EventKind::Fault { fault: self.number, step });
    }

    fn say(&self, text: &str) {
        self.progress.say(format!("  {:>5.1} s  {text}", self.zero.elapsed().as_secs_f64()));
    }
}
