//! Systems that can be seen only in part. `strace` stands in for such systems: it makes
//! the reads fail that would fail there.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use serde_json::Value;

use super::{codes, finds, look, suspects_where};
use crate::support::hang::{Stage, User, unhang};
use crate::support::programs::missing;
use crate::support::{UNHANG, await_some};

/// `unhang why --json` with these arguments, where calls fail as `expressions` say.
fn look_where(expressions: &[String], arguments: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(expressions);
    command.args([UNHANG, "why", "--json", "--for", "100ms"]).args(arguments);
    command.process_group(0).output().unwrap()
}

fn text(expressions: &[&str]) -> Vec<String> {
    expressions.iter().map(|one| (*one).to_owned()).collect()
}

/// Yama's `ptrace_scope`: even of one's own processes, neither calls nor memory.
#[test]
fn where_calls_are_hidden_from_their_own_user_that_is_said() {
    if missing("strace", "strace") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-read", "listening");
    stage.play("call-mute", "ready");
    suspects_where(&stage, "both_waiting", "possible", |_| true);
    let mut hidden = text(&["-e", "inject=openat,read:error=EPERM"]);
    for pid in [0, 1].map(|nth| stage.player(nth).pid()) {
        for file in [format!("/proc/{pid}/task/{pid}/syscall"), format!("/proc/{pid}/mem")] {
            hidden.extend(["-P".to_owned(), file]);
        }
    }
    let output = look_where(&hidden, &[stage.place.socket.to_str().unwrap()]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(codes(&object), [("owner_not_visible", "unknown")], "{object:#}");
    assert_eq!(output.status.code(), Some(3));
}

/// A process with capabilities that its user has not: that one may read the directory of its
/// descriptors, and not where they lead.
#[test]
fn descriptors_that_lead_nobody_knows_where_are_hidden_and_not_absent() {
    if missing("strace", "strace") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    let pid = stage.player(0).pid();
    let mut hidden = text(&["-e", "inject=readlink,readlinkat:error=EACCES"]);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        hidden.extend(["-P".to_owned(), entry.unwrap().path().display().to_string()]);
    }
    let output = look_where(&hidden, &[&pid.to_string()]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(codes(&object), [("owner_not_visible", "unknown")], "{object:#}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn why_it_is_not_known_where_a_script_is_is_said_and_no_more() {
    if missing("strace", "strace") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-unread", "listening");
    stage.play("call", "ready");
    finds(&stage, "request_unread", "certain");
    let memory = format!("/proc/{}/mem", stage.player(0).pid());
    let hidden = text(&["-e", "inject=openat:error=EACCES", "-P", &memory]);
    let output = look_where(&hidden, &[stage.place.socket.to_str().unwrap()]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = object["findings"][0]["server"]["owners"][0]["at_unknown"].as_str();
    assert!(why.is_some_and(|why| why.starts_with("to look into process")), "{object:#}");
}

#[test]
fn where_the_kernel_does_not_tell_of_sockets_that_is_4() {
    if missing("strace", "strace") {
        return;
    }
    let without = text(&["-e", "inject=socket:error=EPROTONOSUPPORT"]);
    let output = look_where(&without, &["@unhang"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn where_there_is_no_proc_that_is_3_and_not_a_fault() {
    if missing("strace", "strace") {
        return;
    }
    let without = text(&["-P", "/proc", "-e", "inject=openat:error=ENOENT"]);
    let output = look_where(&without, &["@unhang"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("/proc cannot be read"), "{said}");
}

/// The two ends wait for one another, and neither process is to be seen.
fn unseen_from(wrapper: &[&str]) {
    if !rustix::process::getuid().is_root() || missing("setpriv", "util-linux") {
        eprintln!("skipped: only root can mount /proc anew");
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-read", "listening");
    stage.play("call-mute", "ready");
    suspects_where(&stage, "both_waiting", "possible", |_| true);
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&stage.place.socket, open).unwrap();
    let mut command = Command::new(wrapper[0]);

    command.args(&wrapper[1..]).arg(unhang()).args(["why", "--json", "--for", "100ms"]);
    let output = command.arg(&stage.place.socket).output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(codes(&object), [("owner_not_visible", "unknown")], "{object:#}");
    assert_eq!(output.status.code(), Some(3), "{object:#}");
}

/// It was `OK nothing hangs`.
#[test]
fn where_proc_hides_the_processes_of_others_nothing_is_called_well() {
    let hide = "mount -o remount,hidepid=invisible /proc && \
                exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"";
    unseen_from(&["unshare", "--mount", "sh", "-c", hide]);
}

/// It was `OK nothing hangs`, and of an unread request that nobody held it.
#[test]
fn from_another_namespace_of_processes_nothing_is_called_well() {
    unseen_from(&["unshare", "--pid", "--fork", "--mount-proc"]);
}

/// Regression: in a root without /proc, `why` saw no process, and said that nothing hangs.
#[test]
fn without_proc_nothing_is_said_to_be_well_and_serve_names_the_cure() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can hide /proc");
        return;
    }
    let stage = Stage::new(User::Me);
    let socket = stage.place.socket.to_str().unwrap();
    for (arguments, code) in [(&["why"][..], 3), (&["why", socket], 3), (&["serve", socket], 1)] {
        let script = "mount -t tmpfs none /proc && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", UNHANG]).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/proc is not mounted: mount -t proc proc /proc"), "{output:?}");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("OK"), "{output:?}");
    }
    assert!(!stage.place.socket.exists(), "the socket is removed again");
}

/// A leak, at which nobody waits, stood above it.
#[test]
fn what_may_not_be_seen_comes_before_what_hangs_nobody() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can look as another user");
        return;
    }
    let (mut of_root, mut stage) = (Stage::new(User::Me), Stage::new(User::Nobody));
    of_root.play("serve-sleep", "listening");
    of_root.play("call", "ready");
    // The client leaves, and its server keeps the connection.
    stage.play("serve-forget", "listening");
    stage.play("call", "ready");
    finds(&stage, "forgotten", "likely");
    stage.player(1).signal(rustix::process::Signal::KILL);
    let found = await_some("both are told", || {
        let (_, object) = look(&stage, NOTHING);
        let found: Vec<_> = object["findings"].as_array()?.clone();
        let has = |code: &str| found.iter().any(|one| one["code"] == code);
        (has("client_gone") && has("owner_not_visible")).then_some(found)
    });
    let no_faults = found.iter().filter(|one| one["fault"] == false);
    let mut rest = no_faults.skip_while(|one| one["code"] == "owner_not_visible");
    assert!(rest.all(|one| one["code"] != "owner_not_visible"), "{found:#?}");
}

const NOTHING: &[&str] = &[];
