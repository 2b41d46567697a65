//! Tail sessions: the order of many streams, positions that hold, states, quotas, and what a crash leaves.

#![cfg(feature = "sim")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use tailwater::vfs::sim::{Crash, Fault, Op};
use tailwater::*;

const NOW: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);

fn tenant(store: &Store) -> Tenant {
    store.tenant(&TenantId::new("default").unwrap())
}

fn user() -> UserId {
    UserId::new("user-001-abc").unwrap()
}

fn session(store: &Store) -> Session {
    tenant(store).create_session(SessionSpec::new(user())).unwrap()
}

fn begin(store: &Store, start: SessionStart) -> Result<Session> {
    tenant(store).create_session(SessionSpec::new(user()).start(start))
}

fn stream(store: &Store, name: &str) -> Stream {
    store.create_stream(StreamSpec::new(StreamName::new(name).unwrap())).unwrap()
}

fn say(stream: &Stream, text: &str) {
    stream.append(&Record::new(text)).unwrap();
}

/// One read: records as text, gaps as their reason in brackets.
#[track_caller]
fn items(polled: &Polled) -> Vec<String> {
    let text = |item| match item {
        PolledItem::Record(record) => String::from_utf8_lossy(RecordRef::body(&record)).into_owned(),
        PolledItem::Gap(gap) => format!("[{}]", gap.reason),
    };
    polled.iter().map(|(item, _)| text(item)).collect()
}

/// Reads until nothing more is there.
#[track_caller]
fn drain_session(session: &Session) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let polled = session.poll(NOW, Limit::default()).unwrap();
        all.extend(items(&polled));
        if polled.is_caught_up() {
            return all;
        }
    }
}

#[test]
fn a_session_begins_now_and_streams_created_later_join() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let first = stream(&store, "first");
    say(&first, "before");
    let session = session(&store);
    assert_eq!(drain_session(&session), [""; 0]);
    say(&first, "a");
    let second = stream(&store, "second");
    say(&second, "b");
    machine.clock.advance(MINUTE);
    say(&first, "c");
    let mut seen = drain_session(&session);
    seen[..2].sort();
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(drain_session(&session), [""; 0]);
}

#[test]
fn records_come_in_the_order_of_ingest_time_then_stream_then_offset() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let mut streams: Vec<Stream> = (0..5).map(|number| stream(&store, &format!("s{number}"))).collect();
    streams.sort_by_key(Stream::id);
    let session = begin(&store, SessionStart::Beginning).unwrap();
    let mut expected = Vec::new();
    for time in 0..6 {
        for (number, stream) in streams.iter().enumerate().rev() {
            for offset in 0..2 {
                say(stream, &format!("{time} {number} {offset}"));
                expected.push(format!("{time} {number} {offset}"));
            }
        }
        machine.clock.advance(MINUTE);
    }
    expected.sort();
    for limit in [1, 3, 7, 1000] {
        session.resume(Some(SessionStart::Beginning)).unwrap();
        let mut seen = Vec::new();
        loop {
            let polled = session.poll(NOW, Limit::records(limit)).unwrap();
            assert!(items(&polled).len() <= limit);
            seen.extend(items(&polled));
            if polled.is_caught_up() {
                break;
            }
        }
        assert_eq!(seen, expected, "{limit} at a time");
    }
}

#[test]
fn a_clock_that_stands_still_hides_nothing_and_repeats_nothing() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let streams: Vec<Stream> = (0..4).map(|number| stream(&store, &format!("s{number}"))).collect();
    let session = session(&store);
    for round in 0..50 {
        let stream = &streams[round * 7 % 4];
        say(stream, &format!("{round}"));
        assert_eq!(drain_session(&session), [format!("{round}")]);
    }
}

