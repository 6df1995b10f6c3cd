//! How figures went over many runs, and where they changed for good. Advice, never a verdict: two runs of one build on shared
//! machines differ by more than a regression, and what changed may be the machine. `squall gate` judges.

use std::fmt::Write;

use crate::report::{
    chart::{Curve, Scale, Series, escape},
    html,
};

/// Below this many runs on each side a change is not looked for.
const RUNS_MIN: usize = 4;
/// So many runs on either side count: what was long ago says nothing about a change.
const WINDOW: usize = 16;
/// How often a change may be seen in a figure that has none.
const ALPHA: f64 = 0.01;

/// One figure over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which run, and what it was there; in order of time.
    pub runs: Vec<(String, f64)>,
}

/// From one run to the next a figure changed for good.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Index of the first run after it.
    pub at: usize,
    /// Median of the runs before it, back to the change before.
    pub before: f64,
    /// Median of those from it on, up to the next change.
    pub after: f64,
}

impl Figure {
    /// Where it changed for good, in order: where the runs before and after differ most by rank (Mann and Whitney), and again on
    /// both sides of that. One run that went wrong is no change.
    pub fn changes(&self) -> Vec<Change> {
        let values: Vec<f64> = self.runs.iter().map(|run| run.1).collect();
        let mut splits = Vec::new();
        split(&values, 0, values.len(), &mut splits);
        splits.sort_unstable();
        let ends = |nth: usize| splits.get(nth + 1).copied().unwrap_or(values.len());
        let mut from = 0;
        let mut changes = Vec::new();
        for (nth, at) in splits.iter().copied().enumerate() {
            let (before, after) = (median(&values[from..at]), median(&values[at..ends(nth)]));
            changes.push(Change { at, before, after });
            from = at;
        }
        changes
    }
}

/// Finds the likeliest change among values that begin at index `from`, and looks again on both sides of it. `looks` is how many
/// places are looked at in all.
fn split(values: &[f64], from: usize, looks: usize, splits: &mut Vec<usize>) {
    let runs = values.len();
    if runs < 2 * RUNS_MIN {
        return;
    }
    let far = |at: usize| {
        let (before, after) = values.split_at(at);
        far_apart(&before[at.saturating_sub(WINDOW)..], &after[..after.len().min(WINDOW)])
    };
    let likeliest = (RUNS_MIN..=runs - RUNS_MIN).map(|at| (at, far(at))).max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((at, z)) = likeliest else { return };
    // Of the normal distribution, both tails beyond z, from above.
    let p = 2.0 / (z * std::f64::consts::TAU.sqrt()) * (-z * z / 2.0).exp();
    if z <= 0.0 || p > ALPHA / looks as f64 {
        return;
    }
    splits.push(from + at);
    split(&values[..at], from, looks, splits);
    split(&values[at..], from + at, looks, splits);
}

