//! What can go wrong with rented services. Each message names the thing; [`EnvironmentError::help`] names the next step.

use std::{io, path::PathBuf};

use nix::{errno::Errno, sys::signal::Signal};

use super::proxies::ProxyError;
use crate::{plan::Service, wait::WaitError};

/// Lines of a dead service's log that an error shows: enough for a stack's first frames, not a screenful.
pub const LOG_LINES: usize = 20;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Docker was asked for and no engine answers.
    #[error("no Docker engine answers: {detail}; {looked}")]
    NoEngine {
        /// What the client said.
        detail: String,
        /// Which addresses were tried, and where one listens that was not.
        looked: String,
    },
    /// An engine answers, and the ports that it publishes are not on this machine's loopback.
    #[error("the Docker engine at {at} publishes ports on another machine's loopback: {seen}")]
    EngineElsewhere {
        /// Its address, as for `DOCKER_HOST`.
        at: String,
        /// How that shows.
        seen: String,
    },
    /// The scripts that fetch services are not where they should be.
    #[error("the installer of the host provider is not at {}", path.display())]
    InstallerMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The carried installer could not be written.
    #[error("the installer of services could not be written to {}: {source}", path.display())]
    Unpack {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The installer ran and failed.
    #[error("the services of the host provider could not be installed ({status}):\n{lines}")]
    InstallFailed {
        /// How it ended.
        status: String,
        /// The end of what it said.
        lines: String,
    },
    /// The manifest of installed services cannot be used.
    #[error("the manifest {} cannot be used: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// We are root, PostgreSQL refuses to be, and there is no other user to be.
    #[error("PostgreSQL refuses to run as root, and there is no user `postgres` to run it as")]
    NoPostgresUser,
    /// The user that PostgreSQL runs as cannot get to its data.
    #[error("user {user}, whom PostgreSQL runs as, cannot enter the folder {}", folder.display())]
    Unreachable {
        /// Who.
        user: &'static str,
        /// The first folder on the way that they may not enter.
        folder: PathBuf,
    },
    /// A program could not be started.
    #[error("{name} could not be started ({}): {source}", program.display())]
    Spawn {
        /// What was started.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process could not be signalled.
    #[error("{name} (pid {pid}) could not be sent {signal}: {source}")]
    Signal {
        /// Which.
        name: String,
        /// Its pid.
        pid: i32,
        /// What.
        signal: Signal,
        /// Why not.
        source: Errno,
    },
    /// A process did not end when asked, and was killed.
    #[error("{name} did not end within {limit_ms} ms of {signal}; it was killed")]
    Stuck {
        /// Which.
        name: String,
        /// What it was asked with.
        signal: Signal,
        /// How long it had.
        limit_ms: u128,
    },
    /// A service ended by itself.
    #[error("{name} ended at start ({status}); its log {} ends:\n{lines}", log.display())]
    Died {
        /// Which.
        name: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        lines: String,
    },
    /// Something else took the port, again and again.
    #[error("{name} found its port taken by something else {attempts} times; its log {} ends:\n{lines}", log.display())]
    PortStolen {
        /// Which.
        name: String,
        /// How often another port was tried.
        attempts: u32,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        lines: String,
    },
    /// The disk is full.
    #[error("{name} found the disk full under {}: {line}", folder.display())]
    DiskFull {
        /// Which.
        name: String,
        /// Where it writes.
        folder: PathBuf,
        /// The line that says so.
        line: String,
    },
    /// A service does not answer in time.
    #[error("{source}; the log {} ends:\n{lines}", log.display())]
    NotReady {
        /// Which.
        name: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        lines: String,
        /// What was waited for. Boxed: it would double the size of every result.
        source: Box<WaitError>,
    },
    /// A container image is neither here nor in a registry we reach.
    #[error("the image {image} is not on this machine and could not be pulled: {detail}")]
    ImageMissing {
        /// Which.
        image: String,
        /// What the engine said.
        detail: String,
    },
    /// The engine refused something.
    #[error("the Docker engine could not {doing}: {detail}")]
    Engine {
        /// What was asked.
        doing: String,
        /// What it said.
        detail: String,
    },
    /// The proxies could not be set up or controlled.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A file operation failed.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No free port could be found.
    #[error("no free TCP port on 127.0.0.1: {source}")]
    NoPort {
        /// What the kernel said.
        source: io::Error,
    },
    /// The external provider needs addresses.
    #[error("the external provider needs the addresses of PostgreSQL, Redis and Kafka")]
    NoAddresses,
    /// An address cannot be used.
    #[error("the {what} address cannot be used: {reason}")]
    Address {
        /// Whose.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A service's certificate is signed by nobody whom we trust.
    #[error("{what} is not trusted: {reason}")]
    Untrusted {
        /// Which service.
        what: Service,
        /// What the client said.
        reason: String,
    },
    /// A user of PostgreSQL may not make what a run needs.
    #[error("the PostgreSQL user {user} may not make a schema in the database {database}: {reason}")]
    NoSchema {
        /// Whom we logged in as.
        user: String,
        /// Where.
        database: String,
        /// What PostgreSQL said.
        reason: String,
    },
    /// Something between a session and PostgreSQL keeps its settings back.
    #[error("the address of postgres is that of a pooler (PgBouncer or its like): {reason}")]
    Pooler {
        /// How it shows.
        reason: String,
    },
    /// Several things went wrong on the way down, each of its own.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "))]
    Several(Vec<EnvironmentError>),
    /// The provider cannot do this.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl EnvironmentError {
    /// What went wrong in any of several steps, none of which kept the others from being taken.
    pub(super) fn of_all(
        steps: impl IntoIterator<Item = Result<(), EnvironmentError>>,
    ) -> Result<(), EnvironmentError> {
        let mut errors: Vec<_> = steps.into_iter().filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// Why a managed service is not of use.
    pub(super) fn of_address(service: Service, reason: String) -> Self {
        // As rustls and OpenSSL say it; no client gives it a code.
        let said = reason.to_lowercase();
        if said.contains("certificate") && !said.contains("ca file") {
            return Self::Untrusted { what: service, reason };
        }
        Self::Address { what: service.name(), reason }
    }

    /// What to do next, in one sentence.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoEngine { .. } => {
                "start Docker (or `harness/services/engine` where there is no systemd), set DOCKER_HOST to where it listens, or use `--provider host`"
            }
            Self::EngineElsewhere { .. } => "use `--provider host`, or run squall on the engine's host",
            Self::InstallerMissing { .. } => {
                "set SQUALL_SERVICES_SCRIPTS to the folder `harness/services` of Squall's source, or use `--provider docker`"
            }
            Self::Unpack { .. } => "set SQUALL_SERVICES_DIR to a folder you may write to",
            Self::InstallFailed { .. } => {
                "do what the lines above say (Debian packages need root), or start Docker and use `--provider docker`"
            }
            Self::Manifest { .. } => {
                "remove the file and run again: it is written anew by `harness/services/install`"
            }
            Self::NoPostgresUser => "run Squall as a user other than root, or `useradd --system postgres`",
            Self::Unreachable { .. } => {
                "set TMPDIR to a folder that everybody may enter (/var/tmp), or `chmod o+x` that folder"
            }
            Self::Spawn { .. } => "run `squall doctor`: it checks every program the services need",
            Self::Signal { .. } | Self::Stuck { .. } => "look at the process's log in the run folder",
            Self::Died { .. } | Self::NotReady { .. } => {
                "read the log named above; `squall doctor` checks memory, disk and programs"
            }
            Self::PortStolen { .. } | Self::NoPort { .. } => {
                "see who listens (`ss -ltnp`); runs that were killed are swept by `squall doctor --clean` and at the next start"
            }
            Self::DiskFull { .. } => "free some space, or set TMPDIR to a folder on another disk",
            Self::ImageMissing { .. } => {
                "`docker pull` it, build a drop-in with `harness/services/images/build`, or name another image in SQUALL_POSTGRES_IMAGE, SQUALL_REDIS_IMAGE, SQUALL_KAFKA_IMAGE or SQUALL_TOXIPROXY_IMAGE"
            }
            Self::Engine { .. } => "see `docker info` and the engine's log, or use `--provider host`",
            Self::Proxy(_) => "see toxiproxy.log in the run's logs folder",
            Self::Io { .. } => {
                "check the folder's permissions and free space; TMPDIR chooses where services live"
            }
            Self::Several(errors) => errors.first().map_or("run it again", Self::help),
            Self::NoAddresses => "give --postgres-url, --redis-url and --kafka-brokers",
            Self::NoSchema { .. } => "as the database's owner: GRANT CREATE ON DATABASE <database> TO <user>",
            Self::Pooler { .. } => {
                "give the address of PostgreSQL itself: writers rely on limits of their sessions, and a run on a schema of its own"
            }
            Self::Untrusted { what: Service::Postgres, .. } => {
                "name the file of its authorities in the URL: --postgres-url 'postgres://…?sslmode=verify-full&sslrootcert=FILE'"
            }
            Self::Untrusted { what: Service::Redis, .. } => {
                "name the file of its authorities: --redis-ca FILE"
            }
            Self::Untrusted { what: Service::Kafka, .. } => {
                "name the file of its authorities: --kafka-option ssl.ca.location=FILE"
            }
            Self::Address { what: "postgres", .. } => {
                "correct --postgres-url (SQUALL_POSTGRES_URL): postgres://user:password@host:port/database, and what is special in a password by its code, as %40 for @"
            }
            Self::Address { what: "redis", .. } => {
                "correct --redis-url (SQUALL_REDIS_URL): redis://user:password@host:port, or rediss:// for TLS, and what is special in a password by its code, as %40 for @"
            }
            Self::Address { .. } => {
                "correct --kafka-brokers (SQUALL_KAFKA_BROKERS): host:port,…; and the options: --kafka-option, --kafka-options-file"
            }
            Self::Unsupported { .. } => "leave the fault out, or use the docker or host provider",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_failed_is_named() {
        let stuck = |name: &str| {
            Err(EnvironmentError::Stuck { name: name.to_owned(), signal: Signal::SIGTERM, limit_ms: 5 })
        };
        assert!(EnvironmentError::of_all([Ok(()), Ok(())]).is_ok());
        let one = EnvironmentError::of_all([Ok(()), stuck("redis")]).unwrap_err();
        assert!(matches!(one, EnvironmentError::Stuck { .. }), "{one}");
        let all = EnvironmentError::of_all([stuck("redis"), Ok(()), stuck("kafka")]).unwrap_err();
        assert!(all.to_string().contains("redis") && all.to_string().contains("kafka"), "{all}");
        assert!(!all.help().is_empty());
    }
}
