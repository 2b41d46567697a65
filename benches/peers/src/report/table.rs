//! Tables in Markdown.

use std::fmt::Write;

use crate::cell::LIMIT;
use crate::peer::{Answer, ENGINE, Facts};
use crate::peers;
use crate::report::figures::{Figures, more_is_better};
use crate::report::number::number;
use crate::stats::Spread;
use crate::targets::{self, Bound, Key};

const LOCK: &str = include_str!("../../Cargo.lock");

/// A column: what it is called, and which figure it has.
pub type Column<'a> = (&'a str, Key);

/// Peers by their first column, the best first; the limit above them. Figures are medians, with the lowest and highest
/// round, and how many times the limit of the same round.
pub fn of_peers(figures: &Figures, columns: &[Column<'_>]) -> String {
    let mut names: Vec<_> = peers::ALL.iter().map(|facts| facts.name).collect();
    sort(figures, &columns[0].1, &mut names);
    names.insert(0, LIMIT);
    let mut table = String::from("| |");
    columns.iter().for_each(|(name, _)| write!(table, " {name} |").expect("memory"));
    table.push_str("\n|---|");
    columns.iter().for_each(|_| table.push_str("---:|"));
    table.push('\n');
    for name in names {
        let cells: Vec<_> = columns.iter().map(|(_, key)| cell(figures, key, name)).collect();
        if cells.iter().all(String::is_empty) {
            continue;
        }
        let name = if name == ENGINE { format!("**{name}**") } else { name.to_owned() };
        writeln!(table, "| {name} | {} |", cells.join(" | ")).expect("memory");
    }
    table + &left_out(columns[0].1.work)
}

/// The best first; what was not measured last.
pub fn sort(figures: &Figures, key: &Key, names: &mut [&str]) {
    names.sort_by(|a, b| {
        let [a, b] = [a, b].map(|name| {
            let median = figures.of(key, name).map_or(f64::INFINITY, |spread| spread.median);
            if more_is_better(key.work) && median.is_finite() { -median } else { median }
        });
        a.total_cmp(&b)
    });
}

fn cell(figures: &Figures, key: &Key, name: &str) -> String {
    let Some(spread) = figures.of(key, name) else { return String::new() };
    let ratio = if name == LIMIT { None } else { figures.of_limit(key, name) };
    let ratio = ratio.map_or(String::new(), |ratio| format!(", {}x", number(ratio.median)));
    if spread.lowest == spread.highest && ratio.is_empty() {
        return number(spread.median);
    }
    format!("{}{ratio} ({})", number(spread.median), span(spread))
}

fn span(spread: Spread) -> String {
    format!("{} to {}", number(spread.lowest), number(spread.highest))
}

/// Who takes no part in a work, and why.
fn left_out(work: &str) -> String {
    let lacks =
        peers::ALL.iter().flat_map(|facts| facts.lacks.iter().map(move |(lacked, why)| (facts, lacked, why)));
    let text: Vec<_> = lacks
        .filter(|(_, lacked, _)| **lacked == work)
        .map(|(facts, _, why)| format!("{} ({why})", facts.name))
        .collect();
    if text.is_empty() { text.concat() } else { format!("\nLeft out: {}.\n", text.join("; ")) }
}

/// What is to be known of each peer.
pub fn of_facts() -> String {
    let mut table = String::from(
        "| | what was set | readable by others at return | survives `kill -9` | survives power loss | reads verified |\n\
         |---|---|---|---|---|---|\n",
    );
    for facts in peers::ALL {
        let answers = [facts.readable, facts.kill, facts.power, facts.verifies].map(answer);
        writeln!(table, "| {}{} | {} | {} |", facts.name, version(facts), facts.set, answers.join(" | "))
            .expect("memory");
    }
    table
}

fn answer(answer: Answer) -> String {
    format!("{}: {}", if answer.yes { "yes" } else { "**no**" }, answer.how)
}

/// The version that was built, as the lock file has it.
fn version(facts: &Facts) -> String {
    let Some(package) = facts.package else { return String::new() };
    let (_, rest) =
        LOCK.split_once(&format!("name = \"{package}\"\nversion = \"")).expect("a peer is locked");
    let (version, _) = rest.split_once('"').expect("a version ends");
    if package == facts.name { format!(" {version}") } else { format!(" ({package} {version})") }
}

/// Each target, and whether it is met.
pub fn of_targets(figures: &Figures) -> String {
    let mut table = String::from(
        "| work | target | measured | lowest to highest round | met |\n|---|---|---:|---:|---|\n",
    );
    for target in targets::ALL {
        let bound = match target.bound {
            Bound::AtMost(most) => format!("at most {most} {}", target.unit),
            Bound::AtLeast(least) => format!("at least {least} {}", target.unit),
        };
        let (measured, lie, met) = match figures.quantity(target.quantity) {
            Some(spread) => {
                let met = if target.bound.holds(spread.median) { "yes" } else { "**no**" };
                (number(spread.median), span(spread), met)
            }
            None => (String::new(), String::new(), "not measured"),
        };
        writeln!(table, "| {} | {bound} | {measured} | {lie} | {met} |", target.text).expect("memory");
    }
    table
}

/// A work's cases side by side, one row for each of its figures; the engine alone does it.
pub fn of_cases(figures: &Figures, work: &'static str, cases: &'static [&'static str], head: &str) -> String {
    let mut table = format!("| {head} |");
    cases
        .iter()
        .for_each(|case| write!(table, " {} |", number(case.parse().expect("a number"))).expect("memory"));
    table.push_str("\n|---|");
    cases.iter().for_each(|_| table.push_str("---:|"));
    table.push('\n');
    let Some(most) = cases.iter().map(|case| figures.units(work, case)).max_by_key(Vec::len) else {
        return table;
    };
    for unit in most {
        let cells = cases.iter().map(|case| {
            let values = figures
                .rows
                .iter()
                .filter(|row| row.work == work && row.case == *case && row.figure.unit == unit);
            crate::stats::spread(values.map(|row| row.figure.value)).map_or(String::new(), |spread| {
                if spread.lowest == spread.highest {
                    number(spread.median)
                } else {
                    format!("{} ({})", number(spread.median), span(spread))
                }
            })
        });
        writeln!(table, "| {unit} | {} |", cells.collect::<Vec<_>>().join(" | ")).expect("memory");
    }
    table
}
