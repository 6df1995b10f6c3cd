//! Faults on processes: ended, frozen, restarted in turn, or living in another time.

mod clock_skew;
mod ended;
mod frozen;
mod rolling_restart;

pub(super) use self::{
    clock_skew::ClockSkew,
    ended::{Ended, How},
    frozen::Frozen,
    rolling_restart::RollingRestart,
};
use super::{Seen, SystemUnderTest};
use crate::plan::ProcessName;

/// Every process is alive and well.
async fn alive(processes: &[ProcessName], sut: &SystemUnderTest) -> Seen {
    let mut seen = Vec::new();
    for process in processes {
        seen.push(sut.cluster.observe_alive(*process).await?);
    }
    Ok(seen.join("; "))
}
