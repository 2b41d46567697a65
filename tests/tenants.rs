//! Tenants, groups and their streams: who sees what, which TTL holds, and what a deletion leaves when it is interrupted.

#![cfg(feature = "sim")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use tailwater::vfs::sim::{Crash, Fault, Op, SimDisk};
use tailwater::*;

fn id(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn days(days: u16) -> TtlDays {
    TtlDays::new(days).unwrap()
}

fn group(name: &str) -> GroupSpec {
    GroupSpec::new(GroupName::new(name).unwrap())
}

fn named(name: &str) -> StreamSpec {
    StreamSpec::new(StreamName::new(name).unwrap())
}

fn ttl(ttl: TtlDays) -> GroupUpdate {
    GroupUpdate { ttl: Some(ttl), ..GroupUpdate::default() }
}

fn own_ttl(ttl: Option<TtlDays>) -> StreamUpdate {
    StreamUpdate { ttl: Some(ttl), ..StreamUpdate::default() }
}

fn group_names(tenant: &Tenant) -> Vec<String> {
    tenant.groups().unwrap().into_iter().map(|group| group.name.to_string()).collect()
}

fn stream_names(tenant: &Tenant, group: GroupId) -> Vec<String> {
    tenant.streams(group).unwrap().into_iter().map(|stream| stream.name.to_string()).collect()
}

#[track_caller]
fn check_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(*result.unwrap_err().kind(), kind);
}

// Existence and names.

#[test]
fn a_tenant_begins_with_its_first_group_and_all_of_it_is_there_after_a_power_loss() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    assert_eq!(tenant.groups().unwrap(), []);
    assert_eq!(store.tenants().unwrap(), [id("default")]);
    let tags = Tags::new([("team", "core")]).unwrap();
    let spec = group("shop").ttl(days(7)).tags(tags.clone());
    let shop = tenant.create_group(spec).unwrap();
    assert_eq!((shop.name.as_str(), shop.ttl, &shop.tags), ("shop", days(7), &tags));
    assert_eq!(shop.created.as_nanos(), BIRTH);
    tenant.create_group(group("bank")).unwrap();
    let web = tenant.create_stream(shop.id, named("web").tags(tags)).unwrap();
    let (groups, info) = (tenant.groups().unwrap(), tenant.stream_info(shop.id, web.id()).unwrap());
    assert_eq!(group_names(&tenant), ["bank", "shop"]);
    assert_eq!((info.group, info.ttl, info.effective_ttl), (shop.id, None, days(7)));
    machine.crash(Crash::DropUnsynced);
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    assert_eq!(store.tenants().unwrap(), [id("default"), id("ours")]);
    assert_eq!(tenant.groups().unwrap(), groups);
    assert_eq!(tenant.group(shop.id).unwrap(), shop);
    assert_eq!(tenant.group_named("shop").unwrap(), shop);
    assert_eq!(tenant.streams(shop.id).unwrap(), std::slice::from_ref(&info));
    assert_eq!(tenant.stream_named(shop.id, "web").unwrap(), info);
    assert_eq!(tenant.stream(shop.id, info.id).unwrap().id(), info.id);
}

#[test]
fn a_name_is_taken_once_in_its_tenant_and_once_in_its_group() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let (ours, theirs) = (store.tenant(&id("ours")), store.tenant(&id("theirs")));
    let shop = ours.create_group(group("shop")).unwrap().id;
    let bank = ours.create_group(group("bank")).unwrap().id;
    check_kind(ours.create_group(group("shop")), ErrorKind::AlreadyExists);
    ours.create_group(group("Shop")).unwrap();
    theirs.create_group(group("shop")).unwrap();
    let web = ours.create_stream(shop, named("web")).unwrap().id();
    check_kind(ours.create_stream(shop, named("web")), ErrorKind::AlreadyExists);
    ours.create_stream(bank, named("web")).unwrap();
    ours.delete_stream(shop, web).unwrap();
    assert_ne!(ours.create_stream(shop, named("web")).unwrap().id(), web);
    assert_eq!(stream_names(&ours, shop), ["web"]);
}

