//! An unmodified socket.io-client 4.x (Node) on the cluster, over WebSocket and over polling.

use std::{path::Path, time::Duration};

use harness::plan::{ProcessName, Topology};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use serde_json::{Value, json};

use crate::{npm, testbed};

pub(crate) fn stock_client() -> std::path::PathBuf {
    npm::installed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock-client"), "stock-client")
}

/// Runs one of the client's scripts; returns what it printed, or, if it failed, all it said.
pub(crate) async fn run(
    client: &Path,
    script: &str,
    args: impl IntoIterator<Item = String>,
) -> Result<String, String> {
    let ran = tokio::process::Command::new("node").arg(script).args(args).current_dir(client).output();
    let ran = ran.await.unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() { Ok(printed) } else { Err(printed + &String::from_utf8_lossy(&ran.stderr)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_talks_across_nodes_over_websocket_and_polling_and_resumes() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(11, 2);
    let deployment = testbed::Deployment::up("stock-client", &plan, out.path()).await;

    let nodes = deployment.sut.cluster.node_addresses();
    let urls = nodes.iter().map(|address| format!("http://{address}"));
    let talked = run(&client, "talk.mjs", urls).await;

    deployment.down().await;
    let said = talked.unwrap();
    assert!(said.contains(r#"{"talked":25,"resumed":5}"#), "{said}");
}

/// What is known by its room, its sender and its id, in both topologies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_its_senders_own_and_belongs_to_one_message() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    for topology in Topology::ALL {
        let out = tempfile::tempdir().unwrap();
        let mut plan = testbed::quiet(14, 2);
        plan.cluster.topology = topology;
        let deployment = testbed::Deployment::up("identity", &plan, out.path()).await;
        let nodes = deployment.sut.cluster.node_addresses();
        let said =
            run(&client, "identity.mjs", nodes.iter().map(|address| format!("http://{address}"))).await;
        deployment.down().await;
        assert!(said.as_ref().is_ok_and(|said| said.contains(r#"{"said":4}"#)), "{topology}: {said:?}");
    }
}

/// Clients that come back by themselves emit what they kept before they can ask for their rooms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_offline_arrives_once() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(15, 2);
    let deployment = testbed::Deployment::up("offline", &plan, out.path()).await;
    let nodes = deployment.sut.cluster.node_addresses();
    let said = run(&client, "offline.mjs", nodes.iter().map(|address| format!("http://{address}"))).await;
    deployment.down().await;
    let said = said.unwrap();
    println!("{said}");
    // Messages that wait at the node for their room are answered once; in the queue behind which the room is asked for,
    // nothing waits for good.
    for way in ["buffer", "past"] {
        let answers = format!(r#"{{"way":"{way}","answers":["ok","ok","ok","ok","ok","ok","ok"]}}"#);
        assert!(said.contains(&answers), "{said}");
    }
    assert!(said.contains("\"way\":\"behind\""), "{said}");
}

/// Clients of the default transports change from polling to WebSocket while they talk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_in_mid_traffic_loses_doubles_and_reorders_nothing() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(16, 2);
    let deployment = testbed::Deployment::up("upgrade", &plan, out.path()).await;
    let nodes = deployment.sut.cluster.node_addresses();
    let said = run(&client, "upgrade.mjs", nodes.iter().map(|address| format!("http://{address}"))).await;
    deployment.down().await;
    println!("{}", said.unwrap());
}

/// Limits have names, and are counted by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_too_much_is_told_so_by_name() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let mut plan = testbed::quiet(17, 1);
    plan.cluster.node_flags = [
        "--sends-per-s=10",
        "--send-bytes-per-s=32768",
        "--connections-per-address=8",
        "--origin=https://chat.example.org",
    ]
    .map(str::to_owned)
    .to_vec();
    let deployment = testbed::Deployment::up("limits", &plan, out.path()).await;
    let (cluster, node) = (&deployment.sut.cluster, ProcessName::Node(1));
    let said = run(&client, "limits.mjs", [format!("http://{}", cluster.address(node).unwrap())]).await;
    let metrics = cluster.metrics(node, Duration::from_secs(10)).await;
    deployment.down().await;
    println!("{}", said.unwrap());
    let metrics = metrics.unwrap();
    for series in [
        r#"chat_node_verbs_refused_total{code="rate_limited"}"#,
        r#"chat_node_connections_refused_total{why="address"}"#,
        r#"chat_node_connections_refused_total{why="origin"}"#,
    ] {
        assert!(metrics.contains(series), "{series} is not in {metrics}");
    }
}

/// A second `resume` puts an end to the catch-up of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_resume_takes_the_place_of_the_first() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(13, 1);
    let deployment = testbed::Deployment::up("twice", &plan, out.path()).await;
    let address = deployment.sut.cluster.address(ProcessName::Node(1)).unwrap();
    let resumed = run(&client, "resume_twice.mjs", [format!("http://{address}")]).await;
    deployment.down().await;
    println!("{}", resumed.unwrap());
}

/// Who was away for longer than the log keeps what was said is told so, and not given a room with a hole in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_from_before_the_log_is_refused() {
    let _alone = testbed::alone().await;
    let client = stock_client();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(12, 1);
    let deployment = testbed::Deployment::up("truncated", &plan, out.path()).await;
    let (cluster, node) = (&deployment.sut.cluster, ProcessName::Node(1));
    let address = cluster.address(node).unwrap();
    let say = async |verbs: &[Value]| {
        let url = std::iter::once(format!("http://{address}"));
        let said = run(&client, "verbs.mjs", url.chain(verbs.iter().map(Value::to_string))).await.unwrap();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };

    let room = "truncated";
    let mut verbs = vec![json!(["join", { "room": room }])];
    verbs.extend((0..5).map(|n| json!(["send", { "room": room, "id": n.to_string(), "body": "early" }])));
    let answers = say(&verbs).await;
    let first = answers[1]["ok"]["position"].clone();
    let last = answers[5]["ok"]["position"]["offset"].as_i64().unwrap();
    let resume = [json!(["resume", { "room": room, "position": first }])];
    assert!(say(&resume).await[0]["ok"].is_object(), "the log has it");

    // Kafka forgets, and a new life of the node remembers nothing.
    let partition = i32::try_from(first["partition"].as_i64().unwrap()).unwrap();
    let mut kept_from = TopicPartitionList::new();
    let topic = &cluster.names().topic;
    kept_from.add_partition_offset(topic, partition, Offset::Offset(last + 1)).unwrap();
    let admin: AdminClient<DefaultClientContext> =
        deployment.sut.environment.verifier().kafka_client().create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    admin.delete_records(&kept_from, &options).await.unwrap();
    cluster.kill(node).await.unwrap();
    cluster.start(node).await.unwrap();

    let refused = say(&resume).await;
    deployment.down().await;
    assert_eq!(refused[0]["error"]["code"], "out_of_range", "{refused:?}");
}
