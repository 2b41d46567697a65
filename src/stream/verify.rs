//! Reading everything again and comparing it with its checksums, on a live stream too.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::format::frame::Kind;
use crate::format::header::{Header, PAGE};
use crate::format::index::Index;
use crate::segment::walk::{Found, Frames, is_record};
use crate::segment::{Segment, parse_file_name};
use crate::stream::checkpoint::NAME;
use crate::stream::open::read_checkpoint;
use crate::stream::{Core, Stream};
use crate::vfs::{Access, EntryKind};
use crate::{Error, ErrorKind, Result, StreamId};

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Streams looked at.
    pub streams: usize,
    /// Segment files read.
    pub segments: usize,
    /// Records whose checksums hold.
    pub records: u64,
    /// Bytes of log whose checksums hold.
    pub bytes: u64,
    /// Bytes of log that an earlier repair marked lost.
    pub lost_bytes: u64,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The stream, where it is one's.
    pub stream: Option<StreamId>,
    /// The file.
    pub path: PathBuf,
    /// The first offset of the stream that cannot be read, where records are concerned.
    pub start: Option<u64>,
    /// The offset behind the last that cannot be read.
    pub end: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl VerifyReport {
    /// Whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    pub(crate) fn add(&mut self, other: VerifyReport) {
        self.streams += other.streams;
        self.segments += other.segments;
        self.records += other.records;
        self.bytes += other.bytes;
        self.lost_bytes += other.lost_bytes;
        self.damage.extend(other.damage);
    }
}

impl Stream {
    /// Reads every published byte again, with pread, and compares it with its checksums. Appends and retention may
    /// go on meanwhile.
    ///
    /// # Errors
    /// `Closed`, `StreamDeleted`, `Io`. Damage is not an error but in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.core.check()?;
        self.core.verify()
    }
}

