//! `squall trend`: from the folders that gates leave to a page.

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
