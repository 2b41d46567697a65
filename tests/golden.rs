//! A store that an earlier build wrote is read, and read the same, by this one.
//!
//! `tests/golden/store` holds a sealed segment with its footer, segments with batches, metadata, a void frame and an
//! epoch, checkpoints, and a catalogue; `tests/golden/store.txt` says what is in it. Where a change alters what is read, the format
//! changed. A new version adds a directory and keeps this one.

use std::fmt::Write as _;
use std::fs;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tailwater::*;

/// A clock turned by hand, always in the same boot.
#[derive(Debug, Clone)]
struct Turned(Arc<AtomicI64>);

const CREATED: i64 = 1_790_000_000_000_000_000;
const DAY: i64 = 86_400_000_000_000;

impl Turned {
    fn new(wall: i64) -> Turned {
        Turned(Arc::new(wall.into()))
    }
}

impl Clock for Turned {
    fn wall(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn boot(&self) -> u64 {
        (self.wall() - CREATED) as u64
    }

    fn boot_id(&self) -> Option<u128> {
        Some(0x0b00_7000)
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn open(dir: &Path, clock: &Turned) -> Store {
    Options::new().clock(Arc::new(clock.clone())).background(false).open(dir).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            // Not `fs::copy`: a checkout may be read-only, and the copy is written to.
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Everything a reader learns of the store, one line a stream and a record.
fn describe(store: &Store) -> String {
    let mut text = String::new();
    for info in store.streams().unwrap() {
        writeln!(text, "{}", serde_json::to_string(&info).unwrap()).unwrap();
        let stream = store.stream(info.name.as_str()).unwrap();
        assert!(stream.recovery().clean);
        let mut reader = stream.read(Start::Beginning).unwrap();
        loop {
            match reader.next().unwrap() {
                Step::Records(batch) => batch.iter().for_each(|record| {
                    let attributes: Vec<_> = record.attributes().collect();
                    writeln!(
                        text,
                        "{} {} {:?} {:?} {:?} {:?} {:?}",
                        record.cursor(),
                        record.ingest_time(),
                        record.event_time(),
                        record.level(),
                        record.service(),
                        attributes,
                        String::from_utf8_lossy(record.body()),
                    )
                    .unwrap();
                }),
                Step::Gap(gap) => panic!("{gap:?}"),
                Step::Passed => panic!("there is no filter"),
                Step::End => break,
            }
        }
    }
    text
}

#[test]
fn a_store_written_by_an_earlier_build_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("store"), dir.path());
    let expected = fs::read_to_string(golden().join("store.txt")).unwrap();
    let clock = Turned::new(CREATED + 50 * DAY);
    let reading = Options::new().clock(Arc::new(clock.clone())).open_read_only(dir.path()).unwrap();
    assert_eq!(describe(&reading), expected);
    drop(reading);
    let store = open(dir.path(), &clock);
    assert_eq!(describe(&store), expected);
    let report = store.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.streams, report.segments, report.records), (2, 3, 54));
    // It is not only read: appends go on behind what is there.
    for name in ["mixed", "plain"] {
        let stream = store.stream(name).unwrap();
        let end = stream.published().unwrap();
        let appended = stream.append(&Record::new("new")).unwrap();
        assert!(end < appended.cursor().offset());
    }
    store.close().unwrap();
    assert!(open(dir.path(), &clock).verify().unwrap().is_sound());
}

#[test]
fn a_cursor_made_by_an_earlier_build_resumes_behind_its_record() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("store"), dir.path());
    let store = open(dir.path(), &Turned::new(CREATED + 50 * DAY));
    let expected = fs::read_to_string(golden().join("store.txt")).unwrap();
    let cursors = expected.lines().filter_map(|line| line.split(' ').next()?.parse::<Cursor>().ok());
    let cursors: Vec<_> = cursors.collect();
    assert_eq!(cursors.len(), 54);
    for pair in cursors.windows(2).filter(|pair| pair[0].stream_id() == pair[1].stream_id()) {
        let stream = store.stream_by_id(pair[0].stream_id()).unwrap();
        let mut reader = stream.read(Start::Cursor(pair[0])).unwrap();
        let Step::Records(batch) = reader.next().unwrap() else { panic!("{:?}", pair[0]) };
        assert_eq!(batch.iter().next().unwrap().cursor(), pair[1]);
    }
}

/// Writes the golden store anew: only for a new version of the format, into a new directory.
#[test]
#[ignore = "writes into the source tree"]
fn regenerate_golden() {
    let clock = Turned::new(CREATED);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &clock);
    let year = TtlDays::new(365).unwrap();
    let spec = |name| StreamSpec::new(StreamName::new(name).unwrap()).ttl(year);
    let tags = Tags::new([("team", "core"), ("path", "eu/west")]).unwrap();
    let plain = store.create_stream(spec("plain").tags(tags)).unwrap();
    let mixed = spec("mixed").max_bytes(1 << 30).durability(Durability::Buffered);
    let mixed = store.create_stream(mixed).unwrap();
    for number in 0..40 {
        clock.0.fetch_add(1_000_003, Ordering::SeqCst);
        plain.append(&Record::new(&format!("line {number} {}", "=".repeat(number * 7 % 60)))).unwrap();
    }
    // Old enough to be sealed.
    clock.0.fetch_add(46 * DAY, Ordering::SeqCst);
    store.tick().unwrap();
    for level in Level::ALL {
        clock.0.fetch_add(1_000_003, Ordering::SeqCst);
        plain.append(&Record::new(level.as_str()).level(level)).unwrap();
    }
    let attributes = [("host", "a"), ("path", "/x y"), ("empty", ""), ("größe", "7 µm")];
    let full = Record::new("with everything")
        .level(Level::Warn)
        .service("front")
        .event_time(Timestamp::from_nanos(-7))
        .attributes(&attributes);
    mixed.append(&full).unwrap();
    mixed.append(&Record::new("")).unwrap();
    let batch = [full, Record::new("second of a batch"), Record::new("last").service("back")];
    mixed.append_batch(&batch).unwrap();
    mixed.append(&Record::new(&[0, 255, b'\n', 128])).unwrap();
    store.sync().unwrap();

    // As a process leaves it that dies with a claim open: the next one marks it void and begins an epoch.
    let target = golden().join("store");
    assert!(!target.exists(), "a golden store is kept; remove it by hand if it must be");
    copy(dir.path(), &target);
    let base = 0;
    let path = target.join("streams").join(mixed.id().to_string()).join(format!("{base:020}.seg"));
    let mut segment = fs::OpenOptions::new().write(true).open(path).unwrap();
    segment.seek(SeekFrom::Start(4096 + mixed.published().unwrap())).unwrap();
    segment.write_all(&(56_u32 | 1 << 31).to_le_bytes()).unwrap();
    segment.write_all(b"half a header").unwrap();
    drop(segment);
    store.close().unwrap();

    let store = open(&target, &clock);
    let recovered = store.stream("mixed").unwrap();
    assert_eq!((recovered.recovery().unfinished, recovered.recovery().clean), (1, false));
    recovered.append(&full).unwrap();
    store.stream("plain").unwrap().append(&Record::new("after the crash")).unwrap();
    store.close().unwrap();
    let store = open(&target, &clock);
    fs::write(golden().join("store.txt"), describe(&store)).unwrap();
    store.close().unwrap();
    fs::remove_file(target.join("LOCK")).unwrap();
}