/// By how many standard deviations the ranks of two samples differ.
fn far_apart(before: &[f64], after: &[f64]) -> f64 {
    let pair = |a: &f64, b: &f64| f64::from(i32::from(a > b) - i32::from(a < b)) / 2.0;
    let difference: f64 = before.iter().map(|a| after.iter().map(|b| pair(a, b)).sum::<f64>()).sum();
    let (a, b) = (before.len() as f64, after.len() as f64);
    difference.abs() / (a * b * (a + b + 1.0) / 12.0).sqrt()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// One line a figure, and one for each of its changes.
pub fn terminal(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let last = figure.runs.last().map_or(0.0, |run| run.1);
        let _ = writeln!(
            text,
            "{:<28} {last:>10.3} {} in the last of {}",
            figure.name,
            figure.unit,
            figure.runs.len()
        );
        for line in said(figure) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text.push_str("\nNo verdict: figures of runs apart from each other. `squall gate` measures two builds in pairs, and judges.\n");
    text
}

fn said(figure: &Figure) -> Vec<String> {
    let say = |change: &Change| {
        let Change { at, before, after } = change;
        let run = figure.runs.get(*at).map_or("?", |run| run.0.as_str());
        let share = (after / before - 1.0) * 100.0;
        format!("changed at {run}: {before:.3} to {after:.3} {} ({share:+.1} %)", figure.unit)
    };
    figure.changes().iter().map(say).collect()
}

/// One file, no script, no network.
pub fn html(figures: &[Figure]) -> String {
    let mut page = html::begin("trend");
    page.push_str(
        "<header><p class=\"kicker\">squall · trend</p><h1>Figures over runs</h1><p class=\"setting\">Advice, never a verdict: \
         the runs were not measured in pairs.</p></header>"
    );
    for figure in figures {
        let place = |nth: usize| (nth + 1) as f64;
        let line: Vec<(f64, f64)> =
            figure.runs.iter().enumerate().map(|(nth, run)| (place(nth), run.1)).collect();
        let series = [Series::through("each run", "c-p50", line)];
        let marks: Vec<(String, f64)> = figure
            .changes()
            .iter()
            .map(|it| (format!("{:+.1} %", (it.after / it.before - 1.0) * 100.0), place(it.at) - 0.5))
            .collect();
        let curve = Curve {
            title: &figure.name,
            x_unit: "run",
            y_unit: &figure.unit,
            scale: Scale::Linear,
            series: &series,
            limits: &[],
            marks: &marks,
        };
        let _ = write!(page, "<section>{}<ul>", curve.draw());
        for line in said(figure) {
            let _ = write!(page, "<li>{}</li>", escape(&line));
        }
        page.push_str("</ul></section>");
    }
    page.push_str(html::END);
    page
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn figure(values: impl IntoIterator<Item = f64>) -> Figure {
        let runs = values.into_iter().enumerate().map(|(nth, value)| (format!("run-{nth}"), value)).collect();
        Figure { name: "node CPU per receipt".into(), unit: "µs".into(), runs }
    }

    /// Runs that vary by some per cent, from one level to another.
    fn noisy(seed: u64, levels: &[(usize, f64)]) -> Figure {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut values = Vec::new();
        for (runs, level) in levels {
            values.extend((0..*runs).map(|_| level * (1.0 + 0.06 * (rng.random::<f64>() - 0.5))));
        }
        figure(values)
    }

    #[test]
    fn a_level_that_stays_has_no_change_and_a_step_is_found_where_it_is() {
        let (mut alarms, mut found) = (0, 0);
        for seed in 0..200 {
            alarms += u32::from(!noisy(seed, &[(40, 20.0)]).changes().is_empty());
            let changes = noisy(seed, &[(20, 20.0), (15, 22.0)]).changes();
            found += u32::from(matches!(&changes[..], [one] if one.at.abs_diff(20) <= 1));
        }
        assert!(alarms <= 4, "{alarms} of 200");
        assert!(found >= 190, "{found} of 200");
    }

    #[test]
    fn there_and_back_is_two_changes_and_one_bad_run_is_none() {
        let changes = noisy(3, &[(15, 20.0), (15, 25.0), (15, 20.0)]).changes();
        assert_eq!(changes.iter().map(|it| it.at).collect::<Vec<_>>(), [15, 30], "{changes:?}");
        assert!((changes[0].after / changes[0].before - 1.25).abs() < 0.04, "{changes:?}");
        let mut one_bad = noisy(4, &[(30, 20.0)]);
        one_bad.runs[14].1 = 90.0;
        assert_eq!(one_bad.changes(), []);
        assert_eq!(figure([1.0, 1.0, 9.0]).changes(), []);
        assert_eq!(figure(vec![1.0; 30]).changes(), []);
    }

    #[test]
    fn every_form_names_the_run_that_it_changed_with() {
        let figures = [noisy(3, &[(10, 20.0), (10, 25.0)])];
        assert!(terminal(&figures).contains("changed at run-10: "), "{}", terminal(&figures));
        let page = html(&figures);
        assert!(page.contains("changed at run-10: ") && !page.contains("NaN"), "{page}");
    }
}
