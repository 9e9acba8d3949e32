//! What a full server tells those it cannot serve, and that it serves again when it can.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

/// A request that is not whole: its client holds a place until it goes on, unless it is told off.
fn hold(place: &Place) -> Peer {
    let mut peer = Peer::connect(&place.socket);
    let _ = peer.try_write(b"hel");
    peer
}

fn go_on(mut peer: Peer) -> Vec<u8> {
    peer.write(b"lo\n");
    peer.read_to_end()
}

fn is_answer(reply: &[u8]) -> bool {
    reply.starts_with(b"OK+ at ")
}

#[test]
fn a_client_that_finds_no_place_in_time_is_told_so() {
    let place = Place::new();
    let arguments = [
        "--until",
        "newline",
        "--max-connections",
        "2",
        "--queue-deadline",
        "200ms",
        "--log",
        "json",
    ];
    let server = Daemon::serve(&place.socket, &arguments);
    let held = [hold(&place), hold(&place)];
    let mut waiting: Vec<_> = (0..5).map(|_| hold(&place)).collect();
    for peer in &mut waiting {
        assert_eq!(peer.read_to_end(), b"ERR busy: 2 connections are under way\n");
    }
    let line = server.await_line("busy");
    assert!(line.contains(&format!("\"pid\":{}", std::process::id())), "{line}");
    for peer in held {
        assert!(is_answer(&go_on(peer)));
    }
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
}

#[test]
fn a_client_that_finds_a_place_in_time_is_served() {
    let place = Place::new();
    let arguments = ["--until", "newline", "--max-connections", "1", "--queue-deadline", "1h"];
    let _server = Daemon::serve(&place.socket, &arguments);
    let first = hold(&place);
    let mut second = Peer::connect(&place.socket);
    second.write(b"hello\n");
    assert!(is_answer(&go_on(first)));
    assert!(is_answer(&second.read_to_end()));
}

#[test]
fn one_user_may_fill_its_share_and_no_more() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--until", "newline", "--max-per-uid", "1"]);
    let first = hold(&place);
    let told = Peer::connect(&place.socket).read_to_end();
    assert_eq!(told, b"ERR busy: this user has 1 connections under way\n");
    assert!(is_answer(&go_on(first)));
    server.await_line("answered");
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
}

#[test]
fn requests_may_not_hold_more_than_the_bound_together() {
    let place = Place::new();
    // One thread reads them all, in the order in which they write.
    let held = ["--max-held", "100KiB", "--max-request", "100KiB"];
    let arguments = [&["--until", "newline", "--threads", "0"][..], &held].concat();
    let server = Daemon::serve(&place.socket, &arguments);
    let mut first = hold(&place);
    first.write(&vec![b'x'; 60 * 1024]);
    let mut second = hold(&place);
    second.write(&vec![b'x'; 60 * 1024]);
    assert_eq!(second.read_to_end(), b"ERR busy: requests under way hold 102400 bytes\n");
    assert!(is_answer(&go_on(first)));
    server.await_line("answered");
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
}

#[test]
fn only_allowed_users_may_ask() {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    for (flag, mine) in [("--allow-uid", uid), ("--allow-gid", gid)] {
        let place = Place::new();
        let mut server = Daemon::serve(&place.socket, &[flag, &(mine + 1).to_string()]);
        let told = Peer::connect(&place.socket).read_to_end();
        assert_eq!(told, b"ERR not allowed\n");
        assert!(server.await_line("not allowed").contains(&format!("uid {uid}")));
        drop(server);
        server = Daemon::serve(&place.socket, &[flag, "12345", flag, &mine.to_string()]);
        assert!(is_answer(&Peer::ask(&place.socket, b"hello")));
        drop(server);
    }
}

#[test]
fn out_of_descriptors_everybody_is_told_and_the_rest_goes_on() {
    let place = Place::new();
    // Room for the server itself and some connections.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 32; exec \"$@\"", "sh", UNHANG, "serve"]).arg(&place.socket);
    command.args(["--until", "newline"]).process_group(0);
    let server = Daemon::start(&mut command, "listening");
    let mut peers: Vec<_> = (0..64).map(|_| hold(&place)).collect();
    let said = server.await_line("cannot accept");
    assert!(said.contains("clients are told") && said.contains("ulimit -n"), "{said}");
    let (mut told, mut answered) = (0, 0);
    // Those that were let in last were told; the others are served as soon as they go on.
    for mut peer in peers.drain(..) {
        let _ = peer.try_write(b"lo\n");
        match &peer.read_to_end()[..] {
            b"ERR busy: out of file descriptors\n" => told += 1,
            reply => {
                assert!(is_answer(reply), "{:?}", reply.escape_ascii().to_string());
                answered += 1;
            }
        }
    }
    assert!(told > 0 && answered > 0, "{told} told, {answered} answered");
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
    assert!(server.stop().0.success());
}
