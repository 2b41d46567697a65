//! What the rows say: of a peer, beside the limit, beside the best of others, round by round.

use crate::cell::LIMIT;
use crate::peer::{ENGINE, Facts};
use crate::peers;
use crate::row::Row;
use crate::stats::{Spread, spread};
use crate::targets::{Among, Key, Quantity};

/// All rows that were measured.
pub struct Figures {
    pub rows: Vec<Row>,
}

impl Figures {
    /// Each value of one peer, with its round.
    fn values<'a>(&'a self, key: &'a Key, peer: &'a str) -> impl Iterator<Item = (usize, f64)> + 'a {
        let of = |row: &Row| match key.of {
            Some(name) => row.figure.more.get(name).copied(),
            None => Some(row.figure.value),
        };
        self.rows
            .iter()
            .filter(move |row| row.work == key.work && row.case == key.case && row.figure.peer == peer)
            .filter(move |row| key.unit.is_none_or(|unit| row.figure.unit == unit))
            .filter_map(move |row| Some((row.round, of(row)?)))
    }

    pub fn of(&self, key: &Key, peer: &str) -> Option<Spread> {
        spread(self.values(key, peer).map(|(_, value)| value))
    }

    /// How many times worse than the limit, each round beside its own.
    pub fn of_limit(&self, key: &Key, peer: &str) -> Option<Spread> {
        let limit =
            |round| self.values(key, LIMIT).find_map(|(other, value)| (other == round).then_some(value));
        let ratios =
            self.values(key, peer).filter_map(|(round, value)| Some(worse(key, value, limit(round)?)));
        spread(ratios)
    }

    /// How many times better the engine is than the best of others, each round beside its own.
    fn ahead_of(&self, key: &Key, among: Among) -> Option<Spread> {
        let peers: Vec<_> = peers::ALL.iter().filter(|facts| belongs(facts, among)).collect();
        let ratio = |(round, value)| {
            let others = peers.iter().flat_map(|facts| self.values(key, facts.name));
            let of_round = others.filter(|(other, _)| *other == round);
            of_round.map(|(_, other)| worse(key, other, value)).min_by(f64::total_cmp)
        };
        spread(self.values(key, ENGINE).filter_map(ratio))
    }

    /// What a target looks at.
    pub fn quantity(&self, quantity: Quantity) -> Option<Spread> {
        match quantity {
            Quantity::OfLimit(key) => self.of_limit(&key, ENGINE),
            Quantity::Value(key, unit) => spread(self.values(&key, ENGINE).map(|(_, value)| value / unit)),
            Quantity::AheadOf(key, among) => self.ahead_of(&key, among),
        }
    }

    /// The units that a work's case has, in the order of its rows.
    pub fn units(&self, work: &str, case: &str) -> Vec<&str> {
        let mut units = Vec::new();
        for row in self.rows.iter().filter(|row| row.work == work && row.case == case) {
            if !units.contains(&row.figure.unit.as_str()) {
                units.push(&row.figure.unit);
            }
        }
        units
    }

    /// Rounds of a work's case.
    pub fn rounds(&self, work: &str, case: &str) -> usize {
        let rounds = self.rows.iter().filter(|row| row.work == work && row.case == case).map(|row| row.round);
        rounds.max().unwrap_or(0)
    }
}

/// More is better of what is counted by the second, less of all else.
pub fn more_is_better(work: &str) -> bool {
    work == "durable"
}

/// How many times worse the first is.
fn worse(key: &Key, first: f64, second: f64) -> f64 {
    if more_is_better(key.work) { second / first } else { first / second }
}

fn belongs(facts: &Facts, among: Among) -> bool {
    facts.name != ENGINE
        && match among {
            Among::All => true,
            Among::Readable => facts.readable.yes,
            Among::Verifying => facts.verifies.yes,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Figure;

    fn row(work: &str, round: usize, peer: &str, value: f64) -> Row {
        let figure = Figure::new(peer, "ns", value).with("p99", 10.0 * value);
        let text = String::new;
        Row { work: work.to_owned(), case: "256".to_owned(), round, figure, machine: text(), commit: text() }
    }

    fn key(work: &'static str) -> Key {
        Key { work, case: "256", unit: None, of: None }
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        let rows = [(1, 10.0, 5.0), (2, 90.0, 30.0), (3, 8.0, 2.0)];
        let rows = rows.iter().flat_map(|(round, ours, limit)| {
            [row("append", *round, ENGINE, *ours), row("append", *round, LIMIT, *limit)]
        });
        let figures = Figures { rows: rows.collect() };
        let expected = Spread { median: 3.0, lowest: 2.0, highest: 4.0 };
        assert_eq!(figures.of_limit(&key("append"), ENGINE), Some(expected));
        let percentile = Key { of: Some("p99"), ..key("append") };
        assert_eq!(figures.of(&percentile, ENGINE).unwrap().median, 100.0);
    }

    #[test]
    fn the_best_peer_is_the_one_of_the_round_that_qualifies() {
        // okaywal's records are not readable when the call returns.
        let rows = [(ENGINE, 10.0), ("okaywal", 11.0), ("commitlog", 40.0), ("walrus", 50.0)];
        let figures =
            Figures { rows: rows.iter().map(|(peer, value)| row("append", 1, peer, *value)).collect() };
        assert_eq!(figures.ahead_of(&key("append"), Among::Readable).unwrap().median, 4.0);
        assert_eq!(figures.ahead_of(&key("append"), Among::All).unwrap().median, 1.1);
    }

    #[test]
    fn of_acknowledgements_more_is_better() {
        let figures =
            Figures { rows: vec![row("durable", 1, ENGINE, 12.0), row("durable", 1, "okaywal", 6.0)] };
        assert_eq!(figures.ahead_of(&key("durable"), Among::All).unwrap().median, 2.0);
    }
}
