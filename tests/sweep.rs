//! Every call of the system that two fixed pieces of work make: the process killed at it, the call interrupted, or failing
//! with EIO and with ENOSPC. What was acknowledged is there afterwards, and a failure is an error and no more.
//!
//! Needs strace. The ordinary run takes some at random, `TAILWATER_SEED` the same again; with `TAILWATER_SECONDS` all are
//! taken, as far as the time goes.
//!
//! Without the test harness: strace counts calls a thread, and the harness would make some of the same names on another.

#![cfg(target_os = "linux")]

mod machine;
#[path = "sweep/work.rs"]
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use machine::{Chance, command, has, reached, said, task, turns};
use work::{Heard, Work, listed, verify};

/// Calls that have to do with files. Maps count where they are shared: the others are the allocator's.
const CALLS: &str = "openat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,fsync,fdatasync,\
                     msync,fallocate,ftruncate,mmap,pread64,pwrite64,read,write,getdents64,fstat,newfstatat,statx,lseek,\
                     flock,fcntl,chmod,fchmod,madvise,copy_file_range,sendfile";

/// Those that may find no space.
const ALLOCATING: &str = "openat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,msync,fallocate,\
                          ftruncate,pwrite64,write,copy_file_range,sendfile";

/// How long one run may take. It takes some hundredths of a second.
const PATIENCE: &str = "60";

/// Those that a signal may interrupt, and that are then made again.
const INTERRUPTED: &str = "openat,fsync,fdatasync,msync,fallocate,ftruncate,pread64,pwrite64,read,write";

const TEST: &str = "whatever_call_fails_or_is_the_last_what_was_acknowledged_is_there";

fn main() {
    if let Some(arguments) = task() {
        return Work::named(&arguments[0]).run(Path::new(&arguments[1]));
    }
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    if names.peek().is_some() && !names.any(|name| TEST.contains(&name)) {
        return;
    }
    whatever_call_fails_or_is_the_last_what_was_acknowledged_is_there();
    println!("test {TEST} ... ok");
}

/// What happens to one call. Its text in `TAILWATER_INJECTION` repeats it alone.
#[derive(Debug, Clone)]
struct Injection {
    work: Work,
    call: String,
    /// Which of the process's calls of that name, from 1.
    number: u64,
    what: &'static str,
}

impl Display for Injection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {} {}", self.work, self.call, self.number, self.what)
    }
}

/// Runs `work` in `dir` under strace; returns what came of it, and strace's own notes.
fn run(work: Work, dir: &Path, log: &Path, options: &[&str]) -> (Output, String) {
    let log_name = log.to_str().unwrap();
    let mut under = vec!["timeout", PATIENCE, "strace", "-f", "-qq", "-o", log_name];
    under.extend(options);
    let arguments = [&format!("{work:?}"), dir.to_str().unwrap()];
    let output = command(&under, TEST, &arguments).output().unwrap();
    (output, String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned())
}

/// Every injection there can be into `work`, from a run without any.
fn plan(work: Work, template: &Path, scratch: &Path) -> Vec<Injection> {
    let dir = scratch.join("reference");
    work::copy(template, &dir);
    let (output, log) = run(work, &dir, &scratch.join("log"), &["-e", &format!("trace={CALLS}")]);
    let threads: BTreeSet<_> =
        log.lines().filter_map(|line| line.split_once(' ')).map(|(id, _)| id).collect();
    assert_eq!(threads.len(), 1, "calls are counted a thread");
    let lines = said(&output.stdout);
    let failed = lines.iter().find(|line| line.starts_with("failed"));
    assert!(output.status.success() && failed.is_none(), "{output:?}");
    verify(work, &dir, &Heard::new(lines));
    std::fs::remove_dir_all(&dir).unwrap();
    calls(&log)
        .into_iter()
        .flat_map(|(call, number)| {
            let space = ALLOCATING.split(',').any(|allocating| allocating == call).then_some("error=ENOSPC");
            let interrupted = INTERRUPTED.split(',').any(|other| other == call).then_some("error=EINTR");
            ["signal=KILL", "error=EIO"]
                .into_iter()
                .chain(space)
                .chain(interrupted)
                .map(move |what| Injection { work, call: call.clone(), number, what })
        })
        .collect()
}

