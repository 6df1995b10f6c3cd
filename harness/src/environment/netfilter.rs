//! Whether packets can be thrown away here: nftables, which does it, and `ss`, which shows it.

use crate::{os::process::may_administer_network, surroundings};

/// How to get what is missing.
pub(super) const HOW_TO_GET: &str =
    "apt-get install nftables iproute2, and run as root (or with CAP_NET_ADMIN)";

/// Whether packets can be thrown away.
///
/// # Errors
///
/// What is missing; [`HOW_TO_GET`] says what to do.
pub(super) fn usable() -> Result<(), String> {
    if !may_administer_network() {
        return Err("only root, or whoever has CAP_NET_ADMIN, may tell the kernel to drop packets".to_owned());
    }
    let missing = surroundings::missing_programs(&["nft", "ss"]);
    if missing.is_empty() { Ok(()) } else { Err(format!("not on PATH: {}", missing.join(", "))) }
}
