//! Whose fault a failed write is. Pure.
//!
//! The question decides between two opposite cures. If a *record* is at fault, waiting will not help: it must be found
//! and set aside. If the *database* is, setting records aside would throw good messages away: wait. When in doubt it is
//! the database, because a pause is seen at once and loses nothing.

use sqlx::Error;

/// Who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// One of the records in the statement; without it the statement would work.
    Record,
    /// PostgreSQL, the network, the schema or the credentials; every statement would fail now.
    Database,
}

/// Judges an error of a write.
pub fn of(error: &Error) -> Blame {
    match error {
        // A value could not be written in PostgreSQL's wire format; nothing was sent.
        Error::Encode(_) => Blame::Record,
        Error::Database(error) => error.code().map_or(Blame::Database, |code| of_sqlstate(&code)),
        _ => Blame::Database,
    }
}

/// Judges a SQLSTATE.
pub fn of_sqlstate(code: &str) -> Blame {
    match code {
        // An index row or a value beyond a fixed limit of PostgreSQL. The rest of class 54 (statement too complex, too
        // many columns) speaks of our SQL and not of a record.
        "54000" => Blame::Record,
        // A repeated message is no violation (`on conflict (room, sender, id) do nothing`). Another one at a known offset is: the log
        // was cut, and the record is as good as any.
        "23505" | "23P01" => Blame::Database,
        // Data exceptions (22021: U+0000 in a text) and constraints (23514: a check).
        _ if code.starts_with("22") || code.starts_with("23") => Blame::Record,
        _ => Blame::Database,
    }
}

/// Whether the error says that the disk is full (SQLSTATE 53100).
pub fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.code().as_deref() == Some("53100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cannot_cure_is_the_record() {
        for code in ["22021", "22001", "22P05", "23502", "23514", "54000"] {
            assert_eq!(of_sqlstate(code), Blame::Record, "{code}");
        }
    }

    #[test]
    fn everything_else_is_the_database() {
        let codes = [
            "57P01", "57P02", "57P03", "57014", "25006", "53300", "53100", "53200", "55P03", "40P01",
            "40001", "08006", "28P01", "3D000", "42P01", "42501", "58030", "XX000", "23505", "54001", "",
            "2",
        ];
        for code in codes {
            assert_eq!(of_sqlstate(code), Blame::Database, "{code}");
        }
        assert_eq!(of(&Error::PoolTimedOut), Blame::Database);
        assert_eq!(of(&Error::Io(std::io::ErrorKind::ConnectionReset.into())), Blame::Database);
        assert_eq!(of(&Error::Encode("no".into())), Blame::Record);
    }

    proptest::proptest! {
        #[test]
        fn no_code_outside_classes_22_23_and_54_ever_condemns_a_record(code in "[0-9A-Z]{5}") {
            let data = ["22", "23", "54"].iter().any(|class| code.starts_with(class));
            proptest::prop_assert!(data || of_sqlstate(&code) == Blame::Database);
        }
    }
}
