//! The store's three threads, and the same work on demand.
//!
//! | thread  | waits for                          | does                                                        |
//! |---------|------------------------------------|-------------------------------------------------------------|
//! | sync    | a stream with something to sync    | lets the interval pass, syncs every such stream, seals      |
//! | ready   | a writer that nears untouched pages | touches pages ahead of it, makes its next segments' files   |
//! | compact | a second                           | follows the clock, applies retention, lets go of idle streams, marks them clean, forgets them |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::store::quiet::Known;
use crate::store::{Shared, TickReport, if_there, is_gone};
use crate::stream::Core;
use crate::stream::env::Env;
use crate::sync::atomic::Ordering;
use crate::{Error, Result, StreamId, Timestamp};

/// How often the compactor looks.
const TICK: Duration = Duration::from_secs(1);

/// Streams that a turn of the compactor opens at the most to see what has expired. After an open of the store that is each, and those
/// in use are not to wait until it is through with the others.
const LOOKS: usize = 1_000;

/// When a stream that could not be looked at is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// Starts the threads. They end when the store is closed or its last handle goes.
///
/// # Errors
/// `Io` where the system has no thread for us: without them nothing bounds what a power failure takes.
pub(super) fn start(shared: &Arc<Shared>) -> Result<()> {
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let spawned = thread::Builder::new().name(format!("tailwater-{name}")).spawn(work);
        spawned.map_err(|err| Error::io("start a thread for store", &shared.dir, err))
    };
    let env = Arc::clone(&shared.env);
    spawn("sync", Box::new(move || sync(&env)))?;
    let env = Arc::clone(&shared.env);
    spawn("ready", Box::new(move || ready(&env)))?;
    let (env, weak) = (Arc::clone(&shared.env), Arc::downgrade(shared));
    spawn("compact", Box::new(move || compact(&env, &weak)))?;
    Ok(())
}

fn sync(env: &Env) {
    while !env.is_closed() {
        env.dirty.wait(Duration::from_secs(3600), || env.is_closed());
        // What comes within the interval shares the sync.
        env.dirty.pause(env.settings.sync_interval, || env.is_closed());
        // A failure has poisoned the stream, which tells everybody who appends to it, and whoever closes the store.
        let _ = sync_waiting(env);
    }
}

/// Syncs and seals every stream that waits for it; the first error, where there are any.
fn sync_waiting(env: &Env) -> Result<()> {
    let mut outcome = Ok(());
    let mut waiting = env.dirty.take();
    // Those that a kill left with much to write come last, so that the others keep their interval as far as it goes.
    waiting.sort_by_key(|core| core.owes());
    for core in waiting {
        outcome = outcome.and(if_there(core.unless_deleted(core.sync_in_background())).map(drop));
    }
    outcome
}

fn ready(env: &Env) {
    while !env.is_closed() {
        env.thirsty.wait(Duration::from_secs(3600), || env.is_closed());
        for core in env.thirsty.take() {
            core.make_ready();
        }
    }
}

fn compact(env: &Arc<Env>, shared: &Weak<Shared>) {
    while !env.is_closed() {
        env.turns.pause(TICK, || env.is_closed());
        let Some(shared) = shared.upgrade() else { return };
        if env.is_closed() {
            return;
        }
        // What failed is tried again in a second, and told to whoever calls `tick`. So is what panicked, as a host's own
        // clock or files may: it costs this turn and not all later ones, and no lock here stays poisoned.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _ = shared.compact(false);
            let _ = shared.keep_mark_if_old();
        }));
    }
}

impl Shared {
    pub(super) fn tick(&self) -> Result<TickReport> {
        for core in self.env.thirsty.take() {
            core.make_ready();
        }
        let synced = sync_waiting(&self.env);
        let compacted = self.compact(true);
        // Where that cannot be, the next tick tries again.
        let _ = self.keep_mark_if_old();
        synced.and(compacted)
    }

    /// Applies retention to every stream that is due (or to all), and lets go of those that are idle.
    fn compact(&self, all: bool) -> Result<TickReport> {
        let _ticking = self.ticking.lock();
        self.env.check_open()?;
        let now = Timestamp::from_nanos(self.env.clock.look().store);
        self.env.maps.clear();
        let mut report = TickReport::default();
        let mut outcome = Ok(());
        let mut keep = |done: Result<()>| match done {
            Err(err) if !is_gone(&err) => {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(Err(err));
            }
            _ => {}
        };
        // Before those that the loop lets go of are among them.
        let due = self.due(all, now);
        for core in self.loaded.all() {
            keep(self.compact_stream(core, all, now, &mut report));
        }
        for id in due {
            let done = self.core(id).and_then(|core| self.compact_stream(core, all, now, &mut report));
            if done.as_ref().is_err_and(|err| !is_gone(err)) {
                // Whoever cannot be looked at is not to keep the others from it.
                let known = Known { due: now.saturating_add(RETRY), last_ingest: Timestamp::MAX };
                self.quiet.lock().note(id, known);
            }
            keep(done);
        }
        keep(self.sessions_if_any().and_then(|sessions| match sessions {
            Some(sessions) => sessions.tick(now),
            None => Ok(()),
        }));
        outcome.map(|()| report)
    }

