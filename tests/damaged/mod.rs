//! What the tests on damaged stores share: a small store with a bit of everything in it, and what a reader may make of what
//! is left of it.

#![allow(dead_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use tailwater::vfs::sim::{Crash, SimDisk};
use tailwater::*;

use crate::common::*;

/// Bytes of a segment's page, and of a frame's header.
pub const PAGE: u64 = 4096;
pub const HEADER: u64 = 24;

/// A store of one stream: two sealed segments and one that is being written, with batches, metadata, an empty body and an epoch.
pub struct Scene {
    pub machine: Machine,
    pub id: StreamId,
    /// Every record, as a reader saw it while nothing was damaged.
    pub all: Vec<Seen>,
    /// The segments, oldest first.
    pub files: Vec<PathBuf>,
    /// The disk after the store was closed.
    pub closed: SimDisk,
    /// The disk after its process was killed, with everything synced.
    pub killed: SimDisk,
}

/// One frame of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub offset: u64,
    /// Bytes that its checksums cover.
    pub covered: u64,
    /// Bytes to the next frame.
    pub step: u64,
}

impl Scene {
    /// A small one, for whose every bit there is time.
    pub fn new() -> Scene {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        some_of_everything(&stream, 1);
        end_segment(&machine, &store);
        some_of_everything(&stream, 2);
        end_segment(&machine, &store);
        some_of_everything(&stream, 3);
        store.sync().unwrap();
        machine.crash(Crash::KeepAll);
        // An epoch begins in the last segment.
        let (store, stream) = machine.open().unwrap();
        some_of_everything(&stream, 4);
        store.sync().unwrap();
        // What was synced is durable; the watermark that says so is where a kernel would have left it.
        machine.disk.writeback(0);
        Scene::finish(machine, store, stream)
    }

    /// One whose segments have many pages.
    pub fn large() -> Scene {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        for number in 0..300 {
            stream.append(&Record::new(&format!("{number} {}", "x".repeat(number * 7 % 1000)))).unwrap();
        }
        store.sync().unwrap();
        machine.disk.writeback(0);
        Scene::finish(machine, store, stream)
    }

    fn finish(machine: Machine, store: Store, stream: Stream) -> Scene {
        let killed = machine.disk.fork_crashed(Crash::KeepAll);
        let (id, all) = (stream.id(), records(&stream, Start::Beginning));
        store.close().unwrap();
        let closed = machine.disk.fork_crashed(Crash::DropUnsynced);
        let files = machine.segments();
        assert!(3 <= files.len(), "{files:?}");
        Scene { machine, id, all, files, closed, killed }
    }

    pub fn dir(&self) -> PathBuf {
        Path::new(DIR).join("streams").join(self.id.to_string())
    }

    /// The offsets that a segment holds.
    pub fn range(&self, index: usize) -> Range<u64> {
        let end = self.files.get(index + 1).map_or(self.all.last().unwrap().end, |next| base(next));
        base(&self.files[index])..end
    }

    /// The frames of a segment, as `docs/format.md` says.
    pub fn frames(&self, index: usize) -> Vec<Frame> {
        let bytes = self.closed.read_file(&self.files[index]);
        let Range { start, end } = self.range(index);
        let mut frames = Vec::new();
        let mut offset = start;
        while offset < end {
            let at = (offset - start + PAGE) as usize;
            let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            // The records of a batch are frames of their own.
            let covered = if word >> 24 & 7 == 1 { HEADER } else { u64::from(word & 0xff_ffff) };
            let step = covered.next_multiple_of(8);
            frames.push(Frame { offset, covered, step });
            offset += step;
        }
        frames
    }

