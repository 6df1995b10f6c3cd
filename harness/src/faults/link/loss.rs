//! Packets that are lost on their way: the kernel drops a share of those that come in for a link's proxy, or from it.
//!
//! The rules are nftables' own, in a table that belongs to one process of `nft` and goes with it: however this one ends,
//! nothing is left behind. Where netem would lose packets of the whole interface, they name the ports of the links.
//!
//! **Evidence** are TCP's retransmissions, as the kernel counts them on each side of every connection of the link
//! (`ss -ti`): on the process's side those of what goes upstream, on the proxy's side those of what comes down. So that
//! there is something to lose, a connection of our own asks and answers while it is counted.

mod retransmissions;

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use self::retransmissions::{Counts, counted};
use super::{
    others, short,
    transfer_probe::{Session, Way, ways},
};
use crate::{
    environment::Endpoints,
    faults::{Fault, FaultError, Seen, SystemUnderTest},
    plan::{LinkName, fault::Direction},
    surroundings, wait,
};

/// The kernel takes rules, or gives them up, within this.
const RULES_LIMIT: Duration = Duration::from_secs(5);
/// Fewest retransmissions that show it. One may be a probe of TCP's own, on a busy machine.
const LEAST: u64 = 3;
/// Round trips that are asked for are so many that this many losses are expected on one way: fewer than [`LEAST`] then
/// come about six times in a thousand, and the next look shows it.
const LOSSES_EXPECTED: u32 = 9;
/// A look is given up beyond this: each loss costs at least 200 ms, TCP's shortest wait.
const OBSERVE_LIMIT: Duration = Duration::from_millis(4_500);
/// One question and its answer; a packet that is lost three times is away for 1.4 s.
const TRIP_LIMIT: Duration = Duration::from_secs(4);
/// How many questions are asked between two looks at the counts.
const TRIPS_A_PROBE: u32 = 10;

/// Links that lose packets.
#[derive(Debug)]
pub(in crate::faults) struct PacketLoss {
    links: Vec<LinkName>,
    direction: Direction,
    loss_percent: u32,
    rules: Option<Rules>,
}

/// The process that owns the rules: while it lives, they are in force.
#[derive(Debug)]
struct Rules {
    nft: Child,
    table: String,
}

impl PacketLoss {
    pub(in crate::faults) fn new(links: Vec<LinkName>, direction: Direction, loss_percent: u32) -> Self {
        Self { links, direction, loss_percent, rules: None }
    }

    fn ports(&self, sut: &SystemUnderTest) -> Result<BTreeMap<LinkName, u16>, FaultError> {
        let port = |link: &LinkName| Ok((*link, sut.environment.proxies().address(*link)?.port()));
        self.links.iter().map(port).collect()
    }

    /// Asks and answers on a connection of our own, and counts meanwhile what is sent again on every one of the link.
    async fn count(
        &self,
        link: LinkName,
        port: u16,
        through: &Endpoints,
        enough: u64,
    ) -> Result<Counts, String> {
        let began = Instant::now();
        let before = counted(port).await?;
        let mut session =
            Session::open(link.service, through, OBSERVE_LIMIT).await.map_err(|failed| failed.to_string())?;
        let trips = LOSSES_EXPECTED * 100 / self.loss_percent.max(1);
        let mut asked = 0;
        loop {
            for _ in 0..TRIPS_A_PROBE.min(trips - asked) {
                let trip = session.carry(Way::Upstream, 1, TRIP_LIMIT).await;
                trip.map_err(|failed| failed.to_string())?;
                asked += 1;
            }
            let new = counted(port).await?.since(&before);
            let shown = ways(self.direction).iter().all(|way| new.on(*way) >= enough);
            if shown || asked >= trips || began.elapsed() > OBSERVE_LIMIT {
                return Ok(new.in_round_trips(asked));
            }
        }
    }

    /// What is counted on every link, beside each other.
    async fn observe(
        &self,
        sut: &SystemUnderTest,
        enough: u64,
    ) -> Result<Vec<(LinkName, Result<Counts, String>)>, String> {
        let ports = self.ports(sut).map_err(|error| error.to_string())?;
        let observations = ports.into_iter().map(|(link, port)| async move {
            (link, self.count(link, port, &sut.environment.through(link.process), enough).await)
        });
        Ok(join_all(observations).await)
    }
}

