//! A process per request: the contract, row by row.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Served, runs, serve};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{PATIENCE, Place, UNHANG, await_some};

#[test]
fn a_background_child_that_holds_stdout_delays_the_reply_by_a_second_and_is_named() {
    let served = Served::sh(&[], "echo ok; sleep 60 & echo $! > \"$UNIXLOCALPATH.pid\"");
    let started = Instant::now();
    assert_eq!(served.text("x"), "ok\n");
    // Not as long as the child: this bounds the wait, and not the speed.
    assert!(started.elapsed() < Duration::from_secs(30));
    let line = served.daemon.await_line("holds the standard output");
    assert!(line.contains("sleep["), "{line}");
    let pid = fs::read_to_string(format!("{}.pid", served.place.socket.display())).unwrap();
    // It is not ours to end; it is ended here so that the test leaves nothing behind.
    kill(pid.trim().parse().unwrap());
}

#[test]
fn a_child_that_holds_only_stderr_delays_nothing() {
    let served = Served::sh(&[], "sleep 60 >/dev/null & echo $!");
    let started = Instant::now();
    let pid = served.text("x");
    assert!(started.elapsed() < PATIENCE);
    served.daemon.await_line("answered");
    kill(pid.trim().parse().unwrap());
    let said = served.daemon.stop().1.concat();
    assert!(!said.contains("holds the standard output"), "{said}");
}

#[test]
fn what_a_child_writes_after_the_end_of_the_program_is_in_the_reply() {
    if missing("bash", "bash") {
        return;
    }
    let served = Served::bash(&[], "exec > >(sort); seq 20000");
    assert_eq!(served.ask(b"x").len(), 108_894);
}

#[test]
fn cat_gives_a_mebibyte_back() {
    let served = Served::with(&["--", "cat"]);
    let request: Vec<u8> = (0..1 << 20).map(|nth: u32| (nth % 251) as u8).collect();
    let reply = ask_half_closed(&served, &request);
    assert!(reply == request, "{} bytes", reply.len());
}

/// A short request is in the pipe before the program starts: up to `PIPE_BUF` bytes (pipe(7)).
#[test]
fn a_request_of_any_length_is_what_the_program_reads_with_its_end() {
    let served = Served::with(&["--", "wc", "-c"]);
    for length in [1, 4_095, 4_096, 4_097, 65_536, 65_537] {
        let reply = ask_half_closed(&served, &vec![b'x'; length]);
        assert_eq!(String::from_utf8_lossy(&reply).trim(), length.to_string());
    }
}

#[test]
fn a_program_that_reads_one_byte_has_answered() {
    let served = Served::with(&["--", "head", "-c1"]);
    let request = vec![b'x'; 1 << 20];
    assert_eq!(ask_half_closed(&served, &request), b"x");
    served.daemon.await_line("answered");
}

#[test]
fn a_mebibyte_on_stderr_holds_nothing_up() {
    let served = Served::sh(&[], "yes | head -c 1048576 >&2; echo done; exit 4");
    assert_eq!(served.text("x"), "ERR the program ended with exit code 4\n");
    let line = served.daemon.await_line("program[");
    assert!(line.contains("exit code 4: y (the end of 1048576 bytes)"), "{line}");
}

#[test]
fn stdin_and_stdout_may_be_opened_by_name() {
    let served = Served::sh(&[], "cat /dev/stdin; echo hi > /dev/stdout");
    assert_eq!(served.text("hello "), "hello hi\n");
}

#[test]
fn a_late_program_is_told_at_its_deadline_and_ended_with_its_group() {
    let scripts = [
        // TERM ignored.
        "trap '' TERM; echo $$ > $F; while :; do sleep 0.05; done",
        // A child of the program in the same group.
        "sleep 60 & echo $! > $F; wait",
        // Stopped.
        "echo $$ > $F; kill -STOP $$; sleep 60",
    ];
    for script in scripts {
        let place = Place::new();
        let file = place.directory.path().join("pid");
        let script = script.replace("$F", &file.display().to_string());
        let served = Served::at(place, &["--handler-deadline", "300ms", "--", "sh", "-c", &script]);
        // Once, so that all descriptors that a first exchange opens are open.
        assert_eq!(served.text("x"), "ERR the program took longer than 300ms\n", "{script}");
        served.daemon.await_line("and was ended");
        served.await_no_children();
        let before = served.daemon.descriptors_at_rest();
        assert_eq!(served.text("x"), "ERR the program took longer than 300ms\n", "{script}");
        served.daemon.await_line("and was ended");
        let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        await_some("its group is gone", || (!runs(pid)).then_some(()));
        served.await_no_children();
        assert_eq!(served.daemon.descriptors_at_rest(), before, "{script}");
    }
}

