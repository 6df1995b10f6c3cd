//! What the system tells of processes, sockets and the machine, read from `/proc`, by the crate `procfs` as far as it
//! knows the file. Nothing else of the harness reads it.

pub mod process;
pub mod sockets;

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use procfs::{Current, CurrentSI, KernelStats, Meminfo};

/// Memory of this machine in MiB; zero when it cannot be read.
pub fn memory_mib() -> u64 {
    Meminfo::current().map_or(0, |memory| memory.mem_total / (1024 * 1024))
}

/// What the processors of this machine have been doing since it was started, in ticks of the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorTicks {
    /// Taken by other machines on the same host.
    pub stolen: u64,
    /// With nothing to do.
    pub idle: u64,
    /// In all, the stolen ones included.
    pub all: u64,
}

/// Of all processors together; `None` when it cannot be read.
pub fn processor_ticks() -> Option<ProcessorTicks> {
    let total = KernelStats::current().ok()?.total;
    let stolen = total.steal.unwrap_or(0);
    // Time of guests is counted in `user` and `nice` already.
    let [iowait, irq, softirq] = [total.iowait, total.irq, total.softirq].map(|ticks| ticks.unwrap_or(0));
    let idle = total.idle + iowait;
    let all = total.user + total.nice + total.system + idle + irq + softirq + stolen;
    Some(ProcessorTicks { stolen, idle, all })
}

/// Release of the running kernel, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// An id that differs from boot to boot; empty when it cannot be read.
pub fn boot_id() -> String {
    procfs::sys::kernel::random::boot_id().unwrap_or_default().trim().to_owned()
}

/// Where file systems are mounted below a folder.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo());
    let points = mounts.into_iter().flatten().map(|mount| mount.mount_point);
    points.filter(|point| point.starts_with(folder)).collect()
}

/// The ports that the kernel gives to outgoing connections; `None` when it does not say.
pub fn ephemeral_ports() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let (low, high) = text.trim().split_once(char::is_whitespace)?;
    Some(low.trim().parse().ok()?..=high.trim().parse().ok()?)
}