    /// Streams that are not in memory and that retention has to look at, or all of those.
    fn due(&self, all: bool, now: Timestamp) -> Vec<StreamId> {
        if !all && !self.quiet.lock().may_be_due(now) {
            return Vec::new();
        }
        let catalog = self.catalog.lock();
        self.loaded.with(|is_loaded| {
            let ids = catalog.all_streams().map(|entry| entry.id).filter(|id| !is_loaded(*id));
            if all { ids.collect() } else { self.quiet.lock().due(now, ids, LOOKS) }
        })
    }

    fn compact_stream(
        &self,
        core: Arc<Core>,
        all: bool,
        now: Timestamp,
        report: &mut TickReport,
    ) -> Result<()> {
        report.streams += 1;
        if all || Timestamp::from_nanos(core.due.load(Ordering::Relaxed)) <= now {
            let retained = core.unless_deleted(core.retain())?;
            report.removed_segments += retained.segments;
            report.removed_bytes += retained.bytes;
        }
        core.unless_deleted(core.idle())?;
        self.let_go(core);
        Ok(())
    }

    /// Has a stream go from memory that nobody uses and that is at rest; when to look at it again stays.
    pub(super) fn let_go(&self, core: Arc<Core>) {
        let id = core.id;
        self.loaded.remove_unused(id, core, |core| {
            let at_rest = core.is_at_rest();
            if at_rest {
                let due = Timestamp::from_nanos(core.due.load(Ordering::Relaxed));
                self.quiet.lock().note(id, Known { due, last_ingest: core.last_ingest() });
            }
            at_rest
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::sim::{Crash, SimClock, SimDisk};
    use crate::{Options, Record, StreamName, StreamSpec};

    #[test]
    fn a_quiet_stream_is_taken_up_without_a_mark_and_once_nobody_holds_it_goes_from_memory() {
        let clock = SimClock::new(1_700_000_000_000_000_000);
        let options =
            Options::new().background(false).vfs(Arc::new(SimDisk::new())).clock(Arc::new(clock.clone()));
        let store = options.open("/store").unwrap();
        let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        let id = stream.id();
        let mut end = stream.append(&Record::new("1")).unwrap().end();
        let pass = |seconds| {
            clock.advance(Duration::from_secs(seconds));
            store.tick().unwrap();
        };
        let marks = |core: &Core| core.checkpoint_generation();
        let marked = marks(&stream.core);
        for _ in 0..2 {
            pass(4);
            end = stream.append(&Record::new("2")).unwrap().end();
            assert_eq!(marks(&stream.core), marked, "a sync in the way of an append");
        }
        pass(61);
        assert!(stream.core.is_at_rest() && marks(&stream.core) == marked + 1);
        assert!(store.shared.loaded.get(id).is_some(), "somebody holds it");
        drop(stream);
        pass(1);
        assert!(store.shared.loaded.get(id).is_none());
        assert_eq!(store.shared.compact(false).unwrap().streams, 0, "it is known not to be due");
        let stream = store.stream("a").unwrap();
        assert_eq!((stream.published().unwrap(), stream.recovery().clean), (end, true));
    }

    #[test]
    fn a_stream_that_a_power_failure_took_nothing_from_goes_from_memory_like_any() {
        let (disk, clock) = (SimDisk::new(), SimClock::new(1_700_000_000_000_000_000));
        let open = || {
            let options = Options::new().background(false).vfs(Arc::new(disk.clone()));
            options.clock(Arc::new(clock.clone())).open("/store").unwrap()
        };
        let stream = open().create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
        let id = stream.id();
        stream.append(&Record::new("1")).unwrap();
        stream.sync().unwrap();
        disk.crash(Crash::DropUnsynced);
        clock.reboot();
        let store = open();
        assert!(!store.stream("a").unwrap().recovery().clean);
        for _ in 0..2 {
            clock.advance(Duration::from_secs(61));
            store.tick().unwrap();
        }
        assert!(store.shared.loaded.get(id).is_none());
    }
}
