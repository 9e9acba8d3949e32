//! Wires that keep a connection for the next exchange.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{bench, ends, run, said};
use crate::support::daemon::Daemon;
use crate::support::{Place, UNHANG};

/// Serves each connection on a thread, and counts them.
fn serve(place: &Place, serve: fn(UnixStream)) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(&place.socket).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || serve(stream));
        }
    });
    accepted
}

fn echo_lines(stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let _ = writer.write_all(format!("{line}\n").as_bytes());
    }
}

fn answer_http(stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        if line.trim().is_empty() {
            reader.read_exact(&mut [0; 5]).unwrap();
            let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npong\n");
        }
        line.clear();
    }
}

#[test]
fn each_client_keeps_its_connection_at_every_depth() {
    for (wire, server, reply) in
        [("lines", echo_lines as fn(UnixStream), "ping\\n"), ("http", answer_http, "pong\\n")]
    {
        for depth in ["1", "16"] {
            let place = Place::new();
            let accepted = serve(&place, server);
            let flags = ["--wire", wire, "--depth", depth, "--count", "320", "--clients", "2"];
            let (report, code) = bench(&place.socket, &[&flags[..], &["--expect", reply]].concat());
            assert_eq!((ends(&report), code), (vec![("answered", 320)], 0), "{report:#}");
            assert_eq!(
                (&report["wire"], report["depth"].to_string()),
                (&wire.into(), depth.into())
            );
            // And the one that goes before all others.
            assert_eq!(accepted.load(Ordering::SeqCst), 3, "{wire}, {depth} at once");
        }
    }
}

#[test]
fn a_server_that_ends_kept_connections_is_connected_to_anew() {
    let place = Place::new();
    serve(&place, |stream| {
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).unwrap();
        // No request that was sent is lost: the input is shut first.
        reader.get_ref().shutdown(std::net::Shutdown::Read).unwrap();
        reader.get_ref().write_all(line.as_bytes()).unwrap();
    });
    let (report, code) = bench(&place.socket, &["--wire", "lines", "--count", "20"]);
    assert_eq!((ends(&report), code), (vec![("answered", 20)], 0), "{report:#}");
}

#[test]
fn what_is_not_answered_on_a_kept_connection_is_counted_for_each_request() {
    for (server, ended) in [
        ((|stream| drop(read_then(stream, b"pong\nERR busy\n"))) as fn(UnixStream), "refused"),
        (|stream| drop(read_then(stream, b"pong\npo")), "short"),
        (|stream| drop(read_then(stream, b"pong\n")), "empty"),
    ] {
        let place = Place::new();
        serve(&place, server);
        let flags = ["--wire", "lines", "--depth", "4", "--count", "4"];
        let (report, code) = bench(&place.socket, &flags);
        let mut expected = vec![("answered", 1), (ended, 3)];
        expected.sort_unstable();
        assert_eq!((ends(&report), code), (expected, 1), "{report:#}");
    }
}

/// Takes four lines, so that the close cannot become a reset.
fn read_then(stream: UnixStream, reply: &[u8]) -> UnixStream {
    let mut lines = BufReader::new(&stream).lines();
    for _ in 0..4 {
        let _ = lines.next();
    }
    let _ = (&stream).write_all(reply);
    stream
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (flags, why) in [
        (&["--depth", "2"][..], "goes without --wire oneshot"),
        (&["--method", "A.b"], "goes with --wire goridge"),
        (&["--wire", "goridge", "--method", ""], "expected a method of"),
        (&["--wire", "lines", "--half-close"], "goes with --wire oneshot"),
        (&["--wire", "http", "--depth", "2", "--rate", "5"], "goes without --rate"),
        (&["--wire", "lines", "--request", "a\\nb"], "expected a request of one line"),
    ] {
        let output = run("/nobody", flags);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
}

/// The server of this repository, and its own client.
#[test]
fn serve_call_and_bench_speak_the_same_wires() {
    for wire in ["lines", "http", "goridge"] {
        let place = Place::new();
        let _server = Daemon::serve(&place.socket, &["--wire", wire, "--quiet"]);
        let flags = ["--wire", wire, "--depth", "8", "--count", "400", "--clients", "4"];
        let (report, code) = bench(&place.socket, &flags);
        assert_eq!((ends(&report), code), (vec![("answered", 400)], 0), "{report:#}");
        let mut call = Command::new(UNHANG);
        call.arg("call").arg(&place.socket).args(["hello", "--wire", wire]);
        if wire == "goridge" {
            call.args(["--method", "App.Hello", "--codec", "raw"]);
        }
        let output = call.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(output.stdout.starts_with(b"OK+"), "{output:?}");
    }
}
