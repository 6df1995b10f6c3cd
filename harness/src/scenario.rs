//! A scenario as its author wrote it. Parsing is strict: an unknown key or a bad value is refused with the file, the line
//! and a suggestion, because a misspelt fault that is silently left out makes a green run that tested nothing.

pub mod error;
pub mod faults;
pub mod library;
mod overlaps;
mod provable;
pub mod storm;
mod written;

use serde::Deserialize;
use toml::Spanned;

use crate::plan::{
    ArrivalShape, ClusterPlan, Expect, LATENESS_P99_MAX_MS, LoadPlan, PLAN_FORMAT, Plan, PlannedFault,
    REUSED_IDS_PER_1000, Topology,
};

pub use error::ScenarioError;
use error::Source;

/// Longest load: a run is a test, not a soak; longer ones are chained.
const DURATION_MAX_S: f64 = 3_600.0;
/// Most messages of one run: message numbers are `u32`, and a million is judged in half a minute.
const MESSAGES_MAX: f64 = 4_000_000.0;
/// Most users of one harness process: two file descriptors each, below the usual limit after it is raised.
const USERS_MAX: u32 = 20_000;
/// Most nodes or writers: each is a process with three proxies on one machine.
const PROCESSES_MAX: u16 = 16;

/// A scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for `squall list` and the report.
    title: Spanned<String>,
    #[serde(default)]
    cluster: Cluster,
    load: Load,
    #[serde(default)]
    fault: Vec<faults::FaultEntry>,
    storm: Option<storm::Storm>,
    #[serde(default)]
    expect: Expect,
    /// Longest wait for the ledgers to come to rest, in seconds.
    #[serde(default = "default_settle_s", deserialize_with = "written::seconds")]
    settle_s: Spanned<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Cluster {
    topology: Topology,
    nodes: Spanned<u16>,
    writers: Spanned<u16>,
    partitions: Spanned<i32>,
    tokens: bool,
    node_flags: Vec<String>,
    writer_flags: Vec<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            topology: Topology::default(),
            nodes: Spanned::new(0..0, 3),
            writers: Spanned::new(0..0, 2),
            partitions: Spanned::new(0..0, 12),
            tokens: true,
            node_flags: Vec::new(),
            writer_flags: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    users: Spanned<u32>,
    rooms: Spanned<u32>,
    #[serde(default = "one")]
    rooms_per_user: Spanned<u32>,
    rate_per_s: Spanned<f64>,
    #[serde(deserialize_with = "written::seconds")]
    duration_s: Spanned<f64>,
    #[serde(default = "default_warm_up_s", deserialize_with = "written::seconds")]
    warm_up_s: Spanned<f64>,
    #[serde(default = "default_body_bytes")]
    body_bytes: Spanned<[u32; 2]>,
    #[serde(default = "default_arrivals")]
    arrivals: ArrivalShape,
    #[serde(default = "default_ack_timeout_ms")]
    ack_timeout_ms: Spanned<u64>,
    #[serde(default = "default_lateness_ms")]
    lateness_p99_max_ms: Spanned<u64>,
}

fn one() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}
fn default_warm_up_s() -> Spanned<f64> {
    Spanned::new(0..0, 2.0)
}
fn default_body_bytes() -> Spanned<[u32; 2]> {
    Spanned::new(0..0, [40, 200])
}
fn default_arrivals() -> ArrivalShape {
    ArrivalShape::Poisson
}
fn default_ack_timeout_ms() -> Spanned<u64> {
    Spanned::new(0..0, 5_000)
}
fn default_lateness_ms() -> Spanned<u64> {
    Spanned::new(0..0, LATENESS_P99_MAX_MS)
}
fn default_settle_s() -> Spanned<f64> {
    Spanned::new(0..0, 60.0)
}

/// What the command line adds to a scenario.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// The seed; drawn by the caller when nobody chose one.
    pub seed: u64,
    /// The topology, whatever the scenario says.
    pub topology: Option<Topology>,
    /// A defect for the nodes.
    pub node_bug: Option<String>,
    /// A defect for the writers.
    pub writer_bug: Option<String>,
    /// Room prefix, unique where a database is shared.
    pub room_prefix: String,
}

