//! `squall gate`: is this build slower than that one? And `--calibrate`: how often would the gate be wrong here?

use std::path::{Path, PathBuf};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, errors, errors::CliError};
use crate::{
    cluster::{Binaries, Checkout},
    environment,
    exit::Exit,
    gate::{
        PAIRS_PER_ROUND, ROUNDS_PER_LOOK, Slice,
        calibration::{Draw, Rates, resample},
        characteristic, judge,
        judgement::{Judgement, Look, Objectives, valid_pairs},
        render::GateReport,
    },
    plan::Plan,
    progress::Progress,
    run::{
        RunError,
        gate::{Bench, Build},
    },
    scenario::{Choices, library},
    shipped,
};

/// Gates put together from a recording: enough to tell 1 % from 2 %.
const RESAMPLED_GATES: u32 = 2_000;
/// Of five rounds one may be lost to void slices; more void than that leave no verdict anyway.
const ROUNDS_MAX_PER_LOOK: u32 = ROUNDS_PER_LOOK + 1;

#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// Whose load is used: a scenario without faults (see `squall list`), or a .toml file.
    #[arg(default_value = "long/gate")]
    scenario: String,
    /// The build that is known: a git commit, branch or tag, or a folder with its programs.
    #[arg(long, value_name = "GIT_REF|FOLDER", required_unless_present_any = ["calibrate", "plant"])]
    baseline: Option<String>,
    /// The build that is judged: a folder; this checkout's when left out.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["calibrate", "plant"])]
    candidate: Option<PathBuf>,
    /// Measure this checkout's build against itself instead, and tell how often the gate would be wrong on this machine.
    #[arg(long, conflicts_with = "baseline")]
    calibrate: bool,
    /// Rounds of a calibration, of three pairs each, both clusters started anew for each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200), requires = "calibrate")]
    rounds: u32,
    /// Tell it from a recording that is there (a `slices.jsonl`), and measure nothing.
    #[arg(long, value_name = "FILE", requires = "calibrate", conflicts_with_all = ["candidate", "plant", "rounds"])]
    recording: Option<PathBuf>,
    /// Have the candidate's nodes burn so many per cent more processor time, to see it found. Both builds are this
    /// checkout's, with planted bugs.
    #[arg(long, value_name = "PERCENT", hide = true, conflicts_with = "baseline")]
    plant: Option<u32>,
    /// Where everything random comes from; drawn and reported when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// The gate's folder goes below this.
    #[arg(long, default_value = "reports")]
    out: PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

pub(super) async fn gate(args: GateArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    if let Some(file) = &args.recording {
        std::fs::create_dir_all(&args.out)
            .map_err(|source| CliError::Write { path: args.out.display().to_string(), source })?;
        calibrated(&recorded(file)?, false, file, &args.out)?;
        return Ok(Exit::Holds);
    }
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let seed = args.seed.unwrap_or_else(errors::fresh_seed);
    let plan = library::find(&args.scenario)?.plan(&Choices { seed, ..Choices::default() })?;
    if !plan.faults.is_empty() {
        return Err(CliError::FaultsInGate(args.scenario));
    }
    let planted = args.plant.is_some();
    let candidate = match &args.candidate {
        Some(folder) => Binaries::in_folder(folder),
        None => Binaries::ready(planted, &progress).await,
    };
    let candidate = candidate.map_err(RunError::from)?;
    let ours = if shipped::checkout().is_some() { "this checkout" } else { "what is installed" };
    let label = args.candidate.as_ref().map_or_else(|| ours.to_owned(), |it| it.display().to_string());
    let (checkout, baseline, baseline_label) = match &args.baseline {
        None => (None, candidate.clone(), label.clone()),
        Some(folder) if Path::new(folder).is_dir() => {
            (None, Binaries::in_folder(Path::new(folder)).map_err(RunError::from)?, folder.clone())
        }
        Some(reference) => {
            let built = cancel.run_until_cancelled(Checkout::build(reference, &progress)).await;
            let checkout = built.ok_or(RunError::Interrupted)?.map_err(RunError::from)?;
            let (binaries, label) = (checkout.binaries.clone(), checkout.label.clone());
            (Some(checkout), binaries, label)
        }
    };
    let label = args.plant.map_or(label.clone(), |percent| format!("{label}, its nodes {percent} % dearer"));
    let measured =
        measure(&args, plan, [baseline, candidate], [baseline_label, label], &progress, cancel).await;
    if let Some(checkout) = checkout {
        checkout.remove().await;
    }
    progress.finish();
    measured
}

