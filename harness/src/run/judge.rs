//! Step 10: from a run's folder to its verdict and report. Needs no cluster, so it can be done again at any time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    checkers::{self, Case, Judgement, Verdict, story},
    exit::Exit,
    history::{History, file::HistoryError},
    plan::Arrivals,
    report::{
        Report, store,
        terminal::{self, Screen},
    },
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
    /// A defect of squall: the history is whole, and can be judged by a better one.
    #[error("the judging itself failed: {0}")]
    Panicked(String),
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
    pub fn summary(&self, screen: Screen) -> String {
        terminal::render(&self.report, &self.page, screen)
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
    // Nothing that is left half done by a panic is used afterwards.
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let case = Case::new(&plan, &arrivals, &history);
        let judgement = checkers::check_with(&checkers::ALL, &case);
        Report::of(&case, &judgement, folder.facts())
    }));
    let report = judged.map_err(|panic| JudgeError::Panicked(checkers::panic_message(panic.as_ref())))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::fixture::Run,
        clock::Clock,
        history::{EventKind, HistoryWriter, Ledger, Phase},
    };

    fn verdict(run: &Run, history: &History) -> Verdict {
        checkers::check(&run.plan, &run.arrivals, history).verdict
    }

    /// Message 3 of 40 is nowhere, or reaches one member less.
    fn with_something_missing() -> [Run; 3] {
        [
            Run::clean(40).without(|m| matches!(m, EventKind::InKafka { message: 3, .. })),
            Run::clean(40).without(|m| matches!(m, EventKind::InPostgres { message: 3, .. })),
            Run::clean(40).without(|m| matches!(m, EventKind::Received { user: 1, message: 3, .. })),
        ]
    }

    #[test]
    fn a_history_that_says_it_has_holes_convicts_nobody_of_what_is_missing() {
        let lost = || EventKind::Lost { events: 7 };
        for run in with_something_missing() {
            assert_eq!(verdict(&run, &run.history()), Verdict::Violated);
            let holes = run.with(lost());
            let history = holes.history();
            assert_eq!(verdict(&holes, &history), Verdict::Unknown);
        }
        // Nor does it acquit; and what is there is there.
        let run = Run::clean(40).with(lost()).with(EventKind::Lost { events: 5 });
        let history = run.history();
        assert_eq!(verdict(&run, &history), Verdict::Unknown);
        assert_eq!(
            history.doubts(),
            ["12 events did not fit into the recorder's queue: the history has holes"]
        );
        let twice = run.with(Run::row(3, 3, true));
        assert_eq!(verdict(&twice, &twice.history()), Verdict::Violated);
    }

    #[test]
    fn what_still_moved_at_the_end_is_missed_by_nobody_and_what_stood_still_is() {
        let settled = |m: &EventKind| matches!(m, EventKind::Phase(Phase::Settled));
        let why = || "40 of 90 records are not stored".to_owned();
        for run in with_something_missing() {
            let moving = run.clone().inserted_before(settled, EventKind::Unsettled { why: why() });
            assert_eq!(verdict(&moving, &moving.history()), Verdict::Unknown);
            let stuck = run.inserted_before(settled, EventKind::Note { text: why() });
            assert_eq!(verdict(&stuck, &stuck.history()), Verdict::Violated);
        }
    }

    #[test]
    fn an_entry_with_another_sender_is_nobodys() {
        let run = Run::clean(40);
        let detail = "0@3: room-0/m3 with sender user-9, sent by user-3".to_owned();
        let foreign = EventKind::Foreign { ledger: Ledger::Kafka, detail };
        let run = run.replaced(|m| matches!(m, EventKind::InKafka { message: 3, .. }), foreign);
        let history = run.history();
        let judgement = checkers::check(&run.plan, &run.arrivals, &history);
        assert_eq!(judgement.finding("isolation").unwrap().verdict, Verdict::Violated);
    }

    #[test]
    fn holes_are_in_the_file_for_whoever_judges_it_later() {
        for (lost, expected) in [(0, Verdict::Holds), (1, Verdict::Unknown)] {
            let run = Run::clean(40);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("history");
            let (recorder, writer) = HistoryWriter::create(&path, Clock::start()).unwrap();
            for event in &run.events {
                recorder.record_at(recorder.clock().instant_at(event.at_us), event.what.clone());
            }
            recorder.lose(lost);
            drop(recorder);
            writer.finish().unwrap();
            let history = History::read(&run.plan, &path).unwrap();
            assert_eq!(verdict(&run, &history), expected, "{lost} lost");
        }
    }
}
