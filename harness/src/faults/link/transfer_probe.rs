//! Evidence for toxics that a small round trip does not feel: a transfer of known size, one way, and a close.
//!
//! What is slow through the proxy must be quick past it: a busy service is no toxic.
//!
//! Each way is looked at on a connection of its own, so a toxic on one of two ways is not taken for one on both. The
//! bounds within which a toxic can be shown are checked when a scenario is planned, in `scenario/provable.rs`.

mod close;
mod transfer;

use std::time::Duration;

use crate::{
    environment::Endpoints,
    plan::{LinkName, Toxic, fault::Direction},
};

use transfer::Failed;
pub(super) use transfer::{Session, Way};

/// How long a transfer is meant to take under the toxic: to be felt on a busy machine, and to leave time to repeat it.
const AIM: Duration = Duration::from_millis(600);
/// A probe that takes longer than this is cut off: it has shown what it had to show.
const LIMIT: Duration = Duration::from_millis(3_500);
/// What counts is at least this share of what the arithmetic says: clocks and timers are not exact.
const SHARE: f64 = 0.8;
/// Fewest pieces of a sliced transfer. The first comes at once, so a single one would show nothing.
const PIECES_MIN: u32 = 4;

/// The two ways to a service.
pub(super) struct Ends {
    /// Through the proxy of the link.
    pub(super) through: Endpoints,
    /// Past every proxy.
    pub(super) past: Endpoints,
}

/// Whether this toxic is one that only a transfer or a close shows.
pub(super) fn shows(toxic: &Toxic) -> bool {
    matches!(
        toxic,
        Toxic::Bandwidth { .. } | Toxic::Slicer { .. } | Toxic::LimitData { .. } | Toxic::SlowClose { .. }
    )
}

/// The ways of a direction.
pub(super) fn ways(direction: Direction) -> &'static [Way] {
    match direction {
        Direction::Upstream => &[Way::Upstream],
        Direction::Downstream => &[Way::Downstream],
        Direction::Both => &[Way::Upstream, Way::Downstream],
    }
}

/// Looks for a toxic on one link, on every way it is meant to work. `Ok` tells what shows it.
pub(super) async fn prove(
    link: LinkName,
    toxic: &Toxic,
    direction: Direction,
    at: &Ends,
) -> Result<String, String> {
    let observations = ways(direction).iter().map(|way| observe(link, toxic, *way, direction, at));
    let seen: Result<Vec<String>, String> =
        futures_util::future::join_all(observations).await.into_iter().collect();
    seen.map(|seen| format!("{link}: {}", seen.join(", "))).map_err(|error| format!("{link}: {error}"))
}

/// The contrary of [`prove`]: no way shows the toxic any more.
pub(super) async fn gone(
    link: LinkName,
    toxic: &Toxic,
    direction: Direction,
    at: &Ends,
) -> Result<(), String> {
    for way in ways(direction) {
        if let Ok(still) = observe(link, toxic, *way, direction, at).await {
            return Err(format!("{link}: {still}"));
        }
    }
    Ok(())
}

async fn observe(
    link: LinkName,
    toxic: &Toxic,
    way: Way,
    direction: Direction,
    at: &Ends,
) -> Result<String, String> {
    match toxic {
        Toxic::SlowClose { delay_ms } => {
            let delay = Duration::from_millis(u64::from(*delay_ms));
            close::observe(link.service, way, direction, delay, &at.through).await
        }
        Toxic::LimitData { bytes } => limited(link, way, *bytes, at).await,
        Toxic::Bandwidth { kbytes_per_s } => {
            let bytes = kbytes_per_s.saturating_mul(600); // AIM at that rate; a kilobyte is a thousand bytes there
            slow(link, way, bytes, AIM, at).await
        }
        Toxic::Slicer { average_bytes, variation_bytes, delay_us } => {
            let delay = Duration::from_micros(u64::from(*delay_us));
            let pieces = pieces(*delay_us);
            let bytes = pieces.saturating_mul(average_bytes.saturating_add(*variation_bytes));
            slow(link, way, bytes, delay * (pieces - 1), at).await
        }
        _ => Err("a transfer does not show this toxic".to_owned()),
    }
}

/// Pieces of a transfer that takes [`AIM`] when each is followed by a pause of so many microseconds.
fn pieces(delay_us: u32) -> u32 {
    let aim_us = u32::try_from(AIM.as_micros()).unwrap_or(u32::MAX);
    aim_us.div_ceil(delay_us.max(1)).max(PIECES_MIN)
}

async fn slow(link: LinkName, way: Way, bytes: u32, expected: Duration, at: &Ends) -> Result<String, String> {
    let mut session =
        Session::open(link.service, &at.through, LIMIT).await.map_err(|failed| failed.to_string())?;
    let least = expected.mul_f64(SHARE);
    let seen = match session.carry(way, bytes, LIMIT).await {
        Ok(took) if took >= least => format!("{bytes} bytes {way} take {} ms", took.as_millis()),
        Ok(took) => return Err(format!("{bytes} bytes {way} take only {} ms", took.as_millis())),
        Err(Failed::Silent(limit)) if limit >= least => {
            format!("{bytes} bytes {way} take longer than {} ms", limit.as_millis())
        }
        Err(failed) => return Err(failed.to_string()),
    };
    let mut session =
        Session::open(link.service, &at.past, LIMIT).await.map_err(|failed| failed.to_string())?;
    match session.carry(way, bytes, LIMIT).await {
        Ok(took) if took < least => Ok(format!("{seen}, past the proxy {} ms", took.as_millis())),
        Ok(took) => Err(format!("{seen}, but past the proxy as much: {} ms", took.as_millis())),
        Err(failed) => Err(format!("{seen}, but past the proxy: {failed}")),
    }
}

async fn limited(link: LinkName, way: Way, limit: u32, at: &Ends) -> Result<String, String> {
    let bytes = limit.saturating_add(1);
    let carried = match Session::open(link.service, &at.through, LIMIT).await {
        Ok(mut session) => session.carry(way, bytes, LIMIT).await,
        Err(failed) => Err(failed),
    };
    match carried {
        Err(Failed::Cut(why)) => Ok(format!("{bytes} bytes {way} are cut ({why})")),
        Err(failed) => Err(failed.to_string()),
        Ok(took) => Err(format!("{bytes} bytes {way} pass in {} ms", took.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sliced_transfer_has_several_pieces_and_takes_about_the_aim() {
        assert_eq!(pieces(1_000), 600);
        assert_eq!(pieces(100_000), 6);
        assert_eq!(pieces(u32::MAX), PIECES_MIN);
    }
}
