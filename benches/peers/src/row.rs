//! Rows of figures, one line of JSON each, and the file they are kept in.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cell::Figure;

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub work: String,
    pub case: String,
    pub round: usize,
    #[serde(flatten)]
    pub figure: Figure,
    /// The machine, in one line.
    pub machine: String,
    /// The commit that was measured.
    pub commit: String,
}

/// The rows in `file`; none where there is no such file.
pub fn load(file: &Path) -> Vec<Row> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a row of figures")).collect()
}

/// Puts `rows`, all of one work's case, into the file in place of those it had of it.
pub fn replace(file: &Path, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let mut all = load(file);
    all.retain(|row| (&row.work, &row.case) != (&first.work, &first.case));
    all.extend_from_slice(rows);
    all.sort_by(|a, b| {
        (&a.work, &a.case, a.round, &a.figure.peer).cmp(&(&b.work, &b.case, b.round, &b.figure.peer))
    });
    let folder = file.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder).expect("make the folder of the figures");
    let mut whole = tempfile::NamedTempFile::new_in(folder).expect("make a file");
    for row in &all {
        writeln!(whole, "{}", serde_json::to_string(row).expect("a row is plain")).expect("write a row");
    }
    whole.persist(file).expect("keep the rows");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(work: &str, case: &str, value: f64) -> Row {
        let figure = Figure::new("tailwater", "ns", value).with("p99", 2.0 * value);
        let (machine, commit) = ("a machine".to_owned(), "abc".to_owned());
        Row { work: work.to_owned(), case: case.to_owned(), round: 1, figure, machine, commit }
    }

    #[test]
    fn a_part_that_is_measured_again_leaves_the_rows_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folder/figures.jsonl");
        replace(&file, &[row("append", "64", 1.0)]);
        replace(&file, &[row("append", "256", 2.0)]);
        replace(&file, &[row("append", "64", 3.0)]);
        assert_eq!(load(&file), [row("append", "256", 2.0), row("append", "64", 3.0)]);
    }
}
