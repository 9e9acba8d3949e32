//! Under systemd: the socket that it passes, what it wants to hear, and the unit files that we ship.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::{missing, unable};
use crate::support::{PATIENCE, Place, UNHANG, await_some, root};

/// What a service said to systemd, as far as the word that is waited for.
fn await_word(systemd: &UnixDatagram, word: &str) {
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 256];
    loop {
        let count = match systemd.recv(&mut buffer) {
            Ok(count) => count,
            // With a timeout it is not begun again: signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("{word}: {error}"),
        };
        if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == word) {
            return;
        }
    }
}

#[test]
fn it_says_when_it_is_ready_when_it_stops_and_that_it_lives() {
    let place = Place::new();
    let notify = place.directory.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket);
    command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "20000");
    let server = Daemon::start(&mut command, "listening");
    await_word(&systemd, "READY=1");
    assert!(UnixStream::connect(&place.socket).is_ok(), "ready means that clients can connect");
    await_word(&systemd, "WATCHDOG=1");
    await_word(&systemd, "WATCHDOG=1");
    let (status, _) = server.stop();
    assert!(status.success());
    await_word(&systemd, "STOPPING=1");
}

/// It held up every deadline, and the end of the server: what was said to it was waited for.
#[test]
fn a_systemd_that_does_not_read_holds_up_nobody_and_is_told_when_it_does() {
    let place = Place::new();
    let notify = place.directory.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    fill(&notify);
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).args(["--read-deadline", "100ms"]);
    command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "20000");
    let server = Daemon::start(&mut command, "listening");
    let told = Peer::connect(&place.socket).read_to_end();
    assert!(told.starts_with(b"ERR no whole request"), "{:?}", told.escape_ascii().to_string());
    await_word(&systemd, "READY=1");
    await_word(&systemd, "WATCHDOG=1");
    fill(&notify);
    let (status, _) = server.stop();
    assert!(status.success());
}

/// Until there is no room for another word. A sender may have none left of its own, and then another has.
fn fill(notify: &Path) {
    loop {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        if sender.send_to(b"FILL=1", notify).is_err() {
            return;
        }
        while sender.send_to(b"FILL=1", notify).is_ok() {}
    }
}

/// A socket was opened for each word: without a descriptor systemd heard nothing, and would have killed it.
/// And under an abstract name it never heard anything.
#[test]
fn a_server_without_descriptors_says_that_it_lives() {
    let place = Place::new();
    let name = format!("unhang-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let systemd = UnixDatagram::bind_addr(&address).unwrap();
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "20000");
    let server = Daemon::start(&mut command, "listening");
    await_word(&systemd, "READY=1");
    server.leave_no_descriptor();
    // The message before may be the only one.
    systemd.set_nonblocking(true).unwrap();
    while systemd.recv(&mut [0; 256]).is_ok() {}
    systemd.set_nonblocking(false).unwrap();
    await_word(&systemd, "WATCHDOG=1");
    await_word(&systemd, "WATCHDOG=1");
}

/// In microseconds, nothing is no time at all, and one was said on without a pause.
#[test]
fn a_watchdog_that_wants_to_hear_too_much_does_not_spin() {
    for time in ["0", "1"] {
        let place = Place::new();
        let notify = place.directory.path().join("notify");
        let systemd = UnixDatagram::bind(&notify).unwrap();
        let mut command = Command::new(UNHANG);
        command.arg("serve").arg(&place.socket).stderr(Stdio::piped());
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", time);
        let mut server = Daemon::start(&mut command, "listening");
        await_word(&systemd, "READY=1");
        std::thread::spawn(move || while systemd.recv(&mut [0; 256]).is_ok() {});
        server.await_idle();
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        assert_eq!(server.stderr(), "");
    }
}

#[test]
fn a_passed_socket_is_served_and_left_to_systemd_with_the_clients_in_its_queue() {
    if missing("systemd-socket-activate", "systemd") {
        return;
    }
    let place = Place::new();
    let start = || {
        // It listens, starts the service at the first connection, and becomes it.
        let mut command = Command::new("systemd-socket-activate");
        command.arg("--listen").arg(&place.socket).args([UNHANG, "serve", "--log", "json"]);
        let server = Daemon::spawn(&mut command);
        await_some("systemd listens", || UnixStream::connect(&place.socket).ok());
        server
    };
    let server = start();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+ at "));
    let line = server.await_line("listening");
    assert!(line.contains(place.socket.to_str().unwrap()), "{line}");
    let (status, _) = server.stop();
    assert!(status.success());
    assert!(place.socket.exists(), "it is systemd's");
}

