//! Somebody holds an exclusive lock on the messages table.

use async_trait::async_trait;
use sqlx::{Connection, Executor, PgConnection};

use super::connect;
use crate::faults::{Fault, FaultError, Seen, SystemUnderTest, contrary};

/// An open transaction that holds the lock.
#[derive(Debug, Default)]
pub(in crate::faults) struct MessagesLock {
    session: Option<PgConnection>,
}

#[async_trait(?Send)]
impl Fault for MessagesLock {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        self.session = Some(lock_messages(&sut.environment.verifier().postgres_url).await?);
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let url = sut.environment.verifier().postgres_url;
        match messages_locked(&url).await.map_err(|error| error.to_string())? {
            (true, waiting) => {
                Ok(format!("pg_locks shows the exclusive lock, {waiting} sessions wait for it"))
            }
            (false, _) => Err("pg_locks shows no exclusive lock on messages".to_owned()),
        }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        if let Some(session) = self.session.take() {
            session.close().await?;
        }
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        contrary(self.prove(sut).await)
    }
}

/// Takes an exclusive lock on the messages table and keeps it for as long as the connection lives.
async fn lock_messages(url: &str) -> Result<PgConnection, sqlx::Error> {
    let mut session = connect(url).await?;
    session.execute("begin").await?;
    // Behind a long transaction the lock itself would wait, for as long as that lasts, and everybody behind it.
    session.execute("set local lock_timeout = '10s'").await?;
    session.execute("lock table messages in access exclusive mode").await?;
    Ok(session)
}

/// Whether somebody holds an exclusive lock on the messages table, and how many sessions wait behind it.
async fn messages_locked(url: &str) -> Result<(bool, i64), sqlx::Error> {
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
