//! Files that are missing, too many, somebody else's or of another day: told, never taken for what they are not, and the rest
//! is served.

#![cfg(feature = "sim")]

mod common;
mod damaged;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use damaged::*;
use tailwater::vfs::sim::{Crash, SimDisk};
use tailwater::*;

fn gone(range: Range<u64>) -> Vec<(Range<u64>, GapReason)> {
    vec![(range, GapReason::Missing)]
}

#[test]
fn a_deleted_segment_is_missing_and_both_sides_are_read() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        // The first ones, not to be taken for what retention removed, and one in the middle.
        for index in [0, 1] {
            let what = format!("{state}: segment {index}");
            let left = scene.check(&scene.changed(disk, |disk| disk.remove(&scene.files[index])), &what);
            assert_eq!(left.gaps(), gone(scene.range(index)), "{what}");
        }
        let both = scene.changed(disk, |disk| scene.files[..2].iter().for_each(|file| disk.remove(file)));
        assert_eq!(scene.check(&both, state).gaps(), gone(0..base(&scene.files[2])), "{state}");
    }
}

#[test]
fn a_session_gets_one_gap_for_a_deleted_segment_and_goes_on() {
    let scene = Scene::new();
    let disk = scene.changed(&scene.closed, |disk| disk.remove(&scene.files[1]));
    let (store, _stream) = scene.machine.open_on(&disk).unwrap();
    let tenant = store.tenant(&TenantId::new("default").unwrap());
    let spec = SessionSpec::new(UserId::new("user").unwrap()).start(SessionStart::Beginning);
    let session = tenant.create_session(spec).unwrap();
    let (mut records, mut gaps) = (0, Vec::new());
    loop {
        let polled = session.poll(std::time::Duration::ZERO, Limit::default()).unwrap();
        for (item, _) in polled.iter() {
            match item {
                PolledItem::Record(_) => records += 1,
                PolledItem::Gap(gap) => gaps.push((gap.start..gap.end, gap.reason)),
            }
        }
        if polled.is_caught_up() {
            break;
        }
    }
    assert_eq!(gaps, gone(scene.range(1)));
    let lost = scene.all.iter().filter(|seen| scene.range(1).contains(&seen.offset)).count();
    assert_eq!(records, scene.all.len() - lost);
}

#[test]
fn where_the_active_segment_is_deleted_no_offset_known_durable_is_used_again() {
    let scene = Scene::new();
    let last = scene.files.last().unwrap();
    let left = scene.check(&scene.changed(&scene.closed, |disk| disk.remove(last)), "closed");
    assert_eq!(left.gaps(), gone(scene.range(2)), "the checkpoint says how far it went");

    // Of a killed process the checkpoint is older, and what it does not know nobody does: a new epoch says so.
    let disk = scene.changed(&scene.killed, |disk| disk.remove(last));
    let left = scene.look(&disk);
    let kept: Vec<_> = scene.all.iter().filter(|seen| seen.end <= base(last)).map(key).collect();
    assert!(left.seen.iter().map(key).eq(kept.iter().copied()));
    assert_eq!(left.gaps.len(), 1);
    let appended = left.stream.append_with(&Record::new("on"), Durability::Sync).unwrap();
    assert!(left.gaps[0].end <= appended.offset() && base(last) < appended.offset());
    for lost in scene.all.iter().filter(|seen| left.gaps[0].end < seen.end) {
        let err = left.stream.read(Start::Cursor(lost.cursor)).unwrap_err();
        assert!(matches!(err.kind(), ErrorKind::CursorDiverged { .. }), "{err}");
    }
}

/// Puts a segment's bytes under the name of another base. Whatever that is, the log is read as if it were not there.
#[track_caller]
fn check_stranger(scene: &Scene, disk: &SimDisk, bytes: &[u8], name: u64, what: &str) {
    let path = scene.dir().join(format!("{name:020}.seg"));
    let disk = scene.changed(disk, |disk| disk.write_file(&path, bytes));
    let left = scene.check(&disk, what);
    assert!(left.is_all_of(scene) && left.gaps.is_empty(), "{what}: {:?}", left.gaps);
    // Set aside by recovery, or told of.
    let set_aside = left.stream.recovery().set_aside.len();
    let told = left.damage.iter().any(|damage| damage.path == path);
    assert!(told || set_aside == 1, "{what}: {:?}", left.damage);
}

