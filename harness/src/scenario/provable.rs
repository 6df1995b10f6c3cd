//! What no probe could show is refused when it is planned: a fault that cannot be proved makes a run that proves nothing.

use crate::plan::{FaultKind, Service, Toxic, fault::Direction};

/// Kilobytes per second up to which a transfer can be told from one through a healthy link on a small machine.
const BANDWIDTH_MAX_KBYTES_PER_S: u32 = 1_000;
/// The same for what Kafka sends: it is made to talk by many small questions, and a broker that has just started, under
/// load, was seen to answer no faster than 600 kB/s.
const KAFKA_MAX_KBYTES_PER_S: u32 = 200;
/// Slower than this, and logging in to PostgreSQL alone takes longer than a probe waits.
const SLICER_MIN_BYTES_PER_S: u64 = 2_000;
/// A pause between pieces longer than this is latency.
const SLICER_DELAY_MAX_US: u32 = 100_000;
/// Most bytes that a probe moves to reach a limit.
const LIMIT_DATA_MAX_BYTES: u32 = 1_000_000;
/// A close that comes sooner is quick; one that comes later is none, for all a probe can see.
const SLOW_CLOSE_MS: std::ops::RangeInclusive<u32> = 200..=2_500;
/// Until it resets a connection, the toxic swallows what passes: later than this it looks like a black hole.
const RESET_AFTER_MAX_MS: u32 = 1_000;
/// A round trip through a healthy link takes up to this long on a busy machine.
const LATENCY_MIN_MS: u32 = 10;
/// What a transfer, its login included, takes at least to show a toxic.
const TRANSFER_MS: u64 = 2_000;
/// TCP waits 200 ms and more until it sends again, and one retransmission alone shows nothing.
const LOSS_MS: u64 = 5_000;
/// A restarted process takes at least this long to be ready again.
const RESTART_MS: u64 = 1_000;
/// The `Date` of an answer is exact to a second, and may be a second old.
const CLOCK_SKEW_MIN_S: u64 = 5;
/// Ten years.
const CLOCK_SKEW_MAX_S: u64 = 315_360_000;

/// Whether a probe can show this fault when it lasts so long.
///
/// # Errors
///
/// A sentence that says what to change.
pub(super) fn check(fault: &FaultKind, for_ms: u64) -> Result<(), String> {
    match fault {
        FaultKind::LinkToxic { links, toxic, direction, ramp_ms } => {
            ramp(toxic, *ramp_ms, for_ms)?;
            let kafka_talks =
                *direction != Direction::Upstream && links.iter().any(|link| link.service == Service::Kafka);
            values(toxic, if kafka_talks { KAFKA_MAX_KBYTES_PER_S } else { BANDWIDTH_MAX_KBYTES_PER_S })?;
            let needed_ms = needed_ms(toxic);
            if for_ms - ramp_ms < needed_ms {
                return Err(format!(
                    "a probe needs {} s to show this toxic at its full strength: for_s leaves it {} s",
                    seconds(needed_ms),
                    seconds(for_ms - ramp_ms)
                ));
            }
            Ok(())
        }
        FaultKind::RollingRestart { processes, gap_ms } => {
            let count = processes.len() as u64;
            let least_ms = count * RESTART_MS + count.saturating_sub(1) * gap_ms;
            if for_ms < least_ms {
                return Err(format!(
                    "{count} restarts take at least {} s, gaps included: for_s is the time they may take",
                    seconds(least_ms)
                ));
            }
            Ok(())
        }
        FaultKind::ProcessClockSkew { offset_s, .. } => match offset_s.unsigned_abs() {
            CLOCK_SKEW_MIN_S..=CLOCK_SKEW_MAX_S => Ok(()),
            _ => Err(format!(
                "offset_s must be {CLOCK_SKEW_MIN_S} to {CLOCK_SKEW_MAX_S}, or as much below zero: less cannot be \
                 read off the Date of an answer"
            )),
        },
        FaultKind::LinkLoss { .. } if for_ms < LOSS_MS => Err(format!(
            "a probe needs {} s until enough packets are lost and sent again: for_s leaves it {} s",
            seconds(LOSS_MS),
            seconds(for_ms)
        )),
        FaultKind::LinkLoss { .. }
        | FaultKind::ServiceStop { .. }
        | FaultKind::ServiceKill { .. }
        | FaultKind::ServicePause { .. }
        | FaultKind::LinkDown { .. }
        | FaultKind::LinkHalfClose { .. }
        | FaultKind::ProcessKill { .. }
        | FaultKind::ProcessTerminate { .. }
        | FaultKind::ProcessPause { .. }
        | FaultKind::RedisClientKill
        | FaultKind::RedisOutputBuffer { .. }
        | FaultKind::PostgresTerminate
        | FaultKind::PostgresReadOnly
        | FaultKind::PostgresLock
        | FaultKind::PostgresConnectionLimit
        | FaultKind::PostgresDiskFull
        | FaultKind::KafkaPoison
        | FaultKind::KafkaRebalance
        | FaultKind::KafkaPartitionsAdded { .. }
        | FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. } => Ok(()),
    }
}

