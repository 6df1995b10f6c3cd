//! A plan for tests that need one and care for its load only.

use super::{ClusterPlan, Expect, LoadPlan, PLAN_FORMAT, Plan, Topology};

/// A plan without faults: its cluster is of no interest, its load is.
pub(crate) fn plan(seed: u64, nodes: u16, load: LoadPlan) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        scenario: "test".into(),
        title: "test".into(),
        seed,
        cluster: ClusterPlan {
            topology: Topology::DurableFirst,
            nodes,
            writers: 1,
            partitions: 4,
            tokens: false,
            node_flags: vec![],
            writer_flags: vec![],
            node_bug: None,
            writer_bug: None,
        },
        load,
        faults: vec![],
        expect: Expect::default(),
        settle_limit_ms: 0,
    }
}
