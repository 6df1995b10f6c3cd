//! Lives of processes, as far as their logs tell: when each ran; of writers, which partitions they held, when they paused
//! and resumed.

use serde::{Deserialize, Serialize};

use crate::{
    history::{
        History, Lifecycle,
        index::{ProcessEvent, ProcessStep},
    },
    plan::ProcessName,
};

/// One pause of one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterPause {
    /// Which.
    pub writer: String,
    /// When it paused.
    pub paused_us: u64,
    /// When it resumed, if it did in the same life.
    pub resumed_us: Option<u64>,
    /// Times it asked PostgreSQL meanwhile.
    pub probes: u64,
    /// Why it paused.
    pub error: String,
}

/// The steps of one process.
#[derive(Debug)]
pub struct ProcessTimeline<'a> {
    /// Which.
    pub name: ProcessName,
    steps: Vec<&'a ProcessStep>,
}

impl<'a> ProcessTimeline<'a> {
    /// Collects a process's steps.
    pub fn of(history: &'a History, name: ProcessName) -> Self {
        let shown = name.to_string();
        let index = history.processes().iter().position(|known| *known == shown);
        let mine = |step: &&ProcessStep| Some(usize::from(step.process)) == index;
        Self { name, steps: history.process_steps().iter().filter(mine).collect() }
    }

    /// Contractual log lines from `from_us` to `to_us`.
    pub fn said(&self, from_us: u64, to_us: u64) -> impl Iterator<Item = (u64, &'a Lifecycle)> {
        let within = self.steps.iter().filter(move |step| (from_us..=to_us).contains(&step.at_us));
        within.filter_map(|step| match &step.what {
            ProcessEvent::Said(event) => Some((step.at_us, event)),
            _ => None,
        })
    }

    /// True when it ran at that time.
    pub fn ran_at(&self, at_us: u64) -> bool {
        let before = self.steps.iter().rev().find(|step| {
            step.at_us <= at_us
                && matches!(step.what, ProcessEvent::Started { .. } | ProcessEvent::Exited { .. })
        });
        before.is_some_and(|step| matches!(step.what, ProcessEvent::Started { .. }))
    }

    /// True when it ended between two times.
    pub fn ended_between(&self, from_us: u64, to_us: u64) -> bool {
        self.first_end(from_us, to_us).is_some()
    }

    /// When it first ended between two times.
    pub fn first_end(&self, from_us: u64, to_us: u64) -> Option<u64> {
        let exits = self.steps.iter().filter(|step| matches!(step.what, ProcessEvent::Exited { .. }));
        exits.map(|step| step.at_us).find(|at_us| (from_us..=to_us).contains(at_us))
    }

    /// Of a writer: partitions it held at that time; none when its log does not tell.
    pub fn partitions_at(&self, at_us: u64) -> Option<Vec<i32>> {
        let mut held: Option<Vec<i32>> = None;
        for step in self.steps.iter().filter(|step| step.at_us <= at_us) {
            match &step.what {
                ProcessEvent::Started { .. } => held = None,
                ProcessEvent::Said(Lifecycle::WriterAssigned { partitions }) => {
                    held.get_or_insert_default().extend(numbers(partitions));
                }
                ProcessEvent::Said(Lifecycle::WriterRevoked { partitions }) => {
                    let gone: Vec<i32> = numbers(partitions).collect();
                    held.get_or_insert_default().retain(|partition| !gone.contains(partition));
                }
                _ => {}
            }
        }
        held
    }

    /// Of a writer: its pauses, in order. Lines repeated while it is paused belong to the same pause.
    pub fn pauses(&self) -> Vec<WriterPause> {
        let mut pauses: Vec<WriterPause> = Vec::new();
        let mut open = false;
        for step in &self.steps {
            match &step.what {
                ProcessEvent::Said(Lifecycle::WriterPaused { error }) if !open => {
                    open = true;
                    pauses.push(WriterPause {
                        writer: self.name.to_string(),
                        paused_us: step.at_us,
                        resumed_us: None,
                        probes: 0,
                        error: error.clone(),
                    });
                }
                ProcessEvent::Said(Lifecycle::WriterProbed { .. }) if open => {
                    if let Some(pause) = pauses.last_mut() {
                        pause.probes += 1;
                    }
                }
                ProcessEvent::Said(Lifecycle::WriterResumed { .. }) if open => {
                    open = false;
                    if let Some(pause) = pauses.last_mut() {
                        pause.resumed_us = Some(step.at_us);
                    }
                }
                ProcessEvent::Exited { .. } | ProcessEvent::Started { .. } => open = false,
                _ => {}
            }
        }
        pauses
    }
}

fn numbers(list: &str) -> impl Iterator<Item = i32> {
    list.split(',').filter_map(|number| number.trim().parse().ok())
}