fn ramp(toxic: &Toxic, ramp_ms: u64, for_ms: u64) -> Result<(), String> {
    match toxic {
        _ if ramp_ms == 0 => Ok(()),
        Toxic::Latency { .. } | Toxic::Bandwidth { .. } if ramp_ms < for_ms => Ok(()),
        Toxic::Latency { .. } | Toxic::Bandwidth { .. } => {
            Err("ramp_s must be shorter than for_s: the fault is to be seen at its full strength".to_owned())
        }
        _ => Err("only latency and bandwidth can grow: this fault takes no ramp_s".to_owned()),
    }
}

fn values(toxic: &Toxic, max_kbytes_per_s: u32) -> Result<(), String> {
    match *toxic {
        Toxic::Latency { latency_ms, jitter_ms } => {
            if latency_ms.saturating_sub(jitter_ms) < LATENCY_MIN_MS {
                return Err(format!(
                    "latency_ms less jitter_ms must be at least {LATENCY_MIN_MS}: a healthy link can be as slow"
                ));
            }
        }
        Toxic::Bandwidth { kbytes_per_s } => {
            if !(1..=max_kbytes_per_s).contains(&kbytes_per_s) {
                return Err(format!(
                    "kbytes_per_s must be 1 to {max_kbytes_per_s} on these links: zero means no limit to Toxiproxy, and \
                     more cannot be told from a healthy link"
                ));
            }
        }
        Toxic::Slicer { average_bytes, variation_bytes, delay_us } => {
            if average_bytes == 0 || variation_bytes >= average_bytes {
                return Err("average_bytes must be at least 1, and variation_bytes less than that".to_owned());
            }
            if !(1..=SLICER_DELAY_MAX_US).contains(&delay_us) {
                return Err(format!(
                    "delay_us must be 1 to {SLICER_DELAY_MAX_US}: pieces without a pause cannot be told apart, and \
                     a longer pause is latency"
                ));
            }
            let largest = u64::from(average_bytes) + u64::from(variation_bytes);
            let slowest = u64::from(average_bytes - variation_bytes) * 1_000_000 / u64::from(delay_us);
            let fastest = largest * 1_000_000 / u64::from(delay_us);
            let max = u64::from(max_kbytes_per_s) * 1_000;
            if slowest < SLICER_MIN_BYTES_PER_S || fastest > max {
                return Err(format!(
                    "these slices let {slowest} to {fastest} bytes per second pass; a probe can show \
                     {SLICER_MIN_BYTES_PER_S} to {max} on these links"
                ));
            }
        }
        Toxic::Reset { after_ms } => {
            if after_ms > RESET_AFTER_MAX_MS {
                return Err(format!(
                    "after_ms must be at most {RESET_AFTER_MAX_MS}: until the reset nothing passes, as in a black hole"
                ));
            }
        }
        Toxic::LimitData { bytes } => {
            if bytes > LIMIT_DATA_MAX_BYTES {
                return Err(format!(
                    "bytes must be at most {LIMIT_DATA_MAX_BYTES}: no probe moves more to see it cut"
                ));
            }
        }
        Toxic::SlowClose { delay_ms } => {
            if !SLOW_CLOSE_MS.contains(&delay_ms) {
                return Err(format!(
                    "delay_ms must be {} to {}: a quicker close is a close, and a slower one looks like none",
                    SLOW_CLOSE_MS.start(),
                    SLOW_CLOSE_MS.end()
                ));
            }
        }
        Toxic::BlackHole => {}
    }
    Ok(())
}

