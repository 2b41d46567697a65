//! The command line of Tailwater: arguments in, one command run over the public API, an exit code out.

mod append;
mod args;
mod cursor_file;
mod demo;
mod expression;
mod failure;
mod groups;
mod home;
mod line;
mod lines;
mod maintenance;
mod many;
mod output;
mod print;
mod read;
mod serve;
mod sessions;
mod streams;
mod when;

use std::process::ExitCode;

use clap::Parser;
use tailwater::{Options, Store};

use args::{Arguments, Command, Global};
use failure::{Failure, Result};
use print::Out;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.global.color {
        clap::ColorChoice::Auto => {}
        clap::ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        clap::ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let mut out = Out::new();
    let ended = run(&arguments, &mut out).and_then(|code| out.flush().map(|()| code));
    match ended {
        Ok(code) => code,
        Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before belongs before the error.
            let _ = out.flush();
            print::complain("error", print::BAD, failure);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, out: &mut Out) -> Result<ExitCode> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Group(command) => groups::run(global, command, out)?,
        Command::Stream(command) => streams::run(global, command, out)?,
        Command::Append(command) => return append::run(global, command, out),
        Command::Read(command) => return read::read(global, command, out),
        Command::Tail(command) => return read::tail(global, command, out),
        Command::Session(command) => sessions::run(global, command, out)?,
        Command::Serve(command) => serve::run(global, command, out)?,
        Command::Verify { stream } => return maintenance::verify(global, stream.as_deref(), out),
        Command::Repair => maintenance::repair(global, out)?,
        Command::Snapshot { dir } => maintenance::snapshot(global, dir)?,
        Command::Stats => maintenance::stats(global, out)?,
        Command::Inspect { segment_file } => return maintenance::inspect(global, segment_file, out),
        Command::Compact => maintenance::compact(global, out)?,
        Command::Demo { files } => return demo::run(files, out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the store for writing; nobody else may have it open for that.
fn open(global: &Global, create: bool) -> Result<Store> {
    Ok(Options::new().create(create).open(&global.data)?)
}

/// Opens the store for reading, whoever may be writing.
fn open_read_only(global: &Global) -> Result<Store> {
    Ok(Options::new().open_read_only(&global.data)?)
}
