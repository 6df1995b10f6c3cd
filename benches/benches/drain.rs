//! How soon a writer goes on after an outage of PostgreSQL and how fast it drains the backlog, beside what PostgreSQL takes
//! from one connection: the same rows into a table with the same indexes, by raw UNNEST, by raw COPY, and one insert a
//! message. Real services and a real writer, in one run:
//!
//! ```sh
//! cargo bench --workspace --bench drain [-- ROUNDS] [WRITER'S FLAGS]
//! ```

#![recursion_limit = "256"] // the future that brings a deployment up is deep

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    time::{Duration, Instant},
};

use chat_benches::{Fallible, on_a_cluster, pass};
use chat_protocol::{ChatRecord, position::partition_of};
use futures_util::future::try_join_all;
use harness::{
    plan::{Plan, ProcessName, Service},
    run::deployment::Deployment,
    wait,
};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{Connection, PgConnection};

/// The backlog.
const RECORDS: usize = 100_000;
const ROOMS: usize = 200;
const BODY_BYTES: usize = 200;
/// One insert a message, of so many: all of them would take minutes.
const SINGLE: usize = 2_000;
const ROUNDS: usize = 3;
/// A drain that is not done by then has failed.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// How long PostgreSQL is away, from when the writer has paused: its probes are as rare as they get by then.
const AWAY: Duration = Duration::from_secs(3);
/// How often the writer's place is asked for: the resolution of holes.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

const UNNEST: &str = "insert into raw (room, id, partition, kafka_offset, sender, body, sent_at_ms) \
    select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])";
const COPY: &str = "copy raw (room, id, partition, kafka_offset, sender, body, sent_at_ms) from stdin";
const INSERT: &str = "insert into raw (room, id, partition, kafka_offset, sender, body, sent_at_ms) \
    values ($1, $2, $3, $4, $5, $6, $7) on conflict (room, sender, id) do nothing";

/// A row: the record, its partition, its offset.
type Row = (ChatRecord, i32, i64);

#[tokio::main]
async fn main() -> Fallible<()> {
    let rounds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    // Cargo adds a flag of its own.
    let flags = std::env::args().filter(|arg| arg.starts_with("--") && arg != "--bench").collect();
    let set = |plan: &mut Plan| plan.cluster.writer_flags = flags;
    on_a_cluster("drain", set, async |deployment, plan| measure(deployment, plan, rounds).await).await
}

async fn measure(deployment: &Deployment, plan: &Plan, rounds: usize) -> Fallible<()> {
    let (cluster, environment) = (&deployment.sut.cluster, &deployment.sut.environment);
    let writer = ProcessName::Writer(1);
    let at = environment.verifier();
    // The writer's own way, through a proxy as it is.
    let its = environment.endpoints(writer).postgres_url;
    let rows = rows(plan.cluster.partitions);
    produce(at.kafka_client().set("linger.ms", "5").create()?, &cluster.names().topic, &rows).await?;
    let mut postgres = PgConnection::connect(&at.postgres_url).await?;
    drained(&mut postgres, Instant::now()).await?;
    sqlx::raw_sql("create table raw (like messages including all)").execute(&mut postgres).await?;

    let mut table = String::from(
        "| round | first row after | largest hole | writer, rows/s | UNNEST of 500 | of 5,000 | COPY \
         | one insert a message | writer / UNNEST of 500 | / of 5,000 |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for round in 1..=rounds {
        // The writer has read everything; without rows and without a place of its own, it has it all before it.
        sqlx::raw_sql("truncate messages, writer_offsets; checkpoint").execute(&mut postgres).await?;
        drop(postgres);
        environment.stop(Service::Postgres).await?;
        let paused = async || match cluster.metrics(writer, AWAY).await?.contains("chat_writer_paused 1") {
            true => Ok(()),
            false => Err("the writer does not say so".to_owned()),
        };
        wait::until("the writer has paused", DRAIN_LIMIT, paused).await?;
        pass(AWAY).await;
        environment.start(Service::Postgres).await?;
        let back = Instant::now();
        postgres = PgConnection::connect(&at.postgres_url).await?;
        let drained = drained(&mut postgres, back).await?;

        let mut postgres = PgConnection::connect(&its).await?;
        let small = raw_unnest(&mut postgres, &rows, 500).await?;
        let large = raw_unnest(&mut postgres, &rows, 5_000).await?;
        let copied = raw_copy(&mut postgres, &rows).await?;
        let single = one_by_one(&mut postgres, &rows[..SINGLE]).await?;
        writeln!(
            table,
            "| {round} | {} ms | {} ms | {:.0} | {small:.0} | {large:.0} | {copied:.0} | {single:.0} | {:.0} % | {:.0} % |",
            drained.first_row.as_millis(),
            drained.hole.as_millis(),
            drained.rows_per_s,
            100.0 * drained.rows_per_s / small,
            100.0 * drained.rows_per_s / large,
        )?;
    }
    writeln!(std::io::stdout(), "{table}")?;
    Ok(())
}

