//! When a writer cannot reach PostgreSQL, and what else is broken meanwhile: part of [`super`].

use crate::{
    checkers::{Case, Finding, timelines::ProcessTimeline},
    plan::{Effects, ProcessName},
};

/// A time in which one writer cannot reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) name: String,
    pub(super) asked_us: u64,
    pub(super) from_us: u64,
    pub(super) heal_asked_us: u64,
    pub(super) healed_us: u64,
}

/// All such times of one writer.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// Proved, and shown healed; in order, those that run into each other made one.
    pub(super) proved: Vec<Outage>,
    /// From when to when something else may have kept the writer from resuming: a fault that was not proved, or never
    /// shown healed, or is done to the writer itself.
    hindered: Vec<(u64, u64)>,
}

impl Outages {
    /// Collects them. What lacks a proof is said in the finding.
    pub(super) fn of(case: &Case<'_>, writer: ProcessName, finding: &mut Finding) -> Self {
        let mut outages = Self::default();
        for window in &case.windows {
            let cut_off = window.effects.cannot_store().any(|one| one == writer);
            let times = (window.proved.as_ref(), window.heal_asked_us, window.ended_us());
            if let (true, (Some((proved_us, _)), Some(heal_asked_us), Some(healed_us))) = (cut_off, times) {
                let name = window.name.clone();
                let from_us = window.injected_us.unwrap_or(*proved_us);
                let asked_us = window.asked_us.unwrap_or(from_us);
                outages.proved.push(Outage { name, asked_us, from_us, heal_asked_us, healed_us });
                continue;
            }
            if cut_off {
                finding.unknown(|| format!("{}: no proof of when it began and ended", window.name));
            }
            if cut_off || window.effects.breaks(writer) {
                let ended_us = window.ended_us().unwrap_or(u64::MAX);
                outages.hindered.extend(window.began_us().map(|began_us| (began_us, ended_us)));
            }
        }
        outages.proved = merged(outages.proved);
        outages
    }

    /// When a writer's time to resume after an outage ends early: something else begins, or it ends itself.
    pub(super) fn next_us(&self, index: usize, writer: &ProcessTimeline<'_>, end_us: u64) -> Option<u64> {
        let healed_us = self.proved.get(index)?.healed_us;
        let next = self.proved.iter().skip(index + 1).map(|next| next.asked_us);
        let hindered = self.hindered.iter().filter(|(_, ended_us)| *ended_us > healed_us);
        let hindered = hindered.map(|(began_us, _)| *began_us);
        next.chain(hindered).chain(writer.first_end(healed_us, end_us)).min()
    }
}

/// Outages in order, those that run into each other made one: the next is in force before the last one's healing is asked
/// for. One that is only being injected by then does not yet keep the writer away.
fn merged(mut outages: Vec<Outage>) -> Vec<Outage> {
    outages.sort_by_key(|outage| outage.from_us);
    let mut merged: Vec<Outage> = Vec::new();
    for outage in outages {
        match merged.last_mut() {
            Some(last) if outage.from_us <= last.heal_asked_us => {
                last.asked_us = last.asked_us.min(outage.asked_us);
                last.heal_asked_us = last.heal_asked_us.max(outage.heal_asked_us);
                last.healed_us = last.healed_us.max(outage.healed_us);
            }
            _ => merged.push(outage),
        }
    }
    merged
}

/// True when another fault of the given sort touches an outage, or the ten seconds before it: a consumer group needs that
/// long to notice a member that is gone.
pub(super) fn others_broken(case: &Case<'_>, outage: &Outage, sort: impl Fn(&Effects) -> bool) -> bool {
    const GROUP_NOTICES_US: u64 = 10_000_000;
    let from_us = outage.asked_us.saturating_sub(GROUP_NOTICES_US);
    case.windows.iter().any(|window| sort(&window.effects) && window.touches(from_us, outage.healed_us))
}

/// The first ack, during an outage, of a message in a partition that the writer holds.
pub(super) fn first_work(case: &Case<'_>, writer: &ProcessTimeline<'_>, outage: &Outage) -> Option<u64> {
    let held = writer.partitions_at(outage.from_us);
    let mine = |partition: i32| held.as_ref().is_none_or(|held| held.contains(&partition));
    (0..case.history.messages())
        .filter_map(|message| {
            let outcome = case.history.outcome(message);
            let (at_us, (partition, _)) = (outcome.acked_us()?, case.place(message)?);
            ((outage.from_us..outage.heal_asked_us).contains(&at_us) && mine(partition)).then_some(at_us)
        })
        .min()
}
