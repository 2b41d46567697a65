//! `kill -9` at any instant, over and over, on one store: what was acknowledged is there, whole, in order and once.
//!
//! `TAILWATER_SEED` repeats the choices; `TAILWATER_SECONDS` makes a long run of many stores.

mod machine;
#[path = "../examples/writer.rs"]
mod writer;

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use machine::{Chance, Other, pause, reached, say, task, turns};
use tailwater::{Cursor, ErrorKind, Limit, Start, Step, Store, Stream};
use writer::{Id, STREAM};

/// Kills after which a new store is begun, so that one begins often, too.
const LIFE: u32 = 400;

/// Where Linux has a filesystem in memory.
const MEMORY: &str = "/dev/shm";

/// How often in a row recovery is killed.
const NESTED: u64 = 10;

/// Appends that a process ends after, however late its kill comes; and those that may go unchecked before one is started.
/// Together less than what retention leaves: what it takes before it was checked would look like a loss.
const MOST: u64 = 3_000;
const UNCHECKED: u64 = 1_000;

/// What the process that is killed does: appends so often, and closes.
#[test]
fn write_until_killed() {
    let Some(arguments) = task() else { return };
    let (run, appends): (u64, u64) = (arguments[1].parse().unwrap(), arguments[2].parse().unwrap());
    let count = std::sync::atomic::AtomicU64::new(0);
    writer::run(Path::new(&arguments[0]), run, |line| {
        say(line);
        // It counts acknowledgements, which begin with the number of a thread.
        let counts = line.starts_with(|first: char| first.is_ascii_digit());
        counts as u64 + count.fetch_add(counts as u64, std::sync::atomic::Ordering::Relaxed) < appends
    })
    .unwrap();
}

/// When the next process is killed: somewhere behind the moment named.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Opening,
    Appended(u64),
    Retaining,
    Closing,
}

impl When {
    /// For the next process, or the next ten.
    fn draw(chance: &mut Chance) -> (When, u64) {
        match chance.below(40) {
            0 => (When::Opening, NESTED),
            1..10 => (When::Opening, 1),
            10..16 => (When::Retaining, 1),
            16..23 => (When::Closing, 1),
            23..26 => (When::Appended(0), 1),
            26..28 => (When::Appended(chance.below(1_000)), 1),
            _ => (When::Appended(chance.below(100)), 1),
        }
    }
}

/// How long each step takes here, nearly: what the instants of kills are drawn from.
#[derive(Default)]
struct Pace {
    opening: Duration,
    retaining: Duration,
    closing: Duration,
}

fn adapt(mean: &mut Duration, seen: Duration) {
    *mean = if mean.is_zero() { seen } else { (*mean * 7 + seen.min(*mean * 4)) / 8 };
}

/// Where the process was when it died.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    on_disk: u64,
    opening: u64,
    retaining: u64,
    closing: u64,
    ended: u64,
    stores: u64,
    checks: u64,
    records: u64,
    voids: u64,
    cursors: u64,
}

/// What must be in the log, as far as anybody outside can know.
#[derive(Default)]
struct Expected {
    /// The number after the last acknowledged record of each run and thread.
    acknowledged: HashMap<(u64, u64), u64>,
    /// Every record found so far, with the offset of its end.
    log: Vec<(u64, Id)>,
    /// The number after the last record found of each run and thread.
    found: HashMap<(u64, u64), u64>,
    /// Some of the cursors that were handed out, of all ages.
    cursors: Vec<Cursor>,
    /// Appends acknowledged since the last check.
    unchecked: u64,
}

