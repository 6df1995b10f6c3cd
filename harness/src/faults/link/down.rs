//! Links that refuse connections and cut the open ones.

use async_trait::async_trait;

use super::{each, up};
use crate::{
    faults::{Fault, FaultError, Field, PROBE_LIMIT, Seen, each::each as undo},
    plan::LinkName,
};

/// Links that are down.
#[derive(Debug)]
pub(in crate::faults) struct Down {
    pub(in crate::faults) links: Vec<LinkName>,
}

#[async_trait(?Send)]
impl Fault for Down {
    async fn begin(&mut self, field: &Field) -> Result<(), FaultError> {
        for link in &self.links {
            field.environment.proxies().disable(*link).await?;
        }
        Ok(())
    }

    async fn prove(&self, field: &Field) -> Seen {
        each(&self.links, field, PROBE_LIMIT, |_, seen| match (seen.accepts, seen.answer) {
            (Err(error), Err(_)) => Ok(format!("refused: {error}")),
            (Ok(()), Err(error)) => Err(format!("accepts, though it does not answer: {error}")),
            (_, Ok(took)) => Err(format!("answered in {} ms", took.as_millis())),
        })
        .await
    }

    async fn end(&mut self, field: &Field) -> Result<Option<String>, FaultError> {
        let enable = async |link: &LinkName| Ok(field.environment.proxies().enable(*link).await?);
        undo(&self.links, enable).await.map(|()| None)
    }

    async fn gone(&self, field: &Field) -> Seen {
        up(&self.links, field).await
    }
}
