//! Bytes of segments that are not what was written: misplaced, zeroed, stale, cut off, lying. Whatever it is, it is a gap
//! where it lies, and its neighbours are served.

#![cfg(feature = "sim")]

mod common;
mod damaged;

use std::ops::Range;
use std::path::Path;

use common::*;
use damaged::*;
use tailwater::vfs::sim::{Crash, Fault, Op, SimDisk};
use tailwater::*;

/// Of every how many one is tried: all of them in the long form.
fn stride(short: usize) -> usize {
    if long().is_some() { 1 } else { short }
}

/// Where the frame at `offset` lies in its file.
fn position(file: &Path, offset: u64) -> usize {
    (offset - base(file) + PAGE) as usize
}

/// Checks the disk and that exactly the records of `lost` are gone, as gaps that are told as corrupt and end where it ends.
#[track_caller]
fn check_lost(scene: &Scene, disk: &SimDisk, lost: &[Range<u64>], what: &str) {
    let left = scene.check(disk, what);
    let expected: Vec<_> = lost.iter().map(|range| (range.clone(), GapReason::Corrupt)).collect();
    assert_eq!(left.gaps(), expected, "{what}");
    let told = left.damage.iter().filter_map(|damage| Some(damage.start?..damage.end?));
    assert_eq!(told.collect::<Vec<_>>(), lost, "{what}");
    let is_lost = |seen: &Seen| lost.iter().any(|range| range.contains(&seen.offset));
    let kept = scene.all.iter().filter(|seen| !is_lost(seen));
    assert!(left.seen.iter().map(key).eq(kept.map(key)), "{what}");
}

#[test]
fn a_length_that_lies_costs_its_frame() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        for (index, file) in scene.files.iter().enumerate() {
            for frame in scene.frames(index) {
                let at = position(file, frame.offset);
                let word = u32::from_le_bytes(scene.closed.read_file(file)[at..at + 4].try_into().unwrap());
                let length = word & 0xff_ffff;
                let rest = (scene.range(index).end - frame.offset) as u32;
                let lies = [0, 1, 8, 23, 24, length - 1, length + 1, length + 8, rest, 1 << 20, 0xff_ffff];
                let words = lies.into_iter().filter(|lie| *lie != length);
                for lie in words.map(|lie| word & !0xff_ffff | lie).chain([0, u32::MAX]) {
                    let disk = scene.changed(disk, |disk| {
                        edit(disk, file, |bytes| bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes()))
                    });
                    let what = format!("{state}: word {lie:#x} for {word:#x} at {}", frame.offset);
                    let lost = frame.offset..frame.offset + frame.step;
                    check_lost(&scene, &disk, std::slice::from_ref(&lost), &what);
                }
            }
        }
    }
}

#[test]
fn frames_that_are_swapped_copied_or_moved_are_lost_and_taken_for_no_others() {
    let scene = Scene::new();
    // Frames of equal size, so that what lies around them stays where it was.
    let mut frames = Vec::new();
    for (index, file) in scene.files.iter().enumerate() {
        frames.extend(scene.frames(index).into_iter().filter(|frame| frame.covered == 72).map(|f| (file, f)));
    }
    assert!(4 <= frames.len());
    for (state, disk) in scene.disks() {
        for (from_file, from) in &frames {
            for (to_file, to) in frames.iter().filter(|(_, to)| from.offset < to.offset) {
                let read = |file: &Path, frame: &Frame| {
                    let at = position(file, frame.offset);
                    disk.read_file(file)[at..at + frame.step as usize].to_vec()
                };
                let write = |disk: &SimDisk, file: &Path, frame: &Frame, frames: &[u8]| {
                    let at = position(file, frame.offset);
                    edit(disk, file, |bytes| bytes[at..at + frames.len()].copy_from_slice(frames));
                };
                let what = format!("{state}: {} and {}", from.offset, to.offset);
                let lost = |frame: &Frame| frame.offset..frame.offset + frame.step;
                let copied = scene.changed(disk, |disk| write(disk, to_file, to, &read(from_file, from)));
                check_lost(&scene, &copied, &[lost(to)], &what);
                let swapped = scene.changed(disk, |disk| {
                    write(disk, to_file, to, &read(from_file, from));
                    write(disk, from_file, from, &read(to_file, to));
                });
                check_lost(&scene, &swapped, &[lost(from), lost(to)], &what);
            }
        }
    }
}

