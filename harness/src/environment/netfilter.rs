//! Whether packets can be thrown away here: nftables, which does it, and `ss`, which shows it.

use std::fs;

use nix::unistd::geteuid;

use crate::surroundings;

/// How to get what is missing.
pub(super) const HOW_TO_GET: &str =
    "apt-get install nftables iproute2, and run as root (or with CAP_NET_ADMIN)";

/// Number of CAP_NET_ADMIN in the kernel's masks.
const CAP_NET_ADMIN: u32 = 12;

/// Whether packets can be thrown away.
///
/// # Errors
///
/// What is missing; [`HOW_TO_GET`] says what to do.
pub(super) fn usable() -> Result<(), String> {
    if !may_administer() {
        return Err("only root, or whoever has CAP_NET_ADMIN, may tell the kernel to drop packets".to_owned());
    }
    let missing = surroundings::missing_programs(&["nft", "ss"]);
    if missing.is_empty() { Ok(()) } else { Err(format!("not on PATH: {}", missing.join(", "))) }
}

fn may_administer() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
        Some(mask) => mask >> CAP_NET_ADMIN & 1 == 1,
        None => geteuid().is_root(),
    }
}
