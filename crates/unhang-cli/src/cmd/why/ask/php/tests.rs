//! Scripts that hang, looked at from outside. `UNHANG_PHP_VERSIONS=PATH:PATH` names further `php`
//! programs to test with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::scripts;
use super::super::test_support::{Ended, Pieces, await_ok, required, words};
use super::*;

/// Of a process in which only one thread runs scripts.
fn where_is(pid: u32, show_data: bool) -> Result<Option<Location>, String> {
    Ok(scripts::locations(pid, show_data)?.into_iter().next())
}

/// A directory with scripts, and a server that answers one client and then forgets it.
struct Hang {
    directory: TempDir,
    _server: std::thread::JoinHandle<UnixStream>,
}

impl Hang {
    fn new(reply: &'static str) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
            // Kept open until the script is ended.
            let _ = stream.read_to_end(&mut Vec::new());
            stream
        });
        Self { directory, _server: server }
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, php: &Path, name: &str) -> Ended {
        let mut command = Command::new(php);
        Ended::spawn(command.arg(self.directory.path().join(name)).stdin(Stdio::null()))
    }
}

/// PHP's programs: the machine's own, and those that the environment names.
fn phps() -> Vec<PathBuf> {
    let further = std::env::var_os("UNHANG_PHP_VERSIONS").unwrap_or_default();
    let own = required("php", "php-cli").into_iter();
    own.chain(std::env::split_paths(&further).filter(|path| !path.as_os_str().is_empty())).collect()
}

/// Waits until the script is in that function.
fn await_function(pid: u32, function: &str, show_data: bool) -> Location {
    await_ok(function, || match where_is(pid, show_data) {
        Ok(Some(found)) if found.function == function => Ok(found),
        other => Err(format!("{other:?}")),
    })
}

const INCLUDED: &str = r#"<?php
function ask(string $path): string {
    $socket = stream_socket_client("unix://$path");
    stream_set_timeout($socket, 86400);
    $line = '';
    $reply = "";
    $other = &$reply;
    while (($piece = fgets($socket, 1024)) !== false) {
        $reply .= $piece;
    }
    return $reply;
}
"#;

#[test]
fn a_page_in_fgets_is_found_in_its_function_in_its_file_with_its_variables() {
    for php in phps() {
        let hang = Hang::new("OK+ at 'x'\n\u{1b}[31m\n");
        let included = hang.script("client.php", INCLUDED);
        hang.script("page.php", "<?php\nrequire 'client.php';\necho ask(__DIR__ . '/s');\n");
        let page = hang.run(&php, "page.php");
        let found = await_ok("the reply is read", || {
            let found = await_function(page.pid(), "fgets", true);
            let read =
                found.variables.iter().any(|(name, text)| name == "$reply" && text.len() > 20);
            read.then_some(found).ok_or_else(|| "not yet".to_owned())
        });
        assert_eq!(found.language, "PHP");
        assert_eq!((Path::new(&found.file), found.line), (&*included, Some(8)));
        let path = hang.directory.path().join("s").to_string_lossy().into_owned();
        for (name, text) in [
            ("$path", &*path),
            ("$line", ""),
            ("$reply", r"OK+ at 'x'\n\u{1b}[31m\n"),
            ("$other", r"OK+ at 'x'\n\u{1b}[31m\n"),
        ] {
            let variable = (name.to_owned(), text.to_owned());
            assert!(found.variables.contains(&variable), "{variable:?}: {:?}", found.variables);
        }
        assert!(where_is(page.pid(), false).unwrap().unwrap().variables.is_empty());
    }
}

