//! A server that answers everybody.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{bench, command, ends, run};
use crate::support::daemon::Daemon;
use crate::support::{Place, UNHANG};

#[test]
fn every_exchange_is_counted_by_both_sides() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let (report, code) = bench(&place.socket, &["--count", "500", "--clients", "7"]);
    assert_eq!((ends(&report), code), (vec![("answered", 500)], 0));
    assert_eq!(report["exchanges"], 500);
    assert_eq!(report["latency_ns"]["count"], 500);
    let (_, lines) = server.stop();
    // One more has found out which process serves.
    let stopped = lines.last().unwrap();
    assert!(stopped.contains("501 answered, 0 refused, 0 ended otherwise"), "{lines:#?}");
}

#[test]
fn the_object_has_these_keys() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let (report, _) = bench(&place.socket, &["--count", "100", "--idle", "3", "--half-close"]);
    let keys = |at: &str| {
        let object = report.pointer(at).and_then(|value| value.as_object());
        object.unwrap_or_else(|| panic!("{at} in {report:#}")).keys().cloned().collect::<Vec<_>>()
    };
    let top = "clients connect_errors depth drain elapsed_s ended exchanges exit generator half_close \
               idle interrupted late late_generator latency_ns mode not_started per_second \
               queue_full rate request_bytes schema server server_unknown target timeout_s \
               warm_up_s wire";
    assert_eq!(keys(""), top.split_whitespace().collect::<Vec<_>>());
    let ended = "answered connect_failed empty not_closed refused request_cut reset short timed_out \
                 wrong";
    assert_eq!(keys("/ended"), ended.split_whitespace().collect::<Vec<_>>());
    let latency = ["count", "max", "mean", "min", "p50", "p90", "p99", "p99_9"];
    assert_eq!(keys("/latency_ns"), latency);
    let server_keys =
        ["cpu_ns_per_exchange", "cpu_s", "pids", "processes", "switches_per_exchange"];
    assert_eq!(keys("/server"), server_keys);
    assert_eq!(keys("/generator"), ["cpu_ns_per_exchange", "cpu_s"]);

    assert_eq!(report["schema"], "unhang-bench/1");
    assert_eq!(report["mode"], "closed");
    assert_eq!(report["target"], place.socket.to_str().unwrap());
    assert_eq!(report["server"]["pids"], serde_json::json!([server.pid()]));
    assert!(report["server"]["cpu_ns_per_exchange"].as_u64().unwrap() > 0);
    assert!(report["per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["idle"]["open"], 3);
}

#[test]
fn a_constant_rate_begins_as_many_as_were_due() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--quiet"]);
    let flags = ["--rate", "200", "--for", "1s", "--clients", "64", "--timeout", "30s"];
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!((ends(&report), code), (vec![("answered", 200)], 0), "{report:#}");
    assert_eq!(report["mode"], "open");
    assert_eq!(report["rate"], 200.0);
    assert_eq!(report["not_started"], 0);
    // The last one is due 5 ms before the end, and none begins before it is due.
    assert!(report["elapsed_s"].as_f64().unwrap() >= 0.99);
}

#[test]
fn a_large_request_and_its_reply_are_sent_and_read_in_pieces() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--quiet", "--until", "half-close"]);
    let flags = ["--count", "20", "--request-bytes", "1000000", "--half-close"];
    let (report, code) = bench(&place.socket, &[&flags[..], &["--reply-bytes", "43"]].concat());
    assert_eq!((ends(&report), code), (vec![("answered", 20)], 0), "{report:#}");
    assert_eq!(report["request_bytes"], 1_000_000);
}

#[test]
fn an_abstract_name_is_a_target_like_any_other() {
    let name = format!("@unhang-bench-{}", std::process::id());
    let _server = Daemon::serve(&name, &["--quiet"]);
    let (report, code) = bench(&name, &["--count", "10"]);
    assert_eq!((ends(&report), code), (vec![("answered", 10)], 0));
    assert_eq!(report["target"], name);
}

/// They were refused, without a word on which argument it was.
#[test]
fn a_path_and_a_request_that_are_no_text_are_taken_as_they_are() {
    let place = Place::new();
    let socket = place.directory.path().join(OsStr::from_bytes(b"a\xffb.sock"));
    let _server = Daemon::serve(&socket, &["--quiet"]);
    let mut command = command(&socket, &["--count", "10", "--warm-up", "0s", "--request"]);
    let output = command.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_port_of_this_machine_is_for_comparisons_and_its_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 5];
            if stream.read_exact(&mut request).is_ok() {
                let _ = stream.write_all(b"pong\n");
            }
        }
    });
    let flags = ["--count", "50", "--expect", r"pong\n"];
    let (report, code) = bench(&target, &flags);
    assert_eq!((ends(&report), code), (vec![("answered", 50)], 0), "{report:#}");
    assert!(report["server"].is_null());
    assert!(report["server_unknown"].as_str().unwrap().contains("--pid"));
}

#[test]
fn the_table_says_it_for_people_and_without_colour_where_there_is_no_terminal() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let output = run(&place.socket, &["--count", "100", "--warm-up", "0s"]);
    let table = String::from_utf8(output.stdout).unwrap();
    let server = format!("unhang[{}]", server.pid());
    for word in ["closed loop, 1 client", "100 in", "all answered and closed", "p99.9", &server] {
        assert!(table.contains(word), "{word:?} in\n{table}");
    }
    assert!(!table.contains('\x1b'));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_named_process_is_measured_and_stopped_with_all_that_descend_from_it() {
    let place = Place::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" serve \"$1\" & wait", UNHANG]).arg(&place.socket);
    let parent = Daemon::start(&mut shell, "listening");
    let (found, _) = bench(&place.socket, &["--count", "10"]);
    let child = found["server"]["pids"][0].as_u64().unwrap();
    let pid = parent.pid().to_string();
    let (report, code) = bench(&place.socket, &["--drain", "20", "--rounds", "3", "--pid", &pid]);
    let child = Pid::from_raw(child.try_into().unwrap()).unwrap();
    kill_process(child, Signal::TERM).unwrap();
    assert_eq!((ends(&report), code), (vec![("answered", 60)], 0), "{report:#}");
    assert_ne!(found["server"]["pids"][0], parent.pid());
    assert_eq!(report["server"]["pids"][0], parent.pid());
    assert_eq!(report["server"]["processes"], 2);
    // The shell itself does nothing.
    assert!(report["server"]["cpu_ns_per_exchange"].as_u64().unwrap() > 1_000, "{report:#}");
}

#[test]
fn a_server_that_took_the_socket_over_is_to_be_named() {
    let place = Place::new();
    let old = Daemon::serve(&place.socket, &["--quiet"]);
    let new = Daemon::serve(&place.socket, &["--quiet", "--replace"]);
    old.says("that is for the end of all its lines");
    drop(old);
    let (report, code) = bench(&place.socket, &["--count", "10"]);
    assert_eq!((ends(&report), code), (vec![("answered", 10)], 0));
    let why = report["server_unknown"].as_str().unwrap();
    assert!(why.contains("has ended: name the server by --pid"), "{why}");
    let pid = new.pid().to_string();
    let (report, _) = bench(&place.socket, &["--count", "10", "--pid", &pid]);
    assert_eq!(report["server"]["pids"][0], new.pid());
}
