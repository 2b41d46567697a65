//! A file of frames, as one would write it oneself: length, checksum, body. Once behind a buffer, once with a
//! `write(2)` for each record.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::peer::{Facts, Mode, Peer, no, yes};

/// Bytes before a body: its length and its CRC-32.
const HEADER: usize = 8;
const READ_AT_ONCE: usize = 1 << 20;
/// Bytes read where one record is asked for.
const READ_HERE: usize = 512;

/// Frames into a `BufWriter` of 64 KiB.
pub type Buffered = Plain<{ 64 << 10 }>;
/// One `write(2)` for each record.
pub type Write = Plain<0>;

/// A file of frames, written through a buffer of so many bytes.
pub struct Plain<const BUFFER: usize> {
    path: PathBuf,
    writer: Mutex<BufWriter<File>>,
    /// Frames that go to the file in one call.
    frames: Vec<u8>,
    /// For reading here and there.
    reader: File,
    /// Bytes written, and bytes known to be on the disk.
    written: AtomicU64,
    synced: Mutex<u64>,
}

const BUFFERED: Facts = Facts {
    name: "file, buffered",
    package: None,
    set: "`BufWriter` of 64 KiB; scanned through a `BufReader` of 1 MiB",
    readable: no("only once the buffer is written out"),
    kill: no("what is in the buffer is lost"),
    power: no("nothing is synced"),
    verifies: yes("CRC-32 of the body"),
    lacks: &[("durable", "it would be the other plain file"), ("random", "it would be the other plain file")],
};

const WRITE: Facts = Facts {
    name: "file, write(2)",
    package: None,
    set: "header and body in one call; a batch in one call; in `durable`, who waits shares an `fdatasync`",
    readable: yes("it is in the page cache"),
    kill: yes("it is in the page cache"),
    power: yes("in `durable` only"),
    verifies: yes("CRC-32 of the body"),
    lacks: &[],
};

impl<const BUFFER: usize> Plain<BUFFER> {
    fn new(path: PathBuf, file: File, end: u64) -> Self {
        let reader = File::open(&path).expect("open the file");
        let writer = Mutex::new(BufWriter::with_capacity(BUFFER, file));
        Plain {
            path,
            writer,
            frames: Vec::new(),
            reader,
            written: AtomicU64::new(end),
            synced: Mutex::new(0),
        }
    }

    /// Passes on each frame's position and body, up to the first that is not whole; returns where that is.
    fn frames(&self, mut each: impl FnMut(u64, &[u8])) -> u64 {
        let mut file = BufReader::with_capacity(READ_AT_ONCE, File::open(&self.path).expect("open the file"));
        let (mut position, mut body) = (0, Vec::new());
        loop {
            let mut header = [0; HEADER];
            if file.read_exact(&mut header).is_err() {
                return position;
            }
            let (length, crc) = parse(&header);
            body.resize(length, 0);
            if file.read_exact(&mut body).is_err() || crc32fast::hash(&body) != crc {
                return position;
            }
            each(position, &body);
            position += (HEADER + length) as u64;
        }
    }
}

fn header(body: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    header
}

fn parse(header: &[u8; HEADER]) -> (usize, u32) {
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    (word(0) as usize, word(4))
}

impl<const BUFFER: usize> Peer for Plain<BUFFER> {
    const FACTS: Facts = if BUFFER == 0 { WRITE } else { BUFFERED };
    type Place = u64;

    fn create(dir: &Path, _mode: Mode) -> Self {
        let path = dir.join("frames");
        let file = File::create_new(&path).expect("create a file");
        Plain::new(path, file, 0)
    }

    /// Nothing says where a plain file ends but its frames, so it is read whole.
    fn open(dir: &Path) -> Self {
        let path = dir.join("frames");
        let mut file = File::options().write(true).open(&path).expect("open the file");
        let mut plain = Plain::new(path, file.try_clone().expect("a second descriptor"), 0);
        let end = plain.frames(|_, _| {});
        file.set_len(end).expect("cut what is not whole");
        file.seek(SeekFrom::Start(end)).expect("go to the end");
        *plain.written.get_mut() = end;
        plain
    }

    #[inline]
    fn append(&mut self, body: &[u8]) {
        self.append_all(&[body]);
    }

    #[inline]
    fn append_all(&mut self, bodies: &[&[u8]]) {
        let writer = self.writer.get_mut().expect("no panic before");
        if BUFFER == 0 {
            self.frames.clear();
            for body in bodies {
                self.frames.extend_from_slice(&header(body));
                self.frames.extend_from_slice(body);
            }
            writer.get_mut().write_all(&self.frames).expect("write");
        } else {
            for body in bodies {
                writer.write_all(&header(body)).expect("write");
                writer.write_all(body).expect("write");
            }
        }
    }

    fn append_durable(&self, body: &[u8]) {
        let end = {
            let mut writer = self.writer.lock().expect("no panic before");
            writer.write_all(&[&header(body)[..], body].concat()).expect("write");
            let bytes = (HEADER + body.len()) as u64;
            self.written.fetch_add(bytes, Ordering::SeqCst) + bytes
        };
        // Who comes while another syncs waits here, and may find its own record synced by the next.
        let mut synced = self.synced.lock().expect("no panic before");
        if *synced < end {
            let written = self.written.load(Ordering::SeqCst);
            self.reader.sync_data().expect("sync");
            *synced = written;
        }
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        self.frames(|_, body| each(body));
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<u64> {
        let (mut places, mut number, mut wanted) = (Vec::new(), 0, numbers.iter().peekable());
        self.frames(|position, _| {
            while wanted.next_if(|wanted| **wanted == number).is_some() {
                places.push(position);
            }
            number += 1;
        });
        places
    }

    fn read(&mut self, place: &u64, mut each: impl FnMut(&[u8])) {
        // One call is enough where the record is as short as most are.
        let mut start = [0; READ_HERE];
        let got = self.reader.read_at(&mut start, *place).expect("read");
        let (length, crc) = parse(start[..HEADER].try_into().expect("a header"));
        let whole = HEADER + length;
        let body = if whole <= got {
            start[HEADER..whole].to_vec()
        } else {
            let mut body = vec![0; length];
            self.reader.read_exact_at(&mut body, place + HEADER as u64).expect("read");
            body
        };
        assert_eq!(crc32fast::hash(&body), crc);
        each(&body);
    }

    fn close(self) {
        let file = self.writer.into_inner().expect("no panic before").into_inner().expect("write out");
        file.sync_all().expect("sync");
    }
}
