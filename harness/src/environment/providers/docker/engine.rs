//! The engine: where one is asked for, whether it can be used from here, and what else there is when none answers.

use std::{
    env, fmt, io,
    net::IpAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::geteuid;
use reqwest::Url;
use testcontainers::bollard;

use crate::environment::error::EnvironmentError;

/// Longest wait for an engine's first answer: it is on this machine, or a socket away; a busy one may stall for seconds.
const ENGINE_LIMIT: Duration = Duration::from_secs(10);

/// Where an engine is asked for when nobody says where, unless another of the first four is there instead.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The engine, if one answers that publishes ports on this machine's loopback, as far as its address tells.
pub(crate) async fn engine() -> Result<bollard::Docker, EnvironmentError> {
    let named = named();
    let ask = async {
        if let Some(address) = &named {
            refuse_elsewhere(address).await?;
            let set = |name: &str| env::var(name).ok();
            if wants_certificates(address, set("DOCKER_TLS_VERIFY").as_deref())
                && set("DOCKER_CERT_PATH").is_none()
            {
                let detail = "TLS takes a folder with ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH";
                return Err(no_engine(Some(address), detail.to_owned()));
            }
        }
        let no_engine = |detail: String| no_engine(named.as_deref(), detail);
        let engine = testcontainers::core::client::docker_client_instance()
            .await
            .map_err(|error| no_engine(error.to_string()))?;
        engine.ping().await.map_err(|error| no_engine(error.to_string()))?;
        Ok::<_, EnvironmentError>(engine)
    };
    tokio::time::timeout(ENGINE_LIMIT, ask).await.unwrap_or_else(|_| {
        Err(no_engine(named.as_deref(), format!("no answer within {} ms", ENGINE_LIMIT.as_millis())))
    })
}

/// Where the engine is, as a person would write it into `DOCKER_HOST`.
pub(crate) fn address() -> String {
    named().unwrap_or_else(|| {
        let sockets = look_around();
        let tried = tried(&sockets).map_or_else(|| PathBuf::from(DEFAULT_SOCKET), |seen| seen.path.clone());
        format!("unix://{}", tried.display())
    })
}

/// What `DOCKER_HOST` says. Empty counts as said: testcontainers takes it for an address, too.
fn named() -> Option<String> {
    env::var("DOCKER_HOST").ok()
}

/// Whether testcontainers will look for certificates; it panics when it is not told where they are.
fn wants_certificates(address: &str, verify: Option<&str>) -> bool {
    match address.split_once("://") {
        Some(("https", _)) => true,
        Some(("tcp" | "http", _)) => verify == Some("1"),
        _ => false,
    }
}

/// Refuses an address that is no address of this machine: ports are published on the loopback there.
async fn refuse_elsewhere(address: &str) -> Result<(), EnvironmentError> {
    let Ok(url) = Url::parse(address) else { return Ok(()) };
    let Some(host) = url.host_str() else { return Ok(()) };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, url.port().unwrap_or_default())).await;
    // A name that nobody knows is said by the attempt to connect.
    let addresses: Vec<IpAddr> = found.into_iter().flatten().map(|address| address.ip()).collect();
    match addresses.first() {
        Some(first) if !addresses.iter().any(|address| is_ours(*address)) => {
            Err(EnvironmentError::EngineElsewhere {
                at: address.to_owned(),
                seen: format!("{first} is no address of this one"),
            })
        }
        _ => Ok(()),
    }
}

/// Only the machine that has an address may bind it.
fn is_ours(address: IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn no_engine(named: Option<&str>, detail: String) -> EnvironmentError {
    EnvironmentError::NoEngine { detail, looked: account(named, &look_around()) }
}

/// A socket where engines listen, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    /// Taken unasked by the client library, when it is there.
    unasked: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No such file.
    Absent,
    /// A file that a dead engine left.
    Silent,
    /// This user may not.
    Forbidden,
    Listens,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "nothing is there",
            Self::Silent => "nobody listens",
            Self::Forbidden => "this user may not open it",
            Self::Listens => "somebody listens",
        })
    }
}

/// Every place where an engine's socket is by custom, with whether the client library takes it unasked; in its order.
fn places(runtime: &Path, home: Option<&Path>) -> Vec<(PathBuf, bool)> {
    let of_home = |path: &str, unasked| home.map(|home| (home.join(path), unasked));
    let places = [
        Some((DEFAULT_SOCKET.into(), true)),
        Some((runtime.join(".docker/run/docker.sock"), true)),
        of_home(".docker/run/docker.sock", true),
        of_home(".docker/desktop/docker.sock", true),
        // Rootless Docker; Podman of this user; Podman of root.
        Some((runtime.join("docker.sock"), false)),
        Some((runtime.join("podman/podman.sock"), false)),
        Some(("/run/podman/podman.sock".into(), false)),
    ];
    places.into_iter().flatten().collect()
}

/// All of them, looked at.
fn look_around() -> Vec<Seen> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // `su` and `sudo` take the variable away, not the folder.
    let runtime = set("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", geteuid())));
    let look = |(path, unasked): (PathBuf, bool)| Seen { state: look(&path), path, unasked };
    places(&runtime, set("HOME").as_deref()).into_iter().map(look).collect()
}

