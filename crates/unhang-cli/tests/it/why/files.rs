//! What a path leads to, before any connection.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketType, accept, bind, connect, listen, socket,
};

use super::python::play;
use super::{codes, look};
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User, fixture, users};
use crate::support::programs::find_for_all;
use crate::support::{UNHANG, await_some};

#[track_caller]
fn found(stage: &Stage, path: &Path, code: &str) {
    let (exit, object) = look(stage, &[path]);
    assert_eq!(codes(&object), [(code, "certain")], "{object:#}");
    // A datagram socket has clients of its own kind.
    assert_eq!(exit, i32::from(!["ok", "other_type"].contains(&code)), "{object:#}");
}

#[test]
fn what_is_no_listening_socket_is_told_apart() {
    for user in users() {
        let stage = Stage::new(*user);
        let path = |name| stage.path(name);
        let reachable =
            |name| fs::set_permissions(path(name), fs::Permissions::from_mode(0o777)).unwrap();

        found(&stage, &path("missing"), "no_such_file");
        fs::write(path("file"), "").unwrap();
        found(&stage, &path("file"), "not_a_socket");
        found(&stage, stage.place.directory.path(), "not_a_socket");

        drop(UnixListener::bind(path("stale")).unwrap());
        reachable("stale");
        found(&stage, &path("stale"), "stale_file");

        let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
        reachable("datagram");
        found(&stage, &path("datagram"), "other_type");

        let bound = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&bound, &SocketAddrUnix::new(path("bound")).unwrap()).unwrap();
        reachable("bound");
        found(&stage, &path("bound"), "bound_not_listening");

        let _listener = UnixListener::bind(path("idle")).unwrap();
        reachable("idle");
        found(&stage, &path("idle"), "ok");
    }
}

#[test]
fn a_file_that_was_replaced_is_told_by_its_inode() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-mute", "ready");
    let socket = &stage.place.socket;
    fs::remove_file(socket).unwrap();
    let _new = UnixListener::bind(socket).unwrap();
    let (exit, object) = look(&stage, &[socket]);
    assert_eq!((exit, codes(&object)), (0, vec![("replaced_file", "certain")]), "{object:#}");
    // Perhaps it is to be ended, and so has to be named.
    let owner = &object["findings"][0]["server"]["owners"][0];
    assert_eq!(owner["pid"], stage.player(0).pid(), "{object:#}");
}

#[test]
fn a_listener_for_packets_was_taken_for_one_that_streams_reach() {
    let stage = Stage::new(User::Me);
    let path = stage.path("packets");
    let open = || socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let named = format!("unhang-why-packets-{}", std::process::id());
    let addresses = [
        SocketAddrUnix::new(&path).unwrap(),
        SocketAddrUnix::new_abstract_name(named.as_bytes()).unwrap(),
    ];
    for (address, name) in addresses.iter().zip([&path, Path::new(&format!("@{named}"))]) {
        let listener = open();
        bind(&listener, address).unwrap();
        listen(&listener, 8).unwrap();
        let (exit, object) = look(&stage, &[name]);
        assert_eq!((exit, codes(&object)), (1, vec![("other_type", "certain")]), "{object:#}");
        // A connected client knows the type.
        let client = open();
        connect(&client, address).unwrap();
        let _accepted = accept(&listener).unwrap();
        let (exit, object) = look(&stage, &[name]);
        assert_eq!((exit, codes(&object)), (0, vec![("other_type", "certain")]), "{object:#}");
    }
}

/// It was said that its server should be started.
#[test]
fn a_file_that_was_deleted_is_told_by_its_listener() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-mute", "ready");
        fs::create_dir(stage.path("gone")).unwrap();
        let below = stage.path("gone/s");
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(stage.path("gone"), open).unwrap();
        stage.play_at("serve-mute", &[&below], "ready");
        fs::remove_file(&stage.place.socket).unwrap();
        fs::remove_dir_all(stage.path("gone")).unwrap();
        std::os::unix::fs::symlink(stage.place.directory.path(), stage.path("link")).unwrap();
        for (path, server) in [(&stage.place.socket, 0), (&stage.path("link/s"), 0), (&below, 1)] {
            let (exit, object) = look(&stage, &[path]);
            assert_eq!(
                (exit, codes(&object)),
                (1, vec![("no_such_file", "certain")]),
                "{object:#}"
            );
            let finding = &object["findings"][0];
            let owner = &finding["server"]["owners"][0];
            assert_eq!(owner["pid"], stage.player(server).pid(), "{object:#}");
            assert!(finding["headline"].as_str().unwrap().contains(" is gone; "));
        }
        found(&stage, &stage.path("other"), "no_such_file");
    }
}

/// The maker of the file chose its name, and in `/tmp` that is any user.
#[test]
fn a_name_cannot_write_to_the_terminal_nor_add_to_a_cure() {
    let stage = Stage::new(User::Me);
    let [colour, spaced] = ["\x1b[31m", "it's; not all"].map(|name| stage.path(name));
    let no_text = stage.place.directory.path().join(OsStr::from_bytes(b"it's\xffb"));
    for path in [&colour, &spaced, &no_text] {
        drop(UnixListener::bind(path).unwrap());
    }
    let (_, object) = look(&stage, &[&colour]);
    let headline = object["findings"][0]["headline"].to_string();
    // As JSON has it.
    assert!(!headline.contains(r"\u001b") && headline.contains("[31m"), "{headline}");
    let (_, object) = look(&stage, &[&spaced]);
    let cure = object["findings"][0]["now"][0].as_str().unwrap();
    assert!(Command::new("sh").args(["-c", cure]).status().unwrap().success(), "{cure}");
    assert!(!spaced.exists(), "{cure}");
    // How these are written differs between shells, and one took it for a program to run.
    for path in [&colour, &no_text] {
        let (_, object) = look(&stage, &[path]);
        assert_eq!(object["findings"][0]["code"], "stale_file", "{object:#}");
        assert_eq!(object["findings"][0]["now"], serde_json::json!([]), "{object:#}");
    }
}

