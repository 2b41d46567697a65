//! A full disk, for real: small filesystems of our own, filled to the last byte. Skipped, with a word, where this user may
//! not mount.

mod machine;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use machine::{Mounted, spec};
use tailwater::{Durability, ErrorKind, Options, Record, Start, Step, Store, Stream, StreamUpdate};

fn body(number: u64) -> Vec<u8> {
    format!("{number} {}", "x".repeat(number as usize * 37 % 2_000)).into_bytes()
}

/// Reads everything; the records must be `expected`, whose bodies say which they are.
#[track_caller]
fn check(stream: &Stream, expected: std::ops::Range<u64>) {
    let mut next = expected.start;
    let mut reader = stream.read(Start::Beginning).unwrap();
    loop {
        match reader.next().unwrap() {
            Step::Records(batch) => {
                for record in &batch {
                    assert!(record.body() == body(next), "record {next}");
                    next += 1;
                }
            }
            Step::Gap(gap) => panic!("{gap:?}"),
            Step::Passed => panic!("there is no filter"),
            Step::End => break,
        }
    }
    assert_eq!(next, expected.end);
    assert!(stream.verify().unwrap().is_sound());
}

/// Appends from `next` on, singly and in batches, until there is no space; the number after the last that went in.
#[track_caller]
fn fill(stream: &Stream, mut next: u64, durability: Durability) -> u64 {
    loop {
        let count = if next.is_multiple_of(5) { 4 } else { 1 };
        let bodies: Vec<_> = (next..next + count).map(body).collect();
        let records: Vec<_> = bodies.iter().map(Record::new).collect();
        let before = stream.published().unwrap();
        match stream.append_batch_with(&records, durability) {
            Ok(_) => next += count,
            Err(err) => {
                assert_eq!(*err.kind(), ErrorKind::NoSpace, "{err:?}");
                assert_eq!(stream.published().unwrap(), before, "nothing is published");
                return next;
            }
        }
    }
}

/// Takes what space is left; returns the file, whose removal makes room.
fn fill_the_rest(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    // The last bytes, too.
    while file.write_all(&[1; 64]).is_ok() {}
    let _ = file.sync_all();
}

fn a_full_disk_is_an_error_and_no_more(disk: &Path) {
    let (dir, filler) = (disk.join("store"), disk.join("filler"));
    File::create(&filler).unwrap().write_all(&vec![1; 3 << 20]).unwrap();
    let open = || Options::new().background(false).open(&dir).unwrap();
    let store = open();
    let stream = store.create_stream(spec("a")).unwrap();

    // Until no segment can be had, however small; nothing is published half.
    let end = fill(&stream, 0, Durability::Interval);
    assert!(100 < end, "{end}");
    assert_eq!(fill(&stream, end, Durability::Sync), end);
    fill_the_rest(&disk.join("rest"));
    check(&stream, 0..end);
    let _ = store.tick();
    assert!(!stream.stats().unwrap().poisoned, "a full disk poisons nothing");
    assert_eq!(fill(&stream, end, Durability::Buffered), end);
    check(&stream, 0..end);

    // Room was made: it goes on by itself.
    fs::remove_file(&filler).unwrap();
    let more = fill(&stream, end, Durability::Sync);
    assert!(end < more, "nothing went in though there was room");
    check(&stream, 0..more);
    fill_the_rest(&filler);

    // A full disk is closed, opened and followed as any.
    store.close().unwrap();
    let store = open();
    let stream = store.stream("a").unwrap();
    check(&stream, 0..more);
    check(&Store::open_read_only(&dir).unwrap().stream("a").unwrap(), 0..more);

    // A stream is its name until its first append, which wants space.
    match store.create_stream(spec("b")) {
        Ok(other) => assert_eq!(fill(&other, 0, Durability::Sync), 0),
        Err(err) => assert_eq!(*err.kind(), ErrorKind::NoSpace, "{err:?}"),
    }

    // Retention works on the full disk, and makes room.
    let limited = StreamUpdate { max_bytes: Some(Some(2 << 20)), ..StreamUpdate::default() };
    match store.update_stream("a", limited) {
        // In force all the same: only the copy beside the stream has to wait for room.
        Err(err) => assert_eq!(*err.kind(), ErrorKind::NoSpace, "{err:?}"),
        Ok(info) => assert_eq!(info.max_bytes, Some(2 << 20)),
    }
    assert_eq!(store.stream_info("a").unwrap().max_bytes, Some(2 << 20));
    stream.sync().unwrap();
    let report = store.tick().unwrap();
    assert!(0 < report.removed_segments, "{report:?}");
    let mut reader = stream.read(Start::Beginning).unwrap();
    let first = match reader.next().unwrap() {
        Step::Records(batch) => {
            let body = batch.iter().next().unwrap().body();
            std::str::from_utf8(body).unwrap().split_once(' ').unwrap().0.parse().unwrap()
        }
        other => panic!("{other:?}"),
    };
    check(&stream, first..more);
    stream.append_with(&Record::new(&body(more)), Durability::Sync).unwrap();
    check(&stream, first..more + 1);
    if store.stream("b").is_err() {
        store.create_stream(spec("b")).unwrap();
    }
    let other = store.stream("b").unwrap();
    other.append_with(&Record::new(&body(0)), Durability::Sync).unwrap();
    store.close().unwrap();
    let store = open();
    check(&store.stream("a").unwrap(), first..more + 1);
    check(&store.stream("b").unwrap(), 0..1);
}

