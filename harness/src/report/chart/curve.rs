//! One quantity against another: what grows to the right, what it costs upwards.

use std::fmt::Write;

use super::{BOTTOM, LEFT, RIGHT, Scale, TOP, WIDTH, axis, escape, number, open};

const HEIGHT: f64 = 320.0;

/// Points of one kind, joined by a line.
#[derive(Debug, Clone)]
pub struct Series {
    /// For the legend.
    pub label: &'static str,
    /// CSS class that gives its colour.
    pub class: &'static str,
    /// Joined from left to right.
    pub line: Vec<(f64, f64)>,
    /// Drawn as dots, joined or not.
    pub dots: Vec<(f64, f64)>,
}

impl Series {
    /// Points that are dots, and joined.
    pub fn through(label: &'static str, class: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { label, class, line: points.clone(), dots: points }
    }
}

/// A chart of some series over what grows.
#[derive(Debug, Clone)]
pub struct Curve<'a> {
    /// Above it.
    pub title: &'a str,
    /// What grows.
    pub x_unit: &'a str,
    /// What it costs, in which unit.
    pub y_unit: &'a str,
    /// How costs become heights.
    pub scale: Scale,
    /// The series.
    pub series: &'a [Series],
    /// Heights that mean something: an objective.
    pub limits: &'a [(String, f64)],
    /// Places that mean something: the capacity, the knee.
    pub marks: &'a [(String, f64)],
}

impl Curve<'_> {
    /// As a figure.
    pub fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|it| it.line.iter().chain(&it.dots).copied());
        let heights =
            || points().map(|it| it.1).chain(self.limits.iter().map(|it| it.1)).filter(|it| *it > 0.0);
        let highest = heights().fold(f64::MIN_POSITIVE, f64::max);
        let (y_ticks, y_part) = axis(self.scale, heights().fold(highest, f64::min), highest);
        let widest = points().map(|it| it.0).chain(self.marks.iter().map(|it| it.1)).fold(1e-9, f64::max);
        let (x_ticks, x_part) = axis(Scale::Linear, 0.0, widest);
        let bottom = HEIGHT - BOTTOM;
        let x = |value: f64| LEFT + x_part(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| bottom - y_part(value) * (bottom - TOP);

        let mut svg = open(self.title, HEIGHT);
        for tick in &y_ticks {
            level(&mut svg, "grid", y(*tick));
            text(&mut svg, "tick end", LEFT - 8.0, y(*tick) + 3.5, &number(*tick));
        }
        text(&mut svg, "tick", LEFT, 12.0, self.y_unit);
        for tick in &x_ticks {
            text(&mut svg, "tick middle", x(*tick), bottom + 16.0, &number(*tick));
        }
        text(&mut svg, "tick end", WIDTH - RIGHT, 12.0, self.x_unit);
        for (label, height) in self.limits {
            level(&mut svg, "limit", y(*height));
            text(&mut svg, "label", LEFT + 6.0, y(*height) - 5.0, label);
        }
        for (row, (label, place)) in (0_u8..).zip(self.marks) {
            let at = x(*place);
            let _ = write!(
                svg,
                "<line class=\"limit\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            // Right of its line, or left of it where there is no room; one below the other.
            let (beside, anchor) =
                if at < WIDTH * 0.62 { (at + 6.0, "label") } else { (at - 6.0, "label end") };
            text(&mut svg, anchor, beside, bottom - 10.0 - 16.0 * f64::from(row), label);
        }
        for it in self.series {
            let path: Vec<String> =
                it.line.iter().map(|(a, b)| format!("{:.1} {:.1}", x(*a), y(*b))).collect();
            if !path.is_empty() {
                let _ = write!(svg, "<path class=\"line {}\" d=\"M{}\"/>", it.class, path.join("L"));
            }
            for (a, b) in &it.dots {
                let _ = write!(
                    svg,
                    "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    it.class,
                    x(*a),
                    y(*b)
                );
            }
        }
        svg.push_str("</svg>");
        let legend: String = self
            .series
            .iter()
            .map(|it| format!("<span><i class=\"{}\"></i>{}</span>", it.class, escape(it.label)))
            .collect();
        format!(
            "<figure><figcaption>{}<span class=\"legend\">{legend}</span></figcaption>{svg}</figure>",
            escape(self.title)
        )
    }
}

fn level(svg: &mut String, class: &str, at: f64) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
        WIDTH - RIGHT
    );
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_limits_and_marks_are_where_they_belong() {
        let series = [Series {
            label: "ack p99",
            class: "c-p99",
            line: vec![(0.0, 1.0), (100.0, 10.0)],
            dots: vec![(100.0, 10.0)],
        }];
        let (limits, marks) = ([("100 ms".to_owned(), 100.0)], [("capacity < here".to_owned(), 50.0)]);
        let curve = Curve {
            title: "t",
            x_unit: "messages/s",
            y_unit: "ms",
            scale: Scale::Log,
            series: &series,
            limits: &limits,
            marks: &marks,
        };
        let drawn = curve.draw();
        // 1 is the lowest tick and 100 the highest; 150 is the last tick to the right.
        assert!(drawn.contains("d=\"M62.0 294.0L650.0 158.0\""), "{drawn}");
        assert!(drawn.contains("cx=\"650.0\" cy=\"158.0\""), "{drawn}");
        assert!(drawn.contains("capacity &lt; here") && drawn.contains("y1=\"22.0\""), "{drawn}");
    }

    #[test]
    fn without_points_there_is_an_empty_chart() {
        let curve = Curve {
            title: "t",
            x_unit: "",
            y_unit: "",
            scale: Scale::Log,
            series: &[],
            limits: &[],
            marks: &[],
        };
        for curve in [Curve { scale: Scale::Linear, ..curve.clone() }, curve] {
            let drawn = curve.draw();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
    }
}