#[test]
fn every_cursor_of_a_read_resumes_right_behind_its_record() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let streams: Vec<Stream> = (0..4).map(|number| stream(&store, &format!("s{number}"))).collect();
    let session = begin(&store, SessionStart::Beginning).unwrap();
    for round in 0..40 {
        say(&streams[round * 7 % 4], &format!("{round}"));
        if round % 5 == 0 {
            machine.clock.advance(Duration::from_millis(1));
        }
    }
    let polled = session.poll(NOW, Limit::default()).unwrap();
    let all = items(&polled);
    assert_eq!(all.len(), 40);
    let cursors: Vec<SessionCursor> = polled.iter().map(|(_, cursor)| cursor).collect();
    assert!(cursors.is_sorted());
    assert_eq!(*cursors.last().unwrap(), polled.cursor());
    for (index, cursor) in cursors.iter().enumerate() {
        session.resume(Some(SessionStart::Cursor(cursor.to_string().parse().unwrap()))).unwrap();
        assert_eq!(drain_session(&session), all[index + 1..], "behind {index}");
    }
    // A stream's own cursor is a position as well.
    for (item, _) in polled.iter() {
        let PolledItem::Record(record) = item else { panic!() };
        session.resume(Some(SessionStart::StreamCursor(record.cursor()))).unwrap();
        let index = all.iter().position(|text| text.as_bytes() == record.body()).unwrap();
        assert_eq!(drain_session(&session), all[index + 1..]);
    }
}

#[test]
fn two_sessions_made_from_one_cursor_read_the_same() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let first = session(&store);
    let cursor = first.info().unwrap().last_cursor;
    say(&stream, "1");
    let second = begin(&store, SessionStart::Cursor(cursor)).unwrap();
    assert_eq!(second.info().unwrap().last_cursor, cursor);
    say(&stream, "2");
    assert_eq!(drain_session(&first), ["1", "2"]);
    assert_eq!(drain_session(&second), ["1", "2"]);
}

#[test]
fn four_threads_append_to_two_hundred_streams_and_a_session_reads_each_record_once_in_order() {
    const STREAMS: usize = 200;
    const RECORDS: usize = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let streams: Vec<Stream> = (0..STREAMS).map(|number| stream(&store, &format!("s{number}"))).collect();
    let session = session(&store);
    let done = AtomicBool::new(false);
    let mut seen = 0;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let streams = &streams;
                scope.spawn(move || {
                    for number in 0..RECORDS / 4 {
                        let stream = &streams[(number * 31 + writer * 7) % STREAMS];
                        say(stream, &format!("{writer} {number}"));
                    }
                })
            })
            .collect();
        let done = &done;
        let reader = scope.spawn(|| {
            let mut last: BTreeMap<String, i64> = BTreeMap::new();
            let mut before = None;
            let mut seen = 0;
            loop {
                let finished = done.load(Ordering::Acquire);
                let polled = session.poll(Duration::from_millis(20), Limit::records(997)).unwrap();
                for (item, cursor) in polled.iter() {
                    let PolledItem::Record(record) = item else { panic!("{item:?}") };
                    assert!(before.is_none_or(|before| before < cursor), "in order");
                    before = Some(cursor);
                    let text = String::from_utf8_lossy(record.body()).into_owned();
                    let (writer, number) = text.split_once(' ').unwrap();
                    let key = format!("{writer} {}", record.cursor().stream_id());
                    let number: i64 = number.parse().unwrap();
                    // One writer's records of one stream keep their order.
                    assert!(last.insert(key, number).is_none_or(|last| last < number));
                    seen += 1;
                }
                if polled.is_caught_up() && finished {
                    return seen;
                }
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        seen = reader.join().unwrap();
    });
    assert_eq!(seen, RECORDS);
}

#[test]
fn a_committed_position_survives_a_crash_and_a_commit_backwards_is_refused() {
    for crash in [Crash::KeepAll, Crash::DropUnsynced] {
        let machine = Machine::new();
        let store = machine.options().open(DIR).unwrap();
        let stream = stream(&store, "a");
        let session = session(&store);
        for text in ["1", "2", "3"] {
            stream.append_with(&Record::new(text), Durability::Sync).unwrap();
        }
        let polled = session.poll(NOW, Limit::default()).unwrap();
        let cursors: Vec<_> = polled.iter().map(|(_, cursor)| cursor).collect();
        session.commit(cursors[1]).unwrap();
        let err = session.commit(cursors[0]).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::CommitBackwards { committed: cursors[1] });
        session.commit(cursors[1]).unwrap();
        let id = session.id();
        machine.crash(crash);
        // Starting again takes a while.
        machine.clock.advance(Duration::from_millis(1));
        drop((store, stream, session));
        let store = machine.options().open(DIR).unwrap();
        let session = tenant(&store).session(id).unwrap();
        let info = session.info().unwrap();
        assert_eq!((info.last_cursor, info.state), (cursors[1], SessionState::Suspended));
        assert_eq!(drain_session(&session), ["3"]);
        assert_eq!(session.info().unwrap().state, SessionState::Open);
    }
}

