//! What a server that may not serve there says that one can do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::refused;
use crate::support::daemon::Daemon;
use crate::support::hang::copy_program;
use crate::support::programs::{missing, unable};
use crate::support::{Place, UNHANG};

const NOBODY: u32 = 65_534;

#[test]
fn the_holder_of_a_socket_that_does_not_listen_is_named() {
    let place = Place::new();
    let directory = place.directory.path();
    let named = format!("process {}", std::process::id());
    let _datagram = UnixDatagram::bind(directory.join("datagram")).unwrap();
    // Not for the programs that other tests start meanwhile.
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let bound = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::bind(&bound, &SocketAddrUnix::new(directory.join("bound")).unwrap()).unwrap();
    for name in ["datagram", "bound"] {
        let (code, said) = refused(&directory.join(name), &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&named), "{name}: {said}");
    }
}

#[test]
fn what_is_in_the_way_of_the_lock_is_named_with_the_cure() {
    let place = Place::new();
    let directory = place.directory.path();
    fs::create_dir(directory.join("a.lock")).unwrap();
    symlink("elsewhere", directory.join("b.lock")).unwrap();
    fs::write(directory.join("file"), "").unwrap();
    for (name, cure) in [
        ("a", "A directory has the name of the .lock file: remove it, or choose another path."),
        ("b", "A symbolic link is not followed there: remove it, or choose another path."),
        ("file/s", "A part of the path is a file and no directory: correct the path."),
    ] {
        let (code, said) = refused(&directory.join(name), &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(cure), "{name}: {said}");
    }
}

#[test]
fn control_characters_in_a_path_do_not_reach_the_terminal() {
    let place = Place::new();
    let directory = place.directory.path().join("a\x1b[31m");
    let (_, said) = refused(&directory.join("s"), &[]);
    assert!(!said.contains('\x1b') && said.contains(r"a\u{1b}[31m"), "{said:?}");
    fs::create_dir(&directory).unwrap();
    fs::create_dir(directory.join("s.lock")).unwrap();
    let (_, said) = refused(&directory.join("s"), &[]);
    assert!(!said.contains('\x1b') && said.contains("s.lock"), "{said:?}");
    let server = Daemon::spawn(Command::new(UNHANG).arg("serve").arg(directory.join("t")));
    let line = server.await_line("listening");
    assert!(!line.contains('\x1b'), "{line:?}");
}

#[test]
fn a_user_that_may_not_is_told_what_it_takes() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can serve as another user");
        return;
    }
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--mode", "0666"]);
    fs::set_permissions(place.directory.path(), Permissions::from_mode(0o1777)).unwrap();
    // The command itself may lie where that user may not look.
    let copy = place.directory.path().join("unhang");
    copy_program(UNHANG.as_ref(), &copy);
    for (name, flags, expected) in [
        ("mine", &["--owner", "root"][..], "Only root may give a file away"),
        ("mine", &["--group", "root"], "Only root may give a file away"),
        ("s", &["--replace"], "as the same user as the server that runs there"),
    ] {
        let mut command = Command::new(&copy);
        command.uid(NOBODY).gid(NOBODY).arg("serve").args(flags);
        command.arg(place.directory.path().join(name));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && !said.contains("write permission"), "{said}");
    }
}

/// Regression: a write lease on the lock's file held the start up for 45 s, without a word.
#[test]
fn a_lease_on_the_lock_is_not_waited_for() {
    if missing("python3", "python3") {
        return;
    }
    let place = Place::new();
    let lease = "import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('ready', flush=True)
time.sleep(600)";
    let mut command = Command::new("python3");
    let _holder = Daemon::start(
        command.args(["-c", lease]).arg(place.socket.with_extension("lock")),
        "ready",
    );
    let (code, said) = refused(&place.socket, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("s.lock") && said.contains("has a lease on that file"), "{said}");
}

#[test]
fn a_lock_that_is_no_regular_file_is_told() {
    let place = Place::new();
    let lock = place.socket.with_extension("lock");
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let (code, said) = refused(&place.socket, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it is a named pipe, expected a regular file"), "{said}");
}

/// Regression: "Create the directory first".
#[test]
fn a_directory_that_takes_no_file_is_told_from_one_that_is_missing() {
    for path in ["/proc/x.sock", "/proc/self/x.sock", "/sys/x.sock"] {
        let (code, said) = refused(path.as_ref(), &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("Create the"), "{said}");
        assert!(said.contains("takes no new file") || said.contains("ermission"), "{path}: {said}");
    }
    let place = Place::new();
    let gone = place.directory.path().join("gone");
    fs::create_dir(&gone).unwrap();
    for name in ["s", "./s", "../gone/s"] {
        let mut command = Command::new("sh");
        let steps = "cd \"$1\" && rmdir \"$1\"; exec \"$2\" serve \"$3\"";
        command.args(["-c", steps, "sh"]).arg(&gone).args([UNHANG, name]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected =
            if name.starts_with("..") { "Create the directory" } else { "it was deleted" };
        assert!(said.contains(expected), "{name}: {said}");
        fs::create_dir(&gone).unwrap();
    }
}

/// Regression: "cannot keep a spare descriptor … Create the directory first".
#[test]
fn a_start_without_dev_null_says_so() {
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.args(["mount -t tmpfs none /dev && exec \"$@\"", "sh", UNHANG, "serve"]);
    let output = command.arg(&place.socket).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("unshare") || said.contains("mount:") {
        return unable("no mount namespace can be made here");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("There is no /dev/null"), "{said}");
}
