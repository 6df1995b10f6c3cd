//! How cost grows: processor time of a receipt, a message and a row, and how long they take, as rooms, connections, nodes and
//! partitions become more. Real services and processes, one thing varied at a time:
//!
//! ```sh
//! cargo bench --workspace --bench growth [-- members connections nodes partitions]
//! ```
//!
//! Prints a table and leaves `growth.html`, with a plot of each, in `target/growth`.
#![recursion_limit = "256"] // the future that brings a cluster up is deep

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use chat_benches::{Fallible, samples};
use chat_node::room;
use chat_protocol::Position;
use harness::{
    capacity::Trial,
    clock::Clock,
    environment::ProviderChoice,
    plan::Plan,
    progress::Progress,
    report::{
        chart::{Curve, Scale, Series},
        html,
    },
    run::{Request, capacity::CapacityBench, folder::RunFolder, limits},
    scenario::{Choices, library},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// What is measured of each point.
const LENGTH_MS: u64 = 12_000;
/// Where rooms grow, so many receipts a second whatever their size: what differs is what a message costs.
const RECEIPTS_PER_S: u32 = 10_000;
/// Where the load is to stay the same: messages a second, in rooms of ten.
const MESSAGES_PER_S: f64 = 500.0;
const ROOM_OF: u32 = 10;

/// Something that grows.
struct Axis {
    name: &'static str,
    title: &'static str,
    points: &'static [u32],
    /// Whether the cluster has to be another one for each point.
    own_cluster: bool,
    set: fn(&mut Plan, u32),
}

const AXES: [Axis; 4] = [
    Axis {
        name: "members",
        title: "members of a room; 5,000 connections, 10,000 receipts/s",
        points: &[10, 100, 1_000, 5_000],
        own_cluster: false,
        set: |plan, members| {
            users(plan, 5_000, members);
            plan.load.rate_per_s = f64::from(RECEIPTS_PER_S / members);
        },
    },
    Axis {
        name: "connections",
        title: "connections; rooms of 10, 500 messages/s",
        points: &[100, 1_000, 5_000, 10_000, 15_000, 20_000],
        own_cluster: false,
        set: |plan, connections| users(plan, connections, ROOM_OF),
    },
    Axis {
        name: "nodes",
        title: "nodes; 600 connections, rooms of 10, 500 messages/s",
        points: &[1, 2, 3, 4],
        own_cluster: true,
        set: |plan, nodes| plan.cluster.nodes = u16::try_from(nodes).unwrap_or(u16::MAX),
    },
    Axis {
        name: "partitions",
        title: "partitions; 600 connections, rooms of 10, 500 messages/s",
        points: &[1, 4, 16, 64],
        own_cluster: true,
        set: |plan, partitions| plan.cluster.partitions = i32::try_from(partitions).unwrap_or(i32::MAX),
    },
];

fn users(plan: &mut Plan, users: u32, members: u32) {
    (plan.load.users, plan.load.rooms) = (users, users / members);
}

#[tokio::main]
async fn main() -> Fallible<()> {
    limits::raise();
    // Cargo adds flags of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("growth");
    let mut page = html::begin("growth");
    page.push_str("<header><p class=\"kicker\">squall · growth</p><h1>How cost grows</h1></header>");
    for axis in AXES.iter().filter(|axis| asked.is_empty() || asked.iter().any(|it| it == axis.name)) {
        let points = Box::pin(measure(axis, &out)).await?;
        print(axis, &points)?;
        if axis.name == "members" {
            limit().await?;
        }
        page.push_str(&plots(axis, &points));
    }
    page.push_str(html::END);
    Ok(std::fs::write(out.join("growth.html"), page)?)
}

async fn measure(axis: &Axis, out: &Path) -> Fallible<Vec<(Trial, f64)>> {
    let (progress, cancel) = (Progress::silent(), CancellationToken::new());
    let mut points = Vec::new();
    // A generator with too few files would wait for minutes and say that.
    let held = |point: &&u32| axis.name != "connections" || **point <= limits::users_max();
    let points_held: Vec<u32> = axis.points.iter().filter(held).copied().collect();
    let mut left = points_held.as_slice();
    while !left.is_empty() {
        let (now, later) = left.split_at(if axis.own_cluster { 1 } else { left.len() });
        left = later;
        let mut plan = library::find("smoke")?.plan(&Choices::default())?;
        (plan.cluster.nodes, plan.cluster.writers) = (2, 1);
        users(&mut plan, 600, ROOM_OF);
        (plan.load.rooms_per_user, plan.load.rate_per_s) = (1, MESSAGES_PER_S);
        now.iter().for_each(|point| (axis.set)(&mut plan, *point));
        let clock = Clock::start();
        let folder = RunFolder::create(out, &plan, clock.zero_unix_ms())?;
        let (provider, external) = (ProviderChoice::Host, None);
        let request = Request { plan: plan.clone(), provider, external, out: out.to_owned() };
        let bench = CapacityBench::up(&request, &folder, clock, 1, &progress, &cancel).await?;
        let mut measured = Ok(());
        for (nth, point) in now.iter().enumerate() {
            (axis.set)(&mut plan, *point);
            match Box::pin(bench.trial(nth, plan.clone(), (*point, LENGTH_MS), &cancel)).await {
                Ok(trial) => points.push((trial, plan.load.rate_per_s)),
                Err(error) => {
                    measured = Err(error);
                    break;
                }
            }
        }
        bench.down(&progress).await?;
        measured?;
    }
    Ok(points)
}

/// What no node can do better: a bare thread that writes the frame of one message to as many sockets as a room has members,
/// each of which somebody reads. Its processor time has the kernel's part in it, as a node's has.
async fn limit() -> Fallible<()> {
    const SOCKETS: usize = 1_000;
    const MESSAGES: usize = 100;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut sockets = Vec::with_capacity(SOCKETS);
    let mut readers = JoinSet::new();
    for _ in 0..SOCKETS {
        let (reader, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        let socket = accepted?.0.into_std()?;
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
        let mut reader = reader?;
        readers.spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok(1..) = reader.read(&mut buffer).await {}
        });
    }
    let here = Position { partition: 7, offset: 123_456 };
    let event = room::encode(Some(here), &samples::record(here.offset), false).ok_or("no event")?;
    // `42["message",` and `]`, behind the four bytes of a WebSocket's head.
    let frame = vec![b'x'; event.get().len() + 18];
    let spent = || -> Fallible<u64> {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        Ok(told.split(' ').next().unwrap_or_default().parse()?)
    };
    let writing = tokio::task::spawn_blocking(move || -> Fallible<f64> {
        let before = spent()?;
        for _ in 0..MESSAGES {
            for socket in &mut sockets {
                std::io::Write::write_all(socket, &frame)?;
            }
        }
        Ok(ns_each(spent()? - before, (SOCKETS * MESSAGES) as u64))
    });
    let each = writing.await??;
    readers.join_all().await;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nLimit: a bare thread that writes the frame to {SOCKETS} sockets spends {:.2} µs on each.",
        each / 1_000.0
    )?;
    Ok(())
}

