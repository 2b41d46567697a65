//! Names, ids, tags and TTLs: what parses is what was written, and comes back from every form it is kept in.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::de::value::Error as Refused;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use crate::format::envelope::{self, Magic};
use crate::segment::{file_name, parse_file_name};
use crate::{GroupId, GroupName, SessionId, StreamId, StreamName, Tags, TenantId, TtlDays, UserId};

const MAGIC: Magic = *b"\x89TWXX\r\n\x1a";
/// Between the keys and values of tags.
const BETWEEN: char = '\n';

/// Which type (1 byte), then its text.
pub fn name_codec(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let plain = |more: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b));
    let fits = (1..=64).contains(&text.len());
    let edges = !text.starts_with(['.', '_']) && !text.ends_with('.');
    match kind % 8 {
        0 => check::<StreamName>(text, fits && plain("-_.") && edges, StreamName::as_str),
        1 => check::<GroupName>(text, fits && plain("-_.") && edges, GroupName::as_str),
        2 => check::<TenantId>(text, fits && plain("-_"), TenantId::as_str),
        3 => check::<UserId>(text, fits && plain("-_.:@"), UserId::as_str),
        4 => {
            check_id::<StreamId>(text);
            check_id::<GroupId>(text);
            check_id::<SessionId>(text);
        }
        5 => check_days(text),
        6 => check_tags(text),
        _ => {
            if let Some(base) = parse_file_name(text) {
                assert_eq!(file_name(base), text, "a segment's name is written in one way");
            }
        }
    }
}

/// Parsing succeeds exactly where the rule holds, and every form of the value is the same value.
fn check<T>(text: &str, holds: bool, as_str: fn(&T) -> &str)
where
    T: FromStr + TryFrom<String> + Display + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let parsed = text.parse::<T>().ok();
    assert_eq!(parsed.is_some(), holds, "{text:?}");
    let owned = T::try_from(text.to_string()).ok();
    let told: Option<T> = T::deserialize(IntoDeserializer::<Refused>::into_deserializer(text)).ok();
    assert!(owned == parsed && told == parsed, "{text:?} is read in one way");
    let Some(value) = parsed else { return };
    assert_eq!(as_str(&value), text);
    assert_eq!(value.to_string(), text);
    kept(&value);
}

/// The value comes back from an entry, and has one encoding there.
fn kept<T: PartialEq + Debug + Serialize + DeserializeOwned>(value: &T) {
    let bytes = envelope::encode(MAGIC, 1, value);
    let (again, used) = envelope::decode::<T>(MAGIC, 1, &bytes).expect("what is kept can be read");
    assert_eq!((&again, used), (value, bytes.len()));
}

fn check_id<T>(text: &str)
where
    T: FromStr + Display + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let is_id = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let parsed = text.parse::<T>().ok();
    assert_eq!(parsed.is_some(), text.len() == 36 && text.bytes().enumerate().all(is_id), "{text:?}");
    let Some(id) = parsed else { return };
    assert_eq!(id.to_string(), text.to_ascii_lowercase());
    kept(&id);
}

fn check_days(text: &str) {
    let Ok(days) = text.parse::<i64>() else { return };
    let made = TtlDays::try_from(days).ok();
    let told = TtlDays::deserialize(IntoDeserializer::<Refused>::into_deserializer(days)).ok();
    let counted = u16::try_from(days).ok().and_then(|days| TtlDays::new(days).ok());
    assert_eq!(made.map(i64::from), (1..=365).contains(&days).then_some(days));
    assert!(told == made && counted == made, "{days} is read in one way");
    let Some(ttl) = made else { return };
    assert_eq!(ttl.to_string(), days.to_string());
    assert_eq!(ttl.as_duration().as_secs(), days as u64 * 86_400);
    kept(&ttl);
}

fn check_tags(text: &str) {
    let texts: Vec<&str> = text.split(BETWEEN).collect();
    let pairs: Vec<(&str, &str)> =
        texts.chunks(2).map(|pair| (pair[0], pair.get(1).copied().unwrap_or(""))).collect();
    let allowed = |text: &str, more: &str| {
        text.chars()
            .all(|c| c.is_alphabetic() || c.is_ascii_digit() || " _.:=+-@".contains(c) || more.contains(c))
    };
    let holds = |&(key, value): &(&str, &str)| {
        let lengths = (1..=128).contains(&key.chars().count()) && value.chars().count() <= 255;
        let once = pairs.iter().filter(|(other, _)| *other == key).count() == 1;
        lengths && once && allowed(key, "") && allowed(value, "/") && !key.starts_with('_')
    };
    let made = Tags::new(pairs.iter().copied()).ok();
    assert_eq!(made.is_some(), pairs.len() <= Tags::MAX && pairs.iter().all(holds), "{pairs:?}");
    let Some(tags) = made else { return };
    assert!(tags.iter().eq(pairs.iter().copied()) && tags.len() == pairs.len() && !tags.is_empty());
    assert!(pairs.iter().all(|(key, value)| tags.get(key) == Some(value)));
    kept(&tags);
}
