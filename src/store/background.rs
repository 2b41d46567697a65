//! The store's three threads, and the same work on demand.
//!
//! | thread  | waits for                          | does                                                        |
//! |---------|------------------------------------|-------------------------------------------------------------|
//! | sync    | a stream with something to sync    | lets the interval pass, syncs every such stream, seals      |
//! | ready   | a writer that nears untouched pages | touches pages ahead of it, makes its next segments' files   |
//! | compact | a second                           | follows the clock, applies retention, lets go of idle streams |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::store::{Quiet, Shared, TickReport};
use crate::stream::env::Env;
use crate::sync::atomic::Ordering;
use crate::{Error, ErrorKind, Result, StreamId, Timestamp};

/// How often the compactor looks.
const TICK: Duration = Duration::from_secs(1);

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
    for core in env.dirty.take() {
        let done = core.sync_in_background();
        outcome = outcome.and(done);
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
        let ids: Vec<_> = self.catalog.lock().all_streams().map(|entry| entry.id).collect();
        let mut report = TickReport::default();
        let mut outcome = Ok(());
        for id in ids {
            match self.compact_stream(id, all, now, &mut report) {
                Err(err) if !matches!(err.kind(), ErrorKind::NotFound | ErrorKind::StreamDeleted) => {
                    outcome = outcome.and(Err(err));
                }
                _ => {}
            }
        }
        let sessions = self.sessions_if_any().and_then(|sessions| match sessions {
            Some(sessions) => sessions.tick(now),
            None => Ok(()),
        });
        outcome.and(sessions).map(|()| report)
    }

    fn compact_stream(&self, id: StreamId, all: bool, now: Timestamp, report: &mut TickReport) -> Result<()> {
        let in_memory = self.loaded.get(id);
        let is_ours = in_memory.is_none();
        let core = match in_memory {
            Some(core) => core,
            None if !all && self.quiet.lock().get(&id).is_some_and(|quiet| now < quiet.due) => return Ok(()),
            None => self.core(id)?,
        };
        report.streams += 1;
        if all || Timestamp::from_nanos(core.due.load(Ordering::Relaxed)) <= now {
            let retained = core.retain()?;
            report.removed_segments += retained.segments;
            report.removed_bytes += retained.bytes;
        }
        core.idle()?;
        if is_ours && !core.is_attached() {
            // Opened for this only: it does not stay in memory, but when to look again does.
            let due = Timestamp::from_nanos(core.due.load(Ordering::Relaxed));
            self.quiet.lock().insert(id, Quiet { due, last_ingest: core.last_ingest() });
            self.loaded.remove_unused(id, &core);
        }
        Ok(())
    }
}
