//! Handlers that err, panic, never end, or block the only thread that handlers have.

use std::future::pending;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use unhang::{Fault, Limits, Reply, Request};

use super::Watched;

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
        _ => Ok("OK\n".into()),
    }
}

#[test]
fn each_of_its_clients_is_told_and_the_log_knows_more() {
    let watched = Watched::start(short(), faulty);
    for (message, told, known) in [
        ("err", "ERR no such page\n", "no such page"),
        ("fail", "ERR the handler failed\n", "InvalidDigit"),
        ("panic", "ERR the handler panicked\n", "as it was told"),
        ("panic with more", "ERR the handler panicked\n", "no message"),
        ("never end", LATE, "HandlerLate"),
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
