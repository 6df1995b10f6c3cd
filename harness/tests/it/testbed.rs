//! Where the tests run: which providers, and a folder that goes away.
//!
//! `SQUALL_TEST_PROVIDERS=host,docker` demands both; without it, host always, and docker when an engine answers.

use std::path::Path;

use harness::{
    clock::Clock,
    environment::ProviderChoice,
    exit::Exit,
    faults::SystemUnderTest,
    history::{HistoryWriter, Recorder},
    plan::Plan,
    progress::Progress,
    report::terminal::Screen,
    run::{self, Finished, Request, RunError, deployment::DeploymentSpec},
    scenario::{Choices, library},
};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// One cluster at a time: two of them on a small machine starve each other, and what is measured then is the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits until no other test runs a cluster.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// [`alone`] for tests that are not asynchronous.
pub(crate) fn alone_blocking() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.blocking_lock()
}

/// The provider most tests use: the first one demanded, host otherwise.
pub(crate) fn provider() -> ProviderChoice {
    providers()[0]
}

/// All providers that must work here.
pub(crate) fn providers() -> Vec<ProviderChoice> {
    match std::env::var("SQUALL_TEST_PROVIDERS") {
        Ok(demanded) => demanded.split(',').map(|name| name.trim().parse().unwrap()).collect(),
        Err(_) if engine_answers() => vec![ProviderChoice::Host, ProviderChoice::Docker],
        Err(_) => vec![ProviderChoice::Host],
    }
}

/// A process of a test's own, killed when the test ends.
pub(crate) struct Killed(pub(crate) std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that nobody listens at.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // All held until all are drawn.
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

fn engine_answers() -> bool {
    let asked = std::process::Command::new("docker").arg("version").output();
    asked.is_ok_and(|answer| answer.status.success())
}

/// Load of the tests: they may run debug builds, beside other work, on as few as two cores, and are about what is lost,
/// not about how fast. At the scenarios' own rates (which `squall run --all` keeps) a debug cluster leaves the generator
/// no time to be punctual, and a late generator proves nothing.
const RATE_PER_S: f64 = 60.0;
const USERS: u32 = 24;
/// At sixty messages a second a single stall of 170 ms makes one in a hundred late. These tests are not about speed.
const LATENESS_P99_MAX_MS: u64 = 500;

/// A shipped scenario as a plan, with its calm cut short, at the load of the tests.
pub(crate) fn plan(name: &str, choices: &Choices) -> Plan {
    let planned = library::find(name).unwrap().plan(choices);
    let mut plan = planned.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error))).shortened();
    let share = RATE_PER_S / plan.load.rate_per_s;
    if let Some(least) = &mut plan.expect.min_acked_during_faults {
        *least = (*least as f64 * share) as u64;
    }
    (plan.load.rate_per_s, plan.load.users) = (RATE_PER_S, USERS);
    plan.load.lateness_p99_max_ms = LATENESS_P99_MAX_MS;
    plan
}

/// A cluster of so many nodes and one writer, with nothing planned for it: for tests that look at it themselves.
pub(crate) fn quiet(seed: u64, nodes: u16) -> Plan {
    let mut plan = plan("smoke", &choices(seed));
    (plan.cluster.nodes, plan.cluster.writers) = (nodes, 1);
    // Whoever looks does not sign tokens.
    plan.cluster.tokens = false;
    plan
}

/// Choices with a seed and a prefix of the test's own.
pub(crate) fn choices(seed: u64) -> Choices {
    Choices { seed, room_prefix: format!("t{seed}-"), ..Choices::default() }
}

/// Runs a plan to its verdict.
pub(crate) async fn run(plan: Plan, provider: ProviderChoice, out: &Path) -> Result<Finished, RunError> {
    let request = Request { plan, provider, external: None, out: out.to_owned() };
    run::run(&request, &Progress::silent(), &CancellationToken::new()).await
}

/// Runs a plan that must reach a verdict, and shows the summary with the test's output.
pub(crate) async fn judged(plan: Plan, provider: ProviderChoice, out: &Path) -> Finished {
    let finished = run(plan, provider, out).await.unwrap_or_else(|error| panic!("no verdict: {error}"));
    println!("{}", finished.judged.summary(Screen { colour: false, columns: 100 }));
    finished
}

/// Runs a shipped scenario at the load of the tests; it must hold.
pub(crate) async fn held(scenario: &str, seed: u64, out: &Path) -> Finished {
    let finished = judged(plan(scenario, &choices(seed)), provider(), out).await;
    assert_eq!(finished.judged.exit(), Exit::Holds, "{scenario}");
    finished
}

/// A cluster on real services, without a run: for tests that look at it themselves.
pub(crate) struct Deployment {
    pub(crate) sut: SystemUnderTest,
    pub(crate) recorder: Recorder,
    deployment: run::deployment::Deployment,
    history: HistoryWriter,
}

impl Deployment {
    /// Brings up the cluster of a plan. History and logs go below `out`.
    pub(crate) async fn up(name: &str, plan: &Plan, out: &Path) -> Self {
        let (recorder, history) = HistoryWriter::create(&out.join("history"), Clock::start()).unwrap();
        // Two test processes may run side by side.
        let run_id = format!("{name}-{}", std::process::id());
        let wanted = DeploymentSpec {
            plan,
            run_id: &run_id,
            provider: provider(),
            external: None,
            logs: out.join("logs"),
        };
        let (progress, cancel) = (Progress::silent(), CancellationToken::new());
        let deployment =
            run::deployment::Deployment::up(&wanted, &recorder, &progress, &cancel).await.unwrap();
        Self { sut: deployment.sut.clone(), recorder, deployment, history }
    }

    /// Takes everything down, and waits for it.
    pub(crate) async fn down(self) {
        let Self { sut, recorder, deployment, history } = self;
        drop((sut, recorder));
        deployment.down(&Progress::silent()).await.unwrap();
        history.finish().unwrap();
    }
}
