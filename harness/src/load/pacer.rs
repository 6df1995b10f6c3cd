//! Tells each user when a message is due: one thread walks the schedule and wakes the user whose turn it is.
//!
//! A thread and not a task: the runtime's timers tick in milliseconds and its workers may be busy with receipts, while a
//! thread that sleeps most of the time is woken by the kernel within a fraction of a millisecond.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::World;
use crate::history::EventKind;

/// Messages that may wait for one user. A user answers its queue at once, with or without a session; a full one means that
/// the generator itself has stood still.
pub(super) const DUE_MAX: usize = 256;
/// How often a sleeping pacer looks whether it is still wanted.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The running thread. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Pacer {
    unwanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts walking the schedule, with `zero` as the zero of its due times.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(
        world: Arc<World>,
        users: Vec<mpsc::Sender<u32>>,
        zero: Instant,
    ) -> Result<Self, std::io::Error> {
        let unwanted = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&unwanted);
        let thread = std::thread::Builder::new().name("pacer".into()).spawn(move || {
            for (message, arrival) in (0_u32..).zip(&world.arrivals.list) {
                if !sleep_until(zero + Duration::from_micros(arrival.due_us), &stop) {
                    return;
                }
                let told =
                    users.get(arrival.user as usize).is_some_and(|user| user.try_send(message).is_ok());
                if !told {
                    world.recorder.record(EventKind::NotSent { message });
                    world.stats.not_sent.fetch_add(1, Relaxed);
                }
            }
        })?;
        Ok(Self { unwanted, thread: Some(thread) })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.unwanted.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It looks at the flag on waking, so this is a matter of microseconds. A panic there is already on stderr, and
            // shows as messages without a fate.
            let _ = thread.join();
        }
    }
}

/// False when the wait was cut short.
fn sleep_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::park_timeout(left.min(CHECK_EVERY));
    }
}
