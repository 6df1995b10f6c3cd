//! The log under a node's feet: made anew, taking less than a node writes, and a client of it that has given up for good. A
//! node says so within seconds, and acks nothing that nobody will see.

use std::{path::PathBuf, time::Duration};

use harness::{
    load::socket_io::{Session, codec::Incoming},
    plan::{ProcessName, Service},
    wait,
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};
use serde_json::{Value, json};

use crate::{stock_client, testbed};

/// Whatever a node is to notice, it has noticed within this.
const SOON: Duration = Duration::from_secs(15);
const NODE: ProcessName = ProcessName::Node(1);
const ROOM: &str = "ground";

struct Ground {
    deployment: testbed::Deployment,
    client: PathBuf,
    admin: AdminClient<DefaultClientContext>,
    out: tempfile::TempDir,
}

impl Ground {
    async fn of(name: &str, node_flags: &[&str]) -> Self {
        let out = tempfile::tempdir().unwrap();
        let mut plan = testbed::quiet(51, 1);
        plan.cluster.node_flags = node_flags.iter().map(ToString::to_string).collect();
        let deployment = testbed::Deployment::up(name, &plan, out.path()).await;
        let admin = deployment.sut.environment.verifier().kafka_client().create().unwrap();
        Self { deployment, client: stock_client::stock_client(), admin, out }
    }

