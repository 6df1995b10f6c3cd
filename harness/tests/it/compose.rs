//! The image of node and writer, and the compose file that runs the whole cluster from it, on a real engine. The programs in
//! the image are those of this build, on its `--target runtime`: compiling them in there takes minutes, and no CI does it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use harness::{cluster::Binaries, environment::ProviderChoice, plan::ProcessName, progress::Progress, wait};

use crate::{npm, stock_client, testbed};

const SOON: Duration = Duration::from_secs(90);
/// What the stock client's script says: both ways, while one was away, and when they were back.
const MESSAGES: &str = "31";

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference")
}

/// What a command prints; it must succeed.
fn printed(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?}: {out}{err}");
    out.trim().to_owned()
}

fn docker(arguments: &[&str]) -> String {
    printed(Command::new("docker").args(arguments))
}

fn is_here(image: &str) -> bool {
    Command::new("docker").args(["image", "inspect", image]).output().unwrap().status.success()
}

/// The plug-in of today, or the program of older distributions, which is fetched where neither is.
fn compose() -> &'static [&'static str] {
    let answers = |words: &[&str]| {
        let asked = Command::new(words[0]).args(&words[1..]).arg("version").output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        if answers(words) {
            return words;
        }
    }
    npm::apt_install(&["docker-compose"]);
    &["docker-compose"]
}

/// The image and all that was made of it; gone with this value, whether the test holds or not.
struct Composed {
    compose: &'static [&'static str],
    image: String,
    project: String,
}

impl Composed {
    fn build(binaries: &Binaries) -> Self {
        let project = format!("squall-compose-{}", std::process::id());
        let built = Self { compose: compose(), image: format!("squall/chat:{project}"), project };
        let context = tempfile::tempdir().unwrap();
        let inner = context.path().join("Dockerfile");
        fs::write(&inner, format!("FROM {}\nCOPY chat-node chat-writer /usr/local/bin/\n", built.image))
            .unwrap();
        for process in [ProcessName::Node(1), ProcessName::Writer(1)] {
            let file = binaries.of(process);
            fs::copy(&file, context.path().join(file.file_name().unwrap())).unwrap();
        }
        let base = format!("BASE={}", base());
        // The classic builder, where no other is installed.
        let plain = !Command::new("docker").args(["buildx", "version"]).output().unwrap().status.success();
        for (file, more) in [
            // The machine's own network: name resolution may not reach further in a build.
            (
                &reference().join("Dockerfile"),
                &["--network", "host", "--target", "runtime", "--build-arg", &base][..],
            ),
            (&inner, &[]),
        ] {
            let mut build = Command::new("docker");
            if plain {
                build.env("DOCKER_BUILDKIT", "0");
            }
            build.arg("build").args(more).args(["--tag", &built.image, "--file"]).arg(file);
            printed(build.arg(context.path()));
        }
        built
    }

    /// A call of compose, with the images that this machine has and ports that are free.
    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).arg("--file").arg(reference().join("compose.yaml"));
        command.args(["--project-name", &self.project]).args(arguments);
        command.env("SQUALL_CHAT_IMAGE", &self.image).env("CHAT_PORT_1", "0").env("CHAT_PORT_2", "0");
        for service in ["postgres", "redis", "kafka"] {
            let (variable, drop_in) =
                (format!("SQUALL_{}_IMAGE", service.to_uppercase()), format!("squall/{service}:local"));
            if std::env::var_os(&variable).is_none() && is_here(&drop_in) {
                command.env(variable, drop_in);
            }
        }
        command
    }

    fn url(&self, node: &str) -> String {
        format!("http://{}", printed(&mut self.call(&["port", node, "3000"])))
    }

    /// What the engine still has of it.
    fn left(&self) -> String {
        let ours = format!("label=com.docker.compose.project={}", self.project);
        let lists = [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]];
        let found = lists.map(|list| docker(&[list, &["--quiet", "--filter", &ours]].concat()));
        found.concat()
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        drop(self.call(&["down", "--volumes"]).output());
        drop(Command::new("docker").args(["image", "rm", "--force", &self.image]).output());
    }
}

/// A base that the programs of this build can run on: the drop-ins', or an image of this machine's own distribution.
fn base() -> String {
    if is_here("squall/debian:local") {
        return "squall/debian:local".to_owned();
    }
    printed(Command::new("sh").args(["-c", r#". /etc/os-release && echo "$ID:$VERSION_ID""#]))
}

/// What an HTTP server answers; 200 only.
async fn answer(url: &str) -> Result<String, String> {
    let client =
        reqwest::Client::builder().no_proxy().timeout(SOON).build().map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_runs_the_whole_cluster_and_leaves_nothing() {
    if !testbed::providers().contains(&ProviderChoice::Docker) {
        println!("no engine is asked for here");
        return;
    }
    let _alone = testbed::alone().await;
    let client = stock_client::stock_client();
    let binaries = Binaries::ready(false, &Progress::silent()).await.unwrap();
    let cluster = Composed::build(&binaries);
    printed(&mut cluster.call(&["up", "--detach", "--no-build"]));

    let chat = ["node-1", "node-2", "writer-1"];
    for process in chat {
        assert_eq!(printed(&mut cluster.call(&["exec", "-T", process, "id", "-u"])), "10001", "{process}");
        let container = printed(&mut cluster.call(&["ps", "--quiet", process]));
        wait::until(&format!("{process} is healthy"), SOON, async || {
            let health = docker(&["inspect", "--format", "{{.State.Health.Status}}", &container]);
            if health == "healthy" { Ok(()) } else { Err(health) }
        })
        .await
        .unwrap();
    }
    let nodes = ["node-1", "node-2"].map(|node| cluster.url(node));
    for url in &nodes {
        let page = answer(url).await.unwrap();
        assert!(page.contains("app.js"), "{url}: {page}");
    }

    let talked = stock_client::run(&client, "talk.mjs", nodes).await.unwrap();
    assert!(talked.contains(r#"{"talked":25,"resumed":5}"#), "{talked}");
    let count = ["psql", "--username=chat", "--no-psqlrc", "-tAc", "select count(*) from messages"];
    wait::until("every message is stored", SOON, async || {
        let stored = printed(&mut cluster.call(&[&["exec", "-T", "postgres"][..], &count].concat()));
        if stored == MESSAGES { Ok(()) } else { Err(stored) }
    })
    .await
    .unwrap();

    assert_ne!(cluster.left(), "");
    printed(&mut cluster.call(&["down", "--volumes"]));
    assert_eq!(cluster.left(), "");
}
