//! What one segment file holds, without its store.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use crate::format::frame::Kind;
use crate::format::header::{BadHeader, Header, PAGE, Seal, Watermark};
use crate::format::index::Index;
use crate::segment::walk::{Found, Frames};
use crate::vfs::os::OsVfs;
use crate::vfs::{Access, Vfs};
use crate::{Error, ErrorKind, Result, StreamId, Timestamp};

/// What one segment file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The store it was made in.
    pub store: Uuid,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Offset of its first frame.
    pub base: u64,
    /// Offset behind its last valid frame.
    pub end: u64,
    /// Number of the epoch in force before its base.
    pub epoch: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Size of the file.
    pub file_bytes: u64,
    /// Size it was made with.
    pub capacity: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Offset that its watermark says is durable.
    pub watermark: Option<u64>,
    /// Valid records.
    pub records: u64,
    /// Batches.
    pub batches: u64,
    /// Unfinished appends.
    pub voids: u64,
    /// Epochs that begin in it.
    pub epochs: u64,
    /// Ingest times of its first and last record.
    pub ingest: Option<(Timestamp, Timestamp)>,
    /// Blocks of its footer's index; `None` where there is no sound footer.
    pub index_blocks: Option<usize>,
    /// Stretches, as offsets, without a valid frame.
    pub damage: Vec<(u64, u64)>,
}

/// Reads one segment file and says what it holds. It needs no store, takes no lock and writes nothing.
///
/// # Errors
/// `Io`; `Corrupt` where both copies of the header are damaged, or it is no segment; `Unsupported` where it is of a newer version.
pub fn inspect(path: impl AsRef<Path>) -> Result<SegmentReport> {
    inspect_with(&(Arc::new(OsVfs) as Arc<dyn Vfs>), path.as_ref())
}

fn inspect_with(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<SegmentReport> {
    let io = |doing: &'static str| move |err| Error::io(doing, path, err);
    let file = vfs.open(path, Access::Read).map_err(io("open segment"))?;
    let size = file.size().map_err(io("read size of segment"))?;
    let mut page = vec![0; PAGE];
    let read = file.read_at(&mut page, 0).map_err(io("read header of segment"))?;
    let header = Header::decode(&page[..read]).map_err(|bad| match bad {
        BadHeader::Damaged => Error::new(
            ErrorKind::Corrupt,
            format!("inspect {}: no sound header of a segment", path.display()),
        ),
        BadHeader::Newer { version, incompat } => Error::new(
            ErrorKind::Unsupported,
            format!(
                "inspect {}: version {version}, features {incompat:#x} are newer than this engine",
                path.display()
            ),
        ),
    })?;
    let seal = Seal::decode(&page, &header);
    let end = seal.map_or(size.min(header.capacity), |seal| header.position(seal.end));
    let mut bytes = vec![0; (end.min(size).max(PAGE as u64) - PAGE as u64) as usize & !7];
    let read = file.read_at(&mut bytes, PAGE as u64).map_err(io("read segment"))?;
    let frames = Frames { bytes: &bytes[..read & !7], base: header.base, salt: header.salt };
    let index = seal.and_then(|seal| {
        let mut footer = vec![0; seal.footer_bytes.min(size) as usize];
        let read = file.read_at(&mut footer, seal.footer).ok()?;
        Index::decode(&footer[..read], header.salt)
    });
    let mut report = SegmentReport {
        store: header.store,
        stream: header.stream,
        base: header.base,
        end: header.base,
        epoch: header.epoch.number,
        created: header.created,
        file_bytes: size,
        capacity: header.capacity,
        sealed: seal.is_some(),
        watermark: Watermark::decode(&page, &header).map(|mark| mark.durable),
        records: 0,
        batches: 0,
        voids: 0,
        epochs: 0,
        ingest: None,
        index_blocks: index.map(|index| index.blocks.len()),
        damage: Vec::new(),
    };
    let walk = if seal.is_some() { frames.walk(header.base) } else { frames.walk_unsettled(header.base) };
    for found in walk {
        match found {
            Found::Frame(offset, frame) => {
                report.end = offset + frame.header.word.step() as u64;
                match frame.kind() {
                    Kind::Record => {
                        let time = frame.header.ingest;
                        report.records += 1;
                        report.ingest = Some((report.ingest.map_or(time, |(first, _)| first), time));
                    }
                    Kind::Batch => report.batches += 1,
                    Kind::Void => report.voids += 1,
                    Kind::Epoch => report.epochs += 1,
                    Kind::Lost => report.damage.push((offset, report.end)),
                }
            }
            Found::Damage(range, _) => {
                // The unwritten rest of an active segment is no damage.
                let blank = bytes[(range.start - header.base) as usize..].iter().all(|byte| *byte == 0);
                if !blank || seal.is_some() {
                    report.damage.push((range.start, range.end));
                }
            }
        }
    }
    Ok(report)
}
