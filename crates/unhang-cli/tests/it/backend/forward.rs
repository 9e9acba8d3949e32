//! A front: every end of a reply is right, or told as an ERR.

mod helped;

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::{Served, serve};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{PATIENCE, Place, UNHANG, root};

/// A server and a front for it.
struct Fronted {
    served: Served,
    server: Option<Daemon>,
    behind: PathBuf,
}

impl Fronted {
    /// Starts the command with the server's path as its last argument.
    fn new(mut command: Command, flags: &[&str]) -> Self {
        let place = Place::new();
        let behind = place.directory.path().join("behind");
        let server = Daemon::start(command.arg(&behind), "ready");
        let served = front(place, &behind, flags);
        Self { served, server: Some(server), behind }
    }

    /// The kind of server in `servers/kinds.py`, with a thread per client.
    fn kind(kind: &str, flags: &[&str]) -> Self {
        Self::new(python(kind), flags)
    }

    /// The same with a process per client, of which none is reaped.
    fn forking(kind: &str, flags: &[&str]) -> Self {
        let place = Place::new();
        let behind = place.directory.path().join("behind");
        let server = Daemon::start(python(kind).arg(&behind).arg("forks"), "ready");
        let served = front(place, &behind, flags);
        Self { served, server: Some(server), behind }
    }
}

fn front(place: Place, behind: &Path, flags: &[&str]) -> Served {
    let mut arguments = vec![OsStr::new("--to"), behind.as_os_str()];
    arguments.extend(flags.iter().map(OsStr::new));
    Served::at(place, &arguments)
}

fn rows(count: usize) -> String {
    let rows: Vec<_> = (0..count).map(|nth| format!("row {nth}\n")).collect();
    rows.concat()
}

fn servers() -> PathBuf {
    root().join("crates/unhang-cli/tests/it/backend/servers")
}

fn python(kind: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(servers().join("kinds.py")).arg(kind);
    command
}

/// The servers that answer and do not close, in four languages, behind fronts. The deadline is far, as it
/// would end the replies, too.
fn forgetful() -> impl Iterator<Item = (&'static str, Fronted)> {
    let languages = [
        ("go", "golang-go", "forget.go"),
        ("node", "nodejs", "forget.mjs"),
        ("python3", "python3", "forget.py"),
        ("php", "php-cli", "forget.php"),
    ];
    let present = languages.into_iter().filter(|(program, package, _)| !missing(program, package));
    present.map(|(program, _, file)| {
        let place = Place::new();
        let go = place.directory.path().join("forget");
        let file = servers().join(file);
        let command = if program == "go" {
            let built =
                Command::new("go").args(["build", "-o"]).arg(&go).arg(&file).status().unwrap();
            assert!(built.success());
            Command::new(&go)
        } else {
            let mut command = Command::new(program);
            command.arg(file);
            command
        };
        (program, Fronted::new(command, &["--handler-deadline", "300s"]))
    })
}

/// The classic case, in four languages, with default flags.
#[test]
fn a_server_that_answers_and_does_not_close_is_cured_at_once() {
    for (program, fronted) in forgetful() {
        // Shown if the test fails.
        println!("{program}");
        for nth in 0..10 {
            let started = Instant::now();
            let told = fronted.served.text(&format!("hello {nth}\n"));
            assert_eq!(told, format!("HELLO {nth}\n"), "{program}");
            assert!(started.elapsed() < PATIENCE, "{program}");
        }
        let line = fronted.served.daemon.await_line("answers and does not close");
        assert!(line.contains("--reply-ends newline fits"), "{program}: {line}");
    }
}

/// Go watches its standard error if that is a pipe in non-blocking mode, as a Node program makes it for its
/// children: the server was never seen at rest.
#[test]
fn a_server_whose_log_is_a_pipe_is_seen_at_rest() {
    if missing("go", "golang-go") {
        return;
    }
    let place = Place::new();
    let go = place.directory.path().join("forget");
    let source = servers().join("forget.go");
    assert!(
        Command::new("go").args(["build", "-o"]).arg(&go).arg(source).status().unwrap().success()
    );
    let (_reader, log) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let mut command = Command::new(&go);
    command.stderr(log);
    let fronted = Fronted::new(command, &["--handler-deadline", "300s"]);
    assert_eq!(fronted.served.text("hello\n"), "HELLO\n");
}

/// A request that waited for a timer kept the whole server from being seen at rest, and every other reply
/// ended at its deadline. A timer that ends after the deadline of a reply says nothing more in it.
#[test]
fn a_request_that_waits_for_a_timer_holds_up_no_other() {
    // The PHP server serves one after another.
    for (program, fronted) in forgetful().filter(|(program, _)| *program != "php") {
        let mut naps = Peer::connect(&fronted.served.place.socket);
        naps.write(b"nap\n");
        for nth in 0..3 {
            let told = fronted.served.text(&format!("hello {nth}\n"));
            assert_eq!(told, format!("HELLO {nth}\n"), "{program}");
        }
    }
}

