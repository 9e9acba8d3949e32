//! One test for each class of hang, as every user that the test run can be.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::{codes, finds, finds_where, look, suspects_where};
use crate::support::await_some;
use crate::support::hang::{Stage, User, users};
use crate::support::programs::find_for_all;

/// A server, a client, what is to be found, and what each does about it.
fn class(server: &str, client: &str, code: &str, certainty: &str) {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play(server, "listening");
        stage.play(client, "ready");
        let finding = finds(&stage, code, certainty);
        assert_players(&stage, &finding);
    }
}

/// The two ends are held by the processes that we started.
fn assert_players(stage: &Stage, finding: &Value) {
    let owner = |end: &Value| end["owners"][0]["pid"].as_u64();
    assert_eq!(owner(&finding["server"]), Some(stage.player(0).pid().into()), "{finding:#}");
    assert_eq!(owner(&finding["clients"][0]), Some(stage.player(1).pid().into()), "{finding:#}");
}

#[test]
fn nobody_accepts() {
    class("serve-mute", "call", "not_accepted", "certain");
}

#[test]
fn the_accept_queue_is_full() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-queue-of-1", "ready");
        stage.play("call", "ready");
        stage.play("call", "ready");
        stage.play_in_vain("call");
        // The third blocks in connect(), once it has got there.
        let finding = finds_where(&stage, "backlog_full", "certain", |finding| {
            finding["clients"].as_array().unwrap().len() == 3
        });
        let waits: Vec<_> =
            finding["clients"].as_array().unwrap().iter().map(|one| &one["waits"]).collect();
        assert_eq!(waits, ["read", "read", "connect"], "{finding:#}");
    }
}

#[test]
fn of_those_that_left_before_they_were_accepted_none_waits() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-mute", "ready");
    stage.play("call-leave", "ready");
    assert!(stage.player_mut(1).wait().success());
    let finding = suspects_where(&stage, "not_accepted", "certain", |_| true);
    assert_eq!(finding["fault"], false, "{finding:#}");
    assert!(finding["headline"].as_str().unwrap().starts_with("nobody waits any more"));
    assert!(finding["because"].to_string().contains("1 wait, 1 of them have left"), "{finding:#}");

    stage.play("call", "ready");
    let finding = finds(&stage, "not_accepted", "certain");
    assert!(finding["headline"].as_str().unwrap().starts_with("1 client waits"), "{finding:#}");
}

#[test]
fn the_request_is_unread() {
    class("serve-unread", "call", "request_unread", "certain");
}

#[test]
fn one_shot_is_spent() {
    class("serve-oneshot", "call-twice", "oneshot_not_rearmed", "certain");
}

#[test]
fn reading_is_paused() {
    class("serve-paused", "call-twice", "reading_paused", "certain");
}

#[test]
fn an_edge_is_missed() {
    class("serve-edge", "call-twice", "edge_missed", "likely");
}

#[test]
fn the_handler_is_blocked() {
    class("serve-sleep", "call", "handler_blocked", "certain");
    class("serve-sleep", "call-poll", "handler_blocked", "certain");
    class("serve-lock", "call", "handler_blocked", "certain");
    // One of several threads: which of them has the connection is a guess.
    class("serve-threads", "call", "handler_blocked", "likely");
}

#[test]
fn the_handler_computes() {
    class("serve-compute", "call", "handler_cpu", "certain");
}

#[test]
fn the_handler_waits_for_a_backend_to_the_end_of_the_chain() {
    for user in users() {
        let mut stage = Stage::new(*user);
        let (front, middle, back) = (stage.path("s"), stage.path("middle"), stage.path("back"));
        stage.play_at("serve-sleep", &[&back], "listening");
        stage.play_at("serve-backend", &[&middle, &back], "listening");
        stage.play_at("serve-backend", &[&front, &middle], "listening");
        stage.play("call", "ready");
        let end = format!("[{}] sleeps", stage.player(0).pid());
        let finding = finds_where(&stage, "handler_waits_backend", "certain", |finding| {
            finding["because"].to_string().contains(&end)
        });
        let because = finding["because"].to_string();
        assert!(because.contains("the end of the chain"), "{finding:#}");
        assert!(finding["headline"].as_str().unwrap().contains("middle"), "{finding:#}");
    }
}

