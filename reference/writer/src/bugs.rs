//! Known defects, for testing the checkers against a live system that is wrong in a known way.
//!
//! Without the feature `planted-bugs` none can be chosen, and every branch on one is dead code.

/// A defect that can be planted with `--bug`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "planted-bugs", derive(clap::ValueEnum))]
pub enum Bug {
    /// Pauses when PostgreSQL fails, as it should, yet resumes *after* the batch that failed: the commonest bug in
    /// public copies of this design. Seen as rows missing for one batch per outage.
    SwallowOnDbError,
    /// Commits offsets to Kafka before the insert, and trusts Kafka's committed offset on assignment. Seen as rows
    /// missing after a kill between the two.
    CommitBeforeInsert,
    /// After a reconnect goes on where it was, and not where PostgreSQL says. Seen as rows missing after a PostgreSQL that
    /// crashed forgot transactions that it had confirmed, as it may without `synchronous_commit`.
    KeepPositionAfterReconnect,
}

/// Says in the log which messages a planted bug has just wronged: offsets `from` (inclusive) to `to` (exclusive). A test
/// compares what the checkers found with what was planted, so that none is caught by accident.
pub fn wronged_range(bug: Bug, partition: i32, from: i64, to: i64) {
    if from < to {
        tracing::warn!(planted = ?bug, partition, from, to, "planted bug at work");
    }
}
