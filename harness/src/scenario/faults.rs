//! `[[fault]]` entries: written flat, resolved to the closed [`FaultKind`].

use serde::Deserialize;
use toml::Spanned;

use super::written::{seconds, some_seconds};
use crate::{
    plan::{
        FaultKind, LinkName, PlannedFault, ProcessName, Service, Toxic,
        fault::{
            Direction,
            catalogue::{self, CATALOGUE},
        },
    },
    scenario::{
        error::{ScenarioError, Source, suggestion},
        ms, provable,
    },
};

/// Time between the blows of a reconnect storm when the file names none.
pub(super) const REDIAL_EVERY_MS: u32 = 1_000;
/// Bad clients when the file does not say how many.
const BAD_CLIENTS: u32 = 6;

/// Of a link that loses more, TCP itself gives up before long: that is a black hole.
const LOSS_MAX_PERCENT: u32 = 50;
/// Most partitions one fault adds: a topic of the plan has 256 at most.
const PARTITIONS_ADDED_MAX: u16 = 256;

/// One `[[fault]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultEntry {
    kind: Spanned<String>,
    #[serde(deserialize_with = "seconds")]
    at_s: Spanned<f64>,
    #[serde(deserialize_with = "seconds")]
    for_s: Spanned<f64>,
    repeat: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "some_seconds")]
    every_s: Option<Spanned<f64>>,
    service: Option<Spanned<String>>,
    process: Option<Spanned<String>>,
    link: Option<Spanned<String>>,
    direction: Option<Spanned<Direction>>,
    latency_ms: Option<Spanned<u32>>,
    jitter_ms: Option<Spanned<u32>>,
    kbytes_per_s: Option<Spanned<u32>>,
    average_bytes: Option<Spanned<u32>>,
    variation_bytes: Option<Spanned<u32>>,
    delay_us: Option<Spanned<u32>>,
    after_ms: Option<Spanned<u32>>,
    bytes: Option<Spanned<u32>>,
    delay_ms: Option<Spanned<u32>>,
    loss_percent: Option<Spanned<u32>>,
    #[serde(default, deserialize_with = "some_seconds")]
    ramp_s: Option<Spanned<f64>>,
    #[serde(default, deserialize_with = "some_seconds")]
    gap_s: Option<Spanned<f64>>,
    offset_s: Option<Spanned<i64>>,
    share_percent: Option<Spanned<u32>>,
    redial_every_ms: Option<Spanned<u32>>,
    clients: Option<Spanned<u32>>,
    partitions: Option<Spanned<u16>>,
}

/// What an entry may name.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) nodes: u16,
    pub(crate) writers: u16,
    pub(crate) duration_ms: u64,
}

impl Bounds {
    /// Processes that a pattern names: `node-2`, `node-*`, `writer-*`, `*`.
    fn processes(&self, pattern: &str) -> Result<Vec<ProcessName>, String> {
        let nodes = (1..=self.nodes).map(ProcessName::Node);
        let writers = (1..=self.writers).map(ProcessName::Writer);
        match pattern {
            "*" => Ok(nodes.chain(writers).collect()),
            "node-*" => Ok(nodes.collect()),
            "writer-*" => Ok(writers.collect()),
            name => {
                let process: ProcessName = name.parse()?;
                let known = match process {
                    ProcessName::Node(n) => n <= self.nodes,
                    ProcessName::Writer(n) => n <= self.writers,
                };
                if known {
                    Ok(vec![process])
                } else {
                    Err(format!(
                        "there is no {process}: the cluster has {} nodes and {} writers",
                        self.nodes, self.writers
                    ))
                }
            }
        }
    }

