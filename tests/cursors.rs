//! The cursor table of the design, row by row; every start; and what retention does to both.

#![cfg(feature = "sim")]

mod common;

use std::time::Duration;

use common::*;
use tailwater::vfs::Clock;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

/// Appends texts, one a millisecond.
fn fill(machine: &Machine, stream: &Stream, texts: &[&str]) -> Vec<Appended> {
    let append = |text: &&str| {
        machine.clock.advance(Duration::from_millis(1));
        stream.append(&Record::new(*text)).unwrap()
    };
    texts.iter().map(append).collect()
}

#[track_caller]
fn refused(stream: &Stream, cursor: Cursor) -> ErrorKind {
    stream.read(Start::Cursor(cursor)).unwrap_err().kind().clone()
}

/// The cursor with another offset, as a hostile or confused caller could make it: every checksum holds.
fn moved(cursor: Cursor, offset: u64) -> Cursor {
    let encoding = data_encoding::BASE32_DNSSEC;
    let mut bytes = encoding.decode(cursor.to_string().as_bytes()).unwrap();
    bytes[33..41].copy_from_slice(&offset.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..50]);
    bytes[50..].copy_from_slice(&crc.to_be_bytes());
    encoding.encode(&bytes).parse().unwrap()
}

// The table.

#[test]
fn a_cursor_that_does_not_decode_is_invalid() {
    let (_store, stream) = Machine::new().create();
    let text = stream.append(&Record::new("a")).unwrap().cursor().to_string();
    let invalid =
        |text: &str| assert_eq!(*text.parse::<Cursor>().unwrap_err().kind(), ErrorKind::CursorInvalid);
    invalid("");
    invalid("now");
    invalid(&text[1..]);
    invalid(&format!("{text}0"));
    invalid(&text.to_uppercase().replace(char::is_numeric, "w"));
    for at in 0..text.len() {
        for other in ["0", "7", "v", "-", "é"] {
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            if changed != text {
                invalid(&changed);
            }
        }
    }
    assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
}

#[test]
fn a_cursor_inside_a_frame_is_invalid() {
    let (_store, stream) = Machine::new().create();
    let first = stream.append(&Record::new(&[7; 100])).unwrap();
    let second = stream.append_batch(&[Record::new("b"), Record::new("c")]).unwrap();
    for offset in 1..second.end() {
        let is_boundary = [first.end(), second.offset(), second.offset() + 32].contains(&offset);
        let outcome = stream.read(Start::Cursor(moved(second.cursor(), offset)));
        match outcome {
            Ok(_) => assert!(is_boundary, "{offset} lies inside a frame"),
            Err(err) => {
                assert!(!is_boundary, "{offset}: {err}");
                assert_eq!(*err.kind(), ErrorKind::CursorInvalid, "{offset}");
            }
        }
    }
}

#[test]
fn a_cursor_of_another_stream_is_a_mismatch() {
    let (store, stream) = Machine::new().create();
    let other = store.create_stream(StreamSpec::new(StreamName::new("other").unwrap())).unwrap();
    let cursor = other.append(&Record::new("a")).unwrap().cursor();
    assert_eq!(refused(&stream, cursor), ErrorKind::CursorStreamMismatch);
}

#[test]
fn a_cursor_of_another_store_is_a_mismatch() {
    let (_here, stream) = Machine::new().create();
    let (_there, other) = Machine::new().create();
    stream.append(&Record::new("a")).unwrap();
    let cursor = other.append(&Record::new("a")).unwrap().cursor();
    assert_eq!(refused(&stream, cursor), ErrorKind::CursorStreamMismatch);
}

#[test]
fn a_cursor_beyond_what_its_epoch_kept_diverged_and_says_from_where_it_is_safe() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let kept = fill(&machine, &stream, &["a", "b"]);
    stream.sync().unwrap();
    let lost = fill(&machine, &stream, &["lost", "lost as well"]);
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    // The new log is longer than the lost one was, so offsets alone could not tell.
    fill(&machine, &stream, &["c", "d", "e", "f", "g"]);
    assert!(lost[1].end() < stream.published().unwrap());
    for lost in lost {
        let ErrorKind::CursorDiverged { safe } = refused(&stream, lost.cursor()) else { panic!() };
        assert_eq!(safe, kept[1].cursor());
        assert_eq!(bodies(&stream, Start::Cursor(safe)), ["c", "d", "e", "f", "g"]);
    }
    assert_eq!(bodies(&stream, Start::Cursor(kept[0].cursor())), ["b", "c", "d", "e", "f", "g"]);
}

