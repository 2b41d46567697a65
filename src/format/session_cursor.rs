//! A session's cursor: one position in the order of many streams, as bytes and text.
//!
//! | at | bytes | field        | what it is                                                          |
//! |----|-------|--------------|---------------------------------------------------------------------|
//! | 0  | 1     | version      | 2                                                                   |
//! | 1  | 16    | store        | the store's id                                                      |
//! | 17 | 8     | store epoch  | number of the store's epoch in force at the ingest time             |
//! | 25 | 8     | its id       | of the same                                                         |
//! | 33 | 8     | ingest       | ingest time of the last consumed record, sign bit flipped           |
//! | 41 | 16    | stream       | its stream; all ones behind every record of that time               |
//! | 57 | 8     | offset       | first byte of that stream not consumed; all ones likewise           |
//! | 65 | 8     | epoch number | of that stream's epoch in force just before the offset, else 0      |
//! | 73 | 8     | epoch id     | of the same                                                         |
//! | 81 | 1     | flags        | 0                                                                   |
//! | 82 | 4     | crc          | CRC-32 of the bytes before it                                       |
//!
//! Records of many streams are delivered in the order (ingest time, stream, offset), and a position in it is that triple,
//! however many streams there are. Big endian, then base32hex in lower case: both keep order, so session cursors of one store
//! compare as text in the order of delivery. Two equal positions have one text. The version byte tells it from a stream's cursor.

use std::fmt;
use std::str::FromStr;

use byteorder::{BigEndian as BE, ByteOrder};
use data_encoding::BASE32_DNSSEC;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::format::{Epoch, OFFSETS};
use crate::{Cursor, Error, ErrorKind, Result, StreamId, Timestamp};

/// Bytes of a session's cursor before encoding.
pub(crate) const BYTES: usize = 86;
const VERSION: u8 = 2;
const CRC_AT: usize = 82;
/// Characters of its text.
const TEXT: usize = (BYTES * 8).div_ceil(5);

/// A position of a tail session: immediately after the last record it consumed, in the order (ingest time, stream, offset)
/// of all the streams it covers.
///
/// It is opaque text of 138 characters to whoever keeps it, however many streams there are. Cursors of one store order as
/// sessions deliver, as values and as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionCursor {
    // In the order of the bytes, so that the derived order is that of the text.
    pub(crate) store: Uuid,
    pub(crate) store_epoch: Epoch,
    pub(crate) ingest: Timestamp,
    pub(crate) stream: StreamId,
    pub(crate) offset: u64,
    pub(crate) epoch: Epoch,
}

impl SessionCursor {
    /// The ingest time of the last consumed record.
    pub fn ingest_time(&self) -> Timestamp {
        self.ingest
    }

    /// The stream of the last consumed record; none where the position lies behind every record of its time.
    pub fn stream_id(&self) -> Option<StreamId> {
        (!self.stream.as_uuid().is_max()).then_some(self.stream)
    }

    /// The position behind every record of the time `ingest`.
    pub(crate) fn behind_all(store: Uuid, store_epoch: Epoch, ingest: Timestamp) -> SessionCursor {
        let stream = StreamId::from(Uuid::max());
        SessionCursor { store, store_epoch, ingest, stream, offset: u64::MAX, epoch: Epoch::default() }
    }

    /// The position behind the record that `cursor` stands behind.
    pub(crate) fn behind(store: Uuid, store_epoch: Epoch, cursor: Cursor) -> SessionCursor {
        let Cursor { stream, epoch, offset, ingest } = cursor;
        SessionCursor { store, store_epoch, ingest, stream, offset, epoch }
    }

