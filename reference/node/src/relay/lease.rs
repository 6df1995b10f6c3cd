//! Who may relay: the rules of the lease, without Redis and without a clock, so that they are tested by hand-written times.
//!
//! A key in Redis names the holder and expires by itself. The holder counts its time from *before* it asked, so it always
//! stops before the key can be gone, however long the answer took. The owner's name differs for each life of a process:
//! a node that was restarted does not take itself for the holder.
//!
//! **Cannot do**: fence. Kafka knows nothing of the lease, so what a holder has put into its producer's queue is written
//! even after its time; and two holders that hear a message on either side of a hand-over, one lagging behind the other,
//! write it twice, or not at all.

use std::time::{Duration, Instant};

/// How long the key lives without being renewed: so long nobody relays after a holder died. Long enough that a holder
/// whose machine is busy for a second or two keeps it.
pub const LEASE: Duration = Duration::from_millis(3_000);

/// How long before the key expires the holder stops: covers what passes between its look at the clock and the message
/// being in the producer's queue, and clocks that do not run alike.
pub const MARGIN: Duration = Duration::from_millis(200);

/// How often the holder renews: two renewals may get lost before the third is too late.
pub const RENEW_EVERY: Duration = Duration::from_millis(1_000);

/// How often a node that does not hold it asks for it, and the grain of everything here. After an orderly release, so
/// long nobody relays.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What to ask Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// For the lease: to get it, or to keep it.
    Claim,
    /// To let others have it.
    Release,
}

/// What Redis said to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The key is ours for another [`LEASE`].
    Granted,
    /// It is somebody else's.
    Taken,
    /// Nothing, or an error: it may be either.
    Silent,
}

/// What an answer, or the passing of time, changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This node relays from now on.
    Began,
    /// It does not any more, for this reason.
    Ended(&'static str),
}

/// This node's claim to relay.
#[derive(Debug, Default)]
pub struct Tenure {
    /// When the claim that was last granted was asked.
    granted: Option<Instant>,
    /// The node stops: nothing begins any more, also not by an answer that is still on its way.
    closed: bool,
}

impl Tenure {
    /// Whether this node may relay at an instant.
    pub fn holds(&self, now: Instant) -> bool {
        self.granted.is_some_and(|asked| now < asked + (LEASE - MARGIN))
    }

    /// What is to be asked now. A node that is not `fit` (it hears nothing, or is about to stop) gives the lease to one
    /// that may be.
    pub fn ask(&self, now: Instant, fit: bool) -> Option<Ask> {
        match self.granted {
            _ if self.closed => None,
            Some(_) if !fit => Some(Ask::Release),
            Some(asked) => (now >= asked + RENEW_EVERY).then_some(Ask::Claim),
            None => fit.then_some(Ask::Claim),
        }
    }

    /// A claim asked at an instant was answered.
    pub fn answered(&mut self, asked: Instant, answer: Answer) -> Option<Change> {
        match answer {
            Answer::Granted if self.closed => None,
            Answer::Granted => {
                let began = self.granted.is_none();
                self.granted = Some(asked);
                began.then_some(Change::Began)
            }
            Answer::Taken => self.end("another node holds the lease"),
            // What was granted before stands until its time is up.
            Answer::Silent => None,
        }
    }

    /// Ends what has run out.
    pub fn look(&mut self, now: Instant) -> Option<Change> {
        if self.holds(now) { None } else { self.end("the lease ran out") }
    }

    /// Stops relaying for good.
    pub fn close(&mut self, why: &'static str) -> Option<Change> {
        self.closed = true;
        self.end(why)
    }

