//! One frame: a record, or one of the marks between records, as bytes.
//!
//! A frame lies at a multiple of 8 and begins with this header, little endian:
//!
//! | at | bytes | field   | what it is                                                              |
//! |----|-------|---------|-------------------------------------------------------------------------|
//! | 0  | 4     | word    | commit word: length, kind, level, whether metadata comes first          |
//! | 4  | 4     | witness | distance back to the durable end when it was written, in units of 8     |
//! | 8  | 8     | ingest  | ingest time, nanoseconds since 1970                                     |
//! | 16 | 4     | check   | high half of the header's hash                                          |
//! | 20 | 4     | crc     | CRC-32 of the payload, combined with the low half of the header's hash  |
//! | 24 | ..    | payload | metadata if any, then the body                                          |
//!
//! The commit word:
//!
//! | bits   | field   | what it is                                             |
//! |--------|---------|--------------------------------------------------------|
//! | 0..24  | length  | bytes of header and payload; of a batch, of all of it  |
//! | 24..27 | kind    | record, batch, void, epoch or lost                     |
//! | 27..30 | level   | 0 none, 1 trace .. 6 fatal                             |
//! | 30     | meta    | the payload begins with metadata                       |
//! | 31     | claimed | the frame is being written                             |
//!
//! The header's hash runs over the segment's salt, the frame's own offset and the first 16 bytes. It is made of
//! bijections, so a change to any one of the three words always changes it, and with it `check` or what `crc`
//! must be. Combined is by exclusive or, so that neither waits for the other. Because salt and offset take part, a frame is
//! valid only at its own place in its own segment: stale bytes, misplaced writes and payloads that hold whole segments do not pass.

use std::sync::LazyLock;

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::format::span::{CLAIMED, LENGTH, padded};
use crate::mutants::{self, Mutant};
use crate::record::{Level, Record};
use crate::{Error, ErrorKind, Result, Timestamp};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 24;
/// Frames lie at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Bytes of an epoch frame: its payload is the epoch's number and id.
pub(crate) const EPOCH_BYTES: usize = HEADER + 16;
/// Bytes of the fixed part of a record's metadata.
pub(crate) const META_HEADER: usize = 8;

/// Bytes of one body, at most.
pub const MAX_BODY: usize = 1 << 20;
/// Bytes of one record's body and metadata together, at most.
pub const MAX_RECORD: usize = 2 << 20;
/// Records of one batch, at most.
pub const MAX_BATCH_RECORDS: usize = 1000;
/// Bytes of one batch's bodies and metadata together, at most.
pub const MAX_BATCH: usize = 8 << 20;
/// Attributes of one record, at most.
pub const MAX_ATTRIBUTES: usize = 100;
/// Bytes of an attribute's key, at most; it has at least one.
pub const MAX_KEY: usize = 128;
/// Bytes of an attribute's value, at most.
pub const MAX_VALUE: usize = 4096;
/// Bytes of a service's name, at most; it has at least one.
pub const MAX_SERVICE: usize = 128;

/// The longest frame: a batch of as many records and bytes as may be.
pub(crate) const MAX_FRAME: usize = MAX_BATCH + (MAX_BATCH_RECORDS + 1) * (HEADER + ALIGN);
const _: () = assert!(MAX_FRAME < LENGTH as usize && MAX_BODY <= MAX_RECORD);

const KIND_SHIFT: u32 = 24;
const KIND: u32 = 7 << KIND_SHIFT;
const LEVEL_SHIFT: u32 = 27;
const META: u32 = 1 << 30;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One record.
    Record = 0,
    /// The header of a batch; its length covers the records' frames, which follow at once.
    Batch = 1,
    /// A claim whose writer did not finish. Holds nothing.
    Void = 2,
    /// A new epoch begins: recovery wrote it.
    Epoch = 3,
    /// Records lay here and are lost; repair wrote it.
    Lost = 4,
}

/// A commit word without `CLAIMED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u32);

impl Word {
    #[inline]
    pub(crate) fn new(kind: Kind, length: usize) -> Word {
        assert!(length <= LENGTH as usize);
        Word(length as u32 | (kind as u32) << KIND_SHIFT)
    }

