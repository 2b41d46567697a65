//! `demo`: the whole life of a log on this machine, in a temporary directory, with a check at the end.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anstyle::Style;
use tailwater::{
    Clock, Cursor, ErrorKind, Options, Record, Start, Step, Store, Stream, StreamName, StreamSpec, TtlDays,
};

use crate::failure::{Failure, Result};
use crate::print::{BAD, Bytes, Count, GOOD, Out, table};

mod corpus;
use corpus::Corpus;

/// Records appended one by one, each waited for by a tail.
const PACED: usize = 1000;
/// Lines the retention part uses.
const EXPIRING: usize = 20_000;
const DAY: Duration = Duration::from_secs(86_400);
/// How long a tail waits before it looks whether the appending has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// A record that was not seen this long after its append never will be.
const LOST: Duration = Duration::from_secs(10);

/// Lives through it. The exit code is 1 if anything was lost, doubled or changed.
pub fn run(files: &[PathBuf], out: &mut Out) -> Result<ExitCode> {
    let corpus = Corpus::gather(files)?;
    let dir = tempfile::tempdir()
        .map_err(|err| Failure::Said(format!("create a temporary directory for the demo: {err}")))?;
    heading(out, "What goes in")?;
    say(out, format_args!("{}", corpus.source))?;

    let mut checks = Vec::new();
    let (log, measured) = live(&dir.path().join("store"), &corpus, out, &mut checks)?;
    reopen(&dir.path().join("store"), &log, out, &mut checks)?;
    retention(&dir.path().join("turned"), &corpus, out, &mut checks)?;

    heading(out, "In figures")?;
    let micros = |nanos: u64| format!("{:.2} us", nanos as f64 / 1000.0);
    let rate = |of: u64| (of as f64 / measured.seconds.max(1e-9)) as u64;
    let rows = [
        ("records appended, one at a time", Count(log.records).to_string()),
        ("bytes of bodies", Bytes(log.bytes).to_string()),
        ("rate, with the tail following", format!("{} records/s", Count(rate(measured.records)))),
        ("", format!("{}/s", Bytes(rate(measured.bytes)))),
        ("append, p50", micros(percentile(&measured.appends, 500))),
        ("append, p99.9", micros(percentile(&measured.appends, 999))),
        ("append to seen by a waiting tail, p50", micros(percentile(&measured.seen, 500))),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table(out, &["MEASURED", "HERE"], &["HERE"], &rows)?;
    out.bytes(b"\n")?;

    heading(out, "Nothing lost, nothing doubled")?;
    for (holds, claim) in &checks {
        let (style, verdict) = if *holds { (GOOD, "yes") } else { (BAD, "NO ") };
        let style = out.styled(style);
        say(out, format_args!("{style}{verdict}{style:#}  {claim}"))?;
    }
    let all = checks.iter().all(|(holds, _)| *holds);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A claim the demo makes, and whether it held.
type Checks = Vec<(bool, String)>;

/// A sequence of records, as one value: two are equal when they hold the same bodies at the same offsets in one order.
#[derive(Clone, Default)]
struct Sequence {
    records: u64,
    bytes: u64,
    hash: DefaultHasher,
}

impl Sequence {
    fn push(&mut self, offset: u64, body: &[u8]) {
        self.records += 1;
        self.bytes += body.len() as u64;
        self.hash.write_u64(offset);
        self.hash.write_usize(body.len());
        self.hash.write(body);
    }

    fn is(&self, other: &Sequence) -> bool {
        (self.records, self.hash.finish()) == (other.records, other.hash.finish())
    }
}

/// What was measured; times in nanoseconds, ascending.
struct Measured {
    records: u64,
    bytes: u64,
    seconds: f64,
    appends: Vec<u64>,
    seen: Vec<u64>,
}

/// Appends while a tail follows; the tail is dropped half way and goes on from its cursor.
fn live(dir: &Path, corpus: &Corpus, out: &mut Out, checks: &mut Checks) -> Result<(Sequence, Measured)> {
    heading(out, "Appending while a tail follows")?;
    let store = Store::open(dir)?;
    let stream = store.create_stream(StreamSpec::new(StreamName::new("demo")?))?;

    let mut log = Sequence::default();
    let mut appends = Vec::with_capacity(corpus.lines.len() + PACED);
    let begun = Instant::now();
    // Where the log ends, once that is known.
    let end = AtomicU64::new(u64::MAX);
    let followed = thread::scope(|scope| {
        let tail = scope.spawn(|| follow(&stream, (corpus.lines.len() as u64 / 2).max(1), &end));
        let appended = corpus.lines.iter().try_for_each(|line| append(&stream, line, &mut log, &mut appends));
        let seconds = begun.elapsed().as_secs_f64();
        // Also when an append failed: the tail must not wait for what will not come.
        end.store(stream.published().unwrap_or(0), Ordering::Release);
        let followed = tail.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        appended.and(followed).map(|followed| (followed, seconds))
    });
    let (followed, seconds) = followed?;
    let caught_up = begun.elapsed().as_secs_f64();
    let sync = Instant::now();
    stream.sync()?;
    let sync = sync.elapsed();
    say(
        out,
        format_args!("{} records in {seconds:.2} s; one sync of the rest, {sync:.1?}.", Count(log.records)),
    )?;
    say(out, format_args!("The tail had them all {:.1} ms later.", (caught_up - seconds) * 1e3))?;
    say(out, format_args!("Half way it was dropped, and resumed from its cursor:"))?;
    let cursor = followed.resumed.to_string();
    let (first, rest) = cursor.split_at(cursor.len() / 2);
    say(out, format_args!("  {first}"))?;
    say(out, format_args!("  {rest}"))?;
    checks.push((
        followed.seen.is(&log) && followed.gaps == 0,
        "the tail saw every record once, in order, over its resumption".to_owned(),
    ));
    let measured_log = log.clone();

    let seen = paced(&stream, corpus, &mut log, &mut appends)?;
    say(out, format_args!("Then {} more, each waited for by a tail that sleeps.", Count(seen.len() as u64)))?;
    out.bytes(b"\n")?;
    appends.sort_unstable();
    store.close()?;
    let measured =
        Measured { records: measured_log.records, bytes: measured_log.bytes, seconds, appends, seen };
    Ok((log, measured))
}

fn append(stream: &Stream, line: &[u8], log: &mut Sequence, appends: &mut Vec<u64>) -> Result<()> {
    let record = Record::new(line);
    let begun = Instant::now();
    let appended = stream.append(&record)?;
    appends.push(begun.elapsed().as_nanos() as u64);
    log.push(appended.offset(), line);
    Ok(())
}

/// What a tail saw.
struct Followed {
    seen: Sequence,
    gaps: u64,
    /// The cursor it was resumed from, as a host would have kept it.
    resumed: String,
}

/// Follows `stream` to `end`. After `half` records the tail is dropped, with whatever it had not handed out, and another
/// one starts from the text of its cursor.
fn follow(stream: &Stream, half: u64, end: &AtomicU64) -> Result<Followed> {
    let mut followed = Followed { seen: Sequence::default(), gaps: 0, resumed: "(never)".to_owned() };
    let mut tail = stream.tail(Start::Beginning)?;
    loop {
        match tail.next(PATIENCE)? {
            Step::Records(batch) => {
                for record in batch.iter() {
                    followed.seen.push(record.offset(), record.body());
                    if followed.seen.records == half {
                        followed.resumed = record.cursor().to_string();
                        tail = stream.tail(Start::Cursor(followed.resumed.parse::<Cursor>()?))?;
                        break;
                    }
                }
            }
            Step::Gap(_) => followed.gaps += 1,
            Step::Passed | Step::End => {}
        }
        if end.load(Ordering::Acquire) <= tail.cursor().offset() {
            return Ok(followed);
        }
    }
}

/// Appends records one by one, each when the one before was seen. Nanoseconds from calling append to being seen, ascending.
fn paced(stream: &Stream, corpus: &Corpus, log: &mut Sequence, appends: &mut Vec<u64>) -> Result<Vec<u64>> {
    let mut tail = stream.tail(Start::Now)?;
    let (sender, seen) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut left = PACED;
            while 0 < left {
                match tail.next(LOST) {
                    Ok(Step::Records(batch)) => {
                        let now = Instant::now();
                        left -= batch.len().min(left);
                        // Nobody waits any more once an append has failed.
                        if (0..batch.len()).any(|_| sender.send(now).is_err()) {
                            return;
                        }
                    }
                    // Dropping the sender tells.
                    Ok(Step::Gap(_) | Step::Passed | Step::End) | Err(_) => return,
                }
            }
        });
        let mut nanos = Vec::with_capacity(PACED);
        for line in corpus.lines.iter().cycle().take(PACED) {
            let begun = Instant::now();
            append(stream, line, log, appends)?;
            let seen = seen.recv_timeout(LOST).map_err(|_| {
                Failure::Said(format!("follow the demo stream: record {} was not seen", log.records))
            })?;
            nanos.push(seen.saturating_duration_since(begun).as_nanos() as u64);
        }
        nanos.sort_unstable();
        Ok(nanos)
    })
}

