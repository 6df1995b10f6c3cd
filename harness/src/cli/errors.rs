//! Where errors leave: with what to do next, and the documented exit code.

use std::{
    fs,
    io::{IsTerminal, Write},
    path::Path,
    sync::OnceLock,
};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    environment::EnvironmentError,
    exit::Exit,
    history::recorder::RecorderError,
    os,
    progress::tell,
    report::terminal::Screen,
    run::{KafkaError, RunError, folder::FolderError, judge::JudgeError},
    scenario::ScenarioError,
};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Judge(#[from] JudgeError),
    #[error("{0} is missing")]
    MissingFlag(&'static str),
    #[error("`{0}` is not a message id; they look like m123")]
    BadMessage(String),
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} was not violated: there is no failure to minimise")]
    NotViolated(String),
    #[error("{0} breaks things; a gate measures a healthy cluster")]
    FaultsInGate(String),
    #[error(
        "{scenario} has {faults} faults; a capacity is that of a healthy cluster, or of one with one fault in force"
    )]
    FaultsInCapacity { scenario: String, faults: usize },
    #[error("{path} is no recording of a gate: {why}")]
    BadRecording { path: String, why: String },
    #[error("no gate and no capacity search has left its figures below {0}")]
    NoFigures(String),
    #[error("squall panicked; this is a bug in squall, and no verdict")]
    Panicked,
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

fn of_folder(error: &FolderError) -> Exit {
    match error {
        FolderError::Malformed { .. } | FolderError::Io { verb: "read", .. } => Exit::Usage,
        FolderError::Io { .. } | FolderError::DiskFull { .. } => Exit::Environment,
    }
}

impl CliError {
    fn exit(&self) -> Exit {
        match self {
            Self::Scenario(_)
            | Self::MissingFlag(_)
            | Self::BadMessage(_)
            | Self::NotViolated(_)
            | Self::FaultsInGate(_)
            | Self::FaultsInCapacity { .. }
            | Self::BadRecording { .. }
            | Self::NoFigures(_) => Exit::Usage,
            Self::Folder(error) | Self::Run(RunError::Folder(error)) => of_folder(error),
            Self::Run(RunError::Interrupted) => Exit::Interrupted,
            Self::Run(RunError::Unsupported { .. }) => Exit::Usage,
            // Its own history, just written: that it cannot be read is our fault.
            Self::Run(
                RunError::Judge(JudgeError::History(_) | JudgeError::Panicked(_))
                | RunError::Recorder(RecorderError::Panicked | RecorderError::Held { .. }),
            )
            | Self::Judge(JudgeError::Panicked(_)) => Exit::Bug,
            Self::Judge(JudgeError::NoSuchMessage { .. }) => Exit::Usage,
            Self::Judge(JudgeError::History(_)) => Exit::Unknown,
            Self::Judge(JudgeError::Folder(error))
            | Self::Run(RunError::Judge(JudgeError::Folder(error))) => of_folder(error),
            Self::Run(_) | Self::Judge(JudgeError::Report(_)) | Self::Environment(_) | Self::Write { .. } => {
                Exit::Environment
            }
            Self::Panicked | Self::Runtime(_) | Self::Signals(_) => Exit::Bug,
        }
    }

