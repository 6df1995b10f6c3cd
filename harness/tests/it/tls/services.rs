//! The host provider's programs as somebody else's managed services: TLS, users with passwords, and nothing in the clear.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use harness::{environment::External, wait};
use nix::unistd::{User, geteuid};
use serde_json::Value;

use super::certificates::{Authority, Certified};
use crate::testbed::{Killed, free_ports};

/// What every certificate is for. It has to lead to this machine for whoever asks the system.
pub(super) const HOST: &str = "localhost";

/// The user of all three.
pub(super) const USER: &str = "app";

/// One who may log in everywhere, and make nothing: no schema, no topic, and no channel.
pub(super) const GUEST: &str = "guest";

/// Their password: with what has to be escaped in a URL, and what cuts a list in two.
pub(super) const PASSWORD: &str = "kept@Quiet7,Zx";

/// Kafka's, as the tool that makes users reads a list.
pub(super) const KAFKA_PASSWORD: &str = "keptQuiet7Zx=";

/// What all of them have in common: where it shows, a password does.
pub(super) const SECRET: &str = "Quiet7";

/// Longest start; Kafka's takes some seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The services. Servers end before their folder goes.
pub(super) struct Services {
    _servers: Vec<Killed>,
    folder: tempfile::TempDir,
    postgres: u16,
    redis: u16,
    kafka: u16,
}

impl Services {
    pub(super) async fn up() -> Self {
        Self::up_with("").await
    }

    /// With more lines in the properties of Kafka's broker.
    pub(super) async fn up_with(kafka: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as somebody else, and has to get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new("those who run the services");
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        fs::write(folder.path().join("stranger.pem"), Authority::new("a stranger").pem()).unwrap();
        let certified = authority.certify(HOST);
        let properties = kafka;
        let [postgres, redis, kafka, internal, controller] = free_ports();
        let manifest = manifest();
        let servers = vec![
            start_postgres(&manifest, &folder.path().join("postgres"), postgres, &certified),
            start_redis(&manifest, &folder.path().join("redis"), redis, &certified),
            start_kafka(
                &manifest,
                &folder.path().join("kafka"),
                [kafka, internal, controller],
                &certified,
                properties,
            ),
        ];
        for port in [postgres, redis, kafka] {
            wait::until(&format!("somebody on port {port}"), START_LIMIT, async || {
                let dialled = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                dialled.map(drop).map_err(|error| error.to_string())
            })
            .await
            .unwrap();
        }
        Self { _servers: servers, folder, postgres, redis, kafka }
    }

