//! Processes frozen with SIGSTOP, and thawed with SIGCONT.

use async_trait::async_trait;

use super::alive;
use crate::{
    faults::{Fault, FaultError, Field, Seen, each::each},
    plan::ProcessName,
};

/// Processes that do nothing.
#[derive(Debug)]
pub(in crate::faults) struct Frozen {
    pub(in crate::faults) processes: Vec<ProcessName>,
}

#[async_trait(?Send)]
impl Fault for Frozen {
    async fn begin(&mut self, field: &Field) -> Result<(), FaultError> {
        for process in &self.processes {
            field.cluster.pause(*process).await?;
        }
        Ok(())
    }

    async fn prove(&self, field: &Field) -> Seen {
        let mut seen = Vec::new();
        for process in &self.processes {
            seen.push(field.cluster.look_frozen(*process).await?);
        }
        Ok(seen.join("; "))
    }

    async fn end(&mut self, field: &Field) -> Result<Option<String>, FaultError> {
        let resume = async |process: &ProcessName| Ok(field.cluster.resume(*process).await?);
        each(&self.processes, resume).await.map(|()| None)
    }

    async fn gone(&self, field: &Field) -> Seen {
        alive(&self.processes, field).await
    }
}