#[test]
fn a_full_tmpfs_is_an_error_and_no_more() {
    let Some(disk) = Mounted::tmpfs(16 << 20) else { return };
    a_full_disk_is_an_error_and_no_more(disk.dir.path());
}

#[test]
fn a_full_ext4_is_an_error_and_no_more() {
    let Some(disk) = Mounted::ext4(16 << 20) else { return };
    a_full_disk_is_an_error_and_no_more(disk.dir.path());
}

#[test]
fn on_a_full_ext4_a_segment_of_which_nothing_but_the_name_is_left_goes_aside() {
    for bytes in [0, 32 << 10] {
        let Some(disk) = Mounted::ext4(16 << 20) else { return };
        let (dir, filler) = (disk.dir.path().join("store"), disk.dir.path().join("filler"));
        let open = || Options::new().background(false).open(&dir).unwrap();
        let store = open();
        let stream = store.create_stream(spec("a")).unwrap();
        stream.append(&Record::new(&body(0))).unwrap();
        let id = store.stream_info("a").unwrap().id;
        let end = stream.published().unwrap();
        store.close().unwrap();
        let name = dir.join("streams").join(id.to_string()).join(format!("{end:020}.seg"));
        File::create(&name).unwrap().write_all(&vec![0; bytes]).unwrap();
        // Nothing of before is believed.
        fs::write(dir.join("era"), "torn").unwrap();
        fill_the_rest(&filler);
        let store = open();
        let stream = store.stream("a").unwrap();
        check(&stream, 0..1);
        assert!(stream.recovery().set_aside.iter().all(|path| path.exists()) && !name.exists());
        assert_eq!(stream.recovery().set_aside.len(), 1);
        fs::remove_file(&filler).unwrap();
        stream.append_with(&Record::new(&body(1)), Durability::Sync).unwrap();
        check(&stream, 0..2);
        store.close().unwrap();
    }
}