#[test]
fn the_default_group_of_the_default_tenant_is_the_stores_own_and_stays() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let stream = store.create_stream(named("web")).unwrap();
    let tenant = store.tenant(&id("default"));
    let own = tenant.group_named("default").unwrap().id;
    assert_eq!(tenant.stream_named(own, "web").unwrap().id, stream.id());
    check_kind(tenant.delete_group(own), ErrorKind::Invalid { field: "log_group_id" });
    check_kind(store.delete_tenant(&id("default")), ErrorKind::Invalid { field: "project_id" });
    assert_eq!(stream_names(&tenant, own), ["web"]);
    // Its name is nothing special elsewhere.
    let other = store.tenant(&id("other"));
    let group = other.create_group(group("default")).unwrap().id;
    other.delete_group(group).unwrap();
}

// Who sees what.

#[test]
fn two_tenants_cannot_see_or_touch_each_others_groups_and_streams() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let (ours, theirs) = (store.tenant(&id("ours")), store.tenant(&id("theirs")));
    let own = ours.create_group(group("own")).unwrap().id;
    let shop = theirs.create_group(group("shop")).unwrap().id;
    let web = theirs.create_stream(shop, named("web")).unwrap();
    web.append(&Record::new("secret")).unwrap();
    let web = web.id();
    check_kind(ours.group(shop), ErrorKind::NotFound);
    check_kind(ours.group_named("shop"), ErrorKind::NotFound);
    check_kind(ours.update_group(shop, ttl(days(1))), ErrorKind::NotFound);
    check_kind(ours.delete_group(shop), ErrorKind::NotFound);
    check_kind(ours.create_stream(shop, named("x")), ErrorKind::NotFound);
    check_kind(ours.streams(shop), ErrorKind::NotFound);
    // By the right group and by one of their own.
    for group in [shop, own] {
        check_kind(ours.stream_info(group, web), ErrorKind::NotFound);
        check_kind(ours.stream_named(group, "web"), ErrorKind::NotFound);
        check_kind(ours.stream(group, web), ErrorKind::NotFound);
        check_kind(ours.update_stream(group, web, own_ttl(Some(days(1)))), ErrorKind::NotFound);
        check_kind(ours.delete_stream(group, web), ErrorKind::NotFound);
    }
    assert_eq!(group_names(&ours), ["own"]);
    assert_eq!(stream_names(&theirs, shop), ["web"]);
    assert_eq!(theirs.group(shop).unwrap().ttl, TtlDays::DEFAULT);
    assert_eq!(bodies(&theirs.stream(shop, web).unwrap(), Start::Beginning), ["secret"]);
    // What is unknown looks the same.
    let unknown = GroupId::from(uuid::Uuid::from_u128(7));
    let message = |id: GroupId| ours.group(id).unwrap_err().to_string().replace(&id.to_string(), "");
    assert_eq!(message(shop), message(unknown));
}

#[test]
fn who_reads_beside_the_writer_sees_groups_come_and_changes_nothing() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let reader = machine.options().open_read_only(DIR).unwrap();
    let (writing, reading) = (store.tenant(&id("ours")), reader.tenant(&id("ours")));
    let shop = writing.create_group(group("shop")).unwrap().id;
    let web = writing.create_stream(shop, named("web")).unwrap();
    assert_eq!(group_names(&reading), ["shop"]);
    web.append(&Record::new("a")).unwrap();
    assert_eq!(bodies(&reading.stream(shop, web.id()).unwrap(), Start::Beginning), ["a"]);
    check_kind(reading.create_group(group("x")), ErrorKind::ReadOnly);
    check_kind(reading.update_group(shop, ttl(days(1))), ErrorKind::ReadOnly);
    check_kind(reading.delete_group(shop), ErrorKind::ReadOnly);
    check_kind(reading.create_stream(shop, named("x")), ErrorKind::ReadOnly);
    check_kind(reading.update_stream(shop, web.id(), own_ttl(None)), ErrorKind::ReadOnly);
    check_kind(reading.delete_stream(shop, web.id()), ErrorKind::ReadOnly);
    check_kind(reader.delete_tenant(&id("ours")), ErrorKind::ReadOnly);
    store.close().unwrap();
    check_kind(writing.groups(), ErrorKind::Closed);
    check_kind(writing.create_group(group("x")), ErrorKind::Closed);
}