#[test]
fn a_segment_copied_under_another_name_hides_nothing() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        for (index, file) in scene.files.iter().enumerate() {
            let bytes = scene.closed.read_file(file);
            let end = scene.range(2).end;
            for name in
                [8, 104, base(&scene.files[1]) + 72, base(&scene.files[2]) + 72, end, 1 << 20, 1 << 40]
            {
                let what = format!("{state}: segment {index} once more as {name}");
                check_stranger(&scene, disk, &bytes, name, &what);
            }
        }
    }
}

#[test]
fn noise_and_nothing_under_a_segments_name_hide_nothing() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        for bytes in [vec![], vec![0], vec![0; 1 << 16], vec![0xff; 1 << 16]] {
            for name in [104, scene.range(2).end, 1 << 20] {
                let what = format!("{state}: {} bytes as {name}", bytes.len());
                check_stranger(&scene, disk, &bytes, name, &what);
            }
        }
    }
}

#[test]
fn a_renamed_segment_is_missing_where_it_was_and_told_where_it_is() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        let bytes = disk.read_file(&scene.files[1]);
        for name in [104, base(&scene.files[2]) + 72, 1 << 20] {
            let what = format!("{state}: as {name}");
            let disk = scene.changed(disk, |disk| {
                disk.remove(&scene.files[1]);
                disk.write_file(scene.dir().join(format!("{name:020}.seg")), &bytes);
            });
            let left = scene.check(&disk, &what);
            let lost = scene.range(1);
            let kept = scene.all.iter().filter(|seen| !lost.contains(&seen.offset));
            assert!(left.seen.iter().map(key).eq(kept.map(key)), "{what}");
            assert_eq!(left.stretches(), [lost], "{what}");
        }
    }
}