#[test]
fn every_kind_of_server_is_answered_whole_or_told() {
    if missing("python3", "python3") {
        return;
    }
    let rows = rows(5);
    let bursts = "0123456\n".repeat(10 << 17);
    let http = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nKeep-Alive: timeout=60\r\n\r\nhello\n";
    let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let silent = "ERR the server behind took longer than 500ms; the request may have run\n";
    let dead = "ERR the server behind closed without a reply; the request may have run\n";
    for (kind, flags, asked, expected) in [
        ("rows-close", &[][..], "x\n", &*rows),
        ("rows", &[], "x\n", &rows),
        ("json", &[], "x\n", "{\"a\": [1, \"}\"]}"),
        ("json", &["--reply-ends", "json"], "x\n", "{\"a\": [1, \"}\"]}"),
        ("http", &[], get, http),
        ("http", &["--reply-ends", "http"], "x\n", http),
        ("needs-eof", &[], "x\n", "X\n"),
        ("needs-eof", &["--half-close", "always", "--reply-ends", "close"], "x\n", "X\n"),
        ("takes-eof-for-leaving", &[], "x\n", "X\n"),
        (
            "takes-eof-for-leaving",
            &["--reply-ends", "newline", "--half-close", "never"],
            "x\n",
            "X\n",
        ),
        ("closes", &["--reply-ends", "newline"], "x\n", "X\n"),
        ("bursts", &[], "x\n", &bursts),
        ("silent", &["--handler-deadline", "500ms"], "x\n", silent),
        ("dies-at-once", &[], "x\n", dead),
    ] {
        let fronted = Fronted::kind(kind, flags);
        let told = fronted.served.text(asked);
        assert!(told == expected, "{kind} {flags:?}: {} bytes, {:.300}", told.len(), told);
    }
}

#[test]
fn a_server_that_serves_one_after_another_is_seen_to_be_through() {
    if missing("python3", "python3") {
        return;
    }
    let place = Place::new();
    let behind = place.directory.path().join("behind");
    let mut command = python("rows");
    let _server = Daemon::start(command.arg(&behind).arg("one-by-one"), "ready");
    let served = front(place, &behind, &["--handler-deadline", "300s"]);
    let rows = rows(5);
    for _ in 0..2 {
        assert_eq!(served.text("x\n"), rows);
    }
}

#[test]
fn slow_rows_are_never_cut() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("quick-rows", &["--handler-deadline", "300s"]);
    let rows = rows(12);
    let socket = &fronted.served.place.socket;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(String::from_utf8(Peer::ask(socket, b"x\n")).unwrap(), rows);
                }
            });
        }
    });
}

/// A clean end would make a whole reply of the half.
#[test]
fn a_server_that_dies_half_way_is_a_reset_and_never_a_clean_end() {
    if missing("python3", "python3") {
        return;
    }
    for flags in [&[][..], &["--reply-ends", "close"], &["--reply-ends", "newline"]] {
        let mut fronted = Fronted::kind("stops-half-way", flags);
        let mut stream = UnixStream::connect(&fronted.served.place.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"x\n").unwrap();
        // Once that has come, the reply streams, and no ERR can be told any more.
        let mut half = [0; 9];
        stream.read_exact(&mut half).unwrap();
        assert_eq!(&half, b"half a re");
        // Kills it.
        drop(fronted.server.take());
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "{flags:?}");
        assert_eq!(rest, b"", "{flags:?}");
        fronted.served.daemon.await_line("in the middle of its reply");
    }
}

/// Whatever had come of it: told as an ERR, or cut by a reset.
fn assert_half(fronted: &Fronted, expected: &str) {
    let mut client = Peer::connect(&fronted.served.place.socket);
    client.write(b"x\n");
    let (bytes, end) = client.try_read_to_end();
    let told = String::from_utf8(bytes).unwrap();
    match end {
        Ok(()) => assert_eq!(told, expected),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!("half a re".starts_with(&told), "{told}");
        }
    }
}

fn killed(signal: &str) -> String {
    format!(
        "ERR the server behind was killed by {signal} in the middle of its reply; the request may have \
         run\n"
    )
}

#[test]
fn a_server_that_dies_by_itself_half_way_is_told_or_a_reset() {
    if missing("python3", "python3") {
        return;
    }
    for kind in ["dies-half-way", "dies-half-way-at-once"] {
        for _ in 0..5 {
            assert_half(&Fronted::kind(kind, &[]), &killed("SIGKILL"));
        }
    }
}

