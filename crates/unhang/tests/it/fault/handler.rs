//! Handlers that err, panic, never end, or block the only thread that handlers have.

use std::future::pending;
use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;
use unhang::{Client, Fault, Limits, Reply, Request, Server};

use super::Watched;
use crate::support::{Running, ask, connect, read_to_end};

const LATE: &str = "ERR the handler took longer than 2s\n";

fn short() -> Limits {
    let mut limits = Limits::default();
    limits.handler = Duration::from_secs(2);
    limits
}

async fn faulty(request: Request) -> Result<Reply, Fault> {
    match &*request.text() {
        "err" => Err(Fault::new("no such page")),
        "fail" => {
            let number: u8 = "many".parse()?;
            Ok(vec![number].into())
        }
        "panic" => panic!("as it was told"),
        "panic with more" => std::panic::panic_any(42),
        "never end" => pending().await,
        "block, and never end" => {
            // Longer than a worker may be held up unnoticed.
            std::thread::sleep(Duration::from_millis(100));
            pending().await
        }
        _ => Ok("OK\n".into()),
    }
}

#[test]
fn each_of_its_clients_is_told_and_the_log_knows_more() {
    let watched = Watched::start(short(), faulty);
    for (message, told, known) in [
        ("err", "ERR no such page\n", "no such page"),
        ("fail", "ERR the handler failed\n", "invalid digit"),
        ("panic", "ERR the handler panicked\n", "as it was told"),
        ("panic with more", "ERR the handler panicked\n", "no message"),
        ("never end", LATE, "HandlerLate"),
        ("block, and never end", LATE, "HandlerLate"),
    ] {
        watched.assert_told(message, told, &["Refused", known]);
        watched.assert_told("hello", "OK\n", &["Answered"]);
    }
}

/// Handlers run on the one thread of the caller's runtime, and it is stuck.
#[test]
fn where_it_blocks_the_thread_of_all_handlers_every_client_is_told() {
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let watched = Watched::start(short(), move |_: Request| {
        // Ends when the test lets it.
        let _ = blocked.lock().unwrap().recv();
        std::future::ready(Ok("late\n"))
    });
    for _ in 0..3 {
        watched.assert_told("hello", LATE, &["HandlerLate"]);
    }
    drop(release);
}

/// The same for one that has waited before it blocks: it is not on the thread that it began on.
#[test]
fn where_it_blocks_the_thread_that_it_goes_on_in_every_client_is_told() {
    let (release, blocked) = channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let watched = Watched::start(short(), move |_: Request| {
        let blocked = Arc::clone(&blocked);
        async move {
            yield_now().await;
            // Ends when the test lets it.
            let _ = blocked.lock().unwrap().recv();
            Ok::<_, Fault>("late\n")
        }
    });
    for _ in 0..3 {
        watched.assert_told("hello", LATE, &["HandlerLate"]);
    }
    drop(release);
}

#[test]
fn where_its_runtime_is_thrown_away_its_client_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let server = Server::bind(&path).unwrap();
    let mut client = connect(&path);
    client.write_all(b"hello\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = Arc::new(Notify::new());
    runtime.block_on(async {
        let tell = Arc::clone(&asked);
        let handler = move |_: Request| {
            let tell = Arc::clone(&tell);
            async move {
                yield_now().await;
                tell.notify_one();
                pending::<Result<Reply, Fault>>().await
            }
        };
        tokio::select! {
            result = server.serve(handler) => panic!("{result:?}"),
            () = asked.notified() => {}
        }
    });
    drop(runtime);
    let told = read_to_end(client);
    assert!(
        ["ERR the server is stopping\n", "ERR the handler failed\n"].contains(&&*told),
        "{told}"
    );
}

/// Clients were left to the one worker that waited for clients, and that is the one which is blocked.
#[test]
fn while_it_blocks_its_worker_another_serves() {
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let handler = move |request: Request| {
        if request.bytes() == b"block" {
            // Ends when the test lets it.
            let _ = blocked.lock().unwrap().recv();
        }
        std::future::ready(Ok("OK\n"))
    };
    let server = Running::start(|server| server.threads(2), handler);
    for _ in 0..100 {
        assert_eq!(ask(&server.path, "hello"), "OK\n");
    }
    let mut patient = connect(&server.path);
    patient.write_all(b"block").unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&server.path, "hello"), "OK\n");
    }
    drop(release);
    assert_eq!(read_to_end(patient), "OK\n");
}

/// It took the call's whole deadline: what a handler waits for while its worker polls it was registered
/// nowhere, as if it were the worker's own.
#[test]
fn it_may_block_on_a_call() {
    let slow = async |_: Request| {
        sleep(Duration::from_millis(20)).await;
        Ok("OK\n")
    };
    let behind = Running::start(|server| server, slow);
    let path = behind.path.clone();
    let handler = move |_: Request| {
        // It would be late before the call is.
        let client = Client::new(&path).deadline(2 * Limits::default().handler);
        let reply = Handle::current().block_on(client.call("hello"));
        std::future::ready(reply.map_err(Fault::from))
    };
    let server = Running::start(|server| server, handler);
    assert_eq!(ask(&server.path, "hello"), "OK\n");
}
