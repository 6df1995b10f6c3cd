//! The gate's operating characteristic: how much dearer nodes may become before it says so, and how often it cannot tell.

use std::fmt::Write;

use super::{
    Metric,
    calibration::{Draw, Rates, resample},
    slice::Slice,
};
use crate::report::{
    chart::{Curve, Scale, Series},
    html,
};

/// By how many per cent the candidate's nodes are made dearer, from point to point, and at most.
const STEP_PERCENT: u32 = 2;
const MOST_PERCENT: u32 = 20;

/// What gates drawn from a recording of one build say when its nodes cost so many per cent more.
pub fn characteristic(recording: &[Slice], gates: u32) -> Vec<(u32, Rates)> {
    let percents = (0..=MOST_PERCENT / STEP_PERCENT).map(|nth| nth * STEP_PERCENT);
    let rates = |percent: u32| {
        let draw = Draw::OneBuild { node_cost: f64::from(percent) / 100.0 };
        Some((percent, resample(recording, draw, gates, 1)?))
    };
    percents.filter_map(rates).collect()
}

/// As a page.
pub fn page(points: &[(u32, Rates)], setting: &str) -> String {
    let series = |label, class, share: fn(&Rates) -> f64| {
        let points = points.iter().map(|(percent, rates)| (f64::from(*percent), share(rates) * 100.0));
        Series::through(label, class, points.collect())
    };
    let curve = Curve {
        title: "What the gate says, by how much dearer the candidate's nodes are",
        x_unit: "% more processor time of nodes",
        y_unit: "% of gates",
        scale: Scale::Linear,
        series: &[
            series("slower", "c-acked", |rates| rates.slower),
            series("unknown", "c-open", |rates| rates.unknown),
            series("took a second look", "c-sent", |rates| rates.second_look),
        ],
        limits: &[("95 %".to_owned(), 95.0)],
        marks: &[
            ("floor".to_owned(), Metric::NodeCpuPerReceipt.floor() * 100.0),
            ("to be found".to_owned(), 10.0),
        ],
    };
    let mut page = html::begin("the gate's characteristic");
    let _ = write!(
        page,
        "<header><p class=\"kicker\">squall · gate</p><h1>How often the gate is wrong here</h1>\
         <p class=\"setting\">{setting}</p></header><section>{}</section>",
        curve.draw()
    );
    page.push_str(html::END);
    page
}
