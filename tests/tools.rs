//! The command line on damaged stores: what only reads changes no byte of them, and whatever comes by damage says so by its exit
//! code.

#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tailwater::*;

/// A closed store of one stream with several segments.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let options = Options::new().background(false).max_segment_bytes(64 << 10);
        let store = options.open(place.data()).unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("log").unwrap())).unwrap();
        for number in 0..300 {
            stream.append(&Record::new(&format!("line {number:0600}"))).unwrap();
        }
        store.close().unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
        command.args(arguments).current_dir(self.0.path()).env("TAILWATER_DATA", "data").env("NO_COLOR", "1");
        command.output().unwrap()
    }

    #[track_caller]
    fn check_code(&self, arguments: &[&str], code: i32, what: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what}: {arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{what}: {arguments:?}: {said}");
    }

    /// Every file with its bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![self.data()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// The first file whose name `is_it`.
    fn file(&self, is_it: impl Fn(&str) -> bool) -> PathBuf {
        let named = |path: &PathBuf| is_it(path.file_name().unwrap().to_str().unwrap());
        self.files().into_keys().find(named).expect("there is such a file")
    }

    fn segment(&self) -> PathBuf {
        self.file(|name| name.ends_with(".seg"))
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Damages a store: what only reads must leave it as it is; `verify` must end with 1, `read` with 1 where records are lost; and
/// after `repair` `verify` ends with 0.
#[track_caller]
fn check(what: &str, records_lost: bool, damage: impl FnOnce(&Place)) {
    let place = Place::new();
    place.check_code(&["verify"], 0, "sound");
    place.check_code(&["read", "log"], 0, "sound");
    let sound = place.files();
    damage(&place);
    let before = place.files();
    place.check_code(&["verify"], 1, what);
    place.check_code(&["verify", "--json"], 1, what);
    place.check_code(&["read", "log", "-o", "raw"], i32::from(records_lost), what);
    place.check_code(&["read", "log", "-o", "json"], i32::from(records_lost), what);
    place.run(&["stats"]);
    place.run(&["stream", "list"]);
    place.run(&["snapshot", "copy"]);
    for path in before.keys().filter(|path| path.extension().is_some_and(|end| end == "seg")) {
        place.run(&["inspect", path.to_str().unwrap()]);
    }
    assert!(place.files() == before, "{what}: the source is as it was");
    place.check_code(&["repair"], 0, what);
    place.check_code(&["verify"], 0, what);
    place.check_code(&["read", "log", "-o", "raw"], i32::from(records_lost), what);
    // Nothing was deleted: what was damaged stands aside as it was.
    let kept = place.files();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
    let damaged = before.iter().filter(|(path, bytes)| is_segment(path) && sound.get(*path) != Some(*bytes));
    for (path, bytes) in damaged.filter(|_| records_lost) {
        assert!(kept.values().any(|other| other == bytes), "{what}: {}", path.display());
    }
}

#[test]
fn damage_to_a_record_is_in_every_exit_code_and_reading_changes_no_byte() {
    check("a flipped bit", true, |place| edit(&place.segment(), |bytes| bytes[9000] ^= 1));
    check("a page of zeros", true, |place| edit(&place.segment(), |bytes| bytes[8192..12288].fill(0)));
    check("a segment cut off", true, |place| edit(&place.segment(), |bytes| bytes.truncate(20_000)));
    check("a segment gone", true, |place| fs::remove_file(place.segment()).unwrap());
    check("both headers gone", true, |place| edit(&place.segment(), |bytes| bytes[..4096].fill(0)));
}

#[test]
fn damage_that_costs_no_record_is_told_by_verify_and_mended_by_repair() {
    check("one header gone", false, |place| edit(&place.segment(), |bytes| bytes[..512].fill(0)));
    check("a stranger", false, |place| {
        let segment = place.segment();
        fs::copy(&segment, segment.with_file_name(format!("{:020}.seg", 6400))).unwrap();
    });
    check("a wrong name", false, |place| {
        let segment = place.segment();
        fs::copy(&segment, segment.with_file_name("copy.seg")).unwrap();
    });
    check("meta", false, |place| edit(&place.file(|name| name == "meta"), |bytes| bytes[30] ^= 1));
    check("no meta", false, |place| fs::remove_file(place.file(|name| name == "meta")).unwrap());
}

#[test]
fn a_store_whose_catalogue_is_damaged_is_refused_by_all_but_repair() {
    let place = Place::new();
    let catalogue = place.file(|name| name.starts_with("snapshot-"));
    edit(&catalogue, |bytes| bytes[40] ^= 1);
    let before = place.files();
    for arguments in
        [&["verify"][..], &["read", "log"], &["stats"], &["stream", "list"], &["snapshot", "copy"]]
    {
        place.check_code(arguments, 1, "catalogue");
    }
    assert!(place.files() == before);
    place.check_code(&["repair"], 0, "catalogue");
    place.check_code(&["verify"], 0, "catalogue");
    place.check_code(&["read", "log", "-o", "raw"], 0, "catalogue");
}

#[test]
fn inspecting_a_damaged_segment_ends_with_1_and_changes_no_byte() {
    let place = Place::new();
    let segment = place.segment();
    let name = segment.to_str().unwrap();
    place.check_code(&["inspect", name], 0, "sound");
    let changes: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[9000] ^= 1, |bytes| bytes[..4096].fill(7), |bytes| bytes.clear()];
    for change in changes {
        let sound = fs::read(&segment).unwrap();
        edit(&segment, change);
        let before = fs::read(&segment).unwrap();
        place.check_code(&["inspect", name], 1, "damaged");
        assert!(fs::read(&segment).unwrap() == before);
        fs::write(&segment, sound).unwrap();
    }
}