#[test]
fn verify_and_stats_look_at_every_tenants_streams() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    stream.append(&Record::new("a")).unwrap();
    let tenant = store.tenant(&id("ours"));
    let shop = tenant.create_group(group("shop")).unwrap().id;
    let web = tenant.create_stream(shop, named("web")).unwrap();
    web.append(&Record::new("flip me")).unwrap();
    assert_eq!(store.stats().unwrap().records, 2);
    store.close().unwrap();
    let path =
        machine.segments().into_iter().find(|path| path.to_string_lossy().contains(&web.id().to_string()));
    let path = path.unwrap();
    let bytes = machine.disk.read_file(&path);
    let at = bytes.windows(7).position(|window| window == b"flip me").unwrap();
    machine.disk.flip_bit(&path, at * 8);
    let store = machine.options().open(DIR).unwrap();
    assert_eq!(store.verify().unwrap().damage[0].stream, Some(web.id()));
}

// Quotas.

#[test]
fn quotas_hold_for_each_tenant_and_group_and_what_is_deleted_counts_no_more() {
    let machine = Machine::new();
    let quotas = Quotas { groups_per_tenant: 2, streams_per_group: 3, ..Quotas::default() };
    let store = machine.options().quotas(quotas).open(DIR).unwrap();
    for tenant in ["ours", "theirs"] {
        let tenant = store.tenant(&id(tenant));
        let groups = ["a", "b"].map(|name| tenant.create_group(group(name)).unwrap().id);
        let err = tenant.create_group(group("c")).unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::QuotaExceeded { limit: 2 });
        assert!(err.to_string().contains("groups") && err.to_string().contains("limit of 2"), "{err}");
        for group in groups {
            let ids = ["x", "y", "z"].map(|name| tenant.create_stream(group, named(name)).unwrap().id());
            check_kind(tenant.create_stream(group, named("w")), ErrorKind::QuotaExceeded { limit: 3 });
            // The name is told first.
            check_kind(tenant.create_stream(group, named("x")), ErrorKind::AlreadyExists);
            tenant.delete_stream(group, ids[1]).unwrap();
            tenant.create_stream(group, named("w")).unwrap();
        }
        tenant.delete_group(groups[0]).unwrap();
        tenant.create_group(group("c")).unwrap();
    }
    for number in 0..10 {
        store.create_stream(named(&format!("host-{number}"))).unwrap();
    }
}

// TTL.

/// A machine with a group of 30 days: a stream that follows it, one of 60 days of its own, and one that follows it and is not in
/// memory. Each has a record of every tenth day from day 0 to day 20; it is day 25.
fn aged() -> (Machine, Store, Tenant, GroupId, [StreamId; 3]) {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    let shop = tenant.create_group(group("shop")).unwrap().id;
    let specs = [named("follows"), named("own").ttl(days(60)), named("sleeps")];
    let streams = specs.map(|spec| tenant.create_stream(shop, spec).unwrap());
    for day in [0, 10, 20] {
        for stream in &streams {
            stream.append(&Record::new(&format!("day {day}"))).unwrap();
        }
        machine.clock.advance(if day == 20 { 5 * DAY } else { 10 * DAY });
    }
    let ids = streams.map(|stream| stream.id());
    store.close().unwrap();
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    for id in &ids[..2] {
        tenant.stream(shop, *id).unwrap();
    }
    (machine, store, tenant, shop, ids)
}

