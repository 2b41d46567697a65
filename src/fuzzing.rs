//! What is fuzzed: one function a target, over bytes from anywhere. Not part of the public API.
//!
//! A target panics when a promise of the format is broken: nothing read from disk may panic, be sliced beyond
//! its end, loop, or be taken for what nobody wrote. Those with a flag to *mend* their input make its
//! checksums right after it was altered, so that what lies behind them is reached too. `fuzz/` runs the targets under
//! libFuzzer, `tests/corpus.rs` replays their corpora.

pub mod filter;

use byteorder::{ByteOrder, LittleEndian as LE};
use uuid::Uuid;

use crate::filter::{Filter, Summary};
use crate::format::checkpoint::{self, Checkpoint};
use crate::format::cursor;
use crate::format::envelope;
use crate::format::frame::{self, Checked, Frame, HEADER, Header as FrameHeader, Kind, Place, Word};
use crate::format::header::{self, Header, Seal, Watermark};
use crate::format::index::Index;
use crate::segment::extend;
use crate::segment::recover::{decide, scan};
use crate::segment::walk::{Found, Frames, is_boundary};
use crate::vfs::guard::Mark;
use crate::vfs::region::CLAIMED;
use crate::{Cursor, ErrorKind, Level, Record, StreamId, Timestamp};

use filter::{Choices, Drawn, Said};

/// Takes an input, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target and its name, which is also that of its file in `fuzz/fuzz_targets` and its folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 7] = [
    ("frame_raw", frame_raw),
    ("frame_fix", frame_fix),
    ("segment_recover", segment_recover),
    ("cursor_decode", cursor_decode),
    ("metadata_decode", metadata_decode),
    ("index_decode", index_decode),
    ("filter", filter),
];

/// Longer inputs find nothing that shorter ones do not.
const MAX_INPUT: usize = 64 << 10;

/// Bytes of zero behind the image of a segment.
const ROOM: usize = 1024;

/// The first byte of an input whose checksums are made right before it is read.
pub const MEND: u8 = 1;
/// The first byte of an input to `segment_recover` whose writer died in the boot that recovers it; may be added to [`MEND`].
pub const SAME_BOOT: u8 = 2;

/// Salt (8 bytes), base (8), then the bytes of a log, as they are.
pub fn frame_raw(data: &[u8]) {
    let Some((place, bytes)) = data.split_first_chunk::<16>() else { return };
    let Place { salt, offset: base } = place_of(place);
    let bytes = &bytes[..bytes.len().min(MAX_INPUT) & !7];
    for at in (0..bytes.len()).step_by(8) {
        if let Ok(frame) = frame::parse(&bytes[at..], Place { salt, offset: base + at as u64 }) {
            look_at(&frame);
        }
    }
    check_frames(Frames { bytes, base, salt });
}

/// Salt (8 bytes), base (8), a list of frames to write, then edits to them; the frames' checksums are made right again.
pub fn frame_fix(data: &[u8]) {
    let Some((place, program)) = data.split_first_chunk::<16>() else { return };
    let Place { salt, offset: base } = place_of(place);
    let mut input = Input(program);
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..input.byte() % 32 {
        write_frame(&mut input, &mut bytes, &mut starts, Place { salt, offset: base });
    }
    while let Some(edit) = input.take(3).filter(|_| !bytes.is_empty()) {
        let at = usize::from(LE::read_u16(edit)) % bytes.len();
        bytes[at] ^= edit[2];
    }
    // From the last to the first: an altered length may make a frame cover those behind it.
    for &at in starts.iter().rev() {
        mend_frame(&mut bytes[at..], Place { salt, offset: base + at as u64 });
    }
    check_frames(Frames { bytes: &bytes, base, salt });
}

