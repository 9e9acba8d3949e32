//! Load generators as people have them, through nginx, which is what gives a Unix socket a TCP port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::super::{Running, missing};
use super::nginx::{Nginx, Successive, asked_for};
use crate::support::programs::say;
use crate::support::{Place, await_some};

/// The figure behind this word, if it is there.
fn figure(report: &str, word: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.trim_start().starts_with(word))?;
    line.split_whitespace().find_map(|part| part.parse().ok())
}

/// While server after server takes over. Gives what the generator has printed.
fn report(generator: impl FnOnce(&Place, &str, u64) -> Command) -> String {
    let place = Place::new();
    let mut servers = Successive::start(&place);
    // Another program may take it before nginx does, which would then end.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let front = format!("127.0.0.1:{port}");
    let directory = place.socket.parent().unwrap();
    let _nginx = Nginx::start(directory, &front, &place.socket);
    await_some("nginx listens", || TcpStream::connect(&front).ok());
    let seconds = asked_for().map_or(2, |time| time.as_secs());
    let url = format!("http://{front}/");
    let mut generator = Running::start(&mut generator(&place, &url, seconds), b"");
    let mut replaced = 0;
    while generator.child.try_wait().unwrap().is_none() {
        servers.replace();
        replaced += 1;
    }
    let ended = generator.wait();
    say(&format!("{replaced} servers replaced"));
    assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
    assert!(replaced > 1, "it was over too soon: {}", ended.printed);
    ended.printed
}

#[test]
fn ab_sees_no_failure_while_the_server_is_replaced() {
    if missing("nginx", "nginx-light") || missing("ab", "apache2-utils") {
        return;
    }
    for method in ["GET", "POST"] {
        let report = report(|place, url, seconds| {
            let mut ab = Command::new("ab");
            ab.args(["-q", "-k", "-c", "8", "-t", &seconds.to_string(), "-n", "10000000"]);
            if method == "POST" {
                let body = place.socket.with_file_name("body");
                fs::write(&body, "hello").unwrap();
                ab.arg("-p").arg(body).args(["-T", "text/plain"]);
            }
            ab.arg(url);
            ab
        });
        let complete = figure(&report, "Complete requests:").unwrap();
        assert!(complete > 0, "{report}");
        assert_eq!(figure(&report, "Failed requests:"), Some(0), "{report}");
        assert_eq!(figure(&report, "Non-2xx responses:"), None, "{report}");
        say(&format!("ab: {complete} times {method}, none failed"));
    }
}

#[test]
fn wrk_sees_no_failure_while_the_server_is_replaced() {
    if missing("nginx", "nginx-light") || missing("wrk", "wrk") {
        return;
    }
    let report = report(|_, url, seconds| {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "16", "--timeout", "30s"]);
        wrk.arg(format!("--duration={seconds}s")).arg(url);
        wrk
    });
    // It prints these if there was one.
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    assert!(report.contains("requests in"), "{report}");
    say(&report);
}
