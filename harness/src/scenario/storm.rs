//! `[storm]`: faults drawn from the seed within a stated budget, so that liveness can still be demanded.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    plan::{FaultKind, PlannedFault, ProcessName, Service, Toxic, fault::Direction},
    scenario::{
        error::{ScenarioError, Source, suggestion},
        faults::{Bounds, REDIAL_EVERY_MS},
        ms,
    },
};

/// What a storm may draw.
const WEATHER: [&str; 14] = [
    "node-kill",
    "node-pause",
    "writer-kill",
    "writer-pause",
    "redis-stop",
    "redis-black-hole",
    "redis-client-kill",
    "redis-half-close",
    "postgres-stop",
    "postgres-black-hole",
    "postgres-terminate",
    "kafka-latency",
    "client-crash",
    "reconnect-storm",
];

/// Of all users, in percent: those that a storm strikes at once. The others keep the load going.
const STRUCK_PERCENT: u32 = 30;

/// The budget of a storm. Faults never overlap by more than `at_once`, at most one node and one writer are hurt at any
/// time, and each service is away for at most its share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storm {
    from_s: Spanned<f64>,
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
    weather: Vec<Spanned<String>>,
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
        for name in &self.weather {
            if !WEATHER.contains(&name.as_ref().as_str()) {
                return Err(source.refuse_with_help(
                    name.span(),
                    format!("`{}` is no weather", name.as_ref()),
                    suggestion(name.as_ref(), WEATHER),
                ));
            }
        }
        let weather: Vec<&str> = if self.weather.is_empty() {
            WEATHER.to_vec()
        } else {
            self.weather.iter().map(|name| name.as_ref().as_str()).collect()
        };
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
            let name = *weather.choose(&mut rng).unwrap_or(&WEATHER[0]);
            let node = ProcessName::Node(rng.random_range(1..=bounds.nodes));
            let writer = ProcessName::Writer(rng.random_range(1..=bounds.writers));
            if at_ms + for_ms > until_ms {
                return Ok(drawn);
            }
            let candidate = PlannedFault { at_ms, for_ms, fault: fault_of(name, bounds, node, writer) };
            if self.fits(&drawn, &candidate, until_ms - from_ms) {
                drawn.push(candidate);
            }
        }
    }

    fn fits(&self, drawn: &[PlannedFault], candidate: &PlannedFault, length_ms: u64) -> bool {
        // A fault needs a moment to be healed and verified before the same thing may be hurt again.
        const HEALING_MS: u64 = 3_000;
        let overlapping: Vec<&PlannedFault> =
            drawn.iter().filter(|fault| fault.at_ms + fault.for_ms + HEALING_MS > candidate.at_ms).collect();
        if overlapping.len() >= *self.at_once.as_ref() {
            return false;
        }
        if overlapping.iter().any(|fault| victim(&fault.fault) == victim(&candidate.fault)) {
            return false;
        }
        let away: u64 = drawn
            .iter()
            .chain([candidate])
            .filter(|fault| victim(&fault.fault) == Victim::Service(Service::Postgres))
            .map(|fault| fault.for_ms)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of at most an hour")]
        let share = away as f64 / length_ms as f64;
        share <= *self.postgres_down_max_share.as_ref()
    }
}

/// What must not be hurt twice at once.
#[derive(Debug, PartialEq, Eq)]
enum Victim {
    Nodes,
    Writers,
    Service(Service),
    Clients,
}

fn victim(fault: &FaultKind) -> Victim {
    match fault {
        FaultKind::ServiceStop { service }
        | FaultKind::ServiceKill { service }
        | FaultKind::ServicePause { service } => Victim::Service(*service),
        FaultKind::LinkDown { links }
        | FaultKind::LinkToxic { links, .. }
        | FaultKind::LinkHalfClose { links } => {
            Victim::Service(links.first().map_or(Service::Kafka, |link| link.service))
        }
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes }
        | FaultKind::RollingRestart { processes, .. }
        | FaultKind::ProcessClockSkew { processes, .. } => match processes.first() {
            Some(ProcessName::Writer(_)) => Victim::Writers,
            _ => Victim::Nodes,
        },
        FaultKind::RedisClientKill | FaultKind::RedisOutputBuffer { .. } => Victim::Service(Service::Redis),
        FaultKind::PostgresTerminate
        | FaultKind::PostgresReadOnly
        | FaultKind::PostgresLock
        | FaultKind::PostgresConnectionLimit
        | FaultKind::PostgresDiskFull => Victim::Service(Service::Postgres),
        FaultKind::KafkaPoison | FaultKind::KafkaPartitionsAdded { .. } => Victim::Service(Service::Kafka),
        FaultKind::KafkaRebalance => Victim::Writers,
        FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. } => Victim::Clients,
    }
}

fn fault_of(name: &str, bounds: &Bounds, node: ProcessName, writer: ProcessName) -> FaultKind {
    let links = |pattern: &str| bounds.links(pattern).unwrap_or_default();
    match name {
        "node-kill" => FaultKind::ProcessKill { processes: vec![node] },
        "node-pause" => FaultKind::ProcessPause { processes: vec![node] },
        "writer-kill" => FaultKind::ProcessKill { processes: vec![writer] },
        "writer-pause" => FaultKind::ProcessPause { processes: vec![writer] },
        "redis-stop" => FaultKind::ServiceStop { service: Service::Redis },
        "redis-black-hole" => FaultKind::LinkToxic {
            links: links("node-*->redis"),
            toxic: Toxic::BlackHole,
            direction: Direction::Downstream,
            ramp_ms: 0,
        },
        "redis-client-kill" => FaultKind::RedisClientKill,
        "redis-half-close" => FaultKind::LinkHalfClose { links: links("node-*->redis") },
        "postgres-terminate" => FaultKind::PostgresTerminate,
        "postgres-stop" => FaultKind::ServiceStop { service: Service::Postgres },
        "postgres-black-hole" => FaultKind::LinkToxic {
            links: links("writer-*->postgres"),
            toxic: Toxic::BlackHole,
            direction: Direction::Both,
            ramp_ms: 0,
        },
        "client-crash" => FaultKind::ClientCrash { share_percent: STRUCK_PERCENT },
        "reconnect-storm" => FaultKind::ClientReconnectStorm {
            share_percent: STRUCK_PERCENT,
            redial_every_ms: REDIAL_EVERY_MS,
        },
        _ => FaultKind::LinkToxic {
            links: links("node-*->kafka"),
            toxic: Toxic::Latency { latency_ms: 50, jitter_ms: 20 },
            direction: Direction::Downstream,
            ramp_ms: 0,
        },
    }
}
