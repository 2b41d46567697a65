//! `stream`: create, list, show, update and delete.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tailwater::{StreamInfo, StreamSpec, StreamUpdate, Tags, TtlDays};

use crate::args::{Global, Home, StreamCommand};
use crate::failure::Result;
use crate::print::{Out, table};
use crate::{open, open_read_only};

/// Runs one of them.
pub fn run(global: &Global, command: &StreamCommand, out: &mut Out) -> Result<()> {
    match command {
        StreamCommand::Create { home, name, ttl_in_days, tags, max_bytes, durability } => {
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
            home.create(&store, spec)?;
            let (_, info) = home.info(&store, name.as_str())?;
            store.close()?;
            if global.json { out.json(&json(&info)) } else { out.line(format_args!("{}", info.id)) }
        }
        StreamCommand::List { home } => list(global, home, out),
        StreamCommand::Show { home, name } => {
            let (_, info) = home.info(&open_read_only(global)?, name)?;
            show(global, &info, out)
        }
        StreamCommand::Update { home, name, ttl_in_days, no_ttl, tags, no_tags, max_bytes, durability } => {
            let change = StreamUpdate {
                ttl: if *no_ttl { Some(None) } else { ttl_in_days.map(Some) },
                tags: if *no_tags || !tags.is_empty() { Some(to_tags(tags)?) } else { None },
                max_bytes: max_bytes.map(Some),
                durability: durability.map(Some),
            };
            let store = open(global, false)?;
            let (tenant, info) = home.info(&store, name)?;
            let info = tenant.update_stream(info.group, info.id, change)?;
            store.close()?;
            show(global, &info, out)
        }
        StreamCommand::Delete { home, name } => {
            let store = open(global, false)?;
            let (tenant, info) = home.info(&store, name)?;
            tenant.delete_stream(info.group, info.id)?;
            Ok(store.close()?)
        }
    }
}

fn list(global: &Global, home: &Home, out: &mut Out) -> Result<()> {
    let (tenant, group) = home.find(&open_read_only(global)?)?;
    let streams = tenant.streams(group)?;
    if global.json {
        return out.json(&streams.iter().map(json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = streams
        .iter()
        .map(|info| vec![info.name.as_str().to_owned(), ttl(info), info.id.to_string(), tags(&info.tags)])
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
        ("tags", tags(&info.tags)),
    ];
    rows.iter().try_for_each(|(key, value)| out.line(format_args!("{:12}{value}", format!("{key}:"))))
}

/// Tags as they are typed.
pub fn to_tags(pairs: &[(String, String)]) -> Result<Tags> {
    Ok(Tags::new(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?)
}

fn ttl(info: &StreamInfo) -> String {
    let whose = if info.ttl.is_some() { "" } else { " (the group's)" };
    format!("{}{whose}", days(info.effective_ttl))
}

/// A TTL in words.
pub fn days(ttl: TtlDays) -> String {
    let unit = if ttl.get() == 1 { "day" } else { "days" };
    format!("{ttl} {unit}")
}

/// Tags on one line.
pub fn tags(tags: &Tags) -> String {
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

fn json(info: &StreamInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "group": info.group.to_string(),
        "name": info.name.as_str(),
        "created": info.created.to_string(),
        "ttl_in_days": info.ttl.map(|ttl| ttl.get()),
        "effective_ttl_in_days": info.effective_ttl.get(),
        "max_bytes": info.max_bytes,
        "durability": info.durability.map(|durability| durability.to_string()),
        "tags": info.tags.iter().collect::<BTreeMap<_, _>>(),
    })
}
