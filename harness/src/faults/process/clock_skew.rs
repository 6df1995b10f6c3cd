//! Wall clocks of processes that are off, while their monotonic clocks go on.

use async_trait::async_trait;

use crate::{
    faults::{Fault, FaultError, Seen, SystemUnderTest, each::each},
    plan::ProcessName,
};

/// A `Date` is exact to a second, and kept for a second.
const SLACK_S: i64 = 2;

/// Processes that live in another time.
#[derive(Debug)]
pub(in crate::faults) struct ClockSkew {
    pub(in crate::faults) processes: Vec<ProcessName>,
    pub(in crate::faults) offset_s: i64,
}

impl ClockSkew {
    /// Looks for wall clocks that are off by so much.
    async fn observe(&self, offset_s: i64, sut: &SystemUnderTest) -> Seen {
        let mut seen = Vec::new();
        for process in &self.processes {
            let off_s = sut.cluster.clock_offset(*process).await?;
            let text = format!("{process} dates its answers {off_s:+} s from our clock");
            if (off_s - offset_s).abs() > SLACK_S {
                return Err(text);
            }
            seen.push(text);
        }
        Ok(seen.join("; "))
    }
}

#[async_trait(?Send)]
impl Fault for ClockSkew {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        for process in &self.processes {
            sut.cluster.set_clock(*process, self.offset_s)?;
        }
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        self.observe(self.offset_s, sut).await
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let right = async |process: &ProcessName| Ok(sut.cluster.set_clock(*process, 0)?);
        each(&self.processes, right).await.map(|()| None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        self.observe(0, sut).await
    }
}
