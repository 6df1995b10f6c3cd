//! Measures two builds against each other, for [`crate::gate`]: both clusters stand side by side on the same services, each
//! in its own topic, schema and channel, and the load goes to one of them at a time.
//!
//! A round: both clusters are started, the users of both connect, the slices run, both clusters end. Processes reach the
//! services directly: proxies would cost processor time that nobody asked about, on cores that all share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{LEAD, Request, RunError, deployment, folder::RunFolder, limits};
use crate::{
    clock::Clock,
    cluster::{Binaries, Cluster, ClusterSpec, Spent},
    environment::{Endpoints, Environment, EnvironmentSpec, Schema},
    gate::{
        self, Arm, Slice, order,
        tally::{Tally, Window, tally},
    },
    history::{Event, HistoryFile, HistoryWriter, Recorder},
    load::{LiveStats, Load, LoadTargets},
    os::{ProcessorTicks, processor_ticks},
    plan::{Arrivals, Plan},
    progress::Progress,
    target::reference::{self, Names},
    verifier, wait,
};

/// After the load has come over from the other cluster: what was idle is warm again, and the other's last batch is written.
const SETTLE: Duration = Duration::from_millis(1_500);
/// What is measured of a slice.
const MEASURE: Duration = Duration::from_millis(4_500);
const SLICE: Duration = SETTLE.saturating_add(MEASURE);

/// A build.
#[derive(Debug, Clone)]
pub struct Build {
    /// Its binaries.
    pub binaries: Binaries,
    /// Its nodes burn so many per cent more processor time; only builds with planted bugs can.
    pub burn_cpu_percent: Option<u32>,
}

/// Services that stand, and two builds to measure on them.
#[derive(Debug)]
pub struct Bench<'a> {
    request: &'a Request,
    builds: [Build; 2],
    folder: RunFolder,
    clock: Clock,
    environment: Arc<Environment>,
}

/// One of the two clusters of a round.
struct Side {
    cluster: Cluster,
    schema: Schema,
    recorder: Recorder,
    history: HistoryWriter,
    path: PathBuf,
    plan: Arc<Plan>,
    arrivals: Arc<Arrivals>,
}

/// What the kernel tells at one moment.
struct Reading {
    at_us: u64,
    spent: Spent,
    ticks: Option<ProcessorTicks>,
}

