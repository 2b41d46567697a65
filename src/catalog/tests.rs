//! What the catalogue promises, on real files.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use super::faulty::Faulty;
use super::*;
use crate::vfs::os::OsVfs;

const DAY: i64 = 86_400_000_000_000;

fn day(days: i64) -> Timestamp {
    Timestamp::from_nanos(days * DAY)
}

fn now() -> Timestamp {
    day(20_000)
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("catalog")
    }

    fn open(&self) -> Result<Catalog> {
        Catalog::open(Arc::new(OsVfs), &self.path(), Mode::Writable, now())
    }

    fn follow(&self) -> Result<Catalog> {
        Catalog::open(Arc::new(OsVfs), &self.path(), Mode::ReadOnly, now())
    }

    fn log(&self, generation: u64) -> PathBuf {
        files::log_path(&self.path(), generation)
    }

    fn snapshot(&self, generation: u64) -> PathBuf {
        files::snapshot_path(&self.path(), generation)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn tenant() -> TenantId {
    Catalog::default_tenant()
}

fn new(name: &str) -> NewStream {
    let name = StreamName::new(name).unwrap();
    NewStream { name, ttl: None, tags: Tags::default(), max_bytes: None, durability: None }
}

fn create(catalog: &mut Catalog, name: &str) -> Result<StreamId> {
    let group = catalog.default_group()?;
    catalog.create_stream(&tenant(), group, new(name), &Quotas::unlimited(), now()).map(|stream| stream.id)
}

fn names(catalog: &Catalog) -> Vec<String> {
    let group = catalog.default_group().unwrap();
    catalog.streams(&tenant(), group).unwrap().map(|stream| stream.name.to_string()).collect()
}

/// Everything a catalogue holds, in an order of its own.
fn content(catalog: &Catalog) -> Vec<String> {
    let mut content: Vec<String> = catalog.state.changes().map(|change| format!("{change:?}")).collect();
    content.sort();
    content
}

#[track_caller]
fn check_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(*result.unwrap_err().kind(), kind);
}

/// A catalogue with a bit of everything, all of it in one log.
fn populate(catalog: &mut Catalog) {
    let (other, quotas) = (TenantId::new("other").unwrap(), Quotas::default());
    catalog.ensure_tenant(&other, now()).unwrap();
    let tags = Tags::new([("service", "checkout")]).unwrap();
    let name = GroupName::new("web").unwrap();
    let web = catalog.create_group(&other, name, None, tags.clone(), &quotas, now()).unwrap().id;
    let id = catalog.create_stream(&other, web, new("access"), &quotas, now()).unwrap().id;
    let change = StreamChange {
        ttl: Some(Some(TtlDays::new(3).unwrap())),
        tags: Some(tags),
        max_bytes: Some(Some(1 << 30)),
        durability: Some(Some(2)),
    };
    catalog.update_stream(id, change, now()).unwrap();
    let gone = create(catalog, "gone").unwrap();
    create(catalog, "kept").unwrap();
    catalog.delete_stream(gone).unwrap();
}

#[test]
fn reopening_keeps_everything() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    populate(&mut catalog);
    let (store, expected) = (catalog.store_id(), content(&catalog));
    drop(catalog);
    for _ in 0..2 {
        let catalog = dir.open().unwrap();
        assert_eq!((catalog.store_id(), content(&catalog)), (store, expected.clone()));
        assert_eq!(content(&dir.follow().unwrap()), expected);
    }
    assert_eq!(dir.names(), ["log-1", "snapshot-1"]);
}

#[test]
fn there_is_nothing_to_follow_before_the_first_writable_open() {
    let dir = Dir::new();
    check_kind(dir.follow(), ErrorKind::NotFound);
    assert!(!dir.path().exists() && !Catalog::exists(&OsVfs, &dir.path()).unwrap());
    dir.open().unwrap();
    assert!(Catalog::exists(&OsVfs, &dir.path()).unwrap());
    assert_eq!(names(&dir.follow().unwrap()), [""; 0]);
}

