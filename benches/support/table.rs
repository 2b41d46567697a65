//! Figures of several rounds as a table: the median of each, the span they lie in, and whether a target is met.

/// What a figure's median is held to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

use Target::{AtLeast, AtMost};

/// A table of the figures that `R`, one round, measured.
pub struct Table<'a, R> {
    rounds: &'a [R],
}

impl<'a, R> Table<'a, R> {
    /// Begins a table by its head.
    pub fn new(rounds: &'a [R]) -> Table<'a, R> {
        let head = ["figure", "median", "lowest", "highest", "target", "verdict"];
        println!("{:<58} {:>9} {:>9} {:>9} {:>8}  {}", head[0], head[1], head[2], head[3], head[4], head[5]);
        Table { rounds }
    }

    /// Prints one figure.
    pub fn line(&self, figure: &str, target: Option<Target>, measure: impl Fn(&R) -> f64) {
        let mut values: Vec<_> = self.rounds.iter().map(measure).collect();
        values.sort_by(f64::total_cmp);
        let [lowest, median, highest] = [0, values.len() / 2, values.len() - 1].map(|at| values[at]);
        let (wanted, verdict) = match target {
            Some(AtMost(most)) => (format!("<= {most}"), if median <= most { "PASS" } else { "MISS" }),
            Some(AtLeast(least)) => (format!(">= {least}"), if least <= median { "PASS" } else { "MISS" }),
            None => (String::new(), ""),
        };
        println!("{figure:<58} {median:>9.2} {lowest:>9.2} {highest:>9.2} {wanted:>8}  {verdict}");
    }
}
