//! What was measured, as tables between the markers of `performance.md` and as plots beside it.

mod figures;
mod number;
mod plot;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::cell::LIMIT;
use crate::peer::ENGINE;
use crate::peers;
use crate::row;
use crate::targets::Key;
use crate::works;
use figures::{Figures, more_is_better};
use plot::{Line, Plot};
use table::Column;

/// Writes the report on `file` into the folder `docs`.
pub fn write(file: &Path, docs: &Path) {
    let figures = Figures { rows: row::load(file) };
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page).expect("read the page");
    fs::write(&page, filled(&text, |name| block(&figures, name))).expect("write the page");
    let plots = docs.join("performance");
    for (name, plot) in PLOTS.iter().map(|sketch| (sketch.file, sketch.plot(&figures))) {
        if let Some(svg) = plot.svg() {
            fs::write(plots.join(name).with_extension("svg"), svg).expect("write a plot");
        }
    }
}

const BEGIN: &str = "<!-- measured: ";
const END: &str = "<!-- end -->";

/// The page with what stands between each pair of markers made anew.
fn filled(page: &str, block: impl Fn(&str) -> String) -> String {
    let mut parts = page.split(BEGIN);
    let mut text = parts.next().expect("a first part").to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("a marker ends");
        let (_, behind) = rest.split_once(END).expect("a block ends");
        text += &format!("{BEGIN}{name} -->\n{}\n{END}{behind}", block(name).trim_end());
    }
    text
}

const fn key(work: &'static str, case: &'static str) -> Key {
    Key { work, case, unit: None, of: None }
}

const fn part(work: &'static str, case: &'static str, of: &'static str) -> Key {
    Key { work, case, unit: None, of: Some(of) }
}

/// What stands between the markers of this name.
fn block(figures: &Figures, name: &str) -> String {
    let columns: &[Column<'_>] = match name {
        "machine" => return machine(figures),
        "targets" => return table::of_targets(figures),
        "peers" => return table::of_facts(),
        "streams" => return of_cases(figures, "streams", "streams"),
        "length" => return of_cases(figures, "length", "GiB"),
        "tails" => return of_cases(figures, "tails", "tails"),
        "append" => &[
            ("256 B", key("append", "256")),
            ("64 B", key("append", "64")),
            ("1 KiB", key("append", "1024")),
            ("16 KiB", key("append", "16384")),
            ("100 x 256 B", key("batch", "256")),
        ],
        "latency" => &[
            ("p50", part("latency", "256", "p50")),
            ("p99", part("latency", "256", "p99")),
            ("p99.9", part("latency", "256", "p99.9")),
            ("p99.99", part("latency", "256", "p99.99")),
            ("slowest", part("latency", "256", "max")),
            ("the clock", part("latency", "256", "clock")),
        ],
        "threads" => &[
            ("2 threads", key("threads", "2")),
            ("p99.9", part("threads", "2", "p99.9")),
            ("8 threads", key("threads", "8")),
            ("p99.9", part("threads", "8", "p99.9")),
        ],
        "durable" => &[
            ("1 thread", key("durable", "1")),
            ("8 threads", key("durable", "8")),
            ("64 threads", key("durable", "64")),
        ],
        "scan" => &[("ns/record", key("scan", "256"))],
        "random" => &[
            ("mean", key("random", "256")),
            ("p50", part("random", "256", "p50")),
            ("p99", part("random", "256", "p99")),
        ],
        "open" => &[
            ("clean", key("open", "clean")),
            ("after kill -9", key("open", "killed")),
            ("share that survived", part("open", "killed", "survived")),
            ("1 GiB, clean", key("open-1GiB", "clean")),
            ("1 GiB, after kill -9", key("open-1GiB", "killed")),
            ("first durable append then", part("open-1GiB", "killed", "first durable append")),
        ],
        "seen" => &[
            ("spinning, p50", key("seen", "spinning")),
            ("p99", part("seen", "spinning", "p99")),
            ("parked, p50", key("seen", "parked")),
            ("p99", part("seen", "parked", "p99")),
        ],
        "space" => &[("B/record", key("space", "256"))],
        _ => panic!("no such block: {name}"),
    };
    table::of_peers(figures, columns)
}

fn of_cases(figures: &Figures, work: &'static str, head: &str) -> String {
    let work = works::ALL.iter().find(|other| other.name == work).expect("a work");
    table::of_cases(figures, work.name, work.cases, head)
}

