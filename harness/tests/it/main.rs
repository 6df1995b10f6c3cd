//! Squall's integration tests: one binary, so that it links once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails; clippy only knows functions marked #[test]")]

mod environment;