#[test]
fn on_an_ext4_without_room_for_a_large_segment_the_append_that_wants_it_leaves_the_room_there_is_to_others() {
    let Some(disk) = Mounted::ext4(24 << 20) else { return };
    let (dir, filler) = (disk.dir.path().join("store"), disk.dir.path().join("filler"));
    let open = || Options::new().background(false).open(&dir).unwrap();
    let store = open();
    let large = store.create_stream(spec("large")).unwrap();
    let append = |stream: &Stream| stream.append_with(&Record::new(&[b'x'; 10_000]), Durability::Sync);
    let body = vec![b'x'; 1 << 20];
    large.append_batch(&[Record::new(&body), Record::new(&body)]).unwrap();
    let small = store.create_stream(spec("small")).unwrap();
    append(&small).unwrap();
    // Of a stream that nobody writes to a large segment gives back what it holds above its end: 2 MiB.
    store.close().unwrap();
    fill_the_rest(&filler);
    let file = File::options().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - (300 << 10)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let store = open();
    let (large, small) = (store.stream("large").unwrap(), store.stream("small").unwrap());
    assert_eq!(*append(&large).unwrap_err().kind(), ErrorKind::NoSpace);
    let segments = small.stats().unwrap().segments;
    while small.stats().unwrap().segments == segments {
        append(&small).unwrap();
    }
    fs::remove_file(&filler).unwrap();
    append(&large).unwrap();
    store.close().unwrap();
}

#[test]
fn a_filesystem_that_can_reserve_nothing_is_refused_before_anything_is_stored() {
    let Some(disk) = Mounted::ext2(16 << 20) else { return };
    let dir = disk.dir.path().join("store");
    let store = Options::new().max_segment_bytes(1 << 20).open(&dir).unwrap();
    let stream = store.create_stream(spec("a")).unwrap();
    for durability in [Durability::Buffered, Durability::Sync] {
        let err = stream.append_with(&Record::new("a"), durability).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::Io, "{err:?}");
        assert!(err.to_string().contains("reserve space"), "{err}");
    }
    check(&stream, 0..0);
    store.close().unwrap();
    check(&Store::open(&dir).unwrap().stream("a").unwrap(), 0..0);
}

/// A disk that stays full for days: what expires makes room, and nothing else is needed for that.
#[cfg(feature = "sim")]
#[test]
fn retention_frees_a_disk_that_was_full_for_days() {
    use std::sync::Arc;
    use std::time::Duration;
    use tailwater::TtlDays;
    use tailwater::vfs::sim::SimClock;

    let Some(disk) = Mounted::tmpfs(16 << 20) else { return };
    let dir = disk.dir.path().join("store");
    let clock = SimClock::new(1_700_000_000_000_000_000);
    let open = || Options::new().background(false).clock(Arc::new(clock.clone())).open(&dir).unwrap();
    let store = open();
    let stream = store.create_stream(spec("a").ttl(TtlDays::new(5).unwrap())).unwrap();
    let end = fill(&stream, 0, Durability::Interval);
    fill_the_rest(&disk.dir.path().join("rest"));
    let mut removed = 0;
    for hour in 0..24 * 8 {
        clock.advance(Duration::from_secs(3600));
        // The clock's own mark may find no room; what matters is done all the same.
        match store.tick() {
            Ok(report) => removed += report.removed_segments,
            Err(err) => assert_eq!(*err.kind(), ErrorKind::NoSpace, "{err:?}"),
        }
        if hour < 24 * 5 - 2 {
            assert_eq!(removed, 0, "nothing has expired after {hour} hours");
            // Whatever room there is, others take.
            fill_the_rest(&disk.dir.path().join(format!("rest-{hour}")));
        }
    }
    let left = stream.stats().unwrap().segments;
    assert!(0 < removed || left == 0, "{removed} segments were removed, {left} are left");
    stream.append_with(&Record::new(&body(end)), Durability::Sync).unwrap();
    store.close().unwrap();
    let store = open();
    let mut reader = store.stream("a").unwrap().read(Start::Beginning).unwrap();
    let Step::Records(batch) = reader.next().unwrap() else { panic!("the last record is there") };
    assert!(batch.iter().next().unwrap().body() == body(end));
}
