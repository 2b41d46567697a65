//! Two fixed pieces of work on one thread, the same calls of the system each time, and what must be true after each however
//! it was interrupted.

use std::fmt::Display;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tailwater::{
    Clock, Durability, ErrorKind, Limit, Options, Record, Result, SessionCursor, SessionId, SessionSpec,
    Start, Step, Store, Stream, StreamUpdate, TenantId, UserId,
};

use crate::machine::{say, spec};

/// What retention leaves of stream `a`, at most; what a segment reserves counts.
const MAX_BYTES: u64 = 192 << 10;
/// Records in the store that [`Work::Recover`] finds.
const FOUND: u64 = 90;
/// The record that is damaged in the other store it finds.
const DAMAGED: u64 = 30;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Begins a store and does a little of everything to it.
    Create,
    /// Finds a store that was not closed, in the same boot, and a damaged one to repair.
    Recover,
    /// The same after the machine was started again.
    Reboot,
}

impl Work {
    pub const ALL: [Work; 3] = [Work::Create, Work::Recover, Work::Reboot];

    pub fn named(name: &str) -> Work {
        Work::ALL.into_iter().find(|work| format!("{work:?}") == name).expect("one of them")
    }

    fn open(self, dir: &Path) -> Result<Store> {
        options(if self == Work::Reboot { 2 } else { 1 }).open(dir.join("store"))
    }

    /// What the work begins with.
    pub fn prepare(self, dir: &Path) {
        if self == Work::Create {
            return;
        }
        let live = tempfile::tempdir().unwrap();
        let store = options(1).open(live.path()).unwrap();
        let a = store.create_stream(spec("a")).unwrap();
        store.create_stream(spec("b")).unwrap().append(&Record::new("b")).unwrap();
        for number in 0..FOUND {
            a.append(&Record::new(&body(number))).unwrap();
            if number % 40 == 10 {
                a.sync().unwrap();
            }
        }
        copy(live.path(), &dir.join("store"));
        fs::write(dir.join("store/.new-unfinished"), "x").unwrap();
        store.close().unwrap();
        copy(live.path(), &dir.join("damaged"));
        damage(&dir.join("damaged"));
    }

    /// Does it, and says what it did. What fails is said, too, and the work goes on.
    pub fn run(self, dir: &Path) {
        let mut worker = Worker { work: self, dir, store: None, next: 0 };
        say("begin");
        match self {
            Work::Create => worker.create(),
            Work::Recover | Work::Reboot => worker.recover(),
        };
        drop(worker);
        say("end");
    }
}

struct Worker<'a> {
    work: Work,
    dir: &'a Path,
    store: Option<Store>,
    next: u64,
}

impl Worker<'_> {
    fn create(&mut self) -> Option<()> {
        let limited = StreamUpdate { max_bytes: Some(Some(MAX_BYTES)), ..StreamUpdate::default() };
        self.open()?;
        let mut a = self.stream("a")?;
        let b = self.stream("b")?;
        if done("append", b.append_with(&Record::new("b"), Durability::Sync)).is_some() {
            say("b there");
        }
        done("update", self.store.as_ref()?.update_stream("a", limited));
        self.append(&mut a, 30)?;
        self.tick();
        self.session();
        self.append(&mut a, 80)?;
        self.tick();
        done("sync", a.sync());
        let acknowledged = self.next;
        if done("snapshot", self.store.as_ref()?.snapshot(self.dir.join("copy"))).is_some() {
            say(&format!("snapshot {acknowledged}"));
        }
        self.append(&mut a, 10)?;
        self.delete();
        self.close();
        self.open()?;
        let mut a = self.stream("a")?;
        self.append(&mut a, 10)?;
        self.close();
        Some(())
    }

    fn recover(&mut self) -> Option<()> {
        self.next = FOUND;
        self.open()?;
        let mut a = self.stream("a")?;
        if let Some(numbers) = done("read", numbers(&a)) {
            say(&format!("read {}", numbers.len()));
        }
        self.append(&mut a, 30)?;
        self.session();
        self.tick();
        self.delete();
        self.close();
        if again("repair", || tailwater::repair(self.dir.join("damaged"))).is_some() {
            say("repaired");
        }
        Some(())
    }

    fn open(&mut self) -> Option<()> {
        self.store = Some(again("open", || self.work.open(self.dir))?);
        say("open");
        Some(())
    }

    /// The stream, made where it is not there yet. What a failed sync has poisoned is opened anew.
    fn stream(&mut self, name: &str) -> Option<Stream> {
        for _ in 0..3 {
            let store = self.store.as_ref()?;
            let found = match store.stream(name) {
                Err(err) if *err.kind() == ErrorKind::NotFound => store.create_stream(spec(name)),
                found => found,
            };
            match found {
                Ok(stream) => {
                    say(&format!("stream {name} {}", stream.id()));
                    return Some(stream);
                }
                Err(err) => {
                    failed("stream", &err);
                    if *err.kind() == ErrorKind::Poisoned {
                        self.close();
                        self.open()?;
                    }
                }
            }
        }
        say("stuck stream");
        None
    }

    fn close(&mut self) {
        if let Some(store) = self.store.take() {
            done("close", store.close());
        }
    }

    fn tick(&self) {
        done("tick", self.store.as_ref().expect("it is open").tick());
    }

    /// Appends singly and in batches, every eighth time durably. A poisoned stream is opened anew.
    fn append(&mut self, stream: &mut Stream, count: u64) -> Option<()> {
        let end = self.next + count;
        while self.next < end {
            let numbers = self.next..self.next + if self.next % 5 == 4 { 3 } else { 1 };
            self.next = numbers.end;
            let bodies: Vec<_> = numbers.clone().map(body).collect();
            let records: Vec<_> = bodies.iter().map(Record::new).collect();
            let durability = if numbers.start % 8 == 3 { Durability::Sync } else { Durability::Buffered };
            match stream.append_batch_with(&records, durability) {
                Ok(_) => say(&format!("acknowledged {} {}", numbers.start, numbers.end)),
                Err(err) if *err.kind() == ErrorKind::Poisoned => {
                    failed("append", &err);
                    self.close();
                    self.open()?;
                    *stream = self.stream("a")?;
                }
                Err(err) => failed("append", &err),
            }
        }
        Some(())
    }

    /// Reads through a session, and commits.
    fn session(&self) -> Option<()> {
        let tenant = self.store.as_ref()?.tenant(&TenantId::new("t").unwrap());
        let spec = SessionSpec::new(UserId::new("u").unwrap());
        let session = done("session", tenant.create_session(spec))?;
        let polled = done("poll", session.poll(Duration::ZERO, Limit::records(10)))?;
        done("commit", session.commit(polled.cursor()))?;
        say(&format!("committed {} {}", session.id(), polled.cursor()));
        Some(())
    }

    fn delete(&self) -> Option<()> {
        say("deleting");
        done("delete", self.store.as_ref()?.delete_stream("b"))?;
        say("deleted");
        Some(())
    }
}

