//! **Claim: it is quick enough** (`expect.ack_p99_ms` and `expect.receipt_p99_ms`, where stated; missing one is exit
//! code 4, not a violation).
//!
//! - Latency runs from the *intended* time, when the message was due by the schedule, to the ack at its sender or to the
//!   first receipt at each member, replays included. A generator or a server that falls behind cannot hide it
//!   (coordinated omission).
//! - The warm-up is left out.
//! - *Inside*: the message's time from due to ack (or receipt) touches a fault or the time users needed to get over it
//!   ([`super::recovery`]). *Outside*: it does not. Objectives are about outside; faults have their own checkers.
//! - Messages that were never acked or received have no latency; [`super::delivery`] and [`super::recovery`] count them.
//!
//! **Evidence**: one clock at both ends. **Cannot see** what a network between real users would add.
//!
//! **Cost**: one histogram entry a receipt.

use hdrhistogram::Histogram;

use crate::checkers::{Case, Checker, Finding};

/// Longest latency a histogram tells apart: an hour, far beyond any ack timeout.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Latencies of one kind, in microseconds.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Outside fault windows.
    pub outside: Histogram<u64>,
    /// Inside fault windows.
    pub inside: Histogram<u64>,
}

impl Latencies {
    fn like(empty: &Histogram<u64>) -> Self {
        Self { outside: empty.clone(), inside: empty.clone() }
    }

    fn add(&mut self, case: &Case<'_>, due_us: u64, done_us: u64) {
        let latency_us = done_us.saturating_sub(due_us);
        let histogram = if case.disturbed(due_us, done_us) { &mut self.inside } else { &mut self.outside };
        histogram.saturating_record(latency_us);
    }

    /// Both together.
    pub fn overall(&self) -> Histogram<u64> {
        let mut overall = self.outside.clone();
        // Same bounds on both sides, so nothing can fall outside.
        let _ = overall.add(&self.inside);
        overall
    }
}

/// Latencies of acks and of receipts; none when the library refuses the bounds (it does not).
pub fn latencies(case: &Case<'_>) -> Option<(Latencies, Latencies)> {
    let empty = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).ok()?;
    let (mut acks, mut receipts) = (Latencies::like(&empty), Latencies::like(&empty));
    let warm_us = case.warm_us();
    let mut seen = vec![u32::MAX; case.history.users() as usize];
    for message in 0..case.history.messages() {
        let Some(due_us) = case.due_us(message).filter(|due_us| *due_us >= warm_us) else { continue };
        if let Some(acked_us) = case.history.outcome(message).acked_us() {
            acks.add(case, due_us, acked_us);
        }
        for receipt in case.history.receipts_of(message) {
            // A repetition is no slow delivery.
            if std::mem::replace(&mut seen[receipt.user as usize], message) != message {
                receipts.add(case, due_us, receipt.at_us);
            }
        }
    }
    Some((acks, receipts))
}

/// See the [module](self).
#[derive(Debug)]
pub struct Latency;

impl Checker for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn claim(&self) -> &'static str {
        "outside faults, acks and receipts meet their stated p99"
    }

    fn when_unknown(&self) -> &'static str {
        "leave more load outside the faults and the warm-up: raise duration_s"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let Some((acks, receipts)) = latencies(case) else {
            finding.unknown(|| "no histogram could be made".to_owned());
            return;
        };
        let expect = &case.plan.expect;
        let both = [("ack", &acks, expect.ack_p99_ms), ("receipt", &receipts, expect.receipt_p99_ms)];
        for (what, latencies, objective) in both {
            let p99_us = latencies.outside.value_at_quantile(0.99);
            finding.count(&format!("{what}_p99_outside_us"), p99_us);
            finding.count(&format!("{what}_p99_inside_us"), latencies.inside.value_at_quantile(0.99));
            let Some(objective_ms) = objective else { continue };
            if latencies.outside.is_empty() {
                finding.unknown(|| {
                    format!("no {what} fell outside the faults and the warm-up: no p99 to compare")
                });
            } else if p99_us > objective_ms.saturating_mul(1_000) {
                finding.objective_missed = true;
                finding.note(|| format!("{what} p99 is {}, the objective {objective_ms} ms", millis(p99_us)));
            }
        }
        finding.summary = format!(
            "ack p50 {}, p99 {}; receipt p50 {}, p99 {} outside faults{}",
            millis(acks.outside.value_at_quantile(0.5)),
            millis(acks.outside.value_at_quantile(0.99)),
            millis(receipts.outside.value_at_quantile(0.5)),
            millis(receipts.outside.value_at_quantile(0.99)),
            if finding.objective_missed { ": OBJECTIVE MISSED" } else { "" }
        );
        if expect.ack_p99_ms.is_none() && expect.receipt_p99_ms.is_none() {
            finding.applicable = false;
        }
    }
}

/// Microseconds as milliseconds, with as many digits as mean something.
pub fn millis(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10),
        10_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{} ms", us / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::{Latency, millis};
    use crate::{
        checkers::{Verdict, fixture::Run},
        exit::Exit,
    };

    #[test]
    fn an_objective_is_missed_without_a_violation() {
        let mut run = Run::clean(40);
        run.plan.expect.ack_p99_ms = Some(5);
        assert!(!run.judged(&Latency).objective_missed);
        run.plan.expect.ack_p99_ms = Some(1);
        let finding = run.judged(&Latency);
        assert_eq!((finding.verdict, finding.objective_missed), (Verdict::Holds, true), "{finding:#?}");
        let history = run.history();
        assert_eq!(crate::checkers::check(&run.plan, &run.arrivals, &history).exit(), Exit::ObjectiveMissed);
    }

    #[test]
    fn what_touches_a_fault_is_inside_and_no_outside_is_unknown() {
        let mut run = Run::clean(200).with_postgres_outage(0, 19_000);
        run.plan.expect.receipt_p99_ms = Some(5);
        let finding = run.judged(&Latency);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    }

    #[test]
    fn the_warm_up_is_left_out() {
        let mut run = Run::clean(40);
        run.plan.load.warm_up_ms = 60_000;
        run.plan.expect.ack_p99_ms = Some(1);
        assert_eq!(run.judged(&Latency).verdict, Verdict::Unknown);
    }

    #[test]
    fn milliseconds_have_the_digits_that_mean_something() {
        assert_eq!([millis(1_234), millis(12_345), millis(123_456)], ["1.23 ms", "12.3 ms", "123 ms"]);
    }
}
