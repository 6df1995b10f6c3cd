//! A demonstration: every form of a report, of a made-up PostgreSQL outage. `SQUALL_DEMO=DIR cargo test -p harness --lib
//! report` leaves the files there to be looked at.

use crate::{
    checkers::{ALL, Verdict, check_with, fixture::Run},
    history::{EventKind, Reason},
    report::{
        Machine, Report, RunFacts, comparison, html, junit, markdown, store,
        terminal::{self, Screen},
    },
};

fn facts() -> RunFacts {
    RunFacts {
        run_id: "demo-1".into(),
        started_unix_ms: 0,
        provider: "host".into(),
        services: [("kafka", "4.1.0"), ("postgres", "17.2"), ("redis", "7.2.4")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        machine: Machine { cores: 2, memory_mib: 8_192, kernel: "linux 6.1 x86_64".into() },
        squall: "0.1.0".into(),
        profile: "release".into(),
        commit: None,
        start_up_ms: 9_000,
    }
}

fn outage() -> Run {
    let mut run = Run::clean(300).with_postgres_outage(10_000, 15_000);
    run.plan.scenario = "postgres-outage".into();
    run.plan.title = "PostgreSQL is stopped for five seconds under load".into();
    run.plan.expect.writers_pause_within_ms = Some(2_000);
    run.plan.expect.writers_resume_within_ms = Some(5_000);
    run.plan.expect.ack_p99_ms = Some(50);
    // Latency that is not a flat line: a little noise, and slow acks inside the fault.
    run.mapped_at(|at_us, what| match what {
        EventKind::Acked { message, .. } => {
            let slow =
                if (100..155).contains(&message) { 60_000 + u64::from(message % 7) * 31_000 } else { 0 };
            (at_us + u64::from(message * 37 % 11) * 400 + slow, what)
        }
        EventKind::Received { message, user, .. } => {
            (at_us + u64::from((message * 7 + user) % 5) * 700, what)
        }
        other => (at_us, other),
    })
}

fn broken() -> Run {
    let open = |m: u32| (112..119).contains(&m);
    outage()
        .mapped(|what| match what {
            EventKind::Acked { message, .. } if open(message) => {
                EventKind::Indeterminate { message, why: Reason::Timeout }
            }
            other => other,
        })
        .without(|what| match what {
            EventKind::InPostgres { message, .. } => (120..124).contains(message),
            EventKind::Received { message, user: 2, .. } => *message == 140,
            EventKind::InKafka { message: 118, .. } => true,
            _ => false,
        })
        .with(Run::row(200, 200, true))
        .with(EventKind::Unexplained { user: 1, detail: "an id of nobody: <script>alert(1)</script>".into() })
}

fn report(run: &Run) -> Report {
    let history = run.history();
    let case = run.case(&history);
    Report::of(&case, &check_with(&ALL, &case), facts())
}

#[test]
fn every_form_of_a_report_is_written_and_the_result_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let keep = std::env::var_os("SQUALL_DEMO").map(std::path::PathBuf::from);
    for (name, run, expected) in [("good", outage(), Verdict::Holds), ("bad", broken(), Verdict::Violated)] {
        let report = report(&run);
        assert_eq!(report.judgement.verdict, expected, "{:#?}", report.judgement);
        let folder = store::folder(keep.as_deref().unwrap_or(temp.path()), &report.scenario, name);
        store::write(&report, &folder).unwrap();
        for file in ["result.json", "report.md", "report.html", "junit.xml"] {
            assert!(folder.join(file).metadata().unwrap().len() > 500, "{file}");
        }
        assert_eq!(store::read(&folder).unwrap(), report);
        println!(
            "{}",
            terminal::render(
                &report,
                "reports/postgres-outage/demo-1/report.html",
                Screen { colour: keep.is_some(), columns: 100 }
            )
        );
    }
}

#[test]
fn two_runs_side_by_side_have_figures_and_no_verdict() {
    let (calm, broken) = (report(&Run::clean(300)), report(&broken()));
    let table = comparison::table(&calm, &broken);
    assert!(table.contains("messages acked") && table.contains("receipt overall p99, ms"), "{table}");
    assert!(
        table.contains("not the same load")
            && table.contains("No verdict: the runs were not measured in pairs")
    );
    assert!(!comparison::table(&calm, &calm).contains("not the same load"));
}

#[test]
fn a_result_of_another_version_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut report = report(&outage());
    report.format = 99;
    store::write(&report, temp.path()).unwrap();
    assert!(matches!(store::read(temp.path()), Err(store::StoreError::Version { found: 99, .. })));
}

#[test]
fn the_terminal_summary_keeps_to_its_columns_and_to_no_colour() {
    for (run, columns) in
        [outage(), broken()].iter().flat_map(|run| [(run, 60), (run, 77), (run, 100), (run, 300)])
    {
        let text = terminal::render(&report(run), "reports/x", Screen { colour: false, columns });
        assert!(!text.contains('\x1b'));
        for line in text.lines() {
            assert!(line.chars().count() <= columns.min(100), "{columns} columns: {line}");
            assert!(!line.ends_with('…'), "{columns} columns: {line}");
        }
    }
}

#[test]
fn the_page_needs_nothing_else_and_what_came_from_outside_is_escaped() {
    let report = report(&broken());
    let (page, xml) = (html::render(&report), junit::render(&report));
    assert!(!page.contains("<script"), "nothing from a socket may become markup");
    assert!(page.contains("&lt;script&gt;"));
    assert!(
        page.contains("not sent") && !page.contains("without a session"),
        "more than a session may be missing"
    );
    for outside in ["http://", "https://", "src=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(xml.contains("<failure type=\"violated\"") && !xml.contains("<script"));
    assert!(markdown::render(&report).contains("| durability | **violated** |"));
}

#[test]
fn the_junit_of_many_runs_is_one_file_and_a_run_without_verdict_is_an_error_in_it() {
    let without = junit::without_verdict("a<b", "no \u{7}\"port\"");
    let xml = junit::render_all(&[junit::suite(&report(&outage())), without]);
    assert_eq!(xml.matches("<?xml").count(), 1);
    assert_eq!((xml.matches("<testsuite ").count(), xml.matches("</testsuite>").count()), (2, 2));
    assert!(xml.contains("name=\"squall.a&lt;b\" tests=\"1\""), "{xml}");
    assert!(xml.contains("message=\"no \u{fffd}&quot;port&quot;\""), "{xml}");
}

#[test]
fn a_run_that_cannot_tell_says_the_next_step_in_every_form() {
    let report = report(&outage().without(|what| matches!(what, EventKind::Acked { .. })));
    assert_eq!(report.judgement.verdict, Verdict::Unknown);
    let next = "run it again on an idle machine";
    let forms = [
        terminal::render(&report, "reports/x", Screen { colour: false, columns: 100 }),
        html::render(&report),
        markdown::render(&report),
        junit::render(&report),
    ];
    for form in forms {
        assert!(form.contains(next), "{form}");
    }
}
