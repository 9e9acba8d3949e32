//! Handlers that block the workers on which kept connections are served.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use unhang::{Delimiter, Errors, ServerHandle};

use super::*;

const CLIENTS: usize = 64;

/// A server with so many workers. A handler that is asked to blocks until the test lets it go; one that is
/// asked to nap blocks for a moment, so that what others write meanwhile is reported at once.
fn serve_blocking(workers: usize) -> (Blocking, Sender<()>) {
    let (release, blocked) = channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let handler = move |request: Request| {
        let blocked: Arc<Mutex<Receiver<()>>> = Arc::clone(&blocked);
        async move {
            let text = request.text().into_owned();
            match text.as_str() {
                "block" => drop(blocked.lock().unwrap().recv()),
                "nap" => std::thread::sleep(Duration::from_millis(8)),
                _ => {}
            }
            Ok::<_, Fault>(text)
        }
    };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let server = Server::bind(&path).unwrap().threads(workers);
    let server = server.lines(Delimiter::Newline, Errors::Text);
    let handle = server.handle();
    std::thread::spawn(move || {
        // On a busy machine any worker may seem to be blocked, and handlers then begin here.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(server.serve(handler)).unwrap();
        runtime.shutdown_background();
    });
    (Blocking { path, handle, _directory: directory }, release)
}

struct Blocking {
    path: PathBuf,
    handle: ServerHandle,
    _directory: TempDir,
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

fn ask(client: &mut UnixStream, text: &str) {
    client.write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Regression: a worker is told of many connections at once, and each is told once. If the handler of the
/// first of them blocked, nobody looked at the others again.
#[test]
fn clients_that_were_reported_together_with_one_that_blocks_are_answered() {
    for round in 0..10 {
        let (server, release) = serve_blocking(1);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&server.path)).collect();
        for client in &mut clients {
            ask(client, "first");
            assert_eq!(read_line(client), "first\n");
        }
        let (first, others) = clients.split_first_mut().unwrap();
        let (second, others) = others.split_first_mut().unwrap();
        ask(first, "nap");
        ask(second, "block");
        for client in others.iter_mut() {
            ask(client, "hello");
        }
        for client in others {
            assert_eq!(read_line(client), "hello\n", "in round {round}");
        }
        release.send(()).unwrap();
        assert_eq!(read_line(first), "nap\n");
        assert_eq!(read_line(second), "block\n");
    }
}

#[test]
fn with_every_worker_blocked_kept_clients_are_answered_and_new_ones_too() {
    let (server, release) = serve_blocking(2);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&server.path)).collect();
    for client in &mut clients {
        ask(client, "first");
        assert_eq!(read_line(client), "first\n");
    }
    let (blocking, others) = clients.split_at_mut(2);
    for client in blocking.iter_mut() {
        ask(client, "block");
    }
    for nth in 0..3 {
        for client in others.iter_mut() {
            ask(client, &format!("again {nth}"));
        }
        for client in others.iter_mut() {
            assert_eq!(read_line(client), format!("again {nth}\n"));
        }
    }
    let mut new = connect(&server.path);
    ask(&mut new, "new");
    assert_eq!(read_line(&mut new), "new\n");
    drop(release);
    for client in blocking {
        assert_eq!(read_line(client), "block\n");
    }
}