    fn next_step(&self) -> Option<String> {
        match self {
            Self::Environment(error) | Self::Run(RunError::Environment(error)) => {
                Some(error.help().to_owned())
            }
            Self::Folder(error) | Self::Run(RunError::Folder(error)) => Some(match error {
                FolderError::DiskFull { .. } => {
                    "make room, or send the run elsewhere with --out DIR".to_owned()
                }
                FolderError::Io { verb: "read", .. } => "a run's folder is OUT/SCENARIO/RUN-ID".to_owned(),
                FolderError::Io { .. } => "choose a folder you may write to with --out DIR".to_owned(),
                FolderError::Malformed { .. } => "run the scenario again to get a fresh one".to_owned(),
            }),
            Self::Run(RunError::Cluster(error)) => Some(error.help().to_owned()),
            Self::Run(RunError::Recorder(_)) => {
                Some("make room on the disk, or send the run elsewhere with --out DIR".to_owned())
            }
            Self::Run(RunError::Kafka(KafkaError::NotAllowed { .. })) => Some(
                "let it: kafka-acls --add --allow-principal User:<user> --operation All --topic chat \
                 --group chat --resource-pattern-type prefixed"
                    .to_owned(),
            ),
            Self::MissingFlag(_) => Some(
                "the external provider needs --postgres-url, --redis-url and --kafka-brokers, \
                                          or SQUALL_POSTGRES_URL, SQUALL_REDIS_URL and SQUALL_KAFKA_BROKERS"
                    .to_owned(),
            ),
            Self::Run(RunError::Descriptors { .. }) => {
                Some("raise the hard limit (`ulimit -Hn`, LimitNOFILE=), or plan fewer users".to_owned())
            }
            Self::FaultsInGate(_) => Some("leave the scenario out, or name one without faults".to_owned()),
            Self::BadRecording { .. } => {
                Some("name the slices.jsonl that `squall gate` left in its folder".to_owned())
            }
            Self::FaultsInCapacity { .. } => {
                Some("leave one fault in a copy of it, and name that file".to_owned())
            }
            Self::Run(RunError::Unrested(_)) => Some(
                "the writers carry less than was asked of them: see their logs, or raise settle_limit_s in the scenario"
                    .to_owned(),
            ),
            Self::NoFigures(_) => {
                Some("name the folder that `squall gate` or `squall capacity` wrote to (--out)".to_owned())
            }
            Self::Panicked => Some("please report it with what is printed above".to_owned()),
            Self::Run(RunError::Unsupported { .. }) => {
                Some("choose another --provider or another scenario".to_owned())
            }
            _ => None,
        }
    }
}

/// A [`CliError`] as miette shows it: the chain of causes and the next step.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shown(String, #[source] Option<Box<Shown>>, Option<String>);

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.2.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }
}

fn chain(error: &dyn std::error::Error, help: Option<String>) -> Shown {
    let source = error.source().map(|source| Box::new(chain(source, None)));
    Shown(error.to_string(), source, help)
}

/// Shows an error and gives its exit code.
pub(super) fn show(refused: CliError) -> Exit {
    let exit = refused.exit();
    if exit == Exit::Interrupted {
        tell(&refused.to_string());
        return exit;
    }
    let help = refused.next_step();
    let theme = if colour_of(&std::io::stderr()) {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut text = String::new();
    let shown = match &refused {
        // Points into its file by itself.
        CliError::Scenario(error) => handler.render_report(&mut text, error),
        _ => handler.render_report(&mut text, &chain(&refused, help)),
    };
    if shown.is_err() {
        text = refused.to_string();
    }
    tell(&text);
    exit
}

/// Prints to stdout; a reader that went away (`squall list | head`) is no error.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// How wide a summary is that goes into a file or a pipe.
const FILE_COLUMNS: usize = 100;

/// What stdout can show.
pub(super) fn screen() -> Screen {
    let columns = console::Term::stdout().size_checked();
    let columns = columns.map_or(FILE_COLUMNS, |(_, columns)| usize::from(columns));
    Screen { colour: colour_of(&std::io::stdout()), columns }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colour {
    /// On a terminal that can show it, unless NO_COLOR is set and not empty.
    Auto,
    /// Into files and pipes too.
    Always,
    /// Nowhere.
    Never,
}

static ASKED: OnceLock<Colour> = OnceLock::new();

/// What the command line asked for. It wins over the environment, as no-color.org has it.
pub(super) fn ask_for_colour(asked: Colour) {
    // Only the first call counts; there is one.
    let _ = ASKED.set(asked);
}

fn colour_of(stream: &impl IsTerminal) -> bool {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let asked = ASKED.get().copied().unwrap_or(Colour::Auto);
    coloured(asked, stream.is_terminal(), &variable("NO_COLOR"), &variable("TERM"))
}

fn coloured(asked: Colour, terminal: bool, no_color: &str, term: &str) -> bool {
    match asked {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && no_color.is_empty() && term != "dumb",
    }
}

/// A seed nobody chose. Reported in the plan, so the run can be repeated.
pub(super) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mixed = now.as_nanos() ^ (u128::from(std::process::id()) << 64);
    // Short enough to be typed again.
    u64::try_from(mixed % 1_000_000_007).unwrap_or(1)
}

/// Our own diagnostics: off unless asked for with `SQUALL_LOG=harness=debug`.
pub(super) fn quiet_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SQUALL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off,harness=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be told by `eprintln!`, and so by a panic where stderr is closed.
        .log_internal_errors(false);
    // A second call (tests) is refused and changes nothing.
    let _ = subscriber.try_init();
}

