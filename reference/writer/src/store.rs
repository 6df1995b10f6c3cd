//! PostgreSQL. One connection, owned; no pool, because a pool would take back a connection that timed out and hang on it
//! (sqlx pings without a limit), and because one writer writes one batch at a time.
//!
//! Every call is bounded twice: the server stops the statement (`statement_timeout`), and the client stops waiting a
//! little later. After anything that casts doubt on the connection it is dropped, never used again.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, SqlSafeStr};

use crate::batch::Entry;
use crate::blame::{self, Blame};
use crate::config::{Config, MIGRATION_TIMEOUT, PROBE_TIMEOUT, SESSION_MARK};

/// A message that is there already is left alone. Another message at the same offset is an error, and stops the writing: the
/// log was cut or made anew, and to go on would lose what it holds now, without a word.
///
/// Rows and the offsets that follow them, in one statement: one round trip, and one transaction that is never seen half
/// open. If the answer is lost, the statement can be sent again: its rows are there already, its offsets too.
const WRITE: &str = "\
with written as (
    insert into messages (room, id, partition, kafka_offset, sender, body, sent_at_ms)
    select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
    on conflict (room, sender, id) do nothing
    returning 1
), moved as (
    insert into writer_offsets (topic, partition, next_offset)
    select $8, * from unnest($9::int[], $10::bigint[])
    on conflict (topic, partition)
    do update set next_offset = greatest(writer_offsets.next_offset, excluded.next_offset)
)
select count(*) from written";

/// Those of some messages whose row has another body: their sender used one id for two messages, and the first one stands.
/// Asked only when not every row was new.
const CONFLICTS: &str = "\
select given.room, given.sender, given.id
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as given (room, sender, id, body)
join messages using (room, sender, id)
where messages.body <> given.body";

/// Whether what was asked of the session has reached the server; and whether the server takes writes: a standby, or a server set
/// read-only because its disk is full, answers `select 1` as well.
const OF_USE: &str = "select current_setting($1, true) is not distinct from $2, \
                      not pg_is_in_recovery() and not current_setting('transaction_read_only')::bool";

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer in time.
    #[error("{what}: no answer within {} ms", after.as_millis())]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// An error, from the server or on the way.
    #[error("{what}: {}", chat_process::postgres::said(source))]
    Failed {
        /// What was asked.
        what: &'static str,
        /// What happened.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("migrating the schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// It answers, but takes no writes.
    #[error("PostgreSQL is read-only (a standby, or default_transaction_read_only)")]
    ReadOnly,
    /// Its limits and its schema would be other than what was asked for.
    #[error("{}", chat_process::postgres::GO_PAST_THE_POOLER)]
    Pooled,
    /// There is no connection; a probe makes one.
    #[error("not connected")]
    NotConnected,
}

impl StoreError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Failed { source, .. } => blame::of(source),
            _ => Blame::Database,
        }
    }

    /// Whether PostgreSQL has no room left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if blame::is_disk_full(source))
    }
}

/// Room, sender and id of a message whose row is another's.
pub type Taken = (String, String, String);

/// What became of the messages of a batch.
#[derive(Debug, Default)]
pub struct Stored {
    /// Rows that were not there before.
    pub new: u64,
    /// Messages that are no row, as theirs has another body.
    pub conflicts: Vec<Taken>,
}

/// The writer's view of PostgreSQL.
#[derive(Debug)]
pub struct Store {
    topic: String,
    answer_timeout: Duration,
    connection: Option<PgConnection>,
}

impl Store {
    /// Not connected yet.
    pub fn new(config: &Config) -> Self {
        Self { topic: config.topic.clone(), answer_timeout: config.answer_timeout(), connection: None }
    }

    /// Uses the connection that a probe made.
    pub fn adopt(&mut self, connection: PgConnection) {
        self.connection = Some(connection);
    }

