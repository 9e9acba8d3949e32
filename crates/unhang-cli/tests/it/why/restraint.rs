//! It changes nothing, delays nobody, is quick, and says how it knows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::acting::end;
use super::{codes, finds, look};
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User};
use crate::support::{PATIENCE, UNHANG, await_some};

#[test]
fn data_is_shown_only_when_asked_for_and_is_left_where_it_is() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-unread", "listening");
    stage.play("call", "ready");
    finds(&stage, "request_unread", "certain");
    let socket = stage.place.socket.as_os_str();
    for _ in 0..3 {
        let (_, object) = look(&stage, &["--show-data".as_ref(), socket]);
        let server = &object["findings"][0]["server"];
        assert_eq!(server["unread_bytes"], "request\\n", "{object:#}");
        assert_eq!(server["unread"], 8, "{object:#}");
    }
    let output = stage.why(&["-v".as_ref(), socket]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("HUNG ") && text.contains("[sock_diag]"), "{text}");
    assert!(!text.contains("request\\n"), "{text}");
    // No terminal, no colour.
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_duplicated_descriptor_does_not_delay_the_owners_close() {
    // Less than the window, for which none may be held; much more than a busy machine takes.
    const MOST_MILLIS: u64 = 200;
    let mut stage = Stage::new(User::Me);
    stage.play("close-again", "listening");
    let socket = stage.place.socket.as_os_str();
    let flags = ["--show-data", "--for", "300ms", "--json"].map(AsRef::as_ref);
    let (mut borrowed, mut closed) = (0, 0);
    await_some("connections were looked into, and closed", || {
        let output = stage.why(&[&flags[..], &[socket]].concat());
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        borrowed += usize::from(object["findings"][0]["server"]["unread_bytes"] == "unread");
        while let Some(line) = stage.player(0).line("closed ") {
            let millis: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(millis < MOST_MILLIS, "{millis} ms");
            closed += 1;
        }
        (borrowed >= 2 && closed >= 2).then_some(())
    });
}

/// Far more than the second or so that it takes, as machines are busy; far less than where each is looked
/// for among all the others.
const MOST: Duration = PATIENCE;

/// Whether so many descriptors may be had, and some for the test itself.
pub(super) fn may_have(descriptors: u64) -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let may = limit.current.is_none_or(|most| most >= descriptors + 500);
    if !may {
        eprintln!("skipped: it takes more descriptors than {limit:?}");
    }
    may
}

#[test]
fn ten_thousand_sockets_are_no_trouble() {
    const PAIRS: usize = 5_000;
    if !may_have(2 * PAIRS as u64) {
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    let _crowd: Vec<_> = (0..PAIRS).map(|_| UnixStream::pair().unwrap()).collect();
    let began = Instant::now();
    let (_, object) = look(&stage, &[&stage.place.socket]);
    let took = began.elapsed();
    assert!(object["visibility"]["sockets"].as_u64() >= Some(2 * PAIRS as u64), "{object:#}");
    assert_eq!(codes(&object), [("handler_blocked", "certain")], "{object:#}");
    assert!(took < MOST, "{took:?}");
}

/// Each connection is held beside each thread, and in each thread's call there is a descriptor.
#[test]
fn a_thread_for_each_of_many_clients_is_no_trouble() {
    const CLIENTS: usize = 1_000;
    if !may_have(CLIENTS as u64) {
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-echo", "listening");
    let connect = || {
        let mut client = UnixStream::connect(&stage.place.socket).unwrap();
        client.write_all(b".").unwrap();
        // Its thread has begun.
        client.read_exact(&mut [0]).unwrap();
        client
    };
    let _crowd: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    let began = Instant::now();
    let (exit, object) = look(&stage, &[&stage.place.socket]);
    let took = began.elapsed();
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    assert!(took < MOST, "{took:?}");
}

#[test]
fn without_a_path_every_socket_is_looked_at() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    finds(&stage, "handler_blocked", "certain");
    let none: [&str; 0] = [];
    let (exit, object) = look(&stage, &none);
    let server = u64::from(stage.player(0).pid());
    let is_ours = |finding: &&Value| finding["server"]["owners"][0]["pid"] == server;
    let finding = object["findings"].as_array().unwrap().iter().find(is_ours);
    assert_eq!(finding.unwrap()["code"], "handler_blocked");
    assert_eq!(exit, 1);
    assert_eq!(object["schema"], "unhang-why/1");
}

#[test]
fn watching_looks_again_and_again() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    let mut command = Command::new(UNHANG);
    command.args(["why", "--watch", "--json", "--for", "50ms"]).arg(&stage.place.socket);
    let watch = Daemon::spawn(&mut command);
    for _ in 0..2 {
        let line = watch.await_line("handler_blocked");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["schema"], "unhang-why/1");
    }
}

