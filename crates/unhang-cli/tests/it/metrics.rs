//! The counters, held against what the clients counted.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{PATIENCE, Place, UNHANG, await_some};

fn get(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Every sample of a scrape, by its name and labels.
pub(crate) fn scrape(address: &str) -> HashMap<String, f64> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let response = get(stream, "/metrics");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("content-type: application/openmetrics-text"), "{response}");
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(body.ends_with("# EOF\n"), "{body}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// A port that is free now; that another program takes it before we do is unlikely enough.
pub(crate) fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Regression: a web page whose name leads to this machine could let its reader's browser ask here.
#[test]
fn over_tcp_only_an_address_and_localhost_are_answered() {
    let place = Place::new();
    let address = free_address();
    let _server = Daemon::serve(&place.socket, &["--metrics", &address]);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    for host in ["evil.example", "evil.example:9090", "127.0.0.1.evil.example"] {
        let said = ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(said.starts_with("HTTP/1.1 421 "), "{said}");
        assert!(said.contains("expected an address or localhost") && said.contains(host), "{said}");
    }
    let said = ask("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 421 "), "{said}");
    let said = ask(&format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let said = ask("GET /metrics HTTP/1.0\r\n\r\n");
    assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
}

/// Regression: not a word.
#[test]
fn an_address_that_is_not_of_this_machine_alone_is_said_to_be_so() {
    for (ip, is_said) in [("0.0.0.0", true), ("[::]", true), ("127.0.0.1", false)] {
        let place = Place::new();
        let port = free_address().rsplit_once(':').unwrap().1.to_owned();
        let mut command = Command::new(UNHANG);
        command.arg("serve").arg(&place.socket).args(["--metrics", &format!("{ip}:{port}")]);
        let mut server = Daemon::start(command.stderr(Stdio::piped()), "listening");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        assert_eq!(server.stderr().contains("not of this machine alone"), is_said, "{ip}");
    }
}

#[test]
fn they_say_what_the_clients_saw() {
    let place = Place::new();
    let address = free_address();
    let arguments =
        ["--metrics", &address, "--max-request", "10B", "--until", "newline", "--quiet"];
    let _server = Daemon::serve(&place.socket, &arguments);
    let (mut sent, mut received) = (0, 0);
    for _ in 0..7 {
        sent += 6;
        received += Peer::ask(&place.socket, b"hello\n").len();
    }
    for _ in 0..3 {
        sent += 12;
        received += Peer::ask(&place.socket, b"hello, world").len();
    }
    drop(Peer::connect(&place.socket));
    let mut held = Peer::connect(&place.socket);
    held.write(b"hel");
    sent += 3;

    let samples = await_some("all of it is counted", || {
        let samples = scrape(&address);
        // One that has ended is counted a moment before it is no longer under way; and what one
        // holds, before it is.
        (samples.get("unhang_exchange_duration_seconds_count") == Some(&11.0)
            && samples.get("unhang_connections") == Some(&1.0)
            && samples["unhang_requests_held_bytes"] > 0.0)
            .then_some(samples)
    });
    for (name, value) in [
        ("unhang_exchanges_total{ended=\"answered\"}", 7),
        ("unhang_exchanges_total{ended=\"refused\"}", 3),
        ("unhang_refused_total{why=\"request_too_long\"}", 3),
        ("unhang_request_bytes_total", sent - 3),
        ("unhang_reply_bytes_total", received),
        ("unhang_exchange_duration_seconds_count", 11),
        ("unhang_handler_duration_seconds_count", 7),
        ("unhang_connections", 1),
        ("unhang_requests_held_bytes", 3),
        ("unhang_connections_limit", 1000),
    ] {
        #[allow(clippy::cast_precision_loss)] // Small numbers.
        let expected = value as f64;
        assert_eq!(samples.get(name), Some(&expected), "{name}: {samples:#?}");
    }
    assert!(samples["process_open_fds"] > 3.0 && samples["process_max_fds"] > 3.0);

    held.write(b"lo\n");
    held.read_to_end();
    await_some("all is given back", || {
        let samples = scrape(&address);
        (samples["unhang_connections"] == 0.0 && samples["unhang_requests_held_bytes"] == 0.0)
            .then_some(())
    });
}

#[test]
fn they_say_how_many_clients_wait_to_be_accepted() {
    let place = Place::new();
    let address = free_address();
    let arguments = ["--metrics", &address, "--max-connections", "1", "--until", "newline"];
    let patient = ["--backlog", "7", "--queue-deadline", "1h", "--read-deadline", "1h"];
    let _server = Daemon::serve(&place.socket, &[&arguments[..], &patient].concat());
    let queue = || {
        let samples = scrape(&address);
        (samples["unhang_accept_queue"], samples["unhang_accept_queue_limit"])
    };
    assert_eq!(queue(), (0.0, 7.0));

    let mut first = Peer::connect(&place.socket);
    // This part of a request shows that the client is in, and that the others have come after it.
    first.write(b"hel");
    await_some("it is let in", || (scrape(&address)["unhang_connections"] > 0.0).then_some(()));
    let mut waiting: Vec<_> = (0..5).map(|_| Peer::connect(&place.socket)).collect();
    assert_eq!(queue(), (5.0, 7.0));
    assert_eq!(queue(), (5.0, 7.0), "to look changes nothing");

    first.write(b"lo\n");
    first.read_to_end();
    for peer in &mut waiting {
        peer.write(b"hello\n");
        peer.read_to_end();
    }
    assert_eq!(queue(), (0.0, 7.0));
}

#[test]
fn they_say_nothing_of_a_queue_that_the_kernel_does_not_tell_of() {
    if missing("strace", "strace") {
        return;
    }
    let (place, address) = (Place::new(), free_address());
    let mut command = std::process::Command::new("strace");
    command
        // Itself as the child, so that the server is ours, and ends with the test.
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto"])
        // The first that it sends anything to is the kernel.
        .args(["-e", "inject=sendto:error=EPERM:when=1"])
        .args([UNHANG, "serve", "--metrics", &address])
        .arg(&place.socket);
    let _server = Daemon::start(&mut command, "listening");
    let samples = scrape(&address);
    assert!(samples.contains_key("unhang_connections"));
    assert!(!samples.keys().any(|name| name.starts_with("unhang_accept_queue")), "{samples:#?}");
}

#[test]
fn they_can_be_read_over_a_unix_socket_that_is_removed_at_the_end() {
    let place = Place::new();
    let metrics = place.directory.path().join("metrics");
    let server = Daemon::serve(&place.socket, &["--metrics", metrics.to_str().unwrap()]);
    let response = get(UnixStream::connect(&metrics).unwrap(), "/metrics");
    assert!(response.contains("unhang_connections 0"), "{response}");
    let elsewhere = get(UnixStream::connect(&metrics).unwrap(), "/");
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    assert!(server.stop().0.success());
    assert!(!metrics.exists());
}

#[test]
fn an_address_that_cannot_be_one_or_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, code, why) in [
        ("9090", 2, "expected an address as 127.0.0.1:9090"),
        (&*taken, 1, "Address already in use"),
        (&*taken, 1, &*format!("--metrics {taken}")),
        (&*taken, 1, "ss -ltnp"),
        ("192.0.2.1:9", 1, "No address of this machine"),
    ] {
        let place = Place::new();
        let output = std::process::Command::new(UNHANG)
            .arg("serve")
            .arg(&place.socket)
            .args(["--metrics", address])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(!place.socket.exists());
    }
}