/// `unhang serve` and `call` took it.
#[test]
fn a_name_that_is_no_text_was_refused() {
    let stage = Stage::new(User::Me);
    let path = stage.place.directory.path().join(OsStr::from_bytes(b"a\xffb.sock"));
    let _server = Daemon::serve(&path, &[]);
    let (exit, object) = look(&stage, &[&path]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    assert!(object["listeners"][0]["pending"].is_u64(), "{object:#}");
    let (exit, object) = look(&stage, &[OsStr::from_bytes(b"@unhang-no\xff\x1b")]);
    assert_eq!((exit, codes(&object)), (1, vec![("no_such_file", "certain")]), "{object:#}");
    assert!(!object["findings"][0]["headline"].as_str().unwrap().contains('\x1b'), "{object:#}");
}

#[test]
fn a_name_is_looked_for_where_its_server_means_it() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-relative");
    let is_root = rustix::process::getuid().is_root();
    if is_root {
        play(&mut stage, &python, "serve-chroot");
    }
    for nth in 0..=usize::from(is_root) {
        let (exit, object) = look(&stage, &[stage.player(nth).pid().to_string()]);
        assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    }
}

/// It was said to be deleted, and that the server should be started again.
#[test]
fn a_socket_that_was_linked_into_another_directory_is_reached_there() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-linked");
    stage.player(0).await_line("linked");
    let (exit, object) = look(&stage, &[stage.player(0).pid().to_string()]);
    assert_eq!((exit, codes(&object)), (0, vec![("no_such_file", "certain")]), "{object:#}");
    let finding = &object["findings"][0];
    assert!(finding["headline"].to_string().contains("may have another elsewhere"), "{finding:#}");
    let other = stage.path("elsewhere/s");
    let (exit, object) = look(&stage, &[&other]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    // A question about the name that is gone is answered so.
    let (exit, object) = look(&stage, &[&stage.place.socket]);
    assert_eq!((exit, codes(&object)), (1, vec![("no_such_file", "certain")]), "{object:#}");
    // By the other name a client is found to wait.
    let client = Daemon::start(Command::new(fixture()).arg("call").arg(&other), "ready");
    await_some("it waits", || {
        let (exit, object) = look(&stage, &[&other]);
        (exit == 1 && codes(&object) == [("request_unread", "certain")]).then_some(())
    });
    drop(client);
}

/// As a service that systemd gives a view of its own after the socket was bound: it was said to be deleted.
#[test]
fn a_server_that_has_another_view_of_the_files_since_it_was_bound_has_its_name() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-mounted-over");
    stage.player(0).await_line("mounted");
    let pid = stage.player(0).pid().to_string();
    for asked in [pid.as_ref(), stage.place.socket.as_os_str()] {
        let (exit, object) = look(&stage, &[asked]);
        assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
    }
}

#[test]
fn a_path_is_followed_however_it_is_written() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-mute", "ready");
    stage.play("call", "ready");
    std::os::unix::fs::symlink(&stage.place.socket, stage.path("link")).unwrap();
    fs::create_dir(stage.path("directory")).unwrap();
    for path in [stage.path("link"), stage.path("directory/../s"), stage.path("./s")] {
        let (exit, object) = look(&stage, &[&path]);
        assert_eq!((exit, codes(&object)[0].0), (1, "not_accepted"), "{object:#}");
    }
}

#[test]
fn a_user_that_may_not_connect_is_told_why() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can look as another user");
        return;
    }
    let stage = Stage::new(User::Nobody);
    let _listener = UnixListener::bind(&stage.place.socket).unwrap();
    fs::set_permissions(&stage.place.socket, fs::Permissions::from_mode(0o600)).unwrap();
    found(&stage, &stage.place.socket, "permission");
    fs::set_permissions(stage.place.directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    found(&stage, &stage.place.socket, "permission");
}

/// As in a container that has the socket itself mounted, once the server was started anew: `rm` was the cure,
/// which fails.
#[test]
fn a_mount_of_a_socket_file_that_was_deleted_is_told() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    let stage = Stage::new(User::Me);
    let (old, place) = (stage.path("old"), stage.path("mounted"));
    drop(UnixListener::bind(&old).unwrap());
    fs::write(&place, "").unwrap();
    let script = "mount --bind \"$1\" \"$2\" && rm \"$1\" && exec \"$0\" why --json \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, UNHANG]).arg(&old).arg(&place);
    let output = command.output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(codes(&object), [("stale_file", "certain")], "{object:#}");
    let finding = &object["findings"][0];
    assert!(finding["headline"].as_str().unwrap().contains("was deleted"), "{finding:#}");
    assert!(finding["fix"].to_string().contains("mount the directory"), "{finding:#}");
    assert_eq!(finding["now"], serde_json::json!([]), "{finding:#}");
}
