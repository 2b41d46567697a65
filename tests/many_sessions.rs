//! What a thousand idle sessions cost. In a process of its own, so that nothing else counts.

#![cfg(feature = "sim")]

mod machine;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use machine::{Other, say, spec, task};
use tailwater::vfs::sim::SimClock;
use tailwater::{Limit, Options, PolledItem, Quotas, Record, SessionSpec, TenantId, UserId};

const SESSIONS: usize = 1_000;

/// A figure of this process, from `/proc/self/status`.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Another process: makes the sessions, and says what they cost.
#[test]
fn make_a_thousand_sessions() {
    let Some(arguments) = task() else { return };
    let quotas = Quotas { sessions_per_tenant: u32::MAX, sessions_per_user: u32::MAX, ..Quotas::default() };
    let clock = SimClock::new(1_700_000_000_000_000_000);
    let options = Options::new().quotas(quotas).background(false).clock(Arc::new(clock.clone()));
    let store = options.open(&arguments[0]).unwrap();
    let streams: Vec<_> =
        (0..20).map(|number| store.create_stream(spec(&format!("s{number}"))).unwrap()).collect();
    let tenant = store.tenant(&TenantId::new("default").unwrap());
    let make = || {
        let session = tenant.create_session(SessionSpec::new(UserId::new("u").unwrap())).unwrap();
        for stream in &streams {
            stream.append(&Record::new("one record")).unwrap();
        }
        // Each has read from every stream, and is idle since.
        let polled = session.poll(Duration::from_secs(10), Limit::default()).unwrap();
        assert!(polled.iter().all(|(item, _)| matches!(item, PolledItem::Record(_))) && !polled.is_empty());
        session
    };
    // What the first of anything costs does not count.
    let first = make();
    // Without the pages of the log, which are the log's.
    let (rss, threads) = (status("RssAnon"), status("Threads"));
    let sessions: Vec<_> = (0..SESSIONS).map(|_| make()).collect();
    clock.advance(Duration::from_secs(11));
    store.tick().unwrap();
    say(&format!("{} {}", status("RssAnon").saturating_sub(rss), status("Threads") - threads));
    drop((first, sessions));
    store.close().unwrap();
}

#[test]
fn a_thousand_idle_sessions_take_less_than_10_mib_and_no_thread() {
    if task().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start("make_a_thousand_sessions", &[dir.path().to_str().unwrap()]);
    let said = other.heard().expect("it says what it took");
    let figures: Vec<u64> = said.split(' ').map(|figure| figure.parse().unwrap()).collect();
    let [rss_kib, threads] = figures[..] else { panic!("{said}") };
    println!("{SESSIONS} idle sessions: {rss_kib} KiB resident, {threads} threads");
    assert!(rss_kib < 10 << 10, "{rss_kib} KiB resident");
    assert_eq!(threads, 0);
}
