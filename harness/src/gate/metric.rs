//! What is compared, and how large a difference counts.

use super::slice::Slice;

/// A figure of a slice; more is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Processor time of the nodes for each message that reached a member.
    NodeCpuPerReceipt,
    /// Processor time of the writers for each row.
    WriterCpuPerRow,
    /// Median from due to acked.
    AckP50,
    /// Median from due to received.
    ReceiptP50,
    /// 99th percentile from due to acked.
    AckP99,
    /// 99th percentile from due to received.
    ReceiptP99,
    /// Longest from due to acked.
    AckMax,
    /// Longest from due to received.
    ReceiptMax,
}

impl Metric {
    /// Those that decide.
    pub const GATING: [Self; 4] =
        [Self::NodeCpuPerReceipt, Self::WriterCpuPerRow, Self::AckP50, Self::ReceiptP50];
    /// Those that are shown only: they vary too much for a relative verdict. Objectives judge p99.
    pub const SHOWN: [Self; 4] = [Self::AckP99, Self::ReceiptP99, Self::AckMax, Self::ReceiptMax];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeCpuPerReceipt => "node CPU per receipt",
            Self::WriterCpuPerRow => "writer CPU per row",
            Self::AckP50 => "ack p50",
            Self::ReceiptP50 => "receipt p50",
            Self::AckP99 => "ack p99",
            Self::ReceiptP99 => "receipt p99",
            Self::AckMax => "ack max",
            Self::ReceiptMax => "receipt max",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::NodeCpuPerReceipt | Self::WriterCpuPerRow => "µs",
            _ => "ms",
        }
    }

    /// The smallest increase that is called slower, as a share. A latency passes through Kafka's and the scheduler's
    /// timers, so it says less about the code than processor time does.
    pub fn floor(self) -> f64 {
        match self {
            Self::NodeCpuPerReceipt | Self::WriterCpuPerRow => 0.05,
            _ => 0.10,
        }
    }

    /// The increase that must be excluded before "not slower" may be said. Twice the floor: an increase of just the floor
    /// is estimated below it half of the time, and no number of pairs can tell.
    pub fn to_exclude(self) -> f64 {
        2.0 * self.floor()
    }

    /// Its value in a slice, in [`Self::unit`]; `None` when the slice has nothing to divide by.
    pub fn of(self, slice: &Slice) -> Option<f64> {
        let per = |cpu_ns: u64, count: u64| (count > 0).then(|| cpu_ns as f64 / count as f64 / 1_000.0);
        let ms = |us: u64| Some(us as f64 / 1_000.0);
        let value = match self {
            Self::NodeCpuPerReceipt => per(slice.node_cpu_ns, slice.receipts),
            Self::WriterCpuPerRow => per(slice.writer_cpu_ns, slice.rows),
            Self::AckP50 => ms(slice.ack.p50_us),
            Self::ReceiptP50 => ms(slice.receipt.p50_us),
            Self::AckP99 => ms(slice.ack.p99_us),
            Self::ReceiptP99 => ms(slice.receipt.p99_us),
            Self::AckMax => ms(slice.ack.max_us),
            Self::ReceiptMax => ms(slice.receipt.max_us),
        };
        value.filter(|value| *value > 0.0)
    }
}