/// Regression: a script between systemd and the server kept the socket for itself, and the server said that
/// it got neither a path nor a socket; with a path it served that, without a word.
#[test]
fn a_socket_that_was_passed_to_another_process_is_told_with_its_number() {
    let place = Place::new();
    let serve = || {
        let mut command = Command::new(UNHANG);
        command
            .arg("serve")
            .env("LISTEN_PID", "4711")
            .env("LISTEN_FDS", "1")
            .stderr(Stdio::piped());
        command
    };
    let output = serve().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("passed to process 4711") && said.contains("with exec"), "{said}");

    let mut server = Daemon::start(serve().arg(&place.socket), "listening");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(server.stderr().contains("passed to process 4711"));
    for (name, value) in [("LISTEN_PID", "me"), ("LISTEN_FDS", "-1")] {
        let output = serve().env(name, value).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(name) && said.contains(value), "{said}");
    }
}

/// Regression: with the unit's PrivateUsers=yes all users but root had one number: --allow-uid refused them
/// all, and --max-per-uid let one shut out the others.
#[test]
fn the_unit_lets_the_service_tell_its_clients_apart() {
    let unit = std::fs::read_to_string(root().join("dist/unhang.service")).unwrap();
    assert!(unit.lines().any(|line| line == "PrivateUsers=no"), "{unit}");
}

#[test]
fn a_user_that_the_namespace_does_not_map_cannot_be_let_in() {
    let inside = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", UNHANG, "serve", "@unhang-not-mapped"]);
        command.args(flags).stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    if !Command::new("unshare")
        .args(["--user", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return unable("no user namespace can be made here");
    }
    for (flags, expected) in [
        (["--allow-uid", "1000"], "does not map 1000"),
        (["--allow-gid", "1000"], "does not map 1000"),
        (["--allow-uid", "65534"], "does not map 65534"),
    ] {
        let output = inside(&flags).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && said.contains("PrivateUsers=no"), "{said}");
    }
    let mut server = Daemon::start(&mut inside(&["--max-per-uid", "3"]), "listening");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(server.stderr().contains("count as one"));
}

#[test]
fn without_a_path_and_without_systemd_it_says_what_it_expected() {
    let output = Command::new(UNHANG).arg("serve").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("expected a PATH"), "{said}");
}

/// The library, as a service of somebody's own would use it.
#[test]
fn after_a_stop_an_inherited_socket_takes_clients_for_the_next() {
    let place = Place::new();
    let held = UnixListener::bind(&place.socket).unwrap();
    let inherited = unhang::Listener::inherited(held.try_clone().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = unhang::Server::new(inherited)
        .stop_when(std::future::ready(()))
        .serve(async |_: unhang::Request| Ok("first\n"));
    runtime.block_on(served).unwrap();
    let mut waiting = Peer::connect(&place.socket);
    waiting.write(b"hello");

    let next = unhang::Listener::inherited(held).unwrap();
    let reply = runtime.block_on(async {
        let served = unhang::Server::new(next).serve(async |_: unhang::Request| Ok("next\n"));
        tokio::select! {
            served = served => panic!("{served:?}"),
            reply = tokio::task::spawn_blocking(move || waiting.read_to_end()) => reply.unwrap(),
        }
    });
    assert_eq!(reply, b"next\n");
}

#[test]
fn the_unit_files_are_valid_and_leave_little_exposed() {
    if missing("systemd-analyze", "systemd") {
        return;
    }
    let place = Place::new();
    let directory = place.directory.path();
    let dist = root().join("dist");
    // The program's directory differs from machine to machine, and systemd looks for it.
    let service = std::fs::read_to_string(dist.join("unhang.service")).unwrap();
    let service = service.replace("/usr/local/bin/unhang", UNHANG);
    std::fs::write(directory.join("unhang.service"), service).unwrap();
    std::fs::copy(dist.join("unhang.socket"), directory.join("unhang.socket")).unwrap();
    let analyze = |arguments: &[&str], files: &[&Path]| {
        let output = Command::new("systemd-analyze").args(arguments).args(files).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let files = [directory.join("unhang.service"), directory.join("unhang.socket")];
    let said = analyze(&["verify"], &[&files[0], &files[1]]);
    // systemd knows it from 258 on, and older ones serve without it.
    let is_new = |line: &&str| line.contains("AcceptFileDescriptors");
    let said = said.lines().filter(|line| !is_new(line)).collect::<Vec<_>>().join("\n");
    assert!(!said.contains("unhang."), "{said}");
    // Of 10, where 0 is best; systemd itself calls up to 2 "OK".
    analyze(&["security", "--offline=true", "--threshold=20"], &[&files[0]]);
}