/// Writes a file that was asked for.
pub(super) fn write(file: &Path, text: &str) -> Result<(), CliError> {
    fs::write(file, text).map_err(|source| CliError::Write { path: file.display().to_string(), source })
}

/// Ctrl-C and SIGTERM ask everything to come down in order; a second one changes nothing but says so.
pub(super) fn cancel_on_signals(cancel: CancellationToken) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Signals)?;
    // Who starts squall with `nohup` wants it to outlive the terminal.
    let mut hang_up = match os::process::ignores(Signal::SIGHUP) {
        true => None,
        false => Some(signal(SignalKind::hangup()).map_err(CliError::Signals)?),
    };
    tokio::spawn(async move {
        loop {
            let came = tokio::select! {
                came = interrupt.recv() => came,
                came = terminate.recv() => came,
                Some(came) = async { Some(hang_up.as_mut()?.recv().await) } => came,
            };
            if came.is_none() {
                return;
            }
            let already = cancel.is_cancelled();
            cancel.cancel();
            tell(if already { "still taking everything down …" } else { "taking everything down …" });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_exit_code_that_the_readme_gives_it() {
        let io = || std::io::Error::other("x");
        let recorder = |error| CliError::Run(RunError::Recorder(error));
        let folder = |verb| FolderError::Io { verb, path: "p".into(), source: io() };
        let table = [
            (CliError::MissingFlag("--x"), Exit::Usage),
            (CliError::BadMessage("x".into()), Exit::Usage),
            (CliError::Folder(folder("read")), Exit::Usage),
            (CliError::Folder(folder("write")), Exit::Environment),
            (CliError::Judge(JudgeError::NoSuchMessage { message: 1, messages: 1 }), Exit::Usage),
            (CliError::Judge(JudgeError::Folder(folder("read"))), Exit::Usage),
            (CliError::Run(RunError::Judge(JudgeError::Folder(folder("write")))), Exit::Environment),
            (CliError::Run(RunError::Interrupted), Exit::Interrupted),
            (CliError::Run(RunError::Unsupported { provider: "p".into(), why: "w".into() }), Exit::Usage),
            (CliError::Run(RunError::Descriptors { needed: 2, most: 1 }), Exit::Environment),
            (CliError::Environment(EnvironmentError::NoAddresses), Exit::Environment),
            (recorder(RecorderError::Write { path: "p".into(), source: io() }), Exit::Environment),
            (recorder(RecorderError::Panicked), Exit::Bug),
            (recorder(RecorderError::Held { limit_s: 1 }), Exit::Bug),
            (CliError::Judge(JudgeError::Panicked("x".into())), Exit::Bug),
            (CliError::Run(RunError::Judge(JudgeError::Panicked("x".into()))), Exit::Bug),
            (CliError::Panicked, Exit::Bug),
            (CliError::Runtime(io()), Exit::Bug),
        ];
        for (refused, exit) in table {
            assert_eq!(refused.exit(), exit, "{refused:?}");
        }
    }

    #[test]
    fn colours_are_asked_for_as_no_color_org_has_it() {
        let auto = |terminal, no_color, term| coloured(Colour::Auto, terminal, no_color, term);
        assert!(auto(true, "", "xterm"), "an empty NO_COLOR is none");
        assert!(!auto(true, "1", "xterm") && !auto(true, "", "dumb") && !auto(false, "", "xterm"));
        assert!(coloured(Colour::Always, false, "1", "dumb"), "the command line wins");
        assert!(!coloured(Colour::Never, true, "", "xterm"));
    }
}