#[test]
fn a_cursor_to_what_was_lost_right_after_a_clean_opening_diverged() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let kept = fill(&machine, &stream, &["a"])[0];
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    let lost = fill(&machine, &stream, &["lost"])[0];
    machine.crash(Crash::DropUnsynced);
    let (_store, stream) = machine.open().unwrap();
    assert!(!stream.recovery().clean);
    // Of the same size, so that it would end where the lost one did.
    fill(&machine, &stream, &["b   ", "c"]);
    let ErrorKind::CursorDiverged { safe } = refused(&stream, lost.cursor()) else { panic!() };
    assert_eq!(safe, kept.cursor());
}

#[test]
fn a_cursor_that_diverged_two_crashes_ago_still_does() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let kept = stream.append_with(&Record::new("a"), Durability::Sync).unwrap();
    let lost = stream.append(&Record::new("lost")).unwrap();
    let mut live = Vec::new();
    for body in ["b", "c", "d"] {
        machine.crash(Crash::DropUnsynced);
        let (_store, stream) = machine.open().unwrap();
        live.push(stream.append_with(&Record::new(body), Durability::Sync).unwrap());
        let ErrorKind::CursorDiverged { safe } = refused(&stream, lost.cursor()) else { panic!() };
        assert_eq!(safe, kept.cursor());
        assert_eq!(bodies(&stream, Start::Cursor(safe)).len(), live.len());
    }
    let (_store, stream) = (machine.crash(Crash::KeepAll), machine.open().unwrap().1);
    assert_eq!(bodies(&stream, Start::Cursor(live[0].cursor())), ["c", "d"]);
}

#[test]
fn a_cursor_that_diverged_right_at_the_logs_start_says_so_also_where_the_next_record_expired() {
    let machine = Machine::new();
    let (_store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    stream.append_with(&Record::new("common"), Durability::Sync).unwrap();
    // A copy goes its own way, and comes to the same offsets.
    let copy = machine.disk.fork_crashed(Crash::KeepAll);
    machine.crash(Crash::KeepAll);
    let (store, stream) = machine.open().unwrap();
    let (_other_store, other) = machine.open_on(&copy).unwrap();
    let mut last = None;
    let cursor = loop {
        machine.clock.advance(Duration::from_secs(60));
        let before = last.replace(other.append(&Record::new(&[b'x'; 999])).unwrap().cursor());
        stream.append(&Record::new(&[b'x'; 999])).unwrap();
        if stream.stats().unwrap().segments == 2 {
            break before.unwrap();
        }
    };
    // The first segment goes; then all of the second expires, and stays until a tick.
    machine.clock.advance(DAY - Duration::from_secs(30));
    store.tick().unwrap();
    assert_eq!(stream.stats().unwrap().log_start, cursor.offset());
    machine.clock.advance(Duration::from_secs(60));
    assert!(matches!(refused(&stream, cursor), ErrorKind::CursorDiverged { .. }));
}

#[test]
fn a_cursor_beyond_the_published_end_is_ahead_and_says_where_the_tail_is() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let last = fill(&machine, &stream, &["a", "b"])[1];
    for beyond in [8, 24, 1 << 20, 1 << 50] {
        let err = refused(&stream, moved(last.cursor(), last.end() + beyond));
        assert_eq!(err, ErrorKind::CursorAhead { tail: last.cursor() });
    }
}

