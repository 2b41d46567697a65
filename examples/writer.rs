//! Appends from two threads for ever, and prints what was acknowledged. Kill it at any time: what it printed is there.
//!
//! `cargo run --example writer DIRECTORY [RUN]`, with a number for RUN that was not used before in this directory.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use tailwater::{Durability, ErrorKind, Level, Options, Record, Store, Stream, StreamName, StreamSpec};

/// The stream it appends to.
pub const STREAM: &str = "writer";

/// One record's place: the run and thread that appended it, and its number there, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    /// The run.
    pub run: u64,
    /// The thread, 0 or 1.
    pub thread: u64,
    /// The number.
    pub number: u64,
}

impl Id {
    /// What the record says: who it is, which numbers share its batch, and bytes that follow from these.
    pub fn body(self, batch: &Range<u64>) -> Vec<u8> {
        let Id { run, thread, number } = self;
        let mut body = format!("{run} {thread} {number} {} {} ", batch.start, batch.end).into_bytes();
        let mut state = mix(run ^ mix(thread ^ mix(number)));
        let length = body.len() + if state.is_multiple_of(128) { 9_000 } else { state as usize % 300 };
        while body.len() < length {
            state = mix(state);
            body.extend(state.to_le_bytes());
        }
        body
    }

    /// Reads a body back; `None` where a byte is not what was appended.
    pub fn parse(body: &[u8]) -> Option<(Id, Range<u64>)> {
        let mut numbers =
            body.splitn(6, |byte| *byte == b' ').map(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let mut next = || numbers.next()?;
        let id = Id { run: next()?, thread: next()?, number: next()? };
        let batch = next()?..next()?;
        (id.body(&batch) == body).then_some((id, batch))
    }
}

fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 29)
}

/// How it opens the store: segments small enough that it rolls often.
pub fn options() -> Options {
    Options::new().max_segment_bytes(256 << 10)
}

/// What retention leaves of the stream, nearly.
const MAX_BYTES: u64 = 8 << 20;

/// Appends until `said` refuses a line. The lines: `opening`, `open`, `retaining`, `retained`, `closing`, `closed`, and for
/// each append `thread end cursor`, with the number after its last record.
pub fn run(dir: &Path, run: u64, said: impl Fn(&str) -> bool + Sync) -> tailwater::Result<()> {
    said("opening");
    let store = options().open(dir)?;
    let stream = open_stream(&store)?;
    said("open");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| append(&store, &stream, run, 1, &said));
        append(&store, &stream, run, 0, &said)?;
        other.join().expect("appending does not panic")
    })?;
    said("closing");
    store.close()?;
    said("closed");
    Ok(())
}

fn open_stream(store: &Store) -> tailwater::Result<Stream> {
    match store.stream(STREAM) {
        Err(err) if *err.kind() == ErrorKind::NotFound => {
            store.create_stream(StreamSpec::new(StreamName::new(STREAM)?).max_bytes(MAX_BYTES))
        }
        found => found,
    }
}

/// Single records and batches, one in 16 of them durable before it counts; now and then retention in between.
fn append(
    store: &Store,
    stream: &Stream,
    run: u64,
    thread: u64,
    said: &impl Fn(&str) -> bool,
) -> tailwater::Result<()> {
    let mut number = 0;
    loop {
        let chance = mix(run ^ mix(thread ^ mix(number ^ 77)));
        let batch = number..number + if chance.is_multiple_of(3) { 2 + chance / 3 % 8 } else { 1 };
        let durability = match chance >> 32 & 15 {
            0 => Durability::Sync,
            1..8 => Durability::Interval,
            _ => Durability::Buffered,
        };
        let bodies: Vec<_> = batch.clone().map(|number| Id { run, thread, number }.body(&batch)).collect();
        let records: Vec<_> = bodies.iter().map(|body| Record::new(body).level(Level::Info)).collect();
        let appended = stream.append_batch_with(&records, durability)?;
        number = batch.end;
        if thread == 0 && chance >> 40 & 31 == 0 {
            said("retaining");
            store.tick()?;
            said("retained");
        }
        if !said(&format!("{thread} {number} {}", appended.cursor())) {
            return Ok(());
        }
    }
}

/// Runs it from a shell.
#[allow(dead_code)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: writer DIRECTORY [RUN]")?;
    let number = arguments.next().map_or(Ok(0), |run| run.parse())?;
    run(Path::new(&dir), number, |line| writeln!(std::io::stdout(), "{line}").is_ok())?;
    Ok(())
}