/// The kernel closed the connection of the killed child, and the client had a clean end behind the half:
/// we looked whether the process that listens dies, and that one lived.
#[test]
fn a_process_for_one_client_that_is_killed_half_way_is_told_or_a_reset() {
    if missing("python3", "python3") {
        return;
    }
    for (kind, signal) in [
        ("dies-half-way", "SIGKILL"),
        ("dies-half-way-at-once", "SIGKILL"),
        ("crashes-half-way", "SIGSEGV"),
    ] {
        for rule in ["auto", "close", "quiet=20s"] {
            let fronted = Fronted::forking(kind, &["--reply-ends", rule]);
            for _ in 0..5 {
                assert_half(&fronted, &killed(signal));
            }
        }
    }
}

/// A process for one client ends behind its reply, and its exit code says nothing of the reply.
#[test]
fn a_process_for_one_client_that_ends_has_answered() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::forking("ends", &["--reply-ends", "close"]);
    for nth in 0..20 {
        assert_eq!(fronted.served.text(&format!("hello {nth}\n")), format!("HELLO {nth}\n"));
    }
}

#[test]
fn a_reset_of_a_server_of_tcp_is_never_a_clean_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The rest of the request stays unread: the close is a reset.
            stream.read_exact(&mut [0; 1]).unwrap();
            stream.write_all(b"half a re").unwrap();
            // So that the half has come before the reset, which takes unread bytes away.
            thread::sleep(std::time::Duration::from_millis(30));
        }
    });
    let place = Place::new();
    let mut command = serve(&place, &["--to", &to, "--reply-ends", "close"]);
    let mut daemon = Daemon::start(command.stderr(Stdio::piped()), "listening");
    for _ in 0..5 {
        let mut client = Peer::connect(&place.socket);
        client.write(b"hello\n");
        let (bytes, end) = client.try_read_to_end();
        let told = String::from_utf8(bytes).unwrap();
        match end {
            Ok(()) => assert!(told.starts_with("ERR the server behind "), "{told}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    let told = daemon.stderr();
    assert!(told.contains("cannot know whether the server behind died"), "{told}");
}

#[test]
fn a_guess_that_was_wrong_reports_itself() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("rows", &["--reply-ends", "quiet=20ms"]);
    assert_eq!(fronted.served.text("x\n"), "row 0\n");
    fronted.served.daemon.await_line("a reply was cut too early");
}

#[test]
fn a_restart_of_the_server_is_not_seen_by_clients() {
    if missing("python3", "python3") {
        return;
    }
    let mut fronted =
        Fronted::kind("closes", &["--queue-deadline", "20s", "--handler-deadline", "30s"]);
    let (asked, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let socket = fronted.served.place.socket.clone();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut count = 0;
            let mut lost = 0;
            while !stop.load(Ordering::Relaxed) {
                match &*Peer::ask(&socket, b"hello\n") {
                    b"HELLO\n" => count += 1,
                    told => {
                        // It was at the server when that one was killed.
                        let told = String::from_utf8_lossy(told);
                        assert!(told.contains("the request may have run"), "{told}");
                        lost += 1;
                    }
                }
                asked.store(true, Ordering::Relaxed);
            }
            (count, lost)
        });
        for _ in 0..3 {
            let mut command = python("closes");
            // The old one is killed first.
            drop(fronted.server.take());
            fronted.server = Some(Daemon::start(command.arg(&fronted.behind), "ready"));
            asked.store(false, Ordering::Relaxed);
            crate::support::await_some("it is asked", || {
                asked.load(Ordering::Relaxed).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        let (count, lost) = load.join().unwrap();
        // At each kill, one that the server had, and one that connected while it was being torn down.
        assert!(count > 3 && lost <= 6, "{count} answered, {lost} lost");
    });
}

#[test]
fn a_server_that_is_not_there_is_told_apart_from_one_that_lost_the_request() {
    let place = Place::new();
    let behind = place.directory.path().join("behind");
    let served = front(place, &behind, &["--queue-deadline", "200ms"]);
    let told = served.text("x\n");
    assert_eq!(told, "ERR the server behind cannot be reached; the request did not run\n");
    served.daemon.await_line("cannot reach the server behind");
}

#[test]
fn a_front_for_tcp_says_at_the_start_what_it_cannot_know() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 100];
            let read = std::io::Read::read(&mut stream, &mut request).unwrap();
            std::io::Write::write_all(&mut stream, &request[..read]).unwrap();
            kept.push(stream);
        }
    });
    let served = Served::with(&["--to", &to, "--reply-ends", "newline"]);
    assert_eq!(served.text("hello\n"), "hello\n");
    let place = Place::new();
    let mut command = serve(&place, &["--to", &to, "--handler-deadline", "500ms"]);
    let mut daemon = Daemon::start(command.stderr(Stdio::piped()), "listening");
    // At the deadline, as nothing else shows the end.
    assert_eq!(Peer::ask(&place.socket, b"hello\n"), b"hello\n");
    daemon.await_line("its replies end at the deadline");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    let told = daemon.stderr();
    assert!(told.contains("cannot know where replies end"), "{told}");
}

