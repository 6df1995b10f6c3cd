//! Faults of PostgreSQL itself, done and looked at on sessions of their own past every proxy.

mod connection_limit;
mod disk_full;
mod lock;
mod read_only;
mod terminate;

use sqlx::{Connection, PgConnection};

pub(super) use self::{
    connection_limit::ConnectionLimit, disk_full::DiskFull, lock::MessagesLock, read_only::ReadOnly,
    terminate::Terminate,
};

/// Sessions of the harness itself carry this name and are spared.
const OWN_NAME: &str = "squall";

pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    PgConnection::connect_with(&options.application_name(OWN_NAME)).await
}

/// Ends every client session but our own; returns how many.
async fn terminate_others(session: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let hit: i64 = sqlx::query_scalar(
        "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity \
         where backend_type = 'client backend' and application_name <> $1) as ended",
    )
    .bind(OWN_NAME)
    .fetch_one(session)
    .await?;
    Ok(u64::try_from(hit).unwrap_or(0))
}