    #[inline]
    fn record(length: usize, level: Option<Level>, meta: bool) -> Word {
        let level = level.map_or(0, |level| level as u32);
        Word(Word::new(Kind::Record, length).0 | level << LEVEL_SHIFT | if meta { META } else { 0 })
    }

    #[inline]
    pub(crate) fn length(self) -> usize {
        (self.0 & LENGTH) as usize
    }

    /// Bytes to the frame after this one: of a batch, to the frame after all of it.
    #[inline]
    pub(crate) fn span(self) -> usize {
        padded(self.length())
    }

    /// Bytes to the frame after this one, where a batch's first record follows its header.
    pub(crate) fn step(self) -> usize {
        if self.kind() == Some(Kind::Batch) { HEADER } else { self.span() }
    }

    pub(crate) fn kind(self) -> Option<Kind> {
        match self.0 >> KIND_SHIFT & 7 {
            0 => Some(Kind::Record),
            1 => Some(Kind::Batch),
            2 => Some(Kind::Void),
            3 => Some(Kind::Epoch),
            4 => Some(Kind::Lost),
            _ => None,
        }
    }

    pub(crate) fn level(self) -> Option<Level> {
        Level::from_repr((self.0 >> LEVEL_SHIFT & 7) as u8)
    }

    pub(crate) fn has_meta(self) -> bool {
        self.0 & META != 0
    }

    pub(crate) fn is_claimed(self) -> bool {
        self.0 & CLAIMED != 0
    }
}

/// A frame's header, as far as it is not derived from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) word: Word,
    pub(crate) witness: u32,
    pub(crate) ingest: Timestamp,
}

/// What makes a frame valid at one place only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) offset: u64,
}

/// Odd, with bits all over: those of MurmurHash3's finalizer, and 2^64 divided by the golden ratio.
const FACTORS: [u64; 3] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53, 0x9e37_79b9_7f4a_7c15];

impl Header {
    /// A product carries what changed upwards only, so of the top bits little is left in it. They are turned into the middle, each
    /// word's to a place of its own, where they do not meet, and multiplied once more.
    #[inline]
    fn hash(&self, place: Place) -> u64 {
        let first = u64::from(self.word.0) | u64::from(self.witness) << 32;
        let salt = if mutants::on(Mutant::NoSalt) { 0 } else { place.salt };
        let offset = if mutants::on(Mutant::NoOffset) { 0 } else { place.offset };
        let left = (salt.wrapping_add(offset) ^ first).wrapping_mul(FACTORS[0]);
        let right = (self.ingest.as_nanos() as u64).wrapping_mul(FACTORS[1]);
        (left.rotate_left(16) ^ right.rotate_left(48)).wrapping_mul(FACTORS[2])
    }

    /// The header's bytes, before a payload whose CRC-32 is `crc`.
    #[inline]
    pub(crate) fn encode(&self, place: Place, crc: u32) -> [u8; HEADER] {
        let hash = self.hash(place);
        let mut bytes = [0; HEADER];
        LE::write_u32(&mut bytes[0..], self.word.0);
        LE::write_u32(&mut bytes[4..], self.witness);
        LE::write_i64(&mut bytes[8..], self.ingest.as_nanos());
        LE::write_u32(&mut bytes[16..], (hash >> 32) as u32);
        LE::write_u32(&mut bytes[20..], crc ^ hash as u32);
        bytes
    }

    /// Reads a header and checks it against its place. `None`: these bytes are no frame's header here.
    #[inline]
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Option<Header> {
        Header::decode_sealed(bytes, place).map(|(header, _)| header)
    }

    /// As [`decode`](Header::decode), with what the CRC-32 of the payload must be.
    #[inline]
    fn decode_sealed(bytes: &[u8], place: Place) -> Option<(Header, u32)> {
        let (header, crc) = Header::unseal(bytes, place)?;
        let is_frame = !header.word.is_claimed() && header.word.kind().is_some();
        is_frame.then_some((header, crc))
    }

