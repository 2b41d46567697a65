//! `session`: create, list, show, poll, commit and close tail sessions.

use std::time::Duration;

use tailwater::api::TailSession;
use tailwater::{
    GroupId, Limit, PolledItem, Scope, Session, SessionInfo, SessionSpec, SessionState, Store, StreamId,
    Tenant,
};

use crate::args::{CreateSessionArguments, Global, OneSession, Output, SessionCommand};
use crate::failure::Result;
use crate::print::{Out, table};
use crate::{open, output};

/// Runs one of them.
pub fn run(global: &Global, command: &SessionCommand, out: &mut Out) -> Result<()> {
    let store = open(global, matches!(command, SessionCommand::Create(_)))?;
    let done = match command {
        SessionCommand::Create(arguments) => create(global, &store, arguments, out),
        SessionCommand::List { tenant } => list(global, &store.tenant(tenant), out),
        SessionCommand::Show(session) => {
            find(&store, session)?.info().map_err(Into::into).and_then(|info| show(global, info, out))
        }
        SessionCommand::Poll { session, lines, wait_ms, commit, output } => {
            let format = if global.json { Output::Json } else { output.output };
            let (limit, wait) = (Limit::records(*lines as usize), Duration::from_millis(*wait_ms));
            poll(&find(&store, session)?, limit, wait, *commit, format, output.show_cursor, out)
        }
        SessionCommand::Commit { session, cursor } => find(&store, session)?
            .commit(*cursor)
            .map_err(Into::into)
            .and_then(|info| show(global, info, out)),
        SessionCommand::Close(session) => find(&store, session)?.close().map(drop).map_err(Into::into),
    };
    done.and(store.close().map_err(Into::into))
}

fn create(global: &Global, store: &Store, arguments: &CreateSessionArguments, out: &mut Out) -> Result<()> {
    let CreateSessionArguments { tenant, user, service, filter, after_cursor, group, streams } = arguments;
    let tenant = store.tenant(tenant);
    let mut spec = SessionSpec::new(user.clone()).scope(scope(&tenant, group.as_deref(), streams)?);
    if let Some(service) = service {
        spec = spec.service(service);
    }
    if let Some(filter) = filter {
        spec = spec.filter(filter.clone());
    }
    if let Some(cursor) = *after_cursor {
        spec = spec.start(cursor.into());
    }
    let session = tenant.create_session(spec)?;
    match global.json {
        true => out.json(&TailSession::from(session.info()?)),
        false => out.line(format_args!("{}", session.id())),
    }
}

fn scope(tenant: &Tenant, group: Option<&str>, streams: &[String]) -> Result<Scope> {
    let of = |name: &str| -> Result<GroupId> { Ok(tenant.group_named(name)?.id) };
    match (group, streams) {
        (None, []) => Ok(Scope::Tenant),
        (Some(group), []) => Ok(Scope::Group(of(group)?)),
        (group, names) => {
            let group = of(group.unwrap_or("default"))?;
            let ids = names.iter().map(|name| Ok(tenant.stream_named(group, name)?.id));
            Ok(Scope::Streams(ids.collect::<Result<Vec<StreamId>>>()?))
        }
    }
}

fn find(store: &Store, session: &OneSession) -> Result<Session> {
    Ok(store.tenant(&session.tenant).session(session.id)?)
}

fn list(global: &Global, tenant: &Tenant, out: &mut Out) -> Result<()> {
    let sessions = tenant.sessions()?;
    if global.json {
        return out.json(&sessions.into_iter().map(TailSession::from).collect::<Vec<_>>());
    }
    let row = |info: SessionInfo| {
        let service = info.service.clone().unwrap_or_else(|| "*".into());
        vec![info.id.to_string(), state(&info).into(), info.user.to_string(), service, info.filter]
    };
    let rows: Vec<_> = sessions.into_iter().map(row).collect();
    table(out, &["ID", "STATE", "USER", "SERVICE", "FILTER"], &[], &rows)
}

fn show(global: &Global, info: SessionInfo, out: &mut Out) -> Result<()> {
    if global.json {
        return out.json(&TailSession::from(info));
    }
    let rows = [
        ("id", info.id.to_string()),
        ("state", state(&info).to_owned()),
        ("user", info.user.to_string()),
        ("service", info.service.unwrap_or_else(|| "*".into())),
        ("filter", info.filter),
        ("created", info.created.to_string()),
        ("cursor", info.last_cursor.to_string()),
    ];
    rows.iter().try_for_each(|(key, value)| out.line(format_args!("{:10}{value}", format!("{key}:"))))
}

fn state(info: &SessionInfo) -> &'static str {
    match info.state {
        SessionState::Open => "open",
        SessionState::Suspended => "suspended",
        SessionState::Closed => "closed",
    }
}

/// Prints one read. What is committed was handed to whoever reads our output before.
fn poll(
    session: &Session,
    limit: Limit,
    wait: Duration,
    commit: bool,
    format: Output,
    show_cursor: bool,
    out: &mut Out,
) -> Result<()> {
    let polled = session.poll(wait, limit)?;
    for (item, _) in polled.iter() {
        match item {
            PolledItem::Record(record) => output::record(out, format, &record)?,
            PolledItem::Gap(gap) => output::gap(out, format, &gap)?,
        }
    }
    if show_cursor {
        output::cursor(out, format, polled.cursor())?;
    }
    out.flush()?;
    if commit {
        session.commit(polled.cursor())?;
    }
    Ok(())
}
