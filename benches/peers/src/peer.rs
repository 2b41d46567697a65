//! What is measured: a log that appends, reads and comes back, and what is to be known of it before its figures are read.

use std::path::Path;

use crate::support::bodies::Bodies;

/// Records appended together where a peer is filled by batches, and in the work `batch`.
pub const BATCH: usize = 100;

/// What this engine is called among the peers.
pub const ENGINE: &str = "tailwater";

/// What must be known of a peer before its figures are compared.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What it is called on the command line and in the tables.
    pub name: &'static str,
    /// The package whose version is told, where it is one.
    pub package: Option<&'static str>,
    /// What was set, and why.
    pub set: &'static str,
    /// Whether others can read a record once the call that appended it returned.
    pub readable: Answer,
    /// Whether such a record survives the death of its process.
    pub kill: Answer,
    /// Whether it survives the loss of power.
    pub power: Answer,
    /// Whether what is read is held against a checksum.
    pub verifies: Answer,
    /// Works it takes no part in, and why.
    pub lacks: &'static [(&'static str, &'static str)],
}

/// Yes or no, and how.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub yes: bool,
    pub how: &'static str,
}

pub const fn yes(how: &'static str) -> Answer {
    Answer { yes: true, how }
}

pub const fn no(how: &'static str) -> Answer {
    Answer { yes: false, how }
}

/// What an append is to be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As fast as the peer is without waiting for the disk.
    Fast,
    /// For `append_durable` only.
    Durable,
}

/// One log in one directory.
///
/// A peer that lacks a work (`Facts::lacks`) never gets the calls which that work makes.
pub trait Peer: Sized + Sync {
    const FACTS: Facts;
    /// Reading consumes, or the records have to be read as the log is opened: a second scan would not be the same work.
    const SCANS_ONCE: bool = false;
    /// What is appended together is read together: where records are read here and there, they are appended one by one.
    const READS_BATCHES: bool = false;
    /// Says where one record lies, as the peer says it.
    type Place;

    /// A new log in an empty directory.
    fn create(dir: &Path, mode: Mode) -> Self;
    /// The log in `dir`, ready to append and to read.
    fn open(dir: &Path) -> Self;
    fn append(&mut self, body: &[u8]);
    /// Appends all or nothing.
    fn append_all(&mut self, bodies: &[&[u8]]);
    /// Returns once the record is on the disk; callable from many threads.
    fn append_durable(&self, body: &[u8]);
    /// Passes each record's body to `each`, from the first.
    fn scan(&mut self, each: impl FnMut(&[u8]));
    /// Where the records with these numbers lie; they rise.
    fn places(&mut self, numbers: &[u64]) -> Vec<Self::Place>;
    /// Passes the one record's body to `each`.
    fn read(&mut self, place: &Self::Place, each: impl FnMut(&[u8]));
    /// Puts it down the way its documentation asks for.
    fn close(self);

    /// Appends `records` bodies by whichever way is quick: what is measured comes later.
    fn fill(&mut self, bodies: &Bodies, records: usize) {
        fill_one_by_one(self, bodies, records);
    }
}

pub fn fill_one_by_one(peer: &mut impl Peer, bodies: &Bodies, records: usize) {
    for index in 0..records {
        peer.append(bodies.get(index));
    }
}

/// What `fill` does where a call for each record takes long.
pub fn fill_by_batches(peer: &mut impl Peer, bodies: &Bodies, records: usize) {
    for start in (0..records).step_by(BATCH) {
        let batch: Vec<_> = (start..records.min(start + BATCH)).map(|index| bodies.get(index)).collect();
        peer.append_all(&batch);
    }
}
