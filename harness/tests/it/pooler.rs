//! A real PgBouncer before PostgreSQL: refused at the door by name, whether it refuses the settings of a session or swallows
//! them. Rows written by way of one would have other limits than was asked for, and could land in another schema.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use harness::{environment::Environment, wait};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use crate::{
    command_line::{ended, squall},
    testbed,
};

const SOON: Duration = Duration::from_secs(20);

/// PgBouncer without its package's service, which would begin to run with the installation.
fn pgbouncer() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pgbouncer");
    let program = folder.join("usr/sbin/pgbouncer");
    if !program.exists() {
        fs::create_dir_all(&folder).unwrap();
        let unpack = "apt-get update -qq && \
                      libraries=$(apt-cache depends pgbouncer | sed -n 's/^ *Depends: \\(lib.*\\)/\\1/p') && \
                      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-upgrade --no-install-recommends $libraries && \
                      apt-get download -qq pgbouncer && dpkg -x pgbouncer_*.deb .";
        let unpacked = Command::new("sh").args(["-c", unpack]).current_dir(&folder).output().unwrap();
        assert!(unpacked.status.success(), "{unpacked:?}");
    }
    program
}

/// A pooler of its own.
struct Pooler {
    _child: testbed::Killed,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    async fn before(at: &PgConnectOptions, password: &str, ignored: &str) -> Self {
        let folder = tempfile::Builder::new().permissions(mode(0o755)).tempdir().unwrap();
        let [port] = testbed::free_ports();
        let (server, user, database) = (at.get_port(), at.get_username(), at.get_database().unwrap());
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user={user} password={password} dbname={database}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\n\
             ignore_startup_parameters = {ignored}\n"
        );
        let config = folder.path().join("pgbouncer.ini");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(pgbouncer());
        // It does not run as root.
        if nix::unistd::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command.arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Self { _child: testbed::Killed(child), port, _folder: folder };
        let url: PgConnectOptions = pooler.url().parse().unwrap();
        wait::until("the pooler answers", SOON, async || {
            url.connect().await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        pooler
    }

    fn url(&self) -> String {
        format!("postgres://squall:any@127.0.0.1:{}/chat?sslmode=disable", self.port)
    }
}

fn mode(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

async fn schemas(at: &PgConnectOptions) -> Vec<String> {
    let mut session = at.connect().await.unwrap();
    let query = "select nspname::text from pg_namespace where starts_with(nspname, 'squall_')";
    sqlx::query_scalar(query).fetch_all(&mut session).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_refused_by_name_whether_it_refuses_settings_or_swallows_them() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let deployment = testbed::Deployment::up("pooler", &testbed::quiet(61, 1), out.path()).await;
    let environment: &Environment = &deployment.sut.environment;
    let direct = environment.verifier();
    let at: PgConnectOptions = direct.postgres_url.parse().unwrap();
    let password = direct.postgres_url.split([':', '@']).nth(2).unwrap();
    // A client of sqlx always sends the first.
    for settings in ["extra_float_digits", "extra_float_digits,options"] {
        let pooler = Pooler::before(&at, password, settings).await;
        let state = tempfile::tempdir().unwrap();
        let (code, said) = ended(
            squall(state.path())
                .args(["run", "smoke", "--provider", "external", "--out"])
                .arg(state.path().join("out"))
                .env("SQUALL_POSTGRES_URL", pooler.url())
                .env("SQUALL_REDIS_URL", &direct.redis_url)
                .env("SQUALL_KAFKA_BROKERS", &direct.kafka_brokers),
        );
        assert_eq!(code, 69, "{settings}: {said}");
        assert!(said.contains("PgBouncer") && said.contains("PostgreSQL itself"), "{settings}: {said}");
        assert!(schemas(&at).await.is_empty(), "{settings}");

        // A writer says so, too, and goes on asking: whoever runs it may correct the pooler.
        let writer = Path::new(env!("CARGO_BIN_EXE_squall")).with_file_name("chat-writer");
        let log = out.path().join("pooled.log");
        let child = Command::new(writer)
            .arg(format!("--kafka-brokers={}", direct.kafka_brokers))
            .args(["--group=pooled", "--name=pooled"])
            .env("CHAT_WRITER_POSTGRES_URL", pooler.url())
            .stdout(fs::File::create(&log).unwrap())
            .stderr(fs::File::create(out.path().join("pooled.err")).unwrap())
            .spawn()
            .unwrap();
        let _child = testbed::Killed(child);
        let told = wait::until("the writer says it", SOON, async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("PgBouncer") { Ok(()) } else { Err(said) }
        })
        .await;
        told.unwrap();
    }
    deployment.down().await;
}
