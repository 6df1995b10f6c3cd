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

/// What an error says, and what is to be done when the server's certificate is not trusted.
pub fn said(error: &sqlx::Error) -> String {
    let said = error.to_string();
    // As rustls says it, through whichever kind of error.
    if said.contains("certificate") {
        return format!(
            "{said}; name the file of its authorities in the URL: ?sslmode=verify-full&sslrootcert=FILE"
        );
    }
    said
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
