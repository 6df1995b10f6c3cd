//! `[storm]`: faults drawn from the seed within a stated budget, so that liveness can still be demanded.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use toml::Spanned;

use super::written::seconds;
use crate::{
    plan::{Effects, FaultKind, LinkName, PlannedFault, ProcessName, Service, Toxic, fault::Direction},
    scenario::{
        error::{ScenarioError, Source, suggestion},
        faults::{Bounds, REDIAL_EVERY_MS},
        ms,
    },
};

/// What a fault is drawn for: the cluster, and the node and the writer that are hurt if one is.
struct Drawn<'a> {
    bounds: &'a Bounds,
    node: ProcessName,
    writer: ProcessName,
}

impl Drawn<'_> {
    fn links(&self, pattern: &str) -> Vec<LinkName> {
        self.bounds.links(pattern).unwrap_or_default()
    }
}

/// The fault that a kind of weather makes of what was drawn.
type Draw = fn(&Drawn<'_>) -> FaultKind;

/// What a storm may draw, by the names that a scenario gives.
const KINDS: [(&str, Draw); 14] = [
    ("node-kill", |drawn| FaultKind::ProcessKill { processes: vec![drawn.node] }),
    ("node-pause", |drawn| FaultKind::ProcessPause { processes: vec![drawn.node] }),
    ("writer-kill", |drawn| FaultKind::ProcessKill { processes: vec![drawn.writer] }),
    ("writer-pause", |drawn| FaultKind::ProcessPause { processes: vec![drawn.writer] }),
    ("redis-stop", |_| FaultKind::ServiceStop { service: Service::Redis }),
    ("redis-black-hole", |drawn| FaultKind::LinkToxic {
        links: drawn.links("node-*->redis"),
        toxic: Toxic::BlackHole,
        direction: Direction::Downstream,
        ramp_ms: 0,
    }),
    ("redis-client-kill", |_| FaultKind::RedisClientKill),
    ("redis-half-close", |drawn| FaultKind::LinkHalfClose { links: drawn.links("node-*->redis") }),
    ("postgres-stop", |_| FaultKind::ServiceStop { service: Service::Postgres }),
    ("postgres-black-hole", |drawn| FaultKind::LinkToxic {
        links: drawn.links("writer-*->postgres"),
        toxic: Toxic::BlackHole,
        direction: Direction::Both,
        ramp_ms: 0,
    }),
    ("postgres-terminate", |_| FaultKind::PostgresTerminate),
    ("kafka-latency", |drawn| FaultKind::LinkToxic {
        links: drawn.links("node-*->kafka"),
        toxic: Toxic::Latency { latency_ms: 50, jitter_ms: 20 },
        direction: Direction::Downstream,
        ramp_ms: 0,
    }),
    ("client-crash", |_| FaultKind::ClientCrash { share_percent: STRUCK_PERCENT }),
    ("reconnect-storm", |_| FaultKind::ClientReconnectStorm {
        share_percent: STRUCK_PERCENT,
        redial_every_ms: REDIAL_EVERY_MS,
    }),
];

/// Of all users, in percent: those that a storm strikes at once. The others keep the load going.
const STRUCK_PERCENT: u32 = 30;

/// The budget of a storm. Faults never overlap by more than `at_once`, at most one node and one writer are hurt at any
/// time, and each service is away for at most its share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storm {
    #[serde(deserialize_with = "seconds")]
    from_s: Spanned<f64>,
    #[serde(deserialize_with = "seconds")]
    until_s: Spanned<f64>,
    /// Calm between the starts of faults, drawn from this range.
    gap_s: Spanned<[f64; 2]>,
    /// Length of a fault, drawn from this range.
    length_s: Spanned<[f64; 2]>,
    /// Faults in force at once, at most.
    #[serde(default = "default_at_once")]
    at_once: Spanned<usize>,
    /// Longest share of the storm that PostgreSQL may be away.
    #[serde(default = "default_share")]
    postgres_down_max_share: Spanned<f64>,
    /// What may happen; all of it when left out.
    #[serde(default)]
    kinds: Vec<Spanned<String>>,
}

fn default_at_once() -> Spanned<usize> {
    Spanned::new(0..0, 2)
}
fn default_share() -> Spanned<f64> {
    Spanned::new(0..0, 0.4)
}

impl Storm {
    /// Where it stands in the file.
    pub(crate) fn span(&self) -> std::ops::Range<usize> {
        self.from_s.span()
    }

