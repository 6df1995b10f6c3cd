//! Step 10: from a run's folder to its verdict and report. Needs no cluster, so it can be done again at any time.

use crate::{
    checkers::{self, Case, Judgement, story},
    exit::Exit,
    history::{History, file::HistoryError},
    plan::Arrivals,
    run::folder::{FolderError, RunFolder},
};

/// Why a run cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// There is no such message.
    #[error("the plan has {messages} messages; there is no m{message}")]
    NoSuchMessage {
        /// Asked for.
        message: u32,
        /// In the plan.
        messages: u32,
    },
}

/// A judged run.
#[derive(Debug)]
pub struct Judged {
    judgement: Judgement,
}

impl Judged {
    /// The whole judgement.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// The exit code it deserves.
    pub fn exit(&self) -> Exit {
        self.judgement.exit()
    }

    /// One line for a table of runs.
    pub fn headline(&self) -> String {
        let worst = self.judgement.findings.iter().filter(|finding| finding.verdict == self.judgement.verdict);
        match worst.map(|finding| format!("{}: {}", finding.checker, finding.summary)).next() {
            Some(said) if self.exit() != Exit::Holds => said,
            _ => "everything holds".to_owned(),
        }
    }

    /// The story of the run for a terminal.
    pub fn summary(&self, _colour: bool) -> String {
        let mut text = String::new();
        for finding in &self.judgement.findings {
            text += &format!("{:<12} {:<9} {}\n", finding.checker, finding.verdict.word(), finding.summary);
            for d in finding.details.iter().take(5) {
                text += &format!("      {}\n", d.text);
            }
        }
        text
    }
}

/// Judges a run and writes its report into its folder.
///
/// # Errors
///
/// [`JudgeError`] when there is nothing to judge.
pub fn judge(folder: &RunFolder) -> Result<Judged, JudgeError> {
    let plan = folder.plan()?;
    let arrivals = Arrivals::of(&plan);
    let history = History::read(&plan, &folder.history())?;
    let judgement = checkers::check(&plan, &arrivals, &history);
    Ok(Judged { judgement })
}

/// One message's whole story.
///
/// # Errors
///
/// [`JudgeError`], also for a message that is not in the plan.
pub fn story(folder: &RunFolder, message: u32) -> Result<String, JudgeError> {
    let plan = folder.plan()?;
    let arrivals = Arrivals::of(&plan);
    let messages = u32::try_from(arrivals.list.len()).unwrap_or(u32::MAX);
    if message >= messages {
        return Err(JudgeError::NoSuchMessage { message, messages });
    }
    let history = History::read(&plan, &folder.history())?;
    let case = Case::new(&plan, &arrivals, &history);
    let story = story::story(&case, message);
    let lines = story.lines.iter().map(|line| {
        let at = line.at_us.map_or_else(|| "at the end".to_owned(), |at_us| case.at(at_us));
        format!("{at:>12}  {}", line.text)
    });
    Ok(std::iter::once(story.name.clone()).chain(lines).collect::<Vec<_>>().join("\n"))
}
