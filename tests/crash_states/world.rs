//! One machine with one store and one stream, its reference model, and images of it to crash.

use std::sync::Arc;
use std::time::Duration;

use tailwater::vfs::Clock;
use tailwater::vfs::sim::{Crash, Image, SimClock, SimDisk};
use tailwater::*;

use crate::common::{BIRTH, DIR, NAME, spec};
use crate::log::{Entry, HEADER, Kept, Left, Log};

/// More than any history fills.
pub const ROOM: u64 = 1 << 40;

/// What is done to the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// So many bytes, of which all are noise or only a word now and then.
    Append {
        size: usize,
        sparse: bool,
        durability: Durability,
    },
    Batch {
        sizes: Vec<usize>,
        durability: Durability,
    },
    Sync,
    Tick,
    /// Lets time pass, and ticks.
    Later(Duration),
    Reopen,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub segment_bytes: u64,
    pub durability: Durability,
    pub ttl_days: u16,
    pub max_bytes: Option<u64>,
    pub unordered: bool,
}

impl Setup {
    fn open(&self, disk: &SimDisk, clock: &SimClock) -> Result<(Store, Stream)> {
        let store = self.store(disk, clock)?;
        let stream = store.stream(NAME)?;
        Ok((store, stream))
    }

    fn store(&self, disk: &SimDisk, clock: &SimClock) -> Result<Store> {
        self.options(disk, clock).open(DIR)
    }

    fn options(&self, disk: &SimDisk, clock: &SimClock) -> Options {
        Options::new()
            .background(false)
            .max_segment_bytes(self.segment_bytes)
            .durability(self.durability)
            .vfs(Arc::new(disk.clone()))
            .clock(Arc::new(clock.clone()))
    }
}

/// An image of the disk, and what the model knew at that moment.
pub struct Moment {
    pub image: Image,
    pub log: Arc<Log>,
    pub clock: SimClock,
}

