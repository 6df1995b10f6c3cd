//! How the broker is set up, whoever runs it: KRaft, one node, and one named listener per client process.
//!
//! Kafka clients connect to the address that the broker advertises, whatever they were given at first. So each client
//! process has a listener of its own, advertised as that process's proxy; and the harness has one that is not proxied.

use std::net::SocketAddr;

use crate::{
    environment::{error::EnvironmentError, ports::Ports},
    plan::ProcessName,
};

/// Longest a broker that was killed counts as alive, so that its successor must wait. Default 9 s, which would be the
/// recovery time of every broker kill.
const SESSION_TIMEOUT_MS: u32 = 3_000;

/// How often the broker says that it lives; several times within the session timeout.
const HEARTBEAT_MS: u32 = 500;

/// A small heap, the collector with the least threads, and the quick compiler alone: a broker for tests, ready in
/// seconds on two cores.
pub(crate) const JVM: [&str; 4] = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// Any id will do: the broker is alone.
pub(crate) const CLUSTER_ID: &str = "squallsquallsquallsqAA";

/// Ports of one broker.
#[derive(Debug, Clone)]
pub(crate) struct Listeners {
    /// For the harness, past every proxy.
    pub(crate) verifier: u16,
    /// The broker's own connections to itself.
    pub(crate) internal: u16,
    pub(crate) controller: u16,
    /// One per process; its proxy's far end.
    pub(crate) clients: Vec<(ProcessName, u16)>,
}

impl Listeners {
    pub(crate) fn draw(processes: &[ProcessName], ports: &mut Ports) -> Result<Self, EnvironmentError> {
        Ok(Self {
            verifier: ports.draw()?,
            internal: ports.draw()?,
            controller: ports.draw()?,
            clients: processes
                .iter()
                .map(|process| Ok((*process, ports.draw()?)))
                .collect::<Result<_, EnvironmentError>>()?,
        })
    }

    pub(crate) fn of(&self, process: ProcessName) -> Option<u16> {
        self.clients.iter().find(|(name, _)| *name == process).map(|(_, port)| *port)
    }
}

/// Name of a process's listener. Kafka takes letters, digits and underscores.
fn listener(process: ProcessName) -> String {
    process.to_string().to_uppercase().replace('-', "_")
}

/// The broker's properties. `bind` is the address it listens on; `verifier` and `proxy` say how it is reached from
/// outside.
pub(crate) fn properties(
    listeners: &Listeners,
    bind: &str,
    verifier: SocketAddr,
    proxy: impl Fn(ProcessName) -> Option<SocketAddr>,
) -> Vec<(&'static str, String)> {
    let mut bound = vec![
        format!("CONTROLLER://127.0.0.1:{}", listeners.controller),
        format!("INTERNAL://127.0.0.1:{}", listeners.internal),
        format!("VERIFIER://{bind}:{}", listeners.verifier),
    ];
    let mut advertised =
        vec![format!("INTERNAL://127.0.0.1:{}", listeners.internal), format!("VERIFIER://{verifier}")];
    let mut protocols: Vec<String> =
        ["CONTROLLER", "INTERNAL", "VERIFIER"].iter().map(|name| format!("{name}:PLAINTEXT")).collect();
    for (process, port) in &listeners.clients {
        let name = listener(*process);
        if let Some(proxy) = proxy(*process) {
            bound.push(format!("{name}://{bind}:{port}"));
            advertised.push(format!("{name}://{proxy}"));
            protocols.push(format!("{name}:PLAINTEXT"));
        }
    }
    let one = || "1".to_owned();
    vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", one()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{}", listeners.controller)),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("inter.broker.listener.name", "INTERNAL".to_owned()),
        ("listeners", bound.join(",")),
        ("advertised.listeners", advertised.join(",")),
        ("listener.security.protocol.map", protocols.join(",")),
        ("broker.session.timeout.ms", SESSION_TIMEOUT_MS.to_string()),
        ("broker.heartbeat.interval.ms", HEARTBEAT_MS.to_string()),
        // One broker holds everything there is: internal topics must not ask for more, and one partition of each is
        // quicker to make than fifty.
        ("offsets.topic.replication.factor", one()),
        ("offsets.topic.num.partitions", one()),
        ("transaction.state.log.replication.factor", one()),
        ("transaction.state.log.min.isr", one()),
        ("transaction.state.log.num.partitions", one()),
        ("share.coordinator.state.topic.replication.factor", one()),
        ("share.coordinator.state.topic.min.isr", one()),
        // Writers start side by side: with a moment's patience they share the partitions once, and not one after the other,
        // with two rounds of heartbeats for each. Kafka's own 3 s would only delay every start.
        ("group.initial.rebalance.delay.ms", "1000".to_owned()),
        // A misspelt topic is an error, not a topic.
        ("auto.create.topics.enable", "false".to_owned()),
        // Threads per listener, and there are many listeners.
        ("num.network.threads", "2".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_told_its_own_proxy() {
        let node = ProcessName::Node(1);
        let listeners = Listeners { verifier: 1, internal: 2, controller: 3, clients: vec![(node, 4)] };
        let verifier = "127.0.0.1:1".parse().unwrap();
        let properties = properties(&listeners, "127.0.0.1", verifier, |_| "127.0.0.1:9".parse().ok());
        let value = |name: &str| properties.iter().find(|(key, _)| *key == name).unwrap().1.clone();
        assert!(value("advertised.listeners").ends_with("NODE_1://127.0.0.1:9"));
        assert!(value("listeners").ends_with("NODE_1://127.0.0.1:4"));
        assert!(!value("advertised.listeners").contains("CONTROLLER"));
    }
}
