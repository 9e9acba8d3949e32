//! `socat`, and `nc -U` (OpenBSD's, the only one that knows Unix sockets).

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{Running, SILENCE, Service, a_mebibyte, every_way, find, is_clock, missing, skip};

#[test]
fn socat_reads_to_the_end() {
    if missing("socat", "socat") {
        return;
    }
    assert_eq!(every_way(socat), SILENCE);
}

/// Only until half-close: `socat` writes in pieces of 8 KiB.
#[test]
fn socat_a_mebibyte_arrives_whole() {
    if missing("socat", "socat") {
        return;
    }
    a_mebibyte("half-close", true, socat);
}

#[test]
fn nc_reads_to_the_end() {
    if nc_is_missing() {
        return;
    }
    assert_eq!(every_way(nc), SILENCE);
}

/// Not until dry: `nc` writes in pieces of 16 KiB.
#[test]
fn nc_a_mebibyte_arrives_whole() {
    if nc_is_missing() {
        return;
    }
    for (until, half_close) in [("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, nc);
    }
}

/// Typed by hand, the standard input does not end: the close of the connection must end `nc`.
#[test]
fn nc_at_a_terminal_ends_with_the_reply() {
    if nc_is_missing() {
        return;
    }
    for half_close in [false, true] {
        let service = Service::start(&[]);
        let mut running = Running::start_open(&mut nc(&service.place.socket, half_close));
        running.child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        let ended = running.wait();
        assert!(is_clock(&ended.printed), "{:?} {:?}", ended.printed, ended.said);
        assert!(ended.status.success(), "{} {:?}", ended.status, ended.said);
    }
}

/// `-t`: how long `socat` waits for the reply after the end of its input. The default is half a
/// second, which a shared machine may take.
fn socat(path: &Path, half_close: bool) -> Command {
    let mut address = std::ffi::OsString::from("UNIX-CONNECT:");
    address.push(path);
    if !half_close {
        address.push(",shut-none");
    }
    let mut socat = Command::new("socat");
    socat.args(["-t", "30", "-"]).arg(address);
    socat
}

fn nc(path: &Path, half_close: bool) -> Command {
    let mut nc = Command::new("nc");
    if half_close {
        nc.arg("-N");
    }
    nc.arg("-U").arg(path);
    nc
}

/// A traditional netcat under that name does not count.
pub(super) fn nc_is_missing() -> bool {
    let openbsd = find("nc").is_some_and(|nc| {
        let help = Command::new(nc).arg("-h").output().unwrap();
        String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains("-U")
    });
    if !openbsd {
        skip("OpenBSD's nc is not installed", "netcat-openbsd");
    }
    !openbsd
}