fn failed(doing: &str, err: &tailwater::Error) {
    say(&format!("failed {doing} {:?}: {err}", err.kind()));
}

fn done<T>(doing: &str, result: Result<T>) -> Option<T> {
    result.inspect_err(|err| failed(doing, err)).ok()
}

/// What failed once, for one call failed once, works when it is tried again.
fn again<T>(doing: &str, mut try_it: impl FnMut() -> Result<T>) -> Option<T> {
    let found = (0..3).find_map(|_| done(doing, try_it()));
    if found.is_none() {
        say(&format!("stuck {doing}"));
    }
    found
}

/// What a run said.
#[derive(Debug, Default)]
pub struct Heard {
    pub lines: Vec<String>,
    acknowledged: Vec<Range<u64>>,
    b_is_there: bool,
    deleting: bool,
    deleted: bool,
    snapshot: Option<u64>,
    committed: Vec<(SessionId, SessionCursor)>,
    repaired: bool,
    pub ended: bool,
}

impl Heard {
    pub fn new(lines: Vec<String>) -> Heard {
        let mut heard = Heard::default();
        for line in &lines {
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let mut number = || words.next().unwrap().parse().unwrap();
            match word {
                "acknowledged" => heard.acknowledged.push(number()..number()),
                "b" => heard.b_is_there = true,
                "deleting" => heard.deleting = true,
                "deleted" => heard.deleted = true,
                "snapshot" => heard.snapshot = Some(number()),
                "committed" => {
                    let (id, cursor) = (words.next().unwrap(), words.next().unwrap());
                    heard.committed.push((id.parse().unwrap(), cursor.parse().unwrap()));
                }
                "repaired" => heard.repaired = true,
                "end" => heard.ended = true,
                "stuck" => panic!("{line}, of {lines:#?}"),
                _ => {}
            }
        }
        heard.lines = lines;
        heard
    }

    /// The stream's failed sync is its last word: from then on, nothing is acknowledged until it is opened anew.
    pub fn check_poison(&self) {
        let a = self.lines.iter().find_map(|line| line.strip_prefix("stream a "));
        let mut poisoned = false;
        for line in &self.lines {
            match line.split(' ').next().unwrap_or_default() {
                // A stream whose opening failed is opened anew by the next try.
                "failed" if !line.starts_with("failed stream") && line.contains("sync segment") => {
                    poisoned |= a.is_some_and(|a| line.contains(a));
                }
                "open" => poisoned = false,
                "acknowledged" => assert!(!poisoned, "acknowledged behind a failed sync: {:#?}", self.lines),
                _ => {}
            }
        }
    }
}