#[track_caller]
fn check_left(tenant: &Tenant, group: GroupId, ids: [StreamId; 3], left: [&[&str]; 3]) {
    for (id, left) in ids.into_iter().zip(left) {
        assert_eq!(bodies(&tenant.stream(group, id).unwrap(), Start::Beginning), left);
    }
}

const ALL: &[&str] = &["day 0", "day 10", "day 20"];
const LATE: &[&str] = &["day 20"];

#[test]
fn what_follows_the_group_follows_at_once_and_what_has_a_ttl_of_its_own_does_not() {
    let (machine, store, tenant, shop, ids) = aged();
    let handle = tenant.stream(shop, ids[0]).unwrap();
    assert_eq!(bodies(&handle, Start::Beginning), ALL);
    let mut reader = handle.read(Start::Beginning).unwrap();
    tenant.update_group(shop, ttl(days(7))).unwrap();
    // A handle and a reader from before, too.
    assert_eq!(bodies(&handle, Start::Beginning), LATE);
    assert!(matches!(reader.next().unwrap(), Step::Gap(gap) if gap.reason == GapReason::Expired));
    check_left(&tenant, shop, ids, [LATE, ALL, LATE]);
    let effective = tenant.streams(shop).unwrap().into_iter().map(|info| info.effective_ttl.get());
    assert_eq!(effective.collect::<Vec<_>>(), [7, 60, 7]);
    drop(store);
    machine.crash(Crash::DropUnsynced);
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    check_left(&tenant, shop, ids, [LATE, ALL, LATE]);
    // Its space follows.
    assert!(0 < store.tick().unwrap().streams);
    check_left(&tenant, shop, ids, [LATE, ALL, LATE]);
}

#[test]
fn lengthening_a_groups_ttl_never_brings_expired_records_back() {
    let (machine, store, tenant, shop, ids) = aged();
    tenant.update_group(shop, ttl(days(7))).unwrap();
    tenant.update_group(shop, ttl(days(365))).unwrap();
    check_left(&tenant, shop, ids, [LATE, ALL, LATE]);
    // Nor does taking a TTL of one's own, or giving it up.
    tenant.update_stream(shop, ids[0], own_ttl(Some(days(365)))).unwrap();
    tenant.update_stream(shop, ids[2], own_ttl(None)).unwrap();
    check_left(&tenant, shop, ids, [LATE, ALL, LATE]);
    store.close().unwrap();
    let store = machine.options().open(DIR).unwrap();
    check_left(&store.tenant(&id("ours")), shop, ids, [LATE, ALL, LATE]);
}

#[test]
fn lengthening_before_anything_expired_keeps_everything() {
    let (machine, _store, tenant, shop, ids) = aged();
    tenant.update_group(shop, ttl(days(365))).unwrap();
    machine.clock.advance(20 * DAY);
    check_left(&tenant, shop, ids, [ALL, ALL, ALL]);
}

#[test]
fn a_stream_that_gives_up_its_own_ttl_follows_the_group_from_then_on() {
    let (_machine, _store, tenant, shop, ids) = aged();
    tenant.update_group(shop, ttl(days(7))).unwrap();
    tenant.update_stream(shop, ids[1], own_ttl(None)).unwrap();
    check_left(&tenant, shop, ids, [LATE, LATE, LATE]);
    tenant.update_group(shop, ttl(days(1))).unwrap();
    check_left(&tenant, shop, ids, [&[], &[], &[]]);
}

