//! The rows.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection, Row};

use crate::{
    environment::Endpoints,
    history::{Ledger, Recorder, What},
    plan::{Arrivals, Plan},
};

/// First offset not yet stored, per partition, as the writers keep it beside the rows.
pub(super) async fn next_offsets(
    endpoints: &Endpoints,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, sqlx::Error> {
    let mut session = PgConnection::connect(&endpoints.postgres_url).await?;
    let rows: Vec<(i32, i64)> =
        sqlx::query_as("select partition, next_offset from writer_offsets where topic = $1")
            .bind(topic)
            .fetch_all(&mut session)
            .await?;
    session.close().await?;
    Ok(rows.into_iter().collect())
}

/// Every row of the run's rooms.
pub(super) async fn read(
    endpoints: &Endpoints,
    plan: &Plan,
    arrivals: &Arrivals,
    recorder: &Recorder,
) -> Result<u64, sqlx::Error> {
    let mut session = PgConnection::connect(&endpoints.postgres_url).await?;
    let mut entries = 0;
    {
        let mut rows = sqlx::query(
            "select room, id, sender, partition, kafka_offset, body from messages \
             where starts_with(room, $1) order by partition, kafka_offset",
        )
        .bind(&plan.load.room_prefix)
        .fetch(&mut session);
        while let Some(row) = rows.try_next().await? {
            entries += 1;
            let (room, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let (partition, offset): (i32, i64) = (row.try_get(3)?, row.try_get(4)?);
            let body: String = row.try_get(5)?;
            recorder.record(match explained(plan, arrivals, &room, &id) {
                Some(message) => {
                    What::InPostgres { message, partition, offset, body_ok: body == arrivals.body(message) }
                }
                None => What::Foreign { ledger: Ledger::Postgres, detail: format!("row {room}/{id}") },
            });
        }
    }
    session.close().await?;
    Ok(entries)
}

/// The planned message with this id, if it was to go to this room.
fn explained(plan: &Plan, arrivals: &Arrivals, room: &str, id: &str) -> Option<u32> {
    let message = Plan::message_of(id)?;
    let arrival = arrivals.list.get(message as usize)?;
    (plan.room_name(arrival.room) == room).then_some(message)
}
