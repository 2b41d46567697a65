//! `append`: lines of files or of standard input into a stream, in batches, in bounded memory.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tailwater::{Cursor, Durability, MAX_BODY, Record, Start, Step, Stream};

use crate::args::{AppendArguments, Global};
use crate::failure::{Failure, Result};
use crate::line::{Fit, Line};
use crate::lines::{Lines, TooLong};
use crate::print::{Bytes, Count, Out};
use crate::{line, open};

/// A batch is appended when it holds this many records, or bytes.
const BATCH_RECORDS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

/// Appends what the arguments say. Whatever fails, what was appended before stays, and the summary tells how much.
pub fn run(global: &Global, arguments: &AppendArguments, out: &mut Out) -> Result<ExitCode> {
    let inputs = inputs(&arguments.files)?;
    let store = open(global, arguments.create)?;
    let stream = arguments.home.stream_to_append(&store, &arguments.stream, arguments.create)?;
    let recovery = stream.recovery();
    if 0 < recovery.torn_bytes || !recovery.corrupt.is_empty() || !recovery.set_aside.is_empty() {
        eprintln!("note: {} was {recovery}", arguments.stream);
    }

    let begun = Instant::now();
    let mut appender = Appender {
        stream: &stream,
        arguments,
        batch: Vec::new(),
        batch_bytes: 0,
        skip: if arguments.resume { Some(held(&stream)?) } else { None },
        done: Summary { cursor: Some(stream.read(Start::Now)?.cursor()), ..Summary::default() },
    };
    let progress = progress(&inputs);
    let mut appended = inputs.iter().try_for_each(|input| appender.input(input, &progress));
    progress.finish_and_clear();
    if appended.is_ok() {
        appended = appender.skipped_enough();
    }
    let done = appender.done;
    if arguments.durability != Some(Durability::Buffered) {
        appended = appended.and(stream.sync().map_err(Failure::from));
    }
    done.print(begun.elapsed().as_secs_f64(), global.json, &arguments.stream, out)?;
    let closed = store.close();
    appended?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// One thing to read lines from.
struct Input<'a> {
    /// As errors call it.
    name: String,
    /// `None`: standard input.
    path: Option<&'a Path>,
    /// Its size, where it has one.
    bytes: Option<u64>,
}

/// What the files are. A missing one is told before anything is appended.
fn inputs(files: &[PathBuf]) -> Result<Vec<Input<'_>>> {
    let stdin = || Input { name: "standard input".to_owned(), path: None, bytes: None };
    if files.is_empty() {
        return Ok(vec![stdin()]);
    }
    let file = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).map_err(|err| Failure::io("read", path, err))?;
        if metadata.is_dir() {
            return Err(Failure::Said(format!("read {}: it is a directory", path.display())));
        }
        // A pipe or a device has no size to count towards.
        Ok(if metadata.is_file() { Some(metadata.len()) } else { None })
    };
    let inputs = files.iter().map(|path| match path.as_os_str() == "-" {
        true => Ok(stdin()),
        false => Ok(Input { name: path.display().to_string(), bytes: file(path)?, path: Some(path) }),
    });
    inputs.collect()
}

/// A bar over the bytes of all files, or a count of bytes where their sizes are not known. Not shown unless standard
/// error is a terminal, nor when the lines are being typed there.
fn progress(inputs: &[Input<'_>]) -> ProgressBar {
    let typed = inputs.iter().any(|input| input.path.is_none()) && io::stdin().is_terminal();
    if typed {
        return ProgressBar::hidden();
    }
    let (bar, template) = match inputs.iter().map(|input| input.bytes).sum::<Option<u64>>() {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (ProgressBar::no_length(), "{spinner} {binary_bytes} {binary_bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template of known keys"))
}

/// What a stream holds already, for `--resume`.
struct Held {
    /// Records, and so lines of input to skip.
    records: u64,
    /// Lines skipped so far.
    skipped: u64,
    /// The body of the last one, which must be the last line skipped.
    last: Vec<u8>,
}

/// Counts what the stream holds. Refused unless that is everything that was ever appended to it.
fn held(stream: &Stream) -> Result<Held> {
    let mut reader = stream.read(Start::Beginning)?;
    if 0 < reader.cursor().offset() {
        let start = reader.cursor().offset();
        return Err(Failure::Said(format!(
            "resume: the stream no longer holds its first {start} bytes, so its records do not tell how much of the \
             input was appended"
        )));
    }
    let mut held = Held { records: 0, skipped: 0, last: Vec::new() };
    loop {
        match reader.next()? {
            Step::Records(batch) => {
                held.records += batch.len() as u64;
                if let Some(last) = batch.iter().last() {
                    held.last = last.body().to_vec();
                }
            }
            Step::Gap(gap) => {
                return Err(Failure::Said(format!(
                    "resume: the stream misses bytes {}..{} ({}), so its records do not tell how much of the input \
                     was appended",
                    gap.start, gap.end, gap.reason
                )));
            }
            Step::Passed => {}
            Step::End => return Ok(held),
        }
    }
}

/// What came of it all.
#[derive(Default)]
struct Summary {
    records: u64,
    bytes: u64,
    /// Lines `--resume` passed over.
    skipped: u64,
    /// Records whose line had another shape than its format.
    other_shape: u64,
    /// Records whose values did not fit into attributes.
    too_much: u64,
    /// The stream's end.
    cursor: Option<Cursor>,
}

impl Summary {
    fn print(&self, seconds: f64, json: bool, stream: &str, out: &mut Out) -> Result<()> {
        if json {
            return out.json(&json!({
                "records": self.records,
                "bytes": self.bytes,
                "seconds": seconds,
                "last_cursor": self.cursor,
                "skipped": self.skipped,
                "other_shape": self.other_shape,
                "too_much": self.too_much,
            }));
        }
        let rate = Count((self.records as f64 / seconds.max(1e-9)) as u64);
        out.line(format_args!(
            "appended {} records, {} to {stream} in {seconds:.2} s ({rate} records/s)",
            Count(self.records),
            Bytes(self.bytes),
        ))?;
        if 0 < self.skipped {
            out.line(format_args!("  {} lines skipped: the stream held them already", Count(self.skipped)))?;
        }
        if 0 < self.other_shape {
            let count = Count(self.other_shape);
            out.line(format_args!(
                "  {count} lines were not of the format given, and were kept as they stand"
            ))?;
        }
        if 0 < self.too_much {
            let count = Count(self.too_much);
            out.line(format_args!(
                "  {count} lines had values too long or too many, and were kept as they stand"
            ))?;
        }
        if let Some(cursor) = self.cursor {
            out.line(format_args!("  cursor: {cursor}"))?;
        }
        Ok(())
    }
}

struct Appender<'a> {
    stream: &'a Stream,
    arguments: &'a AppendArguments,
    batch: Vec<Line>,
    batch_bytes: usize,
    skip: Option<Held>,
    done: Summary,
}