#[test]
fn a_session_is_suspended_when_idle_and_gone_a_day_later() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let session = session(&store);
    let state = || session.info().map(|info| info.state);
    machine.clock.advance(5 * MINUTE - Duration::from_secs(1));
    assert_eq!(state().unwrap(), SessionState::Open);
    session.poll(NOW, Limit::default()).unwrap();
    machine.clock.advance(5 * MINUTE);
    assert_eq!(state().unwrap(), SessionState::Suspended);
    // A read opens it again.
    session.poll(NOW, Limit::default()).unwrap();
    assert_eq!(state().unwrap(), SessionState::Open);
    machine.clock.advance(5 * MINUTE + DAY - Duration::from_secs(1));
    store.tick().unwrap();
    assert_eq!(state().unwrap(), SessionState::Suspended);
    machine.clock.advance(Duration::from_secs(1));
    store.tick().unwrap();
    assert_eq!(*state().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(tenant(&store).sessions().unwrap(), []);
}

#[test]
fn a_closed_session_says_so_for_ten_minutes() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let session = session(&store);
    assert_eq!(session.close().unwrap().state, SessionState::Closed);
    assert_eq!(session.close().unwrap().state, SessionState::Closed);
    let cursor = session.info().unwrap().last_cursor;
    for err in [
        session.poll(NOW, Limit::default()).unwrap_err(),
        session.commit(cursor).unwrap_err(),
        session.resume(None).unwrap_err(),
    ] {
        assert_eq!(*err.kind(), ErrorKind::SessionClosed);
    }
    machine.clock.advance(10 * MINUTE);
    assert_eq!(*session.info().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_leaked_session_frees_its_quota() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let make = |user: &str| tenant(&store).create_session(SessionSpec::new(UserId::new(user).unwrap()));
    for _ in 0..5 {
        make("u1").unwrap();
    }
    let err = make("u1").unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::QuotaExceeded { limit: 5 });
    for _ in 0..5 {
        make("u2").unwrap();
    }
    let of_second = tenant(&store).sessions_of(&UserId::new("u2").unwrap()).unwrap();
    assert!(of_second.len() == 5 && of_second.is_sorted_by_key(|info| info.created));
    let err = make("u3").unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::QuotaExceeded { limit: 10 });
    assert!(err.to_string().contains("10 open ones"), "{err}");
    machine.clock.advance(5 * MINUTE);
    let third = make("u3").unwrap();
    // A suspended one is opened again when the quota allows.
    let suspended = tenant(&store).sessions().unwrap()[0].id;
    for _ in 0..9 {
        make(&format!("v{}", tenant(&store).sessions().unwrap().len())).unwrap();
    }
    let suspended = tenant(&store).session(suspended).unwrap();
    let err = suspended.poll(NOW, Limit::default()).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::QuotaExceeded { limit: 10 });
    third.close().unwrap();
    suspended.poll(NOW, Limit::default()).unwrap();
}

#[test]
fn another_tenants_session_looks_unknown() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let session = session(&store);
    let other = store.tenant(&TenantId::new("other").unwrap());
    assert_eq!(*other.session(session.id()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(other.sessions().unwrap(), []);
}

#[test]
fn a_second_read_is_refused_and_resuming_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    let under_way = session.clone();
    let reader = std::thread::spawn(move || under_way.poll(Duration::from_secs(60), Limit::default()));
    let err = loop {
        match session.poll(NOW, Limit::default()) {
            Err(err) => break err,
            Ok(_) => std::thread::yield_now(),
        }
    };
    assert_eq!(*err.kind(), ErrorKind::Busy);
    session.resume(None).unwrap();
    assert_eq!(*reader.join().unwrap().unwrap_err().kind(), ErrorKind::Busy);
    say(&stream, "1");
    assert_eq!(drain_session(&session), ["1"]);
}

