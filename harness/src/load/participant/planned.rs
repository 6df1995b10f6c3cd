//! What a user does on purpose because a fault of the plan says so. What it costs them is recorded like anything else that
//! happens to a session: `Disconnected`, open fates, messages not sent, a resume.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use super::{Link, Participant};
use crate::{history::Reason, load::client_faults::Act};

/// As the history tells it.
const ON_PURPOSE: &str = "dropped on purpose by a fault of the plan";

impl Participant {
    /// When something on purpose is to begin or to end.
    pub(super) fn next_planned(&self) -> Option<Instant> {
        let begins = self.world.zero.get().and_then(|zero| self.script.next_at(*zero));
        begins.into_iter().chain(self.deaf_until).min()
    }

    /// Begins and ends what is due.
    pub(super) fn act_on_purpose(&mut self, now: Instant) {
        if self.deaf_until.is_some_and(|until| until <= now) {
            self.deaf_until = None;
            if let Link::Online(session) = &mut self.link {
                session.listen_again();
            }
        }
        let Some(zero) = self.world.zero.get().copied() else { return };
        while let Some(act) = self.script.take_due(zero, now) {
            match act {
                Act::Redial => self.redial(),
                Act::Vanish { reset, until } => self.vanish(reset, zero + until),
                // Who has no session has nothing to read.
                Act::StopReading { until } if self.link.is_online() => self.deaf_until = Some(zero + until),
                Act::StopReading { .. } => {}
            }
        }
    }

    fn redial(&mut self) {
        // Who is on the way back already stays on it.
        if let Link::Online(_) = self.link {
            self.drop_session(false);
            self.connect();
        }
    }

    fn vanish(&mut self, reset: bool, until: Instant) {
        self.drop_session(reset);
        self.node = (self.node + 1) % self.world.nodes.len().max(1);
        self.link = Link::Offline { retry_at: until };
    }

    fn drop_session(&mut self, reset: bool) {
        self.deaf_until = None;
        self.announced = None;
        if let Link::Online(session) = self.go_offline(ON_PURPOSE, Reason::Disconnected) {
            self.world.stats.disconnects.fetch_add(1, Relaxed);
            session.vanish(reset);
        }
    }
}