/// Flags (1 byte), then the image of a segment file, cut off anywhere: some of what is missing is zero.
pub fn segment_recover(data: &[u8]) {
    let Some((flags, image)) = data.split_first() else { return };
    let mut image = image[..image.len().min(MAX_INPUT)].to_vec();
    if flags & MEND != 0 {
        mend_page(&mut image);
    }
    let Ok(head) = Header::decode(&image) else { return };
    let bytes = (image.len() + ROOM).next_multiple_of(8).max(header::PAGE);
    image.resize(bytes.min(head.capacity as usize), 0);
    if flags & MEND != 0 {
        mend_log(&mut image[header::PAGE..], &head);
    }
    let (page, log) = image.split_at_mut(header::PAGE);
    Seal::decode(page, &head);
    let watermark = Watermark::decode(page, &head).map_or(0, |mark| mark.durable);
    let frames = Frames { bytes: log, base: head.base, salt: head.salt };
    check_frames(frames);
    let first = scan(frames);
    let proven = first.proven.max(watermark).max(head.previous_durable);
    let same_boot = flags & SAME_BOOT != 0;
    let decision = decide(std::slice::from_ref(&first), proven, same_boot);

    assert!(proven <= decision.end, "the log ends below what is proven durable");
    assert!(decision.end.is_multiple_of(8) && decision.end <= head.offset(head.capacity));
    assert!(decision.torn_bytes <= first.written.max(first.end) - first.base);
    let mut behind = head.base;
    for range in &decision.corrupt {
        assert!(behind <= range.start && range.start < range.end, "corrupt ranges are ordered and apart");
        behind = range.end;
    }
    // Recovery that a crash interrupts is done again: it must come to the same.
    for range in &decision.void {
        let place = Place { salt: head.salt, offset: range.start };
        let mark = frame::mark(Kind::Void, (range.end - range.start) as usize, &[], Timestamp::MIN, place);
        log[(range.start - head.base) as usize..][..mark.len()].copy_from_slice(&mark);
    }
    let end = ((decision.end - head.base) as usize).min(log.len());
    log[end..].fill(0);
    let second = scan(Frames { bytes: log, base: head.base, salt: head.salt });
    let again = decide(&[second], proven, same_boot);
    assert!(proven <= again.end, "recovery done twice forgets what is proven durable");
    // A damaged commit word may look like a claim. Whether one is believed depends on what lies behind it, so once there is
    // damage, what the cut leaves may be read otherwise.
    if decision.corrupt.is_empty() {
        assert_eq!((again.end, again.torn_bytes), (decision.end, 0), "recovery done twice cuts twice");
        assert!(again.corrupt.is_empty() && again.void.is_empty());
    }
}

/// Flags (1 byte), then a cursor's bytes, or its text.
pub fn cursor_decode(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(cursor) = text.parse::<Cursor>()
    {
        assert_eq!(cursor.to_string(), text.to_ascii_lowercase(), "a position has one text, in either case");
    }
    let mut bytes = bytes.to_vec();
    if flags & MEND != 0 && bytes.len() == cursor::BYTES {
        let crc = crc32fast::hash(&bytes[..cursor::BYTES - 4]);
        bytes[cursor::BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
    }
    if let Some(cursor) = Cursor::decode(&bytes) {
        assert_eq!(cursor.encode()[..], bytes, "a position has one encoding");
        assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor));
    }
}

/// Flags (1 byte), then a checkpoint, a segment's first page, or any file in envelopes.
pub fn metadata_decode(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];

    let mut slots = bytes.to_vec();
    if flags & MEND != 0 {
        mend_at(&mut slots, &checkpoint::SLOT_AT, checkpoint::SLOT - 4);
    }
    if let Some(id) = slots.get(16..32) {
        let stream = StreamId::from(Uuid::from_slice(id).expect("16 bytes"));
        if let Some(found) = Checkpoint::decode(&slots, stream) {
            let mut file = vec![0; checkpoint::BYTES];
            file[found.at()..][..checkpoint::SLOT].copy_from_slice(&found.encode());
            assert_eq!(Checkpoint::decode(&file, stream), Some(found));
        }
    }

    let mut page = bytes.to_vec();
    if flags & MEND != 0 {
        mend_page(&mut page);
    }
    if let Ok(head) = Header::decode(&page) {
        assert_eq!(Header::decode(&head.encode()), Ok(head));
        Watermark::decode(&page, &head);
        Seal::decode(&page, &head);
    }

    let mut bytes = bytes.to_vec();
    if flags & MEND != 0 {
        mend_envelopes(&mut bytes);
    }
    if let Some(magic) = bytes.first_chunk::<8>() {
        if let Ok((mark, used)) = envelope::decode::<Mark>(*magic, 1, &bytes) {
            assert_eq!(envelope::encode(*magic, 1, &mark), bytes[..used]);
        }
        crate::catalog::fuzzing::decode(&bytes);
    }
}

