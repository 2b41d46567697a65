//! Records and gaps as they are printed: for people, as JSON, or raw.

use std::fmt;

use anstyle::AnsiColor;
use data_encoding::BASE64;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;
use tailwater::{Gap, RecordRef, Timestamp};

use crate::args::Output;
use crate::failure::Result;
use crate::print::{self, DIM, Escaped, Out};

/// Prints one record.
pub fn record(out: &mut Out, format: Output, record: &RecordRef<'_>) -> Result<()> {
    match format {
        Output::Text => text(out, record),
        Output::Json => out.json(&Json(record)),
        Output::Raw => {
            out.bytes(record.body())?;
            out.bytes(b"\n")
        }
    }
}

/// Prints a gap where those who read this format look for it.
pub fn gap(out: &mut Out, format: Output, gap: &Gap) -> Result<()> {
    if format == Output::Json {
        return out.json(&json!({"gap": {
            "start": gap.start,
            "end": gap.end,
            "bytes": gap.bytes(),
            "reason": gap.reason,
            "cursor": gap.cursor,
        }}));
    }
    // Keeps its place among the records when both go to one terminal.
    out.flush()?;
    let sentence = format!(
        "{} bytes of the log are not here, offsets {}..{}: {}",
        gap.bytes(),
        gap.start,
        gap.end,
        gap.reason
    );
    print::complain("gap", AnsiColor::Yellow.on_default().bold(), sentence);
    Ok(())
}

/// Prints the position reached, for `--show-cursor`.
pub fn cursor(out: &mut Out, format: Output, cursor: impl fmt::Display + Serialize) -> Result<()> {
    match format {
        Output::Text => out.line(format_args!("-- cursor: {cursor}")),
        Output::Json => out.json(&json!({ "cursor": cursor })),
        // Standard output holds the bodies and nothing else.
        Output::Raw => {
            print::complain("-- cursor", DIM, cursor);
            Ok(())
        }
    }
}

/// `TIME LEVEL service: body key=value`, without what the record does not have.
fn text(out: &mut Out, record: &RecordRef<'_>) -> Result<()> {
    let dim = out.styled(DIM);
    let time = millis(record.event_time().unwrap_or(record.ingest_time()));
    out.print(format_args!("{dim}{time}{dim:#} "))?;
    if let Some(level) = record.level() {
        let style = out.styled(print::level_style(level));
        let name = level.as_str().to_uppercase();
        out.print(format_args!("{style}{name:5}{style:#} "))?;
    }
    if let Some(service) = record.service() {
        let style = out.styled(AnsiColor::Cyan.on_default());
        out.print(format_args!("{style}{}:{style:#} ", Escaped(service.as_bytes())))?;
    }
    out.print(format_args!("{}", Escaped(record.body())))?;
    for (key, value) in record.attributes() {
        let (key, quote) = (Escaped(key.as_bytes()), needs_quotes(value));
        let value = if quote { quoted(value) } else { value.to_owned() };
        out.print(format_args!(" {dim}{key}={}{dim:#}", Escaped(value.as_bytes())))?;
    }
    out.bytes(b"\n")
}

/// A time to the millisecond, so that lines align.
fn millis(time: Timestamp) -> String {
    let text = time.to_string();
    let (seconds, fraction) =
        text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<3.3}Z")
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains([' ', '\t', '"', '='])
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A record as an object. A body that is not UTF-8 comes twice: readable in `body`, exact in `body_base64`.
struct Json<'a>(&'a RecordRef<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("cursor", &record.cursor())?;
        map.serialize_entry("offset", &record.offset())?;
        map.serialize_entry("timestamp", &Rfc3339(record.ingest_time()))?;
        if let Some(time) = record.event_time() {
            map.serialize_entry("event_time", &Rfc3339(time))?;
        }
        map.serialize_entry("level", &record.level())?;
        map.serialize_entry("service", &record.service())?;
        map.serialize_entry("attributes", &Attributes(record))?;
        map.serialize_entry("body", &String::from_utf8_lossy(record.body()))?;
        if std::str::from_utf8(record.body()).is_err() {
            map.serialize_entry("body_base64", &BASE64.encode(record.body()))?;
        }
        map.end()
    }
}

/// A time as JSON has it here, whatever the engine's own form is.
pub struct Rfc3339(pub Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The attributes as an object; of a key that repeats, the members repeat as well.
struct Attributes<'a>(&'a RecordRef<'a>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.attributes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_align_at_the_millisecond() {
        let text = |nanos| millis(Timestamp::from_nanos(nanos));
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_234_567_890), "1970-01-01T00:00:01.234Z");
        assert_eq!(text(50_000_000), "1970-01-01T00:00:00.050Z");
    }
}