    /// A header that holds at its place, whatever it is of, and what the CRC-32 of its payload must be.
    #[inline(always)]
    fn unseal(bytes: &[u8], place: Place) -> Option<(Header, u32)> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let header = Header {
            word: Word(LE::read_u32(&bytes[0..])),
            witness: LE::read_u32(&bytes[4..]),
            ingest: Timestamp::from_nanos(LE::read_i64(&bytes[8..])),
        };
        let hash = header.hash(place);
        let holds = (hash >> 32) as u32 == LE::read_u32(&bytes[16..]) && HEADER <= header.word.length();
        holds.then(|| (header, LE::read_u32(&bytes[20..]) ^ hash as u32))
    }

    /// Reads the header of a frame that was checked before.
    #[inline]
    pub(crate) fn of_checked(bytes: &[u8]) -> Header {
        let bytes = bytes.first_chunk::<HEADER>().expect("a checked frame has a header");
        Header {
            word: Word(LE::read_u32(&bytes[0..])),
            witness: LE::read_u32(&bytes[4..]),
            ingest: Timestamp::from_nanos(LE::read_i64(&bytes[8..])),
        }
    }

    /// How far back the log was durable when this was written; `None` where too far to say.
    pub(crate) fn durable(&self, offset: u64) -> Option<u64> {
        (self.witness != u32::MAX).then(|| offset.saturating_sub(u64::from(self.witness) * ALIGN as u64))
    }
}

/// The witness of a frame at `offset` of a log that is durable up to `durable`.
#[inline]
pub(crate) fn witness(offset: u64, durable: u64) -> u32 {
    (offset.saturating_sub(durable) / ALIGN as u64).min(u32::MAX.into()) as u32
}

/// Makes a whole frame that has no payload but `payload`: a mark, not a record.
pub(crate) fn mark(kind: Kind, length: usize, payload: &[u8], ingest: Timestamp, place: Place) -> Vec<u8> {
    let header = Header { word: Word::new(kind, length), witness: u32::MAX, ingest };
    [&header.encode(place, crc32fast::hash(payload))[..], payload].concat()
}

/// One valid frame, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    /// Metadata and body of a record, number and id of an epoch; empty for the other marks.
    pub(crate) payload: &'a [u8],
}

/// Why the bytes at a place are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The word is zero: nothing was written here.
    Empty,
    /// Claimed and never committed; the bytes the claim covers, if a writer can have claimed that many and they fit.
    Claimed(usize),
    /// Anything else.
    Invalid,
}

/// Reads and checks the frame that begins at `bytes[0]`, at `place`.
///
/// A length is compared with the bytes at hand before anything is sliced; nothing is allocated.
// A scan does little else: a call, and a frame handed over in memory, were a tenth of its time.
#[inline(always)]
pub(crate) fn parse(bytes: &[u8], place: Place) -> Result<Frame<'_>, Bad> {
    let Some((header, crc)) = Header::decode_sealed(bytes, place) else { return Err(why_bad(bytes)) };
    let payload = payload(header.word, bytes).ok_or(Bad::Invalid)?;
    let sound = crc32fast::hash(payload) == crc && is_well_formed(header.word, payload);
    if sound { Ok(Frame { header, payload }) } else { Err(Bad::Invalid) }
}

/// Checks records one after the other. Which instructions the processor has for that is asked once.
#[derive(Debug, Default)]
pub(crate) struct Checker(crc32fast::Hasher);

impl Checker {
    /// Checks the record that begins at `bytes[0]`, at `place`: its word, where [`parse`] would find the same. A scan asks this
    /// and nothing else as long as one record follows another, with no marks told apart on the way.
    #[inline(always)]
    pub(crate) fn record(&self, bytes: &[u8], place: Place) -> Option<Word> {
        let (Header { word, .. }, expected) = Header::unseal(bytes, place)?;
        let payload = record_payload(word, bytes)?;
        let mut crc = self.0.clone();
        crc.update(payload);
        (crc.finalize() == expected && has_sound_meta(word, payload)).then_some(word)
    }
}

/// As [`Checker::record`], by the header alone: see [`glance`].
#[inline(always)]
pub(crate) fn glance_record(bytes: &[u8], place: Place) -> Option<Word> {
    let (Header { word, .. }, _) = Header::unseal(bytes, place)?;
    let payload = record_payload(word, bytes)?;
    has_sound_meta(word, payload).then_some(word)
}

/// The payload of a frame that is a record and lies whole in `bytes`.
#[inline(always)]
fn record_payload(word: Word, bytes: &[u8]) -> Option<&[u8]> {
    let is_record = word.0 & (CLAIMED | KIND) == (Kind::Record as u32) << KIND_SHIFT;
    if is_record { bytes.get(HEADER..word.length()) } else { None }
}

