//! The socket file: whose it is, which users may use it, and that nothing else is ever touched.

mod refused;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

/// Starts a server that is not to come up, and gives what it said.
fn refused(path: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(UNHANG)
        .arg("serve")
        .arg(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn answers(path: &Path) -> bool {
    Peer::ask(path, b"hello").starts_with(b"OK+ at ")
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o777
}

#[test]
fn it_is_there_while_the_server_is_and_gone_after() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[]);
    assert!(answers(&place.socket));
    let (status, _) = server.stop();
    assert!(status.success());
    assert!(!place.socket.exists());
}

#[test]
fn a_server_that_was_killed_can_be_started_again() {
    let place = Place::new();
    for _ in 0..3 {
        let mut server = Daemon::serve(&place.socket, &[]);
        assert!(answers(&place.socket));
        server.signal(Signal::KILL);
        server.wait();
        assert!(place.socket.exists(), "nobody was left to remove it");
    }
}

#[test]
fn of_two_servers_one_serves_and_the_other_names_it() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[]);
    let (code, said) = refused(&place.socket, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {}", server.pid())), "{said}");
    assert!(answers(&place.socket));
}

#[test]
fn of_many_that_start_at_once_on_a_stale_file_exactly_one_serves() {
    for _ in 0..20 {
        let place = Place::new();
        drop(UnixListener::bind(&place.socket).unwrap());
        let mut starters: Vec<_> = (0..8)
            .map(|_| {
                Command::new(UNHANG)
                    .arg("serve")
                    .arg(&place.socket)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        // Seven of the eight end by themselves; the last one serves.
        let mut losers = Vec::new();
        crate::support::await_some("seven have given up", || {
            starters.retain_mut(|starter| match starter.try_wait().unwrap() {
                Some(status) => {
                    let mut said = String::new();
                    let mut stderr = starter.stderr.take().unwrap();
                    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
                    losers.push((status.code(), said));
                    false
                }
                None => true,
            });
            (losers.len() >= 7).then_some(())
        });
        let winner = starters.first().map(std::process::Child::id);
        // The others give up as soon as one has the lock, which then still has to listen.
        crate::support::await_some("the eighth listens, or has given up, too", || {
            let ended = starters.iter_mut().all(|it| it.try_wait().unwrap().is_some());
            (ended || UnixStream::connect(&place.socket).is_ok()).then_some(())
        });
        let served = winner.is_some() && answers(&place.socket);
        for starter in &mut starters {
            starter.kill().unwrap();
            starter.wait().unwrap();
        }
        let winner = winner.unwrap_or_else(|| panic!("nobody serves: {losers:#?}"));
        assert!(served);
        for (code, said) in losers {
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&format!("process {winner}")), "{winner}: {said}");
        }
    }
}

#[test]
fn a_server_of_another_make_is_left_alone_and_named() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let (code, said) = refused(&place.socket, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "the probe must not show up as a client");

    let datagram = place.directory.path().join("datagram");
    let _bound = UnixDatagram::bind(&datagram).unwrap();
    assert_eq!(refused(&datagram, &[]).0, Some(1));
    assert!(datagram.exists());
    // A lock was left beside each.
    let names = fs::read_dir(place.directory.path()).unwrap();
    let mut left: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["datagram", "s"]);
}

#[test]
fn what_is_not_a_socket_is_refused_and_untouched() {
    let place = Place::new();
    let directory = place.directory.path();
    fs::write(directory.join("file"), "precious").unwrap();
    fs::create_dir(directory.join("directory")).unwrap();
    std::os::unix::fs::symlink(directory.join("file"), directory.join("link")).unwrap();
    let fifo = Command::new("mkfifo").arg(directory.join("fifo")).status().unwrap();
    assert!(fifo.success());
    for (name, what) in [
        ("file", "a regular file"),
        ("directory", "a directory"),
        ("link", "a symbolic link"),
        ("fifo", "a named pipe"),
    ] {
        let before = directory.join(name).symlink_metadata().unwrap();
        let (code, said) = refused(&directory.join(name), &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(what) && said.contains("left as it is"), "{said}");
        let after = directory.join(name).symlink_metadata().unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        // Beside /etc/passwd it would keep anybody from adding users.
        assert!(!directory.join(format!("{name}.lock")).exists(), "{name}");
    }
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "precious");
}

#[test]
fn another_servers_socket_is_not_removed_at_the_end() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[]);
    fs::remove_file(&place.socket).unwrap();
    let _other = UnixListener::bind(&place.socket).unwrap();
    let (status, _) = server.stop();
    assert!(status.success());
    assert!(place.socket.exists());
}

#[test]
fn its_mode_is_what_was_asked_for_whatever_the_umask() {
    for (arguments, expected) in
        [(&[][..], 0o660), (&["--mode", "0600"], 0o600), (&["--mode", "666"], 0o666)]
    {
        for umask in ["0000", "0022", "0077"] {
            let place = Place::new();
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", UNHANG, "serve"])
                .arg(&place.socket)
                .args(arguments);
            let _server = Daemon::start(&mut command, "listening");
            assert_eq!(mode(&place.socket), expected, "umask {umask}");
        }
    }
}

#[test]
fn it_gets_its_owner_and_group() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let place = Place::new();
    let arguments = ["--owner", "nobody", "--group", "12345", "--mode", "0620"];
    let _server = Daemon::serve(&place.socket, &arguments);
    let file = place.socket.symlink_metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), mode(&place.socket)), (65_534, 12_345, 0o620));
}

#[test]
fn a_directory_that_everyone_may_write_is_refused_unless_it_is_sticky() {
    let place = Place::new();
    let set = |mode| {
        fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o777);
    let (code, said) = refused(&place.socket, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("0777") && said.contains("replace the socket"), "{said}");
    set(0o1777);
    let _server = Daemon::serve(&place.socket, &[]);
    assert!(answers(&place.socket));
}

#[test]
fn a_path_that_the_kernel_does_not_take_is_refused_with_both_lengths() {
    let place = Place::new();
    let fits = 107 - place.directory.path().as_os_str().len() - 1;
    let longest = place.directory.path().join("x".repeat(fits));
    let server = Daemon::serve(&longest, &[]);
    assert!(longest.symlink_metadata().unwrap().file_type().is_socket());
    drop(server);
    let (code, said) = refused(&place.directory.path().join("x".repeat(fits + 1)), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("108 bytes") && said.contains("107"), "{said}");
}

#[test]
fn a_missing_directory_is_named() {
    let place = Place::new();
    let (code, said) = refused(&place.directory.path().join("missing/s"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("missing") && said.contains("Create the directory"), "{said}");
}

#[test]
fn an_abstract_name_has_no_file_and_one_holder() {
    let name = format!("@unhang-cli-test-{}", std::process::id());
    let server = Daemon::serve(&name, &[]);
    let output = Command::new(UNHANG).args(["call", &name, "hello"]).output().unwrap();
    assert!(output.stdout.starts_with(b"OK+ at "), "{output:?}");
    assert!(!Path::new(&name).exists());
    let (code, said) = refused(Path::new(&name), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {}", server.pid())), "{said}");
}

#[test]
fn a_relative_path_means_the_directory_the_server_was_started_in() {
    let place = Place::new();
    let mut command = Command::new(UNHANG);
    command.current_dir(place.directory.path()).args(["serve", "s"]);
    let _server = Daemon::start(&mut command, "listening");
    assert!(answers(&place.socket));
}