/// Flags (1 byte), salt (8), then a footer.
pub fn index_decode(data: &[u8]) {
    let Some((head, bytes)) = data.split_first_chunk::<9>() else { return };
    let salt = LE::read_u64(&head[1..]);
    let mut bytes = bytes[..bytes.len().min(MAX_INPUT)].to_vec();
    if head[0] & MEND != 0 && 4 <= bytes.len() {
        mend_slot(&mut bytes, salt);
    }
    let Some(index) = Index::decode(&bytes, salt) else { return };
    assert_eq!(Index::decode(&index.encode(salt), salt).as_ref(), Some(&index));
    for offset in [0, 8, index.end / 2, index.end, u64::MAX] {
        let from = index.walk_from(offset);
        assert!(from.is_none_or(|from| from <= offset && from < index.end));
        index.epoch_before(offset);
        index.walk_from_record(offset);
        index.walk_from_time(Timestamp::from_nanos(offset as i64));
    }
}

/// Length of a text (1 byte) and the text, which may be a filter; then choices that a filter is drawn by, which is one, and
/// records.
pub fn filter(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (text, choices) = rest.split_at(rest.len().min(usize::from(*length)));
    let mut choices = Choices(choices);
    let (said, drawn) = Said::draw(&mut choices);
    let records: Vec<Drawn> = (0..3).map(|_| Drawn::draw(&mut choices, 0)).collect();
    let ingest = Timestamp::from_millis(1_700_000_000_001);

    // As a log has them, and as its index sums them up.
    let mut frames = Vec::new();
    let mut index = Index::new(0, Timestamp::MIN);
    for record in &records {
        let record = record.record();
        let checked = Checked::new(&record).expect("within the limits");
        let mut bytes = vec![0; checked.word().span()];
        let place = Place { salt: 0, offset: index.end };
        checked.write(place, 0, ingest, |at, piece| bytes[at..][..piece.len()].copy_from_slice(piece));
        let frame = frame::parse(&bytes, place).expect("just written");
        index.add(place.offset, &frame);
        frames.push(bytes);
    }
    let passes = |filter: &Filter| -> Vec<bool> {
        let passes = frames.iter().map(|bytes| {
            let header = FrameHeader::of_checked(bytes);
            filter.matches_encoded(header.word, header.ingest, &bytes[HEADER..header.word.length()])
        });
        let passes: Vec<bool> = passes.collect();
        let summary = Summary::of(&index, 0).expect("nothing is damaged");
        assert!(
            !passes.contains(&true) || filter.may_match(&summary),
            "a block is skipped that holds what passes"
        );
        passes
    };
    if drawn.len() <= crate::filter::MAX_BYTES {
        let filter = Filter::parse(&drawn).unwrap_or_else(|err| panic!("{drawn}: {err}"));
        let expected: Vec<bool> = records.iter().map(|record| said.holds(record, ingest)).collect();
        assert_eq!(passes(&filter), expected, "{drawn} on {records:?}");
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Filter::parse(text) {
        Ok(filter) => {
            assert_eq!(filter.as_str(), text);
            let negated = Filter::parse(&format!("NOT({text})")).ok().filter(|_| !filter.is_all());
            let negated = negated.map(|negated| passes(&negated).iter().map(|passes| !passes).collect());
            assert!(negated.is_none_or(|negated: Vec<bool>| negated == passes(&filter)));
        }
        Err(err) => {
            let ErrorKind::FilterInvalid { position } = *err.kind() else { panic!("{err:?}") };
            assert!(position <= text.len() && text.is_char_boundary(position), "{err}");
        }
    }
}

/// Any salt; a base that a log can have.
fn place_of(bytes: &[u8; 16]) -> Place {
    Place { salt: LE::read_u64(bytes), offset: LE::read_u64(&bytes[8..]) >> 3 & !7 }
}

/// Reads every part of a frame.
fn look_at(frame: &Frame<'_>) {
    match frame.kind() {
        Kind::Record => {
            let fields = frame.record();
            let meta = frame.payload.len() - frame::body(frame.header.word, frame.payload).len();
            let attributes: usize = fields.meta.map_or(0, |meta| meta.attributes().count());
            assert!(3 * attributes <= meta && fields.level.is_none_or(|level| Level::ALL.contains(&level)));
        }
        Kind::Epoch => assert!(frame.epoch() <= frame.epoch()),
        Kind::Batch | Kind::Void | Kind::Lost => assert!(frame.payload.is_empty()),
    }
}

/// Walks a log: every byte is passed once, and its index comes back from a footer.
fn check_frames(frames: Frames<'_>) {
    let mut at = frames.base;
    for found in frames.walk(frames.base) {
        let end = match found {
            Found::Frame(start, frame) => {
                assert_eq!(start, at);
                look_at(&frame);
                start + frame.header.word.step() as u64
            }
            Found::Damage(range, _) => {
                assert_eq!(range.start, at);
                range.end
            }
        };
        assert!(at < end && end <= frames.end(), "a walk goes forward, within the log");
        at = end;
    }
    assert_eq!(at, frames.end());
    assert!(is_boundary(frames, frames.base, frames.end()));
    let mut index = Index::new(frames.base, Timestamp::MIN);
    extend(&mut index, frames);
    index.reach(frames.end());
    assert_eq!(Index::decode(&index.encode(frames.salt), frames.salt).as_ref(), Some(&index));
}

/// Bytes taken from the front; zero where they end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.0.split_off(..bytes)
    }

    fn short(&mut self) -> usize {
        let high = self.byte();
        usize::from(self.byte()) | usize::from(high & 1) << 8
    }

    /// Printable text of up to 15 bytes, not empty.
    fn text(&mut self) -> String {
        (0..=self.byte() % 15).map(|_| char::from(b' ' + self.byte() % 94)).collect()
    }
}