#[test]
fn names_are_unique_and_lists_are_sorted() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    for name in ["b", "a", "c", "A"] {
        create(&mut catalog, name).unwrap();
    }
    check_kind(create(&mut catalog, "b"), ErrorKind::AlreadyExists);
    assert_eq!(names(&catalog), ["A", "a", "b", "c"]);
    let group = catalog.default_group().unwrap();
    let b = catalog.stream_named(&tenant(), group, "b").unwrap().id;
    catalog.delete_stream(b).unwrap();
    check_kind(catalog.delete_stream(b), ErrorKind::NotFound);
    assert_ne!(create(&mut catalog, "b").unwrap(), b);
    let name = GroupName::new(DEFAULT).unwrap();
    let again = catalog.create_group(&tenant(), name, None, Tags::default(), &Quotas::unlimited(), now());
    check_kind(again.cloned(), ErrorKind::AlreadyExists);
    check_kind(catalog.delete_group(&tenant(), group), ErrorKind::Invalid { field: "log_group_id" });
}

#[test]
fn what_belongs_to_another_tenant_looks_unknown() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    let id = create(&mut catalog, "a").unwrap();
    let group = catalog.default_group().unwrap();
    let other = TenantId::new("other").unwrap();
    let quotas = Quotas::default();
    check_kind(catalog.group(&other, group).cloned(), ErrorKind::NotFound);
    catalog.ensure_tenant(&other, now()).unwrap();
    check_kind(catalog.group(&other, group).cloned(), ErrorKind::NotFound);
    check_kind(catalog.stream_in(&other, group, id).cloned(), ErrorKind::NotFound);
    check_kind(catalog.stream_named(&other, group, "a").cloned(), ErrorKind::NotFound);
    check_kind(catalog.create_stream(&other, group, new("x"), &quotas, now()).cloned(), ErrorKind::NotFound);
    check_kind(catalog.delete_group(&other, group), ErrorKind::NotFound);
    check_kind(
        catalog.update_group(&other, group, GroupChange::default(), now()).cloned(),
        ErrorKind::NotFound,
    );
    assert_eq!(catalog.stream_in(&tenant(), group, id).unwrap().id, id);
    let theirs = GroupName::new("theirs").unwrap();
    let theirs = catalog.create_group(&other, theirs, None, Tags::default(), &quotas, now()).unwrap().id;
    check_kind(catalog.stream_in(&other, theirs, id).cloned(), ErrorKind::NotFound);
    check_kind(catalog.stream(StreamId::from(Uuid::from_u128(1))).cloned(), ErrorKind::NotFound);
}

#[test]
fn quotas_hold_and_deleting_a_group_takes_its_streams_along() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    let quotas = Quotas { groups_per_tenant: 2, streams_per_group: 1, ..Quotas::default() };
    let mut group = |name: &str| {
        let name = GroupName::new(name).unwrap();
        catalog.create_group(&tenant(), name, None, Tags::default(), &quotas, now()).map(|group| group.id)
    };
    let web = group("web").unwrap();
    check_kind(group("db"), ErrorKind::QuotaExceeded { limit: 2 });
    let id = catalog.create_stream(&tenant(), web, new("a"), &quotas, now()).unwrap().id;
    let second = catalog.create_stream(&tenant(), web, new("b"), &quotas, now());
    check_kind(second.cloned(), ErrorKind::QuotaExceeded { limit: 1 });
    assert_eq!(catalog.delete_group(&tenant(), web).unwrap(), [id]);
    for catalog in [&catalog, &dir.follow().unwrap()] {
        check_kind(catalog.stream(id).cloned(), ErrorKind::NotFound);
        assert_eq!(catalog.groups(&tenant()).unwrap().len(), 1);
    }
}

