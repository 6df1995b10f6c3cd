//! Wall clocks of processes that are off, while their monotonic clocks go on.

use async_trait::async_trait;

use crate::{
    faults::{Fault, FaultError, Field, Seen, each::each},
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
    async fn look(&self, offset_s: i64, field: &Field) -> Seen {
        let mut seen = Vec::new();
        for process in &self.processes {
            let off_s = field.cluster.look_clock(*process).await?;
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
    async fn begin(&mut self, field: &Field) -> Result<(), FaultError> {
        for process in &self.processes {
            field.cluster.set_clock(*process, self.offset_s)?;
        }
        Ok(())
    }

    async fn prove(&self, field: &Field) -> Seen {
        self.look(self.offset_s, field).await
    }

    async fn end(&mut self, field: &Field) -> Result<Option<String>, FaultError> {
        let right = async |process: &ProcessName| Ok(field.cluster.set_clock(*process, 0)?);
        each(&self.processes, right).await.map(|()| None)
    }

    async fn gone(&self, field: &Field) -> Seen {
        self.look(0, field).await
    }
}
