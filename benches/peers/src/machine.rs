//! What was measured on, without its name.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use memmap2::{Advice, MmapMut};

/// Processor, memory and what a fresh page of it costs, kernel and filesystem in one line.
pub fn describe(dir: &Path) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&info, "model name").unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let memory = kilobytes.map_or(0.0, |kilobytes| kilobytes / f64::from(1 << 20));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let guest = if info.contains("hypervisor") { ", virtual machine" } else { "" };
    format!(
        "{model}, {cores} cores{guest}, {memory:.0} GiB of memory, {:.1} us a fresh page, Linux {kernel}, {}",
        fresh_page(),
        filesystem(dir).unwrap_or_else(|| "unknown filesystem".to_owned())
    )
}

/// Microseconds until a page of memory that the system has at hand can be written to: what a log that grows pays for each, sooner or
/// later. The second time counts: at the first a virtual machine may have to get its pages back from its host.
fn fresh_page() -> f64 {
    const PAGES: usize = 64 << 10;
    let touch = || {
        let mut memory = MmapMut::map_anon(PAGES * 4096).expect("map memory");
        memory.advise(Advice::NoHugePage).expect("advise on memory");
        let start = Instant::now();
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        start.elapsed().as_secs_f64() * 1e6 / PAGES as f64
    };
    touch();
    touch()
}

/// The type of the filesystem that `dir` lies in: of all that are mounted above it, the nearest.
fn filesystem(dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        dir.starts_with(place).then(|| (place.len(), kind.to_owned()))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// The commit of the working tree, with a plus sign where it holds more than that.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".to_owned() };
    // Figures and tables are written by measuring itself.
    let changed =
        git(&["status", "--porcelain", "--", "../..", ":!../../docs"]).is_some_and(|text| !text.is_empty());
    if changed { commit + "+" } else { commit }
}
