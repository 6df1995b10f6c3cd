//! Step 10: from a run's folder to its verdict and report. Needs no cluster, so it can be done again at any time.

use crate::{
    checkers::{self, Case, Judgement, Verdict, story},
    exit::Exit,
    history::{History, file::HistoryError},
    plan::Arrivals,
    report::{Report, store, terminal},
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
    /// The report cannot be written.
    #[error(transparent)]
    Report(#[from] store::StoreError),
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
    report: Report,
    page: String,
}

impl Judged {
    /// The whole judgement.
    pub fn judgement(&self) -> &Judgement {
        &self.report.judgement
    }

    /// The report, as in `result.json`.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The exit code it deserves.
    pub fn exit(&self) -> Exit {
        self.report.judgement.exit()
    }

    /// Names of the checkers that found a counter-example.
    pub fn violated_claims(&self) -> Vec<String> {
        self.claims_with(Verdict::Violated)
    }

    /// Names of the checkers that could not tell.
    pub fn unknown_claims(&self) -> Vec<String> {
        self.claims_with(Verdict::Unknown)
    }

    fn claims_with(&self, verdict: Verdict) -> Vec<String> {
        let findings = self.judgement().findings.iter();
        findings.filter(|finding| finding.verdict == verdict).map(|finding| finding.checker.clone()).collect()
    }

    /// One line for a table of runs.
    pub fn headline(&self) -> String {
        self.report.headline()
    }

    /// The story of the run for a terminal.
    pub fn summary(&self, colour: bool) -> String {
        terminal::render(&self.report, &self.page, colour)
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
    let case = Case::new(&plan, &arrivals, &history);
    let judgement = checkers::check_with(&checkers::ALL, &case);
    let report = Report::of(&case, &judgement, folder.facts());
    store::write(&report, folder.path())?;
    Ok(Judged { report, page: folder.path().join(store::PAGE).display().to_string() })
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
    Ok(terminal::render_story(&story::story(&case, message), case.load_us()))
}