#[test]
fn a_cursor_before_the_visible_start_expired_and_says_the_oldest_and_what_was_skipped() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let begin = stream.read(Start::Now).unwrap().cursor();
    let old = fill(&machine, &stream, &["a", "b"]);
    machine.clock.advance(HOUR);
    let young = fill(&machine, &stream, &["c"]);
    machine.clock.advance(DAY - HOUR);
    for tick in [false, true] {
        for (cursor, skipped) in [(begin, old[1].end()), (old[0].cursor(), old[1].end() - old[0].end())] {
            let ErrorKind::CursorExpired { oldest, skipped_bytes } = refused(&stream, cursor) else {
                panic!()
            };
            assert_eq!((oldest, skipped_bytes), (old[1].cursor(), skipped), "after a tick: {tick}");
            assert_eq!(bodies(&stream, Start::Cursor(oldest)), ["c"]);
        }
        assert_eq!(bodies(&stream, Start::Cursor(old[1].cursor())), ["c"]);
        store.tick().unwrap();
    }
    machine.clock.advance(2 * HOUR);
    store.tick().unwrap();
    let ErrorKind::CursorExpired { oldest, skipped_bytes } = refused(&stream, begin) else { panic!() };
    assert_eq!((oldest, skipped_bytes), (young[0].cursor(), young[0].end()));
    assert_eq!(bodies(&stream, Start::Cursor(young[0].cursor())), [""; 0]);
}

#[test]
fn a_cursor_whose_records_were_removed_for_their_size_expired() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().max_bytes(256 << 10));
    let first = stream.append(&Record::new("first")).unwrap();
    for _ in 0..100 {
        stream.append(&Record::new(&[1; 8000])).unwrap();
        store.tick().unwrap();
    }
    let ErrorKind::CursorExpired { oldest, skipped_bytes } = refused(&stream, first.cursor()) else {
        panic!()
    };
    assert_eq!(oldest.offset(), stream.stats().unwrap().log_start);
    assert_eq!(skipped_bytes, oldest.offset() - first.end());
    assert_eq!(records(&stream, Start::Cursor(oldest)).len(), records(&stream, Start::Beginning).len());
}

/// Nothing that such a reader wants is gone: only the mark of an epoch lies between.
#[test]
fn a_cursor_with_no_expired_record_behind_it_resumes() {
    let machine = Machine::new();
    let (_store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let last = stream.append(&Record::new("a")).unwrap();
    machine.crash(Crash::KeepAll);
    let (_store, stream) = machine.open().unwrap();
    machine.clock.advance(HOUR);
    stream.append(&Record::new("b")).unwrap();
    machine.clock.advance(DAY - HOUR / 2);
    assert_eq!(bodies(&stream, Start::Beginning), ["b"]);
    assert_eq!(bodies(&stream, Start::Cursor(last.cursor())), ["b"]);
    machine.clock.advance(HOUR);
    assert!(matches!(refused(&stream, last.cursor()), ErrorKind::CursorExpired { .. }));
}

// The text.

#[test]
fn cursors_sort_as_text_as_they_lie_in_the_log_also_across_a_crash_that_lost_data() {
    let machine = Machine::new();
    let (_store, mut stream) = machine.create();
    let mut texts = vec![stream.read(Start::Now).unwrap().cursor().to_string()];
    for _ in 0..4 {
        // More is lost than comes after, so that offsets fall.
        for size in [0, 10, 2000] {
            machine.clock.advance(Duration::from_millis(1));
            texts.push(stream.append(&Record::new(&vec![1; size])).unwrap().cursor().to_string());
        }
        machine.crash(Crash::DropUnsynced);
        stream = machine.open().unwrap().1;
        texts.push(stream.append_with(&Record::new("kept"), Durability::Sync).unwrap().cursor().to_string());
    }
    assert!(texts.is_sorted_by(|a, b| a < b), "{texts:#?}");
}

#[test]
fn equal_positions_have_equal_texts_however_they_were_reached() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let appended = fill(&machine, &stream, &["a", "b", "c"]);
    check_positions(&stream, &appended);
    store.close().unwrap();
    check_positions(&machine.open().unwrap().1, &appended);
    machine.crash(Crash::DropUnsynced);
    check_positions(&machine.open().unwrap().1, &appended);
}

#[track_caller]
fn check_positions(stream: &Stream, appended: &[Appended]) {
    for (index, this) in appended.iter().enumerate() {
        let text = this.cursor().to_string();
        let is = |start| {
            let cursor = stream.read(start).unwrap().cursor();
            assert_eq!(cursor.to_string(), text, "from {start:?}");
        };
        is(Start::Cursor(this.cursor()));
        match appended.get(index + 1) {
            Some(next) => {
                is(Start::Time(next.ingest_time()));
                is(Start::Last((appended.len() - index - 1) as u64));
            }
            None => is(Start::Now),
        }
        let mut reader = stream.read(Start::Beginning).unwrap();
        let Step::Records(batch) = reader.next_within(Limit::records(index + 1)).unwrap() else { panic!() };
        assert_eq!((reader.cursor().to_string(), batch.cursor().to_string()), (text.clone(), text.clone()));
        assert_eq!(batch.iter().last().unwrap().cursor().to_string(), text);
    }
}