#[test]
fn a_group_rebuilt_from_its_streams_files_has_its_last_ttl_and_tags() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let tenant = store.tenant(&id("ours"));
    let shop = tenant.create_group(group("shop")).unwrap().id;
    let streams = ["loaded", "asleep"].map(|name| tenant.create_stream(shop, named(name)).unwrap());
    for stream in &streams {
        stream.append(&Record::new("a")).unwrap();
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let tenant = store.tenant(&id("ours"));
    let _loaded = tenant.stream(shop, streams[0].id()).unwrap();
    let tags = Tags::new([("team", "core")]).unwrap();
    let update = GroupUpdate { ttl: Some(days(7)), tags: Some(tags.clone()) };
    let expected = tenant.update_group(shop, update).unwrap();
    assert_eq!((expected.ttl, &expected.tags), (days(7), &tags));
    store.close().unwrap();
    for lost in [0, 1] {
        std::fs::remove_dir_all(dir.path().join("catalog")).unwrap();
        assert_eq!(repair(dir.path()).unwrap().restored_streams.len(), 2 - lost);
        let store = Store::open(dir.path()).unwrap();
        let tenant = store.tenant(&id("ours"));
        let found = tenant.group(shop).unwrap();
        assert_eq!((found.name, found.ttl, found.tags), (expected.name.clone(), days(7), tags.clone()));
        assert_eq!(tenant.streams(shop).unwrap().len(), 2 - lost);
        if lost == 0 {
            // Each stream's file says it by itself.
            tenant.delete_stream(shop, streams[0].id()).unwrap();
        }
        store.close().unwrap();
    }
}

// Deletion.

#[test]
fn deleting_a_group_ends_its_streams_for_readers_tails_and_writers() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    let shop = tenant.create_group(group("shop")).unwrap().id;
    let kept = tenant.create_group(group("kept")).unwrap().id;
    let kept = tenant.create_stream(kept, named("web")).unwrap();
    kept.append(&Record::new("kept")).unwrap();
    let web = tenant.create_stream(shop, named("web")).unwrap();
    web.append(&Record::new("a")).unwrap();
    let Step::Records(held) = web.read(Start::Beginning).unwrap().next().unwrap() else {
        panic!("no records")
    };
    let (mut reader, mut tail) = (web.read(Start::Beginning).unwrap(), web.tail(Start::Now).unwrap());
    tenant.delete_group(shop).unwrap();
    check_kind(reader.next(), ErrorKind::StreamDeleted);
    check_kind(tail.next(Duration::ZERO), ErrorKind::StreamDeleted);
    check_kind(web.append(&Record::new("b")), ErrorKind::StreamDeleted);
    check_kind(web.query(&Query::new(Timestamp::MIN..Timestamp::MAX), |_| true), ErrorKind::StreamDeleted);
    assert_eq!(held.iter().next().unwrap().body(), b"a", "what is held stays valid");
    check_kind(tenant.group(shop), ErrorKind::NotFound);
    check_kind(tenant.stream(shop, web.id()), ErrorKind::NotFound);
    check_kind(store.stream_by_id(web.id()), ErrorKind::NotFound);
    check_kind(tenant.delete_group(shop), ErrorKind::NotFound);
    assert!(
        !machine.disk.list_all().iter().any(|path| path.to_string_lossy().contains(&web.id().to_string()))
    );
    assert_eq!(bodies(&kept, Start::Beginning), ["kept"]);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_tail_that_waits_hears_of_its_groups_deletion() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let tenant = store.tenant(&id("ours"));
    let shop = tenant.create_group(group("shop")).unwrap().id;
    let mut tail = tenant.create_stream(shop, named("web")).unwrap().tail(Start::Now).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || tail.next(Duration::from_secs(60)));
        tenant.delete_group(shop).unwrap();
        check_kind(waiting.join().unwrap(), ErrorKind::StreamDeleted);
    });
}