#[test]
fn of_two_who_resume_a_session_neither_reads_where_the_other_began() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let logs = stream(&store, "a");
    say(&logs, "1");
    say(&logs, "2");
    let id = session(&store).id();
    let behind_first = tenant(&store).session(id).unwrap();
    behind_first.resume(Some(SessionStart::Beginning)).unwrap();
    let cursor = behind_first.poll(NOW, Limit::records(1)).unwrap().cursor();
    store.close().unwrap();
    drop((store, logs, behind_first));
    let store = machine.options().open(DIR).unwrap();
    let session = tenant(&store).session(id).unwrap();
    session.resume(None).unwrap();
    // Whoever resumes behind the first record has to open its stream for that, which takes the disk a while.
    machine.disk.stall(Op::Open);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| session.resume(Some(SessionStart::Cursor(cursor))));
        machine.disk.wait_for_stall();
        session.resume(Some(SessionStart::Beginning)).unwrap();
        let mut tail = session.tail(Limit::default()).unwrap();
        machine.disk.go_on();
        other.join().unwrap().unwrap();
        match tail.try_next() {
            Ok(polled) => assert_eq!(items(&polled), ["1", "2"]),
            Err(err) => assert_eq!(*err.kind(), ErrorKind::Busy),
        }
    });
}

#[test]
fn who_cannot_resume_a_session_there_ends_no_read_of_it() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let logs = stream(&store, "a");
    let session = session(&store);
    let mut tail = session.tail(Limit::default()).unwrap();
    say(&logs, "1");
    let foreign =
        tenant(&Machine::new().options().open(DIR).unwrap()).create_session(SessionSpec::new(user()));
    let foreign = foreign.unwrap().info().unwrap().last_cursor;
    session.resume(Some(SessionStart::Cursor(foreign))).unwrap_err();
    assert_eq!(items(&tail.try_next().unwrap()), ["1"]);
}

#[test]
fn a_waiting_read_is_woken_by_an_append_and_by_the_stores_closing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let polled = session.poll(Duration::from_secs(600), Limit::default()).unwrap();
        tell.send(items(&polled)).unwrap();
        session.poll(Duration::from_secs(600), Limit::default()).unwrap_err()
    });
    say(&stream, "1");
    assert_eq!(told.recv().unwrap(), ["1"]);
    store.close().unwrap();
    assert_eq!(*reader.join().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn what_expires_under_a_slow_session_is_one_gap_with_its_bytes() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let spec = StreamSpec::new(StreamName::new("a").unwrap()).ttl(TtlDays::new(1).unwrap());
    let short = store.create_stream(spec).unwrap();
    let long = stream(&store, "long");
    let session = session(&store);
    say(&short, "kept 0");
    let polled = session.poll(NOW, Limit::default()).unwrap();
    let cursor = polled.cursor();
    assert_eq!(items(&polled), ["kept 0"]);
    say(&long, "kept 1");
    machine.clock.advance(MINUTE);
    let start = short.published().unwrap();
    for number in 0..300 {
        say(&short, &format!("lost {number} {}", "x".repeat(500)));
    }
    let end = short.published().unwrap();
    machine.clock.advance(2 * DAY);
    store.tick().unwrap();
    say(&short, "kept 2");
    let session = begin(&store, SessionStart::Cursor(cursor)).unwrap();
    let polled = session.poll(NOW, Limit::default()).unwrap();
    assert_eq!(items(&polled), ["kept 1", "[expired]", "kept 2"]);
    let PolledItem::Gap(gap) = polled.iter().nth(1).unwrap().0 else { panic!() };
    assert_eq!(gap.stream, short.id());
    assert!(gap.end == end && gap.start <= start, "{gap:?} against {start}..{end}");
    // Under the policy that refuses, a position is offered that holds.
    let refuse = |start| {
        let spec = SessionSpec::new(user()).start(SessionStart::Cursor(start)).on_expired(OnExpired::Refuse);
        tenant(&store).create_session(spec)
    };
    let err = refuse(cursor).unwrap_err();
    let ErrorKind::SessionExpired { oldest, skipped_bytes } = err.kind() else { panic!("{err}") };
    assert!(end - start <= *skipped_bytes);
    let session = refuse(*oldest).unwrap();
    assert_eq!(drain_session(&session), ["kept 2"]);
    // The gap's own cursor leaves it behind.
    let (_, behind) = polled.iter().nth(1).unwrap();
    assert_eq!(drain_session(&begin(&store, SessionStart::Cursor(behind)).unwrap()), ["kept 2"]);
}

