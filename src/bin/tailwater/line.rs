//! What one line of input means: text, JSON or logfmt in, the parts of a record out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tailwater::{Level, MAX_ATTRIBUTES, MAX_KEY, MAX_SERVICE, MAX_VALUE, Timestamp};

use crate::args::Format;
use crate::when;

/// The parts of one record, owned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pub body: Vec<u8>,
    pub event_time: Option<Timestamp>,
    pub level: Option<Level>,
    pub service: Option<String>,
    pub attributes: Vec<(String, String)>,
}

/// How far a line could be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As far as its format says.
    Whole,
    /// Not at all: it has another shape, and is the body as it stands.
    OtherShape,
    /// Its values do not fit into attributes, so the line is the body as it stands.
    TooMuch,
}

const LEVEL: [&str; 3] = ["level", "severity", "lvl"];
const SERVICE: [&str; 2] = ["service", "service.name"];
const TIME: [&str; 4] = ["time", "timestamp", "ts", "@timestamp"];
const MESSAGE: [&str; 3] = ["message", "msg", "body"];

/// Takes `line` apart as `format` says. `spare` attributes of a record are spoken for. Never fails: what does not fit is
/// kept as the body, so that one line is one record whatever it holds.
pub fn parse(format: Format, line: &[u8], spare: usize) -> (Line, Fit) {
    let pairs = match format {
        Format::Text => return (Line { body: line.to_vec(), ..Line::default() }, Fit::Whole),
        Format::Jsonl => json(line),
        Format::Logfmt => logfmt(line),
    };
    match pairs {
        Some(pairs) => lift(line, pairs, spare),
        None => (Line { body: line.to_vec(), ..Line::default() }, Fit::OtherShape),
    }
}

/// Moves what a record has a place for to that place. A value its place cannot take, such as a level nobody
/// knows, stays an attribute.
fn lift(line: &[u8], mut pairs: Vec<(String, String)>, spare: usize) -> (Line, Fit) {
    let level = take(&mut pairs, &LEVEL, level);
    let service =
        take(&mut pairs, &SERVICE, |text| (1..=MAX_SERVICE).contains(&text.len()).then(|| text.to_owned()));
    let event_time = take(&mut pairs, &TIME, |text| when::rfc_3339(text).or_else(|| when::epoch(text)));
    let holds =
        |(key, value): &(String, String)| (1..=MAX_KEY).contains(&key.len()) && value.len() <= MAX_VALUE;
    let message = take(&mut pairs, &MESSAGE, |text| Some(text.as_bytes().to_vec()));
    if MAX_ATTRIBUTES < pairs.len() + spare || !pairs.iter().all(holds) {
        let whole = Line { body: line.to_vec(), event_time, level, service, attributes: Vec::new() };
        return (whole, Fit::TooMuch);
    }
    let body = message.unwrap_or_else(|| line.to_vec());
    (Line { body, event_time, level, service, attributes: pairs }, Fit::Whole)
}

/// Takes the first pair out whose key is one of `keys` (the earlier, the better) and whose value reads as a `T`.
fn take<T>(pairs: &mut Vec<(String, String)>, keys: &[&str], read: impl Fn(&str) -> Option<T>) -> Option<T> {
    for wanted in keys {
        for (index, (key, value)) in pairs.iter().enumerate() {
            if key == wanted
                && let Some(value) = read(value)
            {
                pairs.remove(index);
                return Some(value);
            }
        }
    }
    None
}

/// A level by name, or by the numbers bunyan and pino write.
fn level(text: &str) -> Option<Level> {
    match text {
        "10" => Some(Level::Trace),
        "20" => Some(Level::Debug),
        "30" => Some(Level::Info),
        "40" => Some(Level::Warn),
        "50" => Some(Level::Error),
        "60" => Some(Level::Fatal),
        _ => text.parse().ok(),
    }
}