#[test]
fn deleting_a_tenant_is_one_change_that_takes_its_groups_and_streams_along() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    populate(&mut catalog);
    let other = TenantId::new("other").unwrap();
    let web = catalog.group_named(&other, "web").unwrap().id;
    let access = catalog.stream_named(&other, web, "access").unwrap().id;
    let before = catalog.sequence;
    assert_eq!(catalog.delete_tenant(&other).unwrap(), [access]);
    assert_eq!(catalog.sequence, before + 1);
    check_kind(catalog.delete_tenant(&other), ErrorKind::NotFound);
    check_kind(catalog.delete_tenant(&tenant()), ErrorKind::Invalid { field: "project_id" });
    for catalog in [&catalog, &dir.follow().unwrap()] {
        check_kind(catalog.stream(access).cloned(), ErrorKind::NotFound);
        check_kind(catalog.group(&other, web).cloned(), ErrorKind::NotFound);
        assert_eq!(catalog.tenants().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(), [DEFAULT]);
        assert_eq!(names(catalog), ["kept"]);
    }
    // As docs/format.md numbers it.
    let record = files::encode_record(catalog.store_id(), 7, Change::DeleteTenant(other));
    let payload = [&5u32.to_le_bytes()[..], &5u64.to_le_bytes(), b"other"].concat();
    assert!(record.windows(payload.len()).any(|window| window == payload));
}

#[test]
fn a_torn_last_change_is_all_that_is_lost_wherever_it_tore() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    populate(&mut catalog);
    let (expected, start) = (content(&catalog), catalog.log_end as usize);
    create(&mut catalog, "last").unwrap();
    drop(catalog);
    let whole = fs::read(dir.log(1)).unwrap();
    for end in start..whole.len() {
        // The size may have reached the disk while some of the bytes did not.
        for torn in [whole[..end].to_vec(), [&whole[..end], &vec![0; whole.len() - end][..]].concat()] {
            if torn == whole {
                continue;
            }
            fs::write(dir.log(1), &torn).unwrap();
            assert_eq!(content(&dir.follow().unwrap()), expected, "cut at {end}");
            assert_eq!(fs::read(dir.log(1)).unwrap(), torn, "a reader writes nothing");
            let mut catalog = dir.open().unwrap();
            assert_eq!(content(&catalog), expected, "cut at {end}");
            // Shorter than what was torn, so that some of that stays behind it.
            create(&mut catalog, "x").unwrap();
            let expected = content(&catalog);
            drop(catalog);
            assert_eq!(content(&dir.open().unwrap()), expected, "cut at {end}");
        }
    }
}

#[test]
fn every_flipped_bit_before_the_last_change_is_corrupt() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    create(&mut catalog, "a").unwrap();
    create(&mut catalog, "b").unwrap();
    let start = catalog.log_end as usize;
    create(&mut catalog, "c").unwrap();
    drop(catalog);
    let whole = fs::read(dir.log(1)).unwrap();
    for bit in 0..start * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(dir.log(1), bytes).unwrap();
        let err = dir.open().unwrap_err();
        assert_eq!(*err.kind(), ErrorKind::Corrupt, "bit {bit}");
        assert!(err.to_string().contains("log-1 at position"), "{err}");
        if bit % 64 == 0 {
            check_kind(dir.follow(), ErrorKind::Corrupt);
            let (lossy, problems) = Catalog::load_lossy(Arc::new(OsVfs), &dir.path()).unwrap();
            assert_eq!(names(&lossy), if bit / 8 < start / 2 { ["b", "c"] } else { ["a", "c"] }, "bit {bit}");
            assert!(!problems.is_empty());
        }
    }
}

#[test]
fn a_new_generation_keeps_everything_and_the_one_before() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    for generation in 2..=4 {
        create(&mut catalog, &format!("s{generation}")).unwrap();
        catalog.roll_at = 0;
        create(&mut catalog, &format!("t{generation}")).unwrap();
        let (old, new) = (generation - 1, generation);
        let expected = [
            format!("log-{old}"),
            format!("log-{new}"),
            format!("snapshot-{old}"),
            format!("snapshot-{new}"),
        ];
        assert_eq!(dir.names(), expected);
    }
    let expected = content(&catalog);
    assert_eq!(content(&dir.follow().unwrap()), expected);
    drop(catalog);
    assert_eq!(content(&dir.open().unwrap()), expected);
}