/// What reads from here give: the steps up to some, as text, or why there are none.
fn ahead(reader: &mut Reader) -> Vec<String> {
    let mut step = || reader.next_within(Limit::records(2));
    (0..3)
        .map(|_| step().map_or_else(|err| format!("{:?}", err.kind()), |step| format!("{step:?}")))
        .collect()
}

/// Seeks from everywhere to everywhere. A reader that sought is to be one that was opened there, and one that could not is to be
/// where it was.
fn check_seeks(stream: &Stream, starts: &[Start]) {
    for from in starts {
        for to in starts {
            for reads in [false, true] {
                let Ok(mut reader) = stream.read(*from) else { continue };
                if reads {
                    ahead(&mut reader);
                }
                let before = reader.cursor();
                let what = format!("from {from:?} to {to:?}, reading between: {reads}");
                let mut same = match (reader.seek(*to), stream.read(*to)) {
                    (Ok(()), Ok(opened)) => opened,
                    (Err(sought), Err(opened)) => {
                        assert_eq!(sought.kind(), opened.kind(), "{what}");
                        // Of what expired where it stands it says so as a gap, and a new one would be refused.
                        let Ok(stayed) = stream.read(Start::Cursor(before)) else {
                            assert_eq!(reader.cursor(), before, "{what}");
                            continue;
                        };
                        stayed
                    }
                    (sought, opened) => panic!("{what}: {sought:?}, but opened {opened:?}"),
                };
                assert_eq!(reader.cursor(), same.cursor(), "{what}");
                assert_eq!(ahead(&mut reader), ahead(&mut same), "{what}");
            }
        }
    }
}

#[test]
fn a_reader_that_seeks_is_one_opened_there_and_one_that_cannot_stands_where_it_stood() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let large = "x".repeat(20 << 10);
    let mut appended = fill(&machine, &stream, &["1", "2", &large, &large, "3", &large, &large]);
    appended.push(stream.append_batch(&[Record::new("4"), Record::new("5")]).unwrap());
    machine.clock.advance(HOUR);
    appended.extend(fill(&machine, &stream, &[&large, "6", "7"]));
    assert!(2 < machine.segments().len(), "it has several segments");
    let other = Machine::new().create().1.append(&Record::new("of another stream")).unwrap();
    let time = appended[4].ingest_time();
    let mut starts = vec![
        Start::Beginning,
        Start::Now,
        Start::Last(3),
        Start::Time(time),
        Start::EventTime(time),
        Start::Cursor(other.cursor()),
        Start::Cursor(moved(appended[1].cursor(), appended[1].end() - 8)),
        Start::Cursor(moved(appended[9].cursor(), appended[9].end() + (1 << 20))),
    ];
    starts.extend(appended.iter().map(|appended| Start::Cursor(appended.cursor())));
    check_seeks(&stream, &starts);
    // What was appended first has expired, and then its files are gone.
    machine.clock.advance(DAY - HOUR / 2);
    check_seeks(&stream, &starts);
    store.tick().unwrap();
    check_seeks(&stream, &starts);
    // With damage ahead.
    machine.disk.flip_bit(machine.segments().last().unwrap(), (4096 + 100) * 8);
    check_seeks(&stream, &starts);
}

// The starts.