fn ns_each(cpu_ns: u64, of: u64) -> f64 {
    cpu_ns as f64 / of.max(1) as f64
}

fn print(axis: &Axis, points: &[(Trial, f64)]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n**{}**\n", axis.title)?;
    writeln!(
        out,
        "| {} | messages/s | receipts/s | nodes: µs a message | µs a receipt | writer: µs a row | ack p50 / p99 ms | receipt \
         p50 / p99 ms | processors |",
        axis.name
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for (trial, rate) in points {
        let Trial { load, sent, receipts, node_cpu_ns, writer_cpu_ns, ack, receipt, busy, .. } = trial;
        if let Some(why) = &trial.no_load {
            writeln!(out, "| {load} | {rate} | {why} |")?;
            continue;
        }
        writeln!(
            out,
            "| {load} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} | {:.1} / {:.1} | {:.1} / {:.1} | {:.0} % |",
            *sent as f64 * 1_000.0 / LENGTH_MS as f64,
            trial.receipts_per_s(),
            ns_each(*node_cpu_ns, *sent) / 1_000.0,
            ns_each(*node_cpu_ns, *receipts) / 1_000.0,
            ns_each(*writer_cpu_ns, *sent) / 1_000.0,
            ack.p50_us as f64 / 1_000.0,
            ack.p99_us as f64 / 1_000.0,
            receipt.p50_us as f64 / 1_000.0,
            receipt.p99_us as f64 / 1_000.0,
            busy * 100.0
        )?;
    }
    Ok(())
}

fn plots(axis: &Axis, points: &[(Trial, f64)]) -> String {
    let line = |height: fn(&Trial) -> f64| -> Vec<(f64, f64)> {
        let there = points.iter().filter(|(trial, _)| trial.no_load.is_none());
        there.map(|(trial, _)| (f64::from(trial.load), height(trial))).collect()
    };
    let series = |label, class, height| Series::through(label, class, line(height));
    let costs = [
        series("of nodes, a message", "c-acked", |it| ns_each(it.node_cpu_ns, it.sent) / 1_000.0),
        series("of nodes, a receipt", "c-green", |it| ns_each(it.node_cpu_ns, it.receipts) / 1_000.0),
        series("of the writer, a row", "c-open", |it| ns_each(it.writer_cpu_ns, it.sent) / 1_000.0),
    ];
    let times = [
        series("ack p50", "c-p50", |it| it.ack.p50_us as f64 / 1_000.0),
        series("ack p99", "c-p99", |it| it.ack.p99_us as f64 / 1_000.0),
        series("receipt p99", "c-receipt", |it| it.receipt.p99_us as f64 / 1_000.0),
    ];
    let mut section = String::from("<section>");
    for (what, y_unit, series) in
        [("processor time", "µs, log scale", &costs), ("latency", "ms, log scale", &times)]
    {
        let title = format!("{what} over {}", axis.title);
        let curve = Curve {
            title: &title,
            x_unit: axis.name,
            y_unit,
            scale: Scale::Log,
            series,
            limits: &[],
            marks: &[],
        };
        section.push_str(&curve.draw());
    }
    section.push_str("</section>");
    section
}
