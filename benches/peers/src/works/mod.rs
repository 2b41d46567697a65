//! What is measured, work by work.

pub mod append;
pub mod durable;
pub mod open;
pub mod read;
pub mod scale;
pub mod seen;
pub mod threads;

use crate::cell::{Cell, Figure, LIMIT};
use crate::peer::Peer;
use crate::peers;

/// One work, and the cases it is done in.
#[derive(Debug)]
pub struct Work {
    pub name: &'static str,
    pub cases: &'static [&'static str],
    pub who: Who,
    /// Whether the kernel is given pages to take before each cell: where much is written at speed.
    pub warm: bool,
}

/// Who does a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every peer, and the limit as one more.
    AllAndLimit,
    /// Every peer; the limit, where there is one, is measured in the cell of the engine, on its files.
    All,
    /// The engine and the limit: what is asked has no like among the peers.
    EngineAndLimit,
    /// The engine, in whose cell the limit is measured.
    Engine,
    /// The engine, once however many rounds there are: its cell makes rounds of its own on what took long to make.
    EngineOnce,
}

/// Every work, in the order in which they are done.
pub const ALL: &[Work] = &[
    Work { name: "append", cases: &["64", "256", "1024", "16384"], who: Who::AllAndLimit, warm: true },
    Work { name: "batch", cases: &["256"], who: Who::AllAndLimit, warm: true },
    Work { name: "latency", cases: &["256"], who: Who::AllAndLimit, warm: true },
    Work { name: "threads", cases: &["2", "8"], who: Who::EngineAndLimit, warm: true },
    Work { name: "durable", cases: &["1", "8", "64"], who: Who::AllAndLimit, warm: false },
    Work { name: "scan", cases: &["256"], who: Who::All, warm: true },
    Work { name: "random", cases: &["256"], who: Who::All, warm: true },
    Work { name: "open", cases: &["clean", "killed"], who: Who::All, warm: false },
    Work { name: "open-1GiB", cases: &["clean", "killed"], who: Who::Engine, warm: false },
    Work { name: "seen", cases: &["spinning", "parked"], who: Who::Engine, warm: false },
    Work { name: "space", cases: &["256"], who: Who::All, warm: false },
    Work {
        name: "streams",
        cases: &["1", "10", "1000", "10000", "100000"],
        who: Who::EngineOnce,
        warm: false,
    },
    Work { name: "length", cases: &["1", "4", "16", "64"], who: Who::EngineOnce, warm: false },
    Work { name: "tails", cases: &["1", "1000"], who: Who::Engine, warm: false },
];

impl Work {
    /// Whether `name`, a work or a work and a case with a slash between, means this one.
    pub fn is(&self, name: &str) -> bool {
        let (work, case) = name.split_once('/').map_or((name, None), |(work, case)| (work, Some(case)));
        self.name == work && case.is_none_or(|case| self.cases.contains(&case))
    }

    pub fn rounds(&self, rounds: usize) -> usize {
        if self.who == Who::EngineOnce { 1 } else { rounds }
    }

    /// Who does it, in the order of the first round.
    pub fn peers(&self) -> Vec<String> {
        let all = match self.who {
            Who::AllAndLimit | Who::All => peers::ALL,
            Who::EngineAndLimit | Who::Engine | Who::EngineOnce => &peers::ALL[..1],
        };
        let able = all.iter().filter(|facts| facts.lacks.iter().all(|(lacked, _)| *lacked != self.name));
        let mut names: Vec<_> = able.map(|facts| facts.name.to_owned()).collect();
        if matches!(self.who, Who::AllAndLimit | Who::EngineAndLimit) {
            names.push(LIMIT.to_owned());
        }
        names
    }
}

/// Whether one of `names` asks for this case; no names ask for all.
pub fn wanted(work: &Work, case: &str, names: &[&str]) -> bool {
    names.is_empty()
        || names.iter().any(|name| *name == work.name || **name == format!("{}/{case}", work.name))
}

/// Does a cell's work.
pub fn run(cell: &Cell) -> Vec<Figure> {
    if cell.peer != LIMIT {
        return peers::measure(cell);
    }
    match cell.work {
        "append" | "batch" | "threads" => append::limit(cell),
        "latency" => append::limit_of_latency(cell),
        "durable" => durable::limit(cell),
        work => panic!("no limit of {work}"),
    }
}

/// Does a cell's work on one peer.
pub fn measure<P: Peer>(cell: &Cell) -> Vec<Figure> {
    match cell.work {
        "append" => append::one_by_one::<P>(cell),
        "batch" => append::by_batches::<P>(cell),
        "latency" => append::latency::<P>(cell),
        "threads" => threads::run(cell),
        "durable" => durable::run::<P>(cell),
        "scan" => read::scan::<P>(cell),
        "random" => read::random::<P>(cell),
        "open" => open::open::<P>(cell),
        "open-1GiB" => open::open_1_gib(cell),
        "space" => open::space::<P>(cell),
        "seen" => seen::run(cell),
        "streams" => scale::streams(cell),
        "length" => scale::length(cell),
        "tails" => scale::tails(cell),
        work => panic!("no such work: {work}"),
    }
}
