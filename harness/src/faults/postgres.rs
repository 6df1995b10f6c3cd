//! What is done to PostgreSQL from inside, on a session of its own past every proxy.

use sqlx::{Connection, Executor, PgConnection};

/// Sessions of the harness itself carry this name and are spared.
pub(super) const OWN_NAME: &str = "squall";

pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    PgConnection::connect_with(&options.application_name(OWN_NAME)).await
}

/// Ends every client session but our own; returns how many.
pub(super) async fn terminate_sessions(url: &str) -> Result<u64, sqlx::Error> {
    let mut session = connect(url).await?;
    let hit = terminate_others(&mut session).await?;
    session.close().await?;
    Ok(hit)
}

/// [`terminate_sessions`], from a session that is open already.
pub(super) async fn terminate_others(session: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let hit: i64 = sqlx::query_scalar(
        "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity \
         where backend_type = 'client backend' and application_name <> $1) as ended",
    )
    .bind(OWN_NAME)
    .fetch_one(session)
    .await?;
    Ok(u64::try_from(hit).unwrap_or(0))
}

/// Makes every transaction read-only, as on a replica after a failover, or takes that back.
pub(super) async fn set_read_only(url: &str, on: bool) -> Result<(), sqlx::Error> {
    let mut session = connect(url).await?;
    let statement = if on {
        "alter system set default_transaction_read_only = on"
    } else {
        "alter system reset default_transaction_read_only"
    };
    session.execute(statement).await?;
    session.execute("select pg_reload_conf()").await?;
    session.close().await
}

/// Takes an exclusive lock on the messages table and keeps it for as long as the connection lives.
pub(super) async fn lock_messages(url: &str) -> Result<PgConnection, sqlx::Error> {
    let mut session = connect(url).await?;
    session.execute("begin").await?;
    session.execute("lock table messages in access exclusive mode").await?;
    Ok(session)
}

/// Whether a new session may write.
pub(super) async fn is_read_only(url: &str) -> Result<bool, sqlx::Error> {
    let mut session = connect(url).await?;
    let setting: String = sqlx::query_scalar("show transaction_read_only").fetch_one(&mut session).await?;
    session.close().await?;
    Ok(setting == "on")
}

/// Whether somebody holds an exclusive lock on the messages table, and how many sessions wait behind it.
pub(super) async fn messages_locked(url: &str) -> Result<(bool, i64), sqlx::Error> {
    let mut session = connect(url).await?;
    let seen = sqlx::query_as(
        "select coalesce(bool_or(granted and mode = 'AccessExclusiveLock'), false), \
         count(*) filter (where not granted) \
         from pg_locks where relation = to_regclass('messages')",
    )
    .fetch_one(&mut session)
    .await?;
    session.close().await?;
    Ok(seen)
}

/// When the youngest and the oldest session of somebody else began, in seconds ago; and how many there are.
pub(super) async fn session_ages(url: &str) -> Result<(i64, Option<f64>), sqlx::Error> {
    let mut session = connect(url).await?;
    let seen = sqlx::query_as(
        "select count(*), max(extract(epoch from clock_timestamp() - backend_start))::float8 from pg_stat_activity \
         where backend_type = 'client backend' and application_name <> $1",
    )
    .bind(OWN_NAME)
    .fetch_one(&mut session)
    .await?;
    session.close().await?;
    Ok(seen)
}