    /// Draws the faults. Equal seeds draw equal storms.
    pub(crate) fn draw(
        &self,
        source: &Source<'_>,
        bounds: &Bounds,
        seed: u64,
    ) -> Result<Vec<PlannedFault>, ScenarioError> {
        let until_ms = ms(self.until_s.as_ref().clamp(0.0, 3_600.0));
        let from_ms = ms(self.from_s.as_ref().clamp(0.0, 3_600.0));
        if until_ms > bounds.duration_ms || from_ms >= until_ms {
            return Err(source.refuse(
                self.until_s.span(),
                "a storm lies within the load: from_s < until_s <= duration_s",
            ));
        }
        for (range, name) in [(&self.gap_s, "gap_s"), (&self.length_s, "length_s")] {
            let [low, high] = *range.as_ref();
            if !(low.is_finite() && high.is_finite() && 0.1 <= low && low <= high && high <= 3_600.0) {
                return Err(
                    source.refuse(range.span(), format!("{name} must be [shortest, longest], from 0.1 s"))
                );
            }
        }
        let mut drawable: Vec<fn(&Drawn<'_>) -> FaultKind> = Vec::new();
        for name in &self.kinds {
            let Some((_, draw)) = KINDS.iter().find(|(known, _)| known == name.as_ref()) else {
                return Err(source.refuse_with_help(
                    name.span(),
                    format!("`{}` is not a fault that a storm may draw", name.as_ref()),
                    suggestion(name.as_ref(), KINDS.map(|(known, _)| known)),
                ));
            };
            drawable.push(*draw);
        }
        if drawable.is_empty() {
            drawable.extend(KINDS.iter().map(|(_, draw)| draw));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5707_4111);
        let range = |of: &Spanned<[f64; 2]>, rng: &mut ChaCha8Rng| {
            let [low, high] = *of.as_ref();
            ms(rng.random_range(low..=high))
        };
        let mut drawn: Vec<PlannedFault> = Vec::new();
        let mut at_ms = from_ms;
        loop {
            at_ms += range(&self.gap_s, &mut rng);
            let for_ms = range(&self.length_s, &mut rng);
            let draw = drawable.choose(&mut rng).unwrap_or(&KINDS[0].1);
            let node = ProcessName::Node(rng.random_range(1..=bounds.nodes));
            let writer = ProcessName::Writer(rng.random_range(1..=bounds.writers));
            if at_ms + for_ms > until_ms {
                return Ok(drawn);
            }
            let candidate = PlannedFault { at_ms, for_ms, fault: draw(&Drawn { bounds, node, writer }) };
            if self.fits(bounds, &drawn, &candidate, until_ms - from_ms) {
                drawn.push(candidate);
            }
        }
    }

    fn fits(
        &self,
        bounds: &Bounds,
        drawn: &[PlannedFault],
        candidate: &PlannedFault,
        length_ms: u64,
    ) -> bool {
        // A fault needs a moment to be healed and verified before the same thing may be hurt again.
        const HEALING_MS: u64 = 3_000;
        let overlapping: Vec<&PlannedFault> =
            drawn.iter().filter(|fault| fault.at_ms + fault.for_ms + HEALING_MS > candidate.at_ms).collect();
        if overlapping.len() >= *self.at_once.as_ref() {
            return false;
        }
        let victims_of =
            |planned: &PlannedFault| victims(&Effects::of(bounds.nodes, bounds.writers, &planned.fault));
        let hurt = victims_of(candidate);
        if overlapping.iter().any(|fault| victims_of(fault).iter().any(|victim| hurt.contains(victim))) {
            return false;
        }
        let away: u64 = drawn
            .iter()
            .chain([candidate])
            .filter(|fault| victims_of(fault).contains(&Victim::Service(Service::Postgres)))
            .map(|fault| fault.for_ms)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of at most an hour")]
        let share = away as f64 / length_ms as f64;
        share <= *self.postgres_down_max_share.as_ref()
    }
}

/// What must not be hurt twice at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Nodes,
    Writers,
    Service(Service),
    Clients,
}

fn victims(effects: &Effects) -> Vec<Victim> {
    let of = |process: ProcessName| match process {
        ProcessName::Node(_) => Victim::Nodes,
        ProcessName::Writer(_) => Victim::Writers,
    };
    let mut victims: Vec<Victim> = effects.broken().chain(effects.clocks()).map(of).collect();
    victims.extend(effects.services().map(Victim::Service));
    victims.extend(effects.regroups.then_some(Victim::Writers));
    victims.extend(effects.clients.map(|_| Victim::Clients));
    victims
}
