//! PostgreSQL: its address, and what to do when its certificate is not trusted.

use sqlx::postgres::PgConnectOptions;

/// Reads a URL of PostgreSQL.
///
/// # Errors
///
/// It is none; in words that never repeat it, as it may hold a password.
pub fn url(text: &str) -> Result<PgConnectOptions, String> {
    let wrong = |why: &str| {
        format!(
            "{why}; write postgres://user:password@host:port/database, and what is special in a password by its code, as %40 for @"
        )
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(wrong("it does not begin with postgres://"));
    }
    text.parse().map_err(|error: sqlx::Error| wrong(&error.to_string()))
}

/// What to do about a pooler on the way.
pub const GO_PAST_THE_POOLER: &str = "a pooler (PgBouncer or its like) is on the way, and keeps the settings of a \
                                      session from PostgreSQL: give the address of PostgreSQL itself";

/// What is to be done about an error that does not pass by itself.
pub fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let said = error.to_string();
    // As rustls says it, through whichever kind of error.
    if said.contains("certificate") {
        return Some("name the file of its authorities in the URL: ?sslmode=verify-full&sslrootcert=FILE");
    }
    // PgBouncer's words, and those of who does as it does.
    said.contains("unsupported startup parameter").then_some(GO_PAST_THE_POOLER)
}

/// What an error says, and what is to be done about it.
pub fn said(error: &sqlx::Error) -> String {
    advice(error).map_or_else(|| error.to_string(), |advice| format!("{error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_it() {
        assert_eq!(url("postgres://u:p%40@h/d").unwrap().get_host(), "h");
        for text in
            ["postgres://u:se#cret@h/d", "postgres://u:se/cret@h/d", "mysql://u:secret@h/d", "u:secret@h"]
        {
            let error = url(text).unwrap_err();
            assert!(error.contains("postgres://user:password@") && !error.contains("cret"), "{error}");
        }
    }
}