#[test]
fn one_damaged_snapshot_loses_nothing() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    populate(&mut catalog);
    catalog.roll_at = 0;
    create(&mut catalog, "after").unwrap();
    let expected = content(&catalog);
    drop(catalog);
    let (whole, log) = (fs::read(dir.snapshot(2)).unwrap(), fs::read(dir.log(1)).unwrap());
    for byte in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x10;
        fs::write(dir.snapshot(2), bytes).unwrap();
        let catalog = dir.follow().unwrap();
        assert_eq!(content(&catalog), expected, "byte {byte}");
        assert_eq!(catalog.problems()[0].path, dir.snapshot(2));
    }
    // Without the older log it cannot be told what the snapshot held.
    fs::write(dir.log(1), &log[..log.len() - 1]).unwrap();
    check_kind(dir.open(), ErrorKind::Corrupt);
    fs::write(dir.log(1), log).unwrap();
    assert_eq!(content(&dir.open().unwrap()), expected);
    assert!(dir.names().contains(&"snapshot-3".into()));
    // What opening wrote stands by itself.
    assert!(dir.open().unwrap().problems().is_empty());
    fs::remove_file(dir.snapshot(1)).unwrap();
    assert_eq!(content(&dir.open().unwrap()), expected);
}

#[test]
fn a_missing_log_or_snapshot_is_corrupt_and_not_an_empty_store() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    create(&mut catalog, "a").unwrap();
    catalog.roll_at = 0;
    create(&mut catalog, "b").unwrap();
    drop(catalog);
    fs::remove_file(dir.snapshot(2)).unwrap();
    assert_eq!(names(&dir.follow().unwrap()), ["a", "b"]);
    let log = fs::read(dir.log(1)).unwrap();
    fs::remove_file(dir.log(1)).unwrap();
    check_kind(dir.open(), ErrorKind::Corrupt);
    fs::write(dir.log(1), log).unwrap();
    fs::remove_file(dir.snapshot(1)).unwrap();
    check_kind(dir.open(), ErrorKind::Corrupt);
    fs::remove_file(dir.log(1)).unwrap();
    fs::remove_file(dir.log(2)).unwrap();
    assert!(!Catalog::exists(&OsVfs, &dir.path()).unwrap());
}

#[test]
fn a_newer_version_is_unsupported_and_never_fallen_back_from() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    catalog.roll().unwrap();
    let head = files::Head { store: catalog.store_id(), generation: 3, sequence: 0, records: 0 };
    drop(catalog);
    let newer = crate::format::envelope::encode(files::HEAD, files::VERSION + 1, &head);
    fs::write(dir.snapshot(3), newer).unwrap();
    check_kind(dir.open(), ErrorKind::Unsupported);
    check_kind(Catalog::load_lossy(Arc::new(OsVfs), &dir.path()), ErrorKind::Unsupported);
}

