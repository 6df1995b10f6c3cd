//! An unmodified socket.io-client 4.x (Node) on the cluster, over WebSocket and over polling.

use std::{path::Path, process::Command};

use crate::ground;

/// Puts the client's package in place once per machine, in the build's own folder.
fn stock_client() -> std::path::PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock-client");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock-client");
    if Command::new("npm").arg("--version").output().is_err() {
        let apt = "apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm";
        let installed = Command::new("sh").args(["-c", apt]).output().unwrap();
        assert!(installed.status.success(), "this test needs node and npm, and could not install them");
    }
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["package.json", "package-lock.json", "talk.mjs"] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    if !folder.join("node_modules/socket.io-client/package.json").exists() {
        let installed =
            Command::new("npm").args(["ci", "--silent", "--no-audit"]).current_dir(&folder).output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_talks_across_nodes_over_websocket_and_polling_and_resumes() {
    let client = stock_client();
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = ground::plan("smoke", &ground::choices(11), |text| text);
    (plan.cluster.nodes, plan.cluster.writers) = (2, 1);
    let standing = ground::Standing::up("stock-client", &plan, false, out.path()).await;

    let nodes = standing.field.cluster.node_addresses();
    let talked = tokio::process::Command::new("node")
        .arg("talk.mjs")
        .args(nodes.iter().map(|address| format!("http://{address}")))
        .current_dir(client)
        .output()
        .await
        .unwrap();

    standing.down().await;
    let said =
        String::from_utf8_lossy(&talked.stdout).into_owned() + &String::from_utf8_lossy(&talked.stderr);
    assert!(talked.status.success(), "{said}");
    assert!(said.contains(r#"{"talked":25,"resumed":5}"#), "{said}");
}