#[test]
fn deleting_a_tenant_takes_its_groups_streams_and_sessions_and_nobody_elses() {
    let machine = Machine::new();
    let store = machine.options().open(DIR).unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| store.tenant(&id(name)));
    let mut sessions = Vec::new();
    let mut streams = Vec::new();
    for tenant in [&ours, &theirs] {
        for name in ["a", "b"] {
            let group = tenant.create_group(group(name)).unwrap().id;
            let stream = tenant.create_stream(group, named("web")).unwrap();
            stream.append(&Record::new(name)).unwrap();
            streams.push(stream);
        }
        let user = UserId::new("user").unwrap();
        sessions.push(tenant.create_session(SessionSpec::new(user)).unwrap());
    }
    store.delete_tenant(&id("ours")).unwrap();
    for stream in &streams[..2] {
        check_kind(stream.read(Start::Beginning), ErrorKind::StreamDeleted);
    }
    assert_eq!(sessions[0].info().unwrap().state, SessionState::Closed);
    assert_eq!(sessions[1].info().unwrap().state, SessionState::Open);
    assert_eq!(store.tenants().unwrap(), [id("default"), id("theirs")]);
    check_kind(store.delete_tenant(&id("ours")), ErrorKind::NotFound);
    assert_eq!(group_names(&theirs), ["a", "b"]);
    assert_eq!(bodies(&streams[3], Start::Beginning), ["b"]);
    assert_eq!(ours.groups().unwrap(), []);
    // One of the same name is another one.
    ours.create_group(group("a")).unwrap();
    assert_eq!(group_names(&ours), ["a"]);
    store.close().unwrap();
    let store = machine.options().open(DIR).unwrap();
    assert_eq!(group_names(&store.tenant(&id("ours"))), ["a"]);
    assert!(store.verify().unwrap().is_sound());
}

/// What a deletion is interrupted on: a group of two streams with records and one without, a session of its tenant's, and a
/// neighbour.
struct Scene {
    machine: Machine,
    shop: GroupId,
    streams: Vec<StreamId>,
    kept: (GroupId, StreamId),
}

impl Scene {
    fn new() -> (Scene, Store) {
        let machine = Machine::new();
        let store = machine.options().open(DIR).unwrap();
        let tenant = store.tenant(&id("ours"));
        let shop = tenant.create_group(group("shop")).unwrap().id;
        let neighbour = store.tenant(&id("theirs"));
        let other = neighbour.create_group(group("shop")).unwrap().id;
        let kept = neighbour.create_stream(other, named("kept")).unwrap();
        let streams = ["a", "b", "empty"].map(|name| tenant.create_stream(shop, named(name)).unwrap());
        tenant.create_session(SessionSpec::new(UserId::new("user").unwrap())).unwrap();
        for stream in [&streams[0], &streams[1], &kept] {
            stream.append_with(&Record::new("a record"), Durability::Sync).unwrap();
        }
        let streams = streams.map(|stream| stream.id()).to_vec();
        (Scene { machine, shop, streams, kept: (other, kept.id()) }, store)
    }

    /// Whether the group is gone, having checked that it is gone or there as a whole, with no mark left on what is there.
    fn is_gone(&self, store: &Store, disk: &SimDisk, when: &str) -> bool {
        let (tenant, neighbour) = (store.tenant(&id("ours")), store.tenant(&id("theirs")));
        let kept = neighbour.stream(self.kept.0, self.kept.1).unwrap();
        assert_eq!(bodies(&kept, Start::Beginning), ["a record"], "{when}");
        let files = disk.list_all();
        let files = files.iter().map(|path| path.to_string_lossy());
        let of_group = |path: &str| self.streams.iter().any(|id| path.contains(&id.to_string()));
        let of_group: Vec<_> = files.filter(|path| of_group(path)).collect();
        assert!(store.verify().unwrap().is_sound(), "{when}");
        match tenant.group(self.shop) {
            Ok(_) => {
                for (number, stream) in self.streams.iter().enumerate() {
                    let stream = tenant.stream(self.shop, *stream).unwrap();
                    let expected: &[&str] = if number < 2 { &["a record"] } else { &[] };
                    assert_eq!(bodies(&stream, Start::Beginning), expected, "{when}");
                }
                assert!(!of_group.iter().any(|path| path.ends_with("/deleted")), "{when}: {of_group:?}");
                false
            }
            Err(err) => {
                assert_eq!(*err.kind(), ErrorKind::NotFound, "{when}");
                for stream in &self.streams {
                    check_kind(store.stream_by_id(*stream), ErrorKind::NotFound);
                }
                assert!(of_group.is_empty(), "{when}: {of_group:?}");
                let is_tenant_gone = !store.tenants().unwrap().contains(tenant.id());
                for session in tenant.sessions().unwrap() {
                    assert_eq!(session.state == SessionState::Closed, is_tenant_gone, "{when}");
                }
                true
            }
        }
    }
}