/// Writes the frame that `input` asks for behind `bytes`, and notes where it begins.
fn write_frame(input: &mut Input<'_>, bytes: &mut Vec<u8>, starts: &mut Vec<usize>, base: Place) {
    let start = bytes.len();
    let place = Place { offset: base.offset + start as u64, ..base };
    let ingest = Timestamp::from_nanos(i64::from(input.byte()) << 32);
    let mut mark = |kind, length: usize, payload: &[u8]| {
        bytes.extend(frame::mark(kind, length, payload, ingest, place));
        bytes.resize((start + length).next_multiple_of(8), 0);
        starts.push(start);
    };
    match input.byte() % 8 {
        0 => mark(Kind::Void, HEADER + input.short(), &[]),
        1 => mark(Kind::Lost, HEADER + input.short(), &[]),
        2 => {
            let mut epoch = [0; 16];
            epoch.fill_with(|| input.byte());
            mark(Kind::Epoch, frame::EPOCH_BYTES, &epoch);
        }
        3 => {
            let length = HEADER + input.short();
            bytes.extend((length as u32 | CLAIMED).to_le_bytes());
            bytes.resize((start + length).next_multiple_of(8), input.byte());
        }
        4 => {
            bytes.resize(start + HEADER, 0);
            for _ in 0..input.byte() % 4 {
                write_record(input, bytes, starts, base, ingest);
            }
            let header =
                FrameHeader { word: Word::new(Kind::Batch, bytes.len() - start), witness: 0, ingest };
            bytes[start..start + HEADER].copy_from_slice(&header.encode(header.seal(place)));
            starts.push(start);
        }
        _ => write_record(input, bytes, starts, base, ingest),
    }
}