#[test]
fn every_start_begins_where_it_says() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let mut times = Vec::new();
    for (number, event) in [Some(30), None, Some(10), Some(50), Some(20)].into_iter().enumerate() {
        machine.clock.advance(HOUR);
        let body = number.to_string();
        let event_time = event.map(Timestamp::from_nanos);
        let appended = stream.append(&Record { event_time, ..Record::new(&body) }).unwrap();
        times.push(appended.ingest_time());
    }
    let from = |start, expected: &[&str]| assert_eq!(bodies(&stream, start), expected, "from {start:?}");
    let nanos = |nanos| Timestamp::from_nanos(nanos);
    from(Start::Beginning, &["0", "1", "2", "3", "4"]);
    from(Start::Now, &[]);
    from(Start::Last(0), &[]);
    from(Start::Last(1), &["4"]);
    from(Start::Last(4), &["1", "2", "3", "4"]);
    from(Start::Last(5), &["0", "1", "2", "3", "4"]);
    from(Start::Last(u64::MAX), &["0", "1", "2", "3", "4"]);
    from(Start::Time(Timestamp::MIN), &["0", "1", "2", "3", "4"]);
    from(Start::Time(times[2]), &["2", "3", "4"]);
    from(Start::Time(nanos(times[2].as_nanos() - 1)), &["2", "3", "4"]);
    from(Start::Time(nanos(times[2].as_nanos() + 1)), &["3", "4"]);
    from(Start::Time(Timestamp::MAX), &[]);
    from(Start::EventTime(nanos(30)), &["0", "1", "2", "3", "4"]);
    from(Start::EventTime(nanos(31)), &["3", "4"]);
    from(Start::EventTime(nanos(51)), &[]);
}

#[test]
fn every_start_of_an_empty_stream_is_its_end() {
    let (_store, stream) = Machine::new().create();
    let cursor = stream.read(Start::Now).unwrap().cursor();
    let zero = Timestamp::from_nanos(0);
    for start in
        [Start::Beginning, Start::Time(zero), Start::EventTime(zero), Start::Last(3), Start::Cursor(cursor)]
    {
        assert_eq!(stream.read(start).unwrap().cursor(), cursor, "{start:?}");
        assert_eq!(bodies(&stream, start), [""; 0]);
    }
    stream.append(&Record::new("a")).unwrap();
    assert_eq!(bodies(&stream, Start::Cursor(cursor)), ["a"]);
}

// Retention.

#[test]
fn a_record_is_gone_at_the_nanosecond_its_ttl_ends() {
    let machine = Machine::new();
    let (_store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    stream.append(&Record::new("a")).unwrap();
    machine.clock.advance(Duration::from_nanos(1));
    stream.append(&Record::new("b")).unwrap();
    machine.clock.advance(DAY - Duration::from_nanos(1));
    assert_eq!(bodies(&stream, Start::Beginning), ["a", "b"]);
    machine.clock.advance(Duration::from_nanos(1));
    for start in [Start::Beginning, Start::Last(9), Start::Time(Timestamp::MIN)] {
        assert_eq!(bodies(&stream, start), ["b"]);
    }
    machine.clock.advance(Duration::from_nanos(1));
    assert_eq!(bodies(&stream, Start::Beginning), [""; 0]);
}

#[test]
fn a_reader_on_its_way_gets_a_gap_where_records_expired() {
    let machine = Machine::new();
    let (_store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let old = fill(&machine, &stream, &["a", "b", "c"]);
    machine.clock.advance(HOUR);
    fill(&machine, &stream, &["d"]);
    let mut reader = stream.read(Start::Beginning).unwrap();
    let Step::Records(batch) = reader.next_within(Limit::records(1)).unwrap() else { panic!() };
    machine.clock.advance(DAY - HOUR);
    let (seen, gaps) = drain(&mut reader, Limit::default());
    assert_eq!(texts(&seen), ["d"]);
    assert_eq!(gaps.len(), 1);
    let gap = gaps[0];
    assert_eq!((gap.start, gap.end, gap.reason), (old[0].end(), old[2].end(), GapReason::Expired));
    assert_eq!(gap.cursor, old[2].cursor());
    assert_eq!(batch.iter().next().unwrap().body(), b"a", "a batch that is held stays valid");
}

#[test]
fn a_clock_set_back_never_brings_back_what_expired() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    fill(&machine, &stream, &["a"]);
    machine.clock.advance(DAY - HOUR);
    fill(&machine, &stream, &["b"]);
    machine.clock.advance(2 * HOUR);
    assert_eq!(bodies(&stream, Start::Beginning), ["b"]);
    machine.clock.set_wall(machine.clock.wall() - 30 * DAY.as_nanos() as i64);
    // The store looks at the clock, and finds nothing old enough to be removed.
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["b"]);
    let late = stream.append(&Record::new("c")).unwrap();
    assert_eq!(records(&stream, Start::Last(1))[0].ingest, late.ingest_time());
    assert!(records(&stream, Start::Beginning)[0].ingest < late.ingest_time());
}

