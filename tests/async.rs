//! Tails and sessions as streams of tasks: under a runtime, and under an executor of twenty lines.

#![cfg(feature = "async")]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use futures_core::Stream as Tasks;
use tailwater::{
    ErrorKind, Limit, Polled, PolledItem, Record, Result, Session, SessionSpec, Start, Step, Store, Stream,
    StreamName, StreamSpec, TenantId, UserId,
};

const RECORDS: usize = 2_000;

/// An executor of one task: polls it, and parks until it is woken.
fn block_on<F: Future>(task: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = pin!(task);
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

async fn next<S: Tasks + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|task| Pin::new(&mut *stream).poll_next(task)).await
}

fn open() -> (tempfile::TempDir, Store, Stream) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
    (dir, store, stream)
}

fn session(store: &Store) -> Session {
    let tenant = store.tenant(&TenantId::new("default").unwrap());
    tenant.create_session(SessionSpec::new(UserId::new("u").unwrap())).unwrap()
}

fn append_all(stream: Stream) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for number in 0..RECORDS {
            stream.append(&Record::new(&number.to_string())).unwrap();
        }
    })
}

async fn read_tail(mut tail: impl Tasks<Item = Result<Step>> + Unpin) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < RECORDS {
        if let Step::Records(batch) = next(&mut tail).await.unwrap().unwrap() {
            seen.extend(batch.iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()));
        }
    }
    seen
}

async fn read_session(mut tail: impl Tasks<Item = Result<Polled>> + Unpin) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < RECORDS {
        let polled = next(&mut tail).await.unwrap().unwrap();
        seen.extend(polled.iter().map(|(item, _)| match item {
            PolledItem::Record(record) => String::from_utf8_lossy(record.body()).into_owned(),
            PolledItem::Gap(gap) => panic!("{gap:?}"),
        }));
    }
    seen
}

fn all() -> Vec<String> {
    (0..RECORDS).map(|number| number.to_string()).collect()
}

#[test]
fn a_tail_is_a_stream_of_tasks_under_a_bare_executor() {
    let (_dir, _store, stream) = open();
    let tail = stream.tail(Start::Now).unwrap();
    let writer = append_all(stream);
    assert_eq!(block_on(read_tail(tail)), all());
    writer.join().unwrap();
}

#[test]
fn a_tail_is_a_stream_of_tasks_under_tokio() {
    let (_dir, _store, stream) = open();
    let tail = stream.tail(Start::Now).unwrap();
    let writer = append_all(stream);
    let runtime = runtime();
    assert_eq!(runtime.block_on(async { tokio::spawn(read_tail(tail)).await }).unwrap(), all());
    writer.join().unwrap();
}

#[test]
fn a_session_is_a_stream_of_tasks_under_a_bare_executor() {
    let (_dir, store, stream) = open();
    let tail = session(&store).tail(Limit::default()).unwrap();
    let writer = append_all(stream);
    assert_eq!(block_on(read_session(tail)), all());
    writer.join().unwrap();
}

#[test]
fn a_hundred_sessions_are_read_by_two_threads_of_tokio() {
    let dir = tempfile::tempdir().unwrap();
    let quotas = tailwater::Quotas { sessions_per_tenant: 100, sessions_per_user: 100, ..Default::default() };
    let store = tailwater::Options::new().quotas(quotas).open(dir.path()).unwrap();
    let stream = store.create_stream(StreamSpec::new(StreamName::new("a").unwrap())).unwrap();
    let tails: Vec<_> = (0..100).map(|_| session(&store).tail(Limit::default()).unwrap()).collect();
    let runtime = runtime();
    let tasks: Vec<_> = tails.into_iter().map(|tail| runtime.spawn(read_session(tail))).collect();
    let writer = append_all(stream);
    for task in tasks {
        assert_eq!(runtime.block_on(task).unwrap(), all());
    }
    writer.join().unwrap();
}

#[test]
fn a_task_that_waits_ends_when_the_store_closes() {
    let (_dir, store, stream) = open();
    let mut tail = session(&store).tail(Limit::default()).unwrap();
    let mut own = stream.tail(Start::Now).unwrap();
    let runtime = runtime();
    let waiting = runtime.spawn(async move { next(&mut tail).await.unwrap().map(|polled| polled.len()) });
    let own = runtime.spawn(async move { next(&mut own).await.unwrap().map(drop) });
    store.close().unwrap();
    assert_eq!(*runtime.block_on(waiting).unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*runtime.block_on(own).unwrap().unwrap_err().kind(), ErrorKind::Closed);
}
