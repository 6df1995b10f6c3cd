//! What a node counts about its clients, from its `/metrics`.

use std::time::Duration;

use crate::{cluster::Cluster, plan::ProcessName};

/// A node answers within this, or its counters are not to be had: the look must not outlast what it looks for.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);

/// Counters of one node since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Sessions whose transport failed: no goodbye, or a frame above the limit.
    pub(super) ended_without_goodbye: u64,
    /// Sessions ended for a frame that could not be read.
    pub(super) malformed: u64,
    /// Verbs answered `invalid`.
    pub(super) refused_as_invalid: u64,
}

/// Asks a node.
pub(super) async fn read(cluster: &Cluster, node: ProcessName) -> Result<Counters, String> {
    cluster.metrics(node, ANSWER_LIMIT).await.map(|text| parse(&text))
}

/// A counter that was never touched is not in the text, and is zero.
fn parse(text: &str) -> Counters {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
    };
    Counters {
        ended_without_goodbye: value(r#"chat_node_sessions_ended_total{reason="transport_error"}"#),
        malformed: value(r#"chat_node_sessions_ended_total{reason="malformed"}"#),
        refused_as_invalid: value(r#"chat_node_verbs_refused_total{code="invalid"}"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_and_label() {
        let text = "# TYPE chat_node_sessions_ended_total counter\n\
                    chat_node_sessions_ended_total{reason=\"client_left\"} 9\n\
                    chat_node_sessions_ended_total{reason=\"transport_error\"} 4\n\
                    chat_node_verbs_refused_total{code=\"invalid\"} 2\n";
        let expected = Counters { ended_without_goodbye: 4, malformed: 0, refused_as_invalid: 2 };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(""), Counters::default());
    }
}
