//! The only file that names Goose: it owns the users' lives. Goose starts them (`on_start`: connect and join), lets them
//! live (the transaction: send what is due, receive, resume), and lets them go (`on_stop`: leave). Each message's fate is
//! also counted in Goose's metrics; the evidence is the history, and the two counts are compared at the end.
//!
//! Goose is made for a process of its own, so several of its habits are kept in check here:
//! - it would parse the command line: it is given a configuration;
//! - it would print to stdout: the one configuration under which it prints nothing is no `iterations`, metrics not printed,
//!   and metrics reset after the ramp. So a user ends by telling Goose so itself (`shutdown_channel`), and gathering takes at
//!   least as long as the ramp (`Attack::ready`), as the reset would swallow earlier counts;
//! - it would listen on a port for a controller: switched off;
//! - it would build one HTTP client for each user (100 KiB): all share one, and none uses it;
//! - it would take SIGINT for itself: see [`claim_interrupts`];
//! - it would wait for ever for a transaction that does not return: ours end when told, and the wait has a limit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use goose::{
    GooseAttack, GooseError,
    client::GooseClientBuilder,
    config::GooseConfiguration,
    goose::{GooseUser, Scenario, Transaction, TransactionFunction, TransactionResult},
    metrics::GooseMetrics,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    LoadError,
    participant::{Fate, Outcome, Participant},
};
use crate::wait;

/// Users started in a second: a node on a core shared with everything else takes in about twice as many.
const USERS_PER_SECOND: u32 = 500;
/// How long after the ramp Goose has reset its metrics for certain.
const RESET_MARGIN: Duration = Duration::from_millis(200);
/// How often an ended user looks whether Goose lets it go.
const LINGER: Duration = Duration::from_millis(50);
/// Longest wait for all users to leave. They take [`super::participant`]'s limits for leaving, Goose looks twice a second,
/// and a run cancelled in the ramp first starts the rest of its users.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait after Goose's own emergency stop.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Method and name under which fates are counted.
const METHOD: &str = "CHAT";
const NAME: &str = "send";

/// Keeps SIGINT for `tokio::signal`. **Call it first thing in `main`, before `tokio::signal` is used.**
///
/// Goose installs a Ctrl-C handler through the `ctrlc` crate, which replaces whatever is there, tokio's included. That
/// crate takes one handler in the life of a process, so a handler that does nothing is put there first: Goose's attempt
/// then fails (it only logs so), and tokio, installing its own later, chains to ours.
///
/// An inherited "ignore" (`nohup`, a script's background job) is replaced as well: it would count as somebody's handler,
/// and leave the place to Goose.
///
/// Returns false when the system refuses; a load then makes Ctrl-C cancel itself, but nothing else hears of it.
pub fn claim_interrupts() -> bool {
    // `MultipleHandlers`: claimed before, by us or by a Goose that ran without us.
    matches!(ctrlc::set_handler(|| {}), Ok(()) | Err(ctrlc::Error::MultipleHandlers))
}

/// All users, each taken from its seat for as long as one of its transactions runs.
struct Seats(Vec<Mutex<Option<Participant>>>);

impl Seats {
    fn take(&self, user: &GooseUser) -> Option<Participant> {
        let seat = self.0.get(user.weighted_users_index)?;
        seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_back(&self, user: &GooseUser, participant: Participant) {
        if let Some(seat) = self.0.get(user.weighted_users_index) {
            *seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(participant);
        }
    }
}

/// A running Goose attack.
#[derive(Debug)]
pub(super) struct Attack {
    task: AbortOnDropHandle<Result<GooseMetrics, Box<GooseError>>>,
    ready_at: Instant,
}

impl Attack {
    /// Starts the users, [`USERS_PER_SECOND`].
    pub(super) fn start(
        participants: Vec<Participant>,
        cancel: &CancellationToken,
    ) -> Result<Self, LoadError> {
        if !claim_interrupts() {
            tracing::warn!("SIGINT was taken before the load could keep it: Ctrl-C ends the load only");
            let cancel = cancel.clone();
            ctrlc::set_handler(move || cancel.cancel())
                .map_err(|error| LoadError::Goose(error.to_string()))?;
        }
        let users = participants.len();
        let ramp = Duration::from_secs_f64(users as f64 / f64::from(USERS_PER_SECOND));
        let attack = attack(participants).map_err(|error| LoadError::Goose(error.to_string()))?;
        let task = tokio::spawn(async move { Box::pin(attack.execute()).await.map_err(Box::new) });
        Ok(Self { task: AbortOnDropHandle::new(task), ready_at: Instant::now() + ramp + RESET_MARGIN })
    }

    /// Waits until fates count.
    pub(super) async fn ready(&self) {
        wait::pause_until(self.ready_at).await;
    }