impl Appender<'_> {
    fn input(&mut self, input: &Input<'_>, progress: &ProgressBar) -> Result<()> {
        match input.path {
            None => self.lines(&input.name, io::stdin().lock(), progress),
            Some(path) => {
                let file = File::open(path).map_err(|err| Failure::io("read", path, err))?;
                self.lines(&input.name, file, progress)
            }
        }
    }

    fn lines(&mut self, name: &str, source: impl Read, progress: &ProgressBar) -> Result<()> {
        let mut lines = Lines::new(source, MAX_BODY);
        let mut number = 0_u64;
        loop {
            let read = lines.fill().map_err(|err| Failure::Said(format!("read {name}: {err}")))?;
            progress.inc(read as u64);
            loop {
                match lines.next() {
                    Ok(Some(line)) => {
                        number += 1;
                        self.line(name, number, line)?;
                    }
                    Ok(None) => break,
                    Err(TooLong) => {
                        self.flush()?;
                        return Err(Failure::Said(format!(
                            "append {name}, line {}: it is over the {MAX_BODY} bytes a record's body may have",
                            number + 1
                        )));
                    }
                }
            }
            // Reading on may wait for as long as the other end of a pipe likes; what came so far must not.
            self.flush()?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self, name: &str, number: u64, text: &[u8]) -> Result<()> {
        let given = self.arguments;
        let (mut line, fit) = line::parse(given.format, text, given.attributes.len());
        if let Some(held) = &mut self.skip
            && held.skipped < held.records
        {
            held.skipped += 1;
            self.done.skipped += 1;
            if held.skipped == held.records && held.last != line.body {
                let count = held.records;
                return Err(Failure::Said(format!(
                    "resume at {name}, line {number}: it is not record {count} of the stream, so this is not the input \
                     that was interrupted"
                )));
            }
            return Ok(());
        }
        match fit {
            Fit::Whole => {}
            Fit::OtherShape => self.done.other_shape += 1,
            Fit::TooMuch => self.done.too_much += 1,
        }
        line.level = line.level.or(given.level);
        line.service = line.service.or_else(|| given.service.clone());
        line.attributes.extend_from_slice(&given.attributes);
        self.batch_bytes += line.body.len();
        self.batch_bytes += line.attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        self.batch.push(line);
        if self.batch.len() == BATCH_RECORDS || BATCH_BYTES <= self.batch_bytes {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Appends the batch, if there is any.
    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let pairs = self.batch.iter().flat_map(|line| &line.attributes);
        let pairs: Vec<(&str, &str)> = pairs.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut unused = pairs.as_slice();
        let mut records = Vec::with_capacity(self.batch.len());
        for line in &self.batch {
            let attributes;
            (attributes, unused) = unused.split_at(line.attributes.len());
            records.push(Record {
                body: &line.body,
                event_time: line.event_time,
                level: line.level,
                service: line.service.as_deref(),
                attributes,
            });
        }
        let appended = match self.arguments.durability {
            Some(durability) => self.stream.append_batch_with(&records, durability)?,
            None => self.stream.append_batch(&records)?,
        };
        self.done.records += records.len() as u64;
        self.done.bytes += records.iter().map(|record| record.body.len() as u64).sum::<u64>();
        self.done.cursor = Some(appended.cursor());
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// With `--resume`, the input must reach to where the stream ends.
    fn skipped_enough(&self) -> Result<()> {
        match &self.skip {
            Some(held) if held.skipped < held.records => Err(Failure::Said(format!(
                "resume: the stream holds {} records, but the input has {} lines",
                held.records, held.skipped
            ))),
            _ => Ok(()),
        }
    }
}
