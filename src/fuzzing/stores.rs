//! A store on a simulated disk that loses power, against a vector of what was appended.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::fuzzing::Input;
use crate::vfs::sim::{Crash, Fault, Op, SimClock, SimDisk};
use crate::{
    Cursor, Durability, ErrorKind, Options, Reader, Record, Result, Start, Step, Store, Stream, StreamName,
    StreamSpec,
};

pub(super) const DIR: &str = "/store";
pub(super) const NAME: &str = "web";
/// Some time in 2023.
const BIRTH: i64 = 1_700_000_000_000_000_000;
/// Operations of one input, at most.
const MOST: usize = 64;

/// A disk with a store that was closed and has one stream, without a record.
static EMPTY: LazyLock<SimDisk> = LazyLock::new(|| {
    let disk = SimDisk::seeded(0);
    let store = options(&disk, &SimClock::new(BIRTH)).open(DIR).expect("an empty disk");
    store.create_stream(StreamSpec::new(StreamName::new(NAME).expect("a name"))).expect("an empty store");
    store.close().expect("nothing fails");
    drop(store);
    disk.fork_crashed(Crash::KeepAll)
});

pub(super) fn options(disk: &SimDisk, clock: &SimClock) -> Options {
    Options::new()
        .background(false)
        .max_segment_bytes(64 << 10)
        .vfs(Arc::new(disk.clone()))
        .clock(Arc::new(clock.clone()))
}

/// A fresh copy of the store, and its clock.
pub(super) fn machine() -> (SimDisk, SimClock) {
    (EMPTY.fork_crashed(Crash::KeepAll), SimClock::new(BIRTH))
}

/// A record that was appended, or may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Its body is made of these two.
    number: u64,
    size: usize,
    /// Entries of one batch share it.
    batch: u64,
}

impl Entry {
    fn body(&self) -> Vec<u8> {
        let mut body = self.number.to_le_bytes().repeat(self.size.div_ceil(8));
        body.truncate(self.size);
        body
    }

    fn is(&self, body: &[u8]) -> bool {
        let word = self.number.to_le_bytes();
        body.len() == self.size && body.chunks(8).all(|part| *part == word[..part.len()])
    }
}

/// A list of operations, each a byte and its arguments.
pub fn store_ops(data: &[u8]) {
    let mut input = Input(data);
    let (disk, clock) = machine();
    let mut world = World::new(disk, clock);
    for _ in 0..MOST {
        if input.0.is_empty() {
            break;
        }
        world.apply(&mut input);
    }
    world.down(Crash::KeepAll);
    world.open();
}

struct World {
    disk: SimDisk,
    clock: SimClock,
    open: Option<(Store, Stream)>,
    log: Vec<Entry>,
    /// How many of them are acknowledged as durable.
    durable: usize,
    /// Where an append of all of them said that the log ends.
    tail: u64,
    /// How many the next open must find.
    promised: Option<usize>,
    /// What a failed append may or may not have left.
    in_flight: Vec<Entry>,
    /// The newest cursor that an append gave, and how many entries lie before it.
    kept: Option<(Cursor, usize)>,
    /// A call to come fails: how the machine goes down then.
    armed: Option<Crash>,
    /// One did.
    failed: bool,
    /// How many entries were drawn.
    drawn: u64,
    epoch: u64,
}

impl World {
    fn new(disk: SimDisk, clock: SimClock) -> World {
        let mut world = World {
            disk,
            clock,
            open: None,
            log: Vec::new(),
            durable: 0,
            tail: u64::MAX,
            promised: None,
            in_flight: Vec::new(),
            kept: None,
            armed: None,
            failed: false,
            drawn: 0,
            epoch: 0,
        };
        world.open();
        world
    }

    fn stream(&self) -> Stream {
        self.open.as_ref().expect("open between operations").1.clone()
    }

    fn store(&self) -> Store {
        self.open.as_ref().expect("open between operations").0.clone()
    }