/// Puts `with` over each page of frames in turn, of sealed and of other segments: what is lost lies in that page, or reaches into it.
#[track_caller]
fn check_pages(scene: &Scene, with: impl Fn(usize, usize) -> Vec<u8>) {
    for (state, disk) in scene.disks() {
        for (index, file) in scene.files.iter().enumerate() {
            let Range { start, end } = scene.range(index);
            let pages = (end - start).div_ceil(PAGE);
            for page in (0..pages as usize).step_by(stride(4)) {
                let what = format!("{state}: page {page} of segment {index}");
                let at = (page + 1) * PAGE as usize;
                let disk = scene.changed(disk, |disk| {
                    edit(disk, file, |bytes| bytes[at..at + PAGE as usize].copy_from_slice(&with(index, at)))
                });
                let left = scene.check(&disk, &what);
                let hit = start + page as u64 * PAGE..start + (page as u64 + 1) * PAGE;
                let untouched =
                    scene.all.iter().filter(|seen| seen.end <= hit.start || hit.end <= seen.offset);
                let served = left.seen.iter().map(key).collect::<Vec<_>>();
                assert!(untouched.map(key).all(|record| served.contains(&record)), "{what}");
                assert_eq!(left.gaps.len(), 1, "{what}: {:?}", left.gaps);
                assert!(left.gaps[0].start < hit.end && hit.start < left.gaps[0].end, "{what}");
            }
        }
    }
}

#[test]
fn a_page_of_another_segment_costs_what_lay_there() {
    let scene = Scene::large();
    let others = scene.files.iter().map(|file| scene.closed.read_file(file)).collect::<Vec<_>>();
    check_pages(&scene, |index, at| others[(index + 1) % others.len()][at..][..PAGE as usize].to_vec());
}

#[test]
fn a_page_of_zeros_costs_what_lay_there_and_is_no_end() {
    check_pages(&Scene::large(), |_, _| vec![0; PAGE as usize]);
}

#[test]
fn a_page_of_noise_or_of_ones_costs_what_lay_there() {
    let scene = Scene::large();
    check_pages(&scene, |_, _| vec![0xff; PAGE as usize]);
    check_pages(&scene, |index, at| {
        (0..PAGE as usize).map(|i| (i * 167 + index + at / 7) as u8 ^ 0x5a).collect()
    });
}

#[test]
fn a_body_that_is_a_whole_segment_is_a_body_whatever_befalls_its_frame() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    for number in 0..20 {
        stream.append(&Record::new(&format!("inner {number}"))).unwrap();
    }
    end_segment(&machine, &store);
    let segment = machine.disk.read_file(machine.segments().first().unwrap());
    let before = stream.append(&Record::new("before")).unwrap();
    // Once as it is, and once so that its frames lie as they did from the page on.
    let holder = stream.append(&Record::new(&segment)).unwrap();
    let shifted = stream.append(&Record::new(&segment[PAGE as usize..])).unwrap();
    let after = stream.append(&Record::new("after")).unwrap();
    store.close().unwrap();
    for broken in [&holder, &shifted] {
        for at in [0, 3, 20, 30, 5000] {
            let disk = machine.disk.fork_crashed(Crash::KeepAll);
            let file = segments_on(&disk).into_iter().rfind(|file| base(file) <= broken.offset()).unwrap();
            disk.flip_bit(&file, (position(&file, broken.offset()) + at) * 8);
            let (_store, stream) = machine.open_on(&disk).unwrap();
            let (seen, gaps) =
                drain(&mut stream.read(Start::Cursor(before.cursor())).unwrap(), Limit::default());
            let gaps: Vec<_> = gaps.iter().map(|gap| (gap.start, gap.end)).collect();
            assert_eq!(gaps, [(broken.offset(), broken.end())], "byte {at}");
            let offsets: Vec<_> = seen.iter().map(|seen| seen.offset).collect();
            let left = [holder.offset(), shifted.offset(), after.offset()];
            assert!(offsets.iter().eq(left.iter().filter(|offset| **offset != broken.offset())), "byte {at}");
        }
    }
}

