//! A plot as SVG: a row for each peer, marks on a logarithmic axis with what they lie between, the limit as a line.

use std::fmt::Write;

use crate::report::number::number;
use crate::stats::Spread;

pub struct Plot<'a> {
    pub title: &'a str,
    /// What the axis counts, and which way is better.
    pub axis: &'a str,
    /// What marks of each colour mean; one needs no legend.
    pub series: Vec<String>,
    pub rows: Vec<Line>,
    pub limit: Option<Spread>,
}

/// One peer.
pub struct Line {
    pub name: String,
    /// Set apart from the rest.
    pub ours: bool,
    /// One for each series.
    pub marks: Vec<Option<Spread>>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 26.0;
/// Middle tones, which stand out from white and from black.
const COLOURS: [&str; 5] = ["#2f81f7", "#d97706", "#16a34a", "#dc2626", "#9333ea"];

/// Tones that can be read on white and on black alike; a page's own scheme is nothing a picture can ask for.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#768390}
.title{font-size:14px;font-weight:600}
.ours{font-weight:700;fill:#2f81f7}
.grid{stroke:#8b949e;stroke-opacity:.3}
.limit{stroke:#8b949e;stroke-width:1.5;stroke-dasharray:5 4}
";

impl Plot<'_> {
    /// `None` where nothing was measured.
    pub fn svg(&self) -> Option<String> {
        let marks = self.rows.iter().flat_map(|row| row.marks.iter().flatten()).chain(&self.limit);
        let ends: Vec<_> =
            marks.flat_map(|mark| [mark.lowest, mark.highest]).filter(|end| 0.0 < *end).collect();
        let lowest = ends.iter().copied().min_by(f64::total_cmp)?;
        let highest = ends.iter().copied().max_by(f64::total_cmp)?;
        let axis = Axis { low: lowest / 1.25, high: highest * 1.25 };
        let above = if self.series.len() < 2 && self.limit.is_none() { 0.0 } else { 22.0 };
        let top = 40.0 + above;
        let bottom = top + ROW * self.rows.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n",
            bottom + 48.0,
            escape(self.title)
        );
        text(&mut svg, (12.0, 22.0), "start", "title", self.title);
        self.legend(&mut svg);
        for tick in axis.ticks() {
            let x = axis.x(tick);
            line(&mut svg, (x, top), (x, bottom), "class=\"grid\"");
            text(&mut svg, (x, bottom + 18.0), "middle", "", &plain(tick));
        }
        text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 38.0), "middle", "", self.axis);
        if let Some(limit) = self.limit {
            let x = axis.x(limit.median);
            line(&mut svg, (x, top - 4.0), (x, bottom), "class=\"limit\"");
            text(&mut svg, (x, top - 8.0), "middle", "", &format!("limit {}", number(limit.median)));
        }
        for (index, row) in self.rows.iter().enumerate() {
            self.row(&mut svg, &axis, top + ROW * (index as f64 + 0.5), row);
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn legend(&self, svg: &mut String) {
        if self.series.len() < 2 {
            return;
        }
        let mut x = LEFT;
        for (name, colour) in self.series.iter().zip(COLOURS) {
            dot(svg, (x, 41.0), colour, name);
            text(svg, (x + 10.0, 45.0), "start", "", name);
            x += 34.0 + 7.0 * name.len() as f64;
        }
    }

    fn row(&self, svg: &mut String, axis: &Axis, y: f64, row: &Line) {
        text(svg, (LEFT - 10.0, y + 4.0), "end", if row.ours { "ours" } else { "" }, &row.name);
        line(svg, (LEFT, y), (WIDTH - RIGHT, y), "class=\"grid\" stroke-dasharray=\"1 4\"");
        for (mark, colour) in row.marks.iter().zip(COLOURS) {
            let Some(mark) = mark.filter(|mark| 0.0 < mark.lowest) else { continue };
            let colour = if self.series.len() < 2 && !row.ours { "#8b949e" } else { colour };
            let [low, middle, high] = [mark.lowest, mark.median, mark.highest].map(|value| axis.x(value));
            line(
                svg,
                (low, y),
                (high, y),
                &format!("stroke=\"{colour}\" stroke-width=\"3\" stroke-opacity=\".5\""),
            );
            let told = format!(
                "{}: {} ({} to {})",
                row.name,
                number(mark.median),
                number(mark.lowest),
                number(mark.highest)
            );
            dot(svg, (middle, y), colour, &told);
            if self.series.len() < 2 {
                text(
                    svg,
                    (high + 10.0, y + 4.0),
                    "start",
                    if row.ours { "ours" } else { "" },
                    &number(mark.median),
                );
            }
        }
    }
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (value / self.low).ln() / (self.high / self.low).ln()
    }

    /// Powers of ten, with twos and fives where these are few.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if (self.high / self.low).log10() < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// A tick has one digit that counts; zeros behind a point say nothing.
fn plain(tick: f64) -> String {
    if tick < 1000.0 { tick.to_string() } else { number(tick) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let text = escape(text);
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{class}>{text}</text>")
        .expect("memory");
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), how: &str) {
    writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {how}/>")
        .expect("memory");
}

fn dot(svg: &mut String, (x, y): (f64, f64), colour: &str, told: &str) {
    let told = escape(told);
    writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"><title>{told}</title></circle>"
    )
    .expect("memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_ticks_within_it_only() {
        assert_eq!(Axis { low: 18.0, high: 230.0 }.ticks(), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(Axis { low: 0.5, high: 90_000.0 }.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
    }

    #[test]
    fn ticks_are_as_short_as_they_can_be() {
        assert_eq!([0.05, 1.0, 50.0, 20_000.0].map(plain), ["0.05", "1", "50", "20,000"]);
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        let plot = Plot { title: "a", axis: "b", series: Vec::new(), rows: Vec::new(), limit: None };
        assert_eq!(plot.svg(), None);
    }
}
