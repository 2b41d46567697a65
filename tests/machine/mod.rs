//! What the tests on the real machine share: this test's own binary as another process, and filesystems of their own.

#![allow(dead_code, unused_imports)]

#[path = "../chance/mod.rs"]
mod chance;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use chance::*;
use tailwater::{StreamName, StreamSpec};

pub fn spec(name: &str) -> StreamSpec {
    StreamSpec::new(StreamName::new(name).unwrap())
}

/// Lets the other processes run for so long: an instant drawn at random, never a wait for something to have happened.
pub fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// How another process that runs one test of this binary learns what it is to do.
const TASK: &str = "TAILWATER_TASK";

/// The arguments this process was started with by [`Other::start`]; `None` in an ordinary run of the tests.
pub fn task() -> Option<Vec<String>> {
    Some(std::env::var(TASK).ok()?.split('\u{1f}').map(str::to_string).collect())
}

/// Says a line to the process that started this one.
pub fn say(text: &str) {
    // One write, so that what was said was said whole.
    std::io::stdout().write_all(format!("@{text}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// Waits until the process that started this one lets go.
pub fn wait_for_release() {
    told();
}

/// How to run the one test named of this binary, on one thread, as another process, under the programs `under`.
pub fn command(under: &[&str], test: &str, arguments: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match under {
        [] => Command::new(this),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(this);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(TASK, arguments.join("\u{1f}"));
    command
}

/// Whether there is a program of this name, and it works here; else a word about it.
pub fn has(program: &str, trial: &[&str]) -> bool {
    run(Command::new(program).args(trial))
}

/// What was said by a process whose whole output this is.
pub fn said(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().filter_map(|line| Some(line.split_once('@')?.1.to_string())).collect()
}

/// The next line that the process which started this one says; empty once it lets go.
pub fn told() -> String {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    line.trim_end().into()
}

/// Another process: this binary, running the one test named, which finds its arguments by [`task`]. Killed when dropped.
pub struct Other {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Other {
    pub fn start(test: &str, arguments: &[&str]) -> Other {
        Other::start_under(&[], test, arguments)
    }

    /// Under another program, which is told to run it.
    pub fn start_under(under: &[&str], test: &str, arguments: &[&str]) -> Other {
        let mut child =
            command(under, test, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Other { child, input, output: BufReader::new(output).lines() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it says; `None` when it ended.
    pub fn heard(&mut self) -> Option<String> {
        // The test harness says things of its own.
        loop {
            let line = self.output.next()?.unwrap();
            if let Some((_, said)) = line.split_once('@') {
                return Some(said.into());
            }
        }
    }

    /// SIGKILL. What it said before can still be heard.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &self.pid().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Lets it go on to its end, which must be a good one.
    #[track_caller]
    pub fn release(mut self) {
        drop(self.input.take());
        while self.heard().is_some() {}
        assert!(self.child.wait().unwrap().success(), "the other process failed");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A filesystem of its own, unmounted when dropped.
pub struct Mounted {
    pub dir: tempfile::TempDir,
    image: Option<tempfile::NamedTempFile>,
}

impl Mounted {
    /// A tmpfs. `None`, and a word about it, where this user may not mount.
    pub fn tmpfs(bytes: u64) -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path()));
        mounted.then_some(Mounted { dir, image: None })
    }

    /// An ext4 filesystem in a file. `None`, and a word about it, where this user may not mount.
    pub fn ext4(bytes: u64) -> Option<Mounted> {
        Mounted::made("mkfs.ext4", bytes)
    }

    /// An ext2 filesystem in a file, which can reserve nothing.
    pub fn ext2(bytes: u64) -> Option<Mounted> {
        Mounted::made("mkfs.ext2", bytes)
    }

    fn made(mkfs: &str, bytes: u64) -> Option<Mounted> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(bytes).unwrap();
        let made = run(Command::new(mkfs).arg("-q").arg("-F").arg(image.path()));
        if made { Mounted::image(image) } else { None }
    }

    /// The same filesystem, as it is found when it is mounted the next time.
    pub fn mounted_again(mut self) -> Option<Mounted> {
        let image = self.image.take().expect("it lies in a file");
        assert!(run(Command::new("umount").arg(self.dir.path())), "somebody still holds a file");
        Mounted::image(image)
    }

    fn image(image: tempfile::NamedTempFile) -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = run(Command::new("mount").args(["-o", "loop"]).arg(image.path()).arg(dir.path()));
        mounted.then_some(Mounted { dir, image: Some(image) })
    }
}

/// Whether it ran, and well; else a word about it.
pub fn run(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        failed => {
            skipped(format_args!("{command:?}: {failed:?}"));
            false
        }
    }
}

/// Says what is not tried, past the harness, which keeps what a passing test prints to itself.
pub fn skipped(why: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
