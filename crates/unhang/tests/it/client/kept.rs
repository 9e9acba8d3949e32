//! Connections that are kept for the next call: an answer never goes to another call, and a request is
//! tried once anew only if nothing of it came to the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use unhang::{Client, ClientWire, Delimiter, ErrorKind, Phase};

use super::{LONG, SHORT, block_on, place};

const LINES: ClientWire = ClientWire::Lines(Delimiter::Newline);

/// A server that serves each connection by `serve`, which is told how many there were before.
struct Fake {
    _directory: TempDir,
    path: PathBuf,
    accepted: Arc<AtomicUsize>,
}

impl Fake {
    fn start(serve: impl Fn(usize, UnixStream) + Send + Sync + 'static) -> Self {
        let (directory, path) = place();
        let listener = UnixListener::bind(&path).unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&accepted), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (nth, serve) = (count.fetch_add(1, Ordering::SeqCst), Arc::clone(&serve));
                std::thread::spawn(move || serve(nth, stream.unwrap()));
            }
        });
        Self { _directory: directory, path, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn client(path: &Path, wire: ClientWire) -> Client {
    Client::new(path).deadline(LONG).wire(wire)
}

/// A client sends the next line only after the reply to this one, so nothing is left in the buffer.
fn read_line(stream: &UnixStream) -> Option<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.ends_with('\n').then_some(line)
}

fn echo_lines(stream: &UnixStream) {
    while let Some(line) = read_line(stream) {
        // The client may have given up.
        let _ = (&*stream).write_all(line.as_bytes());
    }
}

#[test]
fn calls_one_after_another_take_one_connection_also_in_other_runtimes_and_of_clones() {
    let server = Fake::start(|_, stream| echo_lines(&stream));
    let client = client(&server.path, LINES);
    for nth in 0..3 {
        let (message, clone) = (format!("{nth}"), client.clone());
        let reply = block_on(clone.call(&message)).unwrap();
        assert_eq!(reply, format!("{nth}\n").as_bytes());
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_connection_that_the_server_has_closed_meanwhile_is_not_used() {
    let (closed, has_closed) = channel();
    let closed = Mutex::new(closed);
    let server = Fake::start(move |_, stream| {
        let line = read_line(&stream).unwrap();
        (&stream).write_all(line.as_bytes()).unwrap();
        drop(stream);
        closed.lock().unwrap().send(()).unwrap();
    });
    let client = client(&server.path, LINES);
    for nth in 0..3 {
        assert_eq!(block_on(client.call(format!("{nth}"))).unwrap(), format!("{nth}\n").as_bytes());
        has_closed.recv().unwrap();
    }
    assert_eq!(server.accepted(), 3);
}

/// The server shuts its input before it closes, so that a client knows that nothing came.
#[test]
fn a_request_that_the_server_has_not_taken_a_byte_of_is_tried_once_anew() {
    let server = Fake::start(|nth, stream| {
        let line = read_line(&stream).unwrap();
        if nth == 0 {
            // Before the answer, so that it is so when the next call is made.
            stream.shutdown(Shutdown::Read).unwrap();
        }
        (&stream).write_all(line.as_bytes()).unwrap();
        std::thread::sleep(LONG);
    });
    let client = client(&server.path, LINES);
    assert_eq!(block_on(client.call("one")).unwrap(), b"one\n");
    assert_eq!(block_on(client.call("two")).unwrap(), b"two\n");
    assert_eq!(server.accepted(), 2);
}

#[test]
fn a_request_that_was_sent_is_never_tried_again() {
    let server = Fake::start(|_, stream| {
        let line = read_line(&stream).unwrap();
        (&stream).write_all(line.as_bytes()).unwrap();
        // Taken, and then the server dies.
        let _ = read_line(&stream);
    });
    let client = client(&server.path, LINES);
    assert_eq!(block_on(client.call("one")).unwrap(), b"one\n");
    let error = block_on(client.call("two")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Lost { request_may_have_run: true, .. }), "{error}");
    assert_eq!(server.accepted(), 1);
}

/// An answer that comes late would be taken for the answer to the next request.
#[test]
fn an_answer_that_comes_too_late_goes_to_nobody() {
    let server = Fake::start(|nth, stream| {
        let line = read_line(&stream).unwrap();
        if nth == 0 {
            std::thread::sleep(SHORT * 2);
        }
        let _ = (&stream).write_all(line.as_bytes());
        echo_lines(&stream);
    });
    let client = client(&server.path, LINES);
    let error = block_on(client.clone().deadline(SHORT).call("late")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut { .. }), "{error}");
    std::thread::sleep(SHORT * 2);
    assert_eq!(block_on(client.call("next")).unwrap(), b"next\n");
    assert_eq!(server.accepted(), 2);
}

