//! A cursor's bytes and text.
//!
//! | at | bytes | field        | what it is                                                      |
//! |----|-------|--------------|-----------------------------------------------------------------|
//! | 0  | 1     | version      | 1                                                               |
//! | 1  | 16    | stream       | the stream's id                                                 |
//! | 17 | 8     | epoch number | of the epoch in force just before the offset                    |
//! | 25 | 8     | epoch id     | of the same                                                     |
//! | 33 | 8     | offset       | first byte not consumed                                         |
//! | 41 | 8     | ingest       | ingest time of the record before it, sign bit flipped           |
//! | 49 | 1     | flags        | 0                                                               |
//! | 50 | 4     | crc          | CRC-32 of the bytes before it                                   |
//!
//! Big endian, then base32hex in lower case: both keep order, so cursors of one stream compare as text
//! the way they lie in the log, also across a crash that lost data. Two equal positions have one text.

use std::fmt;
use std::str::FromStr;

use byteorder::{BigEndian as BE, ByteOrder};
use data_encoding::BASE32_DNSSEC;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::format::{Epoch, OFFSETS};
use crate::{Error, ErrorKind, Result, StreamId, Timestamp};

/// Bytes of a cursor before encoding.
pub(crate) const BYTES: usize = 54;
const VERSION: u8 = 1;
const CRC_AT: usize = 50;
/// Characters of a cursor's text.
const TEXT: usize = (BYTES * 8).div_ceil(5);

/// A position in a stream: immediately after the last consumed record.
///
/// It is opaque text to whoever keeps it. It can be resumed by anyone, at any time, for as long as the
/// data lives; when it cannot, the error says why. Cursors of one stream order as they lie in the log, as values and as text.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use tailwater::{Cursor, Record, Start, Store, StreamName, StreamSpec};
///
/// let store = Store::open(dir.path())?;
/// let stream = store.create_stream(StreamSpec::new(StreamName::new("audit")?))?;
/// let text = stream.append(&Record::new("first"))?.cursor().to_string();
/// stream.append(&Record::new("second"))?;
///
/// let cursor: Cursor = text.parse()?;
/// let mut reader = stream.read(Start::Cursor(cursor))?;
/// # let tailwater::Step::Records(batch) = reader.next()? else { panic!() };
/// # assert_eq!(batch.iter().next().unwrap().body(), b"second");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cursor {
    // In the order of the bytes, so that the derived order is that of the text.
    pub(crate) stream: StreamId,
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
    pub(crate) ingest: Timestamp,
}

impl Cursor {
    /// The stream it belongs to.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// The offset of the first byte not consumed; for diagnostics.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The ingest time of the record before the position, or [`Timestamp::MIN`] where there was none.
    pub fn ingest_time(&self) -> Timestamp {
        self.ingest
    }

    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(self.stream.as_uuid().as_bytes());
        BE::write_u64(&mut bytes[17..], self.epoch.number);
        BE::write_u64(&mut bytes[25..], self.epoch.id);
        BE::write_u64(&mut bytes[33..], self.offset);
        BE::write_u64(&mut bytes[41..], self.ingest.as_nanos() as u64 ^ 1 << 63);
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        BE::write_u32(&mut bytes[CRC_AT..], crc);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Cursor> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let sound = BE::read_u32(&bytes[CRC_AT..]) == crc32fast::hash(&bytes[..CRC_AT]);
        if !sound || bytes[0] != VERSION || bytes[49] != 0 {
            return None;
        }
        let stream = StreamId::from(Uuid::from_slice(&bytes[1..17]).expect("16 bytes"));
        let epoch = Epoch { number: BE::read_u64(&bytes[17..]), id: BE::read_u64(&bytes[25..]) };
        let offset = Some(BE::read_u64(&bytes[33..])).filter(|offset| *offset < OFFSETS)?;
        let ingest = Timestamp::from_nanos((BE::read_u64(&bytes[41..]) ^ 1 << 63) as i64);
        Some(Cursor { stream, epoch, offset, ingest })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT];
        BASE32_DNSSEC.encode_mut(&self.encode(), &mut text);
        f.pad(std::str::from_utf8(&text).expect("base32hex is ASCII"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { stream, epoch, offset, ingest } = self;
        write!(f, "Cursor({stream} epoch {}/{:x} offset {offset} after {ingest})", epoch.number, epoch.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Reads a cursor's text. Work and memory are bounded, whatever the text.
    ///
    /// # Errors
    /// `CursorInvalid` where it is not one.
    fn from_str(text: &str) -> Result<Cursor> {
        let mut bytes = [0; BYTES];
        let decoded =
            text.len() == TEXT && BASE32_DNSSEC.decode_mut(text.as_bytes(), &mut bytes) == Ok(BYTES);
        decoded.then(|| Cursor::decode(&bytes)).flatten().ok_or_else(|| {
            Error::new(ErrorKind::CursorInvalid, "read a cursor: the text does not decode as one")
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(number: u64, offset: u64) -> Cursor {
        let stream = StreamId::from(Uuid::from_u128(0x1234_5678_9abc_def0_0fed_cba9_8765_4321));
        Cursor { stream, epoch: Epoch { number, id: 77 }, offset, ingest: Timestamp::from_nanos(-5) }
    }

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        for (number, offset) in [(1, 0), (1, 8), (u64::MAX, OFFSETS - 1), (0, 1 << 40)] {
            let cursor = cursor(number, offset);
            let text = cursor.to_string();
            assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
            assert!(text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn texts_compare_as_positions_do_also_across_epochs() {
        let in_order = [cursor(1, 0), cursor(1, 8), cursor(1, 1 << 33), cursor(2, 16), cursor(300, 0)];
        for pair in in_order.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
    }

    #[test]
    fn every_flipped_bit_of_the_bytes_is_noticed() {
        let bytes = cursor(3, 4096).encode();
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Cursor::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn no_text_but_a_cursors_is_read() {
        let text = cursor(1, 8).to_string();
        let mut wrong = vec![String::new(), "cursor-0000001".into(), "v".repeat(1 << 20), "é".repeat(44)];
        wrong.extend((0..text.len()).map(|cut| text[..cut].to_string()));
        for text in wrong {
            let err = text.parse::<Cursor>().unwrap_err();
            assert_eq!(*err.kind(), ErrorKind::CursorInvalid);
        }
    }
}