/// Interrupts a deletion at each of its calls to the disk, by every kind of crash; it finished or did nothing.
#[track_caller]
fn check_interrupted(delete: impl Fn(&Store, &Scene) -> Result<()>) {
    let (mut gone, mut there, mut calls) = (0, 0, 0);
    loop {
        calls += 1;
        let (scene, store) = Scene::new();
        scene.machine.disk.crash_at(calls);
        let done = delete(&store, &scene);
        let is_whole = !scene.machine.disk.is_off();
        let crashes = (0..6).flat_map(|seed| [Crash::Pages { seed }, Crash::Sectors { seed }]);
        for crash in [Crash::KeepAll, Crash::DropUnsynced].into_iter().chain(crashes) {
            let disk = scene.machine.disk.fork_crashed(crash);
            let when = format!("call {calls}, {crash:?}");
            let store = scene.machine.options_on(&disk).open(DIR).unwrap();
            let is_gone = scene.is_gone(&store, &disk, &when);
            assert!(is_gone || done.is_err(), "{when}: it was said to be gone");
            assert!(is_gone || !is_whole, "{when}: nothing interrupted it");
            if is_gone {
                gone += 1;
            } else {
                there += 1;
                delete(&store, &scene).unwrap();
                assert!(scene.is_gone(&store, &disk, &when));
            }
        }
        if is_whole {
            done.unwrap();
            break;
        }
    }
    println!("{calls} calls: {gone} times gone, {there} times there");
    assert!(10 < calls && 0 < gone && 0 < there);
}

#[test]
fn a_crash_anywhere_in_the_deletion_of_a_group_deletes_all_of_it_or_nothing() {
    check_interrupted(|store, scene| store.tenant(&id("ours")).delete_group(scene.shop));
}

#[test]
fn a_crash_anywhere_in_the_deletion_of_a_tenant_deletes_all_of_it_or_nothing() {
    check_interrupted(|store, _| store.delete_tenant(&id("ours")));
}

#[test]
fn a_call_that_fails_in_the_deletion_of_a_group_deletes_all_of_it_or_nothing() {
    let mut outcomes = [0; 2];
    for op in Op::ALL {
        for nth in 1.. {
            let (scene, store) = Scene::new();
            let before = scene.machine.disk.count(op);
            let fault = Fault { op, nth, error: std::io::ErrorKind::Other, sticky: false };
            scene.machine.disk.fail(fault);
            let done = store.tenant(&id("ours")).delete_group(scene.shop);
            let reached = before + nth <= scene.machine.disk.count(op);
            scene.machine.disk.clear_faults();
            let when = format!("{op:?} {nth}");
            let known = store.tenant(&id("ours")).group(scene.shop).is_ok();
            if done.is_ok() {
                assert!(!known, "{when}");
            } else if known {
                for stream in &scene.streams {
                    store.stream_by_id(*stream).unwrap().read(Start::Beginning).unwrap();
                }
            }
            // Whatever could not be removed goes at the next open. A failed sync leaves it open what is true.
            let poisoned = matches!(&done, Err(err) if *err.kind() == ErrorKind::Poisoned);
            let _ = store.close();
            drop(store);
            let store = scene.machine.options().open(DIR).unwrap();
            let is_gone = scene.is_gone(&store, &scene.machine.disk, &when);
            assert!(poisoned || is_gone != known, "{when}");
            outcomes[usize::from(is_gone)] += 1;
            if !reached {
                break;
            }
        }
    }
    assert!(0 < outcomes[0] && 0 < outcomes[1], "{outcomes:?}");
}

