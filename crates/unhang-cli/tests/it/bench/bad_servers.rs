//! Servers that do it wrong: each is counted under its own name.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{bench, command, ends, run};
use crate::support::{PATIENCE, Place, await_some};

/// Serves every connection in turn by `answer`, which is told how many there were before, until the
/// test ends. Connections that it gives back are kept open.
fn serve(
    place: &Place,
    mut answer: impl FnMut(usize, UnixStream) -> Option<UnixStream> + Send + 'static,
) {
    let listener = UnixListener::bind(&place.socket).unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for (nth, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            kept.extend(answer(nth, stream));
        }
    });
}

/// Takes the request, so that the close cannot become a reset.
fn take(stream: &mut UnixStream) {
    let _ = stream.read(&mut [0; 64]);
}

/// A deadline that the server is to miss.
const MISSED: [&str; 2] = ["--timeout", "200ms"];

#[test]
fn a_server_that_answers_and_never_closes_is_the_classic_hang() {
    let place = Place::new();
    serve(&place, |_, mut stream| {
        take(&mut stream);
        stream.write_all(b"pong\n").ok().map(|()| stream)
    });
    let flags = [&["--count", "4", "--clients", "2"], &MISSED[..]].concat();
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!((ends(&report), code), (vec![("not_closed", 4)], 1));
    // They have waited, and that is not left out.
    assert!(report["latency_ns"]["min"].as_u64().unwrap() >= 199_000_000, "{report:#}");

    let flags = [&["--count", "1", "--warm-up", "0s"], &MISSED[..]].concat();
    let table = String::from_utf8(run(&place.socket, &flags).stdout).unwrap();
    assert!(table.contains("1 answered, and not closed in time: the classic hang"), "{table}");
}

/// It counted as answered.
#[test]
fn an_answer_to_a_part_of_the_request_is_no_answer() {
    let place = Place::new();
    serve(&place, |_, mut stream| {
        take(&mut stream);
        stream.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"pong\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // A close with the rest unread would be a reset.
        Some(stream)
    });
    let flags = ["--count", "2", "--request-bytes", "4MiB"];
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!((ends(&report), code), (vec![("request_cut", 2)], 1), "{report:#}");
}

#[test]
fn a_server_that_never_answers_has_timed_out() {
    let place = Place::new();
    serve(&place, |_, stream| Some(stream));
    let (report, code) = bench(&place.socket, &[&["--count", "3"], &MISSED[..]].concat());
    assert_eq!((ends(&report), code), (vec![("timed_out", 3)], 1));
}

#[test]
fn half_a_reply_without_an_end_has_timed_out_too() {
    let place = Place::new();
    serve(&place, |_, mut stream| {
        take(&mut stream);
        stream.write_all(b"po").ok().map(|()| stream)
    });
    let flags = [&["--count", "2", "--expect", r"pong\n"], &MISSED[..]].concat();
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!((ends(&report), code), (vec![("timed_out", 2)], 1));
}

#[test]
fn what_is_short_wrong_empty_and_refused_is_told_apart() {
    let place = Place::new();
    serve(&place, |nth, mut stream| {
        take(&mut stream);
        let reply: &[u8] = match nth % 5 {
            0 => b"pong\n",
            1 => b"pon",
            2 => b"pingpong\n",
            3 => b"",
            _ => b"ERR busy: come back later\n",
        };
        let _ = stream.write_all(reply);
        None
    });
    let (report, code) = bench(&place.socket, &["--count", "50", "--expect", r"pong\n"]);
    let each = ["answered", "empty", "refused", "short", "wrong"].map(|name| (name, 10));
    assert_eq!((ends(&report), code), (each.to_vec(), 1));
}

#[test]
fn a_server_that_closes_over_the_request_resets() {
    let place = Place::new();
    serve(&place, |_, mut stream| {
        let _ = stream.read(&mut [0; 1]);
        None
    });
    let (report, code) = bench(&place.socket, &["--count", "10", "--request", "more than a byte"]);
    assert_eq!((ends(&report), code), (vec![("reset", 10)], 1));
}

#[test]
fn a_server_that_goes_away_cannot_be_connected_to() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        // The one that finds out which process serves, and one of the load.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            take(&mut stream);
            stream.write_all(b"pong\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    });
    let (report, code) = bench(&place.socket, &["--count", "5"]);
    server.join().unwrap();
    let answered = report["ended"]["answered"].as_u64().unwrap();
    assert_eq!((answered, code), (1, 1), "{report:#}");
    // The clients in the queue are reset as it goes.
    let failed = &report["connect_errors"]["Connection refused (os error 111)"];
    assert!(failed.as_u64().unwrap() >= 3, "{report:#}");
}