/// Which works were measured where, and at which commit.
fn machine(figures: &Figures) -> String {
    let mut runs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in &figures.rows {
        runs.entry((&row.machine, &row.commit)).or_default().insert(row.work.as_str());
    }
    let line = |((machine, commit), works): (_, BTreeSet<_>)| {
        let works: Vec<_> = works.into_iter().collect();
        format!("- {}: {machine}; commit {commit}\n", works.join(", "))
    };
    let lines: String = runs.into_iter().map(line).collect();
    let rounds = works::ALL.iter().filter(|work| work.who != works::Who::EngineOnce);
    let rounds = rounds.flat_map(|work| work.cases.iter().map(|case| figures.rounds(work.name, case)));
    let fewest = rounds.filter(|rounds| 0 < *rounds).min().unwrap_or(0);
    format!("{lines}- at least {fewest} rounds of each work\n")
}

/// A plot to be made of some figures.
struct Sketch {
    file: &'static str,
    title: &'static str,
    axis: &'static str,
    series: &'static [Column<'static>],
}

const PLOTS: &[Sketch] = &[
    Sketch {
        file: "append",
        title: "Append, 256 B, one by one",
        axis: "ns a record, logarithmic; less is better",
        series: &[("256 B", key("append", "256"))],
    },
    Sketch {
        file: "sizes",
        title: "Append, by size, and in batches",
        axis: "ns a record, logarithmic; less is better",
        series: &[
            ("64 B", key("append", "64")),
            ("256 B", key("append", "256")),
            ("1 KiB", key("append", "1024")),
            ("16 KiB", key("append", "16384")),
            ("100 x 256 B", key("batch", "256")),
        ],
    },
    Sketch {
        file: "latency",
        title: "Append, 256 B: how long the slow ones take",
        axis: "ns an append, clock included, logarithmic; less is better",
        series: &[
            ("p50", part("latency", "256", "p50")),
            ("p99", part("latency", "256", "p99")),
            ("p99.9", part("latency", "256", "p99.9")),
            ("p99.99", part("latency", "256", "p99.99")),
        ],
    },
    Sketch {
        file: "durable",
        title: "Durable appends, 256 B",
        axis: "acknowledged a second, logarithmic; more is better",
        series: &[
            ("1 thread", key("durable", "1")),
            ("8 threads", key("durable", "8")),
            ("64 threads", key("durable", "64")),
        ],
    },
    Sketch {
        file: "scan",
        title: "Scan, 256 B, warm",
        axis: "ns a record, logarithmic; less is better",
        series: &[("scan", key("scan", "256"))],
    },
    Sketch {
        file: "random",
        title: "Random read of one record, 256 B, warm",
        axis: "ns a read, clock included, logarithmic; less is better",
        series: &[("mean", key("random", "256"))],
    },
    Sketch {
        file: "open",
        title: "Open a log of 64 MiB",
        axis: "ms, logarithmic; less is better",
        series: &[("clean", key("open", "clean")), ("after kill -9", key("open", "killed"))],
    },
    Sketch {
        file: "space",
        title: "Disk beyond the body of 256 B",
        axis: "bytes a record, logarithmic; less is better",
        series: &[("space", key("space", "256"))],
    },
];

impl Sketch {
    fn plot(&self, figures: &Figures) -> Plot<'static> {
        let mut names: Vec<_> = peers::ALL.iter().map(|facts| facts.name).collect();
        let single = self.series.len() == 1;
        if !single {
            names.push(LIMIT);
        }
        let first = &self.series[0].1;
        table::sort(figures, first, &mut names);
        let rows = names.into_iter().map(|name| Line {
            name: name.to_owned(),
            ours: name == ENGINE,
            marks: self.series.iter().map(|(_, key)| figures.of(key, name)).collect(),
        });
        debug_assert!(more_is_better(first.work) == self.axis.contains("more is better"));
        Plot {
            title: self.title,
            axis: self.axis,
            series: self.series.iter().map(|(name, _)| (*name).to_owned()).collect(),
            rows: rows.filter(|row| row.marks.iter().any(Option::is_some)).collect(),
            limit: if single { figures.of(first, LIMIT) } else { None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_markers_is_made_anew_and_nothing_else() {
        let page = "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\n<!-- end -->\n";
        let once = filled(page, |name| format!("new {name}\n"));
        assert_eq!(
            once,
            "a\n<!-- measured: x -->\nnew x\n<!-- end -->\nb\n<!-- measured: y -->\nnew y\n<!-- end -->\n"
        );
        assert_eq!(filled(&once, |name| format!("new {name}\n")), once);
    }

    #[test]
    fn every_work_that_a_target_looks_at_is_one() {
        for target in crate::targets::ALL {
            use crate::targets::Quantity::{AheadOf, OfLimit, Value};
            let (OfLimit(key) | Value(key, _) | AheadOf(key, _)) = target.quantity;
            let work = works::ALL.iter().find(|work| work.name == key.work).expect(key.work);
            assert!(work.cases.contains(&key.case), "{} {}", key.work, key.case);
        }
    }
}