#[test]
fn repair_brings_lost_streams_back_from_their_metadata() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    populate(&mut catalog);
    let ids: Vec<StreamId> = catalog.all_streams().map(|stream| stream.id).collect();
    let metas: Vec<Vec<u8>> = ids.iter().map(|&id| catalog.meta(id).unwrap().encode()).collect();
    let metas: Vec<Meta> =
        metas.iter().map(|bytes| Meta::decode(bytes, Path::new("meta")).unwrap()).collect();
    let (store, expected) = (catalog.store_id(), content(&catalog));
    drop(catalog);

    // The log's first half is gone: with it the other tenant, and all that belongs to it.
    let mut bytes = fs::read(dir.log(1)).unwrap();
    let half = bytes.len() / 2;
    bytes[..half].fill(0xFF);
    fs::write(dir.log(1), bytes).unwrap();
    check_kind(dir.open(), ErrorKind::Corrupt);
    let (mut catalog, problems) = Catalog::load_lossy(Arc::new(OsVfs), &dir.path()).unwrap();
    assert!(problems.iter().all(|problem| problem.path == dir.log(1)) && !problems.is_empty());
    check_kind(create(&mut catalog, "early"), ErrorKind::ReadOnly);
    catalog.rewrite(now()).unwrap();
    for meta in &metas {
        let known = catalog.stream(meta.stream.id).is_ok();
        let restored = catalog.restore_stream(meta.clone(), now()).cloned();
        if known {
            check_kind(restored, ErrorKind::AlreadyExists)
        } else {
            assert_eq!(restored.unwrap(), meta.stream)
        }
    }
    assert_eq!(content(&catalog), expected);
    drop(catalog);
    assert_eq!(content(&dir.open().unwrap()), expected);

    // Everything is gone.
    fs::remove_dir_all(dir.path()).unwrap();
    let mut catalog = Catalog::create(Arc::new(OsVfs), &dir.path(), metas[0].store, now()).unwrap();
    for meta in metas {
        catalog.restore_stream(meta, now()).unwrap();
    }
    drop(catalog);
    let catalog = dir.open().unwrap();
    assert_eq!((catalog.store_id(), catalog.all_streams().len()), (store, ids.len()));
}

#[test]
fn what_once_expired_stays_expired_and_nothing_else_expires() {
    for seed in 1..=40u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let dir = Dir::new();
        let mut catalog = dir.open().unwrap();
        let group = catalog.default_group().unwrap();
        let ids = [create(&mut catalog, "a").unwrap(), create(&mut catalog, "b").unwrap()];
        let cut = |catalog: &Catalog, id, now: Timestamp| {
            let stream = catalog.stream(id).unwrap();
            raised(stream.expired_before, catalog.effective_ttl(stream), now)
        };
        // The model: the latest time that was ever expired.
        let mut expired = ids.map(|id| cut(&catalog, id, now()));
        let mut now = now();
        for _ in 0..12 {
            now = now.saturating_add(std::time::Duration::from_secs(draw(20) * 43_200));
            let observe = |catalog: &Catalog, expired: &mut [Timestamp; 2]| {
                for (id, expired) in ids.iter().zip(expired) {
                    let ttl = catalog.effective_ttl(catalog.stream(*id).unwrap());
                    *expired = raised(*expired, ttl, now);
                    assert_eq!(cut(catalog, *id, now), *expired, "seed {seed}");
                }
            };
            observe(&catalog, &mut expired);
            let ttl = TtlDays::new(1 + draw(30) as u16).unwrap();
            match draw(4) {
                0 => {
                    let change = GroupChange { ttl: Some(ttl), tags: None };
                    catalog.update_group(&tenant(), group, change, now).unwrap();
                }
                1 => {
                    drop(catalog);
                    catalog = dir.open().unwrap();
                }
                which => {
                    let ttl = (which == 2).then_some(ttl);
                    let change = StreamChange { ttl: Some(ttl), ..StreamChange::default() };
                    catalog.update_stream(ids[draw(2) as usize], change, now).unwrap();
                }
            }
            observe(&catalog, &mut expired);
        }
    }
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    let id = create(&mut catalog, "a").unwrap();
    let before = catalog.log_end;
    catalog.update_stream(id, StreamChange::default(), day(30_000)).unwrap();
    catalog.ensure_tenant(&tenant(), now()).unwrap();
    let group = catalog.default_group().unwrap();
    let same = GroupChange { ttl: Some(TtlDays::DEFAULT), tags: None };
    catalog.update_group(&tenant(), group, same, day(30_000)).unwrap();
    assert_eq!(catalog.log_end, before);
}