fn write_record(
    input: &mut Input<'_>,
    bytes: &mut Vec<u8>,
    starts: &mut Vec<usize>,
    base: Place,
    ingest: Timestamp,
) {
    let flags = input.byte();
    let service = (flags & 1 != 0).then(|| input.text());
    let texts: Vec<_> = (0..flags >> 5).map(|_| (input.text(), input.text())).collect();
    let attributes: Vec<_> = texts.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let length = input.short();
    let record = Record {
        body: &vec![input.byte(); length],
        event_time: (flags & 2 != 0).then(|| Timestamp::from_nanos(i64::from(input.byte()))),
        level: Level::from_repr(flags >> 2 & 7),
        service: service.as_deref(),
        attributes: &attributes,
    };
    let checked = Checked::new(&record).expect("within the limits");
    let start = bytes.len();
    bytes.resize(start + checked.word().span(), 0);
    let place = Place { offset: base.offset + start as u64, ..base };
    let witness = u32::from(input.byte());
    checked.write(place, witness, ingest, |at, piece| {
        bytes[start + at..][..piece.len()].copy_from_slice(piece);
    });
    starts.push(start);
}

/// Makes the checksums of the frame that begins at `bytes[0]` right, as far as its commit word says where it ends.
fn mend_frame(bytes: &mut [u8], place: Place) -> Option<usize> {
    let word = Word(LE::read_u32(bytes.first_chunk::<HEADER>()?));
    let payload = match word.kind()? {
        Kind::Record | Kind::Epoch => HEADER..word.length(),
        Kind::Batch | Kind::Void | Kind::Lost => HEADER..HEADER,
    };
    if word.is_claimed() || word.length() < HEADER || bytes.len() < word.span() {
        return None;
    }
    let ingest = Timestamp::from_nanos(LE::read_i64(&bytes[8..]));
    let header = FrameHeader { word, witness: LE::read_u32(&bytes[4..]), ingest };
    let mut seal = header.seal(place);
    seal.update(&bytes[payload]);
    bytes[..HEADER].copy_from_slice(&header.encode(seal));
    Some(word.step())
}

/// Makes the checksums of a log's frames right, each from where the one before it says that it ends.
fn mend_log(log: &mut [u8], head: &Header) {
    let mut at = 0;
    while at < log.len() {
        let place = Place { salt: head.salt, offset: head.base + at as u64 };
        at += mend_frame(&mut log[at..], place).unwrap_or(8);
    }
}

/// Makes the CRC-32 right that stands `crc_at` bytes behind each of `starts`, over what lies between.
fn mend_at(bytes: &mut [u8], starts: &[usize], crc_at: usize) {
    for &at in starts {
        if let Some(copy) = bytes.get_mut(at..at + crc_at + 4) {
            let crc = crc32fast::hash(&copy[..crc_at]);
            LE::write_u32(&mut copy[crc_at..], crc);
        }
    }
}

fn mend_page(page: &mut [u8]) {
    mend_at(page, &header::HEADER_AT, header::HEADER - 4);
    let Ok(head) = Header::decode(page) else { return };
    let slots = header::WATERMARK_AT.map(|at| at..at + header::WATERMARK).into_iter();
    for slot in slots.chain(header::SEAL_AT.map(|at| at..at + header::SEAL)) {
        if let Some(slot) = page.get_mut(slot) {
            mend_slot(slot, head.salt);
        }
    }
}

/// Makes the checksum right of a slot or footer.
fn mend_slot(bytes: &mut [u8], salt: u64) {
    let mut crc = crc32fast::Hasher::new_with_initial(salt as u32);
    crc.update(&salt.to_le_bytes());
    crc.update(&bytes[4..]);
    LE::write_u32(bytes, crc.finalize());
}

/// Makes the checksums of envelopes right that lie end to end.
fn mend_envelopes(mut bytes: &mut [u8]) {
    while let Some(head) = bytes.first_chunk::<{ envelope::HEADER }>() {
        let end = envelope::HEADER + LE::read_u32(&head[10..]) as usize;
        let Some((this, rest)) = bytes.split_at_mut_checked(end) else { return };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&this[..14]);
        crc.update(&this[envelope::HEADER..]);
        LE::write_u32(&mut this[14..], crc.finalize());
        bytes = rest;
    }
}
