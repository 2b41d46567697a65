//! The envelope of cold metadata: any serde value, with a magic, a version, a length and a checksum.
//!
//! Little endian:
//!
//! | at | bytes | field   | what it is                                                       |
//! |----|-------|---------|------------------------------------------------------------------|
//! | 0  | 8     | magic   | what kind of value it holds                                      |
//! | 8  | 2     | version | of the value's layout                                            |
//! | 10 | 4     | length  | bytes of the payload                                             |
//! | 14 | 4     | crc     | CRC-32 of the payload, after that of the 14 bytes above          |
//! | 18 | ..    | payload | the value: bincode 1.3.3, fixed integers, little endian          |
//!
//! The envelope itself has no version: a newer payload still proves whole, so that a flipped bit is never
//! taken for a newer version. No other file names the codec.

use bincode::Options;
use byteorder::{ByteOrder, LittleEndian as LE};
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION_AT: usize = 8;
const LENGTH_AT: usize = 10;
const CRC_AT: usize = 14;
/// Bytes before the payload.
pub(crate) const HEADER: usize = 18;
/// Bytes of one payload, at most; the largest legal value, a stream with all its tags, stays far below.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;

/// What kind of value an envelope holds.
pub(crate) type Magic = [u8; 8];

/// Why bytes are not an envelope of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    /// As far as they go they may be one, but they end early.
    Truncated,
    /// They are something else, or damaged.
    Invalid,
    /// They are a whole envelope of this version, which this crate is too old to read.
    NewerVersion(u16),
}

impl std::fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EnvelopeError::Truncated => f.write_str("it ends early"),
            EnvelopeError::Invalid => f.write_str("its checksum or layout is wrong"),
            EnvelopeError::NewerVersion(version) => {
                write!(f, "its version {version} is newer than this crate")
            }
        }
    }
}

/// Puts `value` into an envelope.
///
/// # Panics
/// If the value takes more than [`MAX_PAYLOAD`] bytes: its type's own limits must rule that out.
pub(crate) fn encode<T: Serialize>(magic: Magic, version: u16, value: &T) -> Vec<u8> {
    let payload = codec().serialize(value).expect("metadata below its size limit");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc(&bytes, &payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// Takes the value out of the envelope that `bytes` begins with; also returns how many bytes that was.
pub(crate) fn decode<T: DeserializeOwned>(
    magic: Magic,
    version: u16,
    bytes: &[u8],
) -> Result<(T, usize), EnvelopeError> {
    if !bytes.starts_with(&magic) {
        return Err(if magic.starts_with(bytes) { EnvelopeError::Truncated } else { EnvelopeError::Invalid });
    }
    if bytes.len() < HEADER {
        return Err(EnvelopeError::Truncated);
    }
    let length = LE::read_u32(&bytes[LENGTH_AT..]) as usize;
    if length > MAX_PAYLOAD {
        return Err(EnvelopeError::Invalid);
    }
    let payload = bytes[HEADER..].get(..length).ok_or(EnvelopeError::Truncated)?;
    if LE::read_u32(&bytes[CRC_AT..]) != crc(&bytes[..CRC_AT], payload) {
        return Err(EnvelopeError::Invalid);
    }
    match LE::read_u16(&bytes[VERSION_AT..]) {
        found if found == version => {}
        found if found > version => return Err(EnvelopeError::NewerVersion(found)),
        _ => return Err(EnvelopeError::Invalid),
    }
    let value = codec().deserialize(payload).map_err(|_| EnvelopeError::Invalid)?;
    Ok((value, HEADER + length))
}

fn crc(before: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(payload);
    hasher.finalize()
}

fn codec() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(MAX_PAYLOAD as u64)
        .reject_trailing_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: Magic = *b"\x89TWXX\r\n\x1a";

    type Value = (u32, String, Option<u64>);

    fn value() -> Value {
        (7, "seven".into(), Some(77))
    }

    fn decode_value(bytes: &[u8]) -> Result<(Value, usize), EnvelopeError> {
        decode(MAGIC, 3, bytes)
    }

    #[test]
    fn a_value_comes_back_and_what_follows_it_is_left() {
        let mut bytes = encode(MAGIC, 3, &value());
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        assert_eq!(decode_value(&bytes), Ok((value(), length)));
    }

    #[test]
    fn the_layout_is_the_one_in_the_table() {
        let bytes = encode(MAGIC, 3, &0xAABB_CCDD_u32);
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&[3, 0, 4, 0, 0, 0]);
        let crc = crc32fast::hash(&[&expected[..], &[0xDD, 0xCC, 0xBB, 0xAA]].concat());
        assert_eq!((VERSION_AT, LENGTH_AT, CRC_AT), (8, 10, expected.len()));
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(HEADER, expected.len());
        expected.extend_from_slice(&[0xDD, 0xCC, 0xBB, 0xAA]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(MAGIC, 3, &value());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let err = decode_value(&flipped).unwrap_err();
            // A longer length runs past the end; nothing else may pass for an unfinished write.
            let in_length = (LENGTH_AT..CRC_AT).contains(&(bit / 8));
            assert!(
                err == EnvelopeError::Invalid || in_length && err == EnvelopeError::Truncated,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_prefix_is_truncated() {
        let bytes = encode(MAGIC, 3, &value());
        for length in 0..bytes.len() {
            assert_eq!(decode_value(&bytes[..length]), Err(EnvelopeError::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn another_kind_version_or_layout_is_refused() {
        let other = *b"\x89TWYY\r\n\x1a";
        assert_eq!(decode_value(&encode(other, 3, &value())), Err(EnvelopeError::Invalid));
        assert_eq!(decode_value(&encode(MAGIC, 4, &value())), Err(EnvelopeError::NewerVersion(4)));
        assert_eq!(decode_value(&encode(MAGIC, 2, &value())), Err(EnvelopeError::Invalid));
        assert_eq!(decode_value(&encode(MAGIC, 3, &(value(), 1u8))), Err(EnvelopeError::Invalid));
        let mut huge = encode(MAGIC, 3, &value());
        huge[LENGTH_AT..CRC_AT].fill(0xFF);
        assert_eq!(decode_value(&huge), Err(EnvelopeError::Invalid));
    }
}