#[inline(always)]
fn has_sound_meta(word: Word, payload: &[u8]) -> bool {
    !word.has_meta() || Meta::parse(payload).is_some()
}

/// Reads the frame that begins at `bytes[0]` by its header alone: what is not covered by the header's hash is only
/// checked for its form.
#[inline]
pub(crate) fn glance(bytes: &[u8], place: Place) -> Option<Frame<'_>> {
    let header = Header::decode(bytes, place)?;
    let payload = payload(header.word, bytes)?;
    is_well_formed(header.word, payload).then_some(Frame { header, payload })
}

/// The payload of the frame that begins at `bytes[0]`, if it is all there.
#[inline]
fn payload(word: Word, bytes: &[u8]) -> Option<&[u8]> {
    match word.kind()? {
        Kind::Record | Kind::Epoch => bytes.get(HEADER..word.length()),
        // Marks are sealed without what they cover; what they cover must be there all the same.
        Kind::Batch | Kind::Void | Kind::Lost => (word.length() <= bytes.len()).then_some(&[]),
    }
}

#[inline]
fn is_well_formed(word: Word, payload: &[u8]) -> bool {
    match word.kind() {
        Some(Kind::Record) => !word.has_meta() || Meta::parse(payload).is_some(),
        Some(Kind::Epoch) => payload.len() == EPOCH_BYTES - HEADER,
        _ => true,
    }
}

#[cold]
fn why_bad(bytes: &[u8]) -> Bad {
    if bytes.len() < HEADER {
        return if bytes.iter().all(|byte| *byte == 0) { Bad::Empty } else { Bad::Invalid };
    }
    let word = Word(LE::read_u32(bytes));
    if word.0 == 0 {
        Bad::Empty
    } else if word.is_claimed() && (HEADER..=MAX_FRAME).contains(&word.length()) && word.span() <= bytes.len()
    {
        Bad::Claimed(word.span())
    } else {
        Bad::Invalid
    }
}

impl<'a> Frame<'a> {
    pub(crate) fn kind(&self) -> Kind {
        self.header.word.kind().expect("a parsed frame has a kind")
    }

    /// The parts of a record.
    #[inline]
    pub(crate) fn record(&self) -> Fields<'a> {
        split(self.header.word, self.payload)
    }

    /// Number and id of the epoch that an epoch frame begins.
    pub(crate) fn epoch(&self) -> crate::format::Epoch {
        crate::format::Epoch { number: LE::read_u64(self.payload), id: LE::read_u64(&self.payload[8..]) }
    }
}

/// What a record says beside its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) level: Option<Level>,
    pub(crate) meta: Option<Meta<'a>>,
}

/// Splits the payload of a record that `parse` accepted.
#[inline]
pub(crate) fn split(word: Word, payload: &[u8]) -> Fields<'_> {
    Fields { level: word.level(), meta: meta(word, payload) }
}

/// The metadata in a record's payload that `parse` accepted.
pub(crate) fn meta(word: Word, payload: &[u8]) -> Option<Meta<'_>> {
    word.has_meta().then(|| Meta::parse(payload).expect("parse checks the metadata"))
}

/// The body in a record's payload that `parse` accepted.
#[inline(always)]
pub(crate) fn body(word: Word, payload: &[u8]) -> &[u8] {
    // The length of all metadata is its first field.
    if word.has_meta() { &payload[LE::read_u32(payload) as usize..] } else { payload }
}

/// The event time in a record's payload that `parse` accepted.
#[inline]
pub(crate) fn event_time(word: Word, payload: &[u8]) -> Option<Timestamp> {
    let flagged = word.has_meta() && payload[4] == 1;
    flagged.then(|| Timestamp::from_nanos(LE::read_i64(&payload[META_HEADER..])))
}

/// The service in a record's payload that `parse` accepted, as bytes.
#[inline]
pub(crate) fn service(word: Word, payload: &[u8]) -> Option<&[u8]> {
    if !word.has_meta() || payload[5] == 0 {
        return None;
    }
    let start = META_HEADER + if payload[4] == 1 { 8 } else { 0 };
    Some(&payload[start..][..usize::from(payload[5])])
}