    /// Both disks, with what became of the process.
    pub fn disks(&self) -> [(&'static str, &SimDisk); 2] {
        [("closed", &self.closed), ("killed", &self.killed)]
    }

    /// A disk of its own with what `change` does to it.
    pub fn changed(&self, disk: &SimDisk, change: impl FnOnce(&SimDisk)) -> SimDisk {
        let disk = disk.fork_crashed(Crash::KeepAll);
        change(&disk);
        disk
    }

    /// Opens the store on `disk` for writing and reads all of it. A follower that reads it before sees a prefix of that.
    #[track_caller]
    pub fn look(&self, disk: &SimDisk) -> Left {
        let followed = self.follow(disk).seen;
        let (store, stream) = self.machine.open_on(disk).unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let damage = store.verify().unwrap().damage;
        let served = seen.iter().map(key).take(followed.len());
        assert!(served.eq(followed.iter().map(key)), "a follower sees other records than its writer");
        Left { store, stream, seen, gaps, damage }
    }

    /// Opens the store on `disk` for reading only and reads all of it.
    #[track_caller]
    pub fn follow(&self, disk: &SimDisk) -> Left {
        let store = self.machine.options_on(disk).open_read_only(DIR).unwrap();
        let stream = store.stream(NAME).unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        let damage = store.verify().unwrap().damage;
        Left { store, stream, seen, gaps, damage }
    }

    /// Looks at the store on `disk`: no record may be missing without a gap, no damage without a line of the report, and
    /// the stream must take records.
    #[track_caller]
    pub fn check(&self, disk: &SimDisk, what: &str) -> Left {
        let left = self.look(disk);
        self.check_left(&left, what);
        left.stream.append_with(&Record::new("on"), Durability::Sync).unwrap();
        assert_eq!(bodies(&left.stream, Start::Last(1)), ["on"], "{what}");
        left
    }

    #[track_caller]
    pub fn check_left(&self, left: &Left, what: &str) {
        let mut seen = left.seen.iter().peekable();
        for record in &self.all {
            if seen.next_if(|seen| key(seen) == key(record)).is_none() {
                let covers = |gap: &Range<u64>| gap.start <= record.offset && record.end <= gap.end;
                assert!(
                    left.stretches().iter().any(covers),
                    "{what}: {} went without a word: {:?} {:?}",
                    record.offset,
                    left.gaps,
                    left.stream.recovery()
                );
            }
        }
        assert!(seen.next().is_none(), "{what}: a record was made up");
        assert!(left.gaps.is_empty() || !left.damage.is_empty(), "{what}: verify found nothing");
        // A cursor that was good is good; a few, for each costs a look at its segment.
        for record in self.all.iter().step_by(self.all.len() / 15) {
            let behind = left
                .stream
                .read(Start::Cursor(record.cursor))
                .and_then(|mut reader| first_behind(&mut reader))
                .unwrap_or_else(|err| panic!("{what}: behind {}: {err}", record.offset));
            let expected = left.seen.iter().find(|seen| record.end <= seen.offset);
            assert_eq!(behind, expected.map(|seen| seen.offset), "{what}: behind {}", record.offset);
        }
    }
}

/// What is left of a store.
pub struct Left {
    pub store: Store,
    pub stream: Stream,
    pub seen: Vec<Seen>,
    pub gaps: Vec<Gap>,
    pub damage: Vec<Damage>,
}

/// What a record is, whatever became of the mark of its epoch.
pub fn key(seen: &Seen) -> (u64, u64, Timestamp, Option<Timestamp>, &[u8]) {
    (seen.offset, seen.end, seen.ingest, seen.event, &seen.body)
}

impl Left {
    pub fn is_all_of(&self, scene: &Scene) -> bool {
        self.seen.iter().map(key).eq(scene.all.iter().map(key))
    }

    /// What the gaps cover: those that lie end to end, for reasons of their own, as one.
    pub fn stretches(&self) -> Vec<Range<u64>> {
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for gap in &self.gaps {
            match stretches.last_mut() {
                Some(last) if last.end == gap.start => last.end = gap.end,
                _ => stretches.push(gap.start..gap.end),
            }
        }
        stretches
    }

    /// The gaps, as ranges with their reasons.
    pub fn gaps(&self) -> Vec<(Range<u64>, GapReason)> {
        self.gaps.iter().map(|gap| (gap.start..gap.end, gap.reason)).collect()
    }
}

/// Where the first record that a reader comes by lies.
fn first_behind(reader: &mut Reader) -> Result<Option<u64>> {
    loop {
        match reader.next_within(Limit { records: 1, bytes: 1 })? {
            Step::Records(batch) => return Ok(batch.iter().next().map(|record| record.offset())),
            Step::End => return Ok(None),
            Step::Gap(_) | Step::Passed => {}
        }
    }
}

/// Offset of a segment's first frame, by its name.
pub fn base(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The segments on a disk, oldest first.
pub fn segments_on(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.list_all().into_iter();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

fn some_of_everything(stream: &Stream, number: usize) {
    let text = format!("record {number}");
    let pairs = [("host", "a"), ("path", "/x y")];
    let full = Record::new(&text)
        .level(Level::Warn)
        .service("front")
        .event_time(Timestamp::from_nanos(-7))
        .attributes(&pairs);
    stream.append(&full).unwrap();
    stream.append(&Record::new(&text)).unwrap();
    stream.append_batch(&[Record::new("1"), Record::new(""), Record::new("three")]).unwrap();
    stream.append(&Record::new(&[number as u8; 48])).unwrap();
}

/// Alters a file as a whole.
pub fn edit(disk: &SimDisk, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.read_file(file);
    change(&mut bytes);
    disk.write_file(file, &bytes);
}

/// The files of a simulated disk, in a directory of the machine's.
pub fn on_real_files(disk: &SimDisk) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in disk.list_all() {
        let to = dir.path().join(path.strip_prefix(DIR).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, disk.read_file(&path)).unwrap();
    }
    dir
}

/// Ends the active segment and seals it: it is old.
pub fn end_segment(machine: &Machine, store: &Store) {
    machine.clock.advance(4 * DAY);
    store.tick().unwrap();
}
