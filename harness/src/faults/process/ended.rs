//! Processes that are killed or asked to stop, and started again at the end.

use async_trait::async_trait;

use super::alive;
use crate::{
    faults::{Fault, FaultError, Seen, SystemUnderTest, each::each},
    plan::ProcessName,
};

/// How processes are ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::faults) enum How {
    /// SIGKILL.
    Killed,
    /// SIGTERM: they drain first.
    Terminated,
}

/// Processes that are not there.
#[derive(Debug)]
pub(in crate::faults) struct Ended {
    pub(in crate::faults) processes: Vec<ProcessName>,
    pub(in crate::faults) how: How,
}

#[async_trait(?Send)]
impl Fault for Ended {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        for process in &self.processes {
            match self.how {
                How::Killed => sut.cluster.kill(*process).await?,
                How::Terminated => sut.cluster.terminate(*process).await?,
            }
        }
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let mut seen = Vec::new();
        for process in &self.processes {
            seen.push(sut.cluster.observe_gone(*process).await?);
        }
        Ok(seen.join("; "))
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let start = async |process: &ProcessName| Ok(sut.cluster.start_unless_running(*process).await?);
        each(&self.processes, start).await.map(|()| None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        alive(&self.processes, sut).await
    }
}
