//! PostgreSQL takes no writes, as after a failover to a replica.

use async_trait::async_trait;
use sqlx::{Connection, Executor};

use super::connect;
use crate::faults::{Fault, FaultError, Seen, SystemUnderTest, contrary};

/// `default_transaction_read_only`, for every new transaction.
#[derive(Debug)]
pub(in crate::faults) struct ReadOnly;

#[async_trait(?Send)]
impl Fault for ReadOnly {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        Ok(set_read_only(&sut.environment.verifier().postgres_url, true).await?)
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let url = sut.environment.verifier().postgres_url;
        match is_read_only(&url).await.map_err(|error| error.to_string())? {
            true => Ok("a new session is read-only".to_owned()),
            false => Err("a new session may write".to_owned()),
        }
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        set_read_only(&sut.environment.verifier().postgres_url, false).await?;
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        contrary(self.prove(sut).await)
    }
}

/// Makes every transaction read-only, as on a replica after a failover, or takes that back.
async fn set_read_only(url: &str, on: bool) -> Result<(), sqlx::Error> {
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

/// Whether a new session may write.
async fn is_read_only(url: &str) -> Result<bool, sqlx::Error> {
    let mut session = connect(url).await?;
    let setting: String = sqlx::query_scalar("show transaction_read_only").fetch_one(&mut session).await?;
    session.close().await?;
    Ok(setting == "on")
}
