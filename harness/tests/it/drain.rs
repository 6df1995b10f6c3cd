//! PostgreSQL killed in the middle of a drain, again and again: the writer's transactions do not wait for the disk, so a crash
//! takes back the newest, rows and places together, and the log has them still.
//!
//! `SQUALL_TEST_DRAINS=20` kills so often; a change is tried with three.

use std::time::{Duration, Instant};

use chat_protocol::{ChatRecord, position::partition_of};
use futures_util::future::try_join_all;
use harness::{
    plan::{ProcessName, Service},
    wait,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::{Connection, PgConnection};

use crate::testbed;

/// Whatever the writer is to do, it has done within this.
const SOON: Duration = Duration::from_secs(60);
/// A backlog that takes a writer most of a second.
const RECORDS: u32 = 60_000;
const ROOMS: u32 = 100;
/// How often the writer's place is asked for while it drains: the kill comes at most so much late.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Writes the backlog into the log.
async fn produce(producer: &FutureProducer, topic: &str, partitions: i32) {
    for part in (0..RECORDS).collect::<Vec<_>>().chunks(10_000) {
        let sent = part.iter().map(async |n| {
            let room = format!("room-{}", n % ROOMS);
            let partition = partition_of(&room, partitions);
            let body = "a message of some length, as people write them".to_owned();
            let record = ChatRecord {
                id: format!("m{n}"),
                room,
                sender: format!("user-{}", n % 50),
                body,
                sent_at_ms: 7,
            };
            let payload = serde_json::to_vec(&record).unwrap();
            let record = FutureRecord::to(topic).partition(partition).key(&record.room).payload(&payload);
            producer.send(record, SOON).await.map(drop).map_err(|(error, _)| error)
        });
        try_join_all(sent).await.unwrap();
    }
}

async fn place(postgres: &mut PgConnection) -> u32 {
    let place = sqlx::query_scalar("select coalesce(sum(next_offset), 0)::bigint from writer_offsets");
    u32::try_from(place.fetch_one(postgres).await.map(|place: i64| place).unwrap()).unwrap()
}

/// Follows the writer's place up to `to`; returns where it stood then.
async fn until_at(postgres: &mut PgConnection, to: u32) -> u32 {
    let since = Instant::now();
    loop {
        let at = place(postgres).await;
        if at >= to {
            return at;
        }
        assert!(since.elapsed() < SOON, "{at} of {to} after {SOON:?}");
        wait::pause(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_in_the_middle_of_a_drain_loses_and_doubles_nothing() {
    let _alone = testbed::alone().await;
    let times = std::env::var("SQUALL_TEST_DRAINS").map_or(3, |times| times.parse().unwrap());
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(61, 1);
    let deployment = testbed::Deployment::up("drain", &plan, out.path()).await;
    let (cluster, environment) = (&deployment.sut.cluster, &deployment.sut.environment);
    let at = environment.verifier();
    let producer = at.kafka_client().set("linger.ms", "5").create().unwrap();
    produce(&producer, &cluster.names().topic, plan.cluster.partitions).await;
    let mut postgres = PgConnection::connect(&at.postgres_url).await.unwrap();
    until_at(&mut postgres, RECORDS).await;

    let mut taken_back = 0;
    for seed in 0..times {
        // Without rows and without a place of its own, the writer has it all before it once PostgreSQL is back.
        sqlx::raw_sql("truncate messages, writer_offsets; checkpoint").execute(&mut postgres).await.unwrap();
        drop(postgres);
        environment.stop(Service::Postgres).await.unwrap();
        wait::until("the writer has paused", SOON, async || {
            let said = cluster.metrics(ProcessName::Writer(1), SOON).await?;
            if said.contains("chat_writer_paused 1") { Ok(()) } else { Err("it does not say so".to_owned()) }
        })
        .await
        .unwrap();
        environment.start(Service::Postgres).await.unwrap();
        postgres = PgConnection::connect(&at.postgres_url).await.unwrap();

        let middle = ChaCha8Rng::seed_from_u64(seed).random_range(1..RECORDS * 3 / 4);
        let reached = until_at(&mut postgres, middle).await;
        environment.kill(Service::Postgres).await.unwrap();
        environment.start(Service::Postgres).await.unwrap();
        postgres = PgConnection::connect(&at.postgres_url).await.unwrap();
        let kept = place(&mut postgres).await;
        println!("seed {seed}: killed at {reached} of {RECORDS}; {kept} when it was back");
        assert!(reached < RECORDS, "the drain was over before the kill");
        taken_back += u32::from(kept < reached);

        until_at(&mut postgres, RECORDS).await;
        let counts = "select count(*), count(distinct (partition, kafka_offset)), count(distinct (room, sender, id)) \
                      from messages";
        let counts: (i64, i64, i64) = sqlx::query_as(counts).fetch_one(&mut postgres).await.unwrap();
        let all = i64::from(RECORDS);
        assert_eq!(counts, (all, all, all), "seed {seed}");
    }
    println!("{times} crashes in the middle of a drain; {taken_back} of them took transactions back");
    drop((postgres, producer));
    deployment.down().await;
}
