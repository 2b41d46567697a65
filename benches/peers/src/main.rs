//! Tailwater beside other logs and stores, and beside what the machine allows. `benches/peers/run` is how it is used.
//!
//! | call | does |
//! |---|---|
//! | `peers measure FILE ROUNDS [WORK..]` | measures, and puts the rows into the file in place of those of the same works |
//! | `peers report FILE DOCS` | writes tables into `performance.md` in that folder, and plots beside it |
//! | `peers cell WORK CASE PEER DIR` | one peer's share of one round, in a process of its own; called by `measure` |
//! | `peers fill PEER DIR BYTES RECORDS clean\|wait` | fills a log for another process to open; called by cells |
//! | `peers streams make\|open COUNT DIR` | has many streams; called by cells |

mod cell;
mod machine;
mod peer;
mod peers;
mod report;
mod rounds;
mod row;
mod stats;
mod targets;
mod works;

/// What the engine's own benchmarks use too.
#[path = "../../support"]
mod support {
    pub mod bodies;
    pub mod limit;
}

use std::env;
use std::path::Path;

use cell::Cell;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["measure", file, rounds, ref works @ ..] => {
            rounds::run(Path::new(file), rounds.parse().expect("a number of rounds"), works);
        }
        ["report", file, docs] => report::write(Path::new(file), Path::new(docs)),
        ["cell", work, case, peer, dir] => {
            let cell = Cell { work, case, peer, dir: Path::new(dir) };
            for figure in works::run(&cell) {
                println!("{}", serde_json::to_string(&figure).expect("a figure is plain"));
            }
        }
        ["fill", peer, dir, bytes, records, end] => {
            let (bytes, records) = (bytes.parse().expect("bytes"), records.parse().expect("records"));
            let fill = works::open::Fill { dir: Path::new(dir), bytes, records, wait: end == "wait" };
            peers::fill(peer, &fill);
        }
        ["streams", what, count, dir] => works::scale::run_as_child(what, count, Path::new(dir)),
        _ => panic!("measure FILE ROUNDS [WORK..] or report FILE DOCS, not {words:?}"),
    }
}