/// Lengths to cut a file of `used` bytes to: around each boundary that means something, and some between.
fn lengths(used: usize) -> impl Iterator<Item = usize> {
    let edges = [0, 1, 135, 136, 511, 512, 1024, 2048, 4095, 4096, 4097, 4104, 4120];
    let pages = (0..used).step_by(4096).flat_map(|page| [page.saturating_sub(1), page, page + 8]);
    let lengths = edges.into_iter().chain(pages).chain((0..used).step_by(1777));
    lengths.filter(move |length| *length < used)
}

/// Cuts a segment to each length: what lies before the cut is served, what lay behind it is told.
#[track_caller]
fn check_cut(scene: &Scene, disk: &SimDisk, index: usize) {
    let file = &scene.files[index];
    let Range { start, end } = scene.range(index);
    for length in lengths(position(file, end)).step_by(stride(2)) {
        let what = format!("segment {index} cut to {length}");
        let disk = scene.changed(disk, |disk| edit(disk, file, |bytes| bytes.truncate(length)));
        let left = scene.check(&disk, &what);
        let cut = start + (length as u64).saturating_sub(PAGE);
        let kept = scene.all.iter().filter(|seen| {
            seen.end <= start
                || end <= seen.offset
                || (PAGE <= length as u64 && seen.end.next_multiple_of(8) <= cut)
        });
        let served = left.seen.iter().map(key).collect::<Vec<_>>();
        assert!(kept.map(key).all(|record| served.contains(&record)), "{what}");
        let [gone] = &left.stretches()[..] else { panic!("{what}: {:?}", left.gaps) };
        assert_eq!(gone.end, end, "{what}");
    }
}

#[test]
fn a_sealed_segment_cut_at_any_length_opens_and_its_rest_is_a_gap() {
    let scene = Scene::large();
    for (_, disk) in scene.disks() {
        check_cut(&scene, disk, 1);
    }
}

#[test]
fn an_active_segment_cut_while_closed_keeps_what_lies_before_the_cut() {
    let scene = Scene::large();
    let last = scene.files.len() - 1;
    check_cut(&scene, &scene.closed, last);
}

#[test]
fn a_segment_cut_on_real_files_is_never_mapped_beyond_its_end() {
    let scene = Scene::large();
    for index in [1, scene.files.len() - 1] {
        let file = &scene.files[index];
        for length in lengths(position(file, scene.range(index).end)).step_by(stride(5)) {
            let disk = scene.changed(&scene.closed, |disk| edit(disk, file, |bytes| bytes.truncate(length)));
            let dir = on_real_files(&disk);
            let clock = std::sync::Arc::new(scene.machine.clock.clone());
            let store = Options::new().background(false).clock(clock).open(dir.path()).unwrap();
            let stream = store.stream(NAME).unwrap();
            let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
            assert!(seen.len() < scene.all.len() && gaps.len() == 1, "{length}: {gaps:?}");
            stream.append(&Record::new("on")).unwrap();
            assert_eq!(bodies(&stream, Start::Last(1)), ["on"]);
        }
    }
}

