//! Lengths of time as people write them: `15`, `1.5`, `"15 s"`, `"1m30s"`, `"500ms"`.

use serde::{Deserialize, Deserializer, de::Error};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of seconds (1.5) or a quoted length of time (\"1m30s\", \"500 ms\")")]
enum Written {
    Seconds(f64),
    Text(String),
}

impl Written {
    fn seconds<E: Error>(self) -> Result<f64, E> {
        match self {
            Self::Seconds(seconds) => Ok(seconds),
            Self::Text(text) => humantime::parse_duration(&text).map(|length| length.as_secs_f64()).map_err(|why| {
                E::custom(format!(
                    "`{text}` is not a length of time ({why}); write seconds (1.5), or \"1m30s\", \"500 ms\""
                ))
            }),
        }
    }
}

/// Seconds, from either form.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Spanned<f64>, D::Error> {
    let written = Spanned::<Written>::deserialize(from)?;
    let span = written.span();
    Ok(Spanned::new(span, written.into_inner().seconds()?))
}

/// [`seconds`] of a key that may be left out.
pub(super) fn some_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Spanned<f64>>, D::Error> {
    seconds(from).map(Some)
}
