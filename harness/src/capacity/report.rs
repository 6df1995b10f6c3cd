//! What searches have found: one value, and the forms in which people and tools read it.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};

use super::{Bounds, Objectives, Outcome, Trial};
use crate::{
    exit::Exit,
    report::{
        RunFacts,
        chart::{Curve, Scale, Series, escape},
        html,
    },
};

/// One search: what it tried, and where it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Searched {
    /// In the order they were made.
    pub trials: Vec<(Trial, Outcome)>,
    /// Where it ended.
    pub bounds: Bounds,
}

/// `capacity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Where and with what it was measured.
    pub facts: RunFacts,
    /// Name of the scenario.
    pub scenario: String,
    /// Everything that did not vary, in one line.
    pub setting: String,
    /// What is counted.
    pub unit: String,
    /// The fault that was in force in every trial.
    pub under: Option<String>,
    /// Where everything random came from.
    pub seed: u64,
    /// What had to be met.
    pub objectives: Objectives,
    /// A load that the caller demands.
    pub at_least: Option<u32>,
    /// Each on services and a cluster of its own.
    pub searches: Vec<Searched>,
    /// All of them came to their end; what was interrupted has no answer.
    pub finished: bool,
}

impl Capacity {
    /// The middle one of the searches, by what they hold to be met; the lower of two.
    pub fn bounds(&self) -> Bounds {
        let mut bounds: Vec<Bounds> = self.searches.iter().map(|it| it.bounds).collect();
        bounds.sort_by_key(|it| it.lower);
        bounds.get(bounds.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// Lowest and highest load that a search held to be met.
    fn range(&self) -> Option<(u32, u32)> {
        let lowers = || self.searches.iter().map(|it| it.bounds.lower.unwrap_or(0));
        Some((lowers().min()?, lowers().max()?))
    }

    /// Where receipts for each millisecond of waiting were most: beyond it, waiting grows faster than what is carried.
    pub fn knee(&self) -> Option<u32> {
        let power = |trial: &Trial| trial.receipts_per_s() / trial.ack.p50_us.max(1) as f64;
        self.trials().max_by(|a, b| power(a).total_cmp(&power(b))).map(|trial| trial.load)
    }

    /// All that measured something.
    fn trials(&self) -> impl Iterator<Item = &Trial> {
        let all = self.searches.iter().flat_map(|it| &it.trials);
        all.filter(|(_, outcome)| !matches!(outcome, Outcome::Void(_))).map(|(trial, _)| trial)
    }

    /// How squall ends.
    pub fn exit(&self) -> Exit {
        let Bounds { lower, upper, given_up } = self.bounds();
        let missed = upper.filter(|_| !given_up);
        match self.at_least {
            Some(wanted) if lower.is_some_and(|lower| lower >= wanted) => Exit::Holds,
            Some(wanted) if missed.is_some_and(|upper| upper <= wanted) => Exit::ObjectiveMissed,
            Some(_) => Exit::Unknown,
            None if lower.is_none() && missed.is_some() => Exit::ObjectiveMissed,
            None if lower.is_none() || given_up => Exit::Unknown,
            None => Exit::Holds,
        }
    }

    /// The answer, in one line.
    pub fn headline(&self) -> String {
        let unit = &self.unit;
        let answer = match self.bounds() {
            Bounds { lower: Some(lower), upper: Some(upper), given_up: false } => {
                format!("{lower} {unit} meet the objectives, {upper} do not")
            }
            Bounds { lower: Some(lower), upper: Some(upper), given_up: true } => format!(
                "{lower} {unit} meet the objectives; at {upper} it could not be told, again and again: the generator or \
                 this machine is the limit, not the cluster"
            ),
            Bounds { lower: Some(lower), upper: None, .. } => {
                format!("{lower} {unit} meet the objectives, and no more were tried")
            }
            Bounds { lower: None, upper: Some(upper), given_up: false } => {
                format!("not even {upper} {unit} meet the objectives")
            }
            Bounds { lower: None, .. } => format!("no trial told anything about {unit}"),
        };
        let under = self.under.as_ref().map_or_else(String::new, |fault| format!("with {fault}: "));
        format!("{under}{answer}")
    }

    /// How far the searches agree, and what was asked for.
    fn details(&self) -> Vec<String> {
        let Objectives { ack_p99_ms, receipt_p99_ms } = self.objectives;
        // What a fault breaks on purpose is no objective.
        let whole = if self.under.is_none() { ", writers keep up, nobody is cut off" } else { "" };
        let mut lines =
            vec![format!("objectives: ack p99 {ack_p99_ms} ms, receipt p99 {receipt_p99_ms} ms{whole}")];
        if let (Some((low, high)), true) = (self.range(), self.searches.len() > 1) {
            lines.push(format!("{} searches found {low} to {high} {}", self.searches.len(), self.unit));
        }
        if let Some(knee) = self.knee() {
            lines
                .push(format!("knee at {knee} {}: most receipts for each millisecond of waiting", self.unit));
        }
        if let Some(wanted) = self.at_least {
            let word = match self.exit() {
                Exit::Holds => "met",
                Exit::ObjectiveMissed => "missed",
                _ => "not decided",
            };
            lines.push(format!("at least {wanted} {} were demanded: {word}", self.unit));
        }
        lines
    }

    /// For a terminal.
    pub fn terminal(&self) -> String {
        let mut text = format!("{}\n{}\n", self.headline(), self.details().join("\n"));
        for (nth, searched) in (1..).zip(&self.searches) {
            let _ = writeln!(
                text,
                "\nsearch {nth}\n{:>14} {:>6} {:>11} {:>12} {:>12} {:>12} {:>6}",
                self.unit, "s", "receipts/s", "ack p50 ms", "ack p99 ms", "rcpt p99 ms", "busy"
            );
            for (trial, outcome) in &searched.trials {
                let _ = writeln!(
                    text,
                    "{:>14} {:>6.1} {:>11.0} {:>12.1} {:>12.1} {:>12.1} {:>4.0} %  {outcome}",
                    trial.load,
                    trial.length_ms as f64 / 1_000.0,
                    trial.receipts_per_s(),
                    ms(trial.ack.p50_us),
                    ms(trial.ack.p99_us),
                    ms(trial.receipt.p99_us),
                    trial.busy * 100.0
                );
            }
        }
        text
    }

    /// For a pull request: the answer, and the middle of the trials of each load.
    pub fn markdown(&self) -> String {
        let mut page = format!("## Capacity: {}\n\n{}.\n\n", self.scenario, self.headline());
        self.details().iter().for_each(|line| page.push_str(&format!("- {line}\n")));
        let _ = writeln!(page, "\n| {} | ack p50 | ack p99 | receipt p99 |\n|--:|--:|--:|--:|", self.unit);
        let columns = [
            self.middles(|it| it.ack.p50_us),
            self.middles(|it| it.ack.p99_us),
            self.middles(|it| it.receipt.p99_us),
        ];
        for (((load, p50), (_, p99)), (_, receipt)) in columns[0].iter().zip(&columns[1]).zip(&columns[2]) {
            let _ = writeln!(page, "| {load:.0} | {p50:.1} ms | {p99:.1} ms | {receipt:.1} ms |");
        }
        let _ = writeln!(page, "\n{}; seed {}.", self.setting, self.seed);
        page
    }

    /// One file, no script, no network.
    pub fn html(&self) -> String {
        let title = format!("capacity: {}", self.scenario);
        let mut page = html::begin(&title);
        let _ = write!(
            page,
            "<header><p class=\"kicker\">squall · {0}</p><h1>{1}</h1><p class=\"setting\">{2}</p></header>",
            escape(&title),
            escape(&self.headline()),
            escape(&self.setting)
        );
        page.push_str("<section><ul>");
        for line in self.details() {
            let _ = write!(page, "<li>{}</li>", escape(&line));
        }
        page.push_str("</ul></section><section>");
        page.push_str(&self.curve());
        page.push_str("</section><section><h2>Trials</h2><div class=\"wide\"><table class=\"numbers\"><tbody><tr><th>search</th>");
        for head in [
            self.unit.as_str(),
            "length",
            "receipts/s",
            "ack p50",
            "ack p99",
            "receipt p99",
            "busy",
            "outcome",
        ] {
            let _ = write!(page, "<th>{}</th>", escape(head));
        }
        for (nth, searched) in (1..).zip(&self.searches) {
            for (trial, outcome) in &searched.trials {
                let _ = write!(
                    page,
                    "</tr><tr><td>{nth}</td><td>{}</td><td>{:.1} s</td><td>{:.0}</td><td>{:.1} ms</td><td>{:.1} ms</td>\
                     <td>{:.1} ms</td><td>{:.0} %</td><td>{}</td>",
                    trial.load,
                    trial.length_ms as f64 / 1_000.0,
                    trial.receipts_per_s(),
                    ms(trial.ack.p50_us),
                    ms(trial.ack.p99_us),
                    ms(trial.receipt.p99_us),
                    trial.busy * 100.0,
                    escape(&outcome.to_string())
                );
            }
        }
        let RunFacts { provider, machine, squall, .. } = &self.facts;
        let _ = write!(
            page,
            "</tr></tbody></table></div></section><section><p>squall {} on {} cores, {} MiB, {}; provider {}; seed {}</p>\
             </section>",
            escape(squall),
            machine.cores,
            machine.memory_mib,
            escape(&machine.kernel),
            escape(provider),
            self.seed
        );
        page.push_str(html::END);
        page
    }

    fn curve(&self) -> String {
        let series = |label, class, of: fn(&Trial) -> u64| Series {
            label,
            class,
            line: self.middles(of),
            dots: self.trials().map(|it| (f64::from(it.load), ms(of(it)))).collect(),
        };
        let series = [
            series("receipt p99", "c-receipt", |it| it.receipt.p99_us),
            series("ack p99", "c-p99", |it| it.ack.p99_us),
            series("ack p50", "c-p50", |it| it.ack.p50_us),
        ];
        let Objectives { ack_p99_ms, receipt_p99_ms } = self.objectives;
        let mut limits = vec![(format!("objective: ack p99 {ack_p99_ms} ms"), ack_p99_ms as f64)];
        if receipt_p99_ms == ack_p99_ms {
            limits = vec![(format!("objective: p99 {ack_p99_ms} ms"), ack_p99_ms as f64)];
        } else {
            limits.push((format!("objective: receipt p99 {receipt_p99_ms} ms"), receipt_p99_ms as f64));
        }
        let mark = |word: &str, load: u32| (format!("{word}: {load}"), f64::from(load));
        let knee = self.knee().map(|knee| mark("knee", knee));
        let marks: Vec<_> =
            knee.into_iter().chain(self.bounds().lower.map(|it| mark("capacity", it))).collect();
        let curve = Curve {
            title: "Latency against load",
            x_unit: &self.unit,
            y_unit: "ms",
            scale: Scale::Log,
            series: &series,
            limits: &limits,
            marks: &marks,
        };
        curve.draw()
    }

    /// For each load the median over its trials, in milliseconds.
    fn middles(&self, of: impl Fn(&Trial) -> u64) -> Vec<(f64, f64)> {
        let mut by_load: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        self.trials().for_each(|it| by_load.entry(it.load).or_default().push(of(it)));
        let middle = |mut values: Vec<u64>| {
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        by_load.into_iter().map(|(load, values)| (f64::from(load), ms(middle(values)))).collect()
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::{super::trial::tests::trial, *};

    fn capacity(lowers: &[Option<u32>]) -> Capacity {
        let objectives = Objectives { ack_p99_ms: 100, receipt_p99_ms: 100 };
        let searches = lowers.iter().map(|lower| {
            let trials = [trial(500, 10), trial(1_000, 25), trial(2_000, 300)];
            Searched {
                trials: trials.into_iter().map(|it| (it.clone(), it.outcome(objectives))).collect(),
                bounds: Bounds { lower: *lower, upper: Some(lower.unwrap_or(2) + 50), given_up: false },
            }
        });
        Capacity {
            facts: RunFacts::here("run", 0, "host"),
            scenario: "a<b".into(),
            setting: "2 nodes".into(),
            unit: "messages/s".into(),
            under: None,
            seed: 7,
            objectives,
            at_least: None,
            searches: searches.collect(),
            finished: true,
        }
    }

    #[test]
    fn the_middle_search_is_the_answer_and_the_others_its_range() {
        let found = capacity(&[Some(1_900), Some(1_000), Some(1_100)]);
        assert_eq!(found.headline(), "1100 messages/s meet the objectives, 1150 do not");
        let text = found.terminal();
        assert!(text.contains("3 searches found 1000 to 1900 messages/s"), "{text}");
        assert!(text.contains("missed: ack p99 300 ms"), "{text}");
        assert_eq!(found.knee(), Some(500));
        assert!(
            found.markdown().contains("| 2000 | 75.0 ms | 300.0 ms | 300.0 ms |"),
            "{}",
            found.markdown()
        );
        let page = found.html();
        assert!(page.contains("capacity: a&lt;b") && page.contains("capacity: 1100"), "{page}");
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Capacity>(&json).unwrap(), found);
    }

    #[test]
    fn what_is_demanded_is_met_missed_or_not_decided() {
        let exit = |at_least, bounds| {
            let mut found = capacity(&[Some(1_000)]);
            found.at_least = at_least;
            found.searches[0].bounds = bounds;
            found.exit()
        };
        let told = Bounds { lower: Some(1_000), upper: Some(1_050), given_up: false };
        let given_up = Bounds { given_up: true, ..told };
        let nothing = Bounds { lower: None, ..told };
        for (at_least, bounds, expected) in [
            (None, told, Exit::Holds),
            (None, given_up, Exit::Unknown),
            (None, nothing, Exit::ObjectiveMissed),
            (None, Bounds::default(), Exit::Unknown),
            (None, Bounds { upper: None, ..told }, Exit::Holds),
            (Some(1_000), told, Exit::Holds),
            (Some(1_000), given_up, Exit::Holds),
            (Some(1_020), told, Exit::Unknown),
            (Some(1_050), told, Exit::ObjectiveMissed),
            (Some(1_050), given_up, Exit::Unknown),
        ] {
            assert_eq!(exit(at_least, bounds), expected, "{at_least:?} {bounds:?}");
        }
    }
}
