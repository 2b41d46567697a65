//! `tail --service`: one service's records out of many streams, in the order of their ingest times.
//!
//! The store is open read-only, beside a writer of which nobody here knows what it is about to publish. So the order holds
//! among what is there when it is printed, and within a stream always; a tail session of the writer's has it whole.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tailwater::{
    Batch, Filter, Gap, Limit, RecordRef, Start, Step, Store, StreamId, StreamInfo, Tail, Timestamp,
};

use crate::args::{Global, Lines, Output, TailArguments};
use crate::failure::Result;
use crate::print::Out;
use crate::read::{before_last, interrupt, passes};
use crate::{open_read_only, output};

/// How soon to look again once nothing is left.
const PATIENCE: Duration = Duration::from_millis(50);
/// How soon a stream made meanwhile is found.
const DISCOVERY: Duration = Duration::from_secs(1);
/// Records read ahead of one stream.
const AHEAD: usize = 64;

/// One of the streams, with what was read ahead of it.
struct Source {
    tail: Tail,
    batch: Option<Batch>,
    /// How many of the batch's records were taken.
    taken: usize,
    gap: Option<Gap>,
}

/// Prints the last records of a service, and follows it if asked to.
pub fn tail(global: &Global, arguments: &TailArguments, out: &mut Out) -> Result<ExitCode> {
    let interrupt = interrupt()?;
    let store = open_read_only(global)?;
    let mut many = Many {
        store,
        arguments,
        format: if global.json { Output::Json } else { arguments.output.output },
        sources: BTreeMap::new(),
        timer: channel(),
    };
    many.discover(true)?;
    many.skip_to_last()?;
    many.print(out, &interrupt)?;
    let mut looked = Instant::now();
    while arguments.follow && !interrupt.load(Ordering::Relaxed) {
        out.flush()?;
        many.wait();
        if DISCOVERY <= looked.elapsed() {
            looked = Instant::now();
            many.discover(false)?;
        }
        many.print(out, &interrupt)?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Many<'a> {
    store: Store,
    arguments: &'a TailArguments,
    format: Output,
    sources: BTreeMap<StreamId, Source>,
    /// Nobody sends.
    timer: (Sender<()>, Receiver<()>),
}

impl Many<'_> {
    /// Takes the streams in that are not there yet: from where the arguments say, or, made since, from their beginning.
    fn discover(&mut self, first: bool) -> Result<()> {
        let home = &self.arguments.home;
        let tenant = self.store.tenant(&home.tenant);
        let groups = match &home.group {
            Some(name) => vec![tenant.group_named(name)?],
            None => tenant.groups()?,
        };
        for group in groups {
            for info in tenant.streams(group.id)? {
                if self.sources.contains_key(&info.id) {
                    continue;
                }
                let stream = tenant.stream(info.group, info.id)?;
                let start = match (self.arguments.from.since, self.lines()) {
                    (Some(since), _) => Start::Time(since),
                    (None, Lines::Count(lines)) if first => {
                        Start::Cursor(before_last(&stream, lines, &self.arguments.filter)?)
                    }
                    (None, _) => Start::Beginning,
                };
                let tail = stream.tail(start)?.filter(self.service(&info)?);
                self.sources.insert(info.id, Source { tail, batch: None, taken: 0, gap: None });
            }
        }
        Ok(())
    }

    fn lines(&self) -> Lines {
        self.arguments.lines.unwrap_or(Lines::Count(10))
    }

    /// What of a stream is of the service.
    fn service(&self, info: &StreamInfo) -> Result<Filter> {
        let name = self.arguments.service.as_deref().unwrap_or("*");
        if name == "*" {
            return Ok(Filter::all());
        }
        let quoted = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let untold = if info.tags.get("service") == Some(name) { " OR NOT HAS service" } else { "" };
        Ok(Filter::parse(&format!("service={quoted}{untold}"))?)
    }

    /// Passes all but the last records that were asked for.
    fn skip_to_last(&mut self) -> Result<()> {
        let (None, Lines::Count(lines)) = (self.arguments.from.since, self.lines()) else { return Ok(()) };
        // Each stream begins before as many of its own as are asked for of all.
        let mut times = Vec::new();
        for source in self.sources.values_mut() {
            while let Some(record) = source.next_record()? {
                if passes(&self.arguments.filter, &record) {
                    times.push((record.ingest_time(), record.cursor().stream_id(), record.offset()));
                }
                source.taken += 1;
            }
        }
        times.sort_unstable();
        let kept = times.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
        let first = times.get(kept).copied();
        self.sources.clear();
        self.discover(true)?;
        for (id, source) in &mut self.sources {
            while let Some(record) = source.next_record()? {
                if first.is_some_and(|first| first <= (record.ingest_time(), *id, record.offset())) {
                    break;
                }
                source.taken += 1;
            }
        }
        Ok(())
    }

    /// Prints what is there.
    fn print(&mut self, out: &mut Out, interrupt: &AtomicBool) -> Result<()> {
        while !interrupt.load(Ordering::Relaxed) {
            let mut next: Option<(Timestamp, StreamId)> = None;
            for (id, source) in &mut self.sources {
                while !source.read_ahead()?
                    && let Some(gap) = source.gap.take()
                {
                    output::gap(out, self.format, &gap)?;
                }
                if let Some(record) = source.record() {
                    let at = (record.ingest_time(), *id);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
            let Some((time, id)) = next else { return Ok(()) };
            if self.arguments.filter.until.is_some_and(|until| until <= time) {
                return Ok(());
            }
            let source = self.sources.get_mut(&id).expect("it has the next record");
            let record = source.record().expect("it has the next record");
            if passes(&self.arguments.filter, &record) {
                output::record(out, self.format, &record)?;
            }
            source.taken += 1;
        }
        Ok(())
    }

    fn wait(&self) {
        let _ = self.timer.1.recv_timeout(PATIENCE);
    }
}

impl Source {
    /// Whether a record is at hand, read now where none is. A gap on the way is kept, and nothing is read behind it before it is taken.
    fn read_ahead(&mut self) -> Result<bool> {
        while self.record().is_none() && self.gap.is_none() {
            (self.batch, self.taken) = (None, 0);
            match self.tail.try_next(Limit::records(AHEAD)) {
                Ok(Step::Records(batch)) => self.batch = Some(batch),
                Ok(Step::Gap(gap)) => self.gap = Some(gap),
                Ok(Step::Passed) => {}
                Ok(Step::End) => return Ok(false),
                // Its records are gone, and the others' are not.
                Err(err) if *err.kind() == tailwater::ErrorKind::StreamDeleted => return Ok(false),
                Err(err) => return Err(err.into()),
            }
        }
        Ok(self.record().is_some())
    }

    /// The record at hand, with the gaps before it passed over: they lie before what is shown.
    fn next_record(&mut self) -> Result<Option<RecordRef<'_>>> {
        while !self.read_ahead()? && self.gap.take().is_some() {}
        Ok(self.record())
    }

    fn record(&self) -> Option<RecordRef<'_>> {
        self.batch.as_ref()?.iter().nth(self.taken)
    }
}