#[test]
fn an_open_session_that_lags_gets_the_gap_with_exact_bounds() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let spec = StreamSpec::new(StreamName::new("a").unwrap()).ttl(TtlDays::new(1).unwrap());
    let stream = store.create_stream(spec).unwrap();
    let quick = Quotas { session_idle: 10 * DAY, ..Quotas::default() };
    store.close().unwrap();
    drop((store, stream));
    let store = machine.options().quotas(quick).open(DIR).unwrap();
    let stream = store.stream("a").unwrap();
    let session = session(&store);
    say(&stream, "read");
    assert_eq!(drain_session(&session), ["read"]);
    let start = stream.published().unwrap();
    for number in 0..300 {
        say(&stream, &format!("lost {number} {}", "x".repeat(500)));
    }
    let end = stream.published().unwrap();
    machine.clock.advance(2 * DAY);
    store.tick().unwrap();
    let polled = session.poll(NOW, Limit::default()).unwrap();
    let PolledItem::Gap(gap) = polled.iter().next().unwrap().0 else { panic!("{polled:?}") };
    assert_eq!((gap.start, gap.end, gap.reason, polled.len()), (start, end, GapReason::Expired, 1));
}

#[test]
fn damage_is_a_gap_in_line_and_is_passed_once() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    for text in ["1", "2", "3"] {
        say(&stream, text);
        machine.clock.advance(Duration::from_millis(1));
    }
    let offsets: Vec<u64> = records(&stream, Start::Beginning).iter().map(|seen| seen.offset).collect();
    store.close().unwrap();
    drop((store, stream));
    let segment =
        machine.segments().into_iter().find(|path| path.to_string_lossy().contains("streams")).unwrap();
    machine.disk.flip_bit(&segment, (4096 + offsets[1] as usize + 24) * 8);
    let store = machine.options().open(DIR).unwrap();
    let session = tenant(&store).session(session.id()).unwrap();
    let polled = session.poll(NOW, Limit::default()).unwrap();
    assert_eq!(items(&polled), ["1", "[corrupt]", "3"]);
    for (skip, (_, cursor)) in polled.iter().enumerate() {
        session.resume(Some(SessionStart::Cursor(cursor))).unwrap();
        assert_eq!(drain_session(&session), items(&polled)[skip + 1..]);
    }
}

#[test]
fn a_deleted_stream_with_records_left_is_a_gap() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let (first, second) = (stream(&store, "a"), stream(&store, "b"));
    let session = session(&store);
    for number in 0..100 {
        say(&first, &format!("{number}"));
    }
    say(&second, "kept");
    let polled = session.poll(NOW, Limit::records(1)).unwrap();
    let seen = items(&polled).len();
    store.delete_stream("a").unwrap();
    let rest = drain_session(&session);
    assert!(rest.iter().filter(|item| **item == "[deleted]").count() == 1, "{seen} {rest:?}");
    assert_eq!(drain_session(&session), [""; 0]);
}

#[test]
fn a_cursor_of_records_that_a_power_loss_took_diverges() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    stream.append_with(&Record::new("kept"), Durability::Sync).unwrap();
    machine.clock.advance(MINUTE);
    stream.append_with(&Record::new("lost"), Durability::Buffered).unwrap();
    let polled = session.poll(NOW, Limit::default()).unwrap();
    assert_eq!(items(&polled), ["kept", "lost"]);
    let cursor = polled.cursor();
    machine.crash(Crash::DropUnsynced);
    drop((store, stream, session));
    machine.clock.advance(MINUTE);
    let store = machine.options().open(DIR).unwrap();
    say(&store.stream("a").unwrap(), "new");
    let err = begin(&store, SessionStart::Cursor(cursor)).unwrap_err();
    let ErrorKind::SessionDiverged { safe } = err.kind() else { panic!("{err}") };
    assert_eq!(drain_session(&begin(&store, SessionStart::Cursor(*safe)).unwrap()), ["new"]);
}