async fn measure(
    args: &GateArgs,
    plan: Plan,
    [baseline, candidate]: [Binaries; 2],
    [baseline_label, candidate_label]: [String; 2],
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Exit, CliError> {
    let objectives =
        Objectives { ack_p99_ms: plan.expect.ack_p99_ms, receipt_p99_ms: plan.expect.receipt_p99_ms };
    let scenario = plan.scenario.clone();
    let request = args.services.request(plan, &args.out)?;
    let baseline = Build { binaries: baseline, burn_cpu_percent: None };
    let candidate = Build { binaries: candidate, burn_cpu_percent: args.plant };
    let bench = Box::pin(Bench::up(&request, baseline, candidate, progress, cancel)).await?;
    let folder = bench.folder().to_owned();
    let mut slices = Vec::new();
    let measured = if args.calibrate {
        Box::pin(record(&bench, args.rounds, &mut slices, progress, cancel)).await.map(|()| None)
    } else {
        Box::pin(look_twice(&bench, objectives, &mut slices, progress, cancel)).await.map(Some)
    };
    let down = bench.down(progress).await;
    // What was measured is kept, also when the rest failed.
    errors::write(&folder.join("slices.jsonl"), &lines(&slices))?;
    let judgement = measured?;
    down?;
    let Some(judgement) = judgement else {
        calibrated(&slices, args.plant.is_some(), &folder.join("slices.jsonl"), &folder)?;
        return Ok(Exit::Holds);
    };
    let report = GateReport { scenario, baseline: baseline_label, candidate: candidate_label, judgement };
    errors::write(&folder.join("gate.md"), &report.markdown())?;
    errors::write(&folder.join("benchmark.json"), &report.benchmark_json())?;
    errors::write(&folder.join("junit.xml"), &report.junit())?;
    errors::print(&format!("{}\n{}", report.terminal(), folder.display()));
    Ok(report.judgement.exit())
}

/// Rounds until the first look, and as many again when it cannot decide.
async fn look_twice(
    bench: &Bench<'_>,
    objectives: Objectives,
    slices: &mut Vec<Slice>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Judgement, RunError> {
    let mut round = 0;
    let mut look = Look::First;
    loop {
        let looks = if look == Look::First { 1 } else { 2 };
        let enough = (looks * ROUNDS_PER_LOOK * PAIRS_PER_ROUND) as usize;
        while valid_pairs(slices) < enough && round < looks * ROUNDS_MAX_PER_LOOK {
            slices.extend(Box::pin(bench.round(round, progress, cancel)).await?);
            round += 1;
        }
        let judgement = judge(slices, look, objectives);
        if !judgement.is_open() {
            return Ok(judgement);
        }
        progress.say("the first look does not decide: twelve more pairs");
        look = Look::Second;
    }
}

async fn record(
    bench: &Bench<'_>,
    rounds: u32,
    slices: &mut Vec<Slice>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    for round in 0..rounds {
        slices.extend(Box::pin(bench.round(round, progress, cancel)).await?);
        progress.say(format!("{} slices in {} rounds", slices.len(), round + 1));
    }
    Ok(())
}

fn lines(slices: &[Slice]) -> String {
    let lines = slices.iter().filter_map(|slice| serde_json::to_string(slice).ok());
    lines.map(|line| line + "\n").collect()
}

/// The slices of a recording.
fn recorded(file: &Path) -> Result<Vec<Slice>, CliError> {
    let bad = |why: String| CliError::BadRecording { path: file.display().to_string(), why };
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let slice = |(nth, line)| serde_json::from_str(line).map_err(|error| bad(format!("line {nth}: {error}")));
    let slices: Vec<Slice> = (1..).zip(text.lines()).map(slice).collect::<Result<_, _>>()?;
    if slices.is_empty() { Err(bad("it is empty".to_owned())) } else { Ok(slices) }
}

/// Says how often the gate would be wrong, and leaves its characteristic in a folder.
fn calibrated(slices: &[Slice], planted: bool, recording: &Path, folder: &Path) -> Result<(), CliError> {
    if planted {
        let rates = resample(slices, Draw::TwoBuilds, RESAMPLED_GATES, 1).unwrap_or_default();
        let said = calibration(slices, &[("as recorded", rates)]);
        errors::print(&format!("{said}\n{}", recording.display()));
        return Ok(());
    }
    let points = characteristic::characteristic(slices, RESAMPLED_GATES);
    let named =
        [(0, "one build against itself"), (10, "its nodes 10 % dearer"), (20, "its nodes 20 % dearer")];
    let rates = |of| points.iter().find(|(percent, _)| *percent == of).map(|(_, rates)| *rates);
    let drawn = named.map(|(percent, name)| (name, rates(percent).unwrap_or_default()));
    let setting = format!("{RESAMPLED_GATES} gates a point, drawn from {} slices", slices.len());
    let page = folder.join("calibration.html");
    errors::write(&page, &characteristic::page(&points, &setting))?;
    let said = calibration(slices, &drawn);
    errors::print(&format!("{said}\n{}\n{}", recording.display(), page.display()));
    Ok(())
}

/// How often the gate would say what, on the machine the recording was made on.
fn calibration(slices: &[Slice], drawn: &[(&str, Rates)]) -> String {
    let judged = judge(slices, Look::Second, Objectives::default());
    let mut text = format!("{} slices recorded, {:.0} % void\n", slices.len(), judged.void_share() * 100.0);
    for finding in &judged.gating {
        text.push_str(&format!(
            "{:<24} varies by {:.1} %\n",
            finding.metric.name(),
            finding.variation * 100.0
        ));
    }
    text.push_str(&format!(
        "\n{RESAMPLED_GATES} gates drawn from it:    slower  not slower  unknown  second look\n"
    ));
    for (what, Rates { slower, not_slower, unknown, second_look }) in drawn {
        let percent = |share: &f64| format!("{:.1} %", share * 100.0);
        text.push_str(&format!(
            "{what:<30} {:>8}  {:>10}  {:>7}  {:>11}\n",
            percent(slower),
            percent(not_slower),
            percent(unknown),
            percent(second_look)
        ));
    }
    text
}
