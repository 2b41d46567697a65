//! Arguments that nobody should hand over: cursors, names, sizes, bodies and policies. Each is taken as it is or refused with a
//! typed error, before anything is stored.

#![cfg(feature = "sim")]

mod common;

use common::*;
use tailwater::*;

/// A cursor's bytes, altered and given the checksum they need.
fn forged(cursor: Cursor, change: impl FnOnce(&mut [u8])) -> Result<Cursor> {
    let encoding = data_encoding::BASE32_DNSSEC;
    let mut bytes = encoding.decode(cursor.to_string().as_bytes()).unwrap();
    change(&mut bytes);
    let crc = crc32fast::hash(&bytes[..50]);
    bytes[50..].copy_from_slice(&crc.to_be_bytes());
    encoding.encode(&bytes).parse()
}

#[track_caller]
fn check_no_cursor(text: &str) {
    let start = &text[..text.len().min(100)];
    assert_eq!(*text.parse::<Cursor>().unwrap_err().kind(), ErrorKind::CursorInvalid, "{start:?}");
    assert_eq!(*text.parse::<SessionCursor>().unwrap_err().kind(), ErrorKind::CursorInvalid, "{start:?}");
}

#[test]
fn a_cursor_cut_lengthened_huge_or_of_another_version_is_invalid() {
    let (_store, stream) = Machine::new().create();
    let cursor = stream.append(&Record::new("a")).unwrap().cursor();
    let text = cursor.to_string();
    for length in 0..text.len() {
        check_no_cursor(&text[..length]);
    }
    for huge in ["0", "v", "\0", "\u{1f4a3}", &text] {
        check_no_cursor(&huge.repeat((1 << 20) / huge.len()));
    }
    for version in (0..=255).filter(|version| *version != 1) {
        let err = forged(cursor, |bytes| bytes[0] = version).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::CursorInvalid, "version {version}");
    }
    for flags in 1..=255 {
        let err = forged(cursor, |bytes| bytes[49] = flags).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::CursorInvalid, "flags {flags}");
    }
}

#[test]
fn a_cursor_with_any_offset_and_time_is_a_position_or_a_typed_error() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let appended: Vec<_> =
        (0..10).map(|number| stream.append(&Record::new(&[number; 100])).unwrap()).collect();
    let last = appended[9];
    let end = last.end();
    let offsets = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, u64::MAX << bit]).chain(0..=end + 64);
    for offset in offsets {
        for ingest in [[0; 8], [0xff; 8]] {
            let Ok(cursor) = forged(last.cursor(), |bytes| {
                bytes[33..41].copy_from_slice(&offset.to_be_bytes());
                bytes[41..49].copy_from_slice(&ingest);
            }) else {
                continue;
            };
            match stream.read(Start::Cursor(cursor)) {
                Ok(mut reader) => {
                    assert!(offset <= end, "{offset} is beyond the end");
                    let (seen, gaps) = drain(&mut reader, Limit::default());
                    assert!(gaps.is_empty() && seen.iter().all(|seen| offset <= seen.offset), "{offset}");
                }
                Err(err) => match err.kind() {
                    ErrorKind::CursorInvalid => {}
                    ErrorKind::CursorAhead { .. } => assert!(end < offset, "{offset}"),
                    other => panic!("{offset}: {other:?}"),
                },
            }
        }
    }
}