/// What must be true of a store after `work`, as far as it came.
pub fn verify(work: Work, dir: &Path, heard: &Heard) {
    let store = work.open(dir).unwrap();
    match store.stream("a") {
        Ok(a) => {
            let recovery = a.recovery();
            assert!(recovery.corrupt.is_empty() && recovery.set_aside.is_empty(), "{recovery:?}");
            assert_eq!(recovery.torn_bytes, 0, "{recovery:?}");
            let mut expected = heard.acknowledged.clone();
            if work != Work::Create {
                expected.insert(0, 0..FOUND);
            }
            check_numbers(&numbers(&a).unwrap(), expected.iter().cloned().flatten());
            assert!(store.verify().unwrap().is_sound());
            // And it goes on.
            a.append_with(&Record::new(&body(u64::MAX)), Durability::Sync).unwrap();
        }
        Err(err) => {
            assert_eq!(*err.kind(), ErrorKind::NotFound, "{err:?}");
            assert!(work == Work::Create && heard.acknowledged.is_empty(), "the stream is lost");
        }
    }
    match store.stream("b") {
        Ok(b) => {
            assert!(!heard.deleted, "a deleted stream is back");
            let count = b.stats().unwrap().records;
            assert!(!heard.b_is_there || count == 1, "{count} records");
        }
        Err(err) => {
            assert_eq!(*err.kind(), ErrorKind::NotFound, "{err:?}");
            assert!(!heard.b_is_there || heard.deleting, "stream b is lost");
        }
    }
    for (id, cursor) in &heard.committed {
        let session = store.tenant(&TenantId::new("t").unwrap()).session(*id).unwrap();
        assert_eq!(session.info().unwrap().last_cursor, *cursor);
        session.poll(Duration::ZERO, Limit::default()).unwrap();
    }
    store.tick().unwrap();
    store.close().unwrap();
    if let Some(end) = heard.snapshot {
        let copy = options(1).open(dir.join("copy")).unwrap();
        let before = heard.acknowledged.iter().cloned().flatten().filter(|number| *number < end);
        check_numbers(&numbers(&copy.stream("a").unwrap()).unwrap(), before);
        assert!(copy.verify().unwrap().is_sound());
    }
    if work != Work::Create {
        let damaged = dir.join("damaged");
        // Interrupted, it is done again; done, it finds nothing more.
        let report = tailwater::repair(&damaged).unwrap();
        assert!(!heard.repaired || report.rewritten_segments.is_empty(), "{report:?}");
        let repaired = options(1).open(&damaged).unwrap();
        let mut numbers = numbers_around_gaps(&repaired.stream("a").unwrap());
        numbers.insert(DAMAGED as usize, DAMAGED);
        assert_eq!(numbers, (0..FOUND).collect::<Vec<_>>());
    }
}

/// Those found are in order, and all that are `expected` among them, but for what retention took from the front.
fn check_numbers(found: &[u64], expected: impl Iterator<Item = u64>) {
    assert!(found.is_sorted_by(|a, b| a < b), "out of order or twice: {found:?}");
    let first = found.first().copied().unwrap_or(0);
    for number in expected {
        if number < first {
            let left: usize = found.iter().map(|number| body(*number).len()).sum();
            assert!(MAX_BYTES / 2 < left as u64, "record {number} is lost, and {left} bytes are left");
        } else {
            assert!(found.binary_search(&number).is_ok(), "record {number} is lost: {found:?}");
        }
    }
}

fn body(number: u64) -> Vec<u8> {
    let mut body = format!("{number} ").into_bytes();
    body.resize(2_000 + number as usize % 7 * 300, b'a' + (number % 26) as u8);
    body
}

fn number_of(record: &[u8]) -> u64 {
    let end = record.iter().position(|byte| *byte == b' ').expect("a number and a space");
    let number = std::str::from_utf8(&record[..end]).unwrap().parse().unwrap();
    assert!(record == body(number), "record {number} is not what was appended");
    number
}

fn numbers(stream: &Stream) -> Result<Vec<u64>> {
    let mut reader = stream.read(Start::Beginning)?;
    let mut numbers = Vec::new();
    loop {
        match reader.next()? {
            Step::Records(batch) => numbers.extend(batch.iter().map(|record| number_of(record.body()))),
            Step::End => return Ok(numbers),
            other => panic!("{other:?}"),
        }
    }
}

fn numbers_around_gaps(stream: &Stream) -> Vec<u64> {
    let mut reader = stream.read(Start::Beginning).unwrap();
    let mut numbers = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Records(batch) => numbers.extend(batch.iter().map(|record| number_of(record.body()))),
            Step::End => return numbers,
            _ => {}
        }
    }
}

fn options(boot: u128) -> Options {
    Options::new().background(false).max_segment_bytes(64 << 10).clock(Arc::new(Boot(boot)))
}

/// The machine's clock, in a boot that we name.
#[derive(Debug)]
struct Boot(u128);

impl Clock for Boot {
    fn wall(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
    }

    fn boot(&self) -> u64 {
        self.wall() as u64
    }

    fn boot_id(&self) -> Option<u128> {
        Some(self.0)
    }
}

/// Copies a directory and all below it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Alters one byte within the body of one record, wherever it lies.
fn damage(dir: &Path) {
    let mut stack = vec![dir.to_path_buf()];
    let body = body(DAMAGED);
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(body.len()).position(|window| window == body) {
            bytes[at + 1_000] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("record {DAMAGED} is nowhere");
}

/// For messages.
pub fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