/// Keys and values of the attributes in a record's payload that `parse` accepted, as bytes.
#[inline]
pub(crate) fn attributes(word: Word, payload: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest: &[u8] = &[];
    if word.has_meta() {
        let start = META_HEADER + if payload[4] == 1 { 8 } else { 0 } + usize::from(payload[5]);
        rest = &payload[start..LE::read_u32(payload) as usize];
    }
    std::iter::from_fn(move || {
        let sizes = rest.split_off(..3)?;
        let key = rest.split_off(..usize::from(sizes[0])).expect("parse checked the lengths");
        let value = rest.split_off(..usize::from(LE::read_u16(&sizes[1..])));
        Some((key, value.expect("parse checked the lengths")))
    })
}

/// A record's metadata, in front of its body.
///
/// | at | bytes | field   | what it is                                                            |
/// |----|-------|---------|-----------------------------------------------------------------------|
/// | 0  | 4     | bytes   | length of all metadata                                                |
/// | 4  | 1     | flags   | bit 0: an event time follows; the others are 0                        |
/// | 5  | 1     | service | length of the service's name, 0 for none                              |
/// | 6  | 1     | count   | number of attributes                                                  |
/// | 7  | 1     | zero    | 0                                                                     |
/// | 8  | ..    |         | event time (8, if flagged), service, attributes                       |
///
/// An attribute is one byte for the key's length, two for the value's, the key, the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta<'a> {
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) service: Option<&'a str>,
    attributes: &'a [u8],
}

impl<'a> Meta<'a> {
    fn parse(payload: &'a [u8]) -> Option<Meta<'a>> {
        let head = payload.first_chunk::<META_HEADER>()?;
        let bytes = LE::read_u32(head) as usize;
        let mut rest = payload.get(META_HEADER..bytes)?;
        if head[4] > 1 || head[7] != 0 {
            return None;
        }
        let mut event_time = None;
        if head[4] == 1 {
            event_time = Some(Timestamp::from_nanos(LE::read_i64(rest.split_off(..8)?)));
        }
        let service = std::str::from_utf8(rest.split_off(..usize::from(head[5]))?).ok()?;
        let attributes = rest;
        for _ in 0..head[6] {
            let sizes = rest.split_off(..3)?;
            std::str::from_utf8(rest.split_off(..usize::from(sizes[0]))?).ok()?;
            std::str::from_utf8(rest.split_off(..usize::from(LE::read_u16(&sizes[1..])))?).ok()?;
        }
        let service = (!service.is_empty()).then_some(service);
        rest.is_empty().then_some(Meta { event_time, service, attributes })
    }

    /// Keys and values, in the order they were given.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes { rest: self.attributes }
    }
}

/// A record's attributes, in the order they were given.
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let sizes = self.rest.split_off(..3)?;
        let mut text = |bytes: usize| {
            let bytes = self.rest.split_off(..bytes).expect("Meta::parse checked the lengths");
            std::str::from_utf8(bytes).expect("Meta::parse checked the text")
        };
        Some((text(usize::from(sizes[0])), text(usize::from(LE::read_u16(&sizes[1..])))))
    }
}

/// A record that keeps every limit, with the sizes its frame will have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'a> {
    record: &'a Record<'a>,
    meta: usize,
}