impl Scenario {
    /// Reads a scenario and makes every choice.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`], pointing at the line.
    pub fn plan(name: &str, file: &str, text: &str, choices: &Choices) -> Result<Plan, ScenarioError> {
        let source = Source::new(file, text);
        let scenario: Self = toml::from_str(text).map_err(|error| source.refuse_toml(&error))?;
        scenario.resolve(name, &source, choices)
    }

    /// The title of a scenario, for `squall list`.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] when the file is not a scenario.
    pub fn title(file: &str, text: &str) -> Result<String, ScenarioError> {
        let source = Source::new(file, text);
        let scenario: Self = toml::from_str(text).map_err(|error| source.refuse_toml(&error))?;
        Ok(scenario.title.into_inner())
    }

    fn resolve(self, name: &str, source: &Source, choices: &Choices) -> Result<Plan, ScenarioError> {
        let at_least_one = |value: &Spanned<u32>, what: &str| match *value.as_ref() {
            0 => Err(source.refuse(value.span(), format!("{what} must be at least 1"))),
            n => Ok(n),
        };
        let seconds = |value: &Spanned<f64>, what: &str, max: f64| {
            let s = *value.as_ref();
            if s.is_finite() && (0.0..=max).contains(&s) {
                Ok(ms(s))
            } else {
                Err(source.refuse(value.span(), format!("{what} must be between 0 and {max} seconds")))
            }
        };
        let processes = |value: &Spanned<u16>, what: &str| match *value.as_ref() {
            n @ 1..=PROCESSES_MAX => Ok(n),
            _ => Err(source.refuse(value.span(), format!("{what} must be 1 to {PROCESSES_MAX}"))),
        };

        let nodes = processes(&self.cluster.nodes, "nodes")?;
        let writers = processes(&self.cluster.writers, "writers")?;
        let partitions = *self.cluster.partitions.as_ref();
        if !(1..=256).contains(&partitions) {
            return Err(source.refuse(self.cluster.partitions.span(), "partitions must be 1 to 256"));
        }
        let users = at_least_one(&self.load.users, "users")?;
        if users > USERS_MAX {
            return Err(source
                .refuse(self.load.users.span(), format!("at most {USERS_MAX} users fit in one harness")));
        }
        let rooms = at_least_one(&self.load.rooms, "rooms")?;
        let rooms_per_user = at_least_one(&self.load.rooms_per_user, "rooms_per_user")?;
        if rooms_per_user > rooms {
            return Err(source.refuse(
                self.load.rooms_per_user.span(),
                format!("a user cannot be in {rooms_per_user} rooms: there are {rooms}"),
            ));
        }
        let rate_per_s = *self.load.rate_per_s.as_ref();
        let duration_ms = seconds(&self.load.duration_s, "duration_s", DURATION_MAX_S)?;
        if !(rate_per_s.is_finite() && rate_per_s > 0.0) {
            return Err(source.refuse(self.load.rate_per_s.span(), "rate_per_s must be above 0"));
        }
        if rate_per_s * *self.load.duration_s.as_ref() > MESSAGES_MAX {
            return Err(source.refuse(
                self.load.rate_per_s.span(),
                format!("rate_per_s x duration_s is over {MESSAGES_MAX} messages, the most one run may send"),
            ));
        }
        let warm_up_ms = seconds(&self.load.warm_up_s, "warm_up_s", DURATION_MAX_S)?;
        if warm_up_ms >= duration_ms {
            return Err(
                source.refuse(self.load.warm_up_s.span(), "the warm-up must be shorter than the load")
            );
        }
        let [body_min_bytes, body_max_bytes] = *self.load.body_bytes.as_ref();
        let body_limit = chat_protocol::limits::BODY_MAX_BYTES;
        // A body is padded by whole words, so it may end up a few bytes longer than drawn.
        if body_min_bytes > body_max_bytes || body_max_bytes as usize + 16 > body_limit {
            return Err(source.refuse(
                self.load.body_bytes.span(),
                format!("body_bytes must be [smallest, largest], and at most {}", body_limit - 16),
            ));
        }
        let ack_timeout_ms = *self.load.ack_timeout_ms.as_ref();
        if !(100..=60_000).contains(&ack_timeout_ms) {
            return Err(source.refuse(self.load.ack_timeout_ms.span(), "ack_timeout_ms must be 100 to 60000"));
        }
        let lateness_p99_max_ms = *self.load.lateness_p99_max_ms.as_ref();
        if !(1..=10_000).contains(&lateness_p99_max_ms) {
            return Err(
                source.refuse(self.load.lateness_p99_max_ms.span(), "lateness_p99_max_ms must be 1 to 10000")
            );
        }

        let bounds = faults::Bounds { nodes, writers, duration_ms };
        let mut planned = Vec::new();
        for entry in &self.fault {
            let resolved = entry.resolve(source, &bounds)?;
            refuse_clash(source, &bounds, entry.span(), &planned, &resolved)?;
            planned.extend(resolved);
        }
        if let Some(storm) = &self.storm {
            let drawn = storm.draw(source, &bounds, choices.seed)?;
            refuse_clash(source, &bounds, storm.span(), &planned, &drawn)?;
            planned.extend(drawn);
        }
        planned.sort_by_key(|fault| fault.at_ms);

        Ok(Plan {
            format: PLAN_FORMAT,
            scenario: name.to_owned(),
            title: self.title.into_inner(),
            seed: choices.seed,
            cluster: ClusterPlan {
                topology: choices.topology.unwrap_or(self.cluster.topology),
                nodes,
                writers,
                partitions,
                tokens: self.cluster.tokens,
                node_flags: self.cluster.node_flags,
                writer_flags: self.cluster.writer_flags,
                node_bug: choices.node_bug.clone(),
                writer_bug: choices.writer_bug.clone(),
            },
            load: LoadPlan {
                users,
                rooms,
                rooms_per_user,
                room_prefix: choices.room_prefix.clone(),
                rate_per_s,
                arrivals: self.load.arrivals,
                body_min_bytes,
                body_max_bytes,
                warm_up_ms,
                duration_ms,
                ack_timeout_ms,
                lateness_p99_max_ms,
                reused_ids_per_1000: REUSED_IDS_PER_1000,
            },
            faults: planned,
            expect: self.expect,
            settle_limit_ms: seconds(&self.settle_s, "settle_s", DURATION_MAX_S)?,
        })
    }
}