#[test]
fn streams_created_while_their_group_is_deleted_go_with_it_or_are_refused() {
    let machine = Machine::new();
    let store = machine
        .options()
        .quotas(Quotas { streams_per_group: 10_000, ..Quotas::default() })
        .open(DIR)
        .unwrap();
    let tenant = store.tenant(&id("ours"));
    for round in 0..20 {
        let shop = tenant.create_group(group("shop")).unwrap().id;
        let created = std::thread::scope(|scope| {
            let creating = scope.spawn(|| {
                let mut created = Vec::new();
                for number in 0.. {
                    match tenant.create_stream(shop, named(&format!("s{number}"))) {
                        Ok(stream) => {
                            let _ = stream.append(&Record::new("a"));
                            created.push(stream.id());
                        }
                        Err(err) => {
                            assert_eq!(*err.kind(), ErrorKind::NotFound, "round {round}");
                            return created;
                        }
                    }
                }
                created
            });
            for _ in 0..round {
                std::thread::yield_now();
            }
            tenant.delete_group(shop).unwrap();
            creating.join().unwrap()
        });
        for id in created {
            check_kind(store.stream_by_id(id), ErrorKind::NotFound);
        }
        assert!(store.verify().unwrap().is_sound());
    }
}

// Many.

#[test]
fn ten_thousand_streams_are_listed_without_opening_one_and_opened_one_by_one() {
    let figures = [100, 10_000].map(|count| {
        let machine = Machine::new();
        let quotas = Quotas { streams_per_group: count, ..Quotas::default() };
        let store = machine.options().quotas(quotas).open(DIR).unwrap();
        let tenant = store.tenant(&id("ours"));
        let shop = tenant.create_group(group("shop")).unwrap().id;
        for number in 0..count {
            tenant.create_stream(shop, named(&format!("stream-{number:05}"))).unwrap();
        }
        let some = tenant.stream_named(shop, "stream-00042").unwrap().id;
        tenant.stream(shop, some).unwrap().append(&Record::new("a")).unwrap();
        store.close().unwrap();
        let calls = |doing: &mut dyn FnMut()| {
            let before = machine.disk.calls();
            doing();
            machine.disk.calls() - before
        };
        let mut store = None;
        let opening = calls(&mut || store = Some(machine.options().open(DIR).unwrap()));
        let store = store.unwrap();
        let tenant = store.tenant(&id("ours"));
        let listing = calls(&mut || assert_eq!(tenant.streams(shop).unwrap().len(), count as usize));
        let reading = calls(&mut || {
            assert_eq!(bodies(&tenant.stream(shop, some).unwrap(), Start::Beginning), ["a"]);
        });
        let fastest = (0..20)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(tenant.streams(shop).unwrap().len(), count as usize);
                began.elapsed()
            })
            .min()
            .unwrap();
        println!("{count} streams: {opening} calls to open, {listing} to list, {reading} to read one; listed in {fastest:?}");
        (opening, listing, reading, fastest / count)
    });
    let [(opening_few, _, reading_few, each_of_few), (opening, listing, reading, each)] = figures;
    assert_eq!((listing, reading), (0, reading_few));
    assert!(opening <= opening_few + 4, "{opening} calls to the disk");
    assert!(
        each < 10 * each_of_few.max(Duration::from_nanos(100)),
        "{each:?} a stream, of few {each_of_few:?}"
    );
}
