//! `docs/faults.md` against the sources: every fault stands there once, and every test that it names exists.

use std::fs;
use std::path::Path;

/// How many faults the catalogue has.
const FAULTS: usize = 88;

/// A line of the table.
struct Row {
    number: usize,
    fault: String,
    tests: Vec<String>,
    outcome: String,
}

fn rows() -> Vec<Row> {
    let document = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    document.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [number, fault, tests, outcome] = cells[..] else { panic!("four cells, not {line}") };
    let named = tests.split('`').skip(1).step_by(2);
    Some(Row {
        number: number.parse().ok()?,
        fault: fault.into(),
        tests: named.map(String::from).collect(),
        outcome: outcome.into(),
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_fault_stands_in_the_table_once_and_in_order() {
    let numbers: Vec<usize> = rows().iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=FAULTS).collect::<Vec<_>>());
}

#[test]
fn every_test_that_the_table_names_exists() {
    for row in rows() {
        for test in row.tests {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} names no file"));
            let source = fs::read_to_string(root().join(file)).unwrap_or_else(|err| panic!("{test}: {err}"));
            assert!(source.contains(&format!("fn {name}(")), "fault {}: there is no {test}", row.number);
        }
    }
}

#[test]
fn a_fault_is_tried_or_struck_with_a_reason() {
    for row in rows() {
        let struck = row.fault.starts_with("~~") && row.fault.ends_with("~~");
        assert!(struck || !row.tests.is_empty(), "fault {} has no test", row.number);
        assert!(!row.outcome.is_empty(), "fault {} has no outcome, and no reason", row.number);
    }
}