#[async_trait(?Send)]
impl Fault for PacketLoss {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let ports: Vec<u16> = self.ports(sut)?.into_values().collect();
        let nft = nft()
            .arg("--interactive")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| FaultError::Missed(format!("nft could not be started: {error}")))?;
        let Rules { nft, table } = self.rules.insert(Rules { nft, table: table() });
        let text = script(table, &ports, self.direction, self.loss_percent);
        let orders =
            nft.stdin.as_mut().ok_or_else(|| FaultError::Missed("nft takes no orders".to_owned()))?;
        orders
            .write_all(text.as_bytes())
            .await
            .map_err(|error| FaultError::Missed(format!("nft: {error}")))?;
        wait::until("the rules in the kernel", RULES_LIMIT, async || match listed(table).await? {
            Some(rules) if rules.contains("drop") => Ok(()),
            _ => Err("they are not there".to_owned()),
        })
        .await
        .map_err(|error| FaultError::Missed(error.to_string()))
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let mut texts = Vec::new();
        for (link, counts) in self.observe(sut, LEAST).await? {
            let counts = counts.map_err(|error| format!("{link}: {error}"))?;
            let seen = format!("{link}: {counts}");
            if ways(self.direction).iter().any(|way| counts.on(*way) < LEAST) {
                return Err(seen);
            }
            texts.push(seen);
        }
        short(texts)
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let Some(Rules { mut nft, table }) = self.rules.take() else { return Ok(None) };
        // Waiting closes its orders: with them it ends, and the table with it.
        if tokio::time::timeout(RULES_LIMIT, nft.wait()).await.is_err() {
            nft.kill().await.map_err(|error| FaultError::Left(format!("nft would not end: {error}")))?;
        }
        wait::until("the rules gone", RULES_LIMIT, async || match listed(&table).await? {
            Some(_) => Err(format!("the kernel still has the table {table}")),
            None => Ok(()),
        })
        .await
        .map_err(|error| FaultError::Left(error.to_string()))?;
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        let mut texts = Vec::new();
        for (link, counts) in self.observe(sut, u64::MAX).await? {
            let counts = match counts {
                Ok(counts) => counts,
                Err(error) => {
                    let others = others(link, sut).await?;
                    let others = others.ok_or_else(|| format!("{link}: {error}"))?;
                    texts.push(format!("{link}: {others}"));
                    continue;
                }
            };
            let seen = format!("{link}: {counts}");
            if ways(self.direction).iter().any(|way| counts.on(*way) >= LEAST) {
                return Err(seen);
            }
            texts.push(seen);
        }
        short(texts)
    }
}

/// A name that no other run on this machine has.
fn table() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("squall-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// One line an order.
fn script(table: &str, ports: &[u16], direction: Direction, loss_percent: u32) -> String {
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "add table inet {table} {{ flags owner; }}\n\
         add chain inet {table} loss {{ type filter hook input priority 0; policy accept; }}\n"
    );
    for way in ways(direction) {
        let end = match way {
            Way::Upstream => "dport",
            Way::Downstream => "sport",
        };
        text += &format!(
            "add rule inet {table} loss iif lo tcp {end} {{ {ports} }} numgen random mod 100 < {loss_percent} counter drop\n"
        );
    }
    text
}

fn nft() -> Command {
    let mut command = Command::new("nft");
    command
        .env_clear()
        .envs(surroundings::for_children())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What the kernel says of a table: none when there is no such.
async fn listed(table: &str) -> Result<Option<String>, String> {
    let output =
        nft().args(["list", "table", "inet", table]).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.await.map_err(|error| format!("nft could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        false if said.contains("No such file or directory") => Ok(None),
        false => Err(format!("nft: {}", said.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_the_ports_and_the_way() {
        let up = script("t", &[20_001, 20_002], Direction::Upstream, 20);
        assert!(up.contains("tcp dport { 20001, 20002 } numgen random mod 100 < 20 counter drop"), "{up}");
        assert!(!up.contains("sport"), "{up}");
        assert_eq!(script("t", &[1], Direction::Both, 5).matches(" drop\n").count(), 2);
        assert!(up.starts_with("add table inet t { flags owner; }\n"), "{up}");
    }
}
