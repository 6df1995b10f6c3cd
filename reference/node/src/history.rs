//! Pages backwards through a room, from PostgreSQL.
//!
//! This is the only thing a node needs PostgreSQL for. When it is away, `history` says so within a second, and nothing
//! else notices.

use std::sync::Arc;

use chat_process::postgres;
use chat_protocol::{
    ChatRecord, Position,
    events::{History, HistoryPage, Message},
    limits::HISTORY_PAGE_MAX,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::{health::Health, limits};

/// How often PostgreSQL is asked whether it is there, for `/readyz`.
const ASK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Reads pages.
#[derive(Debug, Clone)]
pub struct Archive {
    pool: Option<PgPool>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum NoPage {
    /// The node was not given a database.
    #[error("this node has no history")]
    None,
    /// PostgreSQL did not answer in time.
    #[error("history did not answer in time")]
    TimedOut,
    /// PostgreSQL answered with an error.
    #[error("history: {0}")]
    Database(#[from] sqlx::Error),
}

impl Archive {
    /// A pool that connects when it is first used.
    pub fn new(at: Option<&PgConnectOptions>) -> Self {
        let Some(at) = at else { return Self { pool: None } };
        // The server gives the query up too: a connection whose query was abandoned here would stay occupied.
        let wait = limits::HISTORY_WAIT.as_millis().to_string();
        let options = at.clone().options([("statement_timeout", wait.as_str())]);
        let pool = PgPoolOptions::new()
            .max_connections(limits::POSTGRES_CONNECTIONS)
            .acquire_timeout(limits::HISTORY_WAIT)
            .connect_lazy_with(options);
        Self { pool: Some(pool) }
    }

    /// The newest page before a position, oldest first.
    ///
    /// # Errors
    ///
    /// See [`NoPage`].
    pub async fn page(&self, wanted: &History) -> Result<HistoryPage, NoPage> {
        let pool = self.pool.as_ref().ok_or(NoPage::None)?;
        let most = wanted.limit.unwrap_or(HISTORY_PAGE_MAX).clamp(1, HISTORY_PAGE_MAX);
        let query = sqlx::query_as::<_, Row>(
            "select room, id, partition, kafka_offset, sender, body, sent_at_ms from messages \
             where room = $1 and kafka_offset < $2 order by kafka_offset desc limit $3",
        )
        .bind(&wanted.room)
        .bind(wanted.before.unwrap_or(i64::MAX))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(pool);
        let mut rows = timeout(limits::HISTORY_WAIT, query).await.map_err(|_| NoPage::TimedOut)??;
        let full = rows.len() == most;
        rows.reverse();
        let messages: Vec<Message> = rows.into_iter().map(message).collect();
        let before = messages.first().filter(|_| full).and_then(|first| first.position).map(|at| at.offset);
        Ok(HistoryPage { messages, before })
    }

    /// Asks PostgreSQL now and then whether it is there. Never ends.
    pub async fn watch(self, health: Arc<Health>) {
        let Some(pool) = self.pool else { return };
        let mut pace = tokio::time::interval(ASK_EVERY);
        loop {
            pace.tick().await;
            let answer = timeout(limits::HISTORY_WAIT, sqlx::query("select 1").execute(&pool)).await;
            health.postgres_answers(matches!(answer, Ok(Ok(_))));
            if let Ok(Err(error)) = &answer
                && postgres::advice(error).is_some()
            {
                health.refused("postgres", postgres::said(error));
            }
        }
    }
}

/// room, id, partition, kafka_offset, sender, body, sent_at_ms
type Row = (String, String, i32, i64, String, String, i64);

fn message((room, id, partition, offset, sender, body, sent_at_ms): Row) -> Message {
    Message {
        position: Some(Position { partition, offset }),
        record: ChatRecord { id, room, sender, body, sent_at_ms },
        replayed: true,
    }
}
