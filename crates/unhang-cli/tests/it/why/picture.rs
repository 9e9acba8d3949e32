//! The picture of what waits for what: for Graphviz, and as a page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::behind::{LONG, script, text};
use super::finds;
use crate::support::await_some;
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User, copy_program, fixture, users};
use crate::support::programs::{find, find_for_all, missing};

/// The picture that Graphviz takes.
fn dot(stage: &Stage) -> String {
    let output = stage.why(&[
        "--dot".as_ref(),
        "--for".as_ref(),
        "100ms".as_ref(),
        "--deadline".as_ref(),
        "20s".as_ref(),
        stage.place.socket.as_os_str(),
    ]);
    String::from_utf8(output.stdout).unwrap()
}

/// The page after a look, and the look's exit code.
fn page(stage: &Stage, file: &Path) -> (String, Option<i32>) {
    let output = stage.why(&[
        "--html".as_ref(),
        file.as_os_str(),
        "--for".as_ref(),
        "100ms".as_ref(),
        "--deadline".as_ref(),
        "20s".as_ref(),
        stage.place.socket.as_os_str(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let page = fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}: {said}"));
    (page, output.status.code())
}

/// Graphviz takes it.
fn assert_parses(text: &str) {
    if missing("dot", "graphviz") {
        return;
    }
    let mut child = Command::new(find("dot").unwrap())
        .arg("-Tplain")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}: {text}");
}

/// The index of the box of a process.
fn node(dot: &str, pid: u32) -> Option<&str> {
    let line =
        dot.lines().find(|line| line.contains(&format!("[{pid}]")) && line.contains(" [color="))?;
    line.split_whitespace().next()
}

/// The arrow from one process to another.
fn arrow(dot: &str, from: u32, to: u32) -> Option<&str> {
    let arrow = format!("{} -> {} ", node(dot, from)?, node(dot, to)?);
    dot.lines().find(|line| line.contains(&arrow))
}

#[test]
fn the_picture_leads_from_the_client_to_the_server_and_on_to_the_one_that_it_waits_for() {
    for user in users() {
        let mut stage = Stage::new(*user);
        let (socket, behind) = (stage.place.socket.clone(), stage.path("behind"));
        stage.play_at("serve-sleep", &[&behind], "listening");
        stage.play_at("serve-backend", &[&socket, &behind], "listening");
        stage.play("call", "ready");
        finds(&stage, "handler_waits_backend", "certain");
        let pids = [0, 1, 2].map(|nth| stage.player(nth).pid());
        let dot = await_some("all three are in the picture", || {
            let dot = dot(&stage);
            (arrow(&dot, pids[2], pids[1]).is_some() && arrow(&dot, pids[1], pids[0]).is_some())
                .then_some(dot)
        });
        assert_parses(&dot);
        let line = arrow(&dot, pids[2], pids[1]).unwrap();
        assert!(
            line.contains("waits for ") && line.contains(&socket.display().to_string()),
            "{line}"
        );
        assert!(dot.contains("HUNG  "), "{dot}");

        let (page, code) = page(&stage, &stage.path("why.html"));
        assert_eq!(code, Some(1), "{page}");
        for pid in pids {
            assert!(page.contains(&format!("[{pid}]</text>")), "{pid} in {page}");
        }
        assert_eq!(page.matches("class=\"wait bad\"").count(), 2, "{page}");
        assert!(page.contains("<h1>Somebody is left hanging</h1>"), "{page}");
        assert!(page.contains("<b>Fix</b>") && page.contains("handler_waits_backend"), "{page}");
    }
}

/// Regression: it ended at `unhang serve`, though the screen names the worker that has the request.
#[test]
fn behind_unhang_the_worker_and_the_server_that_it_waits_for_are_in_the_picture() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    let behind = stage.path("behind");
    let sleeper = stage.play_at("serve-sleep", &[&behind], "listening").pid();
    let worker = script(
        &stage,
        "worker.py",
        "import socket, sys\nfor line in sys.stdin:\n    server = socket.socket(socket.AF_UNIX)\n    \
         server.connect(sys.argv[1])\n    server.sendall(b'ask\\n')\n    server.recv(100)\n",
    );
    let command = ["--workers", "1", "--", text(&python), text(&worker), text(&behind)];
    let server = stage.serve(&[&LONG[..], &command].concat()).pid();
    let client = stage.play("call", "ready").pid();
    let (dot, worker) = await_some("the way to the last server is drawn", || {
        let dot = dot(&stage);
        let worker = child_of(server)?;
        let way = [(client, server), (server, worker), (worker, sleeper)];
        way.iter().all(|(from, to)| arrow(&dot, *from, *to).is_some()).then_some((dot, worker))
    });
    assert_parses(&dot);
    assert_eq!(dot.matches(" -> ").count(), 3, "each wait once: {dot}");
    assert!(dot.contains("worker.py:6"), "{dot}");
    let line = arrow(&dot, worker, sleeper).unwrap();
    assert!(line.contains(text(&behind)), "{line}");
    let page = page(&stage, &stage.path("why.html")).0;
    for pid in [client, server, worker, sleeper] {
        assert!(page.contains(&format!("[{pid}]</text>")), "{pid} in {page}");
    }
    assert!(page.contains("<dt>behind</dt>") && page.contains("worker.py:6"), "{page}");
}

