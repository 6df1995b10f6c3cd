//! PostgreSQL's tables have no room left: the file system they are on (one of their own, made for this plan) is filled by
//! a file, to the last block, and emptied by removing it.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::connect;
use crate::{
    environment::TABLESPACE,
    faults::{Fault, FaultError, Seen, SystemUnderTest, contrary},
};

/// SQLSTATE of "No space left on device".
const FULL: &str = "53100";

/// A file that takes every block.
#[derive(Debug)]
pub(in crate::faults) struct DiskFull;

#[async_trait(?Send)]
impl Fault for DiskFull {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        fill(&sut.environment.verifier().postgres_url).await
    }

    /// A table of some blocks cannot be made where the messages are.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        match probe(&sut.environment.verifier().postgres_url).await {
            Ok(()) => Err("a table of some blocks can be made where the messages are".to_owned()),
            Err(error) => match error.as_database_error().and_then(|error| error.code()) {
                Some(code) if code == FULL => Ok(format!("a new table gets {code}: {error}")),
                _ => Err(error.to_string()),
            },
        }
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        empty(&sut.environment.verifier().postgres_url).await.map(|()| None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        contrary(self.prove(sut).await)
    }
}

/// Writes a file until nothing more fits.
async fn fill(url: &str) -> Result<(), FaultError> {
    program(url, |ballast| format!("dd if=/dev/zero of=\"{ballast}\" bs=4096 2> /dev/null; true")).await
}

/// Removes the file.
async fn empty(url: &str) -> Result<(), FaultError> {
    program(url, |ballast| format!("rm -f \"{ballast}\"")).await
}

/// Has the server run a program beside its tables: the one way that is the same in a container and on this machine.
async fn program(url: &str, command: impl FnOnce(&str) -> String) -> Result<(), FaultError> {
    let mut session = connect(url).await?;
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
async fn probe(url: &str) -> Result<(), sqlx::Error> {
    let mut session = connect(url).await?;
    let statement = format!(
        "begin; create table squall_probe tablespace {TABLESPACE} as \
         select repeat('x', 1000) as filler from generate_series(1, 200); rollback"
    );
    // When it fails the session is dropped, and the server rolls back.
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await?;
    sqlx::Connection::close(session).await
}