    /// True when Goose ended by itself; [`Self::end`] tells why.
    pub(super) fn has_failed(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until every user has gone. Returns how many fates Goose counted.
    pub(super) async fn end(mut self) -> Result<u64, LoadError> {
        let ended = match tokio::time::timeout(END_LIMIT, &mut self.task).await {
            Ok(ended) => ended,
            Err(_) => {
                // A user's task died, so that Goose waits for one report too few.
                goose::trigger_killswitch("users did not end");
                let Ok(ended) = tokio::time::timeout(KILL_LIMIT, &mut self.task).await else {
                    return Err(LoadError::Goose(format!("users did not end within {END_LIMIT:?}")));
                };
                ended
            }
        };
        let metrics = ended
            .map_err(|panic| LoadError::Goose(panic.to_string()))?
            .map_err(|error| LoadError::Goose(error.to_string()))?;
        let counted = metrics.requests.values().map(|request| request.success_count + request.fail_count);
        Ok(counted.sum::<usize>() as u64)
    }
}

fn attack(participants: Vec<Participant>) -> Result<GooseAttack, Box<GooseError>> {
    // Some fields are private, so no struct update: the rest stays at its default.
    let mut configuration = GooseConfiguration::default();
    // Goose wants an HTTP host; nothing is ever requested from it.
    configuration.host = Some("http://127.0.0.1".to_owned());
    configuration.users = Some(participants.len());
    configuration.increase_rate = Some(USERS_PER_SECOND.to_string());
    configuration.quiet = 1;
    configuration.no_print_metrics = true;
    configuration.no_error_summary = true;
    configuration.no_transaction_metrics = true;
    configuration.no_scenario_metrics = true;
    configuration.no_status_codes = true;
    configuration.no_telnet = true;
    let seats = Arc::new(Seats(participants.into_iter().map(|it| Mutex::new(Some(it))).collect()));
    let scenario = Scenario::new("chat user")
        .register_transaction(transaction(&seats, on_start).set_on_start())
        .register_transaction(transaction(&seats, live))
        .register_transaction(transaction(&seats, on_stop).set_on_stop());
    let attack = GooseAttack::initialize_with_config(configuration)?
        .register_scenario(scenario)
        .set_client_builder_without_cookies(GooseClientBuilder::new().without_cookies())?;
    Ok(attack)
}

/// A transaction with the seats at hand; Goose's own way of handing data to transactions needs it to be cloneable.
fn transaction<F>(seats: &Arc<Seats>, act: F) -> Transaction
where
    F: for<'u> AsyncAct<'u> + Copy + Send + Sync + 'static,
{
    let seats = Arc::clone(seats);
    let function: TransactionFunction = Arc::new(move |user| Box::pin(act.act(user, Arc::clone(&seats))));
    Transaction::new(function)
}

/// `async fn(&mut GooseUser, Arc<Seats>)` as a bound that says its future may change threads.
trait AsyncAct<'u> {
    type Future: Future<Output = TransactionResult> + Send + 'u;
    fn act(&self, user: &'u mut GooseUser, seats: Arc<Seats>) -> Self::Future;
}

impl<'u, F, Fut> AsyncAct<'u> for F
where
    F: Fn(&'u mut GooseUser, Arc<Seats>) -> Fut,
    Fut: Future<Output = TransactionResult> + Send + 'u,
{
    type Future = Fut;
    fn act(&self, user: &'u mut GooseUser, seats: Arc<Seats>) -> Fut {
        self(user, seats)
    }
}

async fn on_start(user: &mut GooseUser, seats: Arc<Seats>) -> TransactionResult {
    if let Some(mut participant) = seats.take(user) {
        participant.gather().await;
        seats.put_back(user, participant);
    }
    Ok(())
}

async fn live(user: &mut GooseUser, seats: Arc<Seats>) -> TransactionResult {
    let Some(mut participant) = seats.take(user) else {
        wait::pause(LINGER).await;
        return Ok(());
    };
    while let Some(Fate { took, outcome }) = participant.next_fate().await {
        let (success, error) = match outcome {
            Outcome::Acked => (true, None),
            Outcome::Refused => (false, Some("refused")),
            Outcome::Indeterminate => (false, Some("indeterminate")),
        };
        user.record_custom_request_duration(METHOD, NAME, took, success, None, error).await?;
    }
    // This user is done; Goose ends the attack when all have said so, and calls this transaction again until then.
    match user.shutdown_channel.as_ref().map(|done| done.send(user.weighted_users_index)) {
        Some(Ok(())) => {
            seats.put_back(user, participant);
            wait::pause(LINGER).await;
        }
        // The attack was dropped, and nobody is left to end this task: it keeps nothing and rests with the runtime.
        _ => {
            drop((participant, seats));
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

async fn on_stop(user: &mut GooseUser, seats: Arc<Seats>) -> TransactionResult {
    if let Some(mut participant) = seats.take(user) {
        participant.leave().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    /// The order of a real run: the claim, then tokio's handler, then Goose's attempt at its own. Goose does exactly what
    /// this test does in its place: it calls `ctrlc::set_handler`, and its handler would end the process.
    #[tokio::test]
    async fn an_interrupt_still_reaches_tokio_when_goose_has_tried_to_take_it() {
        assert!(claim_interrupts());
        let mut interrupts = signal(SignalKind::interrupt()).unwrap();
        let attempt = ctrlc::set_handler(|| std::process::exit(1));
        assert!(matches!(attempt, Err(ctrlc::Error::MultipleHandlers)), "{attempt:?}");
        assert!(claim_interrupts(), "claiming twice is fine");

        nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT).unwrap();
        tokio::time::timeout(Duration::from_secs(5), interrupts.recv()).await.unwrap().unwrap();
    }
}
