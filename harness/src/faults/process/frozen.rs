//! Processes frozen with SIGSTOP, and thawed with SIGCONT.

use async_trait::async_trait;

use super::alive;
use crate::{
    faults::{Fault, FaultError, Seen, SystemUnderTest, each::each},
    plan::ProcessName,
};

/// Processes that do nothing.
#[derive(Debug)]
pub(in crate::faults) struct Frozen {
    pub(in crate::faults) processes: Vec<ProcessName>,
}

#[async_trait(?Send)]
impl Fault for Frozen {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        for process in &self.processes {
            sut.cluster.pause(*process).await?;
        }
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let mut seen = Vec::new();
        for process in &self.processes {
            seen.push(sut.cluster.observe_frozen(*process).await?);
        }
        Ok(seen.join("; "))
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let resume = async |process: &ProcessName| Ok(sut.cluster.resume(*process).await?);
        each(&self.processes, resume).await.map(|()| None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        alive(&self.processes, sut).await
    }
}
