//! One timer for everything a participant may have to do later. Deadlines mostly move away before they come (an ack
//! arrives, a ping is heard), so the timer is only ever brought forward; when it rings too early, it is set again.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// Rings no later than asked for, and possibly before.
#[derive(Debug)]
pub(super) struct Alarm {
    set_for: Instant,
    timer: Pin<Box<Sleep>>,
}

/// When there is nothing to wait for.
const IDLE: Duration = Duration::from_secs(3_600);

impl Alarm {
    pub(super) fn new() -> Self {
        let set_for = Instant::now() + IDLE;
        Self { set_for, timer: Box::pin(tokio::time::sleep_until(set_for.into())) }
    }

    /// Waits until it rings. Cancel safe.
    pub(super) async fn ring(&mut self) {
        self.timer.as_mut().await;
    }

    /// Brings the alarm forward to `at`, if it is not set for earlier.
    pub(super) fn no_later_than(&mut self, at: Instant) {
        if at < self.set_for {
            self.set(at);
        }
    }

    /// It rang: set it for `at`.
    pub(super) fn set_after_ring(&mut self, at: Option<Instant>) {
        self.set(at.unwrap_or_else(|| Instant::now() + IDLE));
    }

    fn set(&mut self, at: Instant) {
        self.set_for = at;
        self.timer.as_mut().reset(at.into());
    }
}