/// The calls that matter between the beginning and the end, numbered as strace counts them: by name, from the process's
/// start.
fn calls(log: &str) -> Vec<(String, u64)> {
    let (mut counts, mut found, mut within) = (BTreeMap::new(), Vec::new(), false);
    for line in log.lines() {
        let Some((call, arguments)) = line.split_once(' ').and_then(|(_, call)| call.trim().split_once('('))
        else {
            continue;
        };
        let count = counts.entry(call.to_string()).or_insert(0);
        *count += 1;
        if call == "write" && arguments.starts_with("1, ") {
            within = (within || arguments.contains("@begin")) && !arguments.contains("@end");
            continue;
        }
        if within && (call != "mmap" || arguments.contains("MAP_SHARED")) {
            found.push((call.to_string(), *count));
        }
    }
    found
}

/// Whether the call came at all.
fn inject(injection: &Injection, template: &Path, scratch: &Path) -> bool {
    let Injection { work, call, number, what } = injection;
    let dir = scratch.join("run");
    work::copy(template, &dir);
    let options = ["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{what}:when={number}")];
    let (output, log) = run(*work, &dir, &scratch.join("log"), &options);
    let heard = Heard::new(said(&output.stdout));
    let hit = if *what == "signal=KILL" {
        assert!(output.status.success() || output.status.signal() == Some(9), "{output:?}");
        !output.status.success()
    } else {
        // It ends by itself: neither a panic, nor a signal, nor a wait without end.
        assert!(output.status.success() && heard.ended, "{:?} {:#?}", output, heard.lines);
        heard.check_poison();
        let failed = heard.lines.iter().find(|line| line.starts_with("failed"));
        assert!(*what != "error=EINTR" || failed.is_none(), "a signal is no failure: {:#?}", heard.lines);
        log.contains("INJECTED")
    };
    verify(*work, &dir, &heard);
    std::fs::remove_dir_all(&dir).unwrap();
    hit
}

fn whatever_call_fails_or_is_the_last_what_was_acknowledged_is_there() {
    if !has("strace", &["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "true"]) {
        return;
    }
    let mut chance = Chance::new();
    let seed = chance.seed();
    // In memory, where there is such a place: the calls are the same.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let scratch = scratch.path();
    let template = |work: Work| scratch.join(format!("{work:?}"));
    let mut plans = Vec::new();
    for work in Work::ALL {
        std::fs::create_dir(template(work)).unwrap();
        work.prepare(&template(work));
        plans.extend(plan(work, &template(work), scratch));
    }
    for last in (1..plans.len()).rev() {
        plans.swap(last, chance.below(last as u64 + 1) as usize);
    }
    let (mut hits, mut missed) = (BTreeMap::<&str, u64>::new(), Vec::new());
    let mut done = 0;
    if let Ok(only) = std::env::var("TAILWATER_INJECTION") {
        plans.retain(|injection| injection.to_string().contains(&only));
    }
    for (injection, _) in plans.iter().zip(turns(60)) {
        let outcome = std::panic::catch_unwind(|| inject(injection, &template(injection.work), scratch));
        match outcome {
            Ok(true) => *hits.entry(&injection.call).or_default() += 1,
            Ok(false) => missed.push(injection),
            Err(panic) => {
                println!("TAILWATER_INJECTION='{injection}'");
                std::panic::resume_unwind(panic);
            }
        }
        done += 1;
    }
    println!("{}", listed(hits.iter().map(|(call, count)| format!("{call} {count}"))));
    // A run may differ from the next by a call or two.
    assert!(missed.len() * 20 <= done, "{missed:?}");
    let hits: u64 = hits.values().sum();
    reached(
        format_args!(
            "system calls: {hits} injections done of {}, {} did not come; 0 acknowledged records lost, 0 false \
             reports, 0 panics, 0 signals, 0 hangs",
            plans.len(),
            missed.len()
        ),
        seed,
    );
}
