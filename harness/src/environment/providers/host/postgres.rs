//! PostgreSQL: a cluster of its own in the run's folder, on TCP alone, with a password drawn for the run.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use sqlx::{Connection, PgConnection};

use super::{StartContext, server::Server};
use crate::{
    environment::{
        child::{Child, ChildSpec},
        contract::Endpoints,
        error::{EnvironmentError, LOG_LINES},
        launch::{launch, run_tool, with_another_port},
        services::{
            disk::{self, Mounted},
            postgres::{DATABASE, SETTINGS, USER, draw_password, url},
            probe::answers,
        },
    },
    plan::Service,
};

/// PostgreSQL, running.
pub(super) struct Up {
    pub(super) server: Server,
    pub(super) port: u16,
    pub(super) url: String,
    pub(super) version: String,
    pub(super) small_disk: Option<Mounted>,
}

pub(super) async fn up(site: &StartContext<'_>, port: u16) -> Result<Up, EnvironmentError> {
    let user = unprivileged()?;
    let folder = site.folder.join("postgres");
    let password = draw_password();
    let password_file = folder.join("password");
    prepare(&folder, &password_file, &password, user)?;
    let data = folder.join("data");
    let mut small_disk = if site.small_disk { Some(Mounted::new(&folder.join("small"))?) } else { None };
    let program = |name: &str, args: Vec<String>| ChildSpec {
        name: if name == "postgres" { name.to_owned() } else { format!("postgres's {name}") },
        program: site.manifest.postgres_bin.join(name),
        args,
        env: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
        user,
        folder: Some(folder.clone()),
        log: site.logs.join("postgres.log"),
    };
    let init = [
        "--no-sync", // the server's own fsync stays on; a machine that crashes now loses nothing anybody wants
        "--no-instructions",
        "--encoding=UTF8",
        "--auth=scram-sha-256",
        &format!("--username={USER}"),
        &format!("--pwfile={}", password_file.display()),
        &format!("--pgdata={}", data.display()),
    ];
    run_tool(&program("initdb", init.map(str::to_owned).to_vec()), site.registry).await?;
    with_another_port("postgres", port, async |port| {
        let mut args = vec!["-D".to_owned(), data.display().to_string()];
        let own = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            // Nobody uses one, and a path inside TMPDIR may be too long for one.
            "unix_socket_directories=".to_owned(),
        ];
        for setting in own.into_iter().chain(SETTINGS.map(str::to_owned)) {
            args.extend(["-c".to_owned(), setting]);
        }
        let spec = program("postgres", args);
        let at =
            |database| Endpoints { postgres_url: url(port, &password, database), ..Endpoints::default() };
        let first = at("postgres");
        let (child, ()) =
            launch(&spec, site.registry, async || answers(Service::Postgres, &first).await).await?;
        let version = create_database(&child, &first.postgres_url).await?;
        if let Some(mounted) = &small_disk {
            disk::make_tablespace(&first.postgres_url, &mounted.path(), DATABASE).await?;
        }
        let at = at(DATABASE);
        let url = at.postgres_url.clone();
        // SIGINT is the fast shutdown: SIGTERM would wait for the clients to leave.
        let server = Server::new(Service::Postgres, spec, Signal::SIGINT, at, site.registry, child);
        Ok(Up { server, port, url, version, small_disk: small_disk.take() })
    })
    .await
}

/// Makes the database, and asks for the version on the way.
async fn create_database(child: &Child, url: &str) -> Result<String, EnvironmentError> {
    let create = async {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {DATABASE}")))
            .execute(&mut connection)
            .await?;
        sqlx::query_scalar("show server_version").fetch_one(&mut connection).await
    };
    create.await.map_err(|error: sqlx::Error| EnvironmentError::Died {
        name: "postgres".to_owned(),
        status: format!("create database: {error}"),
        log: child.log().to_owned(),
        lines: child.last_lines(LOG_LINES),
    })
}

/// Whom to be: PostgreSQL refuses to be root.
fn unprivileged() -> Result<Option<(u32, u32)>, EnvironmentError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").ok().flatten().ok_or(EnvironmentError::NoPostgresUser)?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// Whether the user that PostgreSQL runs as can get to a folder at all, asked before anything starts.
///
/// # Errors
///
/// [`EnvironmentError::Unreachable`] names the first folder on the way that stops them.
pub(super) fn reachable(folder: &Path) -> Result<(), EnvironmentError> {
    let Some((user, group)) = unprivileged()? else { return Ok(()) };
    let closed = |path: &&Path| {
        // Run as that user, as rights have more to them than three digits.
        let entered = std::process::Command::new("test").arg("-x").arg(path).uid(user).gid(group).status();
        entered.is_ok_and(|status| !status.success())
    };
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    match way.iter().find(|path| closed(path)) {
        Some(path) => Err(EnvironmentError::Unreachable { user: "postgres", folder: path.to_path_buf() }),
        None => Ok(()),
    }
}

fn prepare(
    folder: &Path,
    password_file: &Path,
    password: &str,
    user: Option<(u32, u32)>,
) -> Result<(), EnvironmentError> {
    let make = || {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        fs::write(password_file, password)?;
        if let Some((user, group)) = user {
            chown(password_file, Some(user), Some(group))?;
            chown(folder, Some(user), Some(group))?;
        }
        Ok(())
    };
    make().map_err(|source| EnvironmentError::Io {
        doing: "prepare the folder",
        path: folder.to_owned(),
        source,
    })
}
