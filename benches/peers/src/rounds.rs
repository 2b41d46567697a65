//! Rounds: each visits every peer of a case once, in an order that turns, each in a process and a directory of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::cell::Figure;
use crate::machine;
use crate::row::{self, Row};
use crate::works::{self, Work};

/// Bytes of page cache filled and given back before a cell, so that the kernel has those pages at hand: a virtual
/// machine gets memory from its host at the first touch, which costs ten times what all else does.
const WARM: usize = 1536 << 20;

/// Measures `names`, or every work where there are none, and keeps the rows in `file`.
pub fn run(file: &Path, rounds: usize, names: &[&str]) {
    for name in names {
        assert!(works::ALL.iter().any(|work| work.is(name)), "no such work: {name}");
    }
    let parent = parent();
    let (machine, commit) = (machine::describe(&parent), machine::commit());
    for work in works::ALL.iter().filter(|work| names.is_empty() || names.iter().any(|name| work.is(name))) {
        for case in work.cases.iter().filter(|case| works::wanted(work, case, names)) {
            let start = Instant::now();
            let rows: Vec<_> = (1..=work.rounds(rounds))
                .flat_map(|round| {
                    let figures = turned(work.peers(), round)
                        .into_iter()
                        .flat_map(|peer| cell(&parent, work, case, &peer));
                    let (machine, commit) = (machine.clone(), commit.clone());
                    figures.map(move |figure| Row {
                        work: work.name.to_owned(),
                        case: (*case).to_owned(),
                        round,
                        figure,
                        machine: machine.clone(),
                        commit: commit.clone(),
                    })
                })
                .collect();
            row::replace(file, &rows);
            eprintln!("{} {case}: {} rows in {:.0} s", work.name, rows.len(), start.elapsed().as_secs_f64());
        }
    }
}

/// `TAILWATER_BENCH_DIR`, or the folder this program was built into: a temporary folder in memory would measure neither
/// faults nor syncs.
fn parent() -> PathBuf {
    env::var_os("TAILWATER_BENCH_DIR").map_or_else(
        || env::current_exe().expect("the path of this program").parent().expect("a folder").to_owned(),
        PathBuf::from,
    )
}

/// Each round begins one peer further on, so that none always follows the same.
fn turned(mut peers: Vec<String>, round: usize) -> Vec<String> {
    let turn = (round - 1) % peers.len();
    peers.rotate_left(turn);
    peers
}

/// The figures of one cell; none, and a word about it, where its process failed.
fn cell(parent: &Path, work: &Work, case: &str, peer: &str) -> Vec<Figure> {
    let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(parent).expect("make a directory");
    settle(&dir, work.warm);
    let place = dir.path().join("log");
    fs::create_dir(&place).expect("make a directory");
    let output = Command::new(env::current_exe().expect("the path of this program"))
        .args(["cell", work.name, case, peer])
        .arg(&place)
        .env("WALRUS_DATA_DIR", &place)
        .env("WALRUS_QUIET", "1")
        .output()
        .expect("start a cell");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        eprintln!("{} {case} {peer}: {}: {}", work.name, output.status, said.trim());
        return Vec::new();
    }
    let lines = String::from_utf8(output.stdout).expect("a cell says JSON");
    // A peer's own words on its way are none of ours.
    lines
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a figure"))
        .collect()
}

/// What the last cell left for the disk to do, removed files to discard above all, is done before the next one.
fn settle(dir: &TempDir, warm: bool) {
    rustix::fs::sync();
    if !warm {
        return;
    }
    let path = dir.path().join("warm");
    let mut file = fs::File::create(&path).expect("make a file");
    let zeros = vec![0; 2 << 20];
    for _ in 0..WARM / zeros.len() {
        std::io::Write::write_all(&mut file, &zeros).expect("fill a file");
    }
    fs::remove_file(&path).expect("remove the file");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_visits_every_peer_and_begins_with_another() {
        let peers = || ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(turned(peers(), 1), ["a", "b", "c"]);
        assert_eq!(turned(peers(), 2), ["b", "c", "a"]);
        assert_eq!(turned(peers(), 5), ["b", "c", "a"]);
    }
}
