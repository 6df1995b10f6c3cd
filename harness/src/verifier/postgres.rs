//! The rows.

use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection, Row};

use super::{Offsets, Reading, planned};
use crate::{
    environment::Endpoints,
    history::{EventKind, Ledger},
    plan::{Arrivals, Plan},
    target::reference::{NEXT_OFFSETS, ROWS},
};

/// First offset not yet stored, per partition, as the writers keep it beside the rows.
pub(super) async fn next_offsets(endpoints: &Endpoints, topic: &str) -> Result<Offsets, sqlx::Error> {
    let mut session = PgConnection::connect(&endpoints.postgres_url).await?;
    let rows: Vec<(i32, i64)> = sqlx::query_as(NEXT_OFFSETS).bind(topic).fetch_all(&mut session).await?;
    session.close().await?;
    Ok(rows.into_iter().collect())
}

/// Every row of the run's rooms.
pub(super) async fn read(endpoints: &Endpoints, plan: &Plan, arrivals: &Arrivals) -> Reading {
    let mut found = Vec::new();
    let ended = read_into(&mut found, endpoints, plan, arrivals).await;
    Reading { found, ended: ended.map_err(|error| error.to_string()) }
}

async fn read_into(
    found: &mut Vec<EventKind>,
    endpoints: &Endpoints,
    plan: &Plan,
    arrivals: &Arrivals,
) -> Result<u64, sqlx::Error> {
    let mut session = PgConnection::connect(&endpoints.postgres_url).await?;
    let mut entries = 0;
    {
        let mut rows = sqlx::query(ROWS).bind(&plan.load.room_prefix).fetch(&mut session);
        while let Some(row) = rows.try_next().await? {
            entries += 1;
            let (room, id, sender): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let (partition, offset): (i32, i64) = (row.try_get(3)?, row.try_get(4)?);
            let body: String = row.try_get(5)?;
            found.push(match planned::message(plan, arrivals, &room, &id, &sender) {
                Ok(message) => EventKind::InPostgres {
                    message,
                    partition,
                    offset,
                    body_ok: body == arrivals.body(message),
                },
                Err(why) => EventKind::Foreign { ledger: Ledger::Postgres, detail: format!("row {why}") },
            });
        }
    }
    session.close().await?;
    Ok(entries)
}
