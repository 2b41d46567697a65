//! How a store is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::format::header::MAX_CAPACITY;
use crate::stream::env::Settings;
use crate::stream::{Durability, Verify};
use crate::vfs::os::OsVfs;
use crate::vfs::{Clock, Vfs};
use crate::{Error, Quotas, Result, Store};

/// How a store is opened. What is not said is as the default says.
///
/// ```
/// # fn main() -> tailwater::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use std::time::Duration;
/// use tailwater::{Durability, Options};
///
/// let store = Options::new()
///     .durability(Durability::Interval)
///     .sync_interval(Duration::from_millis(20))
///     .open(dir.path())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) verify: Verify,
    pub(crate) sync_interval: Duration,
    pub(crate) max_segment_bytes: u64,
    pub(crate) background: bool,
    pub(crate) create: bool,
    pub(crate) quotas: Quotas,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) vfs: Arc<dyn Vfs>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::default(),
            verify: Verify::default(),
            sync_interval: Duration::from_millis(50),
            max_segment_bytes: 64 << 20,
            background: true,
            create: true,
            quotas: Quotas::default(),
            clock: None,
            vfs: Arc::new(OsVfs),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options::default()
    }

    /// The durability of streams that were not created with one of their own. Default: `Interval`.
    pub fn durability(self, durability: Durability) -> Options {
        Options { durability, ..self }
    }

    /// How often reads check what sealed segments hold. Default: `Always`. See [`Verify`] for what `Once` gives up.
    pub fn verify(self, verify: Verify) -> Options {
        Options { verify, ..self }
    }

    /// How long after an append with `Interval` durability its sync begins. Default: 50 ms. A power failure loses at
    /// most this and the time of one sync.
    pub fn sync_interval(self, sync_interval: Duration) -> Options {
        Options { sync_interval, ..self }
    }

    /// The size up to which segments grow, a power of two from 64 KiB to 1 GiB; other values are rounded up and
    /// clamped. Default: 64 MiB. Retention removes whole segments.
    pub fn max_segment_bytes(self, bytes: u64) -> Options {
        let bytes = bytes.clamp(64 << 10, MAX_CAPACITY).next_power_of_two();
        Options { max_segment_bytes: bytes, ..self }
    }

    /// Whether the store keeps threads of its own for syncing, making space ready, and retention. Default: true. Without
    /// them the host calls [`Store::tick`], which does all that, at least once a sync interval.
    pub fn background(self, background: bool) -> Options {
        Options { background, ..self }
    }

    /// Whether a store is made where there is none. Default: true.
    pub fn create(self, create: bool) -> Options {
        Options { create, ..self }
    }

    /// How much there may be of what tenants make. Default: [`Quotas::default`]. The streams that [`Store::create_stream`] makes
    /// are the host's own, and have no limit.
    pub fn quotas(self, quotas: Quotas) -> Options {
        Options { quotas, ..self }
    }

    /// Where the time comes from. Default: the machine.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Options {
        Options { clock: Some(clock), ..self }
    }

    /// Where the files are, for tests on a simulated disk. Default: the machine's filesystem.
    pub fn vfs(self, vfs: Arc<dyn Vfs>) -> Options {
        Options { vfs, ..self }
    }

    /// Opens the store in `dir` for reading and writing.
    ///
    /// # Errors
    /// `Locked` where another process has it open for writing, naming that process; `NotFound` where there is none
    /// and none is to be made; `Corrupt` where the catalogue is damaged or lost, see [`repair`](crate::repair()); `Unsupported`;
    /// `NoSpace`; `Io`.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(self, dir.as_ref())
    }

    /// Opens the store in `dir` for reading only, also while another process writes it. Takes no lock and writes nothing.
    /// What it shows is what validates; it follows new segments and removals by looking again.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Unsupported`, `Io`.
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_read_only_with(self, dir.as_ref())
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        if self.sync_interval.is_zero() {
            return Err(Error::invalid("sync_interval", "zero; use Durability::Sync instead"));
        }
        Ok(Settings {
            durability: self.durability,
            verify: self.verify,
            sync_interval: self.sync_interval,
            max_segment_bytes: self.max_segment_bytes,
            background: self.background,
            quotas: self.quotas,
        })
    }
}
