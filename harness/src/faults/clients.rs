//! Evidence of faults on clients. The load acts them out; nothing of it is asked here. What is looked at is the system's
//! own table of TCP connections (`/proc/net/tcp`) and the counters that the nodes publish, now and before the fault.
//!
//! | fault | what shows it | what shows it gone |
//! |---|---|---|
//! | reconnect storm | connections from before are gone, as many new ones are there | all are there, and none is replaced |
//! | crash | connections are gone and stay so; nodes count sessions that ended without a goodbye | all are there |
//! | slow readers | bytes wait on the node's side of their connections, and go on waiting | no bytes go on waiting |
//! | malformed, oversize | nodes count frames that broke the protocol, and verbs refused | they count no more of them |
//!
//! Only nodes that lived through are compared with themselves: a connection that a killed node took along is no evidence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    cluster::{Cluster, PROBE_SOURCE},
    faults::{Fault, FaultError, Seen, SystemUnderTest},
    os::sockets::{self, Socket},
    plan::{ClientFault, ProcessName},
    target::ClientCounters,
    wait,
};

/// How long before the fault the connections are looked at: time for three looks, should a node not answer the first.
const LEAD: Duration = Duration::from_millis(1_500);

/// Of those who should be struck, this many in a hundred must be seen struck: others may have no connection just then.
const SEEN_OF_HUNDRED: u64 = 70;
/// Of the connections from before, this many in a hundred must be back: others may be reconnecting just then.
const BACK_OF_HUNDRED: u64 = 90;
/// A client that is away only because it reconnects is back within this time.
const STAYS_AWAY: Duration = Duration::from_millis(900);
/// Bytes that wait for a client that reads are gone within this time.
const GOES_ON_WAITING: Duration = Duration::from_millis(400);
/// Bytes waiting on a connection below this are a message on its way.
const WAITING_BYTES: u64 = 2_048;
/// Frames and refusals that nodes must have counted.
const COUNTED_LEAST: u64 = 3;
/// Longest look for replaced connections when a storm should be over.
const CALM_LONGEST: Duration = Duration::from_secs(3);

/// A node answers within this, or its counters are not to be had: the probe must not outlast what it looks for.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);

/// A fault that clients act out, by the plan: it is only looked for.
#[derive(Debug)]
pub(super) struct Struck {
    fault: ClientFault,
    before: Option<Before>,
}

impl Struck {
    pub(super) fn new(fault: ClientFault) -> Self {
        Self { fault, before: None }
    }

    fn before(&self) -> Result<&Before, String> {
        // Connections come and go by themselves: only beside what was there before does it mean anything.
        self.before.as_ref().ok_or_else(|| "nobody looked at the connections before the fault".to_owned())
    }
}

#[async_trait(?Send)]
impl Fault for Struck {
    fn lead(&self) -> Duration {
        LEAD
    }

    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        self.before = Some(Before::of(sut).await);
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        prove(self.fault, self.before()?, sut).await
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        gone(self.fault, self.before()?, sut).await
    }
}

/// What was there before a fault on clients.
#[derive(Debug)]
struct Before(View);

impl Before {
    /// Looks, until every node has said what it counts or there is no time left: without its counters, a node shows
    /// nothing of what is sent to it.
    async fn of(sut: &SystemUnderTest) -> Self {
        let mut view = View::default();
        let looked = wait::until("counters of every node", LEAD, async || {
            view = View::of(sut, true).await;
            let silent = view.nodes.iter().find(|(_, node)| node.counters.is_none());
            silent.map_or(Ok(()), |(name, _)| Err(format!("{name} does not say")))
        });
        if let Err(error) = looked.await {
            tracing::debug!(%error, "a look at clients goes without");
        }
        Self(view)
    }
}

/// The nodes and their clients at one moment.
#[derive(Debug, Default)]
struct View {
    nodes: BTreeMap<ProcessName, Node>,
}

#[derive(Debug)]
struct Node {
    pid: u32,
    sockets: Vec<Socket>,
    counters: Option<ClientCounters>,
}

/// Asks a node for its counters.
async fn read(cluster: &Cluster, node: ProcessName) -> Result<ClientCounters, String> {
    cluster.metrics(node, ANSWER_LIMIT).await.map(|text| ClientCounters::parse(&text))
}

