//! Clusters that are wrong in a known way: each planted bug must be found by the checker that is there for it.
//! Compiled with the feature `planted-bugs`.

use harness::{
    checkers::{Tier, Verdict},
    exit::Exit,
};

use crate::ground;

/// Runs a scenario with a bug and expects the named checker to call it violated.
async fn caught(scenario: &str, node_bug: Option<&str>, writer_bug: Option<&str>, by: &str, tier: Tier) {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut choices = ground::choices(21);
    choices.node_bug = node_bug.map(str::to_owned);
    choices.writer_bug = writer_bug.map(str::to_owned);
    let plan = ground::plan(scenario, &choices, |text| {
        text.replace("duration_s = 40", "duration_s = 20")
            .replace("duration_s = 30", "duration_s = 18")
            .replace("at_s = 10", "at_s = 5")
            .replace("at_s = 8", "at_s = 4")
            .replace("for_s = 15", "for_s = 6")
            .replace("for_s = 8", "for_s = 5")
            .replace("for_s = 10", "for_s = 6")
    });
    let finished = ground::judged(plan, ground::provider(), out.path()).await;
    assert_eq!(finished.judged.exit(), Exit::Violated);
    let judgement = finished.judged.judgement();
    let finding = judgement.findings.iter().find(|finding| finding.checker == by).unwrap();
    assert_eq!(finding.verdict, Verdict::Violated, "{finding:#?}");
    // Not by accident: it names messages, and the tier that lost them.
    assert!(finding.details.iter().any(|detail| detail.message.is_some()), "{finding:#?}");
    assert!(
        judgement.gaps.iter().any(|gap| gap.tier == tier && !gap.messages.is_empty()),
        "{:#?}",
        judgement.gaps
    );
}

/// A writer that pauses, yet skips the failing batch: rows of acked messages are missing, and the writer lost them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swallow_on_db_error_is_caught_by_durability() {
    caught("postgres-outage", None, Some("swallow-on-db-error"), "durability", Tier::Writer).await;
}

/// A node that acks before it produces: acked messages are not in Kafka, and the node lost them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ack_before_produce_is_caught_by_durability() {
    caught("postgres-outage", Some("ack-before-produce"), None, "durability", Tier::Node).await;
}
