//! PHP's process manager, asked in `FastCGI` as a web server does.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::front::front;
use super::{codes, look, suspects_where};
use crate::support::hang::{Stage, User};
use crate::support::programs::{find_for_all, missing, skip};
use crate::support::{UNHANG, await_some};

/// Debian names it by its version.
fn php_fpm() -> Option<PathBuf> {
    let programs = fs::read_dir("/usr/sbin").ok()?.filter_map(Result::ok).map(|one| one.path());
    let is_it = |path: &PathBuf| path.to_string_lossy().contains("php-fpm");
    let found = programs.filter(is_it).max();
    if found.is_none() {
        skip("php-fpm is not installed", "php-fpm");
    }
    found
}

/// A record of `FastCGI`'s: version, kind, request, length, padding.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, length[0], length[1], 0, 0][..], content].concat()
}

/// Asks for a page, and keeps the connection that the reply would come on.
fn ask(stage: &Stage, page: &str) -> UnixStream {
    let mut parameters = Vec::new();
    for (name, value) in
        [("SCRIPT_FILENAME", page), ("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/slow")]
    {
        parameters.extend([name.len(), value.len()].map(|length| u8::try_from(length).unwrap()));
        parameters.extend([name, value].concat().bytes());
    }
    let begin = record(1, &[0, 1, 0, 0, 0, 0, 0, 0]);
    let request = [begin, record(4, &parameters), record(4, b""), record(5, b"")].concat();
    let mut client = UnixStream::connect(&stage.place.socket).unwrap();
    client.write_all(&request).unwrap();
    client
}

/// The pool's processes: they do not end with the one that has started them while they are in a page.
struct Workers(PathBuf);

impl Drop for Workers {
    fn drop(&mut self) {
        let Ok(output) =
            Command::new(UNHANG).args(["why", "--json", "--for", "50ms"]).arg(&self.0).output()
        else {
            return;
        };
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let owners = object["listeners"][0]["owners"].as_array().into_iter().flatten();
        for pid in owners.filter_map(|owner| i32::try_from(owner["pid"].as_i64()?).ok()) {
            // The first of them, the parent, may have ended since.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// A pool of two workers on this socket.
fn start(stage: &mut Stage, php_fpm: &Path, socket: &Path) -> Workers {
    let workers = Workers(socket.to_path_buf());
    let config = format!(
        "[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\nlisten = {}\nuser = root\n\
         group = root\npm = static\npm.max_children = 2\n",
        socket.display()
    );
    fs::write(stage.path("fpm.conf"), config).unwrap();
    let config = stage.path("fpm.conf");
    let arguments = ["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"].map(OsStr::new);
    stage.run_silent(php_fpm, &[&arguments[..], &[config.as_os_str()]].concat());
    await_some("it listens", || UnixStream::connect(socket).ok());
    workers
}

/// Regression: each page that lasted longer than the look was `request_unread`, with certainty, and a pool
/// without a free worker was told to accept in a loop of its own.
#[test]
fn pages_that_sleep_are_named_and_so_are_clients_that_wait_for_their_workers() {
    let Some(php_fpm) = php_fpm() else { return };
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: php-fpm is started as root");
        return;
    }
    let mut stage = Stage::new(User::Me);
    let socket = stage.place.socket.clone();
    let workers = start(&mut stage, &php_fpm, &socket);
    let page = stage.path("page.php");
    fs::write(&page, "<?php\n\nsleep(3600);\n").unwrap();
    // Two of them get a worker, and the third has to wait.
    let clients = [(); 3].map(|()| ask(&stage, page.to_str().unwrap()));
    let (exit, object) = await_some("all of that is seen", || {
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        let found: Vec<_> = codes(&object).iter().map(|one| one.0).collect();
        // Regression: what the pages wait for came after what follows from it.
        let all = ["handler_blocked", "handler_blocked", "not_accepted"];
        (found == all).then_some((exit, object))
    });
    drop((clients, workers));
    assert_eq!(exit, 1);
    let [_, page, queue] = [0, 1, 2].map(|nth| &object["findings"][nth]);
    assert!(queue["inferred"].to_string().contains("a pool of 2"), "{queue:#}");
    assert!(queue["fix"].to_string().contains("request_terminate_timeout"), "{queue:#}");
    assert!(page["because"].to_string().contains("FastCGI"), "{page:#}");
    let at = &page["server"]["owners"][0]["at"];
    assert_eq!(
        (at["function"].as_str(), at["line"].as_u64()),
        (Some("sleep"), Some(3)),
        "{page:#}"
    );
}

const BEHIND: &str = "import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print('ready', flush=True)
client, _ = listener.accept()
client.recv(100)
time.sleep(3600)
";

/// Three hops, asked about at the first: nginx, the page in a worker of php-fpm, and the server that the page
/// waits for. Regression: the line of no process behind the first was told.
#[test]
fn behind_nginx_the_line_of_the_page_is_named_and_that_of_the_server_behind_it() {
    let Some(php_fpm) = php_fpm() else { return };
    let Some(python) = find_for_all("python3", "python3") else { return };
    if missing("nginx", "nginx-light") || missing("curl", "curl") {
        return;
    }
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: php-fpm is started as root");
        return;
    }
    let mut stage = Stage::new(User::Me);
    let [behind, pool, script, page] =
        ["behind", "pool", "behind.py", "page.php"].map(|name| stage.path(name));
    fs::write(&script, BEHIND).unwrap();
    stage.run(&python, &[&script, &behind]);
    let asks = format!(
        "<?php\n$server = stream_socket_client('unix://{}');\nfwrite($server, \"ask\\n\");\necho fgets($server);\n",
        behind.display()
    );
    fs::write(&page, asks).unwrap();
    let workers = start(&mut stage, &php_fpm, &pool);
    let passes = format!(
        "fastcgi_pass unix:{}; fastcgi_param SCRIPT_FILENAME {}; fastcgi_param REQUEST_METHOD GET;",
        pool.display(),
        page.display()
    );
    front(&mut stage, &passes, "");
    let finding = suspects_where(&stage, "handler_waits_backend", "likely", |finding| {
        finding["chain"].as_array().is_some_and(|chain| chain.len() == 2)
    });
    let lines = [0, 1].map(|nth| {
        let at = &finding["chain"][nth]["at"];
        (at["file"].as_str().map(PathBuf::from), at["line"].as_u64())
    });
    assert_eq!(lines, [(Some(page), Some(4)), (Some(script), Some(8))], "{finding:#}");
    assert_eq!(finding["fault"], true, "{finding:#}");

    // Without a path, all three are found, and the one that the others wait for comes first.
    let pid = stage.player(0).pid();
    let last = format!("[{pid}]");
    let ours = await_some("all three are found", || {
        // All that runs beside this test is looked at, too.
        let output = stage.why(&["--json", "--deadline", "60s"]);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = |one: &&Value| one["fault"] == true && one.to_string().contains(&last);
        let ours: Vec<_> = object["findings"].as_array()?.iter().filter(ours).cloned().collect();
        (ours.len() >= 3).then_some(ours)
    });
    assert_eq!(ours[0]["server"]["owners"][0]["pid"].as_u64(), Some(pid.into()), "{ours:#?}");
    drop(workers);
}
