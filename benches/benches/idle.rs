//! What a connection costs a node that has nothing to do: memory and processor time, and what stays of a storm. Real
//! services, a real node, bare WebSockets that have entered the namespace and answer pings:
//!
//! ```sh
//! cargo bench --workspace --bench idle [-- CONNECTIONS]
//! ```
#![recursion_limit = "256"] // the future that brings a deployment up is deep

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use chat_benches::{Fallible, on_a_cluster, pass};
use futures_util::{SinkExt, StreamExt, future::try_join_all};
use harness::{
    os::process,
    plan::{Plan, ProcessName},
    run::deployment::Deployment,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

type Socket = WebSocketStream<TcpStream>;

const CONNECTIONS: usize = 5_000;
/// So many are opened at a time: a storm is another question.
const AT_A_TIME: usize = 100;
/// Each round of a storm ends all connections and opens as many.
const STORMS: usize = 3;
/// Two periods of pings.
const IDLE: Duration = Duration::from_secs(50);
/// For what is freed late: timers, tasks, sockets that close.
const SETTLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Fallible<()> {
    let connections: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(CONNECTIONS);
    let set = |plan: &mut Plan| {
        plan.cluster.node_flags = vec![format!("--connections-per-address={}", 2 * connections)];
    };
    on_a_cluster("idle", set, async |deployment, _| measure(deployment, connections).await).await
}

async fn measure(deployment: &Deployment, connections: usize) -> Fallible<()> {
    let cluster = &deployment.sut.cluster;
    let node = ProcessName::Node(1);
    let address = cluster.address(node).ok_or("the node has no address")?;
    let pids = cluster.pids().await;
    let (_, pid) = pids.into_iter().find(|(name, _)| *name == node).ok_or("the node has no pid")?;

    // What the first few bring into memory is the node's and not theirs.
    end(open(address, AT_A_TIME).await?).await;
    pass(SETTLE).await;
    let empty = (memory(pid)?, spent(pid)?);
    pass(IDLE).await;
    let alone = spent(pid)? - empty.1;
    let since = Instant::now();
    let mut sockets = open(address, connections).await?;
    let opened = since.elapsed();
    pass(SETTLE).await;
    let (full, began) = (memory(pid)?, spent(pid)?);
    let pinged = kept(&mut sockets).await?;
    let busy = spent(pid)? - began;
    for _ in 0..STORMS {
        end(sockets).await;
        sockets = open(address, connections).await?;
    }
    pass(SETTLE).await;
    let stormed = memory(pid)?;
    end(sockets).await;

    let share = |time: Duration| 100.0 * time.as_secs_f64() / IDLE.as_secs_f64();
    let each = |kib: u64| kib.saturating_sub(empty.0) as f64 / connections as f64;
    writeln!(
        std::io::stdout(),
        "| connections | opened in | KiB each | after {STORMS} storms | CPU idle | CPU without any | pings |\n\
         |---|---|---|---|---|---|---|\n\
         | {connections} | {:.1} s | {:.1} | {:.1} | {:.2} % | {:.2} % | {pinged} |\n",
        opened.as_secs_f64(),
        each(full),
        each(stormed),
        share(busy),
        share(alone),
    )?;
    Ok(())
}

async fn open(address: SocketAddr, connections: usize) -> Fallible<Vec<Socket>> {
    let mut sockets = Vec::with_capacity(connections);
    for from in (0..connections).step_by(AT_A_TIME) {
        let to = connections.min(from + AT_A_TIME);
        sockets.extend(try_join_all((from..to).map(|n| enter(address, n))).await?);
    }
    Ok(sockets)
}

/// Opens a WebSocket and enters the namespace.
async fn enter(address: SocketAddr, n: usize) -> Fallible<Socket> {
    let stream = TcpStream::connect(address).await?;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    socket.send(Message::text(format!(r#"40{{"user":"idle-{n}"}}"#))).await?;
    while let Some(frame) = socket.next().await {
        match frame?.to_text()? {
            "2" => socket.send(Message::text("3")).await?,
            entered if entered.starts_with("40") => return Ok(socket),
            opening if opening.starts_with('0') => {}
            other => return Err(format!("{address} said {other}").into()),
        }
    }
    Err(format!("{address} hung up").into())
}

/// Answers pings for [`IDLE`]. Returns how many came.
async fn kept(sockets: &mut [Socket]) -> Fallible<usize> {
    let until = tokio::time::Instant::now() + IDLE;
    let answered = try_join_all(sockets.iter_mut().map(async |socket| {
        let mut pings = 0;
        while let Ok(frame) = tokio::time::timeout_at(until, socket.next()).await {
            let frame = frame.ok_or("the node hung up")??;
            if frame.to_text()? == "2" {
                socket.send(Message::text("3")).await?;
                pings += 1;
            }
        }
        Fallible::Ok(pings)
    }));
    Ok(answered.await?.into_iter().sum())
}

async fn end(sockets: Vec<Socket>) {
    for mut socket in sockets {
        // One that is gone already is as well.
        drop(socket.close(None).await);
    }
}

/// Resident memory, in KiB.
fn memory(pid: u32) -> Fallible<u64> {
    Ok(process::Usage::of(pid).ok_or("the node is gone")?.rss_kib)
}

fn spent(pid: u32) -> Fallible<Duration> {
    Ok(process::cpu_time(pid).ok_or("the node is gone")?)
}
