//! Refusals that point at the line and suggest what was meant.

use std::ops::Range;

use miette::{Diagnostic, NamedSource, SourceSpan};

/// A scenario that cannot be planned.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ScenarioError {
    /// Something in the file is wrong.
    #[error("{message}")]
    Refused {
        /// What, in a sentence.
        message: String,
        /// The file.
        #[source_code]
        source_code: NamedSource<String>,
        /// Where.
        #[label("here")]
        span: Option<SourceSpan>,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// There is no such scenario.
    #[error("there is no scenario `{name}`")]
    NotFound {
        /// The name asked for.
        name: String,
        /// What there is.
        #[help]
        help: String,
    },
    /// The file cannot be read.
    #[error("cannot read the scenario {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
        /// What to do.
        #[help]
        help: &'static str,
    },
}

/// The text being read, for error messages.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// A refusal that points at a value.
    pub(crate) fn refuse(&self, span: Range<usize>, message: impl Into<String>) -> ScenarioError {
        self.refuse_with_help(span, message, None)
    }

    pub(crate) fn refuse_with_help(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ScenarioError {
        ScenarioError::Refused {
            message: message.into(),
            source_code: NamedSource::new(self.file, self.text.to_owned()),
            // A defaulted value has no place in the file.
            span: (!span.is_empty()).then(|| span.into()),
            help,
        }
    }

    /// What the TOML reader says, with a suggestion where it names what it expected.
    pub(crate) fn refuse_toml(&self, error: &toml::de::Error) -> ScenarioError {
        let message = error.message().to_owned();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let help = match quoted.split_first() {
            Some((wrong, known)) if message.starts_with("unknown") => {
                suggestion(wrong, known.iter().copied())
            }
            _ => None,
        };
        self.refuse_with_help(error.span().unwrap_or(0..0), message, help)
    }
}

/// "did you mean …?" when something known is near enough to what was written, otherwise all that is known.
pub(crate) fn suggestion<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), *word))
        .min()
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4);
    match near {
        Some((_, word)) => Some(format!("did you mean `{word}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known: {}", known.join(", "))),
    }
}
