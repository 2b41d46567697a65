//! okaywal: a write-ahead log of entries made of chunks; an entry is synced when it is committed.

use std::io::Read;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use okaywal::{
    Configuration, Entry, EntryId, EntryWriter, LogManager, LogPosition, ReadChunkResult, SegmentReader,
    WriteAheadLog,
};

use crate::peer::{Facts, Mode, Peer, no, yes};

pub struct OkayWal {
    dir: PathBuf,
    log: &'static WriteAheadLog,
    /// Records are chunks of it until it is closed: to commit it is to sync.
    open: Option<EntryWriter<'static>>,
}

/// What recovery comes by.
enum Found<'a> {
    Chunk(LogPosition, &'a [u8]),
    /// The last so many chunks were of an entry that was never committed.
    Aborted(usize),
}

type Each = Box<dyn FnMut(Found<'_>) + Send>;

struct Manager(Mutex<Each>);

impl std::fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("Manager")
    }
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> std::io::Result<()> {
        let each = self.0.get_mut().expect("no panic before");
        let (mut body, mut count) = (Vec::new(), 0);
        loop {
            let mut chunk = match entry.read_chunk()? {
                ReadChunkResult::Chunk(chunk) => chunk,
                ReadChunkResult::EndOfEntry => return Ok(()),
                ReadChunkResult::AbortedEntry => break,
            };
            body.clear();
            chunk.read_to_end(&mut body)?;
            if chunk.bytes_remaining() != 0 || !chunk.check_crc()? {
                break;
            }
            each(Found::Chunk(chunk.log_position(), &body));
            count += 1;
        }
        each(Found::Aborted(count));
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> std::io::Result<()> {
        Ok(())
    }
}

fn recover(dir: &Path, each: Each) -> &'static WriteAheadLog {
    let configuration = Configuration::default_for(dir)
        .preallocate_bytes(8 << 20)
        .checkpoint_after_bytes(u64::MAX)
        .buffer_bytes(64 << 10);
    // An entry being written borrows the log for as long as the process lasts.
    Box::leak(Box::new(configuration.open(Manager(Mutex::new(each))).expect("open the log")))
}

impl OkayWal {
    /// Reads the log as recovery does: there is no other way from record to record.
    fn chunks<T: Send + 'static>(&mut self, item: fn(LogPosition, &[u8]) -> T) -> Vec<T> {
        self.commit();
        let items = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&items);
        let each = move |what: Found<'_>| {
            let mut found = found.lock().expect("no panic before");
            match what {
                Found::Chunk(position, body) => found.push(item(position, body)),
                Found::Aborted(chunks) => {
                    let kept = found.len() - chunks;
                    found.truncate(kept);
                }
            }
        };
        self.log = recover(&self.dir, Box::new(each));
        mem::take(&mut items.lock().expect("no panic before"))
    }

    fn commit(&mut self) {
        if let Some(entry) = self.open.take() {
            entry.commit().expect("commit");
        }
    }
}

impl Peer for OkayWal {
    const FACTS: Facts = Facts {
        name: "okaywal",
        package: Some("okaywal"),
        set: "8 MiB preallocated, buffer of 64 KiB, no checkpoints; one by one: chunks of one entry, committed at the \
              end, as a commit for each is what `durable` measures; a batch is one entry, so it is synced",
        readable: no("only what is committed"),
        kill: no("what is not committed is lost"),
        power: yes("what is committed"),
        verifies: yes("CRC-32C, if the caller asks"),
        lacks: &[],
    };
    const SCANS_ONCE: bool = true;
    type Place = LogPosition;

    fn create(dir: &Path, _mode: Mode) -> OkayWal {
        OkayWal::open(dir)
    }

    fn open(dir: &Path) -> OkayWal {
        OkayWal { dir: dir.to_owned(), log: recover(dir, Box::new(|_| {})), open: None }
    }

    fn append(&mut self, body: &[u8]) {
        let log = self.log;
        let entry = self.open.get_or_insert_with(|| log.begin_entry().expect("begin an entry"));
        entry.write_chunk(body).expect("append");
    }

    fn append_all(&mut self, bodies: &[&[u8]]) {
        let mut entry = self.log.begin_entry().expect("begin an entry");
        for body in bodies {
            entry.write_chunk(body).expect("append");
        }
        entry.commit().expect("commit");
    }

    fn append_durable(&self, body: &[u8]) {
        let mut entry = self.log.begin_entry().expect("begin an entry");
        entry.write_chunk(body).expect("append");
        entry.commit().expect("commit");
    }

    fn scan(&mut self, mut each: impl FnMut(&[u8])) {
        // Recovery wants a closure that lives as long as the log does, so bodies are counted there and told here.
        let lengths = self.chunks(|_, body| body.len());
        let zeros = [0; 64 << 10];
        lengths.iter().for_each(|length| each(&zeros[..*length]));
    }

    fn places(&mut self, numbers: &[u64]) -> Vec<LogPosition> {
        let all = self.chunks(|position, _| position);
        numbers.iter().map(|number| all[*number as usize]).collect()
    }

    fn read(&mut self, place: &LogPosition, mut each: impl FnMut(&[u8])) {
        let mut chunk = self.log.read_at(*place).expect("read");
        let mut body = Vec::with_capacity(chunk.chunk_length() as usize);
        chunk.read_to_end(&mut body).expect("read");
        assert!(chunk.crc_is_valid().expect("read"));
        each(&body);
    }

    fn close(mut self) {
        self.commit();
    }
}
