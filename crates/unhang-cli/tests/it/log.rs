//! The lines of `unhang serve`, to the letter.

use std::process::Command;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

/// With its time of day and how long it took cut off, which must look like that.
fn columns<'a>(line: &'a str, dim: &str, end: &str) -> &'a str {
    let line = line.strip_prefix(dim).unwrap();
    let (time, line) = line.split_at("09:41:12.871".len());
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00:00:00.000");
    let (line, took) = line.strip_prefix(end).unwrap().rsplit_once("B  ").unwrap();
    assert!(took.chars().count() >= 8, "{took:?}");
    let figure = took.trim_start().trim_end_matches(char::is_alphabetic);
    assert!(figure.parse::<f64>().is_ok() && figure.rfind('.') == Some(figure.len() - 2));
    line
}

#[test]
fn its_columns_stand_where_scripts_look_for_them() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[]);
    Peer::ask(&place.socket, b"hello");
    let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
    let peer = format!("pid {pid:<7} uid {uid:<6}");
    assert_eq!(
        columns(&server.await_line("answered"), "", ""),
        format!("  answered   {peer} in       5B  out      43")
    );
    Peer::ask(&place.socket, &[b'x'; 1536]);
    assert_eq!(
        columns(&server.await_line("answered"), "", ""),
        format!("  answered   {peer} in   1.5KiB  out      43")
    );
}

#[test]
fn in_colour_the_time_is_dim_and_the_end_green_or_red() {
    let place = Place::new();
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).args(["--max-request", "10B"]);
    let server = Daemon::start(command.env("CLICOLOR_FORCE", "1"), "listening");
    let (dim, end) = ("\x1b[2m", "\x1b[0m");
    Peer::ask(&place.socket, b"hello");
    let line = server.await_line("answered");
    assert!(columns(&line, dim, end).starts_with("  \x1b[32manswered  \x1b[0m pid "), "{line:?}");
    Peer::ask(&place.socket, b"hello, world");
    let line = server.await_line("refused");
    assert!(line.contains("\x1b[0m  \x1b[31mrefused   \x1b[0m pid "), "{line:?}");
    assert!(line.ends_with("  the request is longer than 10 bytes"), "{line:?}");
}

#[test]
fn for_machines_the_names_of_an_exchange_are_in_order() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--log", "json"]);
    Peer::ask(&place.socket, b"hello");
    let line = server.await_line("exchange");
    let record: Value = serde_json::from_str(&line).unwrap();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert_eq!(
        line,
        format!(
            concat!(
                r#"{{"bytes_in":5,"bytes_out":43,"cause":null,"diagnose":null,"ended":"answered","#,
                r#""event":"exchange","gid":{},"handled_s":{},"pid":{},"time":{},"took_s":{},"#,
                r#""uid":{},"why":null}}"#
            ),
            gid,
            record["handled_s"],
            std::process::id(),
            record["time"],
            record["took_s"],
            uid,
        )
    );
    let time = record["time"].as_str().unwrap();
    assert_eq!(time.parse::<jiff::Timestamp>().unwrap().to_string(), time);
}

/// Regression: a user that was refused in a loop wrote megabytes of log a second; at an abstract control socket
/// any user could, even with --quiet.
#[test]
fn of_a_user_that_is_refused_in_a_loop_one_line_a_second_is_written() {
    const CALLS: u64 = 500;
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--allow-uid", "12345", "--log", "json"]);
    for _ in 0..CALLS {
        assert_eq!(Peer::connect(&place.socket).read_to_end(), b"ERR not allowed\n");
    }
    let control = place.socket.with_extension("ctl");
    for _ in 0..CALLS {
        drop(Peer::connect(&control));
    }
    // The last of them was seen once this is answered: they are answered one after the other.
    let mut asks = Peer::connect(&control);
    asks.write(b"unhang in-flight 1\n");
    asks.read_to_end();
    let (_, lines) = server.stop();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut written, mut counted) = ([0; 2], [0; 2]);
    for line in lines {
        let which = |kind: &Value| match kind.as_str() {
            Some("not_allowed") => Some(0),
            Some("not_replaced") => Some(1),
            _ => None,
        };
        let kind = if line["event"] == "exchange" { &line["cause"] } else { &line["event"] };
        if let Some(which) = which(kind) {
            written[which] += 1;
        }
        if let Some(which) = which(&line["of"]) {
            written[which] += 1;
            counted[which] += line["count"].as_u64().unwrap() - 1;
        }
    }
    for which in [0, 1] {
        let (written, counted) = (written[which], counted[which]);
        assert_eq!(written + counted, CALLS, "{written} lines tell of all");
        assert!(written < CALLS / 10, "{written} lines");
    }
}