/// Opens the store again and reads all of it.
fn reopen(dir: &Path, log: &Sequence, out: &mut Out, checks: &mut Checks) -> Result<()> {
    heading(out, "Opened again, read from the beginning")?;
    let begun = Instant::now();
    let store = Store::open(dir)?;
    let stream = store.stream("demo")?;
    let opened = begun.elapsed();
    let begun = Instant::now();
    let mut reader = stream.read(Start::Beginning)?;
    let (mut read, mut gaps) = (Sequence::default(), 0);
    loop {
        match reader.next()? {
            Step::Records(batch) => batch.iter().for_each(|record| read.push(record.offset(), record.body())),
            Step::Gap(_) => gaps += 1,
            Step::Passed => {}
            Step::End => break,
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = Count((read.records as f64 / seconds.max(1e-9)) as u64);
    say(out, format_args!("Open took {opened:.1?}."))?;
    say(
        out,
        format_args!("{} records read, every checksum verified: {rate} records/s.", Count(read.records)),
    )?;
    out.bytes(b"\n")?;
    checks.push((
        read.is(log) && gaps == 0,
        "after a reopen, every record is there once, unchanged".to_owned(),
    ));
    checks.push((store.verify()?.is_sound(), "verify finds no damage".to_owned()));
    Ok(store.close()?)
}

/// Shows what a TTL does, with a clock that is turned by hand.
fn retention(dir: &Path, corpus: &Corpus, out: &mut Out, checks: &mut Checks) -> Result<()> {
    heading(out, "A TTL of one day, and a clock turned by two")?;
    let clock = Arc::new(Turned { begun: Instant::now(), wall: wall_now(), ahead: AtomicI64::new(0) });
    let store = Options::new().background(false).clock(Arc::clone(&clock) as Arc<dyn Clock>).open(dir)?;
    let spec = StreamSpec::new(StreamName::new("short-lived")?).ttl(TtlDays::new(1)?);
    let stream = store.create_stream(spec)?;
    let mut first = None;
    for line in corpus.lines.iter().take(EXPIRING) {
        let appended = stream.append(&Record::new(line))?;
        first.get_or_insert(appended.cursor());
    }
    stream.sync()?;
    let before = (visible(&stream)?, stream.stats()?.disk_bytes);
    clock.ahead.store(2 * DAY.as_nanos() as i64, Ordering::Relaxed);
    let expired = visible(&stream)?;
    // A plain reader is told what it missed; it is never moved.
    let resumed = first.map(|cursor| stream.read(Start::Cursor(cursor)).map(drop));
    store.tick()?;
    let freed = stream.stats()?.disk_bytes;
    stream.append(&Record::new("a new day"))?;
    let after = visible(&stream)?;

    say(
        out,
        format_args!("Before:       {} records visible, {} on disk.", Count(before.0), Bytes(before.1)),
    )?;
    say(out, format_args!("Clock turned: {} visible, at once.", Count(expired)))?;
    if let Some(Err(err)) = &resumed
        && let ErrorKind::CursorExpired { skipped_bytes, .. } = err.kind()
    {
        let skipped = Bytes(*skipped_bytes);
        say(out, format_args!("              A cursor from before gets CursorExpired: {skipped} gone."))?;
    }
    say(out, format_args!("After a tick: {} on disk.", Bytes(freed)))?;
    say(out, format_args!("Appended one: {} visible.", Count(after)))?;
    out.bytes(b"\n")?;
    checks.push((
        expired == 0 && after == 1,
        "expired records are invisible at once, new ones are not".to_owned(),
    ));
    checks.push((freed < before.1, "and their space on disk is given back".to_owned()));
    Ok(store.close()?)
}

/// Counts the records a reader gets.
fn visible(stream: &Stream) -> Result<u64> {
    let mut reader = stream.read(Start::Beginning)?;
    let mut records = 0;
    loop {
        match reader.next()? {
            Step::Records(batch) => records += batch.len() as u64,
            Step::Gap(_) | Step::Passed => {}
            Step::End => return Ok(records),
        }
    }
}

/// A clock that runs as the machine's does, and can be turned ahead.
#[derive(Debug)]
struct Turned {
    begun: Instant,
    /// The time at `begun`.
    wall: i64,
    ahead: AtomicI64,
}

impl Turned {
    fn passed(&self) -> i64 {
        self.begun.elapsed().as_nanos() as i64 + self.ahead.load(Ordering::Relaxed)
    }
}

impl Clock for Turned {
    fn wall(&self) -> i64 {
        self.wall + self.passed()
    }

    // The machine has slept for as long as the wall clock went ahead; the engine would not believe one without the other.
    fn boot(&self) -> u64 {
        self.passed() as u64
    }

    fn boot_id(&self) -> Option<u128> {
        Some(1)
    }
}

fn wall_now() -> i64 {
    jiff::Timestamp::now().as_nanosecond() as i64
}

/// The value that `permille` of the ascending `values` are at most.
fn percentile(values: &[u64], permille: usize) -> u64 {
    values.get((values.len() * permille / 1000).min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn heading(out: &mut Out, text: &str) -> Result<()> {
    let style = out.styled(Style::new().bold());
    out.line(format_args!("{style}{text}{style:#}"))?;
    out.flush()
}

fn say(out: &mut Out, sentence: std::fmt::Arguments<'_>) -> Result<()> {
    out.line(format_args!("  {sentence}"))?;
    out.flush()
}
