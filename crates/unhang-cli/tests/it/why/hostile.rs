//! `unhang why` in root's hands, beside processes that mean it ill.

use std::ffi::OsStr;

use super::look;
use crate::support::hang::{Stage, User};
use crate::support::programs::find_for_all;
use crate::support::{await_some, root};

/// Root's look slept for ever, and SIGKILL did not end it.
#[test]
fn memory_that_never_answers_is_left_and_named() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let is_root = rustix::process::getuid().is_root();
    if !is_root || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: only root can mount a file system, and /dev/fuse is needed");
        return;
    }
    let mut stage = Stage::new(User::Me);
    let directory = stage.path("mute");
    std::fs::create_dir(&directory).unwrap();
    let script = root().join("crates/unhang-cli/tests/it/why/mute_page.py");
    let socket = stage.place.socket.clone();
    let arguments = [
        &["--mount".as_ref(), python.as_os_str(), script.as_os_str(), socket.as_os_str()][..],
        &[directory.as_os_str()],
    ]
    .concat();
    stage.run(OsStr::new("unshare").as_ref(), &arguments);
    let pid = await_some("it polls", || sleeper(&stage));
    let (code, object) = look(&stage, &[socket.as_os_str()]);
    let passed_over = object["not_looked_at"].as_array().unwrap();
    let this = passed_over.iter().find(|one| one["pid"] == pid);
    assert!(this.is_some_and(|one| one["why"].as_str().unwrap().contains("in time")), "{object:#}");
    assert_eq!(code, 3, "{object:#}");
}

/// The child that polls, once it sleeps where it cannot be woken.
fn sleeper(stage: &Stage) -> Option<u32> {
    let parent = stage.player(0).pid();
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let sleeps_in = std::fs::read_to_string(format!("/proc/{child}/wchan")).ok()?;
    sleeps_in.contains("wait_answer").then_some(child)
}