/// It was refused to start: the address was still the other's, and the flags of an upgrade are those
/// of the server that it replaces.
#[test]
fn a_successor_with_the_same_address_has_it_when_the_other_has_ended() {
    let place = Place::new();
    let path = place.directory.path().join("m");
    let socket = path.to_str().unwrap();
    let read = |address: &str| match address.contains('/') {
        true => UnixStream::connect(address).ok().map(|stream| get(stream, "/metrics")),
        false => TcpStream::connect(address).ok().map(|stream| get(stream, "/metrics")),
    };
    for address in [&*free_address(), socket] {
        let mut old = Daemon::serve(&place.socket, &["--metrics", address]);
        let mut under_way = Peer::connect(&place.socket);
        await_some("the old server has let it in", || {
            read(address).is_some_and(|read| read.contains("unhang_connections 1\n")).then_some(())
        });
        let new = Daemon::serve(&place.socket, &["--metrics", address, "--replace"]);
        old.await_line("stopping");
        under_way.write(b"hello");
        under_way.read_to_end();
        assert!(old.wait().success());
        Peer::ask(&place.socket, b"hello");
        let answered = "unhang_exchanges_total{ended=\"answered\"} 1";
        await_some("the successor's counters can be read", || {
            read(address)?.contains(answered).then_some(())
        });
        assert!(new.stop().0.success());
    }
}

#[test]
fn the_socket_itself_is_no_place_for_them() {
    let place = Place::new();
    let same = place.directory.path().join("./s");
    for replace in [&[][..], &["--replace"]] {
        let mut command = std::process::Command::new(UNHANG);
        command.arg("serve").arg(&place.socket).arg("--metrics").arg(&same).args(replace);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--metrics") && said.contains("is the socket itself"), "{said}");
    }
}

/// It waited without a word, for as long as it served.
#[test]
fn a_successor_says_that_it_waits_for_an_address_that_another_has() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new();
    let stderr = place.directory.path().join("stderr");
    let mut command = std::process::Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).args(["--replace", "--metrics", &address]);
    command.stderr(std::fs::File::create(&stderr).unwrap());
    let _server = Daemon::start(&mut command, "listening");
    let said = std::fs::read_to_string(stderr).unwrap();
    assert!(said.contains(&address) && said.contains("until it is free"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    drop(taken);
    // A child that is forked meanwhile may have the other listener for a moment, and reset us.
    await_some("the counters can be read", || {
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        response.contains("unhang_connections").then_some(())
    });
}
