//! Every single bit of every structure on the disk, flipped: it is found and told where it lies, or harms nobody.

#![cfg(feature = "sim")]

mod common;
mod damaged;

use std::path::{Path, PathBuf};

use common::*;
use damaged::*;
use tailwater::vfs::sim::SimDisk;
use tailwater::*;

/// Every how many bits one is flipped: all of them in the long form, and in the short one as many as take a second or two.
fn stride(short: usize) -> usize {
    if long().is_some() { 1 } else { short }
}

/// The bits to flip of `bits`: each `stride`th, from a place that `seed` says.
fn some(bits: std::ops::Range<usize>, stride: usize, seed: u64) -> impl Iterator<Item = usize> {
    bits.skip((seed % stride as u64) as usize).step_by(stride)
}

fn flipped(scene: &Scene, disk: &SimDisk, file: &Path, bit: usize) -> SimDisk {
    scene.changed(disk, |disk| disk.flip_bit(file, bit))
}

#[track_caller]
fn check_frames(scene: &Scene, disk: &SimDisk, stride: usize, seed: u64) -> usize {
    let mut flips = 0;
    for (index, file) in scene.files.iter().enumerate() {
        for frame in scene.frames(index) {
            let position = frame.offset - base(file) + PAGE;
            let bits = position * 8..(position + frame.step) * 8;
            for bit in some(bits.start as usize..bits.end as usize, stride, seed) {
                let what = format!("bit {bit} of {}", file.display());
                let left = scene.check(&flipped(scene, disk, file, bit), &what);
                flips += 1;
                if position + frame.covered <= bit as u64 / 8 {
                    assert!(left.gaps.is_empty() && left.damage.is_empty(), "{what}: nobody reads padding");
                    continue;
                }
                let hit = frame.offset..frame.offset + frame.step;
                assert_eq!(left.gaps(), [(hit.clone(), GapReason::Corrupt)], "{what}");
                let neighbours = scene.all.iter().filter(|seen| seen.offset != frame.offset);
                assert!(left.seen.iter().map(key).eq(neighbours.map(key)), "{what}: neighbours are served");
                let [damage] = &left.damage[..] else { panic!("{what}: {:?}", left.damage) };
                assert_eq!((damage.start, damage.end), (Some(hit.start), Some(hit.end)), "{what}");
                assert_eq!((&damage.path, damage.stream), (file, Some(scene.id)), "{what}");
            }
        }
    }
    flips
}

#[test]
fn a_flipped_bit_of_a_frame_costs_that_frame_and_is_told_where_it_lies() {
    let (scene, seed) = (Scene::new(), seed());
    let closed = check_frames(&scene, &scene.closed, stride(97), seed);
    let killed = check_frames(&scene, &scene.killed, stride(101), seed);
    println!(
        "reached: flips of frames: {closed} in a closed store, {killed} in a killed one, TAILWATER_SEED={seed}"
    );
}

/// Flips bits of a file: nothing may be lost, whatever it is. Returns how many, and how many `verify` told of.
#[track_caller]
fn check_harmless(scene: &Scene, file: &Path, bits: impl Iterator<Item = usize>) -> (usize, usize) {
    let (mut flips, mut told) = (0, 0);
    for bit in bits {
        let what = format!("bit {bit} of {}", file.display());
        let left = scene.check(&flipped(scene, &scene.closed, file, bit), &what);
        assert!(left.gaps.is_empty() && left.is_all_of(scene), "{what}: {:?}", left.gaps);
        flips += 1;
        told += usize::from(!left.damage.is_empty());
        assert!(left.damage.iter().all(|damage| damage.path == file), "{what}: {:?}", left.damage);
    }
    (flips, told)
}

#[test]
fn a_flipped_bit_of_a_segments_page_costs_nothing_and_a_headers_is_told() {
    let (scene, seed) = (Scene::new(), seed());
    let mut reached = (0, 0);
    for file in &scene.files {
        for (at, bytes, is_told) in [
            (0, 136, true),
            (512, 24, false),
            (1024, 24, false),
            (1536, 48, false),
            (2048, 136, true),
            (2560, 48, false),
        ] {
            let bits = some(at * 8..(at + bytes) * 8, stride(61), seed);
            let (flips, told) = check_harmless(&scene, file, bits);
            assert_eq!(told, if is_told { flips } else { 0 }, "what lies at {at}");
            reached = (reached.0 + flips, reached.1 + told);
        }
        // The rest of the page is zero and looked at by nobody.
        check_harmless(&scene, file, some(0..PAGE as usize * 8, stride(1009) * 3, seed));
    }
    let (flips, told) = reached;
    println!("reached: flips of segment pages: {flips}, {told} told of, TAILWATER_SEED={seed}");
}

#[test]
fn a_flipped_bit_of_a_footer_is_told_and_the_frames_say_the_same() {
    let (scene, seed) = (Scene::new(), seed());
    let mut flips = 0;
    for file in &scene.files {
        let bytes = scene.closed.read_file(file);
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (footer, length) = (number(1536 + 32), number(1536 + 40));
        if footer == 0 {
            continue;
        }
        let bits = footer * 8..(footer + length) * 8;
        let (all, told) = check_harmless(&scene, file, some(bits.clone(), stride(97), seed));
        assert_eq!(all, told);
        flips += all;
        // What an index is asked for.
        for bit in some(bits, stride(97), seed) {
            let left = scene.look(&flipped(&scene, &scene.closed, file, bit));
            let count = scene.all.len();
            assert!(records(&left.stream, Start::Last(count as u64 - 1)) == scene.all[1..]);
            let time = scene.all[count / 2].ingest;
            let from = scene.all.iter().position(|seen| time <= seen.ingest).unwrap();
            assert!(records(&left.stream, Start::Time(time)) == scene.all[from..], "bit {bit}");
        }
    }
    assert!(0 < flips, "there is a footer");
    println!("reached: flips of footers: {flips}, TAILWATER_SEED={seed}");
}