fn refuse_clash(
    source: &Source<'_>,
    bounds: &faults::Bounds,
    span: std::ops::Range<usize>,
    earlier: &[PlannedFault],
    later: &[PlannedFault],
) -> Result<(), ScenarioError> {
    let mut pairs = later.iter().flat_map(|later| earlier.iter().map(move |earlier| (earlier, later)));
    match pairs.find_map(|(earlier, later)| overlaps::clash(bounds, earlier, later)) {
        Some(why) => Err(source.refuse(span, why)),
        None => Ok(()),
    }
}

/// Seconds, as people write them, to milliseconds, as the plan holds them.
fn ms(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be 0 to 3600 seconds"
    )]
    let ms = (seconds * 1_000.0).round() as u64;
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "a test"
[load]
users = 10
rooms = 2
rate_per_s = 50
duration_s = 20
[[fault]]
kind = "service-stop"
service = "postgres"
at_s = 5
for_s = 5
"#;

    fn refused(text: &str) -> String {
        let error = Scenario::plan("t", "t.toml", text, &Choices::default()).unwrap_err();
        format!("{:?}", miette::Report::new(error))
    }

    #[test]
    fn a_good_scenario_becomes_a_plan_with_everything_resolved() {
        let plan = Scenario::plan("t", "t.toml", GOOD, &Choices { seed: 7, ..Choices::default() }).unwrap();
        assert_eq!((plan.seed, plan.cluster.nodes, plan.cluster.writers), (7, 3, 2));
        assert_eq!(plan.faults[0].at_ms, 5_000);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn a_topology_is_the_scenarios_unless_somebody_chooses_another() {
        let text = GOOD.replace("[load]", "[cluster]\ntopology = \"relay\"\n[load]");
        let planned = |text: &str, choices: &Choices| {
            Scenario::plan("t", "t.toml", text, choices).unwrap().cluster.topology
        };
        let chosen = Choices { topology: Some(Topology::DurableFirst), ..Choices::default() };
        assert_eq!(planned(GOOD, &Choices::default()), Topology::DurableFirst);
        assert_eq!(planned(&text, &Choices::default()), Topology::Relay);
        assert_eq!(planned(&text, &chosen), Topology::DurableFirst);
        assert!(refused(&text.replace("\"relay\"", "\"realy\"")).contains("did you mean `relay`?"));
        // A plan of before there were two.
        let mut plan =
            serde_json::to_value(Scenario::plan("t", "t.toml", GOOD, &Choices::default()).unwrap()).unwrap();
        plan["cluster"].as_object_mut().unwrap().remove("topology").unwrap();
        assert_eq!(serde_json::from_value::<Plan>(plan).unwrap().cluster.topology, Topology::DurableFirst);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line_and_a_suggestion() {
        let shown = refused(&GOOD.replace("users = 10", "usres = 10"));
        assert!(shown.contains("usres") && shown.contains("did you mean `users`?"), "{shown}");
        assert!(shown.contains("t.toml:4"), "{shown}");
    }

    #[test]
    fn a_misspelt_kind_service_or_link_is_refused_with_a_suggestion() {
        assert!(
            refused(&GOOD.replace("service-stop", "service-stpo")).contains("did you mean `service-stop`?")
        );
        assert!(refused(&GOOD.replace("\"postgres\"", "\"postgers\"")).contains("did you mean `postgres`?"));
        let storm =
            "[storm]\nfrom_s = 1\nuntil_s = 5\ngap_s = [1.0, 2.0]\nlength_s = [1.0, 2.0]\nweather = []\n";
        assert!(refused(&format!("{GOOD}\n{storm}")).contains("`weather` is called `kinds` now"));
        let link = GOOD
            .replace("service-stop", "link-down")
            .replace("service = \"postgres\"", "link = \"node-9->redis\"");
        assert!(refused(&link).contains("node-9"), "{}", refused(&link));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        assert!(refused(&GOOD.replace("users = 10", "users = 0")).contains("at least 1"));
        assert!(refused(&GOOD.replace("at_s = 5", "at_s = 18")).contains("after the load"));
        assert!(refused(&GOOD.replace("rate_per_s = 50", "rate_per_s = -1")).contains("above 0"));
        assert!(refused(&GOOD.replace("at_s = 5", "at_s = \"five\"")).contains("t.toml:11"));
        assert!(refused(&GOOD.replace("for_s = 5", "for_s = 5\nlatency_ms = 3")).contains("latency_ms"));
        for odd in ["nan", "inf", "-1", "1e300"] {
            let shown = refused(&GOOD.replace("at_s = 5", &format!("at_s = {odd}")));
            assert!(shown.contains("t.toml:11"), "{odd}: {shown}");
            let shown = refused(&GOOD.replace("duration_s = 20", &format!("duration_s = {odd}")));
            assert!(shown.contains("t.toml:7"), "{odd}: {shown}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (written, ms) in
            [("5", 5_000), ("\"5s\"", 5_000), ("\"0m 5 s\"", 5_000), ("\"4500ms\"", 4_500), ("4.5", 4_500)]
        {
            let text = GOOD.replace("at_s = 5", &format!("at_s = {written}"));
            let plan = Scenario::plan("t", "t.toml", &text, &Choices::default()).unwrap();
            assert_eq!(plan.faults[0].at_ms, ms, "{written}");
        }
        let text = GOOD.replace("duration_s = 20", "duration_s = \"1m30s\"");
        let plan = Scenario::plan("t", "t.toml", &text, &Choices::default()).unwrap();
        assert_eq!(plan.load.duration_ms, 90_000);
        let text = GOOD.replace('\n', "\r\n");
        assert!(
            Scenario::plan("t", "t.toml", &text, &Choices::default()).is_ok(),
            "lines may end as on Windows"
        );
    }

    #[test]
    fn common_slips_are_told_what_to_write() {
        let shown = refused(&GOOD.replace("[[fault]]", "[fault]"));
        assert!(shown.contains("write [[fault]]"), "{shown}");
        let shown = refused(&GOOD.replace("for_s = 5", "for_s = 500ms"));
        assert!(shown.contains("t.toml:12") && shown.contains("\"500ms\""), "{shown}");
        let shown = refused(&GOOD.replace("for_s = 5", "for_s = true"));
        assert!(shown.contains("t.toml:12") && shown.contains("number of seconds"), "{shown}");
    }
}