impl Core {
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let mut report = VerifyReport { streams: 1, ..VerifyReport::default() };
        let published = self.published()?;
        self.forget_strangers()?;
        let segments = self.segments();
        self.verify_names(&mut report)?;
        let mut expected = self.log_start();
        for segment in segments.iter() {
            if expected < segment.base && self.log_start() <= expected {
                let what = format!("no segment holds the offsets {expected}..{}", segment.base);
                report.damage.push(self.damage(segment, Some((expected, segment.base)), what));
            }
            let end = self.verify_segment(segment, published, &mut report)?;
            expected = end.max(segment.base);
        }
        if expected < published
            && self.log_start() <= expected
            && segments.last().is_some_and(|last| last.end().is_some())
        {
            let last = segments.last().expect("there is one");
            let what = format!("no segment holds the offsets {expected}..{published}");
            report.damage.push(self.damage(last, Some((expected, published)), what));
        }
        if self.env.read_only {
            self.verify_hidden(segments.last().map_or(0, |last| last.base), &mut report)?;
        }
        if report.is_sound() {
            return Ok(report);
        }
        // What retention removed under us was no damage.
        let start = self.log_start_now()?;
        report.damage.retain(|damage| damage.end.is_none_or(|end| start < end));
        Ok(report)
    }

    fn damage(&self, segment: &Segment, range: Option<(u64, u64)>, what: String) -> Damage {
        let (start, end) = range.unzip();
        Damage { stream: Some(self.id), path: segment.path.clone(), start, end, what }
    }

    /// Files behind the last segment that a follower shows. One without a sound header is damage where it held what was durable
    /// once; else it is being made, or was when the power failed, and who opens the store for writing sets it aside.
    fn verify_hidden(&self, last: u64, report: &mut VerifyReport) -> Result<()> {
        let durable = self.durable();
        for base in self.bases()?.unwrap_or_default() {
            if base <= last || durable <= base {
                continue;
            }
            let segment = self.env.segment(&self.dir, self.id, base);
            if let Err(err) = segment.region()
                && *err.kind() == ErrorKind::Corrupt
            {
                report.damage.push(self.damage(&segment, Some((base, durable)), err.to_string()));
            }
        }
        Ok(())
    }

    /// Files that are not what their names say.
    fn verify_names(&self, report: &mut VerifyReport) -> Result<()> {
        let entries = match self.env.vfs.list(&self.dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|err| Error::io("list directory of stream", &self.dir, err))?,
        };
        let mut add = |name: &str, what: &str| {
            let path = self.dir.join(name);
            report.damage.push(Damage {
                stream: Some(self.id),
                path,
                start: None,
                end: None,
                what: what.into(),
            });
        };
        let strangers = self.strangers.lock();
        for entry in &entries {
            let is_segment = parse_file_name(&entry.name).is_some();
            if strangers.contains(&self.dir.join(&entry.name)) {
                add(&entry.name, "called like a segment, and no part of the log");
            }
            if is_segment && entry.kind != EntryKind::File {
                add(&entry.name, "called like a segment, and no regular file");
            } else if entry.name.ends_with(".seg") && !is_segment {
                add(&entry.name, "a segment under a name that says no offset");
            }
        }
        if entries.iter().any(|entry| entry.name == NAME)
            && read_checkpoint(&self.env, &self.dir, self.id)?.is_none()
        {
            add(NAME, "neither slot of the checkpoint is sound");
        }
        Ok(())
    }

    /// Reads one segment; returns the offset its frames end at.
    fn verify_segment(&self, segment: &Segment, published: u64, report: &mut VerifyReport) -> Result<u64> {
        let until = segment.end().unwrap_or(published);
        let unreadable = |what: String| self.damage(segment, Some((segment.base, until)), what);
        let file = match segment.open(Access::Read) {
            Ok(file) => file,
            Err(err) => {
                report.damage.push(unreadable(err.to_string()));
                return Ok(until);
            }
        };
        report.segments += 1;
        let page = segment.read_page(&*file)?;
        let head = match segment.check_page(&page) {
            Ok(head) => head,
            Err(err) if *err.kind() == ErrorKind::Unsupported => return Err(err),
            Err(err) => {
                report.damage.push(unreadable(err.to_string()));
                return Ok(until);
            }
        };
        // One copy carries the segment, but the other is the next bad sector's reserve.
        let copies = crate::format::header::HEADER_AT.map(|at| Header::decode_copy_at(&page, at));
        if copies.iter().any(|copy| *copy != Some(head)) {
            report.damage.push(self.damage(
                segment,
                None,
                "one of the header's two copies is damaged".into(),
            ));
        }
        let seal = segment.seal().copied();
        let end = seal.map_or(until, |seal| seal.end);
        let size = file.size().map_err(|err| Error::io("read size of segment", &segment.path, err))?;
        let frame_bytes = end.saturating_sub(segment.base);
        let mut bytes = vec![0; frame_bytes.min(size) as usize];
        let read = match file.read_at(&mut bytes, PAGE as u64) {
            Ok(read) => read,
            Err(err) => {
                report.damage.push(unreadable(format!("read segment: {err}")));
                return Ok(end);
            }
        };
        if (read as u64) < frame_bytes {
            let start = segment.base + read as u64;
            report.damage.push(self.damage(
                segment,
                Some((start, end)),
                format!("the file ends {} bytes early", frame_bytes - read as u64),
            ));
        }
        let frames = Frames { bytes: &bytes[..read & !7], base: segment.base, salt: head.salt };
        for found in frames.walk(segment.base) {
            match found {
                Found::Frame(_, frame) => {
                    report.bytes += frame.header.word.step() as u64;
                    report.records += u64::from(is_record(&frame));
                    if frame.kind() == Kind::Lost {
                        report.lost_bytes += frame.header.word.span() as u64;
                    }
                }
                Found::Damage(range, bad) => {
                    let what = format!("{} bytes hold no valid frame ({bad:?})", range.end - range.start);
                    report.damage.push(self.damage(segment, Some((range.start, range.end)), what));
                }
            }
        }
        if let Some(seal) = seal.filter(|seal| 0 < seal.footer_bytes) {
            let mut footer = vec![0; seal.footer_bytes.min(size) as usize];
            let read = file.read_at(&mut footer, seal.footer).unwrap_or(0);
            let index = Index::decode(&footer[..read], head.salt);
            if index.is_none_or(|index| index.end != seal.end) {
                report.damage.push(self.damage(
                    segment,
                    None,
                    "the footer is damaged; it can be made anew".into(),
                ));
            }
        }
        Ok(end)
    }
}
