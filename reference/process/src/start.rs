//! The first lines of a process.

use chat_protocol::lifecycle::{EXIT_OK, EXIT_USAGE};
use clap::Parser;

/// Chooses the provider of cryptography and reads the command line.
///
/// # Errors
///
/// The exit code to end with, when the arguments are wrong or ask for nothing but help; what is to be said is said.
pub fn parse<C: Parser>() -> Result<C, u8> {
    // Refused only when there is one already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    C::try_parse().map_err(|error| {
        // Help goes to stdout and complaints to stderr. Nothing can be done about a closed terminal.
        drop(error.print());
        if error.use_stderr() { EXIT_USAGE } else { EXIT_OK }
    })
}
