//! What is counted of programs, workers and the server behind, held against what was made to happen.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::thread;

use super::Served;
use crate::metrics::{free_address, scrape};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{Place, await_some, root};

/// Waits until each of these has its value: a process is counted when it was reaped, and that may be after
/// its client was told.
fn await_counts(address: &str, expected: &[(&str, f64)]) -> HashMap<String, f64> {
    await_some(&format!("these are counted: {expected:?}"), || {
        let samples = scrape(address);
        let all = expected.iter().all(|(name, value)| samples.get(*name) == Some(value));
        all.then_some(samples)
    })
}

#[test]
fn each_end_of_a_program_is_counted_as_what_it_is() {
    let address = free_address();
    let flags = ["--metrics", &address, "--handler-deadline", "3s"];
    let served = Served::sh(
        &flags,
        "case $(cat) in exit) exit 3;; kill) kill -9 $$;; late) exec sleep 600;; *) echo ok;; esac",
    );
    assert_eq!(served.text("x"), "ok\n");
    for request in ["exit", "kill", "late"] {
        let told = served.text(request);
        assert!(told.starts_with("ERR the program "), "{told}");
    }
    await_counts(
        &address,
        &[
            ("unhang_program_starts_total", 4.0),
            ("unhang_program_ends_total{why=\"done\"}", 1.0),
            ("unhang_program_ends_total{why=\"exit\"}", 1.0),
            ("unhang_program_ends_total{why=\"signal\"}", 1.0),
            ("unhang_program_ends_total{why=\"deadline\"}", 1.0),
            ("unhang_refused_total{why=\"backend_ended\"}", 1.0),
            ("unhang_refused_total{why=\"backend_killed\"}", 1.0),
            ("unhang_refused_total{why=\"backend_late\"}", 1.0),
            ("unhang_exchanges_total{ended=\"answered\"}", 1.0),
            ("unhang_programs", 0.0),
            ("unhang_place_queue", 0.0),
        ],
    );
}

#[test]
fn who_waits_for_a_place_is_counted_and_who_gets_none_as_busy() {
    for (queue, told) in [("60s", "ok\n"), ("200ms", "ERR busy: all 1 programs run, ")] {
        let (place, address) = (Place::new(), free_address());
        let gate = place.directory.path().join("gate");
        let script = format!("until [ -e '{}' ]; do sleep 0.02; done; echo ok", gate.display());
        let served = Served::at(
            place,
            &[
                "--metrics",
                &address,
                "--processes",
                "1",
                "--handler-deadline",
                "60s",
                "--queue-deadline",
                queue,
                "--",
                "sh",
                "-c",
                &script,
            ],
        );
        let ask = || {
            let socket = served.place.socket.clone();
            thread::spawn(move || String::from_utf8(Peer::ask(&socket, b"x")).unwrap())
        };
        let first = ask();
        await_counts(&address, &[("unhang_programs", 1.0)]);
        let second = ask();
        if told == "ok\n" {
            await_counts(&address, &[("unhang_programs", 1.0), ("unhang_place_queue", 1.0)]);
            fs::write(&gate, "").unwrap();
        }
        let second = second.join().unwrap();
        assert!(second.starts_with(told), "{second}");
        fs::write(&gate, "").unwrap();
        assert_eq!(first.join().unwrap(), "ok\n");
        let samples = await_counts(
            &address,
            &[
                ("unhang_place_wait_seconds_count", 1.0),
                ("unhang_programs", 0.0),
                ("unhang_place_queue", 0.0),
            ],
        );
        let busy = samples.get("unhang_refused_total{why=\"busy_backend\"}");
        assert_eq!(busy.is_some(), told != "ok\n", "{samples:#?}");
    }
}

#[test]
fn workers_and_what_they_print_are_counted() {
    if missing("python3", "python3") {
        return;
    }
    let (place, address) = (Place::new(), free_address());
    let script = "import sys\n\
                  for line in sys.stdin:\n    \
                      id, request = line.rstrip('\\n').split(' ', 1)\n    \
                      if request == 'exit': sys.exit(7)\n    \
                      print('stray'); print(id, request, flush=True)\n";
    let flags = ["--metrics", &address, "--workers", "2", "--", "python3", "-c", script];
    let served = Served::at(place, &flags);
    await_counts(
        &address,
        &[
            ("unhang_workers{state=\"idle\"}", 2.0),
            ("unhang_workers{state=\"busy\"}", 0.0),
            ("unhang_workers{state=\"starting\"}", 0.0),
            ("unhang_workers{state=\"dead\"}", 0.0),
            ("unhang_program_starts_total", 2.0),
        ],
    );
    assert_eq!(served.text("hello"), "hello\n");
    let told = served.text("exit");
    assert!(told.starts_with("ERR the worker ended with exit code 7"), "{told}");
    await_counts(
        &address,
        &[
            ("unhang_workers{state=\"idle\"}", 2.0),
            ("unhang_program_starts_total", 3.0),
            ("unhang_program_ends_total{why=\"exit\"}", 1.0),
            ("unhang_stray_lines_total", 1.0),
            ("unhang_refused_total{why=\"backend_ended\"}", 1.0),
        ],
    );
}

#[test]
fn replies_of_the_server_behind_are_counted_by_what_ended_them() {
    if missing("python3", "python3") {
        return;
    }
    let (place, address) = (Place::new(), free_address());
    let behind = place.directory.path().join("behind");
    let to = behind.display().to_string();
    let kinds = root().join("crates/unhang-cli/tests/it/backend/servers/kinds.py");
    let mut command = Command::new("python3");
    let server = Daemon::start(command.arg(kinds).arg("closes").arg(&behind), "ready");
    let flags = ["--metrics", &address, "--to", &to, "--queue-deadline", "200ms"];
    let served = Served::at(place, &flags);
    for _ in 0..3 {
        assert_eq!(served.text("x\n"), "X\n");
    }
    drop(server);
    let told = served.text("x\n");
    assert!(told.starts_with("ERR the server behind cannot be reached"), "{told}");
    await_counts(
        &address,
        &[
            ("unhang_reply_ended_total{by=\"close\"}", 3.0),
            ("unhang_cut_early_total", 0.0),
            ("unhang_behind_connect_failures_total", 1.0),
            ("unhang_refused_total{why=\"backend_absent\"}", 1.0),
        ],
    );
}
