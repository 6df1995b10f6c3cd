//! What gates leave, looked at afterwards: figures over time, and how often a gate is wrong where a recording was made.

use std::fs;

use crate::command_line::{ended, squall};

#[test]
fn runs_that_became_dearer_are_named_and_a_folder_without_any_is_refused() {
    let (state, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trend = || ended(squall(state.path()).arg("trend").arg(reports.path()));
    let (code, said) = trend();
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no gate and no capacity search") && said.contains("--out"), "{said}");

    for run in 10..30 {
        let folder = reports.path().join(format!("gate/202601{run}-120000-7"));
        fs::create_dir_all(&folder).unwrap();
        let value = if run < 20 { 20.0 } else { 23.0 } + f64::from(run % 3) * 0.1;
        let figures = format!(
            r#"[{{"name":"node CPU per receipt","unit":"µs","value":{value},"range":"± 0.1","extra":"here"}}]"#
        );
        fs::write(folder.join("benchmark.json"), figures).unwrap();
    }
    let (code, said) = trend();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("changed at 20260120-120000-7: 20.1"), "{said}");
    assert!(said.contains("No verdict"), "{said}");
    let page = fs::read_to_string(reports.path().join("trend.html")).unwrap();
    assert!(page.contains("node CPU per receipt") && page.contains("20260120-120000-7"), "{page}");

    fs::write(reports.path().join("gate/20260110-120000-7/benchmark.json"), "[").unwrap();
    let (code, said) = trend();
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("20260110-120000-7/benchmark.json is not a list of figures"), "{said}");
}

#[test]
fn a_recording_tells_how_often_the_gate_is_wrong_without_measuring_again() {
    let (state, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/gate-one-build.jsonl");
    let calibrate = |recording: &str| {
        ended(
            squall(state.path())
                .args(["gate", "--calibrate", "--recording", recording, "--out"])
                .arg(out.path()),
        )
    };
    let (code, said) = calibrate(recording);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("one build against itself") && said.contains("node CPU per receipt"), "{said}");
    let page = fs::read_to_string(out.path().join("calibration.html")).unwrap();
    assert!(page.contains("took a second look") && page.contains("<svg"), "{page}");

    for (text, why) in [("", "it is empty"), ("{}\n", "line 1")] {
        let bad = out.path().join("bad.jsonl");
        fs::write(&bad, text).unwrap();
        let (code, said) = calibrate(bad.to_str().unwrap());
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(why) && said.contains("slices.jsonl"), "{said}");
    }
    assert_eq!(calibrate("/nowhere.jsonl").0, 64);
}
