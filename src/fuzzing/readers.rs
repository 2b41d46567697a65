//! One log on the disk, read by its writer, by a follower and through a filter that every record passes.

use std::sync::LazyLock;

use crate::format::Epoch;
use crate::format::header::{HEADER_AT, Header, PAGE};
use crate::fuzzing::log::draw_segments;
use crate::fuzzing::stores::{DIR, NAME, machine, options};
use crate::fuzzing::{Input, MEND};
use crate::segment::file_name;
use crate::{Cursor, Filter, Gap, Reader, Start, Step, Timestamp};

/// No record has that attribute, so every one passes, which takes an evaluation to know.
static EVERY: LazyLock<Filter> = LazyLock::new(|| Filter::parse("no-such-attribute!=x").expect("a filter"));

/// What was read: where a record lies, its cursor, its body; or a gap.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Record(u64, u64, Timestamp, Cursor, Vec<u8>),
    Gap(Gap),
}

/// Flags (1 byte), then segments.
pub fn diff_reader(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let segments = draw_segments(&mut Input(rest), flags & MEND != 0);
    let (disk, clock) = machine();
    let stream = {
        let store = options(&disk, &clock).open_read_only(DIR).expect("it was just made");
        store.stream(NAME).expect("it was just made").id()
    };
    for segment in &segments {
        let head = Header {
            store: uuid::Uuid::nil(),
            stream,
            base: segment.base,
            epoch: Epoch { number: 1, id: stream.as_uuid().as_u64_pair().1 },
            salt: segment.salt,
            created: Timestamp::MIN,
            capacity: 64 << 10,
            previous_durable: 0,
            previous_ingest: Timestamp::MIN,
        };
        let mut file = vec![0; (head.capacity as usize).max(PAGE + segment.log.len())];
        for at in HEADER_AT {
            let bytes = head.encode();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        file[PAGE..][..segment.log.len()].copy_from_slice(&segment.log);
        disk.write_file(format!("{DIR}/streams/{stream}/{}", file_name(segment.base)), &file);
    }
    let store = options(&disk, &clock).open(DIR).expect("damage in a stream is the stream's");
    let live = store.stream(NAME).expect("a damaged stream opens");
    let start = || live.read(Start::Beginning).expect("damage is a gap");
    let (found, end) = read(start());
    let (filtered, filtered_end) = read(start().filter(EVERY.clone()));
    assert_eq!(filtered, found, "a filter that every record passes leaves out nothing");
    // A reader with a filter goes on over the marks behind the last record.
    assert!(end.offset() <= filtered_end.offset());
    let follower = options(&disk, &clock).open_read_only(DIR).expect("the writer can open it");
    let follower = follower.stream(NAME).expect("the writer can open it");
    let (followed, followed_end) = read(follower.read(Start::Beginning).expect("the writer can read it"));
    assert_eq!(followed, found, "a follower sees what the writer does");
    assert_eq!(followed_end, end);
    assert_eq!(follower.published().ok(), live.published().ok());
}

fn read(mut reader: Reader) -> (Vec<Read>, Cursor) {
    let mut found = Vec::new();
    loop {
        match reader.next().expect("damage is a gap") {
            Step::Records(batch) => found.extend(batch.iter().map(|record| {
                let place = (record.offset(), record.end());
                Read::Record(place.0, place.1, record.ingest_time(), record.cursor(), record.body().to_vec())
            })),
            Step::Gap(gap) => found.push(Read::Gap(gap)),
            Step::Passed => {}
            Step::End => return (found, reader.cursor()),
        }
    }
}
