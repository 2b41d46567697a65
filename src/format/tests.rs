//! `docs/format.md` against the code: a table there is right when a value that differs in one field only is written with
//! exactly the bytes of that field's row different, its checksums aside.

use std::ops::Range;
use std::path::Path;

use uuid::Uuid;

use crate::format::checkpoint::{self, Checkpoint};
use crate::format::cursor::{self, Cursor};
use crate::format::frame::{self, Checked, Header as FrameHeader, Kind, Place, Word};
use crate::format::header::{self, Header, Seal, Watermark};
use crate::format::index::{Block, Index};
use crate::format::session_cursor::{self, SessionCursor};
use crate::format::{Epoch, envelope};
use crate::segment::extend;
use crate::segment::walk::{Found, Frames};
use crate::{Record, StreamId, Timestamp};

const DOCUMENT: &str = include_str!("../../docs/format.md");

/// The rows of the table under a heading, without its first two lines, as trimmed cells.
fn table(title: &str) -> Vec<Vec<&'static str>> {
    let mut lines = DOCUMENT.lines().skip_while(|line| line.trim_start_matches('#').trim() != title);
    let heading = lines.next().unwrap_or_else(|| panic!("docs/format.md has no heading {title:?}"));
    assert!(heading.starts_with('#'), "{title:?}");
    let body = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    body.skip(2).map(cells).collect()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split(" | ").map(str::trim).collect()
}