impl<'a> Checked<'a> {
    /// Checks the limits. Nothing is allocated.
    #[inline]
    pub(crate) fn new(record: &'a Record<'a>) -> Result<Checked<'a>> {
        if MAX_BODY < record.body.len() {
            return Err(too_large("append a record: bytes of body", MAX_BODY, record.body.len()));
        }
        Ok(Checked { record, meta: if is_bare(record) { 0 } else { meta_bytes(record)? } })
    }

    /// A record that was found to keep every limit before.
    #[inline]
    pub(crate) fn again(record: &'a Record<'a>) -> Checked<'a> {
        let meta = if is_bare(record) { 0 } else { meta_bytes(record).expect("checked before") };
        Checked { record, meta }
    }

    /// Bytes of body and metadata.
    #[inline]
    pub(crate) fn payload(&self) -> usize {
        self.meta + self.record.body.len()
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::record(HEADER + self.payload(), self.record.level, self.meta != 0)
    }

    /// Hands header and payload to `put`, piece by piece, each with the place it has in the frame.
    /// The source is checksummed before it is copied: that is twice as fast as reading the copy back.
    /// Not sooner: beside the header's hash and the copy it costs less than in a pass of its own before the claim.
    pub(crate) fn write(
        &self,
        place: Place,
        witness: u32,
        ingest: Timestamp,
        mut put: impl FnMut(usize, &[u8]),
    ) {
        if let Some((header, body)) = self.bare(place, witness, ingest) {
            put(HEADER, body);
            return put(0, &header);
        }
        let mut crc = hasher();
        let mut at = HEADER;
        self.pieces(|piece| {
            crc.update(piece);
            put(at, piece);
            at += piece.len();
        });
        crc.update(self.record.body);
        put(at, self.record.body);
        let header = Header { word: self.word(), witness, ingest };
        put(0, &header.encode(place, crc.finalize()));
    }

    /// Header and body of a record without metadata, which are all of its frame.
    #[inline(always)]
    pub(crate) fn bare(
        &self,
        place: Place,
        witness: u32,
        ingest: Timestamp,
    ) -> Option<([u8; HEADER], &'a [u8])> {
        if self.meta != 0 {
            return None;
        }
        let body = self.record.body;
        let word = Word::record(HEADER + body.len(), self.record.level, false);
        let mut crc = hasher();
        crc.update(body);
        Some((Header { word, witness, ingest }.encode(place, crc.finalize()), body))
    }

    fn pieces(&self, mut piece: impl FnMut(&[u8])) {
        let Record { event_time, service, attributes, .. } = self.record;
        let mut head = [0; META_HEADER];
        LE::write_u32(&mut head, self.meta as u32);
        head[4] = event_time.is_some().into();
        head[5] = service.map_or(0, str::len) as u8;
        head[6] = attributes.len() as u8;
        piece(&head);
        if let Some(time) = event_time {
            piece(&time.as_nanos().to_le_bytes());
        }
        piece(service.unwrap_or_default().as_bytes());
        for (key, value) in *attributes {
            let mut sizes = [key.len() as u8, 0, 0];
            LE::write_u16(&mut sizes[1..], value.len() as u16);
            piece(&sizes);
            piece(key.as_bytes());
            piece(value.as_bytes());
        }
    }
}

/// Whether a record has no metadata.
#[inline]
fn is_bare(record: &Record<'_>) -> bool {
    record.event_time.is_none() && record.service.is_none() && record.attributes.is_empty()
}

/// A checksum of nothing yet. Which instructions the processor has for one is asked once: asking takes as long as a short
/// record's checksum does.
#[inline]
fn hasher() -> crc32fast::Hasher {
    static NEW: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);
    NEW.clone()
}

/// Checks the limits of a record with metadata: the bytes that takes.
fn meta_bytes(record: &Record<'_>) -> Result<usize> {
    if let Some(service) = record.service {
        if service.is_empty() {
            return Err(Error::invalid("service", "an empty name; leave it out instead"));
        }
        if MAX_SERVICE < service.len() {
            return Err(too_large("append a record: bytes of service", MAX_SERVICE, service.len()));
        }
    }
    if MAX_ATTRIBUTES < record.attributes.len() {
        return Err(too_large("append a record: attributes", MAX_ATTRIBUTES, record.attributes.len()));
    }
    let mut bytes = META_HEADER + record.service.map_or(0, str::len);
    bytes += if record.event_time.is_some() { 8 } else { 0 };
    for (key, value) in record.attributes {
        if key.is_empty() {
            return Err(Error::invalid("attributes", "a key is empty"));
        }
        if MAX_KEY < key.len() {
            return Err(too_large("append a record: bytes of an attribute's key", MAX_KEY, key.len()));
        }
        if MAX_VALUE < value.len() {
            return Err(too_large("append a record: bytes of an attribute's value", MAX_VALUE, value.len()));
        }
        bytes += 3 + key.len() + value.len();
    }
    if MAX_RECORD < bytes + record.body.len() {
        let actual = bytes + record.body.len();
        return Err(too_large("append a record: bytes of body and metadata", MAX_RECORD, actual));
    }
    Ok(bytes)
}

#[cold]
pub(crate) fn too_large(what: &str, limit: usize, actual: usize) -> Error {
    let kind = ErrorKind::TooLarge { limit: limit as u64, actual: actual as u64 };
    Error::new(kind, format!("{what}: {actual}, and {limit} is the limit"))
}