/// What a probe needs to show a toxic once.
fn needed_ms(toxic: &Toxic) -> u64 {
    match *toxic {
        Toxic::Bandwidth { .. } | Toxic::Slicer { .. } | Toxic::LimitData { .. } => TRANSFER_MS,
        // In both directions a close is delayed twice.
        Toxic::SlowClose { delay_ms } => u64::from(delay_ms) * 2 + 500,
        Toxic::Reset { after_ms } => u64::from(after_ms) + 500,
        Toxic::Latency { .. } | Toxic::BlackHole => 0,
    }
}

/// Milliseconds as people write them in a scenario, to a tenth of a second.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toxic(toxic: Toxic, ramp_ms: u64, for_ms: u64) -> Result<(), String> {
        let links = vec!["node-1->kafka".parse().unwrap()];
        check(&FaultKind::LinkToxic { links, toxic, direction: Direction::Both, ramp_ms }, for_ms)
    }

    #[test]
    fn what_kafka_sends_must_be_slower_to_be_seen() {
        let check = |link: &str, direction, kbytes_per_s| {
            let links = vec![link.parse().unwrap()];
            let toxic = Toxic::Bandwidth { kbytes_per_s };
            check(&FaultKind::LinkToxic { links, toxic, direction, ramp_ms: 0 }, 8_000).is_ok()
        };
        assert!(check("node-1->kafka", Direction::Upstream, 1_000));
        assert!(!check("node-1->kafka", Direction::Downstream, 1_000));
        assert!(check("node-1->kafka", Direction::Downstream, 200));
        assert!(check("node-1->redis", Direction::Both, 1_000));
    }

    #[test]
    fn what_can_be_shown_is_planned_and_what_cannot_is_refused() {
        let latency = Toxic::Latency { latency_ms: 300, jitter_ms: 50 };
        for (fits, what, ramp_ms, for_ms) in [
            (true, latency.clone(), 0, 2_000),
            (true, latency.clone(), 5_000, 8_000),
            (false, latency, 8_000, 8_000),
            (false, Toxic::Latency { latency_ms: 20, jitter_ms: 15 }, 0, 8_000),
            (true, Toxic::Bandwidth { kbytes_per_s: 20 }, 3_000, 8_000),
            (false, Toxic::Bandwidth { kbytes_per_s: 20 }, 7_000, 8_000),
            (false, Toxic::Bandwidth { kbytes_per_s: 0 }, 0, 8_000),
            (false, Toxic::Bandwidth { kbytes_per_s: 5_000 }, 0, 8_000),
            (true, Toxic::Slicer { average_bytes: 64, variation_bytes: 16, delay_us: 1_000 }, 0, 8_000),
            (false, Toxic::Slicer { average_bytes: 64, variation_bytes: 64, delay_us: 1_000 }, 0, 8_000),
            (false, Toxic::Slicer { average_bytes: 64, variation_bytes: 16, delay_us: 0 }, 0, 8_000),
            (false, Toxic::Slicer { average_bytes: 64, variation_bytes: 0, delay_us: 90_000 }, 0, 8_000),
            (true, Toxic::LimitData { bytes: 4_096 }, 0, 8_000),
            (false, Toxic::LimitData { bytes: 4_096 }, 1_000, 8_000),
            (false, Toxic::LimitData { bytes: 50_000_000 }, 0, 8_000),
            (true, Toxic::SlowClose { delay_ms: 1_000 }, 0, 8_000),
            (false, Toxic::SlowClose { delay_ms: 1_000 }, 0, 2_000),
            (false, Toxic::SlowClose { delay_ms: 60_000 }, 0, 8_000),
            (true, Toxic::Reset { after_ms: 0 }, 0, 1_000),
            (false, Toxic::Reset { after_ms: 5_000 }, 0, 8_000),
            (true, Toxic::BlackHole, 0, 1_000),
            (false, Toxic::BlackHole, 500, 1_000),
        ] {
            let checked = toxic(what.clone(), ramp_ms, for_ms);
            assert_eq!(checked.is_ok(), fits, "{what:?} {ramp_ms} {for_ms}: {checked:?}");
        }
    }
}
