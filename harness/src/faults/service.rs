//! A service that is stopped, killed or frozen.

use std::time::Duration;

use async_trait::async_trait;

use super::{Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest};
use crate::plan::Service;

/// A service that is there answers within this time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How a service is taken away.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// Shut down in an orderly way.
    Stopped,
    /// By SIGKILL.
    Killed,
    /// By SIGSTOP: connections stay open.
    Frozen,
}

/// A service that does not answer.
#[derive(Debug)]
pub(super) struct ServiceAway {
    pub(super) service: Service,
    pub(super) how: How,
}

#[async_trait(?Send)]
impl Fault for ServiceAway {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let environment = &sut.environment;
        match self.how {
            How::Stopped => environment.stop(self.service).await?,
            How::Killed => environment.kill(self.service).await?,
            How::Frozen => environment.pause(self.service).await?,
        }
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        match sut.environment.probe(self.service, PROBE_LIMIT).await {
            Err(error) => Ok(format!("{} does not answer: {error}", self.service)),
            Ok(answer) => Err(format!("{} answers: {answer}", self.service)),
        }
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let environment = &sut.environment;
        match self.how {
            How::Frozen => environment.unpause(self.service).await?,
            // One that would not stop may be there still.
            How::Stopped | How::Killed => {
                if environment.probe(self.service, ANSWERS_WITHIN).await.is_err() {
                    environment.start(self.service).await?;
                }
            }
        }
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        sut.environment.probe(self.service, PROBE_LIMIT).await
    }
}
