//! Reading on as the log grows.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::filter::Filter;
use crate::mutants::{self, Mutant};
use crate::stream::{Limit, Reader, Start, Step, Stream, Waiter};
use crate::{Cursor, Error, ErrorKind, Result};

/// How often a tail of another process's stream looks again: from the first to the second, doubling while nothing comes.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A reader that waits for more.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use std::time::Duration;
/// # use tailwater::{Record, Start, Step, Store, StreamName, StreamSpec};
/// # let store = Store::open(dir.path())?;
/// # let stream = store.create_stream(StreamSpec::new(StreamName::new("web")?))?;
/// let mut tail = stream.tail(Start::Now)?;
/// let writer = stream.clone();
/// let thread = std::thread::spawn(move || writer.append(&Record::new("GET / 200")));
/// if let Step::Records(batch) = tail.next(Duration::from_secs(10))? {
///     assert_eq!(batch.iter().next().unwrap().body(), b"GET / 200");
/// }
/// # thread.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct Tail {
    reader: Reader,
    waiter: Waiter,
}

impl Stream {
    /// Opens a tail at `start`.
    ///
    /// # Errors
    /// As [`read`](Stream::read).
    pub fn tail(&self, start: Start) -> Result<Tail> {
        Ok(Tail { reader: self.read(start)?, waiter: Waiter::new() })
    }
}

impl Tail {
    /// Shows only what is durable, so that nothing it returned can be lost to a power failure.
    pub fn durable_only(mut self, durable_only: bool) -> Tail {
        self.reader.set_durable_only(durable_only);
        self
    }

    /// Returns only the records that pass `filter`, as [`Reader::filter`] does.
    pub fn filter(mut self, filter: Filter) -> Tail {
        self.reader.set_filter(filter);
        self
    }

    /// As [`Reader::cursor`].
    pub fn cursor(&self) -> Cursor {
        self.reader.cursor()
    }

    /// Reads on without waiting; [`Step::End`] when caught up.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn try_next(&mut self, limit: Limit) -> Result<Step> {
        self.reader.next_within(limit)
    }

    /// Reads on, waiting up to `timeout` for something to come; then [`Step::End`].
    ///
    /// # Errors
    /// As [`Reader::next`]; `Closed` and `StreamDeleted` also end a wait.
    // Not `Iterator::next`: it takes how long to wait.
    pub fn next(&mut self, timeout: Duration) -> Result<Step> {
        self.next_within(timeout, Limit::default())
    }

    /// Reads on up to `limit`, waiting up to `timeout` for something to come.
    ///
    /// # Errors
    /// As [`next`](Tail::next).
    pub fn next_within(&mut self, timeout: Duration, limit: Limit) -> Result<Step> {
        let mut waiting = Waiting::new(timeout);
        loop {
            let core = Arc::clone(&self.reader.core);
            let count = core.signal.count();
            match self.reader.next_within(limit)? {
                Step::End => {}
                step => return Ok(step),
            }
            if core.env.read_only {
                let Some(pause) = waiting.poll() else { return Ok(Step::End) };
                core.signal.wait(count, pause);
                continue;
            }
            // A claim made before this is below `next`; whoever claims after it sees that somebody waits.
            let next = {
                let mut writer = core.writer.lock();
                writer.wanted = true;
                if mutants::on(Mutant::LostWake) { self.reader.offset } else { writer.next() }
            };
            let Some(left) = waiting.left() else { return Ok(Step::End) };
            if self.reader.offset < next && core.durable() < next {
                // Claimed and not yet published, or published and not yet durable: moments.
                core.signal.wait(count, left.min(POLL.0));
            } else {
                core.signal.wait(count, left);
            }
        }
    }

    /// Reads on up to `limit` as a task, which is woken once there is more; never [`Step::End`]. It needs no runtime.
    ///
    /// # Errors
    /// As [`Reader::next`]; `ReadOnly` in a store that another process writes, which wakes nobody here: look again from time to
    /// time with [`try_next`](Tail::try_next).
    pub fn poll_next(&mut self, task: &mut Context<'_>, limit: Limit) -> Poll<Result<Step>> {
        let core = Arc::clone(&self.reader.core);
        if core.env.read_only {
            let text = format!("wake a task that tails stream {}: the store is open read-only", core.id);
            return Poll::Ready(Err(Error::new(ErrorKind::ReadOnly, text)));
        }
        loop {
            let count = core.signal.count();
            match self.reader.next_within(limit) {
                Ok(Step::End) => {}
                step => return Poll::Ready(step),
            }
            let next = {
                let mut writer = core.writer.lock();
                writer.wanted = true;
                writer.next()
            };
            if self.reader.offset < next && core.durable() < next {
                // Claimed and not yet published, or published and not yet durable: let others run and look again.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if core.signal.register(count, &self.waiter, task.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Every step from here on, waiting for ever; ends with the error when the store closes.
    pub fn steps(&mut self) -> Steps<'_> {
        Steps { tail: self, failed: false }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.core.signal.forget(&self.waiter);
    }
}

/// Every step from here on, up to the default [`Limit`] each.
#[cfg(feature = "async")]
impl futures_core::Stream for Tail {
    type Item = Result<Step>;

    fn poll_next(self: std::pin::Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Step>>> {
        Tail::poll_next(self.get_mut(), task, Limit::default()).map(Some)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({:?})", self.reader)
    }
}

/// The steps of a [`Tail`], without end.
#[derive(Debug)]
pub struct Steps<'a> {
    tail: &'a mut Tail,
    failed: bool,
}

impl Iterator for Steps<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        loop {
            if self.failed {
                return None;
            }
            match self.tail.next(Duration::from_secs(3600)) {
                Ok(Step::Passed | Step::End) => {}
                step => {
                    self.failed = step.is_err();
                    return Some(step);
                }
            }
        }
    }
}

