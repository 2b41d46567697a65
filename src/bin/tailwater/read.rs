//! `read` and `tail`: records out, from a position, through a filter, to a position that can be kept.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memchr::memmem;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tailwater::{Cursor, GapReason, Reader, RecordRef, Start, Step, Stream, Tail, Timestamp};

use crate::args::{Filter, From, Global, Lines, Output, OutputArguments, ReadArguments, TailArguments};
use crate::failure::{Failure, Result};
use crate::print::Out;
use crate::{cursor_file, many, open_read_only, output};

/// How soon a tail notices Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(200);

/// The exit code of what SIGINT ended before it was done, as shells count.
const INTERRUPTED: u8 = 130;

/// Prints a stream from its beginning, or from where the arguments say.
pub fn read(global: &Global, arguments: &ReadArguments, out: &mut Out) -> Result<ExitCode> {
    let stream = arguments.home.stream(&open_read_only(global)?, &arguments.stream)?;
    let start = start(&arguments.from)?.unwrap_or(Start::Beginning);
    let source = Source::Reader(stream.read(start)?.filter(expression(&arguments.filter)?));
    session(global, source, arguments.lines, &arguments.from, &arguments.filter, &arguments.output).run(out)
}

/// Prints the last records of a stream, and follows it if asked to.
pub fn tail(global: &Global, arguments: &TailArguments, out: &mut Out) -> Result<ExitCode> {
    let Some(name) = &arguments.stream else { return many::tail(global, arguments, out) };
    let stream = arguments.home.stream(&open_read_only(global)?, name)?;
    let start = match start(&arguments.from)? {
        Some(start) => start,
        None => match arguments.lines.unwrap_or(Lines::Count(10)) {
            Lines::All => Start::Beginning,
            Lines::Count(lines) => Start::Cursor(before_last(&stream, lines, &arguments.filter)?),
        },
    };
    let source = match arguments.follow {
        true => Source::Tail(stream.tail(start)?.filter(expression(&arguments.filter)?)),
        false => Source::Reader(stream.read(start)?.filter(expression(&arguments.filter)?)),
    };
    session(global, source, Lines::All, &arguments.from, &arguments.filter, &arguments.output).run(out)
}

/// Where the arguments say to begin, if they do. A cursor file that exists goes before `--since`.
fn start(from: &From) -> Result<Option<Start>> {
    let cursor = match (from.after_cursor, &from.cursor_file) {
        (Some(cursor), _) => Some(cursor),
        (None, Some(file)) => cursor_file::load(file)?,
        (None, None) => None,
    };
    Ok(cursor.map(Start::Cursor).or(from.since.map(Start::Time)))
}

/// The position before the last `lines` records that pass `filter`. Looks at ever longer ends of the stream, so that
/// what is asked for often, a few records of many, is found without reading it all.
pub fn before_last(stream: &Stream, lines: u64, filter: &Filter) -> Result<Cursor> {
    let mut window = lines.max(1000);
    loop {
        let mut reader = stream.read(Start::Last(window))?;
        let mut seen = 0;
        let mut last = VecDeque::new();
        let mut before = reader.cursor();
        loop {
            match reader.next()? {
                Step::Records(batch) => {
                    for record in batch.iter() {
                        seen += 1;
                        if passes(filter, &record) {
                            last.push_back(before);
                            if lines < last.len() as u64 {
                                last.pop_front();
                            }
                        }
                        before = record.cursor();
                    }
                }
                Step::Gap(gap) => before = gap.cursor,
                Step::Passed => {}
                Step::End => break,
            }
        }
        if lines <= last.len() as u64 || seen < window {
            return Ok(last.front().copied().unwrap_or(before));
        }
        window = window.saturating_mul(16);
    }
}

/// What the engine is to leave out, which need not read blocks of the log that hold none of it.
fn expression(filter: &Filter) -> Result<tailwater::Filter> {
    match (&filter.expression, filter.level) {
        (Some(expression), _) => Ok(expression.clone()),
        (None, Some(level)) => Ok(tailwater::Filter::parse(&format!("level>={level}"))?),
        (None, None) => Ok(tailwater::Filter::all()),
    }
}

pub fn passes(filter: &Filter, record: &RecordRef<'_>) -> bool {
    let level = filter.level.is_none_or(|least| record.level().is_some_and(|level| least <= level));
    let expression = filter.expression.as_ref().is_none_or(|expression| record.matches(expression));
    level
        && expression
        && filter.grep.as_ref().is_none_or(|text| memmem::find(record.body(), text.as_bytes()).is_some())
}

