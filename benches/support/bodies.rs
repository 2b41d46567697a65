//! What is written: bodies of one length, and numbers by chance that are the same in every run.

/// Bytes out of which bodies are taken; they stay in the cache, as a record just made would.
const POOL: usize = 64 << 10;

/// Bodies of one length, each different from the one before.
pub struct Bodies {
    pool: Vec<u8>,
    bytes: usize,
}

impl Bodies {
    pub fn new(bytes: usize) -> Bodies {
        let mut random = Random(1);
        Bodies { pool: (0..POOL + bytes).map(|_| random.next() as u8).collect(), bytes }
    }

    /// The `index`-th body.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.pool[index * 320 % POOL..][..self.bytes]
    }
}

/// Marsaglia's xorshift64, the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