/// How long to go on waiting.
pub(crate) struct Waiting {
    until: Option<Instant>,
    pause: Duration,
}

impl Waiting {
    pub(crate) fn new(timeout: Duration) -> Waiting {
        Waiting { until: Instant::now().checked_add(timeout), pause: POLL.0 }
    }

    /// What is left; `None` when the time is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        let Some(until) = self.until else { return Some(POLL.1) };
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// How long to wait before looking again; `None` when the time is over.
    fn poll(&mut self) -> Option<Duration> {
        let left = self.left()?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(POLL.1);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::yield_now;

    use super::*;
    use crate::format::frame::Checked;
    use crate::{Durability, Options, Record, StreamName, StreamSpec};

    #[test]
    fn what_comes_between_a_tails_look_and_its_mark_is_not_missed() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let dir = tempfile::tempdir().unwrap();
        // Nothing but an append wakes anybody here: no thread syncs, and nobody asks for a sync.
        let store = Options::new().background(false).open(dir.path()).unwrap();
        let spec = StreamSpec::new(StreamName::new("a").unwrap()).durability(Durability::Buffered);
        let stream = store.create_stream(spec).unwrap();
        let record = Record::new("just then");
        stream.append(&record).unwrap();
        let checked = Checked::new(&record).unwrap();
        for _ in 0..8 {
            let mut tail = stream.tail(Start::Now).unwrap();
            let begun = AtomicBool::new(false);
            // With the lock held the tail gets as far as its mark, for which it waits.
            let mut writer = stream.core.writer.lock();
            writer.wanted = false;
            let waited = std::thread::scope(|scope| {
                let waits = scope.spawn(|| {
                    begun.store(true, Ordering::Release);
                    let began = Instant::now();
                    assert!(matches!(tail.next(PATIENCE).unwrap(), Step::Records(_)));
                    began.elapsed()
                });
                while !begun.load(Ordering::Acquire) {
                    yield_now();
                }
                // On a busy machine that may be long, and the tail's patience is running.
                let until = Instant::now() + PATIENCE / 100;
                (0..1000).take_while(|_| Instant::now() < until).for_each(|_| yield_now());
                // An append, which finds that nobody waits.
                let ingest = writer.last_ingest;
                let active = writer.active.as_mut().expect("the last append left it");
                let open = active.claim(checked.word(), ingest, stream.core.durable());
                drop(writer);
                open.write_record(&checked);
                waits.join().unwrap()
            });
            assert!(waited < PATIENCE, "the wake was lost");
        }
    }
}
