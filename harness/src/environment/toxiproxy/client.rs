//! The thread that `toxiproxy_rust` runs on: blocking calls away from the runtime, panics caught, answers in time.

use std::{
    any::Any,
    fmt, io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::sync::oneshot;
use toxiproxy_rust::client::Client;

/// What the thread is asked to do. `Err` when the client panicked and must not be used again: a lock inside is poisoned.
type Job = Box<dyn FnOnce(&Client) -> Result<(), Poisoned> + Send>;

struct Poisoned;

/// A `toxiproxy_rust` client on a thread of its own.
pub(super) struct Blocking {
    jobs: mpsc::Sender<Job>,
    limit: Duration,
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

impl Blocking {
    /// Starts the thread; it ends when this value is dropped.
    pub(super) fn start(api: SocketAddr, limit: Duration) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new().name("toxiproxy".to_owned()).spawn(move || {
            let mut client = Client::new(api);
            for job in inbox {
                if job(&client).is_err() {
                    client = Client::new(api);
                }
            }
        })?;
        Ok(Self { jobs, limit })
    }

    /// Has the thread do something, and waits for it within the limit.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Client) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |client| {
            // Asked first, as much of the crate panics when nobody listens.
            let outcome = match client.is_running() {
                true => catch_unwind(AssertUnwindSafe(|| act(client))),
                false => Ok(Err("nobody listens there".to_owned())),
            };
            let (outcome, poisoned) = match outcome {
                Ok(outcome) => (outcome, Ok(())),
                Err(panic) => (Err(message(panic.as_ref())), Err(Poisoned)),
            };
            // Nobody waits any more when the limit has passed.
            let _ = answer.send(outcome);
            poisoned
        });
        self.jobs.send(job).map_err(|_| "its thread has ended".to_owned())?;
        match tokio::time::timeout(self.limit, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("its thread has ended".to_owned()),
            Err(_) => Err(format!("no answer within {} ms", self.limit.as_millis())),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