#[test]
fn a_circle_of_servers_is_a_deadlock() {
    for user in users() {
        let mut stage = Stage::new(*user);
        let (one, other) = (stage.path("s"), stage.path("other"));
        stage.play_at("serve-backend", &[&one, &other], "listening");
        stage.play_at("serve-backend", &[&other, &one], "listening");
        stage.play("call", "ready");
        let pids = [0, 1].map(|nth| format!("[{}]", stage.player(nth).pid()));
        let names_both = |finding: &Value| {
            let headline = finding["headline"].as_str().unwrap();
            headline.contains("deadlock") && pids.iter().all(|pid| headline.contains(pid))
        };
        let mut last = Value::Null;
        let found = (0..10).any(|_| {
            last = look(&stage, &[&one]).1;
            last["findings"].as_array().unwrap().iter().any(names_both)
        });
        assert!(found, "{last:#}");
    }
}

#[test]
fn the_connection_is_forgotten() {
    class("serve-forget", "call", "forgotten", "likely");
}

#[test]
fn the_reply_is_unread() {
    class("serve-reply", "call-hold", "reply_unread", "certain");
}

#[test]
fn the_client_does_not_read_while_the_server_writes() {
    class("serve-flood", "call-hold", "client_not_reading", "certain");
}

#[test]
fn both_write_and_neither_reads() {
    class("serve-flood", "call-flood", "write_deadlock", "certain");
}

#[test]
fn each_waits_for_the_other_to_speak() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-read", "listening");
        stage.play("call-mute", "ready");
        let finding = suspects_where(&stage, "both_waiting", "possible", |_| true);
        assert_players(&stage, &finding);
        // On purpose, for all that is known.
        assert_eq!(finding["fault"], false, "{finding:#}");
        assert!(finding["now"].as_array().unwrap().is_empty(), "{finding:#}");
    }
}

#[test]
fn the_server_has_closed() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-close", "listening");
        stage.play("call-hold", "ready");
        let finding = suspects_where(&stage, "server_closed", "certain", |_| true);
        assert_eq!(finding["fault"], false, "nobody waits: {finding:#}");
        let owner = &finding["clients"][0]["owners"][0]["pid"];
        assert_eq!(owner.as_u64(), Some(stage.player(1).pid().into()), "{finding:#}");
    }
}

#[test]
fn the_client_has_left() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-forget", "listening");
        stage.play("call", "ready");
        // It has its answer: one that is killed before that leaves its server to fail in sending.
        finds(&stage, "forgotten", "likely");
        stage.player(1).signal(Signal::KILL);
        let finding = suspects_where(&stage, "client_gone", "certain", |_| true);
        assert_eq!(finding["fault"], false, "nobody waits: {finding:#}");
    }
}

/// Regression: a server was said to be dead that still worked for a client that had gone.
#[test]
fn a_server_that_works_for_a_client_that_has_left_leaks_nothing() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call-leave", "ready");
    stage.player(0).await_line("ready");
    let (exit, object) = look(&stage, &[&stage.place.socket]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
}

#[test]
fn another_program_inherited_the_descriptor() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-leak", "listening");
        stage.play("call", "ready");
        let finding = finds(&stage, "fd_leaked", "likely");
        assert_eq!(finding["server"]["owners"][0]["comm"], "cat", "{finding:#}");
    }
}

#[test]
fn the_server_is_stopped() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-read", "listening");
        stage.play("call-mute", "ready");
        stage.player(0).signal(Signal::STOP);
        let finding = finds(&stage, "server_stopped", "certain");
        let cure = format!("kill -CONT {}", stage.player(0).pid());
        assert_eq!(finding["now"][0].as_str(), Some(&*cure), "{finding:#}");
    }
}

#[test]
fn a_server_that_is_stopped_accepts_nobody() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-mute", "ready");
        stage.play("call", "ready");
        stage.player(0).signal(Signal::STOP);
        finds(&stage, "server_stopped", "certain");
    }
}

