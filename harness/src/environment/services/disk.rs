//! A small file system for PostgreSQL's tables, so that it can be filled without filling the machine's: a tmpfs, which
//! only costs the memory that is written to it. Made when, and only when, the plan fills it.
//!
//! The write-ahead log and the catalogues stay where they are: with those full, PostgreSQL does not refuse a write, it
//! ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{Connection, PgConnection};

use crate::{environment::error::EnvironmentError, os};

/// Size of the file system. The rows of one short run and their indexes take a few megabytes.
pub(crate) const BYTES: u32 = 64 * 1024 * 1024;

/// The tablespace on it, and where new tables of the chat go by default.
pub const TABLESPACE: &str = "small";

/// Makes the tablespace in a folder that PostgreSQL's own user can write, and has the database's new tables go there.
pub(crate) async fn make_tablespace(url: &str, mount: &str, database: &str) -> Result<(), EnvironmentError> {
    // PostgreSQL wants to own the folder. It makes it itself, so nobody has to know who it is.
    let folder = format!("{mount}/space");
    let make = async {
        let mut session = PgConnection::connect(url).await?;
        for statement in [
            format!("copy (select 1) to program 'cat > /dev/null; mkdir -p \"{folder}\"'"),
            format!("create tablespace {TABLESPACE} location '{folder}'"),
            format!("alter database {database} set default_tablespace = {TABLESPACE}"),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
        }
        session.close().await
    };
    make.await.map_err(|error: sqlx::Error| EnvironmentError::Unsupported {
        what: "a small file system for PostgreSQL".to_owned(),
        reason: error.to_string(),
    })
}

/// A tmpfs mounted on this machine; unmounted when dropped. A run that is killed leaves it to the next run's sweep.
#[derive(Debug)]
pub(crate) struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// Mounts one. Anybody may write into it, as PostgreSQL runs as another user than we do.
    pub(crate) fn new(path: &Path) -> Result<Self, EnvironmentError> {
        let failed =
            |source| EnvironmentError::Io { doing: "mount a tmpfs on", path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let options = format!("size={BYTES},mode=1777");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path) {
            tracing::error!(path = %self.path.display(), %error, "could not unmount");
        }
    }
}

/// Unmounts what is mounted below a folder that is about to be removed.
pub(crate) fn unmount_below(folder: &Path) -> io::Result<()> {
    os::mounts_below(folder).iter().try_for_each(|mount| unmount(mount))
}

/// Lazily: what still has a file open there keeps it, nobody else sees it.
fn unmount(path: &Path) -> io::Result<()> {
    run(Command::new("umount").arg("--lazy").arg(path))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