pub struct World {
    pub disk: SimDisk,
    pub clock: SimClock,
    pub setup: Setup,
    pub open: Option<(Store, Stream)>,
    pub log: Log,
    pub tail: u64,
    batches: u64,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let (disk, clock) = (SimDisk::seeded(0), SimClock::new(BIRTH));
        disk.set_unordered(setup.unordered);
        let store = setup.store(&disk, &clock).unwrap();
        let mut spec = spec().ttl(TtlDays::new(setup.ttl_days).unwrap());
        if let Some(bytes) = setup.max_bytes {
            spec = spec.max_bytes(bytes);
        }
        let stream = store.create_stream(spec).unwrap();
        let log = Log {
            epoch: stream.recovery().epoch,
            ttl: i64::from(setup.ttl_days) * 86_400_000_000_000,
            limited: setup.max_bytes.is_some(),
            ..Log::default()
        };
        World { disk, clock, setup, open: Some((store, stream)), log, tail: 0, batches: 0 }
    }

    pub fn stream(&self) -> &Stream {
        &self.open.as_ref().expect("the store is open").1
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().expect("the store is open").0
    }

    pub fn now(&self) -> i64 {
        self.clock.wall()
    }

    fn entry(&mut self, offset: u64, size: usize, sparse: bool) -> Entry {
        self.batches += 1;
        let mut body = vec![0; size];
        let mut noise = self.batches.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (at, byte) in body.iter_mut().enumerate() {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if !sparse || at % 16_384 < 8 {
                *byte = (noise >> 56) as u8;
            }
        }
        let end = offset + (HEADER + size as u64).next_multiple_of(8);
        let ingest = Timestamp::from_nanos(self.now());
        Entry { offset, end, ingest, body, batch: self.batches }
    }

    /// What the call will leave if it is done.
    fn expect(&mut self, op: &Op) {
        self.log.seals = matches!(op, Op::Tick | Op::Later(_) | Op::Reopen);
        self.log.in_flight = match op {
            Op::Append { size, sparse, .. } => vec![self.entry(self.tail, *size, *sparse)],
            Op::Batch { sizes, .. } => {
                let mut offset = self.tail + if sizes.len() == 1 { 0 } else { HEADER };
                let mut entries = Vec::new();
                for size in sizes {
                    entries.push(self.entry(offset, *size, false));
                    offset = entries.last().expect("just pushed").end;
                }
                entries.iter_mut().for_each(|entry| entry.batch = self.batches);
                entries
            }
            _ => Vec::new(),
        };
    }

    /// Does it. What the model expects of it is in flight until it succeeded. With `moments`, keeps each moment of the
    /// disk in them, the last one being that after the call.
    pub fn apply(&mut self, op: &Op, moments: Option<&mut Vec<Moment>>) -> Result<()> {
        if let Op::Later(time) = op {
            self.clock.advance(*time);
        }
        self.expect(op);
        if moments.is_some() {
            self.disk.record();
        }
        let before = self.log_now();
        let done = self.carry_out(op);
        if let Some(moments) = moments {
            moments.append(&mut self.moments_since(before));
            if done.is_ok() {
                moments.push(self.moment());
            }
        }
        done
    }

    /// Nothing came into the stream since the last call.
    pub fn is_unmoved(&self) -> bool {
        self.stream().published().unwrap() == self.tail
    }

    /// How much time has passed.
    pub fn age(&self) -> Duration {
        Duration::from_nanos((self.now() - BIRTH) as u64)
    }

    /// What the model knows, for the moments that are being recorded.
    pub fn log_now(&self) -> Arc<Log> {
        Arc::new(self.log.clone())
    }

    /// The moments that were recorded, of a time when the model knew that.
    pub fn moments_since(&self, log: Arc<Log>) -> Vec<Moment> {
        let images = self.disk.take_images().into_iter();
        images.map(|image| Moment { image, log: Arc::clone(&log), clock: self.clock.fork() }).collect()
    }

    /// This moment.
    pub fn moment(&self) -> Moment {
        Moment { image: self.disk.image(), log: Arc::new(self.log.clone()), clock: self.clock.fork() }
    }

    fn carry_out(&mut self, op: &Op) -> Result<()> {
        let bodies: Vec<Vec<u8>> = self.log.in_flight.iter().map(|entry| entry.body.clone()).collect();
        let mut everything = false;
        match op {
            Op::Append { durability, .. } => {
                let appended = self.stream().append_with(&Record::new(&bodies[0]), *durability)?;
                self.appended(appended, *durability);
            }
            Op::Batch { durability, .. } => {
                let records: Vec<_> = bodies.iter().map(Record::new).collect();
                let appended = self.stream().append_batch_with(&records, *durability)?;
                self.appended(appended, *durability);
            }
            Op::Sync => {
                self.stream().sync()?;
                everything = true;
            }
            Op::Tick | Op::Later(_) => {
                self.store().tick()?;
            }
            Op::Reopen => {
                self.store().close()?;
                self.log.durable = self.log.entries.len();
                self.open = None;
                self.open = Some(self.setup.open(&self.disk, &self.clock)?);
                self.disk.clear_faults();
                assert!(self.stream().recovery().clean, "it was closed");
                let left = self.log.check(self.stream(), self.now(), self.log.entries.len(), None);
                assert!(left.blind || left.count == self.log.entries.len());
                everything = true;
            }
        }
        if everything {
            self.log.durable = self.log.entries.len();
        }
        self.look();
        Ok(())
    }

    /// What the stream says of itself.
    fn look(&mut self) {
        let (durable, tail) = (self.stream().durable(), self.stream().published().unwrap());
        assert!(durable <= tail);
        self.tail = tail;
        let durable = self.log.entries.partition_point(|entry| entry.end <= durable);
        self.log.durable = self.log.durable.max(durable);
        if self.log.limited {
            self.log.log_start = self.stream().stats().unwrap().log_start;
        }
    }

    fn appended(&mut self, appended: Appended, durability: Durability) {
        let log = &mut self.log;
        let entries = std::mem::take(&mut log.in_flight);
        let (first, last) = (&entries[0], &entries[entries.len() - 1]);
        assert_eq!((appended.offset(), appended.end()), (first.offset, last.end));
        assert_eq!(appended.ingest_time(), first.ingest);
        log.entries.extend(entries);
        log.kept.push(Kept { cursor: appended.cursor(), consumed: log.entries.len(), lost: false });
        if durability == Durability::Sync {
            log.durable = log.entries.len();
        }
    }

    /// Ends every process, and the boot where the power went. What the model knows stays.
    pub fn crash(&mut self, crash: Crash) {
        self.disk.crash(crash);
        self.open = None;
        if crash != Crash::KeepAll {
            self.clock.reboot();
            self.log.lose_power();
        }
    }

    /// Opens the store again, unless the disk goes off meanwhile, and goes on with what is left. Says whether it did.
    pub fn open_again(&mut self, crash: Crash) -> bool {
        let open = self.setup.open(&self.disk, &self.clock);
        if self.disk.is_off() {
            return false;
        }
        // Whatever call it was to die at, it does no more.
        self.disk.crash_at(1 << 60);
        self.open = Some(open.expect("it opens after a crash"));
        let needed = self.log.entries.len();
        let left = self.log.check(self.stream(), self.now(), needed, Some(crash));
        self.log.accept(left);
        self.look();
        true
    }

    /// The end of every history: everything works, and a clean restart shows the same.
    pub fn finish(&mut self) {
        for op in [
            Op::Append { size: 100, sparse: false, durability: Durability::Buffered },
            Op::Batch { sizes: vec![1, 2, 3], durability: Durability::Interval },
            Op::Sync,
            Op::Tick,
            Op::Append { size: 100, sparse: false, durability: Durability::Sync },
            Op::Reopen,
        ] {
            self.apply(&op, None).expect("nothing fails any more");
        }
        let (log, stream) = (&self.log, self.stream());
        let left = Left {
            count: log.entries.len(),
            blind: false,
            tail: self.tail,
            durable: self.tail,
            epoch: log.epoch,
            log_start: log.log_start,
        };
        log.kept.iter().for_each(|kept| log.resume(stream, kept, left, self.now()));
        assert!(self.store().verify().unwrap().is_sound());
    }
}

