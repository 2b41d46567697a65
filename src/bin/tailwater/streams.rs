//! `stream`: create, list, show, update and delete.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tailwater::{StreamInfo, StreamSpec, StreamUpdate, Tags};

use crate::args::{Global, StreamCommand};
use crate::failure::Result;
use crate::print::{Out, table};
use crate::{open, open_read_only};

/// Runs one of them.
pub fn run(global: &Global, command: &StreamCommand, out: &mut Out) -> Result<()> {
    match command {
        StreamCommand::Create { name, ttl_in_days, tags, max_bytes, durability } => {
            let mut spec = StreamSpec::new(name.clone()).tags(to_tags(tags)?);
            if let Some(ttl) = *ttl_in_days {
                spec = spec.ttl(ttl);
            }
            if let Some(bytes) = *max_bytes {
                spec = spec.max_bytes(bytes);
            }
            if let Some(durability) = *durability {
                spec = spec.durability(durability);
            }
            let store = open(global, true)?;
            store.create_stream(spec)?;
            let info = store.stream_info(name.as_str())?;
            store.close()?;
            if global.json { out.json(&json(&info)) } else { out.line(format_args!("{}", info.id)) }
        }
        StreamCommand::List => list(global, out),
        StreamCommand::Show { name } => {
            let info = open_read_only(global)?.stream_info(name)?;
            show(global, &info, out)
        }
        StreamCommand::Update { name, ttl_in_days, no_ttl, tags, no_tags, max_bytes, durability } => {
            let change = StreamUpdate {
                ttl: if *no_ttl { Some(None) } else { ttl_in_days.map(Some) },
                tags: if *no_tags || !tags.is_empty() { Some(to_tags(tags)?) } else { None },
                max_bytes: max_bytes.map(Some),
                durability: durability.map(Some),
            };
            let store = open(global, false)?;
            let info = store.update_stream(name, change)?;
            store.close()?;
            show(global, &info, out)
        }
        StreamCommand::Delete { name } => {
            let store = open(global, false)?;
            store.delete_stream(name)?;
            Ok(store.close()?)
        }
    }
}

fn list(global: &Global, out: &mut Out) -> Result<()> {
    let streams = open_read_only(global)?.streams()?;
    if global.json {
        return out.json(&streams.iter().map(json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = streams
        .iter()
        .map(|info| vec![info.name.as_str().to_owned(), ttl(info), info.id.to_string(), tags(info)])
        .collect();
    table(out, &["NAME", "TTL", "ID", "TAGS"], &[], &rows)
}

fn show(global: &Global, info: &StreamInfo, out: &mut Out) -> Result<()> {
    if global.json {
        return out.json(&json(info));
    }
    let rows = [
        ("name", info.name.as_str().to_owned()),
        ("id", info.id.to_string()),
        ("created", info.created.to_string()),
        ("ttl", ttl(info)),
        ("max bytes", info.max_bytes.map_or("no limit".to_owned(), |bytes| bytes.to_string())),
        ("durability", info.durability.map_or("the store's".to_owned(), |durability| durability.to_string())),
        ("tags", tags(info)),
    ];
    rows.iter().try_for_each(|(key, value)| out.line(format_args!("{:12}{value}", format!("{key}:"))))
}

fn to_tags(pairs: &[(String, String)]) -> Result<Tags> {
    Ok(Tags::new(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?)
}

fn ttl(info: &StreamInfo) -> String {
    let days = info.effective_ttl.get();
    let unit = if days == 1 { "day" } else { "days" };
    let whose = if info.ttl.is_some() { "" } else { " (default)" };
    format!("{days} {unit}{whose}")
}

fn tags(info: &StreamInfo) -> String {
    let pairs: Vec<_> = info.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

fn json(info: &StreamInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "name": info.name.as_str(),
        "created": info.created.to_string(),
        "ttl_in_days": info.ttl.map(|ttl| ttl.get()),
        "effective_ttl_in_days": info.effective_ttl.get(),
        "max_bytes": info.max_bytes,
        "durability": info.durability.map(|durability| durability.to_string()),
        "tags": info.tags.iter().collect::<BTreeMap<_, _>>(),
    })
}
