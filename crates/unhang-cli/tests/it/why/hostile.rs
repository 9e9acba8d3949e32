//! `unhang why` in root's hands, beside processes that mean it ill.

use std::ffi::OsStr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::python::play;
use super::restraint::may_have;
use super::{codes, finds, finds_where, look, suspects_where};
use crate::interop::go::build;
use crate::support::hang::{Stage, User, shared};
use crate::support::programs::{find_for_all, missing};
use crate::support::{UNHANG, await_some, passing, root};

/// Root's look slept for ever, and SIGKILL did not end it.
#[test]
fn memory_that_never_answers_is_left_and_named() {
    let mut stage = Stage::new(User::Me);
    if mute(&mut stage, "page").is_none() {
        return;
    }
    let socket = stage.place.socket.clone();
    let pid = await_some("it polls", || sleeper(&stage));
    let (code, object) = look(&stage, &[socket.as_os_str()]);
    let passed_over = object["not_looked_at"].as_array().unwrap();
    let this = passed_over.iter().find(|one| one["pid"] == pid);
    assert!(this.is_some_and(|one| one["why"].as_str().unwrap().contains("in time")), "{object:#}");
    assert_eq!(code, 3, "{object:#}");
}

/// Mounts a file system that never answers, in a namespace of its own; gives its directory there.
fn mute(stage: &mut Stage, what: &str) -> Option<PathBuf> {
    let python = find_for_all("python3", "python3")?;
    let is_root = rustix::process::getuid().is_root();
    if !is_root || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: only root can mount a file system, and /dev/fuse is needed");
        return None;
    }
    let directory = stage.path("mute");
    std::fs::create_dir(&directory).unwrap();
    let script = root().join("crates/unhang-cli/tests/it/why/mute_page.py");
    let socket = stage.place.socket.clone();
    let arguments = [
        &["--mount".as_ref(), python.as_os_str(), script.as_os_str(), socket.as_os_str()][..],
        &[directory.as_os_str(), what.as_ref()],
    ]
    .concat();
    stage.run(OsStr::new("unshare").as_ref(), &arguments);
    Some(directory)
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

/// It slept for ever: the path itself leads over a file system that does not answer.
#[test]
fn a_path_that_never_answers_is_given_up() {
    let mut stage = Stage::new(User::Me);
    let Some(directory) = mute(&mut stage, "names") else { return };
    let pid = stage.player(0).pid();
    let path = format!("/proc/{pid}/root{}/any", directory.display());
    let (code, object) = look(&stage, &[&path]);
    assert_eq!(codes(&object)[0], ("owner_not_visible", "unknown"), "{object:#}");
    let headline = object["findings"][0]["headline"].as_str().unwrap();
    assert!(headline.contains("did not answer in time"), "{object:#}");
    assert_eq!(code, 3, "{object:#}");
}

/// It took 21 seconds, or as long as its owner liked.
#[test]
fn a_control_socket_that_passes_connections_that_linger_keeps_nobody() {
    let mut stage = Stage::new(User::Me);
    let _listener = UnixListener::bind(&stage.place.socket).unwrap();
    passing::serve(&stage.path("s.ctl"), b"until newline\n");
    stage.play("call", "ready");
    let began = Instant::now();
    let (code, object) = look(&stage, &[&stage.place.socket]);
    assert_eq!((code, codes(&object)), (1, vec![("not_accepted", "certain")]), "{object:#}");
    assert!(began.elapsed() < passing::LINGER);
}

/// What all of these scripts begin with.
const BEGIN: &str = "
import ctypes, os, select, signal, socket, sys, threading, time
libc = ctypes.CDLL(None)
path = sys.argv[1]
def ready():
    print('ready', flush=True)
def hang():
    # A client that waits in vain for its answer.
    listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen(8)
    client = socket.socket(socket.AF_UNIX); client.connect(path); client.send(b'request')
    keep.extend([listener, client, listener.accept()[0]])
    threading.Thread(target=client.recv, args=(9,), daemon=True).start()
keep = []
";

fn run(stage: &mut Stage, script: &str) -> Option<u32> {
    let program = format!("{BEGIN}{script}");
    let arguments = ["-c", &program, stage.place.socket.to_str().unwrap()].map(str::to_owned);
    Some(stage.run(&find_for_all("python3", "python3")?, &arguments).pid())
}

/// 28 seconds. Half of them have lost their names, so that another is looked for beside.
#[test]
fn four_thousand_listeners_are_looked_at_in_time() {
    if !may_have(4_000) {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let script = "os.chdir(os.path.dirname(path))
for n in range(4000):
    s = socket.socket(socket.AF_UNIX); s.bind(os.path.join(os.path.dirname(path), str(n))); s.listen(1); keep.append(s)
    if n % 2: os.unlink(str(n))
ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    let (code, object) = look(&stage, &[pid.to_string()]);
    assert_eq!(code, 0, "{:#}", object["not_looked_at"]);
    assert_eq!(object["listeners"].as_array().unwrap().len(), 4_000);
    let found = codes(&object);
    assert_eq!(found.len(), 2_000);
    assert!(found.iter().all(|one| *one == ("no_such_file", "certain")));
}

/// 28 seconds, as the table of mounts was read for each name.
#[test]
fn three_thousand_mounts_are_no_trouble() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-many-mounts");
    play(&mut stage, &python, "call");
    finds(&stage, "handler_blocked", "certain");
    let (_, object) = look(&stage, &[stage.player(0).pid().to_string()]);
    assert_eq!(object["not_looked_at"], serde_json::json!([]), "{object:#}");
}