/// A parent that ignores `SIGCHLD` hands that on, and then the kernel keeps no exit code: the first client was told that
/// the program's end could not be seen.
#[test]
fn a_parent_that_ignores_the_end_of_children_costs_no_reply() {
    if missing("python3", "python3") {
        return;
    }
    let ignores = "import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])";
    let place = Place::new();
    let mut command = Command::new("python3");
    command.args(["-c", ignores, UNHANG, "serve"]).arg(&place.socket).args(["--", "cat"]);
    let server = Daemon::start(&mut command, "listening");
    for _ in 0..3 {
        assert_eq!(Peer::ask(&place.socket, b"hello\n"), b"hello\n");
    }
    assert!(server.stop().0.success());
}

#[test]
fn an_exit_code_a_signal_and_no_output_are_told() {
    let served = Served::sh(&[], "echo complaint >&2; exit 3");
    assert_eq!(served.text("x"), "ERR the program ended with exit code 3\n");
    served.daemon.await_line("exit code 3: complaint");
    let served = Served::sh(&[], "kill -SEGV $$");
    assert_eq!(served.text("x"), "ERR the program was killed by SIGSEGV\n");
    let served = Served::with(&["--", "true"]);
    assert_eq!(served.text("x"), "\n");
}

#[test]
fn a_program_sees_no_descriptor_but_its_three_and_dies_though_its_starter_ignored_sigterm() {
    let place = Place::new();
    let script = "ls /proc/self/fd | tr '\\n' ' '; ls -l /proc/self/fd >&2";
    // As nohup and a shell with an open descriptor start it.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP TERM; exec 9>/dev/null; exec \"$@\"", "sh", UNHANG, "serve"]);
    command.arg(&place.socket).args(["--handler-deadline", "2s", "--", "sh", "-c", script]);
    let daemon = Daemon::start(&mut command, "listening");
    let open = Peer::ask(&place.socket, b"x");
    // `ls` itself has the directory open as the next one.
    assert_eq!(String::from_utf8(open).unwrap(), "0 1 2 3 ");
    drop(daemon);
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP TERM; exec \"$@\"", "sh", UNHANG, "serve"]);
    command.arg(&place.socket).args(["--handler-deadline", "200ms", "--", "sleep", "60"]);
    let daemon = Daemon::start(&mut command, "listening");
    let served = Served { daemon, place };
    assert_eq!(served.text("x"), "ERR the program took longer than 200ms\n");
    served.daemon.await_line("and was ended");
    served.await_no_children();
}

#[test]
fn the_environment_names_the_client_and_not_what_is_for_us_alone() {
    let place = Place::new();
    let mut command = serve(&place, &["--", "env"]);
    command.env("NOTIFY_SOCKET", place.directory.path().join("notify"));
    command.env("WATCHDOG_USEC", "100000000").env("KEPT", "yes").env("UNIXREMOTEPID", "1");
    let daemon = Daemon::start(&mut command, "listening");
    let mut client = Peer::connect(&place.socket);
    client.write(b"x");
    let text = String::from_utf8(client.read_to_end()).unwrap();
    let has = |line: &str| text.lines().any(|other| other == line);
    assert!(!text.contains("NOTIFY_SOCKET") && !text.contains("WATCHDOG_USEC"), "{text}");
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    for line in [
        "KEPT=yes".to_owned(),
        "PROTO=UNIX".to_owned(),
        format!("UNIXREMOTEPID={}", std::process::id()),
        format!("UNIXREMOTEEUID={uid}"),
        format!("UNIXREMOTEEGID={gid}"),
        format!("UNIXLOCALPATH={}", place.socket.display()),
        "UNHANG_DEADLINE_MS=10000".to_owned(),
    ] {
        assert!(has(&line), "no {line} in {text}");
    }
    drop(daemon);
}

#[test]
fn more_than_may_run_wait_and_are_told_when_no_place_came_free() {
    let flags = ["--processes", "1", "--queue-deadline", "300ms"];
    let served = Served::sh(&flags, "read x; [ $x = quick ] || sleep 60; echo ok");
    let mut slow = Peer::connect(&served.place.socket);
    slow.write(b"slow\n");
    await_some("the first one runs", || (served.children().len() == 1).then_some(()));
    let told = served.text("quick\n");
    assert_eq!(told, "ERR busy: all 1 programs run, and none ended within 300ms\n");
    kill(served.children()[0].try_into().unwrap());
    assert_eq!(slow.read_to_end(), b"ERR the program was killed by SIGKILL\n");
    assert_eq!(served.text("quick\n"), "ok\n");
}

#[test]
fn a_client_that_leaves_does_not_end_its_program() {
    let place = Place::new();
    let done = place.directory.path().join("done");
    let (go, script) = (
        place.directory.path().join("go"),
        "while [ ! -e $GO ]; do sleep 0.01; done; echo did > $DONE",
    );
    let script = script.replace("$GO", &go.display().to_string());
    let script = script.replace("$DONE", &done.display().to_string());
    let served = Served::at(place, &["--", "sh", "-c", &script]);
    let mut client = Peer::connect(&served.place.socket);
    client.write(b"x\n");
    client.half_close();
    await_some("it runs", || (served.children().len() == 1).then_some(()));
    drop(client);
    fs::write(go, "").unwrap();
    await_some("it was carried out", || done.exists().then_some(()));
    served.await_no_children();
}

