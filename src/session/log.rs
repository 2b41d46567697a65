//! Where sessions are kept: a log of the engine's own kind, in the directory `sessions`.
//!
//! So a commit is a durable append, many at a time share one sync, and a crash is recovered from like that of any stream. When
//! the log has grown to a multiple of what it amounts to, everything is written again into a new segment and what lies
//! before that is removed; dying in between leaves a log that says some things twice.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::format::envelope::EnvelopeError;
use crate::session::entry::{Change, Kept};
use crate::stream::env::Env;
use crate::stream::open::Opening;
use crate::stream::{Core, Durability, Member, Policy, Start, Step, Stream};
use crate::{Error, ErrorKind, GroupId, Record, Result, StreamId, Timestamp};

/// Bytes of log up to which nothing is written anew.
const SMALL: u64 = 256 << 10;
/// How many times what it amounts to a log may hold.
const TIMES: u64 = 4;

/// The log of a store's sessions.
#[derive(Debug)]
pub(crate) struct Log {
    stream: Stream,
    /// Bytes that the last writing of everything took.
    whole: u64,
}

impl Log {
    /// Opens the log in `dir` and reads what it amounts to.
    ///
    /// # Errors
    /// `Io`; `Unsupported` where a newer version wrote it. What is damaged is left out; `verify` reports it.
    pub(crate) fn open(env: &Arc<Env>, dir: &Path) -> Result<(Log, Kept)> {
        let core = open(env, dir)?;
        let stream = Stream::new(core, Arc::new(()));
        // What a session's owner is told of its position is durable, after a crash as before it.
        stream.sync()?;
        let mut kept = Kept::default();
        let mut reader = stream.read(Start::Beginning)?;
        loop {
            match reader.next()? {
                Step::Records(batch) => {
                    for record in &batch {
                        match Change::decode(record.body()) {
                            Ok(change) => kept.apply(change),
                            Err(err @ EnvelopeError::NewerVersion(_)) => {
                                let text = format!(
                                    "read sessions {} at offset {}: {err}",
                                    dir.display(),
                                    record.offset()
                                );
                                return Err(Error::new(ErrorKind::Unsupported, text));
                            }
                            // Sound by the frame's checksum, so somebody else's: not ours to act on.
                            Err(EnvelopeError::Truncated | EnvelopeError::Invalid) => {}
                        }
                    }
                }
                Step::Gap(_) | Step::Passed => {}
                Step::End => break,
            }
        }
        Ok((Log { stream, whole: 0 }, kept))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.stream.core
    }

    /// Appends a change; returns what to [`sync`](Log::sync) up to for it to be durable.
    pub(crate) fn append(&self, change: &Change) -> Result<u64> {
        let bytes = change.encode();
        Ok(self.stream.append_with(&Record::new(&bytes), Durability::Buffered)?.end())
    }

    /// Writes everything anew where the log has outgrown it. Nobody appends meanwhile.
    pub(crate) fn compact(&mut self, kept: impl Iterator<Item = Change>) -> Result<()> {
        let core = self.core();
        let held = core.published()? - core.log_start();
        if held < SMALL.max(TIMES * self.whole) {
            return Ok(());
        }
        let start = core.end_durably()?;
        let mut end = start;
        for change in kept {
            end = self.append(&change)?;
        }
        self.core().sync_to(end)?;
        self.core().remove_before(start)?;
        self.whole = end - start;
        Ok(())
    }
}

/// Opens the log's stream, for reading only where the store is.
pub(crate) fn open(env: &Arc<Env>, dir: &Path) -> Result<Arc<Core>> {
    let policy = Policy {
        ttl: Duration::MAX,
        expired_before: Timestamp::MIN,
        max_bytes: None,
        durability: Durability::Sync,
    };
    let opening = Opening {
        id: StreamId::from(env.store),
        dir: dir.into(),
        policy,
        // It is in no group, and no session covers it.
        member: Member { group: GroupId::from(env.store), service: None },
        meta: Box::new(Vec::new),
        changes: Arc::default(),
    };
    Core::open(env, opening)
}