#[test]
fn the_main_script_a_method_and_evaluated_code_are_told_apart() {
    for php in phps() {
        let connect = "<?php\n$s = stream_socket_client('unix://' . __DIR__ . '/s');\n";
        for (text, function, line) in [
            (&*format!("{connect}\nstream_get_contents($s);"), "stream_get_contents", Some(4)),
            (&format!("{connect}fread($s, 9);\n\nfread($s, 9);"), "fread", Some(5)),
            // Nothing in these loops makes PHP note where it is.
            ("<?php class A { static function f() { while (true); } }\nA::f();", "A::f", None),
            ("<?php\nwhile (true);", "{main}", None),
            ("<?php\neval(\"\\n\\nsleep(100);\");", "sleep", Some(3)),
            ("<?php\narray_map(fn($x) =>\n usleep(100000000), [1]);", "usleep", Some(3)),
        ] {
            let hang = Hang::new("OK\n");
            let script = hang.script("page.php", text);
            let page = hang.run(&php, "page.php");
            let found = await_ok(function, || match where_is(page.pid(), false) {
                Ok(Some(found))
                    if found.function == function && (line.is_none() || found.line == line) =>
                {
                    Ok(found)
                }
                other => Err(format!("{other:?}")),
            });
            // "page.php(2) : eval()'d code"
            let evaluated = text.contains("eval(");
            assert!(found.file.starts_with(&*script.to_string_lossy()), "{found:?}");
            assert_eq!(Path::new(&found.file) != script, evaluated, "{found:?}");
        }
    }
}

#[test]
fn a_busy_script_gives_what_is_so_or_nothing() {
    const BUSY: &str = r#"<?php
function work(int $n): string {
    $text = str_repeat("x", $n % 50);
    return strrev(strtoupper($text)) . implode(",", array_map(fn($i) => "$i", range(1, $n % 7 + 1)));
}
while (true) {
    for ($n = 0; $n < 1000; $n++) $last = work($n);
}
"#;
    for php in phps() {
        let hang = Hang::new("");
        let script = hang.script("busy.php", BUSY);
        let busy = hang.run(&php, "busy.php");
        // Of ten looks, one finds it where it was a moment before.
        for _ in 0..5 {
            let found = await_ok("it is seen", || {
                where_is(busy.pid(), true)?.ok_or_else(|| "nothing".to_owned())
            });
            assert_eq!(Path::new(&found.file), script);
            assert!(found.line.is_none_or(|line| line <= 8), "{found:?}");
        }
    }
}

#[test]
fn phps_own_web_server_is_idle_and_then_in_the_page() {
    for php in phps() {
        let hang = Hang::new("OK\n");
        hang.script("client.php", INCLUDED);
        let page = hang.script("page.php", "<?php require 'client.php'; ask(__DIR__ . '/s');");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = Ended::spawn(
            Command::new(&php)
                .args(["-S", &free.to_string(), "-t"])
                .arg(hang.directory.path())
                .stderr(Stdio::null()),
        );
        let mut browser = await_ok("it listens", || TcpStream::connect(free));
        let idle = await_ok("it is idle", || match where_is(server.pid(), false) {
            Err(why) => Ok(why),
            other => Err(format!("{other:?}")),
        });
        assert!(idle.contains("runs no script"), "{idle}");
        browser.write_all(b"GET /page.php HTTP/1.0\r\n\r\n").unwrap();
        let found = await_function(server.pid(), "fgets", false);
        assert_eq!(Path::new(&found.file), page.with_file_name("client.php"));
    }
}

#[test]
fn a_worker_of_php_fpm_is_found_in_the_page() {
    let installed = ["8.6", "8.5", "8.4", "8.3", "8.2", "8.1"]
        .map(|v| PathBuf::from(format!("/usr/sbin/php-fpm{v}")));
    let Some(fpm) = installed.into_iter().find(|path| path.exists()) else {
        eprintln!("skipped: there is no php-fpm; Debian's package is php-fpm");
        return;
    };
    let hang = Hang::new("OK\n");
    hang.script("client.php", INCLUDED);
    let page = hang.script("page.php", "<?php require 'client.php'; ask(__DIR__ . '/s');");
    let socket = hang.directory.path().join("fpm");
    let user = rustix::process::getuid().is_root().then_some("user = root\ngroup = root\n");
    let pool = format!(
        "[global]\nerror_log = /dev/null\ndaemonize = no\n[www]\n{}listen = {}\npm = static\npm.max_children = 1\n",
        user.unwrap_or_default(),
        socket.display()
    );
    let configuration = hang.script("fpm.conf", &pool);
    let mut command = Command::new(fpm);
    command.args(["--fpm-config"]).arg(configuration).arg("-n");
    if user.is_some() {
        command.arg("--allow-to-run-as-root");
    }
    let master = Ended::spawn(&mut command);
    let mut browser = await_ok("it listens", || UnixStream::connect(&socket));
    browser.write_all(&fastcgi_request(&page)).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", master.pid());
    let worker = await_ok("it has a worker", || {
        let children = std::fs::read_to_string(&children).unwrap();
        children.split_whitespace().next().ok_or("none")?.parse().map_err(|_| "no number")
    });
    let found = await_function(worker, "fgets", false);
    assert_eq!(
        (Path::new(&found.file), found.line),
        (&*page.with_file_name("client.php"), Some(8))
    );
    // An idle one takes the socket's call to accept, and runs nothing.
    assert!(where_is(master.pid(), false).unwrap_err().contains("runs no script"));
}

