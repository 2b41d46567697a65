//! `serve`: both public APIs over HTTP, until a signal ends it.

use serde_json::json;
use tailwater::Error;
use tailwater::http::{self, Auth};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Global, ServeArguments};
use crate::failure::{Failure, Result};
use crate::open;
use crate::print::{self, DIM, Out};

/// Threads for calls that wait for the disk, at most.
const BLOCKING_THREADS: usize = 128;

/// Serves until Ctrl-C or SIGTERM.
pub fn run(global: &Global, arguments: &ServeArguments, out: &mut Out) -> Result<()> {
    let auth = match &arguments.tokens {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|err| Failure::io("read tokens", file, err))?;
            Auth::tokens(&text)
                .map_err(|err| Failure::Said(format!("read tokens {}: {err}", file.display())))?
        }
        None => Auth::open(),
    };
    auth.may_listen_on(arguments.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|err| Failure::Said(format!("start the server's threads: {err}")))?;
    runtime.block_on(async {
        let wrong = |err| Failure::Said(format!("listen on {}: {err}", arguments.listen));
        let listener = TcpListener::bind(arguments.listen).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        // Before anybody is told to connect: a signal that comes from now on ends it in order.
        let stop = stop()?;
        let store = open(global, true)?;
        if auth.is_open() {
            print::complain(
                "note",
                DIM,
                "no --tokens: whoever is on this machine may do anything; nobody else can connect",
            );
        }
        match global.json {
            true => out.json(&json!({ "listening": format!("http://{address}") }))?,
            false => out.line(format_args!("listening on http://{address}"))?,
        }
        out.flush()?;
        let report = |err: &Error| print::complain("error", print::BAD, err);
        Ok(http::serve(listener, store, auth, report, stop).await?)
    })
}

/// Comes with the first signal that asks for an end. The second ends the process at once.
fn stop() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).map_err(|err| Failure::Said(format!("wait for signals: {err}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        let _ = either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            let signal = either(&mut interrupt, &mut terminate).await;
            std::process::exit(128 + signal);
        });
    })
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}
