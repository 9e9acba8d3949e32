//! A runtime whose clock stands still, as tests have it (`start_paused`).

use std::io::Write;
use std::net::Shutdown;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use unhang::{Client, Fault, Limits, Reply, Request, Server, ServerHandle};

use crate::support::{PATIENCE, connect, read_to_end};

/// Serves on the runtime of the caller until the handle stops it.
fn serve(limits: Limits) -> (tempfile::TempDir, PathBuf, ServerHandle) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let server = Server::bind(&path).unwrap().limits(limits);
    let handle = server.handle();
    tokio::spawn(server.serve(async |request: Request| match request.bytes() {
        b"never" => std::future::pending::<Result<Reply, Fault>>().await,
        b"sleep" => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(Reply::from("slept"))
        }
        _ => Ok(Reply::from(request.into_bytes())),
    }));
    (directory, path, handle)
}

/// Asks in a thread, as a client in another process: whether time passes here is nothing to it.
async fn ask(path: &std::path::Path, request: &'static str) -> (String, Duration) {
    // Before the server knows of it: on a busy machine the thread begins later than the deadline.
    let begun = Instant::now();
    let mut client = connect(path);
    // No `spawn_blocking`: for as long as that runs, the paused clock stays where it is.
    let (told, answer) = oneshot::channel();
    std::thread::spawn(move || {
        client.write_all(request.as_bytes()).unwrap();
        if !request.is_empty() {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let _ = told.send((read_to_end(client), begun.elapsed()));
    });
    answer.await.unwrap()
}

/// Regression: deadlines were stamped with one clock and kept with another, so none was kept while the runtime's
/// stood still.
#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_though_the_runtime_clock_is_paused() {
    let mut limits = Limits::default();
    limits.read = Duration::from_millis(200);
    limits.handler = Duration::from_millis(200);
    let (_directory, path, handle) = serve(limits);
    assert_eq!(ask(&path, "hello").await.0, "hello");
    let (told, took) = ask(&path, "never").await;
    assert_eq!(told, "ERR the handler took longer than 200ms\n");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let (told, took) = ask(&path, "").await;
    assert!(told.starts_with("ERR no whole request within 200ms"), "{told}");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    handle.shutdown().await;
    assert!(!path.exists());
}

/// A handler's own sleep is the runtime's affair: a paused clock skips it, and the deadline of the exchange is not
/// taken for passed.
#[tokio::test(start_paused = true)]
async fn a_handler_sleeps_by_the_paused_clock() {
    let (_directory, path, handle) = serve(Limits::default());
    let (told, took) = ask(&path, "sleep").await;
    assert_eq!(told, "slept");
    assert!(took < PATIENCE);
    handle.shutdown().await;
}

/// A drain that a client holds up ends in real time, too.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_though_the_runtime_clock_is_paused() {
    let mut limits = Limits::default();
    limits.drain = Duration::from_millis(200);
    let (_directory, path, handle) = serve(limits);
    let client = connect(&path);
    assert_eq!(ask(&path, "hello").await.0, "hello");
    handle.shutdown().await;
    assert_eq!(read_to_end(client), "ERR the server is stopping\n");
}

/// A call on a paused clock is answered if the server is: its deadline is the runtime's, like each of its waits.
#[tokio::test(start_paused = true)]
async fn a_call_on_a_paused_clock_keeps_its_own_deadline() {
    let (_directory, path, handle) = serve(Limits::default());
    let client = Client::new(&path).deadline(Duration::from_secs(3600));
    let begun = tokio::time::Instant::now();
    match client.call("never").await {
        Ok(reply) => assert!(reply.starts_with(b"ERR"), "{reply:?}"),
        Err(error) => assert!(begun.elapsed() >= Duration::from_secs(3600), "{error}"),
    }
    handle.shutdown().await;
}