    /// Whether this is for good.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Stops relaying, whatever Redis believes.
    pub fn end(&mut self, why: &'static str) -> Option<Change> {
        self.granted.take().map(|_| Change::Ended(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_holder_stops_before_the_key_can_expire_counted_from_its_question() {
        let zero = Instant::now();
        let mut tenure = Tenure::default();
        assert!(!tenure.holds(zero));
        assert_eq!(tenure.ask(zero, true), Some(Ask::Claim));
        // The answer took 900 ms: that is off the holder's time, not on top of it.
        assert_eq!(tenure.answered(zero, Answer::Granted), Some(Change::Began));
        assert!(tenure.holds(zero + ms(2_799)));
        assert!(!tenure.holds(zero + LEASE - MARGIN));
        assert_eq!(tenure.look(zero + ms(2_799)), None);
        assert_eq!(tenure.look(zero + ms(2_800)), Some(Change::Ended("the lease ran out")));
        assert_eq!(tenure.look(zero + ms(2_900)), None, "it ends once");
    }

    #[test]
    fn a_holder_renews_in_time_and_outlives_two_silent_renewals() {
        let zero = Instant::now();
        let mut tenure = Tenure::default();
        tenure.answered(zero, Answer::Granted);
        assert_eq!(tenure.ask(zero + ms(999), true), None);
        for later in [1_000, 2_000] {
            assert_eq!(tenure.ask(zero + ms(later), true), Some(Ask::Claim));
            assert_eq!(tenure.answered(zero + ms(later), Answer::Silent), None);
            assert!(tenure.holds(zero + ms(later)));
        }
        assert_eq!(tenure.answered(zero + ms(2_500), Answer::Granted), None, "it goes on");
        assert!(tenure.holds(zero + ms(5_000)));
    }

    #[test]
    fn who_finds_the_lease_taken_stops_at_once() {
        let zero = Instant::now();
        let mut tenure = Tenure::default();
        assert_eq!(tenure.answered(zero, Answer::Taken), None);
        tenure.answered(zero, Answer::Granted);
        let ended = Some(Change::Ended("another node holds the lease"));
        assert_eq!(tenure.answered(zero + ms(1_000), Answer::Taken), ended);
        assert!(!tenure.holds(zero + ms(1_000)));
        assert_eq!(tenure.ask(zero + ms(1_000), true), Some(Ask::Claim));
    }

    #[test]
    fn who_hears_nothing_neither_asks_for_the_lease_nor_keeps_it() {
        let zero = Instant::now();
        let mut tenure = Tenure::default();
        assert_eq!(tenure.ask(zero, false), None);
        tenure.answered(zero, Answer::Granted);
        assert_eq!(tenure.ask(zero + ms(10), false), Some(Ask::Release));
        assert!(tenure.end("drained").is_some());
        assert!(!tenure.holds(zero + ms(10)));
    }

    #[test]
    fn who_stops_does_not_begin_again_by_a_late_answer() {
        let zero = Instant::now();
        let mut tenure = Tenure::default();
        tenure.answered(zero, Answer::Granted);
        assert_eq!(tenure.close("this node stops"), Some(Change::Ended("this node stops")));
        assert_eq!(tenure.answered(zero, Answer::Granted), None);
        assert!(!tenure.holds(zero) && tenure.is_closed());
        assert_eq!(tenure.ask(zero, true), None);
    }

    /// Two nodes and a key, for ten thousand steps of whatever may happen: never do both relay.
    #[test]
    fn never_do_two_nodes_hold_it_while_redis_keeps_the_key() {
        let zero = Instant::now();
        let mut random = 88_172_645_463_325_252_u64;
        let mut draw = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut tenures = [Tenure::default(), Tenure::default()];
        let mut key: Option<(usize, Instant)> = None;
        let (mut now, mut held) = (zero, [0_u32; 2]);
        for _ in 0..10_000 {
            now += ms(draw(700));
            let node = usize::try_from(draw(2)).unwrap();
            tenures[node].look(now);
            match tenures[node].ask(now, draw(20) > 0) {
                Some(Ask::Claim) => {
                    // The question takes a while to get there, and the answer may never come back.
                    let asked = now;
                    now += ms(draw(300));
                    key = key.filter(|(_, until)| now < *until);
                    let answer = match key {
                        Some((holder, _)) if holder != node => Answer::Taken,
                        _ => {
                            key = Some((node, now + LEASE));
                            if draw(4) == 0 { Answer::Silent } else { Answer::Granted }
                        }
                    };
                    tenures[node].answered(asked, answer);
                }
                Some(Ask::Release) => {
                    tenures[node].end("not fit");
                    key = key.filter(|(holder, _)| *holder != node);
                }
                None => {}
            }
            let holds = [tenures[0].holds(now), tenures[1].holds(now)];
            assert_ne!(holds, [true, true]);
            (0..2).for_each(|node| held[node] += u32::from(holds[node]));
        }
        assert!(held.iter().all(|steps| *steps > 500), "both had their turn: {held:?}");
    }
}
