//! The writer where its ledgers do not fit together: a database that went back in time, a record that no letter can carry,
//! ids that were used again, a log that was cut.

use std::time::Duration;

use chat_protocol::{ChatRecord, position::partition_of};
use harness::{plan::ProcessName, wait};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
    producer::{FutureProducer, FutureRecord},
};
use sqlx::{Connection, PgConnection};

use crate::testbed;

/// Whatever the writer is to do, it has done within this.
const SOON: Duration = Duration::from_secs(30);
const ROOM: &str = "ledgers";
/// Just below what the broker takes (1,048,588 with the batch around it): with headers of its own it is above.
const LARGE_BYTES: usize = 1_048_490;

struct Ledgers<'a> {
    deployment: &'a testbed::Deployment,
    postgres: PgConnection,
    producer: FutureProducer,
}

impl Ledgers<'_> {
    fn partition(&self) -> i32 {
        partition_of(ROOM, self.deployment.sut.cluster.plan().cluster.partitions)
    }

    /// Appends bytes to the room's partition; returns the offset.
    async fn append(&self, bytes: &[u8]) -> i64 {
        let topic = &self.deployment.sut.cluster.names().topic;
        let record = FutureRecord::to(topic).partition(self.partition()).key(ROOM).payload(bytes);
        self.producer.send(record, SOON).await.unwrap().offset
    }

    async fn say(&self, id: &str) -> i64 {
        self.say_as("ann", id, "hello").await
    }

    async fn say_as(&self, sender: &str, id: &str, body: &str) -> i64 {
        let record = ChatRecord {
            room: ROOM.into(),
            id: id.into(),
            sender: sender.into(),
            body: body.into(),
            sent_at_ms: 1,
        };
        self.append(&serde_json::to_vec(&record).unwrap()).await
    }

    async fn stored(&mut self, id: &str) -> bool {
        let query = sqlx::query_scalar("select count(*) from messages where room = $1 and id = $2");
        query.bind(ROOM).bind(id).fetch_one(&mut self.postgres).await.map(|count: i64| count == 1).unwrap()
    }

    async fn until_stored(&mut self, ids: &[&str]) {
        wait::until(&format!("{ids:?} stored"), SOON, async || {
            for id in ids {
                if !self.stored(id).await {
                    return Err(format!("{id} is not"));
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn until_metric(&self, line: &str) {
        wait::until(line, SOON, async || {
            let text = self.deployment.sut.cluster.metrics(ProcessName::Writer(1), SOON).await?;
            if text.lines().any(|it| it == line) { Ok(()) } else { Err("it says otherwise".to_owned()) }
        })
        .await
        .unwrap();
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.postgres).await.unwrap();
    }

    /// PostgreSQL loses what it had, the writer's place with it, while Kafka remembers that the writer had got further.
    async fn gone_back_in_time(&mut self) {
        for id in ["one", "two", "three"] {
            self.say(id).await;
        }
        self.until_stored(&["one", "two", "three"]).await;
        let cluster = &self.deployment.sut.cluster;
        cluster.terminate(ProcessName::Writer(1)).await.unwrap();
        self.run("truncate messages, writer_offsets").await;
        cluster.start(ProcessName::Writer(1)).await.unwrap();
        self.until_stored(&["one", "two", "three"]).await;
    }

    /// A record that cannot be read, and that is too large with the headers of a dead letter, is in nobody's way.
    async fn too_large_for_a_letter(&mut self) {
        let offset = self.append(&vec![b'x'; LARGE_BYTES]).await;
        self.say("after the large one").await;
        self.until_stored(&["after the large one"]).await;

        let topic = self.deployment.sut.cluster.names().dead_letters.clone();
        let mut config = self.deployment.sut.environment.verifier().kafka_client();
        config.set("group.id", "reads-letters").set("enable.auto.commit", "false");
        let letter = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&from).unwrap();
            consumer.poll(SOON).unwrap().unwrap().detach()
        });
        let letter = letter.await.unwrap();
        let header = |name: &str| {
            let value = letter.headers().unwrap().iter().find(|header| header.key == name).unwrap().value;
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        assert_eq!(header("offset"), offset.to_string());
        assert_eq!(header("left_out_bytes"), LARGE_BYTES.to_string());
        assert!(letter.payload().is_none());
    }

    /// The log has messages under used ids: another sender's is a row, another one of the same sender is counted, and one sent
    /// again is neither.
    async fn ids_used_again(&mut self) {
        for (sender, body) in [("ann", "first"), ("ann", "second"), ("bob", "first"), ("ann", "first")] {
            self.say_as(sender, "again", body).await;
        }
        // In a batch of its own, where the first one is a row already.
        self.say("between the batches").await;
        self.until_stored(&["between the batches"]).await;
        self.say_as("ann", "again", "third").await;
        self.until_metric("chat_writer_conflicts_total 2").await;
        let rows = sqlx::query_as(
            "select sender, body from messages where room = $1 and id = 'again' order by sender",
        );
        let rows: Vec<(String, String)> = rows.bind(ROOM).fetch_all(&mut self.postgres).await.unwrap();
        assert_eq!(rows, [("ann".into(), "first".into()), ("bob".into(), "first".into())]);
    }

    /// Another message stands in PostgreSQL where the log has this one: the writer stops and says so, and loses nothing.
    async fn cut_log(&mut self) {
        let last = self.say("before the cut").await;
        self.until_stored(&["before the cut"]).await;
        let squatter = sqlx::query(
            "insert into messages (room, id, partition, kafka_offset, sender, body, sent_at_ms)
             values ('another log', 'squatter', $1, $2, '', '', 0)",
        );
        squatter.bind(self.partition()).bind(last + 1).execute(&mut self.postgres).await.unwrap();
        self.say("after the cut").await;
        self.until_metric("chat_writer_paused 1").await;
        assert!(!self.stored("after the cut").await);
        self.run("delete from messages where id = 'squatter'").await;
        self.until_stored(&["after the cut"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledgers_that_disagree_lose_no_message() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(51, 1);
    let deployment = testbed::Deployment::up("ledgers", &plan, out.path()).await;
    let at = deployment.sut.environment.verifier();
    let producer = at.kafka_client().set("message.max.bytes", "2000000").create().unwrap();
    let postgres = PgConnection::connect(&at.postgres_url).await.unwrap();

    let mut ledgers = Ledgers { deployment: &deployment, postgres, producer };
    ledgers.gone_back_in_time().await;
    ledgers.too_large_for_a_letter().await;
    ledgers.ids_used_again().await;
    ledgers.cut_log().await;

    drop(ledgers);
    deployment.down().await;
}