#[test]
fn behind_unhang_a_program_and_its_child_are_in_the_picture() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    let child = script(&stage, "child.py", "import time\n\ntime.sleep(3600)\n");
    let lines = format!("#!/bin/sh\nread line\n{} {}\necho done\n", text(&python), text(&child));
    let program = script(&stage, "answer.sh", &lines);
    let server = stage.serve(&[&LONG[..], &["--", text(&program)]].concat()).pid();
    let client = stage.play("call", "ready").pid();
    let dot = await_some("the way to the child is drawn", || {
        let dot = dot(&stage);
        let program = child_of(server)?;
        let way = [(client, server), (server, program), (program, child_of(program)?)];
        way.iter().all(|(from, to)| arrow(&dot, *from, *to).is_some()).then_some(dot)
    });
    assert_parses(&dot);
    assert!(dot.contains("child.py:3") && dot.contains("a process that it started"), "{dot}");
}

fn child_of(pid: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut children = tasks.filter_map(|task| {
        let children = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    children.next()
}

#[test]
fn where_nothing_hangs_the_picture_is_empty_and_the_page_says_so() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&[]);
    let dot = dot(&stage);
    assert!(!dot.contains(" -> ") && dot.contains("nothing hangs"), "{dot}");
    assert_parses(&dot);
    let (page, code) = page(&stage, &stage.path("why.html"));
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("<h1>Nothing hangs</h1>") && !page.contains("<figure"), "{page}");
    assert!(page.ends_with("</html>\n"), "{page}");
}

/// A program under a name of its own choice, and a socket, too. 15 bytes of a name are what the kernel keeps.
fn hostile(stage: &Stage, name: &str) -> PathBuf {
    let copy = stage.path(name);
    copy_program(fixture(), &copy);
    copy
}

#[test]
fn whatever_a_process_and_a_socket_are_called_the_page_shows_it_and_runs_nothing() {
    let stage = Stage::new(User::Me);
    let server = hostile(&stage, "<script>\"'&\u{202e}");
    let client = hostile(&stage, "<b>\\N\u{1b}[2J\n");
    // The path of a socket: no slash in its last part.
    let socket = stage.path("<img src=x onerror=alert(1)>\u{202e}\u{9b}\n\"]; a -> b");
    let play = |program: &Path, role: &str, until: &str| {
        Daemon::start(Command::new(program).arg(role).arg(&socket), until)
    };
    let _server = play(&server, "serve-sleep", "listening");
    let _client = play(&client, "call", "ready");
    let look = |flags: &[&std::ffi::OsStr]| {
        let window = ["--for", "100ms", "--deadline", "20s"].map(std::ffi::OsStr::new);
        stage.why(&[&window[..], flags, &[socket.as_os_str()]].concat())
    };
    let file = stage.path("why.html");
    let page = await_some("both are in the picture", || {
        let said = look(&["--html".as_ref(), file.as_os_str()]);
        assert!(said.stderr.is_empty(), "{said:?}");
        let page = fs::read_to_string(&file).unwrap();
        page.contains("class=\"wait bad\"").then_some(page)
    });
    let tags = ["<script", "<img", "<b>\\N", "onerror=alert(1)>"];
    for tag in tags {
        assert!(!page.contains(tag), "{tag} in {page}");
    }
    assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;"), "{page}");
    let acts = |one: char| one != '\n' && (one.is_control() || one == '\u{202e}');
    assert!(!page.chars().any(acts), "{page:?}");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count(), "{page}");
    if let Some(directory) = std::env::var_os("UNHANG_PAGES_SEEN") {
        fs::copy(&file, Path::new(&directory).join("hostile.html")).unwrap();
    }

    let dot = String::from_utf8(look(&["--dot".as_ref()]).stdout).unwrap();
    let arrows = dot.lines().filter(|line| line.starts_with("  n1 -> n0 "));
    assert!(!dot.chars().any(acts) && arrows.count() == 1, "{dot:?}");
    assert_parses(&dot);
}

/// A browser may load it at any moment.
#[test]
fn a_page_that_is_written_again_and_again_is_whole_at_any_moment() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&[]);
    let file = stage.path("why.html");
    let arguments = ["why", "--watch", "--for", "10ms", "--html"].map(std::ffi::OsStr::new);
    let mut command = stage.unhang();
    command.args(arguments).arg(&file).arg(&stage.place.socket).stdout(Stdio::null());
    let _watch = Daemon::spawn(&mut command);
    let (mut last, mut changes) = (None, 0);
    await_some("it was written five times", || {
        let inode = fs::metadata(&file).ok().map(|file| std::os::unix::fs::MetadataExt::ino(&file));
        changes += u32::from(inode != last);
        last = inode;
        if let Ok(page) = fs::read(&file) {
            assert!(page.starts_with(b"<!doctype html>") && page.ends_with(b"</html>\n"));
            assert!(
                page.windows(22).any(|part| part == b"http-equiv=\"refresh\" c"),
                "loads again"
            );
        }
        (changes > 5).then_some(())
    });
}

#[test]
fn a_file_that_is_no_page_stays_and_a_page_that_cannot_be_written_is_told() {
    let stage = Stage::new(User::Me);
    let precious = stage.path("precious");
    fs::write(&precious, "precious").unwrap();
    for (file, said, code) in [
        (precious.as_os_str(), "has not written", 3),
        (Path::new("/dev/full").as_os_str(), "a socket or a device", 3),
        (Path::new("/nowhere/why.html").as_os_str(), "No such file", 3),
        ("-".as_ref(), "expected the name of a file", 2),
    ] {
        let output = stage.why(&["--html".as_ref(), file, precious.as_os_str()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said) && output.status.code() == Some(code), "{output:?}");
    }
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}
