//! `verify`, `repair`, `snapshot`, `stats`, `inspect` and `compact`: looking after a store.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use tailwater::{GroupName, StreamName, StreamStats, TenantId, Timestamp};

use crate::args::Global;
use crate::failure::{Failure, Result};
use crate::print::{BAD, Bytes, Count, Escaped, GOOD, Out, table};
use crate::{open, open_read_only};

/// Checks every byte; the exit code is 1 if any is damaged.
pub fn verify(global: &Global, stream: Option<&str>, out: &mut Out) -> Result<ExitCode> {
    let store = open_read_only(global)?;
    let report = match stream {
        Some(name) => store.stream(name)?.verify()?,
        None => store.verify()?,
    };
    print(global, &report, out)?;
    let sound = report.is_sound();
    if !global.json {
        let (style, verdict) = if sound { (GOOD, "sound") } else { (BAD, "damaged") };
        let style = out.styled(style);
        out.line(format_args!("{style}{verdict}{style:#}"))?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets aside what is damaged.
pub fn repair(global: &Global, out: &mut Out) -> Result<()> {
    print(global, &tailwater::repair(&global.data)?, out)
}

/// Copies the store as it is this moment.
pub fn snapshot(global: &Global, dir: &Path) -> Result<()> {
    Ok(open_read_only(global)?.snapshot(dir)?)
}

/// Describes a segment file; the exit code is 1 if anything in it is damaged.
pub fn inspect(global: &Global, segment_file: &Path, out: &mut Out) -> Result<ExitCode> {
    let report = tailwater::inspect(segment_file)?;
    print(global, &report, out)?;
    Ok(if report.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Applies retention now.
pub fn compact(global: &Global, out: &mut Out) -> Result<()> {
    let store = open(global, false)?;
    let report = store.tick()?;
    store.close()?;
    print(global, &report, out)
}

/// Counts, stream by stream.
pub fn stats(global: &Global, out: &mut Out) -> Result<()> {
    let store = open_read_only(global)?;
    let mut counted = Vec::new();
    for id in store.tenants()? {
        let tenant = store.tenant(&id);
        for group in tenant.groups()? {
            for info in tenant.streams(group.id)? {
                let stats = tenant.stream(group.id, info.id)?.stats()?;
                let path = StreamPath { tenant: id.clone(), group: group.name.clone(), name: info.name };
                counted.push((path, stats));
            }
        }
    }
    let sum = |of: fn(&StreamStats) -> u64| counted.iter().map(|(_, stats)| of(stats)).sum::<u64>();
    let (records, bytes, disk_bytes) =
        (sum(|stats| stats.records), sum(|stats| stats.bytes), sum(|stats| stats.disk_bytes));
    if global.json {
        let streams: Vec<_> = counted.iter().map(|(path, stats)| stream_json(path, stats)).collect();
        return out.json(
            &json!({ "records": records, "bytes": bytes, "disk_bytes": disk_bytes, "streams": streams }),
        );
    }
    let row = |name: &str, records, bytes, disk_bytes, segments: u64, newest: Option<Timestamp>| {
        vec![
            name.to_owned(),
            Count(records).to_string(),
            Bytes(bytes).to_string(),
            Bytes(disk_bytes).to_string(),
            Count(segments).to_string(),
            newest.map_or("-".to_owned(), |time| format!("{:.19}Z", time.to_string())),
        ]
    };
    let mut rows: Vec<_> = counted
        .iter()
        .map(|(path, stats)| {
            row(
                &path.to_string(),
                stats.records,
                stats.bytes,
                stats.disk_bytes,
                stats.segments as u64,
                stats.newest,
            )
        })
        .collect();
    if rows.len() != 1 {
        let newest = counted.iter().filter_map(|(_, stats)| stats.newest).max();
        rows.push(row("(all)", records, bytes, disk_bytes, sum(|stats| stats.segments as u64), newest));
    }
    let headings = ["STREAM", "RECORDS", "BYTES", "ON DISK", "SEGMENTS", "NEWEST"];
    table(out, &headings, &headings[1..5], &rows)
}

/// Where a stream is. Of the group that every store has it prints the stream's name alone.
struct StreamPath {
    tenant: TenantId,
    group: GroupName,
    name: StreamName,
}

impl fmt::Display for StreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StreamPath { tenant, group, name } = self;
        match (tenant.as_str(), group.as_str()) {
            ("default", "default") => write!(f, "{name}"),
            _ => write!(f, "{tenant}/{group}/{name}"),
        }
    }
}

fn stream_json(path: &StreamPath, stats: &StreamStats) -> Value {
    json!({
        "tenant": path.tenant.as_str(),
        "group": path.group.as_str(),
        "name": path.name.as_str(),
        "records": stats.records,
        "bytes": stats.bytes,
        "disk_bytes": stats.disk_bytes,
        "segments": stats.segments,
        "oldest": stats.oldest.map(|time| time.to_string()),
        "newest": stats.newest.map(|time| time.to_string()),
        "log_start": stats.log_start,
        "published": stats.published,
        "durable": stats.durable,
        "readers": stats.readers,
        "poisoned": stats.poisoned,
    })
}

/// Prints a report of the engine: as JSON, or its fields a line each.
fn print(global: &Global, report: &impl Serialize, out: &mut Out) -> Result<()> {
    if global.json {
        return out.json(report);
    }
    let report = serde_json::to_value(report).map_err(|err| Failure::Said(format!("print report: {err}")))?;
    fields(out, &report, 0)
}

/// The fields of `value` a line each, those of what it holds indented below it. Of a list, each item is a line.
fn fields(out: &mut Out, value: &Value, indent: usize) -> Result<()> {
    let space = " ".repeat(indent);
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            let name = name.replace('_', " ");
            match value {
                Value::Array(items) if items.is_empty() => out.line(format_args!("{space}{name}: none")),
                Value::Object(_) | Value::Array(_) => {
                    out.line(format_args!("{space}{name}:"))?;
                    fields(out, value, indent + 2)
                }
                _ => out.line(format_args!("{space}{name}: {}", plain(value))),
            }
        }),
        Value::Array(items) => {
            items.iter().try_for_each(|item| out.line(format_args!("{space}- {}", plain(item))))
        }
        _ => out.line(format_args!("{space}{}", plain(value))),
    }
}

/// A value on one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => Escaped(text.as_bytes()).to_string(),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("; "),
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", name.replace('_', " "), plain(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    }
}