#[test]
fn a_hostile_name_is_refused_or_kept_as_it_is_and_is_never_a_path() {
    let machine = Machine::new();
    let (store, _stream) = machine.create();
    let before = machine.disk.list_all();
    let long = "a".repeat(64 << 10);
    let refused = [
        "",
        ".",
        "..",
        "../x",
        "/etc",
        "a/b",
        "a\\b",
        "a\0",
        "\0",
        "a\n",
        "a b",
        "\u{1f600}",
        "\u{202e}abc",
        "\u{e9}",
        "e\u{301}",
        "a\u{200b}",
        "\u{fffd}",
        "C:",
        "%2e%2e",
        &long,
    ];
    for name in refused {
        for err in [StreamName::new(name).err(), GroupName::new(name).err(), TenantId::new(name).err()] {
            let err = err.unwrap_or_else(|| panic!("{:?} is no name", &name[..name.len().min(20)]));
            assert!(matches!(err.kind(), ErrorKind::Invalid { .. }), "{err}");
            assert!(err.to_string().len() < 1000, "an error is no echo");
        }
        assert!(matches!(store.stream(name).unwrap_err().kind(), ErrorKind::NotFound), "{name:?}");
    }
    assert_eq!(machine.disk.list_all(), before, "nothing was made");
    // What Windows or a case-blind filesystem would take for one is two streams here, under ids.
    for names in [["CON", "con"], ["Web", "WEB"], ["nul", "NUL"]] {
        let made = names.map(|name| {
            let stream = store.create_stream(StreamSpec::new(StreamName::new(name).unwrap())).unwrap();
            stream.append(&Record::new(name)).unwrap();
            stream.id()
        });
        assert_ne!(made[0], made[1]);
        for name in names {
            assert_eq!(bodies(&store.stream(name).unwrap(), Start::Beginning), [name]);
        }
    }
    let held = machine.disk.list_all();
    assert!(held.iter().all(|path| !path.to_string_lossy().to_lowercase().contains("con/")));
}

#[track_caller]
fn too_large<T: std::fmt::Debug>(stream: &Stream, outcome: Result<T>, limit: usize, actual: usize) {
    let end = stream.published().unwrap();
    let expected = ErrorKind::TooLarge { limit: limit as u64, actual: actual as u64 };
    assert_eq!(*outcome.unwrap_err().kind(), expected);
    assert_eq!(stream.published().unwrap(), end);
}

#[test]
fn a_record_of_any_size_fits_whole_or_is_refused_before_anything_is_stored() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    // Larger than the segments that the store was told to make, too.
    for size in [0, 1, 7, 8, 4096, 64 << 10, (64 << 10) + 1, MAX_BODY - 1, MAX_BODY] {
        let body = vec![size as u8; size];
        stream.append(&Record::new(&body)).unwrap();
        assert_eq!(records(&stream, Start::Last(1))[0].body, body, "{size}");
    }
    let end = stream.published().unwrap();
    let body = vec![0; MAX_BODY + 1];
    too_large(&stream, stream.append(&Record::new(&body)), MAX_BODY, MAX_BODY + 1);
    let body = vec![0; 64 << 20];
    too_large(&stream, stream.append(&Record::new(&body)), MAX_BODY, 64 << 20);
    let key = "k".repeat(MAX_KEY + 1);
    let value = "v".repeat(MAX_VALUE + 1);
    too_large(&stream, stream.append(&Record::new("").attributes(&[(&key, "")])), MAX_KEY, MAX_KEY + 1);
    too_large(
        &stream,
        stream.append(&Record::new("").attributes(&[("k", &value)])),
        MAX_VALUE,
        MAX_VALUE + 1,
    );
    let many = vec![("k", "v"); 1_000_000];
    too_large(&stream, stream.append(&Record::new("").attributes(&many)), MAX_ATTRIBUTES, 1_000_000);
    assert_eq!(stream.published().unwrap(), end, "nothing was stored");
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_batch_of_none_or_of_a_million_is_refused_and_the_largest_is_stored() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let err = stream.append_batch(&[]).unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Invalid { .. }), "{err}");
    let million = vec![Record::new(""); 1_000_000];
    too_large(&stream, stream.append_batch(&million), MAX_BATCH_RECORDS, 1_000_000);
    assert_eq!(stream.published().unwrap(), 0);
    stream.append_batch(&million[..MAX_BATCH_RECORDS]).unwrap();
    let body = vec![7; MAX_BODY];
    stream.append_batch(&[Record::new(&body); MAX_BATCH / MAX_BODY]).unwrap();
    let over = [Record::new(&body); MAX_BATCH / MAX_BODY + 1];
    too_large(&stream, stream.append_batch(&over), MAX_BATCH, over.len() * MAX_BODY);
    assert_eq!(records(&stream, Start::Beginning).len(), MAX_BATCH_RECORDS + 8);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_body_of_any_bytes_comes_back() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let every: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 8] = [
        &every,
        b"\0\0\0\0\0\0\0\0",
        b"a\r\nb\rc\n",
        b"\x1b[31mred\x1b]0;title\x07",
        b"\xff\xfe\xc3\x28",
        "\u{202e}\u{1f4a3}".as_bytes(),
        b"\x89TWCR\r\n\x1a twaterS\n wmrk seal indx",
        &[0xff; 4096],
    ];
    for body in bodies {
        stream.append(&Record::new(body)).unwrap();
    }
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    assert!(records(&stream, Start::Beginning).iter().map(|seen| &seen.body[..]).eq(bodies));
}