/// Where records come from.
enum Source {
    Reader(Reader),
    Tail(Tail),
}

impl Source {
    fn cursor(&self) -> Cursor {
        match self {
            Source::Reader(reader) => reader.cursor(),
            Source::Tail(tail) => tail.cursor(),
        }
    }

    fn next(&mut self) -> Result<Step> {
        Ok(match self {
            Source::Reader(reader) => reader.next()?,
            Source::Tail(tail) => tail.next(PATIENCE)?,
        })
    }
}

/// One run of `read` or `tail`.
struct Session<'a> {
    source: Source,
    filter: &'a Filter,
    format: Output,
    show_cursor: bool,
    cursor_file: Option<&'a Path>,
    /// Records still to print.
    wanted: u64,
    /// Behind the last record that was printed or passed over.
    reached: Cursor,
    /// Whether records were passed that the log has lost.
    damaged: bool,
    /// Behind the last record that left this process: what the cursor file may hold.
    handed_over: Cursor,
}

fn session<'a>(
    global: &Global,
    source: Source,
    lines: Lines,
    from: &'a From,
    filter: &'a Filter,
    output: &OutputArguments,
) -> Session<'a> {
    let begin = source.cursor();
    Session {
        source,
        filter,
        format: if global.json { Output::Json } else { output.output },
        show_cursor: output.show_cursor,
        cursor_file: from.cursor_file.as_deref(),
        wanted: match lines {
            Lines::All => u64::MAX,
            Lines::Count(lines) => lines,
        },
        reached: begin,
        damaged: false,
        handed_over: begin,
    }
}

impl Session<'_> {
    fn run(mut self, out: &mut Out) -> Result<ExitCode> {
        let interrupt = interrupt()?;
        let mut ended = self.print(out, &interrupt);
        if self.show_cursor && ended.is_ok() {
            ended = output::cursor(out, self.format, self.reached);
        }
        // What was printed before the engine failed is as good as ever, and is not to come again.
        if !matches!(ended, Err(Failure::ClosedPipe)) {
            ended = ended.and(self.hand_over(out));
        }
        if let Some(file) = self.cursor_file {
            cursor_file::save(file, self.handed_over)?;
        }
        ended?;
        let is_finite = matches!(self.source, Source::Reader(_));
        Ok(match () {
            () if is_finite && interrupt.load(Ordering::Relaxed) => ExitCode::from(INTERRUPTED),
            // What was asked for is not all there: a script that keeps the output must hear of it.
            () if is_finite && self.damaged => ExitCode::FAILURE,
            () => ExitCode::SUCCESS,
        })
    }

    fn print(&mut self, out: &mut Out, interrupt: &AtomicBool) -> Result<()> {
        let follows = matches!(self.source, Source::Tail(_));
        while 0 < self.wanted && !interrupt.load(Ordering::Relaxed) {
            match self.source.next()? {
                Step::Records(batch) => {
                    for record in batch.iter() {
                        if self.is_late(record.ingest_time()) || self.wanted == 0 {
                            return Ok(());
                        }
                        if passes(self.filter, &record) {
                            output::record(out, self.format, &record)?;
                            self.wanted -= 1;
                        }
                        self.reached = record.cursor();
                    }
                }
                Step::Gap(gap) => {
                    output::gap(out, self.format, &gap)?;
                    self.damaged |= matches!(gap.reason, GapReason::Corrupt | GapReason::Missing);
                    self.reached = gap.cursor;
                }
                Step::Passed => self.pass(),
                Step::End => {
                    self.pass();
                    if !follows {
                        return Ok(());
                    }
                }
            }
            if self.is_late(self.source.cursor().ingest_time()) {
                return Ok(());
            }
            if follows {
                self.hand_over(out)?;
            }
        }
        Ok(())
    }

    /// Takes note of what the filter left out, as far as it is of the time asked for.
    fn pass(&mut self) {
        let cursor = self.source.cursor();
        if !self.is_late(cursor.ingest_time()) {
            self.reached = cursor;
        }
    }

    fn is_late(&self, time: Timestamp) -> bool {
        self.filter.until.is_some_and(|until| until <= time)
    }

    fn hand_over(&mut self, out: &mut Out) -> Result<()> {
        out.flush()?;
        self.handed_over = self.reached;
        Ok(())
    }
}

/// A flag that Ctrl-C, `kill` and a closed terminal raise; once more of the same ends the process at once.
pub fn interrupt() -> Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let exit_code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, Arc::clone(&raised))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&raised)))
            .map_err(|err| Failure::Said(format!("wait for signal {signal}: {err}")))?;
    }
    Ok(raised)
}