    /// Drops the connection without a word to the server, which may not be listening.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Stores the messages among `entries` and moves the offsets to `ends`.
    ///
    /// # Errors
    ///
    /// Nothing was stored, unless the answer was lost on the way. If the error blames a record, the connection lives.
    pub async fn write(
        &mut self,
        entries: &[Entry],
        ends: &BTreeMap<i32, i64>,
    ) -> Result<Stored, StoreError> {
        let rows = Columns::of(entries);
        let partitions: Vec<i32> = ends.keys().copied().collect();
        let offsets: Vec<i64> = ends.values().copied().collect();
        let topic = self.topic.clone();
        let query = sqlx::query_scalar::<_, i64>(WRITE)
            .bind(&rows.rooms)
            .bind(&rows.ids)
            .bind(&rows.partitions)
            .bind(&rows.offsets)
            .bind(&rows.senders)
            .bind(&rows.bodies)
            .bind(&rows.sent_at_ms)
            .bind(topic)
            .bind(partitions)
            .bind(offsets);
        let limit = self.answer_timeout;
        let count = self.ask("writing", limit, async |connection| query.fetch_one(connection).await).await?;
        let new = u64::try_from(count).unwrap_or(0);
        let conflicts = if new < rows.ids.len() as u64 { self.conflicts(&rows).await? } else { Vec::new() };
        Ok(Stored { new, conflicts })
    }

    async fn conflicts(&mut self, given: &Columns<'_>) -> Result<Vec<Taken>, StoreError> {
        let query = sqlx::query_as::<_, Taken>(CONFLICTS)
            .bind(&given.rooms)
            .bind(&given.senders)
            .bind(&given.ids)
            .bind(&given.bodies);
        let limit = self.answer_timeout;
        self.ask("looking for conflicts", limit, async |connection| query.fetch_all(connection).await).await
    }

    /// The first offset not yet dealt with, for those of `partitions` of which PostgreSQL knows.
    ///
    /// # Errors
    ///
    /// PostgreSQL did not answer.
    pub async fn next_offsets(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, StoreError> {
        let query = sqlx::query_as::<_, (i32, i64)>(
            "select partition, next_offset from writer_offsets where topic = $1 and partition = any($2)",
        )
        .bind(self.topic.clone())
        .bind(partitions.to_vec());
        let rows = self
            .ask("reading offsets", PROBE_TIMEOUT, async |connection| query.fetch_all(connection).await)
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Asks whether PostgreSQL is there and takes writes. For when nothing is written: no write, no failure.
    ///
    /// # Errors
    ///
    /// It is not, or it does not.
    pub async fn check(&mut self) -> Result<(), StoreError> {
        let answer =
            self.ask("checking", PROBE_TIMEOUT, async |connection| ask_whether_of_use(connection).await);
        of_use(answer.await?)
    }

    async fn ask<T>(
        &mut self,
        what: &'static str,
        limit: Duration,
        question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        // Taken out, and put back only when all is well: whatever interrupts this (an error, a time-out, a cancelled
        // future) leaves no connection behind that is in the middle of something.
        let mut connection = self.connection.take().ok_or(StoreError::NotConnected)?;
        match tokio::time::timeout(limit, question(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Ok(Err(source)) => {
                if blame::of(&source) == Blame::Record {
                    self.connection = Some(connection);
                }
                Err(StoreError::Failed { what, source })
            }
            Err(_) => Err(StoreError::TimedOut { what, after: limit }),
        }
    }
}

/// One vector per column, as `unnest` wants them.
#[derive(Default)]
struct Columns<'a> {
    rooms: Vec<&'a str>,
    ids: Vec<&'a str>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    senders: Vec<&'a str>,
    bodies: Vec<&'a str>,
    sent_at_ms: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            let Ok(record) = &entry.content else { continue };
            columns.rooms.push(&record.room);
            columns.ids.push(&record.id);
            columns.partitions.push(entry.position.partition);
            columns.offsets.push(entry.position.offset);
            columns.senders.push(&record.sender);
            columns.bodies.push(&record.body);
            columns.sent_at_ms.push(record.sent_at_ms);
        }
        columns
    }
}

async fn ask_whether_of_use(connection: &mut PgConnection) -> Result<(bool, bool), sqlx::Error> {
    let (mark, value) = SESSION_MARK;
    sqlx::query_as(OF_USE).bind(mark).bind(value).fetch_one(connection).await
}

fn of_use((marked, writable): (bool, bool)) -> Result<(), StoreError> {
    match (marked, writable) {
        (true, true) => Ok(()),
        (false, _) => Err(StoreError::Pooled),
        (true, false) => Err(StoreError::ReadOnly),
    }
}

