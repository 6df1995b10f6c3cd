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

    /// What to write instead of what many write at first.
    fn slip(&self, error: &toml::de::Error) -> Option<String> {
        let at = error.span()?.start.min(self.text.len());
        let begin = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        if let Some(length) = unquoted_length(line) {
            return Some(format!("write seconds, or quote the length of time: \"{length}\""));
        }
        let one_table = self.text.lines().any(|line| line.trim() == "[fault]");
        (one_table && error.message().contains("sequence"))
            .then(|| "write [[fault]], once for each fault".to_owned())
    }

    /// What the TOML reader says, with a suggestion where it names what it expected.
    pub(crate) fn refuse_toml(&self, error: &toml::de::Error) -> ScenarioError {
        let message = error.message().to_owned();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let help = match quoted.split_first() {
            Some((wrong, known)) if message.starts_with("unknown") => {
                renamed(wrong).or_else(|| suggestion(wrong, known.iter().copied()))
            }
            _ => self.slip(error),
        };
        self.refuse_with_help(error.span().unwrap_or(0..0), message, help)
    }
}

/// Keys that had another name once.
const RENAMED: [(&str, &str); 3] =
    [("weather", "kinds"), ("strangers", "clients"), ("nodes_notice_within_ms", "nodes_detect_within_ms")];

fn renamed(key: &str) -> Option<String> {
    let (_, now) = RENAMED.iter().find(|(before, _)| *before == key)?;
    Some(format!("`{key}` is called `{now}` now"))
}

/// `500ms` without quotes, as in `for_s = 500ms`: the key's line, the value.
fn unquoted_length(line: &str) -> Option<&str> {
    let value = line.split('#').next()?.split_once('=')?.1.trim();
    let unit = value.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let length = value.starts_with(|letter: char| letter.is_ascii_digit()) && !unit.is_empty();
    (length && humantime::parse_duration(value).is_ok()).then_some(value)
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
