//! What the kernel had to send again, on each side of every connection to a port of this machine: `ss -ti`.

use std::{collections::BTreeMap, fmt, process::Stdio};

use tokio::process::Command;

use crate::{faults::link::transfer_probe::Way, surroundings};

/// Retransmissions on the connections of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By the ports of the two ends, on the end whose port stands first.
    by_side: BTreeMap<(u16, u16), u64>,
    /// The port of the link's proxy.
    port: u16,
    /// Questions that were asked meanwhile.
    asked: u32,
}

impl Counts {
    /// What is new since then. A connection that ended takes its count along.
    pub(super) fn since(&self, before: &Self) -> Self {
        let new = |(side, count): (&(u16, u16), &u64)| {
            (*side, count.saturating_sub(before.by_side.get(side).copied().unwrap_or(0)))
        };
        Self { by_side: self.by_side.iter().map(new).collect(), ..*self }
    }

    /// The same, with what was asked meanwhile.
    pub(super) fn in_round_trips(self, asked: u32) -> Self {
        Self { asked, ..self }
    }

    /// Those on one way.
    pub(super) fn on(&self, way: Way) -> u64 {
        let from_the_proxy = |side: &(u16, u16)| side.0 == self.port;
        let on = |side: &(u16, u16)| (way == Way::Downstream) == from_the_proxy(side);
        self.by_side.iter().filter(|(side, _)| on(side)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in {} round trips the kernel sent {} times again upstream and {} times downstream",
            self.asked,
            self.on(Way::Upstream),
            self.on(Way::Downstream)
        )
    }
}

/// What is counted by now on the connections to a port of this machine.
pub(super) async fn counted(port: u16) -> Result<Counts, String> {
    let output = Command::new("ss")
        .args(["--tcp", "--info", "--numeric", "--no-header", "--oneline"])
        .arg(format!("( sport = :{port} or dport = :{port} )"))
        .env_clear()
        .envs(surroundings::for_children())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("ss could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("ss: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let by_side = String::from_utf8_lossy(&output.stdout).lines().filter_map(read).collect();
    Ok(Counts { by_side, port, asked: 0 })
}

/// `ESTAB 0 0 127.0.0.1:20001 127.0.0.1:54321 cubic … retrans:0/3 …`: the two ends, and what was sent again in all; none
/// where nothing was.
fn read(line: &str) -> Option<((u16, u16), u64)> {
    let mut fields = line.split_whitespace();
    let port = |address: &str| address.rsplit_once(':')?.1.parse().ok();
    let (here, there) = (port(fields.nth(3)?)?, port(fields.next()?)?);
    let again = fields.find_map(|field| field.strip_prefix("retrans:")?.split_once('/')?.1.parse().ok());
    Some(((here, there), again.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[&str]) -> Counts {
        Counts { by_side: lines.iter().filter_map(|line| read(line)).collect(), port: 20_001, asked: 0 }
    }

    #[test]
    fn each_side_counts_what_it_sent_again() {
        let before =
            counts(&["ESTAB 0 0 127.0.0.1:54321 127.0.0.1:20001 cubic rto:201 retrans:0/2 rcv_space:65495"]);
        let now = counts(&[
            "ESTAB 0 0 127.0.0.1:54321 127.0.0.1:20001 cubic rto:201 retrans:1/5 rcv_space:65495",
            "ESTAB 0 0 127.0.0.1:20001 127.0.0.1:54321 cubic rto:201 rtt:0.1/0.05",
            "ESTAB 0 9 127.0.0.1:20001 127.0.0.1:54322 cubic rto:804 backoff:2 retrans:1/4 lost:1",
            "LISTEN rubbish",
        ]);
        let new = now.since(&before);
        assert_eq!((new.on(Way::Upstream), new.on(Way::Downstream)), (3, 4));
    }
}