#[test]
fn a_reset_in_mid_request_is_no_end_whatever_came_before() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1]);
            let _ = stream.write_all(b"pong\n");
        }
    });
    // More than both ends' buffers hold, so that it is told of the reset as it writes.
    let (report, code) = bench(&target, &["--count", "10", "--request-bytes", "16MiB"]);
    assert_eq!((ends(&report), code), (vec![("reset", 10)], 1));
}

#[test]
fn a_reply_that_never_ends_holds_up_no_deadline() {
    let place = Place::new();
    serve(&place, |_, stream| {
        // By two, so that there is always more by the time that some of it is read.
        for mut stream in [stream.try_clone().unwrap(), stream] {
            let began = Instant::now();
            std::thread::spawn(move || {
                while began.elapsed() < PATIENCE && stream.write_all(&[b'x'; 4_096]).is_ok() {}
            });
        }
        None
    });
    let (report, code) = bench(&place.socket, &[&["--count", "2"], &MISSED[..]].concat());
    assert_eq!((ends(&report), code), (vec![("not_closed", 2)], 1));
    assert!(report["elapsed_s"].as_f64().unwrap() < PATIENCE.as_secs_f64() / 2.0, "{report:#}");
}

/// A server that accepts nobody, and has room for two.
pub(super) fn full(place: &Place) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&place.socket).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    listener
}

#[test]
fn a_wait_for_room_for_idle_connections_can_be_interrupted() {
    let place = Place::new();
    let listener = full(&place);
    let flags = ["--idle", "5", "--timeout", "10m"];
    let mut child = command(&place.socket, &flags).stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    await_some("it catches SIGINT", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let (_, caught) = status.split_once("SigCgt:")?;
        let caught = u64::from_str_radix(caught.lines().next()?.trim(), 16).ok()?;
        (caught & 1 << (Signal::INT.as_raw() - 1) != 0).then_some(())
    });
    kill_process(pid, Signal::INT).unwrap();
    let status = await_some("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    drop(listener);
}

#[test]
fn a_full_accept_queue_is_asked_again_until_the_timeout() {
    let place = Place::new();
    let listener = full(&place);
    // Nobody accepts: one is in from finding out which process serves, and one of three finds room.
    let flags = [&["--count", "3", "--clients", "3"], &MISSED[..]].concat();
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!(report["queue_full"].as_u64().map(|count| count >= 2), Some(true), "{report:#}");
    assert_eq!(report["exchanges"], 3);
    // They have waited as long as those that got no answer.
    assert_eq!(report["latency_ns"]["count"], 3, "{report:#}");
    assert!(report["ended"]["connect_failed"].as_u64().unwrap() >= 2, "{report:#}");
    assert_eq!(code, 1);
    drop(listener);
}

#[test]
fn a_stall_is_charged_with_all_that_were_due_meanwhile() {
    let place = Place::new();
    serve(&place, |nth, mut stream| {
        if nth == 50 {
            sleep(Duration::from_millis(300));
        }
        take(&mut stream);
        let _ = stream.write_all(b"pong\n");
        None
    });
    let flags = ["--rate", "200", "--for", "2s", "--clients", "4", "--timeout", "30s"];
    let (report, _) = bench(&place.socket, &flags);
    assert_eq!(ends(&report), [("answered", 400)]);
    // 60 of 400 were due meanwhile, so one in twenty waited for more than 240 ms. Counted from
    // when a client was free, only the four that were in would show.
    let latency = |name: &str| report["latency_ns"][name].as_u64().unwrap();
    assert!(latency("p99") > 200_000_000, "{report:#}");
    assert!(latency("p90") > 50_000_000, "{report:#}");
    assert!(report["late"].as_u64().unwrap() >= 40, "{report:#}");
}

#[test]
fn a_rate_that_is_never_kept_says_how_many_found_no_client_free() {
    let place = Place::new();
    serve(&place, |_, stream| Some(stream));
    let flags = [&["--rate", "100", "--for", "500ms", "--clients", "2"], &MISSED[..]].concat();
    let (report, code) = bench(&place.socket, &flags);
    let not_started = report["not_started"].as_u64().unwrap();
    assert_eq!(report["exchanges"].as_u64().unwrap() + not_started, 50, "{report:#}");
    assert!(not_started > 0 && code == 1, "{report:#}");
    // All of them have waited, those in vain, too.
    assert_eq!(report["latency_ns"]["count"], 50);
}

#[test]
fn idle_connections_that_the_server_closes_are_counted_and_opened_again() {
    let place = Place::new();
    // A client that says nothing within a moment is closed.
    serve(&place, |_, mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        if stream.read(&mut [0; 64]).is_ok() {
            let _ = stream.write_all(b"pong\n");
        }
        None
    });
    let flags = ["--idle", "2", "--for", "1s", "--timeout", "30s"];
    let (report, code) = bench(&place.socket, &flags);
    assert!(report["idle"]["closed_by_server"].as_u64().unwrap() > 2, "{report:#}");
    assert_eq!(code, 0, "{report:#}");
}