impl View {
    async fn of(sut: &SystemUnderTest, counted: bool) -> Self {
        let table = sockets::established();
        let pids = sut.cluster.pids().await.into_iter();
        let nodes = pids.filter(|(name, _)| matches!(name, ProcessName::Node(_)));
        let observations = nodes.filter_map(|(name, pid)| Some((name, pid, sut.cluster.address(name)?))).map(
            |(name, pid, address)| {
                // Our own looks at the node are no clients.
                let clients = table.iter().filter(|socket| {
                    socket.local_port == address.port() && Some(*socket.remote.ip()) != PROBE_SOURCE
                });
                let sockets = clients.copied().collect();
                async move {
                    let counters = if counted { read(&sut.cluster, name).await.ok() } else { None };
                    (name, Node { pid, sockets, counters })
                }
            },
        );
        Self { nodes: futures_util::future::join_all(observations).await.into_iter().collect() }
    }

    fn connections(&self) -> u64 {
        self.nodes.values().map(|node| node.sockets.len() as u64).sum()
    }

    /// Connections of nodes that lived from `before` until now: those that are gone, and those that are new.
    fn changed_since(&self, before: &Self) -> (u64, u64) {
        let ports =
            |node: &Node| node.sockets.iter().map(|socket| socket.remote.port()).collect::<BTreeSet<u16>>();
        let (mut gone, mut new) = (0, 0);
        for (then, now) in self.same_nodes(before) {
            let (then, now) = (ports(then), ports(now));
            gone += then.difference(&now).count() as u64;
            new += now.difference(&then).count() as u64;
        }
        (gone, new)
    }

    fn same_nodes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a Node, &'a Node)> {
        let pairs = before.nodes.iter().filter_map(|(name, then)| Some((then, self.nodes.get(name)?)));
        pairs.filter(|(then, now)| then.pid == now.pid)
    }

    /// How much counters grew since `before`, on nodes that lived and answered.
    fn grown(&self, before: &Self, of: impl Fn(&ClientCounters) -> u64) -> u64 {
        let both = self
            .same_nodes(before)
            .filter_map(|(then, now)| Some((then.counters.as_ref()?, now.counters.as_ref()?)));
        both.map(|(then, now)| of(now).saturating_sub(of(then))).sum()
    }

    /// Connections on which bytes wait in both views, and no fewer in the later one.
    fn waiting_since(&self, before: &Self) -> u64 {
        let mut waiting = 0;
        for (then, now) in self.same_nodes(before) {
            let then: BTreeMap<u16, u64> =
                then.sockets.iter().map(|socket| (socket.remote.port(), socket.unsent_bytes)).collect();
            waiting += now
                .sockets
                .iter()
                .filter(|socket| socket.unsent_bytes >= WAITING_BYTES)
                .filter(|socket| {
                    then.get(&socket.remote.port())
                        .is_some_and(|unsent| (WAITING_BYTES..=socket.unsent_bytes).contains(unsent))
                })
                .count() as u64;
        }
        waiting
    }
}

/// How many of so many connections must be seen struck.
fn least_struck(connections: u64, percent: u32) -> u64 {
    (connections * u64::from(percent) * SEEN_OF_HUNDRED / 10_000).max(1)
}

/// What was seen, if it was enough.
fn at_least(least: u64, count: u64, seen: String) -> Result<String, String> {
    if count >= least { Ok(seen) } else { Err(format!("{seen}; {least} expected")) }
}

/// Looks for a fault on clients.
async fn prove(fault: ClientFault, before: &Before, sut: &SystemUnderTest) -> Result<String, String> {
    let before = &before.0;
    let were = before.connections();
    if were == 0 && fault.struck_percent().is_some() {
        return Err("no client was connected before".to_owned());
    }
    match fault {
        ClientFault::ReconnectStorm { share_percent, .. } => {
            let least = least_struck(were, share_percent);
            let (gone, new) = View::of(sut, false).await.changed_since(before);
            let seen = format!("of {were} connections {gone} are gone and {new} are new");
            at_least(least, gone.min(new), seen)
        }
        ClientFault::Crash { share_percent } => {
            let least = least_struck(were, share_percent);
            away(before, were, least, sut).await?;
            wait::pause(STAYS_AWAY).await;
            let (now, gone) = away(before, were, least, sut).await?;
            let silently = View::of(sut, true).await.grown(before, |counters| counters.ended_without_goodbye);
            let seen = format!(
                "{gone} of {were} connections are gone and {now} are left; nodes count {silently} sessions without a goodbye"
            );
            at_least(least, silently, seen)
        }
        ClientFault::Slow { share_percent } => {
            let least = least_struck(were, share_percent);
            let first = View::of(sut, false).await;
            wait::pause(GOES_ON_WAITING).await;
            let waiting = View::of(sut, false).await.waiting_since(&first);
            let seen = format!("on {waiting} of {were} connections bytes wait for the client");
            at_least(least, waiting, seen)
        }
        ClientFault::Malformed { .. } => {
            let malformed = View::of(sut, true).await.grown(before, |counters| counters.malformed);
            let seen = format!("nodes count {malformed} malformed frames more");
            if malformed >= COUNTED_LEAST { Ok(seen) } else { Err(seen) }
        }
        ClientFault::Oversize { .. } => {
            let now = View::of(sut, true).await;
            let invalid = now.grown(before, |counters| counters.refused_as_invalid);
            let cut = now.grown(before, |counters| counters.ended_without_goodbye);
            let seen = format!(
                "nodes count {invalid} verbs refused as invalid and {cut} connections ended by error more"
            );
            if invalid >= COUNTED_LEAST && cut >= COUNTED_LEAST { Ok(seen) } else { Err(seen) }
        }
    }
}