/// `FCGI_BEGIN_REQUEST`, `FCGI_PARAMS` twice (the second ends them), `FCGI_STDIN` (at its end).
fn fastcgi_request(script: &Path) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    };
    let script = script.to_str().unwrap();
    let mut parameters = Vec::new();
    for (name, text) in [("SCRIPT_FILENAME", script), ("REQUEST_METHOD", "GET")] {
        let lengths = [name.len(), text.len()].map(|length| u8::try_from(length).unwrap());
        assert!(lengths.iter().all(|&length| length < 128), "a longer one takes four bytes");
        parameters.extend([&lengths[..], name.as_bytes(), text.as_bytes()].concat());
    }
    let records = [
        record(1, &[0, 1, 0, 0, 0, 0, 0, 0]),
        record(4, &parameters),
        record(4, &[]),
        record(5, &[]),
    ];
    records.concat()
}

#[test]
fn what_is_not_php_is_none() {
    assert!(where_is(std::process::id(), true).unwrap().is_none());
}

/// A registry with PHP's core in it, as of another version, in this very process.
fn layout_of(api: u32, debug: u8, name: &[u8], version: &[u8]) -> Result<Layout, String> {
    let address = |bytes: &[u8]| bytes.as_ptr() as u64;
    let mut core = vec![0; 168];
    core[0] = 168;
    core[4..8].copy_from_slice(&api.to_le_bytes());
    core[8] = debug;
    core[32..40].copy_from_slice(&address(name).to_le_bytes());
    core[88..96].copy_from_slice(&address(version).to_le_bytes());
    let bucket = address(&core).to_le_bytes();
    let mut table = vec![0; 56];
    table[16..24].copy_from_slice(&address(&bucket).to_le_bytes());
    table[24] = 1;
    Layout::find(&Memory::open(std::process::id()).unwrap(), Address(address(&table)))
}

#[test]
fn an_unknown_version_is_named() {
    assert_eq!(layout_of(20_230_831, 0, b"Core\0", b"8.3.9\0").unwrap().vars, 104);
    for (api, debug, name, why) in [
        (20_260_925, 0, &b"Core\0"[..], "PHP 8.5's layout is not known to this version"),
        (20_220_829, 1, b"Core\0", "PHP 8.5.1 built for debugging"),
        (20_220_829, 0, b"date\0", "does not tell PHP's version"),
    ] {
        let error = layout_of(api, debug, name, b"8.5.1\0").err().unwrap();
        assert!(error.contains(why), "{error}");
    }
}