#[test]
fn what_lies_behind_a_segments_end_is_looked_at_by_nobody() {
    let scene = Scene::large();
    let other = scene.closed.read_file(&scene.files[0]);
    for (state, disk) in scene.disks() {
        for (index, file) in scene.files.iter().enumerate() {
            for more in [vec![0; 1], vec![0; 1 << 16], vec![0xa5; 5000], other.clone()] {
                let what = format!("{state}: {} bytes behind segment {index}", more.len());
                let disk = scene.changed(disk, |disk| edit(disk, file, |bytes| bytes.extend(&more)));
                let left = scene.check(&disk, &what);
                assert!(left.is_all_of(&scene) && left.gaps.is_empty() && left.damage.is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn a_page_zeroed_above_what_is_durable_is_torn_and_what_follows_it_counted() {
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    let synced = stream.append_with(&Record::new(&[1; 3000]), Durability::Sync).unwrap();
    let rest: Vec<_> = (2..8).map(|number| stream.append(&Record::new(&[number; 3000])).unwrap()).collect();
    // All of it reached the disk but for one page, and nothing says that it had to.
    let file = machine.segments().pop().unwrap();
    let disk = machine.disk.fork_crashed(Crash::KeepAll);
    edit(&disk, &file, |bytes| bytes[8192..12288].fill(0));
    machine.clock.reboot();
    let (store, stream) = machine.open_on(&disk).unwrap();
    let hit = rest.iter().find(|appended| 4096 < appended.end()).unwrap();
    assert_eq!(stream.recovery().torn_bytes, rest.last().unwrap().end() - hit.offset());
    assert_eq!((stream.recovery().corrupt.len(), stream.recovery().set_aside.len()), (0, 0));
    assert_eq!(records(&stream, Start::Beginning).last().unwrap().end.next_multiple_of(8), hit.offset());
    assert!(synced.end() <= hit.offset() && store.verify().unwrap().is_sound());
}

#[test]
fn after_a_power_loss_damage_is_told_apart_but_for_that_of_the_last_sync() {
    // Each sync is known to the frames after it, so what the last one covered nobody can prove.
    let machine = Machine::new();
    let (_store, stream) = machine.create();
    for batch in 0..6 {
        for number in 0..4 {
            stream.append(&Record::new(&[batch * 4 + number; 48])).unwrap();
        }
        stream.sync().unwrap();
    }
    let all = records(&stream, Start::Beginning);
    let file = machine.segments().pop().unwrap();
    let lost = machine.disk.fork_crashed(Crash::DropUnsynced);
    machine.clock.reboot();
    let (mut corrupt, mut torn) = (0, 0);
    for (number, victim) in all.iter().enumerate() {
        let disk = lost.fork_crashed(Crash::KeepAll);
        disk.flip_bit(&file, (position(&file, victim.offset) + 30) * 8);
        let (_store, stream) = machine.open_on(&disk).unwrap();
        let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
        if number < all.len() - 4 {
            assert_eq!((gaps.len(), gaps[0].start, gaps[0].end), (1, victim.offset, victim.end), "{number}");
            assert_eq!(seen.len(), all.len() - 1);
            corrupt += 1;
        } else {
            assert!(gaps.is_empty() && seen.iter().map(key).eq(all[..number].iter().map(key)), "{number}");
            assert_eq!(stream.recovery().torn_bytes, all.last().unwrap().end - victim.offset);
            torn += 1;
        }
    }
    println!(
        "reached: damage after power loss: {corrupt} of {} told as corrupt, {torn} of the last sync as torn",
        all.len()
    );
}

#[test]
fn retention_dates_a_damaged_segment_by_what_lies_behind_it_and_leaves_a_poisoned_stream_alone() {
    let scene = Scene::new();
    let days = |days: u32| scene.machine.clock.advance(DAY * days);
    // Both copies of the header are gone: nobody knows its seal.
    let disk =
        scene.changed(&scene.closed, |disk| edit(disk, &scene.files[0], |bytes| bytes[..4096].fill(0xa5)));
    let (store, stream) = scene.machine.open_on(&disk).unwrap();
    store.tick().unwrap();
    assert_eq!(segments_on(&disk), scene.files, "nothing expired yet");
    days(24_u32);
    store.tick().unwrap();
    assert!(!segments_on(&disk).contains(&scene.files[0]), "its last record is older than the TTL");
    assert!(segments_on(&disk).contains(scene.files.last().unwrap()));
    let (seen, gaps) = drain(&mut stream.read(Start::Beginning).unwrap(), Limit::default());
    assert!(!seen.is_empty() && gaps.iter().all(|gap| gap.reason == GapReason::Expired), "{gaps:?}");

    let disk = scene.changed(&scene.closed, |_| {});
    let (store, stream) = scene.machine.open_on(&disk).unwrap();
    stream.append(&Record::new("late")).unwrap();
    let fault = Fault { op: Op::RegionSync, nth: 1, error: std::io::ErrorKind::Other, sticky: false };
    disk.fail(fault);
    stream.sync().unwrap_err();
    let before = segments_on(&disk);
    days(100);
    let _ = store.tick();
    assert_eq!(segments_on(&disk), before, "what a poisoned stream holds is for its next opening to judge");
}

#[test]
fn a_follower_reads_what_stands_before_a_last_segment_without_a_sound_header() {
    let scene = Scene::new();
    let file = &scene.files[scene.files.len() - 1];
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 4] = [
        ("empty", |bytes| bytes.clear()),
        ("short", |bytes| bytes.truncate(300)),
        ("zeroed", |bytes| bytes.fill(0)),
        ("both copies damaged", |bytes| [0, 2048].into_iter().for_each(|at| bytes[at + 20..at + 40].fill(7))),
    ];
    for (what, change) in changes {
        for (state, disk) in scene.disks() {
            let disk = scene.changed(disk, |disk| edit(disk, file, change));
            let left = scene.follow(&disk);
            let before = scene.all.iter().filter(|seen| seen.offset < base(file));
            assert!(left.seen.iter().map(key).eq(before.map(key)), "{state}, {what}");
            assert_eq!(left.gaps(), [], "{state}, {what}");
            assert_eq!(left.stream.stats().unwrap().published, base(file), "{state}, {what}");
            // Of a store that was closed it is known that it was durable.
            if state == "closed" {
                let told: Vec<_> = left.damage.iter().map(|damage| (&damage.path, damage.start)).collect();
                assert_eq!(told, [(file, Some(base(file)))], "{what}");
            }
            drop(left);
            scene.look(&disk);
        }
    }
}

#[test]
fn a_follower_passes_over_a_file_that_has_yet_to_become_a_segment_and_follows_once_it_did() {
    let scene = Scene::new();
    for (state, disk) in scene.disks() {
        let end = scene.range(scene.files.len() - 1).end;
        let file = scene.dir().join(format!("{end:020}.seg"));
        let disk = scene.changed(disk, |disk| disk.write_file(&file, &[]));
        let followed = scene.follow(&disk);
        assert!(followed.is_all_of(&scene) && followed.gaps.is_empty(), "{state}");
        assert_eq!(followed.damage, [], "{state}");
        let mut tail = followed.stream.tail(Start::Now).unwrap();
        let (store, stream) = scene.machine.open_on(&disk).unwrap();
        assert_eq!(stream.recovery().set_aside.len(), 1, "{state}");
        for _ in 0..20 {
            stream.append(&Record::new(&[7; 8000])).unwrap();
        }
        store.sync().unwrap();
        let mut seen = 0;
        while seen < 20 {
            match tail.next(std::time::Duration::from_secs(60)).unwrap() {
                Step::Records(batch) => seen += batch.len(),
                other => panic!("{state}: {other:?}"),
            }
        }
        assert_eq!(followed.store.verify().unwrap().damage, [], "{state}");
    }
}

#[test]
fn a_header_that_asks_for_a_disk_is_none_and_gets_no_byte() {
    let scene = Scene::new();
    let file = &scene.files[scene.files.len() - 1];
    for (state, disk) in scene.disks() {
        for capacity in [1_u64 << 40, 1 << 36, (1 << 30) + 4096] {
            let disk = scene.changed(disk, |disk| {
                edit(disk, file, |bytes| {
                    for at in [0, 2048] {
                        let header = &mut bytes[at..at + 136];
                        header[96..104].copy_from_slice(&capacity.to_le_bytes());
                        let crc = crc32fast::hash(&header[..132]);
                        header[132..].copy_from_slice(&crc.to_le_bytes());
                    }
                })
            });
            // Less than is asked for, and more than is needed.
            disk.set_capacity(1 << 30);
            let left = scene.look(&disk);
            let before = scene.all.iter().filter(|seen| seen.offset < base(file));
            assert!(left.seen.iter().map(key).eq(before.map(key)), "{state}: {capacity}");
            assert_eq!(left.stream.recovery().set_aside.len(), 1, "{state}: {capacity}");
        }
    }
}