    fn apply(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..4 => {
                let size = input.short();
                self.append(&[size], durability(input.byte()));
            }
            4 => self.append(&[usize::from(input.byte()) << 8], durability(input.byte())),
            5 | 6 => {
                let sizes: Vec<_> = (0..=input.byte() % 6).map(|_| usize::from(input.byte()) << 2).collect();
                self.append(&sizes, durability(input.byte()));
            }
            7 => {
                let synced = self.stream().sync();
                if self.done(synced).is_some() {
                    self.durable = self.log.len();
                }
            }
            8 => {
                let ticked = self.store().tick();
                self.done(ticked);
            }
            9 => self.clock.advance(Duration::from_millis(1 << (input.byte() % 24))),
            10 => self.disk.writeback(input.byte().into()),
            11 => self.read(Start::Beginning, 0),
            12 => {
                let closed = self.store().close();
                if self.done(closed).is_some() {
                    self.durable = self.log.len();
                    self.promised = Some(self.durable);
                    self.open();
                }
            }
            13 => {
                let (crash, nested) = (crash(input), input.byte());
                if 0 < nested && self.armed.is_none() {
                    self.down(crash);
                    self.disk.crash_at(nested.into());
                    let opened = self.opened();
                    self.armed = None;
                    self.down(self::crash(input));
                    drop(opened);
                } else {
                    self.down(crash);
                }
                self.open();
            }
            // What fails takes the machine down with it, so at most one operation's outcome is open at a time.
            14 if self.armed.is_none() => {
                self.armed = Some(crash(input));
                self.disk.crash_at(1 + u64::from(input.byte() % 64));
            }
            15 if self.armed.is_none() => {
                self.armed = Some(crash(input));
                let op = Op::ALL[usize::from(input.byte()) % Op::ALL.len()];
                let how = input.byte();
                let full = how & 1 != 0;
                let error = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                self.disk.fail(Fault { op, nth: 1 + u64::from(how >> 4), error, sticky: how & 2 != 0 });
            }
            _ => {}
        }
        if self.failed || self.disk.is_off() {
            self.down(self.armed.expect("nothing else fails"));
            self.open();
        }
        if self.stream().durable() == self.tail {
            self.durable = self.log.len();
        }
    }

    /// The result, unless it failed because a call was to fail.
    #[track_caller]
    fn done<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.armed.is_some() => {
                self.failed = true;
                None
            }
            Err(err) => panic!("{err:?}"),
        }
    }

    fn append(&mut self, sizes: &[usize], durability: Option<Durability>) {
        let batch = self.drawn;
        let mut entries = Vec::new();
        for &size in sizes {
            self.drawn += 1;
            entries.push(Entry { number: self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15), size, batch });
        }
        let bodies: Vec<_> = entries.iter().map(Entry::body).collect();
        let records: Vec<_> = bodies.iter().map(Record::new).collect();
        let stream = self.stream();
        let result = match (&records[..], durability) {
            ([record], None) => stream.append(record),
            ([record], Some(durability)) => stream.append_with(record, durability),
            (records, None) => stream.append_batch(records),
            (records, Some(durability)) => stream.append_batch_with(records, durability),
        };
        let Some(appended) = self.done(result) else {
            self.in_flight = entries;
            return;
        };
        assert_eq!(appended.records() as usize, entries.len());
        self.log.append(&mut entries);
        self.tail = appended.end();
        let cursor = appended.cursor();
        assert!(self.kept.is_none_or(|(before, _)| before.to_string() < cursor.to_string()), "cursors rise");
        self.kept = Some((cursor, self.log.len()));
        if durability == Some(Durability::Sync) {
            self.durable = self.log.len();
        }
    }

    /// What is read from `start` on is the log behind its first `skipped` entries.
    fn read(&mut self, start: Start, skipped: usize) {
        let read = self.stream().read(start).and_then(|mut reader| drain(&mut reader));
        let Some(bodies) = self.done(read) else { return };
        let expected = &self.log[skipped..];
        assert_eq!(bodies.len(), expected.len(), "as many records as were appended");
        for (entry, body) in expected.iter().zip(&bodies) {
            assert!(entry.is(body), "{entry:?} is another");
        }
    }

    /// Ends every process. A killed one loses nothing that was returned, lost power what no sync covered.
    fn down(&mut self, crash: Crash) {
        self.disk.clear_faults();
        self.disk.crash(crash);
        self.open = None;
        (self.armed, self.failed) = (None, false);
        let promised = self.promised.unwrap_or(self.log.len());
        if crash == Crash::KeepAll {
            self.promised = Some(promised);
        } else {
            self.clock.reboot();
            self.promised = Some(promised.min(self.durable));
        }
    }

    fn opened(&self) -> Result<(Store, Stream)> {
        let store = options(&self.disk, &self.clock).open(DIR)?;
        let stream = store.stream(NAME)?;
        Ok((store, stream))
    }

    /// Opens the store: what is left is what was appended, from the first on, at least as far as was promised.
    fn open(&mut self) {
        self.open = None;
        let opened = self.opened();
        let Some((store, stream)) = self.done(opened) else { return };
        let recovery = stream.recovery().clone();
        assert_eq!(recovery.corrupt, [], "nothing was damaged");
        assert!(self.epoch + u64::from(!recovery.clean) <= recovery.epoch, "epochs rise");
        self.epoch = recovery.epoch;
        self.open = Some((store, stream.clone()));
        let read = stream.read(Start::Beginning).and_then(|mut reader| drain(&mut reader));
        let Some(bodies) = self.done(read) else { return };
        let left = bodies.len();
        let promised = self.promised.take().unwrap_or(0);
        self.log.append(&mut self.in_flight);
        assert!(promised <= left, "{left} records are left of {promised} that were promised");
        assert!(left <= self.log.len(), "a record was made up");
        for (entry, body) in self.log.iter().zip(&bodies) {
            assert!(entry.is(body), "{entry:?} is another");
        }
        let torn = self.log.split_off(left);
        let batch = |entry: &Entry| entry.batch;
        assert!(
            self.log.is_empty() || self.log.last().map(batch) != torn.first().map(batch),
            "a batch is kept as a whole or not at all"
        );
        // What a killed process had not made durable is served, and durable with the next sync.
        let is_durable = stream.published().is_ok_and(|end| end <= stream.durable());
        (self.durable, self.tail) = (if is_durable { left } else { self.durable.min(left) }, u64::MAX);
        let Some((cursor, consumed)) = self.kept else { return };
        match stream.read(Start::Cursor(cursor)).map_err(|err| err.kind().clone()) {
            Ok(mut reader) => {
                assert!(consumed <= left, "a cursor whose records were lost must not resume");
                let rest = drain(&mut reader);
                assert!(self.done(rest).is_none_or(|rest| rest.len() == left - consumed));
            }
            Err(ErrorKind::CursorDiverged { safe }) => {
                assert!(left < consumed && safe.offset() < cursor.offset(), "nothing was lost");
                self.kept = None;
            }
            Err(_) if self.armed.is_some() => self.failed = true,
            Err(other) => panic!("{cursor:?} gets {other:?}"),
        }
    }
}

/// Reads to the end, where nothing is missing: the bodies.
fn drain(reader: &mut Reader) -> Result<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    loop {
        match reader.next()? {
            Step::Records(batch) => bodies.extend(batch.iter().map(|record| record.body().to_vec())),
            Step::End => return Ok(bodies),
            other => panic!("{other:?} where nothing is missing"),
        }
    }
}

fn durability(byte: u8) -> Option<Durability> {
    [None, Some(Durability::Buffered), Some(Durability::Interval), Some(Durability::Sync)]
        [usize::from(byte % 4)]
}

fn crash(input: &mut Input<'_>) -> Crash {
    let seed = u64::from(input.byte());
    // Not garbage: a sector that is neither old nor new may have held what was durable, and that is damage.
    match seed % 4 {
        0 => Crash::KeepAll,
        1 => Crash::DropUnsynced,
        2 => Crash::Pages { seed },
        _ => Crash::Sectors { seed },
    }
}
