//! Fault windows: when each planned fault was asked for, proved, and healed, and when users were back to normal.

use crate::{
    history::{FaultStep, History},
    plan::{Effects, Plan, PlannedFault},
};

/// One planned fault as it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Index into `plan.faults`.
    pub fault: usize,
    /// What broke, for people.
    pub name: String,
    /// What it does to the cluster.
    pub effects: Effects,
    /// When injection began.
    pub asked_us: Option<u64>,
    /// When the injector said it was done.
    pub injected_us: Option<u64>,
    /// When an independent probe showed it, and what it saw.
    pub proved: Option<(u64, String)>,
    /// When healing began.
    pub heal_asked_us: Option<u64>,
    /// When a probe showed it gone, and what it saw.
    pub healed: Option<(u64, String)>,
    /// The first thing that went wrong with the fault itself.
    pub trouble: Option<String>,
}

impl Window {
    /// Reads one fault's steps.
    pub fn of(plan: &Plan, history: &History, fault: usize, planned: &PlannedFault) -> Self {
        let mut window = Self {
            fault,
            name: planned.fault.to_string(),
            effects: plan.effects(&planned.fault),
            asked_us: None,
            injected_us: None,
            proved: None,
            heal_asked_us: None,
            healed: None,
            trouble: None,
        };
        for (at_us, step) in history.fault(fault) {
            let at_us = *at_us;
            match step {
                FaultStep::Asked => _ = window.asked_us.get_or_insert(at_us),
                FaultStep::Injected => _ = window.injected_us.get_or_insert(at_us),
                FaultStep::Proved { evidence } => {
                    window.proved.get_or_insert_with(|| (at_us, evidence.clone()));
                }
                FaultStep::HealAsked => _ = window.heal_asked_us.get_or_insert(at_us),
                FaultStep::Healed { evidence } => {
                    window.healed.get_or_insert_with(|| (at_us, evidence.clone()));
                }
                FaultStep::Unproved { evidence } => {
                    window.trouble.get_or_insert_with(|| format!("not shown to be in force: {evidence}"));
                }
                FaultStep::Failed { error } => {
                    window.trouble.get_or_insert_with(|| format!("could not be injected: {error}"));
                }
                FaultStep::HealFailed { error } => {
                    window.trouble.get_or_insert_with(|| format!("could not be healed: {error}"));
                }
            }
        }
        window
    }

    /// When users may first have felt it.
    pub fn began_us(&self) -> Option<u64> {
        self.asked_us.or(self.injected_us).or(self.proved.as_ref().map(|(at_us, _)| *at_us))
    }

    /// When it was over: shown healed, or never.
    pub fn ended_us(&self) -> Option<u64> {
        self.healed.as_ref().map(|(at_us, _)| *at_us)
    }

    /// True when it may have been in force at some moment between two times. One that was never shown healed is in force
    /// to the end.
    pub fn touches(&self, from_us: u64, to_us: u64) -> bool {
        let ended_us = self.ended_us().unwrap_or(u64::MAX);
        self.began_us().is_some_and(|began_us| began_us <= to_us && ended_us >= from_us)
    }

    /// The time in which it is proved to have been in force.
    pub fn in_force(&self) -> Option<(u64, u64)> {
        let from = self.proved.as_ref()?.0;
        let to = self.heal_asked_us.or(self.ended_us())?;
        (from < to).then_some((from, to))
    }
}

/// The windows of all planned faults.
pub fn windows(plan: &Plan, history: &History) -> Vec<Window> {
    plan.faults.iter().enumerate().map(|(fault, planned)| Window::of(plan, history, fault, planned)).collect()
}