/// The line in the library was named, `Connection.php:82`, and not the page that waits.
#[test]
fn a_page_that_uses_libraries_is_named_and_they_are_in_the_stack() {
    for php in phps() {
        let hang = Hang::new("OK\n");
        std::fs::create_dir(hang.directory.path().join("vendor")).unwrap();
        let library = hang.script(
            "vendor/wire.php",
            "<?php\nnamespace Acme;\nclass Wire {\n  function read($s) {\n    $read =\n      \
             fn($n) => stream_get_contents($s);\n    return array_map($read, [1]);\n  }\n}\n",
        );
        let client = hang.script(
            "client.php",
            "<?php\nnamespace Unhang;\nclass Client {\n  function call($wire, $path) {\n    \
             return $wire->read(stream_socket_client($path));\n  }\n}\n",
        );
        let page = hang.script(
            "page.php",
            "<?php\nrequire 'vendor/wire.php';\nrequire 'client.php';\nfunction ask($path) {\n  \
             return (new Unhang\\Client)->call(new Acme\\Wire, $path);\n}\nask('unix://' . __DIR__ . '/s');\n",
        );
        let running = hang.run(&php, "page.php");
        let found = await_ok("it reads", || match where_is(running.pid(), false) {
            Ok(Some(found)) if found.stack[0].function == "stream_get_contents" => Ok(found),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(found.function, "Unhang\\Client::call");
        assert_eq!((Path::new(&found.file), found.line), (&*page, Some(5)));
        assert!(!found.is_library);
        let called = found.stack.iter().map(|frame| {
            let function = frame.function.rsplit(['\\', ':']).next().unwrap();
            (Path::new(&frame.file), frame.line, function.to_owned())
        });
        let expected = [
            (&*library, Some(6), "stream_get_contents"),
            // "{closure}" before 8.4, and with its place since.
            (&*library, Some(7), ""),
            (&*client, Some(5), "read"),
            (&*page, Some(5), "call"),
            (&*page, Some(7), "ask"),
        ];
        let called: Vec<_> = called.collect();
        assert_eq!(called.len(), expected.len(), "{called:?}");
        for ((file, line, function), (in_file, on_line, name)) in called.into_iter().zip(expected) {
            assert_eq!((file, line), (in_file, on_line));
            assert!(name.is_empty() || function == name, "{function}");
        }
    }
}

#[test]
fn a_page_is_named_with_its_request_but_not_with_what_may_be_secret() {
    for php in phps() {
        let hang = Hang::new("OK\n");
        hang.script("client.php", INCLUDED);
        hang.script("page.php", "<?php require 'client.php'; ask(__DIR__ . '/s');");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(&php);
        command.args(["-S", &free.to_string(), "-t"]).arg(hang.directory.path());
        let server = Ended::spawn(command.stderr(Stdio::null()));
        let mut browser = await_ok("it listens", || TcpStream::connect(free));
        browser.write_all(b"GET /page.php?token=1234 HTTP/1.0\r\n\r\n").unwrap();
        let found = await_function(server.pid(), "fgets", false);
        assert_eq!(found.request.as_deref(), Some("GET /page.php"));
    }
}

/// A thread-safe PHP's table of threads, made up: there is none among Debian's packages.
#[test]
fn the_globals_of_each_thread_of_a_thread_safe_php_are_found() {
    let record = |tid: u64| [vec![0; 90], vec![tid]].concat();
    // A block: storage, how many kinds of globals, the thread's own record, the next.
    let block = |count, record| vec![0, count, record, 0];
    let pieces = [
        // PHP's variables: among others, a block itself, and the table.
        (0x1_0000, vec![7, 0x1000, 0x3_0000, 0x2_0000, 0]),
        (0x2_0000, vec![0, 0x3_0000, 0x4_0000, 0x5_0000, 0]),
        (0x3_0000, block(24, 0x6_0000)),
        // Of no thread that there is, and with more kinds than there can be.
        (0x4_0000, block(24, 0x7_0000)),
        (0x5_0000, block(1 << 20, 0x6_0000)),
        (0x6_0000, record(77)),
        (0x7_0000, record(78)),
    ];
    let pieces = pieces.map(|(at, content)| (at, words(&content))).to_vec();
    let memory = Memory::new(Box::new(Pieces(pieces)), Vec::new());
    let blocks = |size: u64| {
        let part = Address(0x1_0000)..Address(0x1_0000 + size);
        thread_safe::blocks(&memory, &[part], &[1, 77])
    };
    let expected = thread_safe::Block { thread: 77, globals: Address(0x3_0000) };
    assert_eq!(blocks(40).unwrap(), [expected]);
    assert!(blocks(24).unwrap_err().contains("(ZTS)"));
}
