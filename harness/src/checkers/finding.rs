//! What a checker found: a verdict, one line with numbers, and the first counter-examples by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Verdict;

/// Details kept for each verdict; a broken cluster breaks every message, and nobody reads a million lines.
pub const DETAILS_MAX: usize = 20;

/// One line of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// What it does to the verdict; `holds` for a mere remark.
    pub verdict: Verdict,
    /// For people.
    pub text: String,
    /// The message it is about, if it is about one: its story tells more.
    pub message: Option<u32>,
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Name of the checker.
    pub checker: String,
    /// Whether the claim is true of the run.
    pub verdict: Verdict,
    /// False when the run holds nothing the claim is about (no PostgreSQL outage, say): `holds`, but no evidence.
    pub applicable: bool,
    /// A stated objective was missed.
    pub objective_missed: bool,
    /// The claim, in one line.
    pub claim: String,
    /// What was found, in one line with numbers.
    pub summary: String,
    /// The first lines of evidence, the gravest first.
    pub details: Vec<Detail>,
    /// Lines of evidence that were left out.
    pub details_left_out: u64,
    /// Every number, by name.
    pub counts: BTreeMap<String, u64>,
    /// Where it cannot be told whether the claim is true: what to do about that.
    #[serde(default)]
    pub next_step: Option<String>,
}

impl Finding {
    /// Nothing found yet.
    pub fn about(checker: &str, claim: &str) -> Self {
        Self {
            checker: checker.to_owned(),
            verdict: Verdict::Holds,
            applicable: true,
            objective_missed: false,
            claim: claim.to_owned(),
            summary: String::new(),
            details: Vec::new(),
            details_left_out: 0,
            counts: BTreeMap::new(),
            next_step: None,
        }
    }

    /// A counter-example.
    pub fn violated(&mut self, text: impl FnOnce() -> String) {
        self.add(Verdict::Violated, None, text);
    }

    /// A counter-example that is a message.
    pub fn violated_by(&mut self, message: u32, text: impl FnOnce() -> String) {
        self.add(Verdict::Violated, Some(message), text);
    }

    /// A reason why the run cannot tell.
    pub fn unknown(&mut self, text: impl FnOnce() -> String) {
        self.add(Verdict::Unknown, None, text);
    }

    /// Missing evidence about a message: a counter-example in a whole history, unknown in one with holes.
    pub fn absent(&mut self, whole: bool, message: u32, text: impl FnOnce() -> String) {
        self.add(if whole { Verdict::Violated } else { Verdict::Unknown }, Some(message), text);
    }

    /// A counter-example that rests on something missing, unless there is a reason not to trust that.
    pub fn violated_unless(&mut self, doubt: Option<String>, text: impl FnOnce() -> String) {
        match doubt {
            Some(doubt) => self.unknown(|| format!("{}, as far as can be seen: {doubt}", text())),
            None => self.violated(text),
        }
    }

    /// Something worth saying that changes nothing.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.add(Verdict::Holds, None, text);
    }

    /// A number, by name.
    pub fn count(&mut self, name: &str, number: u64) {
        self.counts.insert(name.to_owned(), number);
    }

    /// The run holds nothing the claim is about.
    pub fn not_applicable(&mut self, why: &str) {
        self.applicable = false;
        self.summary = why.to_owned();
    }

    fn add(&mut self, verdict: Verdict, message: Option<u32>, text: impl FnOnce() -> String) {
        self.verdict = self.verdict.merge(verdict);
        // The text is only made when it is kept: a million losses must not be a million strings.
        if self.details.iter().filter(|detail| detail.verdict == verdict).count() < DETAILS_MAX {
            self.details.push(Detail { verdict, text: text(), message });
        } else {
            self.details_left_out += 1;
        }
    }

    /// Puts the gravest lines first.
    pub(crate) fn close(&mut self) {
        self.details.sort_by_key(|detail| std::cmp::Reverse(detail.verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_bounded_and_the_gravest_come_first() {
        let mut finding = Finding::about("x", "y");
        finding.note(|| "remark".into());
        for message in 0..50 {
            finding.violated_by(message, || format!("m{message}"));
        }
        finding.unknown(|| "doubt".into());
        finding.close();
        assert_eq!(finding.verdict, Verdict::Violated);
        assert_eq!(finding.details.len(), DETAILS_MAX + 2);
        assert_eq!(finding.details_left_out, 30);
        assert_eq!(finding.details[0].message, Some(0));
        assert_eq!(finding.details.last().unwrap().text, "remark");
    }
}