#[test]
fn a_longer_ttl_never_brings_back_what_expired() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(5).unwrap()));
    let ttl = |store: &Store, days| {
        let ttl = Some(Some(TtlDays::new(days).unwrap()));
        store.update_stream(NAME, StreamUpdate { ttl, ..StreamUpdate::default() }).unwrap();
    };
    fill(&machine, &stream, &["a"]);
    machine.clock.advance(2 * DAY);
    fill(&machine, &stream, &["b"]);
    ttl(&store, 1);
    assert_eq!(bodies(&stream, Start::Beginning), ["b"], "a shorter TTL acts at once");
    ttl(&store, 365);
    assert_eq!(bodies(&stream, Start::Beginning), ["b"]);
    machine.crash(Crash::DropUnsynced);
    let (store, stream) = machine.open().unwrap();
    fill(&machine, &stream, &["c"]);
    ttl(&store, 300);
    assert_eq!(bodies(&stream, Start::Beginning), ["c"], "b was never synced");
}

#[test]
fn an_idle_stream_ends_with_no_active_file_and_no_space_taken() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    let last = fill(&machine, &stream, &["a", "b"])[1];
    store.tick().unwrap();
    assert_eq!(machine.segments().len(), 1);
    machine.clock.advance(DAY + Duration::from_secs(1));
    let report = store.tick().unwrap();
    assert_eq!(report.removed_segments, 1);
    assert_eq!(machine.segments(), [""; 0].map(std::path::PathBuf::from));
    let stats = stream.stats().unwrap();
    assert_eq!((stats.segments, stats.disk_bytes, stats.records), (0, 0, 0));
    assert_eq!(stats.log_start, last.end());
    // Offsets go on where they were, also after a restart.
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    assert!(stream.recovery().clean);
    assert_eq!(stream.read(Start::Cursor(last.cursor())).unwrap().cursor(), last.cursor());
    assert_eq!(stream.append(&Record::new("c")).unwrap().offset(), last.end());
    assert_eq!(bodies(&stream, Start::Cursor(last.cursor())), ["c"]);
}

#[test]
fn space_comes_back_within_the_ttl_and_the_roll_age_and_one_tick() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    // A trickle would never fill a segment.
    for hour in 0..200 {
        stream.append(&Record::new(&format!("{hour}"))).unwrap();
        machine.clock.advance(HOUR);
        store.tick().unwrap();
        let oldest = stream.stats().unwrap().oldest.unwrap();
        let age = machine.clock.wall() - oldest.as_nanos();
        assert!(age <= (DAY + DAY / 8 + 2 * HOUR).as_nanos() as i64, "after {hour} hours");
        let expected = (hour + 1).min(24);
        assert_eq!(bodies(&stream, Start::Beginning).len(), expected);
    }
    assert!(machine.segments().len() <= 12);
}

#[test]
fn every_start_of_a_log_that_expired_whole_is_its_end() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    for number in 0..100 {
        stream.append(&Record::new(&format!("{number}"))).unwrap();
    }
    for _ in 0..60 {
        machine.clock.advance(HOUR);
        store.tick().unwrap();
    }
    assert_eq!(machine.segments().len(), 0);
    let starts =
        [Start::Beginning, Start::Last(1), Start::Last(u64::MAX), Start::Time(Timestamp::MIN), Start::Now];
    for start in starts {
        assert_eq!(bodies(&stream, start).len(), 0, "{start:?}");
    }
}

#[test]
fn a_file_that_retention_could_not_remove_goes_at_the_next_tick() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().max_bytes(512 << 10));
    machine.disk.fail(Fault { op: Op::Remove, nth: 1, error: std::io::ErrorKind::Other, sticky: false });
    let mut failed = 0;
    for number in 0..200 {
        stream.append(&Record::new(&format!("{number:08000}"))).unwrap();
        failed += usize::from(store.tick().is_err());
    }
    assert_eq!(failed, 1);
    store.tick().unwrap();
    assert_eq!(machine.segments().len(), stream.stats().unwrap().segments);
}

