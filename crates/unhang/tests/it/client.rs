//! The client against servers that each do one thing wrong: the call ends by its deadline, and the
//! error says what it was.

mod cut;
mod descriptors;
mod ends;
mod kept;
mod spec;
mod waiting;
mod words;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use tempfile::TempDir;
use unhang::{Bind, Client, Error, ErrorKind, Phase, ReplyEnds, Server, Whose};

/// Far more than what a good server needs, and what a bad one costs a test.
const SHORT: Duration = Duration::from_millis(300);

/// Long enough never to be met by a test that is not about time.
const LONG: Duration = Duration::from_secs(30);

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    (directory, path)
}

/// Calls a server that does `behaviour` with its one connection, and keeps it open until the call
/// has ended.
fn call_to(
    behaviour: impl FnOnce(&mut UnixStream) + Send + 'static,
    client: impl FnOnce(Client) -> Client,
    message: &[u8],
) -> Result<Vec<u8>, Error> {
    let (_directory, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let (ended, until_ended) = channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        behaviour(&mut stream);
        let _ = until_ended.recv();
    });
    let result = block_on(client(Client::new(&path).deadline(LONG)).call(message));
    drop(ended);
    server.join().unwrap();
    result
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn read_request(stream: &mut UnixStream) -> Vec<u8> {
    let mut request = Vec::new();
    stream.read_to_end(&mut request).unwrap();
    request
}

#[test]
fn a_reply_is_everything_up_to_the_close() {
    let behaviour = |stream: &mut UnixStream| {
        assert_eq!(read_request(stream), b"hello");
        stream.write_all(b"one\n").unwrap();
        stream.write_all(b"two").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    assert_eq!(call_to(behaviour, |client| client, b"hello").unwrap(), b"one\ntwo");
}

#[test]
fn a_reply_may_end_with_a_newline_instead() {
    let behaviour = |stream: &mut UnixStream| stream.write_all(b"one\ntwo\n").unwrap();
    let at_newline = |client: Client| client.reply_ends(ReplyEnds::AtNewline);
    assert_eq!(call_to(behaviour, at_newline, b"hello").unwrap(), b"one\n");
}

#[test]
fn answered_and_not_closed_is_told_with_the_reply_and_the_cure() {
    let behaviour = |stream: &mut UnixStream| stream.write_all(b"OK\n").unwrap();
    let error = call_to(behaviour, |client| client.deadline(SHORT), b"hello").unwrap_err();
    assert_eq!((error.phase(), error.whose()), (Phase::Receive, Whose::Server));
    assert!(error.to_string().contains("must close"), "{error}");
    assert!(matches!(error.into_kind(), ErrorKind::NotClosed { reply, .. } if reply == b"OK\n"));
}

#[test]
fn no_answer_is_told_at_the_deadline_also_when_bytes_keep_dripping() {
    let silent = call_to(|_| (), |client| client.deadline(SHORT), b"hello").unwrap_err();
    assert!(matches!(silent.kind(), ErrorKind::TimedOut { phase: Phase::Receive, .. }), "{silent}");

    let drip = |stream: &mut UnixStream| {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(SHORT / 10);
        }
    };
    let at_newline = |client: Client| client.deadline(SHORT).reply_ends(ReplyEnds::AtNewline);
    let dripped = call_to(drip, at_newline, b"hello").unwrap_err();
    assert!(matches!(dripped.kind(), ErrorKind::Incomplete { .. }), "{dripped}");
}

#[test]
fn a_server_that_does_not_read_is_told_as_such() {
    let message = vec![b'x'; 8 << 20];
    let error = call_to(|_| (), |client| client.deadline(SHORT), &message).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut { phase: Phase::Send, .. }), "{error}");
}

#[test]
fn a_server_that_answers_while_it_reads_is_no_deadlock() {
    let behaviour = |stream: &mut UnixStream| {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => stream.write_all(&buffer[..count]).unwrap(),
            }
        }
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let message = vec![b'x'; 4 << 20];
    assert_eq!(call_to(behaviour, |client| client, &message).unwrap(), message);
}

#[test]
fn a_close_without_a_reply_is_a_loss() {
    let behaviour = |stream: &mut UnixStream| {
        read_request(stream);
        stream.shutdown(Shutdown::Both).unwrap();
    };
    let error = call_to(behaviour, |client| client, b"hello").unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Lost { request_may_have_run: true, partial, .. } if partial.is_empty()
        ),
        "{error}"
    );
}

