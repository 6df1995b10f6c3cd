//! The chat page: its bundle is what its source builds, and people in real browsers lose nothing while the cluster breaks.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use chat_protocol::events::Auth;
use harness::{
    plan::{ProcessName, Service},
    target::reference::identity::Identity,
    wait,
};
use sqlx::Connection;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{npm, testbed};

const SOON: Duration = Duration::from_secs(30);
/// The whole story takes two minutes on two cores.
const STORY_LIMIT: Duration = Duration::from_secs(400);

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names and contents of a folder's files.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_committed_page_is_what_its_source_builds() {
    let source = manifest_dir().join("../reference/node/web");
    let package = npm::installed(&source, "page");
    npm::run(&package, &["test"]);
    let built = package.join("dist");
    drop(std::fs::remove_dir_all(&built));
    npm::run(&package, &["run", "build"]);
    let (built, committed) = (files(&built), files(&source.join("dist")));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&built), names(&committed));
    for ((name, built), (_, committed)) in built.iter().zip(&committed) {
        // Not `assert_eq`: nobody reads two minified files.
        assert!(built == committed, "{name} is older than its source: npm run build in reference/node/web");
    }
}

/// The stories' package, and a browser of this machine, put in place like node and npm.
fn stories() -> PathBuf {
    if !Path::new("/usr/bin/chromium").exists() {
        npm::apt_install(&["chromium", "fonts-noto-color-emoji"]);
    }
    npm::installed(&manifest_dir().join("tests/browser"), "browser")
}

/// Where the pictures of a story are kept.
fn pictures(story: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{story}"));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_in_browsers_lose_nothing_while_the_cluster_breaks() {
    let _alone = testbed::alone().await;
    let package = stories();
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::quiet(14, 2);
    let deployment = testbed::Deployment::up("page", &plan, out.path()).await;

    let nodes = deployment.sut.cluster.node_addresses();
    let pictures = pictures("pictures");
    let mut story = tokio::process::Command::new("node")
        .arg("story.mjs")
        .arg(&pictures)
        .args(nodes.iter().map(|address| format!("http://{address}")))
        .current_dir(&package)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(story.stdout.take().unwrap()).lines();
    let mut answers = story.stdin.take().unwrap();
    let mut said = Vec::new();
    let told = tokio::time::timeout(STORY_LIMIT, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            println!("{line}");
            if let Some(act) = line.strip_prefix("do ") {
                let done = match carry_out(&deployment, act).await {
                    Ok(()) => "done".to_owned(),
                    Err(why) => why.replace('\n', " "),
                };
                answers.write_all(format!("{done}\n").as_bytes()).await.unwrap();
            }
            said.push(line);
        }
        story.wait().await.unwrap()
    })
    .await;
    if told.is_err() {
        // The browsers are the script's to end, and it does when its input closes.
        drop(answers);
        drop(tokio::time::timeout(SOON, story.wait()).await);
    }
    deployment.down().await;
    let status = told.expect("the story did not end in time");
    assert!(status.success(), "{status}; pictures in {}", pictures.display());
    assert!(said.last().is_some_and(|last| last.starts_with("told ")), "{said:?}");
    assert!(files(&pictures).len() >= 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sign_in_by_token_where_names_are_not_believed() {
    let _alone = testbed::alone().await;
    let package = stories();
    let out = tempfile::tempdir().unwrap();
    let mut plan = testbed::quiet(15, 1);
    plan.cluster.tokens = true;
    let deployment = testbed::Deployment::up("token", &plan, out.path()).await;

    let identity = Identity::of(&plan.cluster);
    let forged = identity.forged("Ann");
    let token = |auth: &Auth| match auth {
        Auth::Token { token } => token.clone(),
        Auth::Name { .. } => unreachable!("the plan has tokens"),
    };
    let forged = |name: &str| token(&forged.iter().find(|(its, _)| *its == name).unwrap().1);
    let pictures = pictures("token");
    let story = tokio::process::Command::new("node")
        .arg("token.mjs")
        .arg(&pictures)
        .arg(format!("http://{}", deployment.sut.cluster.node_addresses()[0]))
        .env("TOKEN", token(&identity.prove("Ann Ó".to_owned())))
        .env("EXPIRED", forged("a token that has ended"))
        .env("FORGED", forged("a token signed by anybody"))
        .current_dir(&package)
        .kill_on_drop(true)
        .output();
    let told = tokio::time::timeout(STORY_LIMIT, story).await;
    deployment.down().await;
    let told = told.expect("the story did not end in time").unwrap();
    assert!(told.status.success(), "{told:?}; pictures in {}", pictures.display());
    assert_eq!(files(&pictures).len(), 8);
}

/// What the story asks for: `stop kafka`, `start kafka`, `kill node-1`, `start node-1`, `store ROOM COUNT`.
async fn carry_out(deployment: &testbed::Deployment, act: &str) -> Result<(), String> {
    let testbed::Deployment { sut, .. } = deployment;
    let words: Vec<&str> = act.split(' ').collect();
    let service = words.get(1).and_then(|name| name.parse::<Service>().ok());
    let process = words.get(1).and_then(|name| name.parse::<ProcessName>().ok());
    match (words.as_slice(), service, process) {
        (["stop", _], Some(service), _) => sut.environment.stop(service).await.map_err(|e| e.to_string()),
        (["start", _], Some(service), _) => sut.environment.start(service).await.map_err(|e| e.to_string()),
        (["kill", _], _, Some(process)) => sut.cluster.kill(process).await.map_err(|e| e.to_string()),
        (["start", _], _, Some(process)) => sut.cluster.start(process).await.map_err(|e| e.to_string()),
        (["store", room, count], ..) => stored(deployment, room, count).await,
        _ => Err(format!("no such act: {act}")),
    }
}

/// Waits until the writer has stored so many messages of a room.
async fn stored(deployment: &testbed::Deployment, room: &str, count: &str) -> Result<(), String> {
    let url = &deployment.sut.environment.verifier().postgres_url;
    let mut postgres = sqlx::PgConnection::connect(url).await.map_err(|error| error.to_string())?;
    let wanted: i64 = count.parse().map_err(|error| format!("{count}: {error}"))?;
    wait::until(&format!("{count} messages of {room} stored"), SOON, async || {
        let query = sqlx::query_scalar("select count(*) from messages where room = $1").bind(room);
        match query.fetch_one(&mut postgres).await {
            Ok::<i64, _>(stored) if stored == wanted => Ok(()),
            Ok(stored) => Err(format!("{stored} are")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|error| error.to_string())
}
