//! Where errors leave: with what to do next, and the documented exit code.

use std::io::{IsTerminal, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    environment::EnvironmentError,
    exit::Exit,
    run::{RunError, folder::FolderError, judge::JudgeError},
    scenario::ScenarioError,
};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
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
    #[error("`{0}` is no KEY=VALUE")]
    BadOption(String),
    #[error("`{0}` is no message id; they look like m123")]
    BadMessage(String),
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} was not violated: there is no failure to minimise")]
    NotViolated(String),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl Refused {
    fn exit(&self) -> Exit {
        match self {
            Self::Scenario(_)
            | Self::MissingFlag(_)
            | Self::BadOption(_)
            | Self::BadMessage(_)
            | Self::NotViolated(_) => Exit::Usage,
            Self::Folder(error) | Self::Run(RunError::Folder(error)) => match error {
                FolderError::Malformed { .. } => Exit::Usage,
                FolderError::Io { verb: "read", .. } => Exit::Usage,
                FolderError::Io { .. } | FolderError::DiskFull { .. } => Exit::Environment,
            },
            Self::Run(RunError::Interrupted) => Exit::Interrupted,
            Self::Run(RunError::Unsupported { .. }) => Exit::Usage,
            Self::Run(_) | Self::Environment(_) | Self::Write { .. } => Exit::Environment,
            Self::Judge(_) => Exit::Unknown,
            Self::Runtime(_) | Self::Signals(_) => Exit::Bug,
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
            Self::Run(RunError::Cluster(_)) => {
                Some("the logs of the run are in its folder, under logs/".to_owned())
            }
            Self::Run(RunError::Recorder(_)) => {
                Some("make room on the disk, or send the run elsewhere with --out DIR".to_owned())
            }
            Self::MissingFlag(_) => Some(
                "the external provider needs --postgres-url, --redis-url and --kafka-brokers, \
                                          or SQUALL_POSTGRES_URL, SQUALL_REDIS_URL and SQUALL_KAFKA_BROKERS"
                    .to_owned(),
            ),
            Self::Run(RunError::Unsupported { .. }) => {
                Some("choose another --provider or another scenario".to_owned())
            }
            _ => None,
        }
    }
}

/// A [`Refused`] as miette shows it: the chain of causes and the next step.
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
pub(super) fn show(refused: Refused) -> Exit {
    let exit = refused.exit();
    if exit == Exit::Interrupted {
        eprintln!("{refused}");
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
        Refused::Scenario(error) => handler.render_report(&mut text, error),
        _ => handler.render_report(&mut text, &chain(&refused, help)),
    };
    if shown.is_err() {
        text = refused.to_string();
    }
    eprintln!("{text}");
    exit
}

/// Prints to stdout; a reader that went away (`squall list | head`) is no error.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

pub(super) fn colour() -> bool {
    colour_of(&std::io::stdout())
}

fn colour_of(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (tests) is refused and changes nothing.
    let _ = subscriber.try_init();
}

/// Ctrl-C and SIGTERM ask everything to come down in order; a second one changes nothing but says so.
pub(super) fn cancel_on_signals(cancel: CancellationToken) -> Result<(), Refused> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Refused::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Refused::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Refused::Signals)?;
    tokio::spawn(async move {
        loop {
            let came = tokio::select! {
                came = interrupt.recv() => came,
                came = terminate.recv() => came,
                came = hang_up.recv() => came,
            };
            if came.is_none() {
                return;
            }
            let already = cancel.is_cancelled();
            cancel.cancel();
            eprintln!(
                "{}",
                if already { "still taking everything down …" } else { "taking everything down …" }
            );
        }
    });
    Ok(())
}