const LOOKS_LIKE_GO: &str = "package main

import (
\t\"bytes\"
\t\"fmt\"
\t\"net\"
\t\"os\"
\t\"strings\"
)

// Before Go's own table of the module, as it is not empty and has no pointers. Each four look like its beginning.
var fakes = [4 << 20]uint64{0: 1}

func main() {
\theader := header()
\tfor n := range fakes {
\t\tfakes[n] = [4]uint64{header, header + 0x60, 16, 16}[n%4]
\t}
\tlistener, err := net.Listen(\"unix\", os.Args[1])
\tif err != nil {
\t\tpanic(err)
\t}
\tfmt.Println(\"ready\")
\tfor {
\t\tclient, _ := listener.Accept()
\t\tclient.Read(make([]byte, 100))
\t\tkept = append(kept, client)
\t}
}

var kept []net.Conn

// The table of functions begins with a magic word, and the sizes of an instruction and of a pointer.
func header() uint64 {
\tmaps, _ := os.ReadFile(\"/proc/self/maps\")
\tmemory, _ := os.Open(\"/proc/self/mem\")
\tfor _, line := range strings.Split(string(maps), \"\\n\") {
\t\tvar start, end uint64
\t\tif _, err := fmt.Sscanf(line, \"%x-%x r--p\", &start, &end); err != nil {
\t\t\tcontinue
\t\t}
\t\tpart := make([]byte, end-start)
\t\tmemory.ReadAt(part, int64(start))
\t\tfor _, magic := range []byte{0xf0, 0xf1} {
\t\t\tat := bytes.Index(part, []byte{magic, 0xff, 0xff, 0xff, 0, 0, 1, 8})
\t\t\tif at >= 0 && at%8 == 0 {
\t\t\t\treturn start + uint64(at)
\t\t\t}
\t\t}
\t}
\tpanic(\"no table\")
}
";

/// More than 90 seconds: a million places had to be tried.
#[test]
fn a_program_full_of_what_looks_like_gos_tables_keeps_nobody() {
    if missing("go", "golang-go") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let source = stage.path("like.go");
    std::fs::write(&source, LOOKS_LIKE_GO).unwrap();
    let program = shared(&build(&source, "looks-like-go"));
    let pid = stage.run(&program, &[&stage.place.socket.clone()]).pid();
    stage.play("call", "ready");
    // Either it is seen through, or it is named as not looked at.
    await_some("the client is told of", || {
        let output = stage.why(&["--json".as_ref(), stage.place.socket.as_os_str()]);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_named = object["not_looked_at"].as_array()?.iter().any(|one| one["pid"] == pid);
        let code = output.status.code();
        (is_named && code == Some(3)
            || code == Some(1)
            || code == Some(0) && !codes(&object).is_empty())
        .then_some(())
    });
}

/// "Too many open files", and no answer.
#[test]
fn three_hundred_network_namespaces_are_looked_into_with_256_descriptors() {
    if !rustix::process::getuid().is_root() || missing("prlimit", "util-linux") {
        eprintln!("skipped: only root can make a network namespace");
        return;
    }
    let mut stage = Stage::new(User::Me);
    let script = "
for n in range(300):
    r, w = os.pipe()
    if os.fork() == 0:
        libc.prctl(1, 9)
        os.close(r)
        libc.unshare(0x40000000)
        os.write(w, b'x'); time.sleep(1000); os._exit(0)
    os.read(r, 1); os.close(r); os.close(w)
ready(); hang(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:256", UNHANG, "why", "--json", "--deadline", "60s"]);
    let output = command.arg(pid.to_string()).output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(object["visibility"]["netns_seen"].as_u64() > Some(300), "{object:#}");
    assert_eq!(object["visibility"]["netns_hidden"], 0, "{object:#}");
    assert_eq!(codes(&object)[0].0, "request_unread", "{object:#}");
}

/// 30 seconds with six of them; now what is left out is named, and the honest are looked at.
#[test]
fn event_loops_that_watch_hundreds_of_thousands_are_left_and_named() {
    if !may_have(1_500) {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let script = "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
for _ in range(500):
    keep.extend(socket.socketpair())
fds = [one.fileno() for one in keep]
for _ in range(400):
    loop = select.epoll(); keep.append(loop)
    for fd in fds: loop.register(fd, 1)
ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    stage.play("serve-sleep", "listening");
    stage.play("call", "ready");
    // All that runs beside this test is looked at, too.
    let output = stage.why(&["--json", "--deadline", "60s"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let passed_over = object["not_looked_at"].as_array().unwrap();
    let this = passed_over.iter().find(|one| one["pid"] == pid).expect("it is named");
    assert!(this["why"].as_str().unwrap().contains("watch more than"), "{this:#}");
    let server = stage.player(1).pid();
    let is_it = |one: &serde_json::Value| one["server"]["owners"][0]["pid"] == server;
    assert!(object["findings"].as_array().unwrap().iter().any(is_it), "{object:#}");
    assert_eq!(output.status.code(), Some(1), "{object:#}");
}

/// A process with thousands of threads took as long as it liked.
#[test]
fn threads_that_time_does_not_suffice_for_are_named() {
    let mut stage = Stage::new(User::Me);
    let script = "
threading.stack_size(65536)
for _ in range(1500):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
hang(); ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    let arguments = ["--json", "--for", "1ms", "--deadline", "1ms", &pid.to_string()];
    let output = stage.why(&arguments);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{object:#}");
    assert_eq!(object["not_looked_at"][0]["why"], "there was no time left", "{object:#}");
    // With the time for it, it is found.
    let (code, object) = look(&stage, &[pid.to_string()]);
    assert_eq!((code, codes(&object)[0].0), (1, "request_unread"), "{object:#}");
}

/// U+202E turned the rest of the line around.
#[test]
fn a_process_cannot_write_to_the_terminal_with_its_name() {
    let mut stage = Stage::new(User::Me);
    let name =
        "libc.prctl(15, '\\x1b[31m\\u202e\\u200bx'.encode()); hang(); ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, name) else { return };
    suspects_where(&stage, "request_unread", "certain", |_| true);
    let output = stage.why(&["-v", &pid.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let acts = |one: char| one != '\n' && (one.is_control() || "\u{202e}\u{200b}".contains(one));
    assert!(text.contains("HUNG") && !text.contains(acts), "{text:?}");
}

#[test]
fn a_process_that_forks_without_end_keeps_nobody() {
    let mut stage = Stage::new(User::Me);
    let script = "hang(); ready()
while True:
    if os.fork() == 0: os._exit(0)
    os.wait()";
    if run(&mut stage, script).is_none() {
        return;
    }
    // Its forks, too, hold both ends for as long as they live.
    let (code, object) = look(&stage, &[&stage.place.socket]);
    assert!([0, 1, 3].contains(&code), "{object:#}");
}

/// Children that have both ends for a moment, and become another program and end in the middle of a look: one that ends
/// gives up its memory before its descriptors, and was taken for one that hides what it does.
#[test]
fn processes_that_exec_and_end_all_the_time_hide_nothing() {
    let mut stage = Stage::new(User::Me);
    let script = "
def storm():
    while True:
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0: os.execv('/bin/true', ['true'])
            children.append(child)
        for child in children: os.waitpid(child, 0)
hang()
for one in keep:
    os.set_inheritable(one.fileno(), True)
ready(); storm()";
    if run(&mut stage, script).is_none() {
        return;
    }
    finds_where(&stage, "request_unread", "likely", |_| true);
    for _ in 0..5 {
        let (_, object) = look(&stage, &[&stage.place.socket]);
        assert!(codes(&object).iter().all(|one| one.0 != "owner_not_visible"), "{object:#}");
    }
}

/// A process that is stopped in the middle of a look, and goes on, again and again.
#[test]
fn a_process_that_stops_itself_all_the_time_keeps_nobody() {
    let mut stage = Stage::new(User::Me);
    let script = "
parent = os.getpid()
if os.fork() == 0:
    libc.prctl(1, 9)
    while os.getppid() == parent:
        os.kill(parent, signal.SIGSTOP); time.sleep(0.03)
        os.kill(parent, signal.SIGCONT); time.sleep(0.03)
hang(); ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    for _ in 0..5 {
        let (code, object) = look(&stage, &[pid.to_string()]);
        assert!([0, 1].contains(&code), "{object:#}");
        let known = ["ok", "request_unread", "server_stopped"];
        assert!(codes(&object).iter().all(|one| known.contains(&one.0)), "{object:#}");
    }
}

/// Tens of thousands of mappings, and a command line and an environment of a megabyte.
#[test]
fn a_process_with_much_to_read_is_looked_at_all_the_same() {
    let mut stage = Stage::new(User::Me);
    let script = "
if 'again' not in os.environ:
    many = {f'v{n}': 'x' * 1000 for n in range(500)}
    os.execve(sys.executable, sys.orig_argv + ['y' * 1000] * 500, {**os.environ, **many, 'again': '1'})
import mmap
for n in range(20000):
    keep.append(mmap.mmap(-1, 4096, prot=1 + n % 2 * 2))
hang(); ready(); time.sleep(1000)";
    if run(&mut stage, script).is_none() {
        return;
    }
    finds(&stage, "request_unread", "certain");
}
