//! Sealing a segment: footer, seal, the rest of its space given back.

use crate::format::frame::ALIGN;
use crate::format::header::{self, Header, Seal};
use crate::mutants::{self, Mutant};
use crate::segment::Segment;
use crate::vfs::Access;
use crate::{Error, Result};

/// Why a segment is not sealed.
#[derive(Debug)]
pub(crate) enum NotSealed {
    /// A sync failed: nothing is known any more of what the disk holds.
    Unsynced(Error),
    /// Anything else, which may be tried again.
    Yet(Error),
}

impl From<Error> for NotSealed {
    fn from(err: Error) -> NotSealed {
        NotSealed::Yet(err)
    }
}

impl From<NotSealed> for Error {
    fn from(err: NotSealed) -> Error {
        match err {
            NotSealed::Unsynced(err) | NotSealed::Yet(err) => err,
        }
    }
}

/// Seals a segment that ends at `end`, all of it durable, no claim open. Each step leaves a file that a reader or
/// recovery can use: until the seal is durable it is simply not sealed.
///
/// # Errors
/// `Io`, `Corrupt`: the segment stays unsealed, its frames as they were.
pub(crate) fn seal(segment: &Segment, end: u64) -> Result<(), NotSealed> {
    let io = |doing: &'static str| move |err| Error::io(doing, &segment.path, err);
    let head: Header = *segment.head()?;
    let region = segment.region()?;
    let index = segment.index(&region, end)?;
    let footer = index.encode(head.salt);
    // Zeros stay behind the last frame, so that recovery can tell a footer half written from a frame that is damaged.
    let position = head.position(end) + ALIGN as u64;
    let fits = position + footer.len() as u64 <= head.capacity;
    let seal = Seal {
        end,
        records: index.records,
        // One with marks alone is as young as they are, and tells for a TTL which cursors diverged.
        last_ingest: if index.records == 0 { index.last_ingest.max(head.created) } else { index.last_ingest },
        footer: if fits { position } else { 0 },
        footer_bytes: if fits { footer.len() as u64 } else { 0 },
    };
    let file = segment.open(Access::Write)?;
    if fits && !mutants::on(Mutant::SealBeforeFooter) {
        file.write_at(&footer, position).map_err(io("write footer of segment"))?;
        file.sync().map_err(io("sync footer of segment")).map_err(NotSealed::Unsynced)?;
    }
    for at in header::SEAL_AT {
        file.write_at(&seal.encode(head.salt), at as u64).map_err(io("write seal of segment"))?;
    }
    if fits && mutants::on(Mutant::SealBeforeFooter) {
        file.sync().map_err(io("sync seal of segment")).map_err(NotSealed::Unsynced)?;
        file.write_at(&footer, position).map_err(io("write footer of segment"))?;
    }
    file.sync().map_err(io("sync seal of segment")).map_err(NotSealed::Unsynced)?;
    // Nothing is mapped there that anybody reads, and the file's size stays.
    let used = (position + seal.footer_bytes).next_multiple_of(4096);
    if used < head.capacity {
        file.punch(used..head.capacity).map_err(io("give back space of segment"))?;
    }
    segment.sealed(seal);
    Ok(())
}
