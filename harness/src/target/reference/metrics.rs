//! What a node counts about its clients, from its `/metrics`.

use chat_protocol::metrics::{CODE, MALFORMED, REASON, SESSIONS_ENDED, TRANSPORT_ERROR, VERBS_REFUSED};

/// Counters of one node since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Sessions whose transport failed: no goodbye, or a frame above the limit.
    pub ended_without_goodbye: u64,
    /// Sessions ended for a frame that could not be read.
    pub malformed: u64,
    /// Verbs answered `invalid`.
    pub refused_as_invalid: u64,
}

impl ClientCounters {
    /// Reads them. A counter that was never touched is not in the text, and is zero.
    pub fn parse(text: &str) -> Self {
        let value = |name: &str, label: &str, value: &str| {
            let series = format!("{name}{{{label}=\"{value}\"}}");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            ended_without_goodbye: value(SESSIONS_ENDED, REASON, TRANSPORT_ERROR),
            malformed: value(SESSIONS_ENDED, REASON, MALFORMED),
            refused_as_invalid: value(VERBS_REFUSED, CODE, "invalid"),
        }
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
        let expected = ClientCounters { ended_without_goodbye: 4, malformed: 0, refused_as_invalid: 2 };
        assert_eq!(ClientCounters::parse(text), expected);
        assert_eq!(ClientCounters::parse(""), ClientCounters::default());
    }
}