/// Counts, and what they were counted of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub states: u64,
    /// Of which opened once more after a second crash.
    pub twice: u64,
    /// Of which appended to and synced again.
    pub lived_on: u64,
    pub lost_power: u64,
}

impl std::ops::Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            states: self.states + other.states,
            twice: self.twice + other.twice,
            lived_on: self.lived_on + other.lived_on,
            lost_power: self.lost_power + other.lost_power,
        }
    }
}

/// Crashes the disk at that moment, opens what is left, and checks it.
pub fn try_state(moment: &Moment, setup: &Setup, crash: Crash, tally: &mut Tally) {
    tally.states += 1;
    let (disk, clock) = (moment.image.crashed(crash), moment.clock.fork());
    disk.set_capacity(ROOM);
    if crash != Crash::KeepAll {
        clock.reboot();
        tally.lost_power += 1;
    }
    let needed = moment.log.needed(crash);
    let followed = follow(setup, &disk, &clock);
    let (store, stream) = setup.open(&disk, &clock).expect("it opens after a crash");
    let left = moment.log.check(&stream, clock.wall(), needed, Some(crash));
    check_followed(&followed, &stream);
    match tally.states % 16 {
        3 | 11 => again(moment, setup, &disk, &clock, left, tally),
        7 => live_on(&store, &stream, left, tally),
        _ => {}
    }
    // Whoever lets go of it now closes nothing.
    disk.crash_at(1);
}

/// The records that a reader comes by, each with its offset, and whether some were corrupt.
fn read_all(stream: &Stream) -> (Vec<(u64, Vec<u8>)>, bool) {
    let (mut records, mut corrupt) = (Vec::new(), false);
    let mut reader = stream.read(Start::Beginning).unwrap();
    loop {
        match reader.next().unwrap() {
            Step::Records(batch) => {
                records.extend(batch.iter().map(|record| (record.offset(), record.body().to_vec())));
            }
            Step::Gap(gap) => corrupt |= matches!(gap.reason, GapReason::Corrupt | GapReason::Missing),
            Step::Passed => panic!("there is no filter"),
            Step::End => return (records, corrupt),
        }
    }
}

/// What a follower reads before the store was recovered.
fn follow(setup: &Setup, disk: &SimDisk, clock: &SimClock) -> (Vec<(u64, Vec<u8>)>, bool) {
    let store = setup.options(disk, clock).open_read_only(DIR).expect("it opens for reading after a crash");
    read_all(&store.stream(NAME).expect("it is followed after a crash"))
}

/// A follower saw a prefix of what its writer has, and damage only where the writer does.
fn check_followed((followed, corrupt): &(Vec<(u64, Vec<u8>)>, bool), stream: &Stream) {
    let (records, is_corrupt) = read_all(stream);
    assert!(records.starts_with(followed), "a follower saw {} of {}", followed.len(), records.len());
    assert!(!corrupt || is_corrupt, "a follower saw damage where there is none");
}

/// Recovering twice is recovering once, but for what a killed process left and no sync has covered; each is another epoch.
fn again(moment: &Moment, setup: &Setup, disk: &SimDisk, clock: &SimClock, left: Left, tally: &mut Tally) {
    tally.twice += 1;
    tally.states += 1;
    let disk = disk.image().crashed(Crash::DropUnsynced);
    clock.reboot();
    let (_store, stream) = setup.open(&disk, clock).expect("it opens after two crashes");
    let mut log = Log::clone(&moment.log);
    log.epoch = left.epoch;
    let is_durable = left.durable == left.tail;
    // An append in flight is in the log as well, and what recovery wrote in its stead may be durable.
    let below = log.partition(|entry| entry.end <= left.durable);
    let needed = if is_durable { left.count } else { below.min(left.count) };
    let again = log.check(&stream, clock.wall(), if left.blind { 0 } else { needed }, None);
    let same = if is_durable { again.count == left.count } else { again.count <= left.count };
    assert!(left.blind || same, "recovering twice is not recovering once");
    disk.crash_at(1);
}

/// Without faults, everything works again.
fn live_on(store: &Store, stream: &Stream, left: Left, tally: &mut Tally) {
    tally.lived_on += 1;
    let appended = stream.append_with(&Record::new("on"), Durability::Sync).expect("it takes appends");
    assert!(left.tail <= appended.offset());
    let mut reader = stream.read(Start::Last(1)).unwrap();
    let Step::Records(batch) = reader.next().unwrap() else { panic!("what was appended is there") };
    assert!(batch.iter().all(|record| record.body() == b"on"));
    assert!(store.verify().unwrap().is_sound());
}