#[test]
fn what_nobody_asked_for_is_no_answer_to_the_next_request() {
    for comes_later in [false, true] {
        let server = Fake::start(move |_, stream| {
            let line = read_line(&stream).unwrap();
            if comes_later {
                (&stream).write_all(line.as_bytes()).unwrap();
                (&stream).write_all(b"unasked\n").unwrap();
            } else {
                (&stream).write_all(format!("{line}unasked\n").as_bytes()).unwrap();
            }
            std::thread::sleep(LONG);
        });
        let client = client(&server.path, LINES);
        assert_eq!(block_on(client.call("one")).unwrap(), b"one\n");
        if comes_later {
            // Until it is there for certain.
            std::thread::sleep(SHORT);
        }
        assert_eq!(block_on(client.call("two")).unwrap(), b"two\n");
        assert_eq!(server.accepted(), 2);
    }
}

#[test]
fn a_refusal_is_told_and_leaves_the_connection() {
    let server = Fake::start(|_, stream| {
        while let Some(line) = read_line(&stream) {
            let reply = if line == "bad\n" { "ERR no such thing\n" } else { &line };
            (&stream).write_all(reply.as_bytes()).unwrap();
        }
    });
    let client = client(&server.path, LINES);
    let error = block_on(client.call("bad")).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Refused { reason, .. } if reason == "no such thing"),
        "{error}"
    );
    assert_eq!(block_on(client.call("good")).unwrap(), b"good\n");
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_message_of_two_lines_is_refused_before_anything_is_sent() {
    let error = block_on(client(Path::new("/nobody"), LINES).call("a\nb")).unwrap_err();
    assert_eq!(error.phase(), Phase::Setup, "{error}");
    assert!(error.to_string().contains("expected a message of one line"), "{error}");
}

/// A server of HTTP that answers each request with its body, in chunks or not, and says what it is asked to.
fn serve_http(stream: &UnixStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let text = String::from_utf8(body).unwrap();
        let reply = match &*text {
            "busy" => "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nbusy\n".to_owned(),
            "last" => {
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK".to_owned()
            }
            "chunks" => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                format!("{head}2\r\nin\r\n7\r\n chunks\r\n0\r\n\r\n")
            }
            text => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()),
        };
        (&*stream).write_all(reply.as_bytes()).unwrap();
    }
}

#[test]
fn http_is_spoken_on_one_connection_until_the_server_says_that_it_closes() {
    let server = Fake::start(|_, stream| serve_http(&stream));
    let client = client(&server.path, ClientWire::Http);
    assert_eq!(block_on(client.call("hello")).unwrap(), b"hello");
    assert_eq!(block_on(client.call("chunks")).unwrap(), b"in chunks");
    let error = block_on(client.call("busy")).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Refused { reason, .. } if reason == "503 busy"),
        "{error}"
    );
    assert_eq!(block_on(client.call("last")).unwrap(), b"OK");
    assert_eq!(server.accepted(), 1);
    assert_eq!(block_on(client.call("")).unwrap(), b"");
    assert_eq!(server.accepted(), 2);
}

#[test]
fn many_calls_at_once_each_get_their_own_answer() {
    let server = Fake::start(|_, stream| echo_lines(&stream));
    let client = client(&server.path, LINES);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tasks = (0..8).map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for nth in 0..200 {
                    let id = format!("{task}-{nth}-{}", "x".repeat(nth * 10));
                    // Some give up in the middle.
                    if nth % 7 == 3 {
                        let impatient =
                            client.clone().deadline(std::time::Duration::from_micros(200));
                        let _ = impatient.call(&id).await;
                        continue;
                    }
                    assert_eq!(client.call(&id).await.unwrap(), format!("{id}\n").as_bytes());
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}
