//! PostgreSQL ends every session of the cluster, again and again.

use async_trait::async_trait;
use sqlx::Connection;

use super::{OWN_NAME, connect, terminate_others};
use crate::{
    faults::{
        Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest, YOUNG,
        repeat::{self, Repeating, repeat},
    },
    plan::Service,
};

/// `pg_terminate_backend`, once a second.
#[derive(Debug, Default)]
pub(in crate::faults) struct Terminate {
    striking: Option<Repeating>,
}

#[async_trait(?Send)]
impl Fault for Terminate {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let url = sut.environment.verifier().postgres_url;
        terminate_sessions(&url).await?;
        self.striking = Some(repeat(move || {
            let url = url.clone();
            async move { terminate_sessions(&url).await }
        }));
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let url = sut.environment.verifier().postgres_url;
        match session_ages(&url).await.map_err(|error| error.to_string())? {
            (0, _) => Ok("no session is left".to_owned()),
            (count, Some(age)) if age <= YOUNG.as_secs_f64() => {
                Ok(format!("the oldest of {count} sessions is {age:.1} s old"))
            }
            (count, age) => Err(format!("{count} sessions live, the oldest {age:?} s old")),
        }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(repeat::end(&mut self.striking).await)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        sut.environment.probe(Service::Postgres, PROBE_LIMIT).await
    }
}

/// Ends every client session but our own; returns how many.
async fn terminate_sessions(url: &str) -> Result<u64, sqlx::Error> {
    let mut session = connect(url).await?;
    let hit = terminate_others(&mut session).await?;
    session.close().await?;
    Ok(hit)
}

/// When the youngest and the oldest session of somebody else began, in seconds ago; and how many there are.
async fn session_ages(url: &str) -> Result<(i64, Option<f64>), sqlx::Error> {
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