#[test]
fn a_flipped_bit_of_the_checkpoint_the_clock_the_era_or_the_lock_costs_nothing() {
    let (scene, seed) = (Scene::new(), seed());
    let mut flips = 0;
    let beside = ["clock", "era", "LOCK"].map(|name| Path::new(DIR).join(name));
    let files = beside.into_iter().chain([scene.dir().join("checkpoint")]);
    for file in files {
        let bits = scene.closed.read_file(&file).len() * 8;
        // Of the checkpoint the two slots, 104 bytes and a checksum each.
        let is_slot = |bit: &usize| bit / 8 % 4096 < 108;
        let bits = (0..bits).filter(is_slot).collect::<Vec<_>>();
        let picked = some(0..bits.len(), stride(31), seed).map(|index| bits[index]);
        flips += check_harmless(&scene, &file, picked).0;
    }
    println!("reached: flips of checkpoint, clock, era and lock: {flips}, TAILWATER_SEED={seed}");
}

#[test]
fn a_flipped_bit_of_a_streams_meta_costs_nothing_and_is_told() {
    let (scene, seed) = (Scene::new(), seed());
    let file = scene.dir().join("meta");
    let bits = scene.closed.read_file(&file).len() * 8;
    let (flips, told) = check_harmless(&scene, &file, some(0..bits, stride(31), seed));
    assert_eq!(flips, told);
    println!("reached: flips of meta: {flips}, TAILWATER_SEED={seed}");
}

/// The files of the catalogue.
fn catalogue(disk: &SimDisk) -> Vec<PathBuf> {
    disk.list_all().into_iter().filter(|path| path.starts_with(Path::new(DIR).join("catalog"))).collect()
}

#[test]
fn a_flipped_bit_of_the_catalogue_is_refused_or_the_stream_it_costs_is_told() {
    let (scene, seed) = (Scene::new(), seed());
    let (mut refused, mut harmless, mut told) = (0, 0, 0);
    for file in catalogue(&scene.closed) {
        let bits = scene.closed.read_file(&file).len() * 8;
        for bit in some(0..bits, stride(31), seed) {
            let disk = flipped(&scene, &scene.closed, &file, bit);
            let what = format!("bit {bit} of {}", file.display());
            match scene.machine.open_on(&disk) {
                Ok(_) => {
                    let left = scene.check(&disk, &what);
                    assert!(left.gaps.is_empty() && left.is_all_of(&scene), "{what}");
                    harmless += 1;
                }
                Err(err) if *err.kind() == ErrorKind::Corrupt => {
                    assert!(err.to_string().contains(file.to_str().unwrap()), "{what}: {err}");
                    refused += 1;
                }
                // The last change looks like one that was never finished.
                Err(err) => {
                    assert_eq!(*err.kind(), ErrorKind::NotFound, "{what}: {err}");
                    let store = scene.machine.options_on(&disk).open(DIR).unwrap();
                    let damage = store.verify().unwrap().damage;
                    assert!(damage.iter().any(|damage| damage.path == scene.dir()), "{what}: {damage:?}");
                    told += 1;
                }
            }
        }
    }
    assert!(0 < refused + told);
    println!(
        "reached: flips of the catalogue: {refused} refused, {told} told as a lost stream, {harmless} harmless, TAILWATER_SEED={seed}"
    );
}

#[test]
fn a_flipped_bit_of_a_cursors_text_makes_it_none_or_the_same_one() {
    let machine = Machine::new();
    let (store, stream) = machine.create();
    let cursor = stream.append(&Record::new("a")).unwrap().cursor();
    let spec = SessionSpec::new(UserId::new("user").unwrap());
    let tenant = store.tenant(&TenantId::new("default").unwrap());
    let session = tenant.create_session(spec).unwrap().info().unwrap().last_cursor;
    fn check<C: std::str::FromStr<Err = Error> + PartialEq + std::fmt::Debug>(text: &str) {
        let right: C = text.parse().unwrap();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A flip may make it no text at all, which no host can hand over.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            match changed.parse::<C>() {
                // Upper case is read, too.
                Ok(same) => assert!(same == right && changed.eq_ignore_ascii_case(text), "bit {bit}"),
                Err(err) => assert_eq!(*err.kind(), ErrorKind::CursorInvalid, "bit {bit}"),
            }
        }
    }
    check::<Cursor>(&cursor.to_string());
    check::<SessionCursor>(&session.to_string());
}

#[test]
fn a_bit_flipped_in_memory_after_the_append_is_found_at_the_first_read() {
    let (scene, seed) = (Scene::new(), seed());
    // The store stays open: what is flipped lies under its own map.
    let disk = scene.changed(&scene.killed, |_| {});
    let (store, stream) = scene.machine.open_on(&disk).unwrap();
    let appended = stream.append(&Record::new(&[0x5a; 48])).unwrap();
    let file = segments_on(&disk).pop().unwrap();
    for bit in some(0..72 * 8, stride(5), seed) {
        let at = ((appended.offset() - base(&file) + PAGE) * 8) as usize + bit;
        disk.flip_bit(&file, at);
        let mut reader = stream.read(Start::Beginning).unwrap();
        let (seen, gaps) = drain(&mut reader, Limit::default());
        assert!(seen == scene.all, "bit {bit}");
        assert_eq!((gaps.len(), gaps[0].start, gaps[0].end), (1, appended.offset(), appended.end()), "{bit}");
        assert!(!store.verify().unwrap().is_sound());
        disk.flip_bit(&file, at);
    }
}