#[test]
fn a_clock_that_went_back_between_two_lives_makes_cursors_diverge_and_never_skip() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let (first, _) = (stream(&store, "a"), stream(&store, "b"));
    let session = session(&store);
    machine.clock.advance(HOUR);
    first.append_with(&Record::new("1"), Durability::Sync).unwrap();
    let polled = session.poll(NOW, Limit::default()).unwrap();
    let ahead = polled.cursor();
    drop((store, first, session));
    // The power goes, and with it the clock's battery and its mark.
    machine.crash(Crash::DropUnsynced);
    machine.clock.set_wall(BIRTH);
    machine.disk.remove(std::path::Path::new(DIR).join("clock"));
    let store = machine.options().open(DIR).unwrap();
    let err = begin(&store, SessionStart::Cursor(ahead)).unwrap_err();
    assert!(
        matches!(err.kind(), ErrorKind::SessionAhead { .. } | ErrorKind::SessionDiverged { .. }),
        "{err}"
    );
    // A record that comes in at a time that has been before.
    say(&store.stream("b").unwrap(), "2");
    machine.clock.advance(2 * HOUR);
    let err = begin(&store, SessionStart::Cursor(ahead)).unwrap_err();
    let ErrorKind::SessionDiverged { safe } = err.kind() else { panic!("{err}") };
    let seen = drain_session(&begin(&store, SessionStart::Cursor(*safe)).unwrap());
    assert!(seen.contains(&"2".to_owned()), "{seen:?}");
}

#[test]
fn cursors_that_are_not_the_sessions_are_refused() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let (first, second) = (stream(&store, "a"), stream(&store, "b"));
    let of_first = first.append(&Record::new("1")).unwrap().cursor();
    let other_store = Machine::new();
    let other = other_store.options().open(DIR).unwrap();
    let foreign = session(&other).info().unwrap().last_cursor;
    let err = begin(&store, SessionStart::Cursor(foreign)).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::CursorStreamMismatch);
    let narrow = |start| {
        let spec = SessionSpec::new(user()).scope(Scope::Streams(vec![second.id()])).start(start);
        tenant(&store).create_session(spec)
    };
    let err = narrow(SessionStart::StreamCursor(of_first)).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::CursorStreamMismatch);
    let session = narrow(SessionStart::Now).unwrap();
    say(&first, "not covered");
    say(&second, "2");
    assert_eq!(drain_session(&session), ["2"]);
    let ahead = {
        machine.clock.advance(MINUTE);
        let session = self::session(&store).info().unwrap().last_cursor;
        assert!(session.ingest_time() <= Timestamp::from_nanos(i64::MAX));
        session
    };
    let many = vec![second.id(); 1001];
    let err =
        tenant(&store).create_session(SessionSpec::new(user()).scope(Scope::Streams(many))).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Invalid { field: "streams" });
    // It is of the future for a machine whose clock has not come there: the same store, copied before.
    assert!(begin(&store, SessionStart::Cursor(ahead)).is_ok());
    let err = tenant(&store)
        .create_session(SessionSpec::new(user()).scope(Scope::Group(GroupId::from(uuid::Uuid::from_u128(9)))))
        .unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Invalid { field: "group" });
}

#[test]
fn the_sessions_log_is_written_anew_and_says_the_same() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    let mut committed = None;
    for number in 0..3000 {
        say(&stream, &format!("{number}"));
        let polled = session.poll(NOW, Limit::default()).unwrap();
        committed = Some(session.commit(polled.cursor()).unwrap().last_cursor);
        if number % 100 == 0 {
            store.tick().unwrap();
        }
    }
    let held: u64 = machine
        .segments()
        .iter()
        .filter(|path| path.to_string_lossy().contains("sessions"))
        .map(|path| machine.disk.read_file(path).len() as u64)
        .sum();
    assert!(held < 2 << 20, "{held} bytes of log for one session");
    machine.crash(Crash::DropUnsynced);
    let id = session.id();
    drop((store, stream, session));
    let store = machine.options().open(DIR).unwrap();
    assert_eq!(Some(tenant(&store).session(id).unwrap().info().unwrap().last_cursor), committed);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_task_is_woken_without_a_runtime() {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = stream(&store, "a");
    let mut tail = session(&store).tail(Limit::default()).unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..1000 {
            say(&stream, &format!("{number}"));
        }
    });
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut seen = Vec::new();
    while seen.len() < 1000 {
        match tail.poll_next(&mut context) {
            std::task::Poll::Ready(polled) => seen.extend(items(&polled.unwrap())),
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
        }
    }
    assert!(seen.iter().map(|text| text.parse::<u32>().unwrap()).eq(0..1000));
    writer.join().unwrap();
}