    /// The file of the authority that signed everything.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The file of one that signed nothing.
    pub(super) fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }

    pub(super) fn postgres_url(&self, ca: &Path) -> String {
        let (port, ca) = (self.postgres, ca.display());
        format!(
            "postgres://{USER}:kept%40Quiet7%2CZx@{HOST}:{port}/postgres?sslmode=verify-full&sslrootcert={ca}"
        )
    }

    /// Without a word on authorities.
    pub(super) fn postgres_url_by_system(&self) -> String {
        format!("postgres://{USER}:kept%40Quiet7%2CZx@{HOST}:{}/postgres?sslmode=verify-full", self.postgres)
    }

    pub(super) fn redis_url(&self) -> String {
        format!("rediss://{USER}:kept%40Quiet7%2CZx@{HOST}:{}", self.redis)
    }

    pub(super) fn kafka_brokers(&self) -> String {
        format!("{HOST}:{}", self.kafka)
    }

    /// [`GUEST`] in PostgreSQL, which has to be told of it while it runs.
    pub(super) async fn guest_in_postgres(&self) -> String {
        let url = self.postgres_url(&self.ca());
        let mut session = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
        let role = format!("create role {GUEST} login password '{PASSWORD}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(&mut session).await.unwrap();
        url.replace(USER, GUEST)
    }

    /// Without a word on authorities.
    pub(super) fn kafka_options() -> Vec<(String, String)> {
        [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", USER),
            ("sasl.password", KAFKA_PASSWORD),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// All three, each with the right authority named.
    pub(super) fn external(&self) -> External {
        let mut kafka_options = Self::kafka_options();
        kafka_options.push(("ssl.ca.location".to_owned(), self.ca().display().to_string()));
        External {
            postgres_url: self.postgres_url(&self.ca()),
            redis_url: self.redis_url(),
            redis_ca: Some(self.ca()),
            kafka_brokers: self.kafka_brokers(),
            kafka_options,
        }
    }
}

/// Where the programs are, as the installer has written it down.
fn manifest() -> Value {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap().join(".cache"));
    let folder = set("SQUALL_SERVICES_DIR").unwrap_or_else(|| cache().join("squall/services"));
    serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

fn program(manifest: &Value, name: &str) -> PathBuf {
    PathBuf::from(manifest[name].as_str().unwrap())
}

/// Starts a server with its log in its folder.
fn start(mut command: Command, folder: &Path) -> Killed {
    let log = fs::File::create(folder.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Killed(command.current_dir(folder).spawn().unwrap())
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn start_postgres(manifest: &Value, folder: &Path, port: u16, certified: &Certified) -> Killed {
    let programs = program(manifest, "postgres_bin");
    let user = geteuid().is_root().then(|| User::from_name("postgres").unwrap().unwrap());
    let own = |path: &Path, mode: u32| {
        if let Some(user) = &user {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let command = |name: &str| {
        let mut command = Command::new(programs.join(name));
        command.current_dir(folder);
        if let Some(user) = &user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    };
    fs::create_dir(folder).unwrap();
    own(folder, 0o700);
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        own(&folder.join(name), 0o600);
    };
    write("password", PASSWORD);
    write("server.pem", &certified.certificate);
    write("server.key", &certified.key);
    write("hba", "hostssl all all 127.0.0.1/32 scram-sha-256\n");
    let data = folder.join("data");
    let mut initdb = command("initdb");
    initdb.args(["--no-sync", "--encoding=UTF8", "--auth=scram-sha-256", "--pwfile=password"]);
    run({
        initdb.arg(format!("--username={USER}")).arg("--pgdata").arg(&data);
        initdb
    });
    let mut server = command("postgres");
    server.arg("-D").arg(&data);
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", folder.join("server.pem").display()),
        format!("ssl_key_file={}", folder.join("server.key").display()),
        format!("hba_file={}", folder.join("hba").display()),
    ];
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    start(server, folder)
}

fn start_redis(manifest: &Value, folder: &Path, port: u16, certified: &Certified) -> Killed {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("server.pem"), &certified.certificate).unwrap();
    fs::write(folder.join("server.key"), &certified.key).unwrap();
    let settings = format!(
        "bind 127.0.0.1\nport 0\ntls-port {port}\nsave \"\"\n\
         tls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file server.pem\ntls-auth-clients no\n\
         user default off\nuser {USER} on >{PASSWORD} ~* &* +@all\n\
         user {GUEST} on >{PASSWORD} ~* resetchannels +@all\n"
    );
    fs::write(folder.join("redis.conf"), settings).unwrap();
    let mut server = Command::new(program(manifest, "redis_server"));
    server.arg("redis.conf");
    start_in(server, folder)
}

fn start_in(mut server: Command, folder: &Path) -> Killed {
    server.current_dir(folder);
    start(server, folder)
}

fn start_kafka(
    manifest: &Value,
    folder: &Path,
    ports: [u16; 3],
    certified: &Certified,
    properties: &str,
) -> Killed {
    let [outside, internal, controller] = ports;
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("server.pem"), format!("{}{}", certified.key, certified.certificate)).unwrap();
    let (pem, data) = (folder.join("server.pem"), folder.join("data"));
    let settings = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=INTERNAL\n\
         listeners=CONTROLLER://127.0.0.1:{controller},INTERNAL://127.0.0.1:{internal},OUTSIDE://127.0.0.1:{outside}\n\
         advertised.listeners=INTERNAL://127.0.0.1:{internal},OUTSIDE://{HOST}:{outside}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,OUTSIDE:SASL_SSL\n\
         listener.name.outside.ssl.keystore.type=PEM\nlistener.name.outside.ssl.keystore.location={}\n\
         listener.name.outside.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.outside.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:{USER}\n\
         group.initial.rebalance.delay.ms=1000\nauto.create.topics.enable=false\nlog.dirs={}\n{properties}",
        pem.display(),
        data.display(),
    );
    fs::write(folder.join("server.properties"), settings).unwrap();
    let java = |arguments: &[&str]| {
        let mut command = Command::new(program(manifest, "java"));
        command.current_dir(folder).args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", program(manifest, "kafka_log4j2").display()));
        command.arg("-cp").arg(program(manifest, "kafka_libs").join("*")).args(arguments);
        command
    };
    let user = |name: &str| format!("SCRAM-SHA-512=[name={name},password={KAFKA_PASSWORD}]");
    let (user, guest) = (user(USER), user(GUEST));
    let id = "squallsquallsquallsqAA";
    let format = [
        "kafka.tools.StorageTool",
        "format",
        "-t",
        id,
        "-c",
        "server.properties",
        "--add-scram",
        &user,
        "--add-scram",
        &guest,
    ];
    run(java(&format));
    start(java(&["kafka.Kafka", "server.properties"]), folder)
}