/// A segment's header as another store, stream or build would have written it, in both copies, its checksum right.
fn with_header(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in [0, 2048] {
        let header = &mut bytes[at..at + 136];
        change(header);
        let crc = crc32fast::hash(&header[..132]);
        header[132..].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

#[test]
fn a_segment_of_another_stream_or_store_is_not_read_as_ones_own() {
    let scene = Scene::new();
    let other = Scene::new();
    for (state, disk) in scene.disks() {
        for (index, file) in scene.files.iter().enumerate().take(2) {
            let bytes = scene.closed.read_file(file);
            let strangers = [
                ("another stream's", with_header(&bytes, |header| header[40] ^= 1)),
                ("another store's", with_header(&bytes, |header| header[24] ^= 1)),
                ("a real one's", other.closed.read_file(&other.files[index])),
            ];
            for (whose, stranger) in strangers {
                let what = format!("{state}: segment {index} is {whose}");
                let disk = scene.changed(disk, |disk| disk.write_file(file, &stranger));
                let left = scene.check(&disk, &what);
                // Where it lies behind the last sealed one recovery reads it, and sets it aside.
                let is_set_aside = !left.stream.recovery().set_aside.is_empty();
                let reason = if is_set_aside { GapReason::Missing } else { GapReason::Corrupt };
                assert_eq!(left.gaps(), [(scene.range(index), reason)], "{what}");
            }
        }
    }
}

#[test]
fn unknown_features_are_overlooked_or_refused_as_their_kind_asks() {
    let scene = Scene::new();
    for (index, file) in scene.files.iter().enumerate() {
        let bytes = scene.closed.read_file(file);
        let compat = with_header(&bytes, |header| header[12] = 0x10);
        let disk = scene.changed(&scene.closed, |disk| disk.write_file(file, &compat));
        let left = scene.check(&disk, "compat");
        assert!(left.is_all_of(&scene) && left.gaps.is_empty() && left.damage.is_empty());
        let newer: [fn(&mut [u8]); 2] = [|header| header[16] = 0x10, |header| header[8] = 2];
        for newer in newer {
            let disk =
                scene.changed(&scene.closed, |disk| disk.write_file(file, &with_header(&bytes, newer)));
            let read = scene.machine.open_on(&disk).and_then(|(_store, stream)| {
                let mut reader = stream.read(Start::Beginning)?;
                while !matches!(reader.next()?, Step::End) {}
                Ok(())
            });
            let err = read.unwrap_err();
            assert_eq!(*err.kind(), ErrorKind::Unsupported, "segment {index}: {err}");
            assert!(err.to_string().contains("newer than this engine"), "{err}");
        }
    }
}

/// What a store holds beside segments, by what an operator would call it.
fn papers(scene: &Scene) -> [(&'static str, PathBuf); 6] {
    let dir = Path::new(DIR);
    [
        ("lock", dir.join("LOCK")),
        ("clock", dir.join("clock")),
        ("era", dir.join("era")),
        ("catalogue", dir.join("catalog")),
        ("meta", scene.dir().join("meta")),
        ("checkpoint", scene.dir().join("checkpoint")),
    ]
}

#[test]
fn any_files_beside_the_segments_may_be_missing_and_the_log_is_there() {
    let scene = Scene::new();
    let papers = papers(&scene);
    for (state, disk) in scene.disks() {
        for subset in 0..1_u32 << papers.len() {
            let missing: Vec<_> =
                papers.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1).collect();
            let names: Vec<_> = missing.iter().map(|(_, (name, _))| *name).collect();
            let what = format!("{state} without {names:?}");
            let disk =
                scene.changed(disk, |disk| missing.iter().for_each(|(_, (_, path))| disk.remove(path)));
            if !names.contains(&"catalogue") {
                let left = scene.check(&disk, &what);
                assert!(left.is_all_of(&scene) && left.gaps.is_empty(), "{what}: {:?}", left.gaps);
                // A checkpoint is made with all that belongs beside it.
                let is_told = names.contains(&"meta") && !names.contains(&"checkpoint");
                assert_eq!(!left.damage.is_empty(), is_told, "{what}: {:?}", left.damage);
                continue;
            }
            let err = scene.machine.options_on(&disk).open(DIR).unwrap_err();
            assert_eq!(*err.kind(), ErrorKind::Corrupt, "{what}");
            assert!(err.to_string().contains("`repair`"), "{what}: {err}");
        }
    }
}

#[test]
fn an_old_checkpoint_beside_newer_segments_loses_nothing_and_a_newer_one_tells_what_is_missing() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let append = |stream: &Stream, count: usize| {
        for number in 0..count {
            stream.append(&Record::new(&format!("{number:0900}"))).unwrap();
        }
    };
    append(&stream, 100);
    let id = stream.id();
    store.close().unwrap();
    let old = machine.disk.fork_crashed(Crash::KeepAll);
    let (store, stream) = machine.open().unwrap();
    append(&stream, 200);
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    let all = records(&stream, Start::Beginning);
    machine.crash(Crash::KeepAll);
    let checkpoint = Path::new(DIR).join(format!("streams/{id}/checkpoint"));

    let disk = machine.disk.fork_crashed(Crash::KeepAll);
    disk.write_file(&checkpoint, &old.read_file(&checkpoint));
    let (store, stream) = machine.open_on(&disk).unwrap();
    assert!(records(&stream, Start::Beginning) == all);
    assert!(store.verify().unwrap().is_sound());

    let disk = old.fork_crashed(Crash::KeepAll);
    disk.write_file(&checkpoint, &machine.disk.read_file(&checkpoint));
    let (store, stream) = machine.open_on(&disk).unwrap();
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert!(seen == all[..100]);
    assert!(gaps.is_sorted_by(|gap, next| gap.end == next.start), "{gaps:?}");
    assert_eq!((gaps[0].start, gaps[gaps.len() - 1].end), (all[99].end, all[299].end));
    assert!(!store.verify().unwrap().is_sound());
}

/// The files of a store with one record, closed.
fn backup_of_one(machine: &Machine) -> Vec<(PathBuf, Vec<u8>)> {
    let (store, stream) = machine.create();
    append(&stream, "1");
    store.close().unwrap();
    let files = machine.disk.list_all().into_iter();
    files.map(|file| (file.clone(), machine.disk.read_file(&file))).collect()
}

#[test]
fn a_backup_copied_over_a_store_that_went_on_is_gone_on_with() {
    let fill = |stream: &Stream, bytes: usize| {
        for _ in 0..40 {
            append(stream, &"x".repeat(bytes));
        }
    };
    // Its next segment is called as the one that was there, or lies before it, or around its name.
    for bytes in [3000, 4000, 2500, 1000] {
        let machine = Machine::new();
        let backup = backup_of_one(&machine);
        let (store, stream) = machine.open().unwrap();
        fill(&stream, 3000);
        store.close().unwrap();
        backup.iter().for_each(|(file, bytes)| machine.disk.write_file(file, bytes));
        let (_store, stream) = machine.open().unwrap();
        fill(&stream, bytes);
        let all = records(&stream, Start::Beginning);
        assert_eq!(all.len(), 41);
        machine.crash(Crash::KeepAll);
        let (store, stream) = machine.open().unwrap();
        assert!(records(&stream, Start::Beginning) == all, "{bytes} bytes");
        assert!(store.verify().unwrap().is_sound());
    }
}

#[test]
fn a_backup_copied_over_a_store_that_went_on_is_gone_on_with_also_by_who_is_killed_amid_its_first_segment() {
    // Up to before where the segment began that came after it, about there, and beyond.
    for count in [0, 1, 16, 17, 18, 19, 24] {
        let machine = Machine::new();
        let backup = backup_of_one(&machine);
        let (store, stream) = machine.open().unwrap();
        for _ in 0..9 {
            append(&stream, &"x".repeat(17_960));
        }
        store.close().unwrap();
        let segments = machine.segments().len();
        assert!(3 < segments, "{segments} segments");
        backup.iter().for_each(|(file, bytes)| machine.disk.write_file(file, bytes));
        let (_store, stream) = machine.open().unwrap();
        for _ in 0..count {
            append(&stream, &"y".repeat(1000));
        }
        let all = records(&stream, Start::Beginning);
        assert_eq!(all.len(), 1 + count);
        machine.crash(Crash::KeepAll);
        let (store, stream) = machine.open().unwrap();
        let what = format!("{count} more, {:?}", stream.recovery());
        assert!(records(&stream, Start::Beginning) == all, "{what}");
        assert_eq!(stream.recovery().set_aside.len(), segments - 1, "{what}");
        append(&stream, "2");
        assert_eq!(records(&stream, Start::Beginning).len(), all.len() + 1, "{what}");
        assert!(store.verify().unwrap().is_sound(), "{what}");
        // What was there of the later log comes back no more.
        store.close().unwrap();
        machine.crash(Crash::DropUnsynced);
        assert_eq!(records(&machine.open().unwrap().1, Start::Beginning).len(), all.len() + 1, "{what}");
    }
}

/// What is under another segment's name beside a log of ten records in one, of which some came only after that.
#[track_caller]
fn check_within(crash: Crash, ahead: bool, name: u64, change: impl Fn(&[u8]) -> Vec<u8>) {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    append(&stream, "1");
    store.close().unwrap();
    let (_store, stream) = machine.open().unwrap();
    let file = machine.segments().remove(0);
    let other = file.with_file_name(format!("{name:020}.seg"));
    let stranger = change(&machine.disk.read_file(&file));
    if ahead {
        machine.disk.write_file(&other, &stranger);
    }
    for number in 2..=10 {
        append(&stream, &number.to_string());
    }
    if crash == Crash::DropUnsynced {
        stream.sync().unwrap();
    }
    let all = records(&stream, Start::Beginning);
    assert_eq!(all.len(), 10);
    machine.crash(crash);
    machine.disk.write_file(&other, &stranger);
    let (store, stream) = machine.open().unwrap();
    let what = format!("{crash:?}, there ahead: {ahead}, as {name}: {:?}", stream.recovery());
    assert!(records(&stream, Start::Beginning) == all, "{what}");
    assert_eq!((stream.recovery().set_aside.len(), stream.recovery().corrupt.len()), (1, 0), "{what}");
    append(&stream, "11");
    assert_eq!(records(&stream, Start::Beginning).len(), 11, "{what}");
    assert!(store.verify().unwrap().is_sound(), "{what}");
}

#[test]
fn what_is_called_after_a_place_within_the_segment_being_written_costs_no_record() {
    for crash in [Crash::KeepAll, Crash::DropUnsynced] {
        for ahead in [false, true] {
            for name in (8..400).step_by(8) {
                check_within(crash, ahead, name, |_| vec![0xff; 1 << 15]);
                check_within(crash, ahead, name, |bytes| bytes.to_vec());
            }
            // As the one behind it would have been called, in a log that went on otherwise.
            for name in (8_u64..320).step_by(8) {
                let named = |header: &mut [u8]| {
                    header[56..64].copy_from_slice(&name.to_le_bytes());
                    header[104..112].fill(0);
                };
                check_within(crash, ahead, name, |bytes| with_header(bytes, named));
            }
        }
    }
}

#[test]
fn an_old_catalogue_beside_newer_streams_tells_of_those_it_does_not_know() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    stream.append(&Record::new("a")).unwrap();
    store.close().unwrap();
    let old = machine.disk.fork_crashed(Crash::KeepAll);
    let store = machine.options().open(DIR).unwrap();
    let newer = store.create_stream(StreamSpec::new(StreamName::new("newer").unwrap())).unwrap();
    newer.append(&Record::new("b")).unwrap();
    let id = newer.id();
    store.close().unwrap();
    let catalog = Path::new(DIR).join("catalog");
    machine.disk.remove(&catalog);
    for path in old.list_all().into_iter().filter(|path| path.starts_with(&catalog)) {
        machine.disk.write_file(&path, &old.read_file(&path));
    }
    let (store, stream) = machine.open().unwrap();
    assert_eq!(bodies(&stream, Start::Beginning), ["a"]);
    assert_eq!(*store.stream("newer").unwrap_err().kind(), ErrorKind::NotFound);
    let damage = store.verify().unwrap().damage;
    assert!(matches!(&damage[..], [damage] if damage.stream == Some(id)), "{damage:?}");
    // And `repair` brings it back.
    store.close().unwrap();
    let dir = on_real_files(&machine.disk);
    assert_eq!(repair(dir.path()).unwrap().restored_streams, [id]);
    let clock = Arc::new(machine.clock.clone());
    let store = Options::new().background(false).clock(clock).open(dir.path()).unwrap();
    assert_eq!(store.stream("newer").unwrap().published().unwrap(), newer_end());
}