#[test]
fn max_bytes_bounds_the_disk_and_removes_the_oldest_first() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().max_bytes(512 << 10));
    for number in 0..200 {
        stream.append(&Record::new(&format!("{number:08000}"))).unwrap();
        store.tick().unwrap();
        assert!(stream.stats().unwrap().disk_bytes <= 512 << 10);
    }
    let left = bodies(&stream, Start::Beginning);
    assert!(30 < left.len(), "no more is removed than must be: {}", left.len());
    let first = 200 - left.len();
    for (index, body) in left.iter().enumerate() {
        assert_eq!(body.parse::<usize>().unwrap(), first + index);
    }
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_for_a_minute_deletes_nothing() {
    let machine = Machine::new();
    let (store, stream) = machine.create_with(spec().ttl(TtlDays::new(1).unwrap()));
    fill(&machine, &stream, &["a"]);
    store.sync().unwrap();
    let wall = machine.clock.wall();
    machine.clock.set_wall(wall + 3650 * DAY.as_nanos() as i64);
    for _ in 0..60 {
        store.tick().unwrap();
        assert_eq!(bodies(&stream, Start::Beginning), ["a"]);
        machine.clock.advance(Duration::from_secs(1));
    }
    machine.clock.set_wall(wall + Duration::from_secs(60).as_nanos() as i64);
    let appended = fill(&machine, &stream, &["b"])[0];
    assert!(appended.ingest_time().as_nanos() < wall + HOUR.as_nanos() as i64);
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["a", "b"]);
    store.close().unwrap();
    machine.clock.set_wall(wall + 3650 * DAY.as_nanos() as i64);
    let (store, stream) = machine.open().unwrap();
    store.tick().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["a", "b"], "nor does a restart in that minute");
}

/// Has the recovery of a log die at each of its calls. `age` fills one on a machine, ends it with a tick, and says the last append.
#[track_caller]
fn check_resumes_however_recovery_died(age: impl Fn(&Machine) -> (Store, Stream, Appended)) {
    for nth in 1..200 {
        let machine = Machine::new();
        let (_store, stream, last) = age(&machine);
        stream.append(&Record::new("lost")).unwrap();
        machine.crash(Crash::DropUnsynced);
        machine.disk.crash_at(nth);
        let died = machine.open();
        machine.crash(Crash::KeepAll);
        let (_store, stream) = machine.open().unwrap();
        assert_eq!(bodies(&stream, Start::Cursor(last.cursor())), [""; 0], "died at call {nth}");
        if died.is_ok() {
            return;
        }
    }
    panic!("opening takes that many calls");
}

/// Each attempt raises the epoch before it writes anything, and may get no further.
#[test]
fn a_cursor_at_the_end_resumes_however_often_recovery_died() {
    check_resumes_however_recovery_died(|machine| {
        let (store, stream) = machine.create();
        let last = fill(machine, &stream, &["a"])[0];
        machine.clock.advance(HOUR * 7);
        store.tick().unwrap();
        (store, stream, last)
    });
}

/// What tells the epoch is then a sealed segment, and not the checkpoint, which speaks of an epoch that nothing was written in.
#[test]
fn a_cursor_of_a_later_epoch_at_the_end_of_a_sealed_log_resumes_however_often_recovery_died() {
    check_resumes_however_recovery_died(|machine| {
        let (_store, stream) = machine.create();
        fill(machine, &stream, &["a"]);
        machine.crash(Crash::DropUnsynced);
        let (store, stream) = machine.open().unwrap();
        let last = fill(machine, &stream, &["b"])[0];
        machine.clock.advance(DAY * 7);
        store.tick().unwrap();
        (store, stream, last)
    });
}

#[test]
fn a_reader_that_passed_the_mark_of_a_new_epoch_stands_where_it_stood() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let written = stream.append_with(&Record::new("1"), Durability::Sync).unwrap().cursor();
    machine.crash(Crash::DropUnsynced);
    drop((store, stream));
    let (_store, stream) = machine.open().unwrap();
    // Behind the record lies the mark that recovery wrote, and nothing else.
    let mut reader = stream.read(Start::Beginning).unwrap();
    while !matches!(reader.next().unwrap(), Step::End) {}
    assert_eq!(reader.cursor(), written);
    stream.append(&Record::new("2")).unwrap();
    assert_eq!(bodies(&stream, Start::Cursor(reader.cursor())), ["2"]);
    assert!(matches!(reader.next().unwrap(), Step::Records(_)));
    assert_eq!(bodies(&stream, Start::Cursor(reader.cursor())), [""; 0]);
}