    /// The position in the stream of the last consumed record.
    pub(crate) fn in_stream(&self) -> Option<Cursor> {
        let SessionCursor { stream, epoch, offset, ingest, .. } = *self;
        self.stream_id().map(|_| Cursor { stream, epoch, offset, ingest })
    }

    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(self.store.as_bytes());
        BE::write_u64(&mut bytes[17..], self.store_epoch.number);
        BE::write_u64(&mut bytes[25..], self.store_epoch.id);
        BE::write_u64(&mut bytes[33..], self.ingest.as_nanos() as u64 ^ 1 << 63);
        bytes[41..57].copy_from_slice(self.stream.as_uuid().as_bytes());
        BE::write_u64(&mut bytes[57..], self.offset);
        BE::write_u64(&mut bytes[65..], self.epoch.number);
        BE::write_u64(&mut bytes[73..], self.epoch.id);
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        BE::write_u32(&mut bytes[CRC_AT..], crc);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<SessionCursor> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let sound = BE::read_u32(&bytes[CRC_AT..]) == crc32fast::hash(&bytes[..CRC_AT]);
        if !sound || bytes[0] != VERSION || bytes[81] != 0 {
            return None;
        }
        let uuid = |at: usize| Uuid::from_slice(&bytes[at..at + 16]).expect("16 bytes");
        let epoch =
            |at: usize| Epoch { number: BE::read_u64(&bytes[at..]), id: BE::read_u64(&bytes[at + 8..]) };
        let (stream, offset) = (StreamId::from(uuid(41)), BE::read_u64(&bytes[57..]));
        let behind_all = stream.as_uuid() == Uuid::max() && offset == u64::MAX;
        if OFFSETS <= offset && !behind_all {
            return None;
        }
        Some(SessionCursor {
            store: uuid(1),
            store_epoch: epoch(17),
            ingest: Timestamp::from_nanos((BE::read_u64(&bytes[33..]) ^ 1 << 63) as i64),
            stream,
            offset,
            epoch: epoch(65),
        })
    }
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT];
        BASE32_DNSSEC.encode_mut(&self.encode(), &mut text);
        f.pad(std::str::from_utf8(&text).expect("base32hex is ASCII"))
    }
}

impl fmt::Debug for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_stream() {
            Some(cursor) => write!(f, "SessionCursor({cursor:?})"),
            None => write!(f, "SessionCursor(behind {})", self.ingest),
        }
    }
}

impl FromStr for SessionCursor {
    type Err = Error;

    /// Reads a session cursor's text. Work and memory are bounded, whatever the text.
    ///
    /// # Errors
    /// `CursorInvalid` where it is not one.
    fn from_str(text: &str) -> Result<SessionCursor> {
        let mut bytes = [0; BYTES];
        let decoded =
            text.len() == TEXT && BASE32_DNSSEC.decode_mut(text.as_bytes(), &mut bytes) == Ok(BYTES);
        decoded.then(|| SessionCursor::decode(&bytes)).flatten().ok_or_else(|| {
            Error::new(ErrorKind::CursorInvalid, "read a session's cursor: the text does not decode as one")
        })
    }
}

impl Serialize for SessionCursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionCursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<SessionCursor, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(ingest: i64, stream: u128, offset: u64) -> SessionCursor {
        SessionCursor {
            store: Uuid::from_u128(7),
            store_epoch: Epoch { number: 3, id: 33 },
            ingest: Timestamp::from_nanos(ingest),
            stream: StreamId::from(Uuid::from_u128(stream)),
            offset,
            epoch: Epoch { number: 1, id: 11 },
        }
    }

    #[test]
    fn a_session_cursor_comes_back_from_its_text_of_at_most_200_characters() {
        for cursor in [cursor(0, 0, 0), cursor(i64::MIN, u128::MAX, u64::MAX), cursor(i64::MAX, 1, 8)] {
            let text = cursor.to_string();
            assert_eq!(text.parse::<SessionCursor>().unwrap(), cursor);
            assert!(
                text.len() == TEXT && TEXT <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            );
        }
    }

    #[test]
    fn texts_compare_as_time_then_stream_then_offset() {
        let behind = SessionCursor::behind_all(
            Uuid::from_u128(7),
            Epoch { number: 3, id: 33 },
            Timestamp::from_nanos(5),
        );
        let in_order =
            [cursor(-1, 9, 80), cursor(5, 1, 80), cursor(5, 2, 0), cursor(5, 2, 8), behind, cursor(6, 0, 0)];
        for pair in in_order.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
    }

    #[test]
    fn every_flipped_bit_of_the_bytes_is_noticed() {
        let bytes = cursor(3, 4096, 8).encode();
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SessionCursor::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_streams_cursor_is_no_session_cursor_and_the_other_way_round() {
        let session = cursor(1, 2, 8);
        let stream = session.in_stream().unwrap();
        assert!(stream.to_string().parse::<SessionCursor>().is_err());
        assert!(session.to_string().parse::<Cursor>().is_err());
    }
}
