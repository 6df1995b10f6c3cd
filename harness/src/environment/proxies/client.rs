//! The thread that `toxiproxy_rust` runs on: blocking calls away from the runtime, panics caught, answers in time.
//!
//! What nobody waits for any more is not done: a link that was to go down before the heal must not go down after it.

use std::{
    any::Any,
    fmt, io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError, mpsc},
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
    api: SocketAddr,
    limit: Duration,
    /// The thread in use. One that hangs is given up, and ends by itself when its call does (after 30 s at most, the
    /// client's own limit).
    jobs: Mutex<mpsc::Sender<Job>>,
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

impl Blocking {
    /// Starts the thread; it ends when this value is dropped.
    pub(super) fn start(api: SocketAddr, limit: Duration) -> io::Result<Self> {
        Ok(Self { api, limit, jobs: Mutex::new(thread_for(api)?) })
    }

    /// Has the thread do something, and waits for it within the limit. When the limit has passed, or the caller is
    /// cancelled, it is not begun any more. A request that is on its way then cannot be called back: `act` makes one
    /// request that changes something, as its last.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Client) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |client| {
            if answer.is_closed() {
                return Ok(());
            }
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
        self.jobs().send(job).map_err(|_| "its thread has ended".to_owned())?;
        match tokio::time::timeout(self.limit, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("its thread has ended".to_owned()),
            Err(_) => {
                self.give_up();
                Err(format!("no answer within {} ms", self.limit.as_millis()))
            }
        }
    }

    /// Later calls go to a fresh thread, with a client of its own: the old client's lock is held by the call that hangs.
    fn give_up(&self) {
        match thread_for(self.api) {
            Ok(jobs) => *self.jobs() = jobs,
            Err(error) => tracing::warn!(%error, "no new thread for Toxiproxy; the old one stays in use"),
        }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, mpsc::Sender<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that does one job after the other until nobody can send it any.
fn thread_for(api: SocketAddr) -> io::Result<mpsc::Sender<Job>> {
    let (jobs, inbox) = mpsc::channel::<Job>();
    thread::Builder::new().name("toxiproxy".to_owned()).spawn(move || {
        let mut client = Client::new(api);
        for job in inbox {
            if job(&client).is_err() {
                client = Client::new(api);
            }
        }
    })?;
    Ok(jobs)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
        sync::{Arc, Condvar},
    };

    use super::*;
    use crate::wait;

    /// An API that keeps whoever asks for the proxy `hung` waiting until it is let go, as a stopped process does; all
    /// others are answered at once.
    #[derive(Default)]
    struct Api {
        requests: Mutex<Vec<String>>,
        let_go: (Mutex<bool>, Condvar),
    }

    impl Api {
        fn start() -> (Arc<Self>, SocketAddr) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let api = Arc::new(Self::default());
            let serving = Arc::clone(&api);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let api = Arc::clone(&serving);
                    thread::spawn(move || api.serve(stream));
                }
            });
            (api, address)
        }

        fn serve(&self, mut stream: TcpStream) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            // A look whether anybody listens sends nothing.
            let Some(request) = lines.next() else { return };
            lines.find(String::is_empty);
            self.requests.lock().unwrap().push(request.clone());
            if request.contains("hung") {
                let (gone, changed) = &self.let_go;
                drop(changed.wait_while(gone.lock().unwrap(), |gone| !*gone).unwrap());
            }
            let body = r#"{"name":"n","listen":"","upstream":"","enabled":true,"toxics":[]}"#;
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
            let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}");
        }

        fn changes(&self) -> Vec<String> {
            let requests = self.requests.lock().unwrap();
            requests.iter().filter(|request| request.starts_with("POST")).cloned().collect()
        }

        fn let_go(&self) {
            *self.let_go.0.lock().unwrap() = true;
            self.let_go.1.notify_all();
        }
    }

    #[tokio::test]
    async fn what_timed_out_is_never_done_later_and_stops_nobody_else() {
        const LONG: Duration = Duration::from_secs(60);
        let (api, address) = Api::start();
        let blocking = Blocking::start(address, Duration::from_millis(200)).unwrap();
        let job = Arc::new(());
        let owned = Arc::clone(&job);
        let (hung, queued) = tokio::join!(
            blocking.call(|client| client.find_proxy("hung").map(drop)),
            blocking.call(move |client| {
                let _owned = owned;
                client.reset()
            }),
        );
        assert!(hung.unwrap_err().contains("no answer"));
        assert!(queued.unwrap_err().contains("no answer"));

        // However busy the machine: one of many looks is answered while the first one hangs.
        let other = wait::until("an answer to somebody else", LONG, async || {
            blocking.call(|client| client.find_proxy("node").map(|proxy| proxy.proxy_pack.enabled)).await
        });
        assert!(other.await.unwrap());

        api.let_go();
        wait::until("the queued job gone", LONG, async || match Arc::strong_count(&job) {
            1 => Ok(()),
            _ => Err("it is queued"),
        })
        .await
        .unwrap();
        assert_eq!(api.changes(), Vec::<String>::new(), "done when nobody waited for it any more");
    }
}