#[test]
fn a_ttl_is_a_number_of_days_and_its_change_deletes_no_more_than_it_says() {
    for days in [0, 366, u16::MAX] {
        let err = TtlDays::new(days).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::Invalid { field: "ttl_in_days" }, "{days}");
    }
    for days in [i64::MIN, -1, 0, i64::from(u32::MAX), i64::MAX] {
        assert!(TtlDays::try_from(days).is_err(), "{days}");
    }
    let machine = Machine::new();
    let ttl = |days| TtlDays::new(days).unwrap();
    let (store, stream) = machine.create_with(spec().ttl(ttl(365)));
    for number in 0..10 {
        stream.append(&Record::new(&format!("{number}"))).unwrap();
        machine.clock.advance(DAY);
        store.tick().unwrap();
    }
    // What is a day old and no older stays, at once and after every tick; what went stays gone.
    for (days, oldest) in [(365, 0), (5, 5), (365, 5), (2, 8), (1, 9)] {
        store
            .update_stream(NAME, StreamUpdate { ttl: Some(Some(ttl(days))), ..StreamUpdate::default() })
            .unwrap();
        for _ in 0..3 {
            let left: Vec<_> = (oldest..10).map(|number| number.to_string()).collect();
            let (seen, _) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            assert_eq!(texts(&seen), left, "{days} days");
            store.tick().unwrap();
        }
    }
}

#[test]
fn a_cursor_of_an_epoch_that_never_was_costs_no_look_at_every_segment() {
    // A hundred more segments cost two more steps of a bisection, in each of which a header is read.
    let calls = |segments: usize| {
        let machine = Machine::new();
        let (store, stream) = machine.create();
        while machine.segments().len() < segments {
            stream.append(&Record::new(&[1; 60_000])).unwrap();
        }
        let last = stream.append(&Record::new("x")).unwrap().cursor();
        store.close().unwrap();
        let epochs = [(u64::MAX >> 1, 1), (2, 1), (1, 7), (0, 7)];
        epochs.map(|(number, id): (u64, u64)| {
            let cursor = forged(last, |bytes| {
                bytes[17..25].copy_from_slice(&number.to_be_bytes());
                bytes[25..33].copy_from_slice(&id.to_be_bytes());
            });
            let (_store, stream) = machine.open().unwrap();
            let before = machine.disk.calls();
            let err = stream.read(Start::Cursor(cursor.unwrap())).map(drop).unwrap_err();
            assert!(matches!(err.kind(), ErrorKind::CursorDiverged { .. }), "{number} {id}: {err}");
            machine.disk.calls() - before
        })
    };
    let (few, many) = (calls(40), calls(160));
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= few + 20, "{few} calls with 40 segments, {many} with 160");
    }
}