/// As `docker pause` does. Regression: it was said to be well, or to accept in a loop of its own.
#[test]
fn a_server_that_is_frozen_is_told_with_what_thaws_it() {
    let group = Path::new("/sys/fs/cgroup/freezer").join(format!("unhang-{}", std::process::id()));
    if !rustix::process::getuid().is_root() || fs::create_dir(&group).is_err() {
        eprintln!(
            "skipped: only root can freeze, and here where control groups are of the first version"
        );
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-read", "listening");
    stage.play("call", "ready");
    fs::write(group.join("cgroup.procs"), stage.player(0).pid().to_string()).unwrap();
    fs::write(group.join("freezer.state"), "FROZEN").unwrap();
    let frozen = await_some("it is frozen", || {
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        (codes(&object) == [("server_stopped", "certain")]).then_some((exit, object))
    });
    fs::write(group.join("freezer.state"), "THAWED").unwrap();
    drop(stage);
    // It can be removed once its last process is gone from it.
    await_some("the group is empty", || fs::remove_dir(&group).ok());
    let (exit, object) = frozen;
    assert_eq!(exit, 1);
    let finding = &object["findings"][0];
    assert!(finding["headline"].as_str().unwrap().ends_with(" is frozen"), "{finding:#}");
    let cure = format!("echo THAWED > {}", group.join("freezer.state").display());
    assert_eq!(finding["now"][0], cure, "{finding:#}");
}

/// How many descriptors a process may have, and how many it may allow itself.
fn limits(pid: u32) -> [u64; 2] {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut columns = line.split_ascii_whitespace();
    [(); 2].map(|()| columns.next().unwrap().parse().unwrap())
}

#[test]
fn no_descriptor_is_left() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-at-limit", "ready");
        stage.play("call", "ready");
        let finding = finds(&stage, "fd_limit", "certain");
        // With one number it would take from the server what it may still allow itself.
        let pid = stage.player(0).pid();
        let [limit, hard] = limits(pid);
        let cure = format!("prlimit --pid {pid} --nofile={}:{hard}", 2 * limit);
        assert_eq!(finding["now"][0], cure, "{finding:#}");
    }
}

#[test]
fn the_wait_is_as_long_as_it_is() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    let ready = std::time::Instant::now();
    for _ in 0..3 {
        let at_least = ready.elapsed().as_secs_f64() - 0.1;
        let finding = finds(&stage, "handler_blocked", "certain");
        let since = finding["since_s"].as_f64().unwrap();
        let at_most = ready.elapsed().as_secs_f64() + 0.5;
        assert!(since > at_least && since < at_most, "{at_least} < {since} < {at_most}");
    }
    let (exit, object) =
        look(&stage, &["--min".as_ref(), "1h".as_ref(), stage.place.socket.as_os_str()]);
    assert_eq!(exit, 0, "{object:#}");
}

#[test]
fn a_client_of_another_netns_is_seen() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can make a network namespace");
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-unread", "listening");
    stage.play_elsewhere("call", "ready");
    let finding = finds(&stage, "request_unread", "certain");
    assert_players(&stage, &finding);
}

#[test]
fn what_may_not_be_seen_is_not_called_idle() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can look as another user");
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    finds(&stage, "handler_blocked", "certain");
    let stranger = Stage::new(User::Nobody);
    for path in [stage.place.directory.path(), &stage.place.socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let (exit, object) = look(&stranger, &[&stage.place.socket]);
    assert_eq!(codes(&object), [("owner_not_visible", "unknown")], "{object:#}");
    assert_eq!(exit, 3);
    let output = stranger.why(&[&stage.place.socket]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("CAP_SYS_PTRACE"), "{text}");
}

#[test]
fn an_abstract_name_a_process_and_a_descriptor_may_be_asked_about() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    let finding = finds(&stage, "handler_blocked", "certain");
    let owner = &finding["clients"][0]["owners"][0];
    let (pid, fd) = (owner["pid"].as_u64().unwrap(), owner["fd"].as_u64().unwrap());
    for asked in [pid.to_string(), format!("{pid}:{fd}")] {
        let (exit, object) = look(&stage, &[&asked]);
        assert_eq!(codes(&object), [("handler_blocked", "certain")], "{asked}: {object:#}");
        assert_eq!(exit, 1);
    }
    assert_eq!(stage.why(&[format!("{pid}:{}", fd + 900)]).status.code(), Some(2));

    let name = format!("unhang-why-{pid}");
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let (exit, object) = look(&stage, &[format!("@{name}")]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    let (exit, object) = look(&stage, &[format!("@{name}-not")]);
    assert_eq!((exit, codes(&object)[0].0), (1, "no_such_file"), "{object:#}");
}

/// The cure was to accept in a thread of its own, of a program that is no server at all.
#[test]
fn a_child_of_a_dead_server_that_keeps_its_listener_is_named() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    let script = "
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8); os.chmod(sys.argv[1], 0o777)
server = os.fork()
if server == 0:
    s.listen(8)
    os._exit(0)
os.waitpid(server, 0)
print('ready', flush=True)
time.sleep(1000)";
    let socket = stage.place.socket.to_str().unwrap().to_owned();
    stage.run(&python, &["-c", script, &socket]);
    stage.play("call", "ready");
    let finding = finds(&stage, "not_accepted", "likely");
    assert!(finding["because"].to_string().contains("called listen()"), "{finding:#}");
    let pid = stage.player(0).pid();
    assert!(finding["fix"].to_string().contains(&format!("kill {pid}")), "{finding:#}");
}