fn look(path: &Path) -> State {
    match UnixStream::connect(path) {
        Ok(_) => State::Listens,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            State::Absent
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => State::Forbidden,
        Err(_) => State::Silent,
    }
}

/// The socket that the client library asks when `DOCKER_HOST` is not set.
fn tried(sockets: &[Seen]) -> Option<&Seen> {
    sockets.iter().find(|seen| seen.unasked && seen.state != State::Absent)
}

/// What was tried, and where an engine listens that was not.
fn account(named: Option<&str>, sockets: &[Seen]) -> String {
    let tried = match named {
        Some(_) => None,
        None => tried(sockets),
    };
    let asked = match named {
        Some("") => "DOCKER_HOST is set and empty (unset it)".to_owned(),
        Some(address) => format!("DOCKER_HOST={address} was tried"),
        None => {
            let (absent, there): (Vec<_>, Vec<_>) =
                sockets.iter().partition(|seen| seen.state == State::Absent);
            let absent: Vec<String> = absent.iter().map(|seen| seen.path.display().to_string()).collect();
            let there = there.iter().map(|seen| format!("{}: {}", seen.path.display(), seen.state));
            let nothing = (!absent.is_empty()).then(|| format!("nothing at {}", absent.join(", ")));
            let looked: Vec<String> = there.chain(nothing).collect();
            format!("DOCKER_HOST is not set; {}", looked.join("; "))
        }
    };
    let is_named =
        |seen: &Seen| named.is_some_and(|named| named == format!("unix://{}", seen.path.display()));
    let other = sockets.iter().find(|seen| {
        seen.state == State::Listens && !is_named(seen) && tried.is_none_or(|tried| tried.path != seen.path)
    });
    match other {
        Some(other) => {
            format!("{asked}; found {path}: set DOCKER_HOST=unix://{path}", path = other.path.display())
        }
        None => asked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn seen(states: &[(&str, State)]) -> Vec<Seen> {
        let places = places(Path::new("/run/user/1000"), Some(Path::new("/home/ann")));
        let state = |path: &Path| {
            let found = states.iter().find(|(named, _)| Path::new(named) == path);
            found.map_or(State::Absent, |(_, state)| *state)
        };
        let seen = places.into_iter();
        seen.map(|(path, unasked)| Seen { state: state(&path), path, unasked }).collect()
    }

    #[test]
    fn an_engine_somewhere_else_is_named_with_what_to_set() {
        for socket in
            ["/run/user/1000/docker.sock", "/run/user/1000/podman/podman.sock", "/run/podman/podman.sock"]
        {
            let said = account(None, &seen(&[(socket, State::Listens)]));
            assert!(said.contains("nothing at /var/run/docker.sock"), "{said}");
            assert!(said.ends_with(&format!("found {socket}: set DOCKER_HOST=unix://{socket}")), "{said}");
        }
    }

    #[test]
    fn a_dead_engine_s_socket_hides_the_desktop_s() {
        let desktop = "/home/ann/.docker/run/docker.sock";
        let dead = ("/var/run/docker.sock", State::Silent);
        let said = account(None, &seen(&[dead, (desktop, State::Listens)]));
        assert!(said.contains("/var/run/docker.sock: nobody listens"), "{said}");
        assert!(said.contains(&format!("set DOCKER_HOST=unix://{desktop}")), "{said}");
        // Without the dead one it is asked anyway, and naming it would change nothing.
        assert!(!account(None, &seen(&[(desktop, State::Listens)])).contains("set DOCKER_HOST"));
    }

    #[test]
    fn what_docker_host_names_is_said_and_what_listens_beside_it() {
        let podman = ("/run/podman/podman.sock", State::Listens);
        let said = account(Some("unix:///gone.sock"), &seen(&[podman]));
        assert!(said.contains("DOCKER_HOST=unix:///gone.sock was tried"), "{said}");
        assert!(said.contains("set DOCKER_HOST=unix:///run/podman/podman.sock"), "{said}");
        let said = account(Some("unix:///run/podman/podman.sock"), &seen(&[podman]));
        assert!(!said.contains("set DOCKER_HOST="), "{said}");
        assert!(account(Some(""), &seen(&[])).contains("unset it"));
    }

    #[test]
    fn certificates_are_asked_for_where_they_would_be_used() {
        assert!(wants_certificates("https://127.0.0.1:2376", None));
        assert!(wants_certificates("tcp://127.0.0.1:2376", Some("1")));
        assert!(!wants_certificates("tcp://127.0.0.1:2375", Some("0")));
        assert!(!wants_certificates("unix:///var/run/docker.sock", Some("1")));
    }

    #[test]
    fn a_socket_is_judged_by_who_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        assert_eq!(look(&path), State::Absent);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(look(&path), State::Listens);
        drop(listener);
        assert_eq!(look(&path), State::Silent);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_at_once() {
        for here in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375", "nonsense"] {
            assert!(refuse_elsewhere(here).await.is_ok(), "{here}");
        }
        // Reserved for documentation: no machine has it.
        for there in ["tcp://192.0.2.1:2375", "http://192.0.2.1:2375", "ssh://ann@192.0.2.1"] {
            let refused = refuse_elsewhere(there).await.unwrap_err();
            assert!(matches!(refused, EnvironmentError::EngineElsewhere { .. }), "{refused}");
            assert!(refused.to_string().contains(there), "{refused}");
        }
    }
}
