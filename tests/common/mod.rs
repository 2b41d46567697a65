//! What the tests on the simulated disk share: a machine to run a store on, and reading it to the end.

// Every test file is a crate of its own and uses its part of this.
#![allow(dead_code, unused_imports)]

#[path = "../chance/mod.rs"]
mod chance;

use std::sync::Arc;
use std::time::Duration;

pub use chance::*;
use tailwater::vfs::sim::{Crash, SimClock, SimDisk};
use tailwater::*;

pub const DIR: &str = "/store";
pub const NAME: &str = "web";
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);
/// Some time in 2023.
pub const BIRTH: i64 = 1_700_000_000_000_000_000;

/// A machine: its disk and its clock.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: SimClock,
}

impl Machine {
    pub fn new() -> Machine {
        Machine { disk: SimDisk::new(), clock: SimClock::new(BIRTH) }
    }

    /// On which the same is done to the byte each time.
    pub fn seeded(seed: u64) -> Machine {
        Machine { disk: SimDisk::seeded(seed), clock: SimClock::new(BIRTH) }
    }

    /// Segments are small, so that they roll often.
    pub fn options(&self) -> Options {
        self.options_on(&self.disk)
    }

    pub fn options_on(&self, disk: &SimDisk) -> Options {
        Options::new()
            .background(false)
            .max_segment_bytes(64 << 10)
            .vfs(Arc::new(disk.clone()))
            .clock(Arc::new(self.clock.clone()))
    }

    /// Opens the store and its one stream.
    pub fn open(&self) -> Result<(Store, Stream)> {
        self.open_on(&self.disk)
    }

    pub fn open_on(&self, disk: &SimDisk) -> Result<(Store, Stream)> {
        let store = self.options_on(disk).open(DIR)?;
        let stream = store.stream(NAME)?;
        Ok((store, stream))
    }

    /// Makes the store with its one stream.
    pub fn create(&self) -> (Store, Stream) {
        self.create_with(spec())
    }

    pub fn create_with(&self, spec: StreamSpec) -> (Store, Stream) {
        let store = self.options().open(DIR).unwrap();
        let stream = store.create_stream(spec).unwrap();
        (store, stream)
    }

    /// Ends every process, and the boot where the power went.
    pub fn crash(&self, crash: Crash) {
        self.disk.crash(crash);
        if crash != Crash::KeepAll {
            self.clock.reboot();
        }
    }

    /// The segments on the disk, oldest first.
    pub fn segments(&self) -> Vec<std::path::PathBuf> {
        let is_segment = |path: &std::path::PathBuf| {
            path.extension().is_some_and(|extension| extension == "seg")
                && !path.components().any(|part| part.as_os_str() == "quarantine")
        };
        self.disk.list_all().into_iter().filter(is_segment).collect()
    }
}

pub fn spec() -> StreamSpec {
    StreamSpec::new(StreamName::new(NAME).unwrap())
}

/// A record as a reader saw it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub offset: u64,
    pub end: u64,
    pub ingest: Timestamp,
    pub event: Option<Timestamp>,
    pub body: Vec<u8>,
    pub cursor: Cursor,
}

/// Reads on to the end: the records, and the gaps between them.
#[track_caller]
pub fn drain(reader: &mut Reader, limit: Limit) -> (Vec<Seen>, Vec<Gap>) {
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    let mut at = reader.cursor().offset();
    loop {
        match reader.next_within(limit).unwrap() {
            Step::Records(batch) => {
                assert!(batch.len() <= limit.records.max(1));
                for record in &batch {
                    assert!(at <= record.offset(), "records come in order");
                    at = record.end();
                    seen.push(Seen {
                        offset: record.offset(),
                        end: record.end(),
                        ingest: record.ingest_time(),
                        event: record.event_time(),
                        body: record.body().to_vec(),
                        cursor: record.cursor(),
                    });
                }
                assert_eq!(batch.cursor(), reader.cursor());
                assert_eq!(seen.last().unwrap().cursor, reader.cursor());
            }
            Step::Gap(gap) => {
                assert!(at <= gap.start && gap.start < gap.end, "{gap:?} lies behind {at}");
                assert_eq!(gap.cursor, reader.cursor());
                at = gap.end;
                gaps.push(gap);
            }
            Step::Passed => panic!("there is no filter"),
            Step::End => return (seen, gaps),
        }
    }
}

/// The records from `start` on; there must be no gap.
#[track_caller]
pub fn records(stream: &Stream, start: Start) -> Vec<Seen> {
    let mut reader = stream.read(start).unwrap();
    let (seen, gaps) = drain(&mut reader, Limit::default());
    assert_eq!(gaps, [], "from {start:?}");
    seen
}

/// The bodies of the records from `start` on, as text.
#[track_caller]
pub fn bodies(stream: &Stream, start: Start) -> Vec<String> {
    texts(&records(stream, start))
}

pub fn texts(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
}

/// Appends where nobody waits for the disk.
pub fn append(stream: &Stream, body: &str) -> Appended {
    stream.append_with(&Record::new(body), Durability::Buffered).unwrap()
}

/// What was lost before a crash is told to who comes with a cursor behind it.
#[track_caller]
pub fn assert_diverges(stream: &Stream, lost: Cursor) {
    let err = stream.read(Start::Cursor(lost)).unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::CursorDiverged { safe } if *safe < lost), "{err:?}");
}

/// Appends to beyond where the lost records ended.
pub fn append_over(stream: &Stream, lost: Cursor) {
    while stream.published().unwrap() <= lost.offset() {
        append(stream, "new ");
    }
}