/// How many connections there are and how many of those from before are gone, if that is at least so many.
async fn away(before: &View, were: u64, least: u64, sut: &SystemUnderTest) -> Result<(u64, u64), String> {
    let now = View::of(sut, false).await;
    let (gone, _) = now.changed_since(before);
    let left = now.connections();
    if gone >= least && left + least <= were {
        Ok((left, gone))
    } else {
        Err(format!("{gone} of {were} connections are gone and {left} are there; {least} fewer expected"))
    }
}

/// Looks for healthy clients where a fault on them was.
async fn gone(fault: ClientFault, before: &Before, sut: &SystemUnderTest) -> Result<String, String> {
    let were = before.0.connections();
    let counted = fault.struck_percent().is_none();
    let calm = if let ClientFault::ReconnectStorm { redial_every_ms, .. } = fault {
        (Duration::from_millis(u64::from(redial_every_ms)) + GOES_ON_WAITING).min(CALM_LONGEST)
    } else {
        GOES_ON_WAITING
    };
    let first = View::of(sut, counted).await;
    wait::pause(calm).await;
    let now = View::of(sut, counted).await;
    let are = now.connections();
    if fault.struck_percent().is_some() && are * 100 < were * BACK_OF_HUNDRED {
        return Err(format!("of {were} connections only {are} are back"));
    }
    match fault {
        ClientFault::ReconnectStorm { .. } => {
            let (lost, _) = now.changed_since(&first);
            // Bad clients of another fault may come and go.
            if lost * 100 > were * (100 - BACK_OF_HUNDRED) {
                return Err(format!(
                    "{lost} of {are} connections were replaced within {} ms",
                    calm.as_millis()
                ));
            }
            Ok(format!("{are} connections, {lost} of them replaced within {} ms", calm.as_millis()))
        }
        ClientFault::Slow { .. } => match now.waiting_since(&first) {
            0 => Ok(format!("{are} connections, and bytes wait on none of them")),
            waiting => Err(format!("on {waiting} of {are} connections bytes still wait")),
        },
        ClientFault::Malformed { .. } | ClientFault::Oversize { .. } => {
            let malformed = now.grown(&first, |counters| counters.malformed);
            let invalid = now.grown(&first, |counters| counters.refused_as_invalid);
            if malformed + invalid > 0 {
                return Err(format!(
                    "nodes still count bad frames: {malformed} malformed, {invalid} invalid"
                ));
            }
            Ok(format!("{are} connections, and nodes count no more bad frames"))
        }
        ClientFault::Crash { .. } => Ok(format!("{are} of {were} connections")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(pid: u32, sockets: &[(u16, u64)]) -> View {
        let socket = |(remote_port, unsent_bytes): &(u16, u64)| Socket {
            local_port: 80,
            remote: std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, *remote_port),
            unsent_bytes: *unsent_bytes,
            inode: 0,
        };
        let node = Node { pid, sockets: sockets.iter().map(socket).collect(), counters: None };
        View { nodes: BTreeMap::from([(ProcessName::Node(1), node)]) }
    }

    #[test]
    fn only_nodes_that_lived_through_are_compared() {
        let before = view(7, &[(1, 0), (2, 0)]);
        assert_eq!(view(7, &[(2, 0), (3, 0), (4, 0)]).changed_since(&before), (1, 2));
        assert_eq!(view(8, &[(3, 0)]).changed_since(&before), (0, 0), "another process");
        assert_eq!(view(7, &[(1, 0), (2, 0)]).changed_since(&before), (0, 0));
    }

    #[test]
    fn bytes_wait_only_where_they_do_not_get_fewer() {
        let first = view(7, &[(1, 9_000), (2, 9_000), (3, 0), (4, 100)]);
        let later = view(7, &[(1, 9_000), (2, 8_000), (3, 9_000), (4, 100)]);
        assert_eq!(later.waiting_since(&first), 1);
    }

    #[test]
    fn at_least_one_must_be_struck() {
        assert_eq!(least_struck(60, 50), 21);
        assert_eq!(least_struck(2, 1), 1);
    }
}