#[test]
fn a_stop_waits_for_what_runs_and_then_ends_it() {
    let served = Served::sh(&["--drain-deadline", "300ms"], "trap '' TERM; sleep 60");
    let mut client = Peer::connect(&served.place.socket);
    client.write(b"x");
    await_some("it runs", || (!served.children().is_empty()).then_some(()));
    let pids = served.children();
    let (status, _) = served.daemon.stop();
    assert!(status.success());
    let reply = client.read_to_end();
    assert!(reply.starts_with(b"ERR "), "{}", String::from_utf8_lossy(&reply));
    assert!(!runs(pids[0]));
}

#[test]
fn a_second_sigterm_leaves_no_program_behind() {
    let mut served = Served::sh(&[], "trap '' TERM; sleep 60");
    let mut client = Peer::connect(&served.place.socket);
    client.write(b"x");
    await_some("it runs", || (!served.children().is_empty()).then_some(()));
    let pids = served.children();
    served.daemon.signal(Signal::TERM);
    served.daemon.await_line("stopping");
    served.daemon.signal(Signal::TERM);
    assert!(!served.daemon.wait().success());
    await_some("its program is gone", || (!runs(pids[0])).then_some(()));
}

#[test]
fn ctrl_c_reaches_unhang_alone() {
    let place = Place::new();
    let mut command = serve(
        &place,
        &["--", "sh", "-c", "echo $$ > $UNIXLOCALPATH.pid; sleep 0.3; echo finished"],
    );
    command.process_group(0).stderr(Stdio::null());
    let daemon = Daemon::start(&mut command, "listening");
    let mut client = Peer::connect(&place.socket);
    client.write(b"x");
    let served = Served { daemon, place };
    let mark = served.place.directory.path().join("s.pid");
    await_some("it runs", || mark.exists().then_some(()));
    // As a terminal does: to the whole foreground group.
    let group = rustix::process::Pid::from_raw(served.daemon.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    assert_eq!(client.read_to_end(), b"finished\n");
}

/// Asks with an end of the request, so that its length does not matter.
fn ask_half_closed(served: &Served, request: &[u8]) -> Vec<u8> {
    let stream = std::os::unix::net::UnixStream::connect(&served.place.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (&stream).write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    (&stream).read_to_end(&mut reply).unwrap();
    reply
}

fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL)
        .unwrap();
}

#[test]
fn a_long_reply_streams_in_bounded_memory() {
    const LENGTH: u64 = 200 << 20;
    let served = Served::sh(&[], &format!("yes 0123456 | head -c {LENGTH}"));
    let mut stream = std::os::unix::net::UnixStream::connect(&served.place.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    let mut first = [0; 8];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"0123456\n");
    let rest = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    assert_eq!(rest, LENGTH - 8);
    assert!(served.daemon.peak_memory() < 64 << 20, "{}", served.daemon.peak_memory());
}

#[test]
fn a_failure_after_a_mebibyte_is_a_reset_and_never_a_clean_end() {
    let served = Served::sh(&[], "yes 0123456 | head -c 1048576; exit 1");
    let mut client = Peer::connect(&served.place.socket);
    client.write(b"x");
    let (bytes, end) = client.try_read_to_end();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{}", bytes.len());
    let line = served.daemon.await_line("cut: ");
    assert!(line.contains("exit code 1 after 1048576 bytes of its reply"), "{line}");

    let mut call = Command::new(UNHANG);
    let output = call.arg("call").arg(&served.place.socket).arg("x").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));

    if missing("python3", "python3") {
        return;
    }
    let script = "import socket, sys\n\
                  s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b'x')\n\
                  try:\n    while s.recv(65536): pass\n    print('clean')\n\
                  except ConnectionResetError: print('reset')";
    let output = Command::new("python3").args(["-c", script]).arg(&served.place.socket).output();
    assert_eq!(output.unwrap().stdout, b"reset\n");
}

/// By somebody else, in the middle of its reply: as the out-of-memory killer does.
#[test]
fn a_program_that_is_killed_while_its_reply_streams_is_a_reset_and_never_a_clean_end() {
    let served = Served::sh(&[], "yes 0123456 | head -c 131072; echo $$; exec sleep 600");
    let mut stream = std::os::unix::net::UnixStream::connect(&served.place.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"x").unwrap();
    let mut first = vec![0; 131_072];
    stream.read_exact(&mut first).unwrap();
    assert!(first.chunks(8).all(|line| line == b"0123456\n"));
    let mut number = Vec::new();
    while number.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        number.push(byte[0]);
    }
    kill(String::from_utf8(number).unwrap().trim().parse().unwrap());
    let end = stream.read_to_end(&mut Vec::new());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let line = served.daemon.await_line("cut: ");
    assert!(line.contains("was killed by SIGKILL after 1310"), "{line}");
    served.await_no_children();
}
