//! Servers that take a part, are not there yet, or are there no more.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{call, call_forgetful, said};
use crate::support::daemon::Daemon;
use crate::support::programs::{missing, unable};
use crate::support::{Place, UNHANG};

/// It exited with 0, without a word.
#[test]
fn an_answer_to_a_part_of_the_message_is_printed_and_no_success() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"OK\n").unwrap();
    });
    let output = call(&place.socket, &[], &vec![b'x'; 6_000_000]);
    server.join().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"OK\n"[..]));
    assert!(said(&output).contains("of 6000000 bytes"), "{}", said(&output));
}

#[test]
fn a_server_that_does_not_close_is_called_with_the_end_that_its_reply_has() {
    for (bytes, ends, reply) in [
        (&b"{\"ok\":true}"[..], "json", &b"{\"ok\":true}"[..]),
        (b"\x00\x00\x00\x02OK", "length=4", b"OK"),
        (b"OK;", "delimiter=;", b"OK;"),
        (b"OK\0", r"delimiter=\0", b"OK\0"),
        (b"OK", "quiet=200ms", b"OK"),
    ] {
        let output = call_forgetful("s", bytes, &["hello", "--reply-ends", ends]);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), reply), "{ends}");
    }
    let output = call_forgetful("s", b"{\"ok\":true}", &["hello", "--deadline", "300ms"]);
    assert!(said(&output).contains("--reply-ends json"), "{}", said(&output));
}

/// `serve &` and then `call` failed 6 times of 20.
#[test]
fn a_server_that_starts_at_the_same_time_is_waited_for() {
    let place = Place::new();
    let waiting = Command::new(UNHANG)
        .arg("call")
        .arg(&place.socket)
        .args(["hello", "--wait", "--deadline", "30s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _server = Daemon::serve(&place.socket, &["--quiet"]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"OK+"));

    let nobody = Place::new();
    let output = call(&nobody.socket, &["hello", "--wait", "--deadline", "300ms"], b"");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("no such file"), "{}", said(&output));
}

/// In a container, a socket file that was mounted there stays the old one after its server's restart. It
/// was advised to start the server again.
#[test]
fn a_mounted_socket_file_whose_server_started_again_is_told_from_a_dead_server() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    if missing("unshare", "util-linux") {
        return;
    }
    let place = Place::new();
    let mounted = place.directory.path().join("mounted");
    std::fs::write(&mounted, "").unwrap();
    let first = UnixListener::bind(&place.socket).unwrap();
    let script = "mount --bind \"$1\" \"$2\" && touch \"$2.ready\" && read -r _ && exec \"$0\" call \"$2\" hello";
    let container = Command::new("unshare")
        .args(["-m", "sh", "-c", script, UNHANG])
        .args([&place.socket, &mounted])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut container = container;
    let ready = |container: &mut std::process::Child| {
        Path::new(&format!("{}.ready", mounted.display())).exists()
            || container.try_wait().unwrap().is_some()
    };
    crate::support::await_some("it is mounted", || ready(&mut container).then_some(()));
    if container.try_wait().unwrap().is_some() {
        unable("nothing can be mounted here");
        return;
    }
    drop(first);
    std::fs::remove_file(&place.socket).unwrap();
    let _again = UnixListener::bind(&place.socket).unwrap();
    container.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = container.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let said = said(&output);
    assert!(
        said.contains("mount of a deleted file") && said.contains("mount the directory"),
        "{said}"
    );
    assert!(!said.contains("start it again"), "{said}");
}

/// Answers the first client, once it has read so much, and stays open.
fn answer_once(
    place: &Place,
    request: &'static [u8],
    reply: &'static [u8],
) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(&place.socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut came = vec![0; request.len()];
        stream.read_exact(&mut came).unwrap();
        assert_eq!(came, request);
        stream.write_all(reply).unwrap();
        // No half-close, only the end.
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    })
}

#[test]
fn a_call_speaks_lines_and_http() {
    let http = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    for (arguments, request, reply, printed, code) in [
        (&["--wire", "lines"][..], &b"hello\n"[..], &b"one\ntwo\n"[..], &b"one\n"[..], 0),
        (&["--wire", "lines", "--delimiter", "nul"], b"hello\0", b"a\nb\0", b"a\nb\0", 0),
        (&["--wire", "lines"], b"hello\n", b"ERR busy\n", b"ERR busy\n", 0),
        (&["--wire", "http"], http, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", b"OK", 0),
        (&["--wire", "http"], http, b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nno", b"no", 1),
    ] {
        let place = Place::new();
        let server = answer_once(&place, request, reply);
        let output = call(&place.socket, &[&["hello"], arguments].concat(), b"");
        server.join().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(code), printed));
        let is_told = said(&output).contains("the server refused: 503 no");
        assert_eq!(is_told, code == 1, "{}", said(&output));
    }
}