impl Expected {
    fn hear(&mut self, run: u64, line: &str, chance: &mut Chance) -> bool {
        let mut parts = line.split(' ');
        let (Some(thread), Some(end), Some(cursor)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        self.acknowledged.insert((run, thread.parse().unwrap()), end.parse().unwrap());
        if chance.below(50) == 0 {
            self.cursors.push(cursor.parse().unwrap());
        }
        self.unchecked += 1;
        true
    }

    /// Takes in what is in the log behind what was found so far, and checks it against what was acknowledged.
    fn check(&mut self, stream: &Stream) {
        let mut batch_left = 0..0;
        let from = self.log.last().map_or(0, |(end, _)| *end);
        // Else it could not be told from a loss.
        let start = stream.stats().unwrap().log_start;
        assert!(start <= from, "retention was at {start} before what ends at {from} was checked");
        for_each(stream, from, |end, id, numbers| {
            if batch_left.is_empty() {
                assert_eq!(
                    numbers.start, id.number,
                    "{id:?} comes without the records before it in its batch"
                );
                batch_left = numbers;
            }
            assert_eq!(batch_left.next(), Some(id.number), "{id:?} comes within another batch");
            let next = self.found.entry((id.run, id.thread)).or_default();
            assert_eq!(*next, id.number, "{id:?} is out of order");
            *next += 1;
            self.log.push((end, id));
        });
        assert!(batch_left.is_empty(), "the end of a batch is missing: {batch_left:?}");
        for (thread, end) in self.acknowledged.drain() {
            let found = self.found.get(&thread).copied().unwrap_or(0);
            assert!(end <= found, "{thread:?}: acknowledged up to {end}, found up to {found}");
        }
        self.unchecked = 0;
    }

    /// What was found once is found again, from what retention left on.
    fn check_again(&self, stream: &Stream) {
        let mut again = Vec::new();
        for_each(stream, 0, |end, id, _| again.push((end, id)));
        let first = self.log.len() - again.len();
        assert!(self.log[first..] == again, "what was read before reads otherwise now");
        assert_eq!(self.log.is_empty(), again.is_empty(), "retention leaves the newest");
    }

    /// Each of `cursors` leads to the very next record, or is told that it went.
    fn check_cursors(&self, stream: &Stream, cursors: &[Cursor]) {
        for cursor in cursors {
            let mut reader = match stream.read(Start::Cursor(*cursor)) {
                Err(err) if matches!(err.kind(), ErrorKind::CursorExpired { .. }) => {
                    let (oldest, _) = oldest(stream).expect("what went has something behind it");
                    assert!(cursor.offset() < oldest, "{cursor} is told to have expired before {oldest}");
                    continue;
                }
                read => read.unwrap(),
            };
            let at = self.log.binary_search_by_key(&cursor.offset(), |(end, _)| *end);
            let expected = self.log.get(at.expect("a record ends at its cursor") + 1).map(|(_, id)| *id);
            let found = match reader.next_within(Limit::records(1)).unwrap() {
                Step::Records(batch) => batch.iter().next().and_then(|record| Id::parse(record.body())),
                Step::Gap(gap) => panic!("{gap:?}"),
                Step::Passed => panic!("there is no filter"),
                Step::End => None,
            };
            assert_eq!(found.map(|(id, _)| id), expected);
        }
    }
}

/// The oldest record there is, with the offset of its end.
fn oldest(stream: &Stream) -> Option<(u64, Id)> {
    let mut reader = stream.read(Start::Beginning).unwrap();
    match reader.next_within(Limit::records(1)).unwrap() {
        Step::Records(batch) => {
            let record = batch.iter().next()?;
            Some((record.end(), Id::parse(record.body())?.0))
        }
        _ => None,
    }
}

/// Every record that ends behind `from`: its end, who it is, and the numbers of its batch.
fn for_each(stream: &Stream, from: u64, mut take: impl FnMut(u64, Id, std::ops::Range<u64>)) {
    let mut reader = stream.read(Start::Beginning).unwrap();
    loop {
        let batch = match reader.next().unwrap() {
            Step::Records(batch) => batch,
            Step::Gap(gap) => panic!("{gap:?}"),
            Step::Passed => panic!("there is no filter"),
            Step::End => return,
        };
        for record in batch.iter().filter(|record| from < record.end()) {
            let (id, numbers) = Id::parse(record.body()).expect("a body is what was appended");
            take(record.end(), id, numbers);
        }
    }
}

/// One process, from its start to its death.
fn live_and_die(
    dir: &Path,
    run: u64,
    when: When,
    pace: &mut Pace,
    expected: &mut Expected,
    tally: &mut Tally,
    chance: &mut Chance,
) {
    let appends = match when {
        When::Closing => 1 + chance.below(40),
        _ => MOST,
    };
    let arguments = [dir.to_str().unwrap(), &run.to_string(), &appends.to_string()];
    let mut other = Other::start("write_until_killed", &arguments);
    assert_eq!(other.heard().as_deref(), Some("opening"), "run {run}");
    let (mut began, mut appended, mut last) = (Instant::now(), 0, String::new());
    // Until the moment drawn, and then on for about as long as the step in question takes.
    let on = loop {
        match when {
            When::Opening => break pace.opening,
            When::Appended(appends) if last == "open" && appends == 0 => break Duration::from_micros(300),
            When::Appended(appends) if 0 < appends && appends <= appended => {
                break Duration::from_micros(300);
            }
            When::Retaining if last == "retaining" => break pace.retaining,
            When::Closing if last == "closing" => break pace.closing,
            _ => {}
        }
        // On a busy machine one thread may have made all the appends before the other was on.
        let Some(line) = other.heard() else { break Duration::ZERO };
        appended += u64::from(expected.hear(run, &line, chance));
        match line.as_str() {
            "open" => adapt(&mut pace.opening, began.elapsed()),
            "retained" => adapt(&mut pace.retaining, began.elapsed()),
            "retaining" | "closing" => began = Instant::now(),
            _ => {}
        }
        last = line;
    };
    let micros = 1 + on.as_micros() as u64 * 5 / 4;
    pause(Duration::from_micros(chance.below(micros)));
    let status = other.kill();
    assert!(status.signal() == Some(9) || status.success(), "run {run}: {status:?}, {when:?}");
    let mut phase = if last.starts_with(|first: char| first.is_ascii_digit()) { "open".into() } else { last };
    while let Some(line) = other.heard() {
        match line.as_str() {
            "open" => adapt(&mut pace.opening, began.elapsed()),
            "retained" => adapt(&mut pace.retaining, began.elapsed()),
            "closed" => adapt(&mut pace.closing, began.elapsed()),
            _ => {}
        }
        if !expected.hear(run, &line, chance) {
            phase = line;
        }
    }
    tally.kills += u64::from(!status.success());
    tally.ended += u64::from(status.success());
    match phase.as_str() {
        "" | "opening" => tally.opening += 1,
        "retaining" => tally.retaining += 1,
        "closing" => tally.closing += 1,
        _ => {}
    }
}

/// Opens what the killed process left, and checks it from outside.
fn check(dir: &Path, expected: &mut Expected, tally: &mut Tally, whole: bool, chance: &mut Chance) {
    let store: Store = writer::options().open(dir).unwrap();
    // The process may have died before it made the stream; then nothing was acknowledged.
    let Ok(stream) = store.stream(STREAM) else {
        assert!(expected.acknowledged.is_empty() && expected.log.is_empty(), "the stream is lost");
        return;
    };
    let recovery = stream.recovery();
    assert!(recovery.corrupt.is_empty() && recovery.set_aside.is_empty(), "{recovery:?}");
    assert_eq!(recovery.torn_bytes, 0, "nothing is torn while the machine runs");
    tally.voids += recovery.unfinished as u64;
    tally.checks += 1;
    expected.check(&stream);
    let recent = expected.cursors.len().saturating_sub(20);
    if whole {
        expected.check_again(&stream);
        expected.check_cursors(&stream, &expected.cursors);
        let report = stream.verify().unwrap();
        assert!(report.is_sound(), "{report:?}");
    } else {
        expected.check_cursors(&stream, &expected.cursors[recent..]);
    }
    if chance.below(2) == 0 {
        store.close().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_whole_in_order_and_once() {
    if task().is_some() {
        return;
    }
    let began = Instant::now();
    let mut chance = Chance::new();
    let seed = chance.seed();
    let mut tally = Tally::default();
    // Of a disk, and of memory.
    let mut paces = [Pace::default(), Pace::default()];
    let mut turns = turns(160).peekable();
    while turns.peek().is_some() {
        // A kill loses nothing of the page cache, so memory is as good a place, and much quicker; on a disk it is syncs that
        // are interrupted. Every second store has the one and the other.
        let memory = tally.stores % 2 == 1 && Path::new(MEMORY).is_dir();
        let dir = if memory { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() }.unwrap();
        let mut expected = Expected::default();
        let (mut when, mut left, before) = (When::Opening, 0, tally.kills);
        // Short lives, too: a store's first moments are seen that way.
        let life = if chance.below(2) == 0 { LIFE } else { 1 + chance.below(40) as u32 };
        for run in 0.. {
            if left == 0 {
                (when, left) = When::draw(&mut chance);
            }
            left -= 1;
            let pace = &mut paces[usize::from(memory)];
            live_and_die(dir.path(), run, when, pace, &mut expected, &mut tally, &mut chance);
            let ends = turns.next().is_none() || turns.peek().is_none() || u64::from(life) <= run;
            // Often the next process finds what this one left.
            let due = UNCHECKED < expected.unchecked || (left == 0 && chance.below(2) == 0);
            if ends || due {
                let whole = ends || chance.below(16) == 0;
                check(dir.path(), &mut expected, &mut tally, whole, &mut chance);
            }
            if ends {
                break;
            }
        }
        tally.stores += 1;
        tally.on_disk += if memory { 0 } else { tally.kills - before };
        tally.records += expected.log.len() as u64;
        tally.cursors += expected.cursors.len() as u64;
    }
    let Tally { kills, on_disk, opening, retaining, closing, ended, stores, checks, records, voids, cursors } =
        tally;
    println!(
        "{:.1} kills a second; {ended} processes ended first",
        kills as f64 / began.elapsed().as_secs_f64()
    );
    reached(
        format_args!(
            "kill -9: {kills} kills, {on_disk} of them on a disk, {opening} while opening, {retaining} in retention, {closing} while \
             closing; {stores} stores, {checks} checks, {records} records, {cursors} cursors, {voids} claims void, \
             0 acknowledged records lost, 0 torn, 0 false reports"
        ),
        seed,
    );
}