fn rows(partitions: i32) -> Vec<Row> {
    let mut next = BTreeMap::<i32, i64>::new();
    let body = "squall front gust hail cloud storm calm tide ".repeat(BODY_BYTES / 40);
    (0..RECORDS)
        .map(|n| {
            let room = format!("room-{}", n * 7 % ROOMS);
            let partition = partition_of(&room, partitions);
            let offset = next.entry(partition).or_default();
            *offset += 1;
            let record = ChatRecord {
                // As a client's UUID: no order that an index could use.
                id: format!("{:016x}{n:08x}", (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                room,
                sender: format!("user-{}", n % 1_000),
                body: body[..BODY_BYTES].to_owned(),
                sent_at_ms: 1_700_000_000_000,
            };
            (record, partition, *offset - 1)
        })
        .collect()
}

async fn produce(producer: FutureProducer, topic: &str, rows: &[Row]) -> Fallible<()> {
    for part in rows.chunks(10_000) {
        let sent = part.iter().map(async |(record, partition, offset)| -> Fallible<()> {
            let payload = serde_json::to_vec(record)?;
            let record = FutureRecord::to(topic).partition(*partition).key(&record.room).payload(&payload);
            let delivery = producer.send(record, DRAIN_LIMIT).await.map_err(|(error, _)| error)?;
            if delivery.offset == *offset { Ok(()) } else { Err("another offset".into()) }
        });
        try_join_all(sent).await?;
    }
    Ok(())
}

struct Drained {
    rows_per_s: f64,
    first_row: Duration,
    hole: Duration,
}

/// Follows the writer's place to the end of the backlog. What the first batch held is not counted: its time is not known.
async fn drained(postgres: &mut PgConnection, back: Instant) -> Fallible<Drained> {
    let (mut first, mut last, mut hole) = (None, (0, back), Duration::ZERO);
    while back.elapsed() < DRAIN_LIMIT {
        let place: i64 =
            sqlx::query_scalar("select coalesce(sum(next_offset), 0)::bigint from writer_offsets")
                .fetch_one(&mut *postgres)
                .await?;
        let now = Instant::now();
        if place > last.0 {
            let (from, since) = *first.get_or_insert((place, now));
            if last.0 > 0 {
                hole = hole.max(now - last.1);
            }
            last = (place, now);
            if usize::try_from(place)? >= RECORDS {
                let rows_per_s = (place - from) as f64 / (now - since).as_secs_f64();
                return Ok(Drained { rows_per_s, first_row: since - back, hole });
            }
        }
        pass(SAMPLE_EVERY).await;
    }
    Err(format!("{} of {RECORDS} records after {DRAIN_LIMIT:?}", last.0).into())
}

async fn raw_unnest(postgres: &mut PgConnection, rows: &[Row], at_a_time: usize) -> Fallible<f64> {
    emptied(postgres).await?;
    let since = Instant::now();
    for part in rows.chunks(at_a_time) {
        let column = |of: fn(&Row) -> &str| part.iter().map(of).collect::<Vec<_>>();
        sqlx::query(UNNEST)
            .bind(column(|row| &row.0.room))
            .bind(column(|row| &row.0.id))
            .bind(part.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(part.iter().map(|row| row.2).collect::<Vec<_>>())
            .bind(column(|row| &row.0.sender))
            .bind(column(|row| &row.0.body))
            .bind(part.iter().map(|row| row.0.sent_at_ms).collect::<Vec<_>>())
            .execute(&mut *postgres)
            .await?;
    }
    Ok(rows.len() as f64 / since.elapsed().as_secs_f64())
}

/// Nothing in these rows needs escaping.
async fn raw_copy(postgres: &mut PgConnection, rows: &[Row]) -> Fallible<f64> {
    emptied(postgres).await?;
    let since = Instant::now();
    let mut copy = postgres.copy_in_raw(COPY).await?;
    for part in rows.chunks(1_000) {
        let mut text = String::new();
        for (ChatRecord { id, room, sender, body, sent_at_ms }, partition, offset) in part {
            writeln!(text, "{room}\t{id}\t{partition}\t{offset}\t{sender}\t{body}\t{sent_at_ms}")?;
        }
        copy.send(text.into_bytes()).await?;
    }
    copy.finish().await?;
    Ok(rows.len() as f64 / since.elapsed().as_secs_f64())
}

async fn one_by_one(postgres: &mut PgConnection, rows: &[Row]) -> Fallible<f64> {
    emptied(postgres).await?;
    let since = Instant::now();
    for (record, partition, offset) in rows {
        sqlx::query(INSERT)
            .bind(&record.room)
            .bind(&record.id)
            .bind(partition)
            .bind(offset)
            .bind(&record.sender)
            .bind(&record.body)
            .bind(record.sent_at_ms)
            .execute(&mut *postgres)
            .await?;
    }
    Ok(rows.len() as f64 / since.elapsed().as_secs_f64())
}

async fn emptied(postgres: &mut PgConnection) -> Fallible<()> {
    sqlx::raw_sql("truncate raw; checkpoint").execute(postgres).await?;
    Ok(())
}