#[test]
fn a_reader_sees_changes_and_generations_come() {
    let dir = Dir::new();
    let mut catalog = dir.open().unwrap();
    let mut reader = dir.follow().unwrap();
    check_kind(create(&mut reader, "x"), ErrorKind::ReadOnly);
    assert!(!reader.refresh().unwrap());
    for i in 0..20 {
        create(&mut catalog, &format!("s{i}")).unwrap();
        if i % 5 == 4 {
            catalog.roll().unwrap();
        }
        if i % 3 == 0 {
            assert!(reader.refresh().unwrap());
            assert!(!reader.refresh().unwrap());
            assert_eq!(content(&reader), content(&catalog));
        }
    }
    // Half a change is not there yet.
    let record = files::encode_record(
        catalog.store_id(),
        catalog.sequence + 1,
        Change::DeleteStream(StreamId::from(Uuid::from_u128(1))),
    );
    assert!(reader.refresh().unwrap());
    let file = OsVfs.open(&dir.log(catalog.generation), Access::CreateNew).unwrap();
    file.write_at(&record[..record.len() / 2], catalog.log_end).unwrap();
    assert!(!reader.refresh().unwrap());
    assert!(dir.follow().is_ok());
    create(&mut catalog, "z").unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!(content(&reader), content(&catalog));
}

#[test]
fn streams_cost_the_log_what_they_are_and_no_more() {
    let dir = Dir::new();
    let vfs = Faulty::default();
    vfs.skip_sync.store(true, Relaxed);
    let mut catalog = Catalog::open(Arc::new(vfs), &dir.path(), Mode::Writable, now()).unwrap();
    for i in 0..10_000 {
        create(&mut catalog, &format!("stream-{i:05}")).unwrap();
    }
    let expected = content(&catalog);
    drop(catalog);
    let sizes =
        dir.names().iter().map(|name| fs::metadata(dir.path().join(name)).unwrap().len()).sum::<u64>();
    assert!(sizes < 4 * 10_000 * 250, "{sizes}");
    assert_eq!(content(&dir.follow().unwrap()), expected);
}

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let dir = Dir::new();
    let vfs = Faulty::default();
    let mut catalog = Catalog::open(Arc::new(vfs.clone()), &dir.path(), Mode::Writable, now()).unwrap();
    create(&mut catalog, "a").unwrap();
    let expected = content(&catalog);
    for room in 0..300 {
        vfs.room.store(room, Relaxed);
        vfs.full.store(true, Relaxed);
        check_kind(create(&mut catalog, "refused-and-a-long-name"), ErrorKind::NoSpace);
        assert_eq!(content(&catalog), expected);
        assert_eq!(content(&dir.follow().unwrap()), expected, "room for {room}");
    }
    // Nor is a new generation needed for changes to go on.
    catalog.roll_at = 0;
    vfs.full.store(false, Relaxed);
    vfs.no_replace.store(true, Relaxed);
    create(&mut catalog, "b").unwrap();
    create(&mut catalog, "c").unwrap();
    assert_eq!(dir.names(), ["log-1", "log-2", "snapshot-1"]);
    assert_eq!(content(&dir.follow().unwrap()), content(&catalog));
    vfs.no_replace.store(false, Relaxed);
    catalog.roll_at = 0;
    create(&mut catalog, "d").unwrap();
    let expected = content(&catalog);
    drop(catalog);
    assert_eq!(content(&dir.open().unwrap()), expected);
}

#[test]
fn a_failed_sync_poisons_until_reopened() {
    let dir = Dir::new();
    let vfs = Faulty::default();
    let mut catalog = Catalog::open(Arc::new(vfs.clone()), &dir.path(), Mode::Writable, now()).unwrap();
    create(&mut catalog, "a").unwrap();
    let expected = content(&catalog);
    vfs.no_sync.store(true, Relaxed);
    check_kind(create(&mut catalog, "b"), ErrorKind::Poisoned);
    vfs.no_sync.store(false, Relaxed);
    check_kind(create(&mut catalog, "c"), ErrorKind::Poisoned);
    assert_eq!(content(&catalog), expected);
    drop(catalog);
    // Whether the change is there is open; if it is, then durably, and more can follow.
    let mut catalog = Catalog::open(Arc::new(vfs), &dir.path(), Mode::Writable, now()).unwrap();
    create(&mut catalog, "c").unwrap();
    assert_eq!(names(&catalog).last().unwrap(), "c");
}
