//! Links that refuse connections and cut the open ones.

use async_trait::async_trait;

use super::{each, up};
use crate::{
    faults::{Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest, each::each as undo},
    plan::LinkName,
};

/// Links that are down.
#[derive(Debug)]
pub(in crate::faults) struct Down {
    pub(in crate::faults) links: Vec<LinkName>,
}

#[async_trait(?Send)]
impl Fault for Down {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        for link in &self.links {
            sut.environment.proxies().disable(*link).await?;
        }
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        each(&self.links, sut, PROBE_LIMIT, |_, seen| match (seen.accepts, seen.answer) {
            (Err(error), Err(_)) => Ok(format!("refused: {error}")),
            (Ok(()), Err(error)) => Err(format!("accepts, though it does not answer: {error}")),
            (_, Ok(took)) => Err(format!("answered in {} ms", took.as_millis())),
        })
        .await
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let enable = async |link: &LinkName| Ok(sut.environment.proxies().enable(*link).await?);
        undo(&self.links, enable).await.map(|()| None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        up(&self.links, sut).await
    }
}