#[test]
fn watching_ends_when_nobody_reads_it() {
    let stage = Stage::new(User::Me);
    let mut command = Command::new(UNHANG);
    command.args(["why", "--watch", "--json", "--for", "50ms"]).arg(&stage.place.socket);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(watch.stdout.take());
    await_some("it ends", || watch.try_wait().unwrap());
}

/// Between a hundred processes at work it got no processor: three of four processes were not looked at.
#[test]
fn a_look_of_root_goes_before_others_unless_told_otherwise() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root may go before others");
        return;
    }
    // sched(7): SCHED_OTHER and SCHED_RR. These tests may have been started with a priority themselves.
    let usual = if rustix::process::getpriority_process(None) == Ok(0) { "2" } else { "0" };
    for (prefix, more, policy) in
        [(&[][..], &[][..], usual), (&["nice", "-n", "1"], &[], "0"), (&[], &["--watch"], "0")]
    {
        let mut command = Command::new("env");
        command.args(prefix).args([UNHANG, "why", "--for", "1h"]).args(more);
        // proc_pid_stat(5): the 41st, and the 39th behind the name.
        let policy_of = |look: &Daemon| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", look.pid())).unwrap();
            let behind = stat.rsplit(')').next().unwrap().to_owned();
            behind.split_ascii_whitespace().nth(38).unwrap().to_owned()
        };
        if policy == "2" {
            // From its beginning; where it has much to look at, no more when it comes to its window.
            let look = Daemon::spawn(&mut command);
            await_some("it goes before others", || (policy_of(&look) == policy).then_some(()));
        } else {
            let look = at_its_window(&mut command);
            assert_eq!(policy_of(&look), policy, "{prefix:?} {more:?}");
        }
    }
}

/// Which has seen the first sample, and waits for the next.
fn at_its_window(command: &mut Command) -> Daemon {
    let look = Daemon::spawn(command);
    await_some("it waits for its window", || {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", look.pid())).ok()?;
        let call: usize = call.split(' ').next()?.parse().ok()?;
        (call == syscalls::Sysno::clock_nanosleep as usize).then_some(())
    });
    look
}

/// What it reads is a stranger's to make long.
#[test]
fn a_look_may_take_four_gib_of_memory_and_no_more() {
    let mut command = Command::new(UNHANG);
    let look = at_its_window(command.args(["why", "--for", "1h"]));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", look.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
    let most: u64 = line.split_ascii_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(most <= 4 << 30, "{line}");
}

#[test]
fn a_descriptor_that_is_no_socket_was_one_at_which_nothing_hangs() {
    let stage = Stage::new(User::Me);
    let server = Daemon::serve(&stage.place.socket, &[]);
    let pid = server.pid();
    // Standard input, and none.
    for (target, amiss) in [
        (format!("{pid}:0"), format!("process {pid} has no Unix socket at descriptor 0")),
        (format!("{pid}:9999"), format!("process {pid} has no Unix socket at descriptor 9999")),
        ("4294967295".to_owned(), "there is no process 4294967295".to_owned()),
        ("0".to_owned(), "there is no process 0".to_owned()),
    ] {
        for flags in [&[][..], &["--json"]] {
            let output = stage.why(&[flags, &["--for", "50ms", &target]].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{target}: {said}");
            assert_eq!(said, format!("unhang why: {amiss}\n"));
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
}

/// A disk that is full. It was a panic, or success without a word.
#[test]
fn a_result_that_could_not_be_written_was_a_panic_or_nothing() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-forget", "listening");
    stage.play("call", "ready");
    let finding = finds(&stage, "forgotten", "likely");
    let connection = &*end(&finding["server"]);
    let idle = stage.path("idle");
    let _listener = UnixListener::bind(&idle).unwrap();
    let idle = idle.to_str().unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let looks: [&[&str]; 5] = [
        &[idle],
        &["--json", idle],
        &["--watch", idle],
        &["--probe", "hello", idle],
        &["--try", "release", "--yes", connection],
    ];
    for arguments in looks {
        let mut command = Command::new(UNHANG);
        command.args(["why", "--for", "50ms"]).args(arguments).stdout(full());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("the result cannot be written: No space left"), "{said}");
        // Nor can that be said. What was released is gone by now.
        let code = command.stderr(full()).status().unwrap().code();
        assert_eq!(code, Some(if arguments[0] == "--try" { 1 } else { 3 }), "{arguments:?}");
    }
    let mut wrong = Command::new(UNHANG);
    wrong.args(["why", "4294967295"]).stdout(full()).stderr(full());
    assert_eq!(wrong.status().unwrap().code(), Some(2));
}

#[test]
fn arguments_that_make_no_sense_are_2() {
    let stage = Stage::new(User::Me);
    for arguments in
        [&["--for", "5", "s"][..], &["@"], &["s", "t"], &["--nonsense"], &[""], &["4294967295"]]
    {
        assert_eq!(stage.why(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
