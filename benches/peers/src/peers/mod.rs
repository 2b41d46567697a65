//! Everything that is compared, one file each.

mod commitlog;
mod fjall;
mod okaywal;
mod plain;
mod raft_engine;
mod redb;
mod sqlite;
mod tailwater;
mod walrus;

use crate::cell::{Cell, Figure};
use crate::peer::{Facts, Peer};
use crate::works;

pub use tailwater::Tailwater;

/// Names every peer once, for all that goes over them.
macro_rules! peers {
    ($($peer:ty),* $(,)?) => {
        /// What is to be known of each.
        pub const ALL: &[Facts] = &[$(<$peer>::FACTS),*];

        /// Does the cell's work on the cell's peer.
        pub fn measure(cell: &Cell) -> Vec<Figure> {
            $(if cell.peer == <$peer>::FACTS.name {
                return works::measure::<$peer>(cell);
            })*
            panic!("no such peer: {}", cell.peer)
        }

        /// Fills a log of the named peer, for another process to open.
        pub fn fill(peer: &str, fill: &works::open::Fill) {
            $(if peer == <$peer>::FACTS.name {
                return fill.run::<$peer>();
            })*
            panic!("no such peer: {peer}")
        }
    };
}

peers!(
    Tailwater,
    plain::Buffered,
    plain::Write,
    commitlog::CommitLog,
    okaywal::OkayWal,
    walrus::Walrus,
    raft_engine::RaftEngine,
    fjall::Fjall,
    redb::Redb,
    sqlite::Sqlite,
);
