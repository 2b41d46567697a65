//! Opening a store and its stream: after a clean close, and after its writer was killed.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::Criterion;
use tailwater::Store;

use crate::ratio;
use crate::support::fixture::{self, Bodies, STREAM};

const BODY: usize = 256;
/// 64 MiB of bodies.
const RECORDS: usize = 1 << 18;

pub fn clean(criterion: &mut Criterion) {
    let dir = fixture::directory();
    let (store, stream) = fixture::create(dir.path());
    fixture::append(&stream, &Bodies::new(BODY), RECORDS);
    store.close().expect("close");
    drop((store, stream));
    let mut group = criterion.benchmark_group("open 64 MiB");
    ratio::bench(
        &mut group,
        "cleanly closed",
        |times| (0..times).map(|_| first_pages(dir.path())).sum(),
        |times| (0..times).map(|_| open(dir.path())).sum(),
    );
}

pub fn killed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open 64 MiB");
    // Each needs a writer to kill.
    group.measurement_time(Duration::from_millis(200)).warm_up_time(Duration::from_millis(1));
    // Every store serves once, for both.
    let operation = Cell::new(Duration::ZERO);
    ratio::bench(
        &mut group,
        "writer killed",
        |times| {
            operation.set(Duration::ZERO);
            let mut limit = Duration::ZERO;
            for _ in 0..times {
                let dir = fixture::directory();
                fixture::killed(dir.path(), BODY, RECORDS);
                limit += first_pages(dir.path());
                operation.set(operation.get() + open(dir.path()));
            }
            limit
        },
        |_| operation.get(),
    );
}

fn open(dir: &Path) -> Duration {
    let start = Instant::now();
    let store = Store::open(dir).expect("open");
    let stream = store.stream(STREAM).expect("open the stream");
    let time = start.elapsed();
    drop((store, stream));
    time
}

/// Opens every file below `dir` and reads its first page.
fn first_pages(dir: &Path) -> Duration {
    let start = Instant::now();
    let (mut page, mut waiting) = ([0; 4096], vec![dir.to_path_buf()]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).expect("list") {
            let path = entry.expect("an entry").path();
            match fs::File::open(&path) {
                Ok(_) if path.is_dir() => waiting.push(path),
                file => drop(file.expect("open").read(&mut page).expect("read")),
            }
        }
    }
    start.elapsed()
}
