//! The generator accounts for itself: once a second, how late it was and what it cost. A load that could not keep its own
//! schedule has measured itself and not the cluster, and the `validity` checker must be able to see that.

use std::time::{Duration, Instant};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

use super::World;
use crate::{history::EventKind, os::process::own_memory_kib, wait};

/// The period of the account.
const EVERY: Duration = Duration::from_secs(1);

/// Records [`EventKind::Generator`] every second, for ever; the caller drops it.
pub(super) async fn keep(world: &World) {
    let mut cpu_before_ms = cpu_ms();
    let mut next = Instant::now();
    loop {
        next += EVERY;
        wait::pause_until(next).await;
        let cpu_now_ms = cpu_ms();
        let second = world.stats.close_second();
        world.recorder.record(EventKind::Generator {
            lateness_max_us: second.lateness_max_us,
            sent: u32::try_from(second.sent).unwrap_or(u32::MAX),
            cpu_ms: cpu_now_ms.saturating_sub(cpu_before_ms),
            rss_kib: own_memory_kib(),
        });
        cpu_before_ms = cpu_now_ms;
    }
}

/// Processor time of this process since its start: the sum of `utime` and `stime` of /proc/self/stat, finer.
fn cpu_ms() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0 };
    let spent = usage.user_time() + usage.system_time();
    u64::try_from(spent.num_milliseconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_we_cost() {
        let before = cpu_ms();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(60) {}
        assert!(cpu_ms() > before);
    }
}