/// Connects afresh and asks whether PostgreSQL takes writes. A fresh connection, because an old one proves nothing: the
/// server may refuse new ones, or the old one may hang in a proxy that has lost its other end.
///
/// # Errors
///
/// It does not, or did not say so in time.
pub async fn probe(options: PgConnectOptions) -> Result<PgConnection, StoreError> {
    let what = "probing";
    let ask = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let answer = ask_whether_of_use(&mut connection).await?;
        Ok((connection, answer))
    };
    match tokio::time::timeout(PROBE_TIMEOUT, ask).await {
        Ok(Ok((connection, answer))) => of_use(answer).map(|()| connection),
        Ok(Err(source)) => Err(StoreError::Failed { what, source }),
        Err(_) => Err(StoreError::TimedOut { what, after: PROBE_TIMEOUT }),
    }
}

/// Takes the locks that a write takes, without waiting, and lets them go: a table that somebody has locked answers every
/// question and takes no row. Without this a pause would end after each probe and begin with each write.
///
/// # Errors
///
/// A lock is taken, or PostgreSQL went away.
pub async fn rehearse(connection: &mut PgConnection) -> Result<(), StoreError> {
    act(connection, "begin; lock table messages, writer_offsets in row exclusive mode nowait; rollback").await
}

/// Writes rows that take some blocks of the table and its indexes, and takes them back. For when the disk was full: a
/// full disk answers every question, grants every lock, and takes what fits into blocks that it has.
///
/// # Errors
///
/// There is no room yet, or PostgreSQL went away.
pub async fn rehearse_with_rows(connection: &mut PgConnection) -> Result<(), StoreError> {
    // No message has such a partition. The rows are dead at once, and are vacuumed like any others.
    act(
        connection,
        "begin; insert into messages (room, id, partition, kafka_offset, sender, body, sent_at_ms) \
         select 'rehearsal of ' || pg_backend_pid(), n::text, -pg_backend_pid(), n, '', repeat('x', 1500), 0 \
         from generate_series(1, 64) as n; rollback",
    )
    .await
}

async fn act(connection: &mut PgConnection, script: &'static str) -> Result<(), StoreError> {
    let what = "rehearsing a write";
    // If it fails the transaction stays open; the caller drops the connection, and the server rolls back.
    let rehearsal = sqlx::raw_sql(script).execute(connection);
    match tokio::time::timeout(PROBE_TIMEOUT, rehearsal).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(StoreError::Failed { what, source }),
        Err(_) => Err(StoreError::TimedOut { what, after: PROBE_TIMEOUT }),
    }
}

/// Brings the schema up to date, on a connection of its own that may take longer than a write may. Writers that start
/// together wait for each other on an advisory lock.
///
/// # Errors
///
/// PostgreSQL went away, or a migration failed (it leaves nothing behind: each is a transaction).
pub async fn migrate(options: PgConnectOptions) -> Result<(), StoreError> {
    let what = "migrating";
    let options = options.options([("statement_timeout", MIGRATION_TIMEOUT.as_millis().to_string())]);
    let work = async {
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(|source| StoreError::Failed { what, source })?;
        let mut migrations = migrations();
        // Versions that the database has and this binary has not: during a rolling upgrade the old writers must be able
        // to reconnect.
        migrations.set_ignore_missing(true);
        migrations.run(&mut connection).await?;
        // Waits for nothing but the goodbye; the lock was given back by `run`.
        let _ = connection.close().await;
        Ok(())
    };
    match tokio::time::timeout(MIGRATION_TIMEOUT, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::TimedOut { what, after: MIGRATION_TIMEOUT }),
    }
}

/// The schema's history, in the order of its files. Listed here and not gathered by `sqlx::migrate!`, whose macro crate
/// compiles a second sqlx with TLS for the build alone.
fn migrations() -> Migrator {
    let migration = |version, what: &'static str, sql: &'static str| {
        Migration::new(version, what.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "messages", include_str!("../../../migrations/0001_messages.sql")),
        migration(2, "writer offsets", include_str!("../../../migrations/0002_writer_offsets.sql")),
        migration(3, "message identity", include_str!("../../../migrations/0003_message_identity.sql")),
    ])
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_migration_file_is_embedded_under_its_own_version_and_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let embedded = migrations();
        let named: Vec<_> = embedded
            .iter()
            .map(|migration| {
                let file =
                    format!("{:04}_{}.sql", migration.version, migration.description.replace(' ', "_"));
                (file, migration.sql.as_str().to_owned())
            })
            .collect();
        let there: Vec<_> = files
            .iter()
            .map(|file| {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(file).unwrap())
            })
            .collect();
        assert_eq!(named, there);
    }
}