#[test]
fn what_came_before_a_reset_is_kept() {
    let (_directory, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.write_all(b"par").unwrap();
        // Closed with three bytes unread: a reset.
    });
    let error = block_on(Client::new(&path).deadline(LONG).call("hello")).unwrap_err();
    server.join().unwrap();
    assert!(
        matches!(error.kind(), ErrorKind::Lost { partial, .. } if partial == b"par"),
        "{error}"
    );
}

#[test]
fn an_answer_that_comes_before_all_was_sent_is_read() {
    let behaviour = |stream: &mut UnixStream| {
        stream.write_all(b"ERR too long\n").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    };
    let error = call_to(behaviour, |client| client, &vec![b'x'; 8 << 20]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused { reason, .. } if reason == "too long"));
}

#[test]
fn a_reply_over_the_limit_is_cut_off() {
    let behaviour = |stream: &mut UnixStream| {
        let _ = stream.write_all(&[b'x'; 101]);
        let _ = stream.shutdown(Shutdown::Write);
    };
    let limited = |client: Client| client.max_reply(100);
    let error = call_to(behaviour, limited, b"hello").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ReplyTooLarge { limit: 100 }), "{error}");
}

#[test]
fn without_the_half_close_the_server_sees_no_end() {
    let behaviour = |stream: &mut UnixStream| {
        let mut buffer = [0; 100];
        assert_eq!(stream.read(&mut buffer).unwrap(), 5);
        stream.set_nonblocking(true).unwrap();
        let error = stream.read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        stream.write_all(b"OK\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let reply = call_to(behaviour, |client| client.half_close(false), b"hello");
    assert_eq!(reply.unwrap(), b"OK\n");
}

#[test]
fn what_is_not_a_server_is_told_apart() {
    let (directory, path) = place();
    let kind = |path: &std::path::Path| {
        let error = block_on(Client::new(path).deadline(LONG).call("hello")).unwrap_err();
        assert_eq!(error.phase(), Phase::Connect, "{error}");
        error.into_kind()
    };
    assert!(matches!(kind(&path), ErrorKind::NoSuchFile));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(kind(&path), ErrorKind::NobodyListens));
    assert!(matches!(kind(directory.path()), ErrorKind::NotASocket));
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(kind(&file), ErrorKind::NotASocket));
    assert!(matches!(kind(&file.join("below")), ErrorKind::NoSuchFile));
    let datagram = directory.path().join("datagram");
    let _datagram = UnixDatagram::bind(&datagram).unwrap();
    assert!(matches!(kind(&datagram), ErrorKind::NotAStreamSocket));
}

#[test]
fn a_full_accept_queue_is_tried_again_until_there_is_room_or_time_is_up() {
    let (_directory, path) = place();
    // A backlog of one lets two in.
    let listener = Bind::new(&path).backlog(1).listen().unwrap();
    let _waiting = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
    let error = block_on(Client::new(&path).deadline(SHORT).call("hello")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::QueueFull { .. }), "{error}");

    let reply = block_on(async {
        let served = Server::new(listener).serve(async |_: unhang::Request| Ok("OK\n"));
        let called = async {
            // Begins while the queue is still full.
            let client = Client::new(&path).deadline(LONG);
            client.call("hello").await
        };
        tokio::select! {
            biased;
            reply = called => reply,
            served = served => panic!("{served:?}"),
        }
    });
    assert_eq!(reply.unwrap(), b"OK\n");
}

#[test]
fn an_abstract_name_works_like_a_path() {
    let name = format!("@unhang-test-{}", std::process::id());
    let reply = block_on(async {
        let served = Server::bind(&name).unwrap().serve(async |_: unhang::Request| Ok("OK\n"));
        tokio::select! {
            reply = unhang::call(&name, "hello") => reply,
            served = served => panic!("{served:?}"),
        }
    });
    assert_eq!(reply.unwrap(), b"OK\n");
}

#[test]
fn an_address_that_cannot_be_one_is_refused_before_anything_is_tried() {
    for name in [String::new(), "x".repeat(108)] {
        let error = block_on(unhang::call(&name, "hello")).unwrap_err();
        assert_eq!((error.phase(), error.whose()), (Phase::Setup, Whose::Caller), "{error}");
    }
}
