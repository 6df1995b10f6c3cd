//! PostgreSQL's tables have no room left: the file system they are on (one of their own, made for this plan) is filled by
//! a file, to the last block, and emptied by removing it.

use sqlx::PgConnection;

use crate::{
    environment::TABLESPACE,
    faults::{FaultError, postgres},
};

/// SQLSTATE of "No space left on device".
pub(super) const FULL: &str = "53100";

/// Writes a file until nothing more fits.
pub(super) async fn fill(url: &str) -> Result<(), FaultError> {
    program(url, |ballast| format!("dd if=/dev/zero of=\"{ballast}\" bs=4096 2> /dev/null; true")).await
}

/// Removes the file.
pub(super) async fn empty(url: &str) -> Result<(), FaultError> {
    program(url, |ballast| format!("rm -f \"{ballast}\"")).await
}

/// Has the server run a program beside its tables: the one way that is the same in a container and on this machine.
async fn program(url: &str, command: impl FnOnce(&str) -> String) -> Result<(), FaultError> {
    let mut session = postgres::connect(url).await?;
    let folder = location(&mut session).await?.ok_or_else(|| {
        FaultError::Missed("PostgreSQL's tables have no file system of their own to be filled".to_owned())
    })?;
    let command = command(&format!("{folder}/ballast"));
    // The one row that is copied must be read, or PostgreSQL takes the closed pipe for a failure.
    let statement = format!("copy (select 1) to program 'cat > /dev/null; {command}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
    sqlx::Connection::close(session).await?;
    Ok(())
}

async fn location(session: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select pg_tablespace_location(oid) from pg_tablespace where spcname = $1")
        .bind(TABLESPACE)
        .fetch_optional(session)
        .await
}

/// Makes a table of some blocks where the messages are, and takes it back.
pub(super) async fn probe(url: &str) -> Result<(), sqlx::Error> {
    let mut session = postgres::connect(url).await?;
    let statement = format!(
        "begin; create table squall_probe tablespace {TABLESPACE} as \
         select repeat('x', 1000) as filler from generate_series(1, 200); rollback"
    );
    // When it fails the session is dropped, and the server rolls back.
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
    sqlx::Connection::close(session).await
}