/// Where the log of one record of one byte ends.
fn newer_end() -> u64 {
    32
}

#[test]
fn what_stands_in_the_place_of_a_meta_and_is_none_is_told_and_set_aside() {
    let scene = Scene::new();
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("a directory", |meta| std::fs::create_dir(meta).unwrap()),
        ("a full directory", |meta| std::fs::create_dir_all(meta.join("a")).unwrap()),
        ("a link to nothing", |meta| std::os::unix::fs::symlink("nowhere", meta).unwrap()),
        ("too large", |meta| std::fs::write(meta, vec![0; 2 << 20]).unwrap()),
    ];
    for disk in [&scene.closed, &scene.killed] {
        for (what, change) in changes {
            let dir = on_real_files(disk);
            let meta = dir.path().join("streams").join(scene.id.to_string()).join("meta");
            std::fs::remove_file(&meta).unwrap();
            change(&meta);
            let options = || Options::new().background(false).clock(Arc::new(scene.machine.clock.clone()));
            let damage = options().open_read_only(dir.path()).unwrap().verify().unwrap().damage;
            let told: Vec<_> = damage.iter().map(|damage| &damage.path).collect();
            assert_eq!(told, [&meta], "{what}");
            let report = repair(dir.path()).unwrap();
            let is_set_aside =
                |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("meta.");
            assert!(report.set_aside.iter().any(is_set_aside), "{what}: {report:?}");
            let store = options().open(dir.path()).unwrap();
            assert_eq!(store.verify().unwrap().damage, [], "{what}");
        }
    }
}

#[test]
fn a_stream_whose_meta_went_first_as_it_is_deleted_is_not_damaged() {
    let scene = Scene::new();
    let disk = scene.changed(&scene.closed, |disk| disk.remove(scene.dir().join("meta")));
    let told: Vec<_> = scene.follow(&disk).damage.into_iter().map(|damage| damage.path).collect();
    assert_eq!(told, [scene.dir().join("meta")], "without the mark it is");
    disk.write_file(scene.dir().join("deleted"), &[]);
    assert_eq!(scene.follow(&disk).damage, []);
}

#[test]
fn a_follower_that_verifies_twice_tells_of_a_copied_segment_twice_alike() {
    let scene = Scene::new();
    let copy = scene.dir().join(format!("{:020}.seg", scene.range(0).start + 8));
    let disk = scene.changed(&scene.closed, |disk| disk.write_file(&copy, &disk.read_file(&scene.files[1])));
    let followed = scene.follow(&disk);
    assert!(followed.is_all_of(&scene) && followed.gaps.is_empty());
    let told: Vec<_> = followed.damage.iter().map(|damage| &damage.path).collect();
    assert_eq!(told, [&copy]);
    assert_eq!(followed.store.verify().unwrap().damage, followed.damage);
}