    /// Links that a pattern names. Nodes reach all three services (PostgreSQL for history), writers all but Redis.
    pub(crate) fn links(&self, pattern: &str) -> Result<Vec<LinkName>, String> {
        let (processes, service) = pattern
            .split_once("->")
            .ok_or_else(|| format!("`{pattern}` is not a link; write node-2->redis or *->kafka"))?;
        let service: Service = service.trim().parse()?;
        let links: Vec<LinkName> = self
            .processes(processes.trim())?
            .into_iter()
            .filter(|process| service != Service::Redis || matches!(process, ProcessName::Node(_)))
            .map(|process| LinkName { process, service })
            .collect();
        if links.is_empty() {
            Err(format!("`{pattern}` names no link: writers do not use Redis"))
        } else {
            Ok(links)
        }
    }
}

impl FaultEntry {
    /// Where it stands in the file.
    pub(crate) fn span(&self) -> std::ops::Range<usize> {
        self.kind.span()
    }

    /// The faults that an entry plans: one, or `repeat` of them `every_s` apart (flapping).
    pub(crate) fn resolve(
        &self,
        source: &Source<'_>,
        bounds: &Bounds,
    ) -> Result<Vec<PlannedFault>, ScenarioError> {
        let fault = self.kind(source, bounds)?;
        let time = |value: &Spanned<f64>, what: &str| time(source, value, what);
        let (at_ms, for_ms) = (time(&self.at_s, "at_s")?, time(&self.for_s, "for_s")?);
        let times = self.repeat.as_ref().map_or(1, |repeat| *repeat.as_ref());
        let every_ms = match (&self.every_s, &self.repeat) {
            (Some(every), Some(_)) => {
                let every_ms = time(every, "every_s")?;
                if every_ms <= for_ms {
                    return Err(
                        source.refuse(every.span(), "every_s must be longer than for_s, or repeats overlap")
                    );
                }
                every_ms
            }
            (None, None) => 0,
            (Some(field), None) => return Err(source.refuse(field.span(), "every_s needs repeat beside it")),
            (None, Some(field)) => return Err(source.refuse(field.span(), "repeat needs every_s beside it")),
        };
        let ends_ms = at_ms + every_ms * u64::from(times.saturating_sub(1)) + for_ms;
        if times == 0 || for_ms == 0 {
            return Err(source.refuse(self.for_s.span(), "a fault must last, and happen at least once"));
        }
        provable::check(&fault, for_ms).map_err(|why| source.refuse(self.kind.span(), why))?;
        if ends_ms > bounds.duration_ms {
            return Err(source.refuse(
                self.at_s.span(),
                format!(
                    "the fault ends at {} s, after the load does ({} s): nobody would be there to see the recovery",
                    ends_ms / 1_000,
                    bounds.duration_ms / 1_000
                ),
            ));
        }
        let faults = (0..u64::from(times))
            .map(|n| PlannedFault { at_ms: at_ms + n * every_ms, for_ms, fault: fault.clone() })
            .collect();
        Ok(faults)
    }

