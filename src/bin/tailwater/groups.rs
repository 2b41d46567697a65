//! `group`: create, list, show, update and delete.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tailwater::{GroupInfo, GroupSpec, GroupUpdate};

use crate::args::{Global, GroupArguments, GroupCommand};
use crate::failure::Result;
use crate::print::{Out, table};
use crate::streams::{days, tags, to_tags};
use crate::{open, open_read_only};

/// Runs one of them.
pub fn run(global: &Global, command: &GroupCommand, out: &mut Out) -> Result<()> {
    match command {
        GroupCommand::Create { of, name, ttl_in_days, tags } => {
            let mut spec = GroupSpec::new(name.clone()).tags(to_tags(tags)?);
            if let Some(ttl) = *ttl_in_days {
                spec = spec.ttl(ttl);
            }
            let store = open(global, true)?;
            let info = store.tenant(&of.tenant).create_group(spec)?;
            store.close()?;
            if global.json { out.json(&json(&info)) } else { out.line(format_args!("{}", info.id)) }
        }
        GroupCommand::List { of } => list(global, of, out),
        GroupCommand::Show { of, name } => {
            let info = open_read_only(global)?.tenant(&of.tenant).group_named(name)?;
            show(global, &info, out)
        }
        GroupCommand::Update { of, name, ttl_in_days, tags, no_tags } => {
            let update = GroupUpdate {
                ttl: *ttl_in_days,
                tags: if *no_tags || !tags.is_empty() { Some(to_tags(tags)?) } else { None },
            };
            let store = open(global, false)?;
            let tenant = store.tenant(&of.tenant);
            let info = tenant.update_group(tenant.group_named(name)?.id, update)?;
            store.close()?;
            show(global, &info, out)
        }
        GroupCommand::Delete { of, name } => {
            let store = open(global, false)?;
            let tenant = store.tenant(&of.tenant);
            tenant.delete_group(tenant.group_named(name)?.id)?;
            Ok(store.close()?)
        }
    }
}

fn list(global: &Global, of: &GroupArguments, out: &mut Out) -> Result<()> {
    let groups = open_read_only(global)?.tenant(&of.tenant).groups()?;
    if global.json {
        return out.json(&groups.iter().map(json).collect::<Vec<_>>());
    }
    let row =
        |info: &GroupInfo| vec![info.name.to_string(), days(info.ttl), info.id.to_string(), tags(&info.tags)];
    table(out, &["NAME", "TTL", "ID", "TAGS"], &[], &groups.iter().map(row).collect::<Vec<_>>())
}

fn show(global: &Global, info: &GroupInfo, out: &mut Out) -> Result<()> {
    if global.json {
        return out.json(&json(info));
    }
    let rows = [
        ("name", info.name.to_string()),
        ("id", info.id.to_string()),
        ("created", info.created.to_string()),
        ("ttl", days(info.ttl)),
        ("tags", tags(&info.tags)),
    ];
    rows.iter().try_for_each(|(key, value)| out.line(format_args!("{:12}{value}", format!("{key}:"))))
}

fn json(info: &GroupInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "name": info.name.as_str(),
        "created": info.created.to_string(),
        "ttl_in_days": info.ttl.get(),
        "tags": info.tags.iter().collect::<BTreeMap<_, _>>(),
    })
}