    fn topic(&self) -> &str {
        &self.deployment.sut.cluster.names().topic
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.deployment.sut.cluster.address(NODE).unwrap())
    }

    /// Does some verbs one after another; the answers, or why the client was not let in.
    async fn say(&self, verbs: &[Value]) -> Result<Vec<Value>, String> {
        let arguments = std::iter::once(self.url("")).chain(verbs.iter().map(Value::to_string));
        let said = stock_client::run(&self.client, "verbs.mjs", arguments).await?;
        Ok(said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// The topic takes so many bytes at a time from now on.
    async fn takes(&self, bytes: usize) {
        let bytes = bytes.to_string();
        let change =
            AlterConfig::new(ResourceSpecifier::Topic(self.topic())).set("max.message.bytes", &bytes);
        for changed in self.admin.alter_configs([&change], &AdminOptions::new()).await.unwrap() {
            changed.unwrap();
        }
    }

    async fn until_answered(&self, path: &str, code: u16, words: &[&str]) {
        let url = self.url(path);
        wait::until(&format!("{path} {code} {words:?}"), SOON, async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
            let said = status == code && words.iter().all(|word| body.contains(word));
            if said { Ok(()) } else { Err(format!("{status}: {body}")) }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}; the node's log:\n{}", self.log()));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.out.path().join("logs/node-1.log")).unwrap_or_default()
    }

    /// Not ready, with the reason, and nobody is let in until it is restarted.
    async fn is_broken_until_restarted(&self, words: &[&str]) {
        let words = &[words, &["restart this node"]].concat();
        self.until_answered("/readyz", 503, words).await;
        self.until_answered("/healthz", 503, words).await;
        // Of the transport, so that clients come back by themselves.
        self.until_answered("/socket.io/?EIO=4&transport=polling", 503, words).await;
        let cluster = &self.deployment.sut.cluster;
        cluster.terminate(NODE).await.unwrap();
        cluster.start(NODE).await.unwrap();
        self.until_answered("/readyz", 200, &[]).await;
        self.until_answered("/healthz", 200, &[]).await;
    }
}

fn join() -> Value {
    json!(["join", { "room": ROOM }])
}

fn send(id: &str, bytes: usize) -> Value {
    json!(["send", { "room": ROOM, "id": id, "body": "x".repeat(bytes) }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_made_anew_is_not_acked_into() {
    let _alone = testbed::alone().await;
    let ground = Ground::of("anew", &[]).await;
    let said = ground.say(&[join(), send("1", 9), send("2", 9), send("3", 9)]).await.unwrap();
    let last = said[3]["ok"]["position"].clone();
    assert_eq!(last["offset"], 2, "{said:?}");

    let partitions = ground.deployment.sut.cluster.plan().cluster.partitions;
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for deleted in ground.admin.delete_topics(&[ground.topic()], &options).await.unwrap() {
        deleted.unwrap();
    }
    wait::until("the topic made anew", SOON, async || {
        let topic = NewTopic::new(ground.topic(), partitions, TopicReplication::Fixed(1));
        let made = ground.admin.create_topics([&topic], &options).await.map_err(|error| error.to_string())?;
        made.into_iter().next().unwrap().map(drop).map_err(|(_, code)| code.to_string())
    })
    .await
    .unwrap();
    // Whatever the node knows by now: whoever reads from the position that it gives out would never see this.
    let said = ground.say(&[join(), send("4", 9)]).await;
    let acked = said.as_ref().is_ok_and(|answers| answers[1]["ok"].is_object());
    assert!(!acked, "{said:?}");
    ground.is_broken_until_restarted(&[ground.topic(), "made anew"]).await;

    let resume = json!(["resume", { "room": ROOM, "position": last }]);
    let said = ground.say(&[resume, join(), send("5", 9)]).await.unwrap();
    ground.deployment.down().await;
    assert_eq!(said[0]["error"]["code"], "out_of_range", "{said:?}");
    assert!(said[2]["ok"].is_object(), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_less_than_a_node_writes_is_said_to() {
    let _alone = testbed::alone().await;
    let ground = Ground::of("small", &[]).await;
    ground.takes(10_000).await;
    let said = ground.say(&[join(), send("large", 16_000)]).await.unwrap();
    assert_eq!(said[1]["error"]["code"], "unavailable", "{said:?}");
    let reason = ["takes 10000 bytes", "raise max.message.bytes"];
    ground.until_answered("/readyz", 503, &reason).await;

    // Room for the largest message, and not for many.
    ground.takes(140_000).await;
    ground.until_answered("/readyz", 200, &[]).await;
    let address = ground.deployment.sut.cluster.address(NODE).unwrap();
    let mut session = Session::connect(address, &json!({ "user": "bob" }), SOON).await.unwrap();
    session.emit("join", &join()[1]).unwrap();
    let environment = &ground.deployment.sut.environment;
    environment.pause(Service::Kafka).await.unwrap();
    for n in 0..40 {
        session.emit("send", &send(&n.to_string(), 16_000)[1]).unwrap();
    }
    // Verbs are done in order: when this is answered, all of them wait for Kafka.
    let behind = session.emit("join", &join()[1]).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 42 {
        let frame = tokio::time::timeout(SOON, session.next()).await.unwrap().unwrap();
        if let Incoming::Ack { id, json } = frame.read().unwrap() {
            if id == behind {
                environment.unpause(Service::Kafka).await.unwrap();
            }
            answers.push(json.to_string());
        }
    }
    ground.deployment.down().await;
    let refused: Vec<_> = answers.iter().filter(|answer| !answer.contains("\"ok\"")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// A producer that gives up at once where it could leave a gap: any of its errors can be made with that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_gave_up_for_good_is_said_to() {
    let _alone = testbed::alone().await;
    let ground = Ground::of("fatal", &["--kafka-option=enable.gapless.guarantee=true"]).await;
    ground.takes(1_000).await;
    let said = ground.say(&[join(), send("large", 2_000)]).await.unwrap();
    assert_eq!(said[1]["error"]["code"], "unavailable", "{said:?}");
    ground.takes(1_048_588).await;
    ground.is_broken_until_restarted(&["gave up writing for good"]).await;
    let said = ground.say(&[join(), send("next", 2_000)]).await.unwrap();
    ground.deployment.down().await;
    assert!(said[1]["ok"].is_object(), "{said:?}");
}

/// Clients of Kafka wait for brokers when they are dropped; a node that ends drops none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_ends_in_time_while_kafka_does_not_answer() {
    let _alone = testbed::alone().await;
    let ground = Ground::of("ends", &[]).await;
    let sut = &ground.deployment.sut;
    sut.environment.pause(Service::Kafka).await.unwrap();
    ground.until_answered("/readyz", 503, &["kafka"]).await;
    let ended = sut.cluster.terminate(NODE).await;
    sut.environment.unpause(Service::Kafka).await.unwrap();
    ground.deployment.down().await;
    ended.unwrap();
}