    fn kind(&self, source: &Source<'_>, bounds: &Bounds) -> Result<FaultKind, ScenarioError> {
        let kind = self.kind.as_ref().as_str();
        let unknown = || {
            source.refuse_with_help(
                self.kind.span(),
                format!("`{kind}` is not a kind of fault"),
                suggestion(kind, CATALOGUE.iter().map(|row| row.kind)),
            )
        };
        let row = catalogue::find(kind).ok_or_else(unknown)?;
        for (name, span) in self.given() {
            if !row.takes(name) {
                return Err(source.refuse(span, format!("a {kind} fault takes no {name}")));
            }
        }
        let missing = |field: &str| source.refuse(self.kind.span(), format!("a {kind} fault needs {field}"));
        let number = |value: &Option<Spanned<u32>>, field: &str| {
            value.as_ref().map(|value| *value.as_ref()).ok_or_else(|| missing(field))
        };
        let service = || {
            let name = self.service.as_ref().ok_or_else(|| missing("service"))?;
            name.as_ref().parse::<Service>().map_err(|error| {
                let known = Service::ALL.iter().map(|service| service.name());
                source.refuse_with_help(name.span(), error, suggestion(name.as_ref(), known))
            })
        };
        let processes = || {
            let name = self.process.as_ref().ok_or_else(|| missing("process"))?;
            bounds.processes(name.as_ref()).map_err(|error| source.refuse(name.span(), error))
        };
        let links = || {
            let name = self.link.as_ref().ok_or_else(|| missing("link"))?;
            bounds.links(name.as_ref()).map_err(|error| source.refuse(name.span(), error))
        };
        let optional_time = |value: &Option<Spanned<f64>>, what: &str| {
            value.as_ref().map_or(Ok(0), |value| time(source, value, what))
        };
        let toxic = |toxic: Toxic| {
            let direction = self.direction.as_ref().map_or(Direction::Both, |direction| *direction.as_ref());
            let ramp_ms = optional_time(&self.ramp_s, "ramp_s")?;
            Ok(FaultKind::LinkToxic { links: links()?, toxic, direction, ramp_ms })
        };
        let within = |value: &Spanned<u32>, range: std::ops::RangeInclusive<u32>, field: &str| {
            if range.contains(value.as_ref()) {
                return Ok(*value.as_ref());
            }
            let (least, most) = (range.start(), range.end());
            Err(source.refuse(value.span(), format!("{field} must be between {least} and {most}")))
        };
        let share = || {
            let share = self.share_percent.as_ref().ok_or_else(|| missing("share_percent"))?;
            within(share, 1..=100, "share_percent")
        };
        let clients = || {
            let clients = self.clients.as_ref();
            clients.map_or(Ok(BAD_CLIENTS), |clients| within(clients, 1..=64, "clients"))
        };
        match kind {
            "service-stop" => Ok(FaultKind::ServiceStop { service: service()? }),
            "service-kill" => Ok(FaultKind::ServiceKill { service: service()? }),
            "service-pause" => Ok(FaultKind::ServicePause { service: service()? }),
            "link-down" => Ok(FaultKind::LinkDown { links: links()? }),
            "link-latency" => toxic(Toxic::Latency {
                latency_ms: number(&self.latency_ms, "latency_ms")?,
                jitter_ms: self.jitter_ms.as_ref().map_or(0, |jitter| *jitter.as_ref()),
            }),
            "link-bandwidth" => {
                toxic(Toxic::Bandwidth { kbytes_per_s: number(&self.kbytes_per_s, "kbytes_per_s")? })
            }
            "link-slicer" => toxic(Toxic::Slicer {
                average_bytes: number(&self.average_bytes, "average_bytes")?,
                variation_bytes: self.variation_bytes.as_ref().map_or(0, |value| *value.as_ref()),
                delay_us: number(&self.delay_us, "delay_us")?,
            }),
            "link-black-hole" => toxic(Toxic::BlackHole),
            "link-reset" => {
                toxic(Toxic::Reset { after_ms: self.after_ms.as_ref().map_or(0, |value| *value.as_ref()) })
            }
            "link-limit-data" => toxic(Toxic::LimitData { bytes: number(&self.bytes, "bytes")? }),
            "link-slow-close" => toxic(Toxic::SlowClose { delay_ms: number(&self.delay_ms, "delay_ms")? }),
            "link-loss" => {
                let loss = self.loss_percent.as_ref().ok_or_else(|| missing("loss_percent"))?;
                let direction =
                    self.direction.as_ref().map_or(Direction::Both, |direction| *direction.as_ref());
                Ok(FaultKind::LinkLoss {
                    links: links()?,
                    direction,
                    loss_percent: within(loss, 1..=LOSS_MAX_PERCENT, "loss_percent")?,
                })
            }
            "link-half-close" => Ok(FaultKind::LinkHalfClose { links: links()? }),
            "process-kill" => Ok(FaultKind::ProcessKill { processes: processes()? }),
            "process-terminate" => Ok(FaultKind::ProcessTerminate { processes: processes()? }),
            "process-pause" => Ok(FaultKind::ProcessPause { processes: processes()? }),
            "process-clock-skew" => {
                let offset_s = *self.offset_s.as_ref().ok_or_else(|| missing("offset_s"))?.as_ref();
                Ok(FaultKind::ProcessClockSkew { processes: processes()?, offset_s })
            }
            "rolling-restart" => Ok(FaultKind::RollingRestart {
                processes: processes()?,
                gap_ms: optional_time(&self.gap_s, "gap_s")?,
            }),
            "redis-client-kill" => Ok(FaultKind::RedisClientKill),
            "postgres-terminate" => Ok(FaultKind::PostgresTerminate),
            "postgres-read-only" => Ok(FaultKind::PostgresReadOnly),
            "client-reconnect-storm" => {
                let every = self.redial_every_ms.as_ref();
                let every = every
                    .map_or(Ok(REDIAL_EVERY_MS), |every| within(every, 200..=3_600_000, "redial_every_ms"))?;
                Ok(FaultKind::ClientReconnectStorm { share_percent: share()?, redial_every_ms: every })
            }
            "client-slow" => Ok(FaultKind::ClientSlow { share_percent: share()? }),
            "client-crash" => Ok(FaultKind::ClientCrash { share_percent: share()? }),
            "client-malformed" => Ok(FaultKind::ClientMalformed { clients: clients()? }),
            "client-oversize" => Ok(FaultKind::ClientOversize { clients: clients()? }),
            "redis-output-buffer" => {
                let links = links()?;
                match links.iter().find(|link| link.service != Service::Redis) {
                    Some(link) => Err(source.refuse(
                        self.link.as_ref().map_or(self.kind.span(), Spanned::span),
                        format!("{link} is not a link to Redis, whose output buffer is to overflow"),
                    )),
                    None => Ok(FaultKind::RedisOutputBuffer { links }),
                }
            }
            "postgres-connection-limit" => Ok(FaultKind::PostgresConnectionLimit),
            "postgres-disk-full" => Ok(FaultKind::PostgresDiskFull),
            "kafka-poison" => Ok(FaultKind::KafkaPoison),
            "kafka-rebalance" => Ok(FaultKind::KafkaRebalance),
            "kafka-partitions-added" => {
                match &self.partitions {
                    Some(count) if (1..=PARTITIONS_ADDED_MAX).contains(count.as_ref()) => {
                        Ok(FaultKind::KafkaPartitionsAdded { partitions: *count.as_ref() })
                    }
                    Some(count) => Err(source
                        .refuse(count.span(), format!("partitions must be 1 to {PARTITIONS_ADDED_MAX}"))),
                    None => Err(missing("partitions")),
                }
            }
            "postgres-lock" => Ok(FaultKind::PostgresLock),
            _ => Err(unknown()),
        }
    }

    /// The optional fields that were written, with their places.
    fn given(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
        let mut given = Vec::new();
        macro_rules! note {
            ($($field:ident),*) => {$(
                if let Some(value) = &self.$field {
                    given.push((stringify!($field), value.span()));
                }
            )*};
        }
        note!(
            service,
            process,
            link,
            direction,
            latency_ms,
            jitter_ms,
            kbytes_per_s,
            average_bytes,
            variation_bytes,
            delay_us,
            after_ms,
            bytes,
            delay_ms,
            loss_percent,
            ramp_s,
            gap_s,
            offset_s,
            share_percent,
            redial_every_ms,
            clients,
            partitions
        );
        given
    }
}

fn time(source: &Source<'_>, value: &Spanned<f64>, what: &str) -> Result<u64, ScenarioError> {
    let s = *value.as_ref();
    if s.is_finite() && (0.0..=3_600.0).contains(&s) {
        Ok(ms(s))
    } else {
        Err(source.refuse(value.span(), format!("{what} must be between 0 and 3600 seconds")))
    }
}