#[test]
fn a_crash_at_any_call_loses_no_session_and_no_position_that_was_acknowledged() {
    for nth in 1.. {
        let machine = Machine::new();
        let store = machine.options().open(DIR).unwrap();
        let stream = stream(&store, "a");
        for number in 0..20 {
            stream.append_with(&Record::new(&format!("{number}")), Durability::Sync).unwrap();
        }
        machine.disk.crash_at(nth);
        let (mut made, mut committed, mut asked, mut closed) = (None, None, None, false);
        let told: Result<()> = (|| {
            let session = begin(&store, SessionStart::Beginning)?;
            made = Some(session.id());
            for _ in 0..3 {
                let cursor = session.poll(NOW, Limit::records(3))?.cursor();
                asked = Some(cursor);
                committed = Some(session.commit(cursor)?.last_cursor);
            }
            session.close()?;
            closed = true;
            Ok(())
        })();
        let finished = told.is_ok() && !machine.disk.is_off();
        machine.crash(Crash::Sectors { seed: nth });
        machine.clock.advance(Duration::from_millis(1));
        drop((store, stream));
        let store = machine.options().open(DIR).unwrap();
        if let Some(id) = made {
            let info = tenant(&store).session(id).unwrap().info().unwrap();
            let kept = Some(info.last_cursor);
            assert!(committed.is_none() || kept == committed || kept == asked, "call {nth}: {info:?}");
            assert!(!closed || info.state == SessionState::Closed, "call {nth}");
        }
        if finished {
            println!("{nth} calls");
            return;
        }
    }
}

#[test]
fn on_a_full_disk_a_session_is_refused_whole_and_made_once_there_is_room() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    say(&stream, "1");
    store.sync().unwrap();
    machine.disk.set_capacity(machine.disk.used());
    let err = begin(&store, SessionStart::Beginning).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::NoSpace, "{err}");
    machine.disk.set_capacity(u64::MAX);
    let session = begin(&store, SessionStart::Beginning).unwrap();
    assert_eq!(drain_session(&session), ["1"]);
    assert_eq!(tenant(&store).sessions().unwrap().len(), 1);
}

#[test]
fn a_commit_whose_sync_fails_says_so_and_reading_goes_on() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    say(&stream, "1");
    let cursor = session.poll(NOW, Limit::default()).unwrap().cursor();
    store.sync().unwrap();
    let error = std::io::ErrorKind::Other;
    machine.disk.fail(Fault { op: Op::RegionSync, nth: 1, error, sticky: false });
    let err = session.commit(cursor).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Io, "{err}");
    machine.disk.clear_faults();
    say(&stream, "2");
    assert_eq!(drain_session(&session), ["2"]);
    let err = session.commit(session.poll(NOW, Limit::default()).unwrap().cursor()).unwrap_err();
    assert_eq!(*err.kind(), ErrorKind::Poisoned, "{err}");
}

#[test]
fn on_a_full_disk_sessions_are_read_suspended_and_opened_all_the_same() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let session = session(&store);
    say(&stream, "1");
    store.sync().unwrap();
    machine.disk.set_capacity(machine.disk.used());
    // More of these than the log has room for.
    for _ in 0..2000 {
        machine.clock.advance(6 * MINUTE);
        assert_eq!(session.info().unwrap().state, SessionState::Suspended);
        assert_eq!(drain_session(&session), ["1"]);
    }
}

#[test]
fn a_tail_that_is_held_for_long_is_never_in_anybodys_way_but_another_readers() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = stream(&store, "a");
    let mut tail = session(&store).tail(Limit::default()).unwrap();
    machine.clock.advance(MINUTE);
    std::thread::scope(|scope| {
        let ticks = scope.spawn(|| {
            for _ in 0..3000 {
                store.tick().unwrap();
            }
        });
        let mut number = 0;
        while !ticks.is_finished() {
            if number % 1000 == 0 {
                say(&stream, "1");
            }
            number += 1;
            tail.try_next().unwrap();
        }
    });
}