#[test]
fn a_long_reply_streams_through_in_bounded_memory() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("bursts", &[]);
    for _ in 0..3 {
        assert_eq!(fronted.served.ask(b"x\n").len(), 10 << 20);
    }
    let peak = fronted.served.daemon.peak_memory();
    assert!(peak < 48 << 20, "{peak}");
}

/// The rule was not named: a reply that was held back for longer than a person notices had no bytes left to
/// advise by.
#[test]
fn a_server_that_ticks_is_told_the_rule_that_fits() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("ticks", &["--handler-deadline", "500ms"]);
    assert_eq!(fronted.served.text("hello\n"), "HELLO\n");
    let line = fronted.served.daemon.await_line("its replies end at the deadline");
    assert!(line.contains("--reply-ends newline fits"), "{line}");
}

/// As `socat EXEC:tr` does: it was told as late, and nothing said why.
#[test]
fn a_silent_server_that_is_never_at_rest_may_need_the_end_of_the_request() {
    if missing("python3", "python3") {
        return;
    }
    let kind = "ticks-and-needs-eof";
    let fronted = Fronted::kind(kind, &["--handler-deadline", "500ms"]);
    assert!(fronted.served.text("x\n").starts_with("ERR the server behind took longer"));
    fronted.served.daemon.await_line("give --half-close always");
    let fronted = Fronted::kind(kind, &["--half-close", "always"]);
    assert_eq!(fronted.served.text("x\n"), "X\n");
}

/// Moved from socket to socket, a reply has no bytes to look at: it is whole, or a reset, all the same.
#[test]
fn a_long_reply_whose_server_dies_is_a_reset_and_never_a_clean_end() {
    if missing("python3", "python3") {
        return;
    }
    for fronted in [
        Fronted::kind("dies-after-a-mebibyte", &[]),
        Fronted::forking("dies-after-a-mebibyte", &["--reply-ends", "close"]),
    ] {
        let mut client = Peer::connect(&fronted.served.place.socket);
        client.write(b"x\n");
        let (bytes, end) = client.try_read_to_end();
        assert!(bytes.chunks(8).all(|line| b"0123456\n".starts_with(line)), "{}", bytes.len());
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{} bytes", bytes.len());
    }
}

/// A write that moves bytes out of a pipe cannot be told to raise no SIGPIPE.
#[test]
fn clients_that_leave_in_the_middle_of_a_long_reply_harm_nobody() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("bursts", &[]);
    let socket = &fronted.served.place.socket;
    for most in [0, 1, 70_000, 300_000, 3_000_000] {
        let mut client = UnixStream::connect(socket).unwrap();
        client.write_all(b"x\n").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut read = vec![0; most];
        client.read_exact(&mut read).unwrap();
    }
    let fds = || fronted.served.daemon.descriptors();
    assert_eq!(fronted.served.ask(b"x\n").len(), 10 << 20);
    let some = fds();
    assert_eq!(fronted.served.ask(b"x\n").len(), 10 << 20);
    crate::support::await_some("its descriptors are closed", || (fds() <= some).then_some(()));
}

/// Behind a wire that frames, the bytes have to be looked at again.
#[test]
fn a_long_reply_is_whole_on_a_wire_that_frames() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("bursts", &["--wire", "http"]);
    let told = fronted
        .served
        .ask(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nx\n");
    let body = told.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut whole) = (&told[body..], Vec::new());
    loop {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let size = std::str::from_utf8(&rest[..line]).unwrap().trim_end();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[line + 1..][..size]);
        rest = &rest[line + 1 + size + 2..];
    }
    assert!(whole == b"0123456\n".repeat(10 << 17), "{} bytes", whole.len());
}

#[test]
fn why_does_not_call_a_fronted_server_dead() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = Fronted::kind("silent", &["--handler-deadline", "60s"]);
    let mut call = Command::new(UNHANG);
    call.arg("call").arg(&fronted.served.place.socket).args(["x", "--deadline", "60s"]);
    let mut client = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    crate::support::await_some("why sees who waits", || {
        let mut why = Command::new(UNHANG);
        let output = why.arg("why").arg(&fronted.served.place.socket).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(!told.contains("DEAD") && !told.contains("end the old server"), "{told}");
        // It names the server behind, which the handler waits for.
        let names_it = told.contains(&*fronted.behind.to_string_lossy());
        (told.contains("handler_waits_backend") && names_it).then_some(())
    });
    client.kill().unwrap();
    client.wait().unwrap();
}