/// The members of the JSON object `line` is, in order, repeated keys included.
fn json(line: &[u8]) -> Option<Vec<(String, String)>> {
    let Members(members) = serde_json::from_slice(line).ok()?;
    let text = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(members.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// An object's members as they come; a map would drop all but the last of a repeated key.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The pairs of `key=value` and `key="quoted \"value\""` that make up all of `line`; `None` if it holds anything
/// else, so that prose with one `=` in it is not torn into attributes.
fn logfmt(line: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || key.contains([' ', '\t', '"']) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find([' ', '\t']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        if !after.is_empty() && !after.starts_with([' ', '\t']) {
            return None;
        }
        pairs.push((key.to_owned(), value));
        rest = after.trim_start_matches([' ', '\t']);
    }
    if pairs.is_empty() { None } else { Some(pairs) }
}

/// The value before the closing quote, and what follows the quote. Escapes are those of JSON strings.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = quoted.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    let (inside, after) = (&quoted[..end], &quoted[end + 1..]);
    let value = if inside.contains('\\') {
        serde_json::from_str(&format!("\"{inside}\"")).ok()?
    } else {
        inside.to_owned()
    };
    Some((value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as one line: `time|level|service|k=v,k=v|body`.
    #[track_caller]
    fn check(format: Format, line: &str, fit: Fit, expected: &str) {
        let (parsed, actual) = parse(format, line.as_bytes(), 0);
        let attributes: Vec<_> =
            parsed.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let time = parsed.event_time.map(|time| time.to_string()).unwrap_or_default();
        let level = parsed.level.map(Level::as_str).unwrap_or_default();
        let service = parsed.service.as_deref().unwrap_or_default();
        let body = String::from_utf8_lossy(&parsed.body);
        let text = format!("{time}|{level}|{service}|{}|{body}", attributes.join(","));
        assert_eq!((actual, text.as_str()), (fit, expected));
    }

    #[test]
    fn json_lifts_what_a_record_has_a_place_for() {
        use Fit::{OtherShape, TooMuch, Whole};
        let check = |line: &str, fit, expected: &str| check(Format::Jsonl, line, fit, expected);
        check(
            r#"{"ts":1768464000,"level":"WARN","service":"api","msg":"slow","n":3,"x":{"a": [1]}}"#,
            Whole,
            r#"2026-01-15T08:00:00Z|warn|api|n=3,x={"a":[1]}|slow"#,
        );
        check(r#"{"lvl":50,"body":"","k":null}"#, Whole, "|error||k=null|");
        check(
            r#"{"level":"odd","time":"noon"}"#,
            Whole,
            r#"|||level=odd,time=noon|{"level":"odd","time":"noon"}"#,
        );
        check(r#"{"k":1,"k":2,"msg":"m"}"#, Whole, "|||k=1,k=2|m");
        check(
            r#"{"n":123456789012345678901234567890.10,"msg":""}"#,
            Whole,
            "|||n=123456789012345678901234567890.10|",
        );
        check("[1]", OtherShape, "||||[1]");
        check("", OtherShape, "||||");
        check(r#"{"a":1} x"#, OtherShape, r#"||||{"a":1} x"#);
        check(r#"{"level":"info","":1}"#, TooMuch, r#"|info|||{"level":"info","":1}"#);
        let long = format!(r#"{{"msg":"m","k":"{}"}}"#, "v".repeat(MAX_VALUE + 1));
        check(&long, TooMuch, &format!("||||{long}"));
    }

    #[test]
    fn logfmt_is_pairs_and_nothing_but_pairs() {
        use Fit::{OtherShape, Whole};
        let check = |line: &str, fit, expected: &str| check(Format::Logfmt, line, fit, expected);
        check(
            r#"time=2026-01-15T08:00:00Z level=err msg="say \"hi\"" a= b=c=d"#,
            Whole,
            r#"2026-01-15T08:00:00Z|error||a=,b=c=d|say "hi""#,
        );
        check("service.name=db k=v", Whole, "||db|k=v|service.name=db k=v");
        for prose in ["", " ", "plain words", "a word k=v", "k=v word", r#"k="open"#, r#"k="v"w"#, "=v"] {
            check(prose, OtherShape, &format!("||||{prose}"));
        }
    }

    #[test]
    fn a_record_keeps_room_for_the_attributes_given_to_all() {
        let line: Vec<_> = (0..MAX_ATTRIBUTES).map(|index| format!("k{index}=v")).collect();
        let line = line.join(" ");
        assert_eq!(parse(Format::Logfmt, line.as_bytes(), 0).1, Fit::Whole);
        assert_eq!(parse(Format::Logfmt, line.as_bytes(), 1).1, Fit::TooMuch);
    }
}