impl<'a> Bench<'a> {
    /// Starts the services. The faults of the request's plan are not carried out.
    ///
    /// # Errors
    ///
    /// [`RunError`]; whatever was started is down again by then.
    pub async fn up(
        request: &'a Request,
        baseline: Build,
        candidate: Build,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Self, RunError> {
        // Users of both clusters are connected at once.
        limits::suffice(&request.plan)?;
        let clock = Clock::start();
        let folder = RunFolder::create(&request.out, &request.plan, clock.zero_unix_ms())?;
        let spec = EnvironmentSpec {
            run_id: folder.run_id(),
            processes: &request.plan.processes(),
            choice: request.provider,
            external: request.external.clone(),
            logs_dir: &folder.logs(),
            small_disk: false,
        };
        let up = cancel.run_until_cancelled(Box::pin(Environment::up(spec, progress))).await;
        let environment = Arc::new(up.ok_or(RunError::Interrupted)??);
        Ok(Self { request, builds: [baseline, candidate], folder, clock, environment })
    }

    /// Where everything about this gate goes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Measures one round of slices, on clusters that are started for it.
    ///
    /// # Errors
    ///
    /// [`RunError`]; both clusters are down by then.
    pub async fn round(
        &self,
        round: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<Slice>, RunError> {
        progress.now(format!("round {}: starting both clusters", round + 1));
        let baseline = self.side(round, Arm::Baseline, cancel).await?;
        let candidate = match self.side(round, Arm::Candidate, cancel).await {
            Ok(candidate) => candidate,
            Err(error) => {
                // What went wrong first counts; this on top of it is worth a line.
                if let Err(error) = baseline.end().await {
                    tracing::warn!(%error, "a cluster did not end cleanly");
                }
                return Err(error);
            }
        };
        let measured = self.measure(round, [&baseline, &candidate], progress, cancel).await;
        progress.now("stopping both clusters");
        let (ends, other_ends) = tokio::join!(baseline.end(), candidate.end());
        let (windows, zero_us) =
            if cancel.is_cancelled() { return Err(RunError::Interrupted) } else { measured? };
        let tallies = [
            ends?.tallies(&windows, Arm::Baseline, zero_us)?,
            other_ends?.tallies(&windows, Arm::Candidate, zero_us)?,
        ];
        let mut tallies = tallies.map(Vec::into_iter);
        let slices = windows.into_iter().filter_map(|it| {
            let Tally { receipts, rows, due, sent, ack, receipt, lateness_p99_us } =
                tallies[it.arm as usize].next()?;
            let (node_cpu_ns, writer_cpu_ns) = it.to.spent.ns_since(&it.from.spent);
            Some(Slice {
                round,
                pair: it.pair,
                arm: it.arm,
                node_cpu_ns,
                writer_cpu_ns,
                receipts,
                rows,
                due,
                sent,
                ack,
                receipt,
                lateness_p99_us,
                steal: steal(it.from.ticks, it.to.ticks),
            })
        });
        Ok(slices.collect())
    }

    /// Starts one cluster, with nobody talking.
    async fn side(&self, round: u32, arm: Arm, cancel: &CancellationToken) -> Result<Side, RunError> {
        let (build, letter) = match arm {
            Arm::Baseline => (&self.builds[0], "a"),
            Arm::Candidate => (&self.builds[1], "b"),
        };
        let name = format!("{}-{round}{letter}", self.folder.run_id());
        let mut plan = self.request.plan.clone();
        // Another schedule in every round, and the same for both builds.
        plan.seed = plan.seed.wrapping_add(u64::from(round) * 1_000);
        plan.cluster.node_flags.extend(build.burn_cpu_percent.map(reference::burn_cpu_flag));
        plan.load.duration_ms = ms(SLICE * 2 * gate::PAIRS_PER_ROUND);
        let starts: Vec<u64> = (0_u32..)
            .zip(order(round, gate::PAIRS_PER_ROUND))
            .filter(|(_, it)| it.1 == arm)
            .map(|(nth, _)| ms(SLICE * nth))
            .collect();
        let arrivals = Arc::new(Arrivals::in_slices(&plan, &starts, ms(SLICE)));

        let direct = self.environment.verifier();
        let schema = Schema::create(&direct.postgres_url, &name).await?;
        let up = async {
            let names = Names::new(&name, true);
            verifier::create_topics(&direct, &names, plan.cluster.partitions).await?;
            let endpoints = Some(Endpoints { postgres_url: schema.url(), ..direct });
            let logs = self.folder.logs().join(format!("{}{letter}", round + 1));
            let made = std::fs::create_dir_all(&logs);
            made.map_err(|source| super::folder::FolderError::Io {
                verb: "create",
                path: logs.display().to_string(),
                source,
            })?;
            let path = logs.join("history");
            let (recorder, history) = HistoryWriter::create(&path, self.clock)?;
            let spec = ClusterSpec { plan: &plan, binaries: &build.binaries, logs, names, endpoints };
            let up = cancel.run_until_cancelled(Cluster::up(&spec, &self.environment, &recorder)).await;
            let cluster = up.ok_or(RunError::Interrupted)??;
            Ok((cluster, recorder, history, path))
        };
        match up.await {
            Ok((cluster, recorder, history, path)) => {
                Ok(Side { cluster, schema, recorder, history, path, plan: Arc::new(plan), arrivals })
            }
            Err(error) => {
                if let Err(error) = schema.drop().await {
                    tracing::warn!(%error, "a schema of this gate is left over");
                }
                Err(error)
            }
        }
    }

    /// Gathers the users of both, runs the slices, and lets the users go. Returns when each slice was measured, and the zero
    /// of both schedules.
    async fn measure(
        &self,
        round: u32,
        sides: [&Side; 2],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Measured>, u64), RunError> {
        let mut loads = Vec::new();
        for side in sides {
            let targets = LoadTargets { nodes: side.cluster.node_addresses() };
            let (plan, arrivals, recorder) = (&side.plan, &side.arrivals, side.recorder.clone());
            let stats = Arc::new(LiveStats::default());
            let gathered = Load::gather(
                Arc::clone(plan),
                Arc::clone(arrivals),
                targets,
                recorder,
                stats,
                cancel.clone(),
            );
            loads.push(gathered.await?);
        }
        let zero = Instant::now() + LEAD;
        let watch = async {
            let mut measured = Vec::new();
            for (nth, (pair, arm)) in (0_u32..).zip(order(round, gate::PAIRS_PER_ROUND)) {
                progress.now(format!(
                    "round {}: slice {} of {}",
                    round + 1,
                    nth + 1,
                    2 * gate::PAIRS_PER_ROUND
                ));
                let side = sides[arm as usize];
                wait::pause_until(zero + SLICE * nth + SETTLE).await;
                let from = self.read(&side.cluster).await;
                wait::pause_until(zero + SLICE * (nth + 1)).await;
                measured.push(Measured { pair, arm, from, to: self.read(&side.cluster).await });
            }
            measured
        };
        let mut loads = loads.into_iter();
        let (Some(mut first), Some(mut second)) = (loads.next(), loads.next()) else {
            unreachable!("two sides have two loads")
        };
        let (measured, one, other) = tokio::join!(watch, first.schedule(zero), second.schedule(zero));
        let (left, other_left) = tokio::join!(first.finish(), second.finish());
        one?;
        other?;
        left?;
        other_left?;
        Ok((measured, self.clock.us_at(zero)))
    }

    async fn read(&self, cluster: &Cluster) -> Reading {
        let spent = cluster.spent().await;
        Reading { at_us: self.clock.now_us(), spent, ticks: processor_ticks() }
    }

    /// Takes the services down.
    ///
    /// # Errors
    ///
    /// [`RunError`] when one would not go.
    pub async fn down(self, progress: &Progress) -> Result<(), RunError> {
        progress.now("taking the services down");
        deployment::end(self.environment).await
    }
}

/// A slice as it was measured, its history not read yet.
struct Measured {
    pair: u32,
    arm: Arm,
    from: Reading,
    to: Reading,
}

/// What is left of a cluster.
struct Ended {
    path: PathBuf,
    plan: Arc<Plan>,
    arrivals: Arc<Arrivals>,
}

impl Side {
    async fn end(self) -> Result<Ended, RunError> {
        let Self { cluster, schema, recorder, history, path, plan, arrivals } = self;
        cluster.down().await;
        drop(cluster);
        drop(recorder);
        super::close(history).await?;
        schema.drop().await?;
        Ok(Ended { path, plan, arrivals })
    }
}

impl Ended {
    /// Reads the history, and removes it: it is large, and the slices say what it said.
    fn tallies(self, measured: &[Measured], arm: Arm, zero_us: u64) -> Result<Vec<Tally>, RunError> {
        let windows: Vec<Window> = measured
            .iter()
            .filter(|it| it.arm == arm)
            .map(|it| Window { from_us: it.from.at_us, to_us: it.to.at_us })
            .collect();
        let due_us: Vec<u64> = self.arrivals.list.iter().map(|it| zero_us + it.due_us).collect();
        let history = |error| RunError::Judge(super::judge::JudgeError::History(error));
        let events: Vec<Event> =
            HistoryFile::open(&self.path).map_err(history)?.collect::<Result<_, _>>().map_err(history)?;
        let tallies = tally(events, &due_us, self.plan.load.ack_timeout_ms * 1_000, &windows);
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a history is left over");
        }
        Ok(tallies)
    }
}

/// Share of the processors' time that was stolen; zero where the kernel does not say.
fn steal(from: Option<ProcessorTicks>, to: Option<ProcessorTicks>) -> f64 {
    let (Some(from), Some(to)) = (from, to) else { return 0.0 };
    to.stolen.saturating_sub(from.stolen) as f64 / to.all.saturating_sub(from.all).max(1) as f64
}

fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