/// What a row of a layout may be.
enum Field {
    /// Written as these bytes, whatever the value.
    Fixed(&'static [u8]),
    /// Follows from the rest.
    Checksum,
    /// The encoding of a value that differs from the first one in this field only, and in each byte of it.
    Differs(Vec<u8>),
}

use Field::{Checksum, Differs, Fixed};

/// Holds the table under `title` against `first`, the encoding of some value: its rows of a fixed place and size are
/// `fields`, lie end to end and take all of it.
#[track_caller]
fn check(title: &str, first: &[u8], fields: &[(&str, Field)]) {
    let rows = table(title);
    let fixed: Vec<_> = rows.iter().filter(|row| row[0].parse::<usize>().is_ok() && row[1] != "..").collect();
    let range = |row: &[&str]| {
        let at: usize = row[0].parse().expect("a position");
        at..at + row[1].parse::<usize>().expect("a size")
    };
    let checksums: Vec<Range<usize>> = fixed
        .iter()
        .zip(fields)
        .filter(|(_, (_, field))| matches!(field, Checksum))
        .map(|(row, _)| range(row))
        .collect();
    let mut at = 0;
    for (row, (name, field)) in fixed.iter().zip(fields) {
        let range = range(row);
        assert_eq!((row[2], range.start), (*name, at), "{title}: rows are in order and lie end to end");
        at = range.end;
        match field {
            Fixed(bytes) => assert_eq!(&first[range], *bytes, "{title}: {name}"),
            Checksum => {}
            Differs(second) => {
                assert_eq!(first.len(), second.len(), "{title}: {name}");
                let differ = |at: &usize| first[*at] != second[*at];
                let (sums, others): (Vec<usize>, Vec<usize>) = (0..first.len())
                    .filter(differ)
                    .partition(|at| checksums.iter().any(|sum| sum.contains(at)));
                assert_eq!(others, range.collect::<Vec<_>>(), "{title}: {name}");
                assert_eq!(sums.is_empty(), checksums.is_empty(), "{title}: {name} is checksummed");
            }
        }
    }
    assert_eq!(fixed.len(), fields.len(), "{title}: every row is checked");
    assert_eq!(at, first.len(), "{title}: the rows take all there is");
}

const STREAM: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;

fn id(id: u128) -> StreamId {
    StreamId::from(Uuid::from_u128(id))
}

fn not(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(!time.as_nanos())
}

#[test]
fn the_table_of_a_frame_is_what_is_written() {
    let place = Place { salt: 0x5a17, offset: 8192 };
    let encode = |header: FrameHeader| header.encode(place, 0).to_vec();
    let header = FrameHeader {
        word: Word::new(Kind::Record, 1000),
        witness: 7,
        ingest: Timestamp::from_nanos(0x1122_3344_5566_7788),
    };
    check(
        "Frame header",
        &encode(header),
        &[
            ("word", Differs(encode(FrameHeader { word: Word(!header.word.0), ..header }))),
            ("witness", Differs(encode(FrameHeader { witness: !7, ..header }))),
            ("ingest", Differs(encode(FrameHeader { ingest: not(header.ingest), ..header }))),
            ("check", Checksum),
            ("crc", Checksum),
        ],
    );
    let payload = table("Frame header").pop().unwrap();
    assert_eq!((payload[0], payload[2]), (frame::HEADER.to_string().as_str(), "payload"));
}

#[test]
fn the_table_of_the_commit_word_is_what_is_read() {
    let base = Word(0);
    for row in table("Commit word") {
        let bits = row[0].split_once("..").map_or_else(
            || row[0].parse().unwrap()..row[0].parse::<u32>().unwrap() + 1,
            |(start, end)| start.parse().unwrap()..end.parse().unwrap(),
        );
        for bit in 0..32 {
            let word = Word(1 << bit);
            let differs = match row[1] {
                "length" => word.length() != base.length(),
                "kind" => word.kind() != base.kind(),
                "level" => word.level() != base.level(),
                "meta" => word.has_meta(),
                "claimed" => word.is_claimed(),
                other => panic!("{other}"),
            };
            assert_eq!(differs, bits.contains(&bit), "{} and bit {bit}", row[1]);
        }
    }
    let kinds = [Kind::Record, Kind::Batch, Kind::Void, Kind::Epoch, Kind::Lost];
    for (kind, row) in kinds.iter().zip(table("Kinds")) {
        let name = format!("{kind:?}").to_lowercase();
        assert_eq!((row[0], row[1]), ((*kind as u8).to_string().as_str(), name.as_str()));
    }
    assert!((kinds.len() as u32..8).all(|kind| Word(kind << 24).kind().is_none()));
    assert!(DOCUMENT.contains("at most 8,420,640") && frame::MAX_FRAME == 8_420_640);
}

/// The payload of a record's frame.
fn payload(record: &Record<'_>) -> Vec<u8> {
    let checked = Checked::new(record).unwrap();
    let mut bytes = vec![0; checked.word().length()];
    let place = Place { salt: 0, offset: 0 };
    checked.write(place, 0, Timestamp::MIN, |at, piece| {
        bytes[at..at + piece.len()].copy_from_slice(piece);
    });
    bytes.split_off(frame::HEADER)
}

#[test]
fn the_table_of_metadata_is_what_is_written() {
    let pairs = [("k", "vv"); 3];
    let full = Record::new("body").event_time(Timestamp::from_nanos(-2)).service("svc").attributes(&pairs);
    let attribute: &[u8] = b"\x01\x02\x00kvv";
    let expected = [
        &[8 + 8 + 3 + 3 * 6, 0, 0, 0, 1, 3, 3, 0][..],
        &(-2_i64).to_le_bytes(),
        b"svc",
        &attribute.repeat(3),
        b"body",
    ];
    assert_eq!(payload(&full), expected.concat());
    let rows: Vec<_> = table("Metadata").iter().map(|row| [row[0], row[1], row[2]]).collect();
    let expected = [
        ["0", "4", "bytes"],
        ["4", "1", "flags"],
        ["5", "1", "service"],
        ["6", "1", "count"],
        ["7", "1", "zero"],
        ["8", "..", ""],
    ];
    assert_eq!(rows, expected);
    assert_eq!(frame::META_HEADER, 8);
}

#[test]
fn the_table_of_the_segment_page_is_where_things_are() {
    let rows: Vec<(usize, String, String)> = table("Segment page")
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].into(), row[2].into()))
        .collect();
    let row = |at: usize, bytes: usize, what: &str| (at, bytes.to_string(), what.to_string());
    let expected = [
        row(header::HEADER_AT[0], header::HEADER, "header"),
        row(header::WATERMARK_AT[0], header::WATERMARK, "watermark, slot A"),
        row(header::WATERMARK_AT[1], header::WATERMARK, "watermark, slot B"),
        row(header::SEAL_AT[0], header::SEAL, "seal"),
        row(header::HEADER_AT[1], header::HEADER, "header, second copy"),
        row(header::SEAL_AT[1], header::SEAL, "seal, second copy"),
        (header::PAGE, "..".into(), "frames".into()),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_table_of_the_segment_header_is_what_is_written() {
    let head = Header {
        store: Uuid::from_u128(STREAM),
        stream: id(!STREAM),
        base: 1,
        epoch: Epoch { number: 2, id: 3 },
        salt: 4,
        created: Timestamp::from_nanos(5),
        capacity: 6,
        previous_durable: 7,
        previous_ingest: Timestamp::from_nanos(8),
    };
    let with = |change: fn(&mut Header)| {
        let mut head = head;
        change(&mut head);
        Differs(head.encode().to_vec())
    };
    check(
        "Segment header",
        &head.encode(),
        &[
            ("magic", Fixed(b"twaterS\n")),
            ("version", Fixed(&[1, 0])),
            ("zero", Fixed(&[0; 2])),
            ("compat", Fixed(&[0; 4])),
            ("incompat", Fixed(&[0; 4])),
            ("zero", Fixed(&[0; 4])),
            ("store", with(|head| head.store = Uuid::from_u128(!STREAM))),
            ("stream", with(|head| head.stream = id(STREAM))),
            ("base", with(|head| head.base = !1)),
            ("epoch number", with(|head| head.epoch.number = !2)),
            ("epoch id", with(|head| head.epoch.id = !3)),
            ("salt", with(|head| head.salt = !4)),
            ("created", with(|head| head.created = not(head.created))),
            ("capacity", with(|head| head.capacity = !6)),
            ("previous durable", with(|head| head.previous_durable = !7)),
            ("previous ingest", with(|head| head.previous_ingest = not(head.previous_ingest))),
            ("zero", Fixed(&[0; 12])),
            ("crc", Checksum),
        ],
    );
}

#[test]
fn the_tables_of_the_slots_are_what_is_written() {
    let mark = Watermark { generation: 1, durable: 2 };
    check(
        "Watermark",
        &mark.encode(9),
        &[
            ("crc", Checksum),
            ("magic", Fixed(b"wmrk")),
            ("generation", Differs(Watermark { generation: !1, ..mark }.encode(9).into())),
            ("durable", Differs(Watermark { durable: !2, ..mark }.encode(9).into())),
        ],
    );
    let seal = Seal { end: 1, records: 2, last_ingest: Timestamp::from_nanos(3), footer: 4, footer_bytes: 5 };
    check(
        "Seal",
        &seal.encode(9),
        &[
            ("crc", Checksum),
            ("magic", Fixed(b"seal")),
            ("end", Differs(Seal { end: !1, ..seal }.encode(9).into())),
            ("records", Differs(Seal { records: !2, ..seal }.encode(9).into())),
            ("last ingest", Differs(Seal { last_ingest: not(seal.last_ingest), ..seal }.encode(9).into())),
            ("footer", Differs(Seal { footer: !4, ..seal }.encode(9).into())),
            ("footer bytes", Differs(Seal { footer_bytes: !5, ..seal }.encode(9).into())),
        ],
    );
}

fn block() -> Block {
    let time = Timestamp::from_nanos;
    let (ingest, min_event, max_event) = (time(3), time(4), time(5));
    Block {
        offset: 1,
        records: 2,
        ingest,
        min_event,
        max_event,
        services: 6,
        levels: 7,
        any_service: false,
        damaged: false,
    }
}

#[test]
fn the_tables_of_the_footer_are_what_is_written() {
    let empty = Index::new(1, Timestamp::from_nanos(2));
    let encode = |index: &Index| index.encode(9);
    check(
        "Footer",
        &encode(&empty),
        &[
            ("crc", Checksum),
            ("magic", Fixed(b"indx")),
            ("end", Differs(encode(&Index { end: !1, ..empty.clone() }))),
            ("records", Differs(encode(&Index { records: !0, ..empty.clone() }))),
            ("last ingest", Differs(encode(&Index { last_ingest: not(empty.last_ingest), ..empty.clone() }))),
            // Counts differ together with what they count: see below.
            ("blocks", Fixed(&[0; 4])),
            ("epochs", Fixed(&[0; 2])),
            ("services", Fixed(&[0; 2])),
        ],
    );
    let full = Index {
        blocks: vec![block(); 2],
        epochs: vec![(1, Epoch { number: 2, id: 3 }); 3],
        services: vec!["a".into(), "bc".into(), "d".into(), "".into()],
        ..empty.clone()
    };
    let bytes = encode(&full);
    assert_eq!(bytes[32..40], [2, 0, 0, 0, 3, 0, 4, 0]);
    assert_eq!(bytes[40 + 2 * 56 + 3 * 24..], *b"\x01a\x02bc\x01d\x00");
    let rows: Vec<_> = table("Footer").split_off(8).iter().map(|row| [row[0], row[2]]).collect();
    assert_eq!(rows, [["40", "blocks"], ["..", "epochs"], ["..", "services"]]);

    let one = |change: fn(&mut Block)| {
        let mut block = block();
        change(&mut block);
        encode(&Index { blocks: vec![block], ..empty.clone() }).split_off(40)
    };
    let with = |change| Differs(one(change));
    check(
        "Block",
        &one(|_| {}),
        &[
            ("offset", with(|block| block.offset = !1)),
            ("records", with(|block| block.records = !2)),
            ("ingest", with(|block| block.ingest = not(block.ingest))),
            ("min event", with(|block| block.min_event = not(block.min_event))),
            ("max event", with(|block| block.max_event = not(block.max_event))),
            ("services", with(|block| block.services = !6)),
            ("levels", with(|block| block.levels = !7)),
            ("any", with(|block| block.any_service = true)),
            ("damaged", with(|block| block.damaged = true)),
            ("zero", Fixed(&[0; 5])),
        ],
    );
    let one = |offset: u64, number: u64, id: u64| {
        encode(&Index { epochs: vec![(offset, Epoch { number, id })], ..empty.clone() }).split_off(40)
    };
    check(
        "Epoch entry",
        &one(1, 2, 3),
        &[
            ("offset", Differs(one(!1, 2, 3))),
            ("number", Differs(one(1, !2, 3))),
            ("id", Differs(one(1, 2, !3))),
        ],
    );
}

#[test]
fn the_table_of_the_checkpoint_is_what_is_written() {
    let slot = Checkpoint {
        stream: id(STREAM),
        generation: 1,
        clean: false,
        era: 9,
        log_start: 2,
        end: 3,
        epoch: Epoch { number: 4, id: 5 },
        epoch_start: 6,
        last_ingest: Timestamp::from_nanos(7),
        boot: Some(8),
    };
    let with = |change: fn(&mut Checkpoint)| {
        let mut slot = slot;
        change(&mut slot);
        Differs(slot.encode().to_vec())
    };
    check(
        "Checkpoint slot",
        &slot.encode(),
        &[
            ("magic", Fixed(b"twaterC\n")),
            ("version", Fixed(&[1, 0])),
            ("clean", with(|slot| slot.clean = true)),
            ("zero", Fixed(&[0])),
            ("era", with(|slot| slot.era = !9)),
            ("stream", with(|slot| slot.stream = id(!STREAM))),
            ("generation", with(|slot| slot.generation = !1)),
            ("log start", with(|slot| slot.log_start = !2)),
            ("end", with(|slot| slot.end = !3)),
            ("epoch number", with(|slot| slot.epoch.number = !4)),
            ("epoch id", with(|slot| slot.epoch.id = !5)),
            ("epoch start", with(|slot| slot.epoch_start = !6)),
            ("last ingest", with(|slot| slot.last_ingest = not(slot.last_ingest))),
            ("boot", with(|slot| slot.boot = Some(!8))),
            ("crc", Checksum),
        ],
    );
    assert_eq!((checkpoint::SLOT_AT, checkpoint::BYTES), ([0, 4096], 8192));
}

#[test]
fn the_table_of_the_cursor_is_what_is_written() {
    let cursor = Cursor {
        stream: id(STREAM),
        epoch: Epoch { number: 1, id: 2 },
        offset: 3,
        ingest: Timestamp::from_nanos(4),
    };
    let with = |change: fn(&mut Cursor)| {
        let mut cursor = cursor;
        change(&mut cursor);
        Differs(cursor.encode().to_vec())
    };
    check(
        "Cursor",
        &cursor.encode(),
        &[
            ("version", Fixed(&[1])),
            ("stream", with(|cursor| cursor.stream = id(!STREAM))),
            ("epoch number", with(|cursor| cursor.epoch.number = !1)),
            ("epoch id", with(|cursor| cursor.epoch.id = !2)),
            ("offset", with(|cursor| cursor.offset = !3)),
            ("ingest", with(|cursor| cursor.ingest = not(cursor.ingest))),
            ("flags", Fixed(&[0])),
            ("crc", Checksum),
        ],
    );
    assert!(DOCUMENT.contains(&format!("padding, {} characters", cursor.to_string().len())));
    assert_eq!(cursor.encode().len(), cursor::BYTES);
}

#[test]
fn the_table_of_the_session_cursor_is_what_is_written() {
    let cursor = SessionCursor {
        store: Uuid::from_u128(STREAM),
        store_epoch: Epoch { number: 1, id: 2 },
        ingest: Timestamp::from_nanos(3),
        stream: id(STREAM),
        offset: 4,
        epoch: Epoch { number: 5, id: 6 },
    };
    let with = |change: fn(&mut SessionCursor)| {
        let mut cursor = cursor;
        change(&mut cursor);
        Differs(cursor.encode().to_vec())
    };
    check(
        "Session cursor",
        &cursor.encode(),
        &[
            ("version", Fixed(&[2])),
            ("store", with(|cursor| cursor.store = Uuid::from_u128(!STREAM))),
            ("store epoch", with(|cursor| cursor.store_epoch.number = !1)),
            ("its id", with(|cursor| cursor.store_epoch.id = !2)),
            ("ingest", with(|cursor| cursor.ingest = not(cursor.ingest))),
            ("stream", with(|cursor| cursor.stream = id(!STREAM))),
            ("offset", with(|cursor| cursor.offset = !4)),
            ("epoch number", with(|cursor| cursor.epoch.number = !5)),
            ("epoch id", with(|cursor| cursor.epoch.id = !6)),
            ("flags", Fixed(&[0])),
            ("crc", Checksum),
        ],
    );
    assert!(DOCUMENT.contains(&format!("as a cursor, {} characters", cursor.to_string().len())));
    assert_eq!(cursor.encode().len(), session_cursor::BYTES);
}

#[test]
fn the_table_of_the_envelope_is_what_is_written() {
    let encode = |magic, version, value: u8| envelope::encode(magic, version, &value);
    let magic = *b"\x89TWXX\r\n\x1a";
    let first = encode(magic, 3, 7);
    check(
        "Envelope",
        &first[..envelope::HEADER],
        &[
            ("magic", Differs(encode(magic.map(|byte| !byte), 3, 7)[..envelope::HEADER].into())),
            ("version", Differs(encode(magic, !3, 7)[..envelope::HEADER].into())),
            ("length", Fixed(&[1, 0, 0, 0])),
            ("crc", Checksum),
        ],
    );
}

#[test]
fn the_tables_beside_the_code_are_those_of_the_document() {
    let known: Vec<Vec<&str>> = DOCUMENT.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    let sources = [
        include_str!("frame.rs"),
        include_str!("header.rs"),
        include_str!("index.rs"),
        include_str!("checkpoint.rs"),
        include_str!("cursor.rs"),
        include_str!("session_cursor.rs"),
        include_str!("envelope.rs"),
    ];
    for source in sources {
        let comments = source.lines().map(str::trim_start);
        let rows = comments
            .filter_map(|line| line.strip_prefix("//! |").or_else(|| line.strip_prefix("/// |")))
            .map(|row| cells(row.trim_end()));
        let mut count = 0;
        for row in rows.filter(|row| !row[0].contains("---")) {
            assert!(known.contains(&row), "docs/format.md lacks the row {row:?}");
            count += 1;
        }
        assert!(5 < count);
    }
}

#[test]
fn a_golden_segment_is_written_again_to_the_same_bytes() {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store/streams")];
    let (mut kinds, mut seals) = (Vec::new(), 0);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        if path.ends_with("checkpoint") {
            let stream = path.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
            let slot = Checkpoint::decode(&file, stream).unwrap();
            assert_eq!(file[slot.at()..][..checkpoint::SLOT], slot.encode());
        }
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let head = Header::decode(&file).unwrap();
        for at in header::HEADER_AT {
            assert_eq!(file[at..][..header::HEADER], head.encode());
        }
        let mark = Watermark::decode(&file, &head).unwrap();
        assert_eq!(file[mark.at()..][..header::WATERMARK], mark.encode(head.salt));
        let seal = Seal::decode(&file, &head);
        let end = seal.map_or(mark.durable, |seal| seal.end);
        let bytes = &file[header::PAGE..head.position(end) as usize];
        let frames = Frames { bytes, base: head.base, salt: head.salt };
        for found in frames.walk(head.base) {
            let Found::Frame(offset, frame) = found else { panic!("{found:?}") };
            let at = (offset - head.base) as usize;
            let again =
                frame.header.encode(Place { salt: head.salt, offset }, crc32fast::hash(frame.payload));
            assert_eq!(bytes[at..][..frame::HEADER], again);
            if frame.kind() == Kind::Record {
                let fields = frame.record();
                let attributes: Vec<_> = fields.meta.iter().flat_map(|meta| meta.attributes()).collect();
                let record = Record {
                    body: frame::body(frame.header.word, frame.payload),
                    event_time: fields.meta.and_then(|meta| meta.event_time),
                    level: fields.level,
                    service: fields.meta.and_then(|meta| meta.service),
                    attributes: &attributes,
                };
                assert_eq!(payload(&record), frame.payload);
            }
            kinds.push(frame.kind() as u8);
        }
        if let Some(seal) = seal {
            for at in header::SEAL_AT {
                assert_eq!(file[at..][..header::SEAL], seal.encode(head.salt));
            }
            let mut index = Index::new(head.base, head.previous_ingest);
            extend(&mut index, frames);
            index.reach(end);
            assert_eq!(file[seal.footer as usize..][..seal.footer_bytes as usize], index.encode(head.salt));
            seals += 1;
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let expected = [Kind::Record, Kind::Batch, Kind::Void, Kind::Epoch].map(|kind| kind as u8);
    assert_eq!((kinds, seals), (expected.to_vec(), 1));
}
