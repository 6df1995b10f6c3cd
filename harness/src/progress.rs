//! What a person sees while a run goes on: an indicatif display on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Writes a line to stderr. A reader that went away (`2>&1 | head -1`) is no reason to stop a run, let alone to panic, as
/// `eprintln!` does.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells a person what is going on. Cheap to clone; writes to stderr only.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// A display on a terminal, plain lines when stderr is redirected or the terminal cannot move its cursor.
    pub fn for_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        if dumb || !std::io::stderr().is_terminal() {
            return Self { bar: None, quiet: false };
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner:.cyan} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar), quiet: false }
    }

    /// Says nothing (tests).
    pub fn silent() -> Self {
        Self { bar: None, quiet: true }
    }

    /// A line that stays: something happened.
    pub fn say(&self, line: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(line.as_ref()),
            None => tell(line.as_ref()),
        }
    }

    /// The line that changes: what is happening now. Not shown when there is no terminal.
    pub fn now(&self, line: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(line.into());
        }
    }

    /// True on a terminal, where [`Self::now`] is seen.
    pub fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// Clears the changing line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
