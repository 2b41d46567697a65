//! One operation each, and its ratio to the limit measured in the same run: `cargo bench --bench engine`.
//!
//! | operation               | limit                                                               |
//! |-------------------------|---------------------------------------------------------------------|
//! | append                  | checksum and copy into memory touched before                        |
//! | durable append          | a store and msync of the page, one after the other, in a mapped file |
//! | scan                    | checksum record by record over the map                              |
//! | random read, time seek  | checksum of one record at a random place of the map                 |
//! | open                    | opening every file of the store and reading its first page          |
//! | tail wake-up            | a condition variable's                                              |

#[path = "../support/mod.rs"]
mod support;

mod append;
mod open;
mod ratio;
mod read;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    support::fixture::run_as_child();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    append::single(&mut criterion);
    append::batch(&mut criterion);
    append::durable(&mut criterion);
    read::log(&mut criterion);
    read::wake_up(&mut criterion);
    open::clean(&mut criterion);
    open::killed(&mut criterion);
    criterion.final_summary();
}
