//! The first lines of a process.

use chat_protocol::lifecycle::{EXIT_OK, EXIT_USAGE};
use clap::{
    Command, Parser,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

/// Chooses the provider of cryptography and reads the command line.
///
/// # Errors
///
/// The exit code to end with, when the arguments are wrong or ask for nothing but help; what is to be said is said.
pub fn parse<C: Parser>() -> Result<C, u8> {
    // Refused only when there is one already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    C::try_parse().map_err(|error| {
        let error = discreet(error, C::command(), std::env::args());
        // Help goes to stdout and complaints to stderr. Nothing can be done about a closed terminal.
        drop(error.print());
        if error.use_stderr() { EXIT_USAGE } else { EXIT_OK }
    })
}

/// In the place of what may be a password.
const NOT_SHOWN: &str = "(not shown)";

/// An error about some arguments, without what may be a password. What `--help` does not show of the environment
/// (`hide_env_values`), no error shows either; it names the option and its variable.
pub fn discreet(mut error: Error, mut command: Command, given: impl Iterator<Item = String>) -> Error {
    command.build();
    let secrets = secrets(&command);
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    if error.kind() == ErrorKind::UnknownArgument {
        // A value with a space in it that nobody has quoted: the rest of it is a word of its own.
        let flags: Vec<String> = secrets.iter().map(|secret| secret.flag.clone()).collect();
        let has_secrets = given
            .into_iter()
            .any(|word| flags.iter().any(|flag| word.split('=').next() == Some(flag.as_str())));
        if has_secrets && !named.starts_with('-') {
            let quoted = format!("{NOT_SHOWN}: what has a space in it needs quotes");
            error.insert(ContextKind::InvalidArg, ContextValue::String(quoted));
        }
    } else if let Some(secret) = secrets.iter().find(|secret| secret.named == named) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(NOT_SHOWN.to_owned()));
        let both = format!("{named}, {}", secret.variable);
        error.insert(ContextKind::InvalidArg, ContextValue::String(both));
    }
    error
}

/// An option that may hold a password.
struct Secret {
    /// As errors name it.
    named: String,
    flag: String,
    variable: String,
}

fn secrets(command: &Command) -> Vec<Secret> {
    let own = command.get_arguments().filter(|argument| argument.is_hide_env_values_set()).map(|argument| {
        let variable = argument.get_env().unwrap_or_default().to_string_lossy().into_owned();
        let flag = format!("--{}", argument.get_long().unwrap_or_default());
        Secret { named: argument.to_string(), flag, variable }
    });
    own.chain(command.get_subcommands().flat_map(secrets)).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(Debug, Parser)]
    struct Told {
        #[arg(long, env = "TOLD_OF", hide_env_values = true, value_parser = crate::kafka::option)]
        option: Vec<(String, String)>,
        #[arg(long)]
        count: Option<u8>,
    }

    fn said(given: &[&str]) -> String {
        let error = Told::try_parse_from(given).unwrap_err();
        discreet(error, Told::command(), given.iter().map(ToString::to_string)).to_string()
    }

    #[test]
    fn an_error_shows_what_is_no_secret_and_nothing_that_may_be_one() {
        let error = said(&["told", "--option=secret"]);
        assert!(error.contains("--option <OPTION>, TOLD_OF") && error.contains("KEY=VALUE"), "{error}");
        let spaced = said(&["told", "--option", "sasl.password=my", "secret"]);
        assert!(spaced.contains("needs quotes"), "{spaced}");
        let joined = said(&["told", "--option=security.protocol=SASL_SSL,sasl.password=secret"]);
        assert!(joined.contains("security.protocol"), "{joined}");
        let unknown = said(&["told", "--option=sasl.passwd=secret"]);
        assert!(unknown.contains("sasl.passwd"), "{unknown}");
        for error in [error, spaced, joined, unknown] {
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(said(&["told", "--count=many"]).contains("many"));
        assert!(said(&["told", "stray"]).contains("stray"));
    }
}
