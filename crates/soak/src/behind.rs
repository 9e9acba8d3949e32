//! Programs, workers and a server behind `unhang serve`, that die, hang, leak and print rubbish when they
//! are asked to: each client has its own reply, or is told.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::exchange::{End, Exchange};
use crate::service::{DRAIN, HANDLER, QUEUE, READ};
use crate::tally::{Tally, Trouble};
use crate::target::open_in;

const PROGRAM: &str = "read verb number
case $verb in
    echo) echo reply to echo $number;;
    rubbish) echo rubbish >&2; sleep 2 & echo reply to rubbish $number;;
    leak) setsid sleep 2 & echo reply to leak $number;;
    fail) echo half a re; exit 3;;
    die) echo half a re; kill -9 $$;;
    hang) exec sleep 600;;
    cut) yes 0123456 | head -c 200000; kill -9 $$;;
esac";

/// It leaks memory, a descriptor and a process, that holds its output when it has ended.
const WORKER: &str = r#"import os, sys, time
kept = []
for line in sys.stdin:
    id, verb, number = line.split()
    if verb == "fail": print(id[:5], "half", end="", flush=True); sys.exit(3)
    if verb == "die": os.kill(os.getpid(), 9)
    if verb == "hang": time.sleep(600)
    if verb == "leak":
        kept.append((b"x" * (4 << 20), open("/dev/null")))
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "2")
    if verb == "rubbish": print("stray", number); print("reply to echo", number, end="")
    print(id, "reply to", verb, number, flush=True)
    if verb == "rubbish": print(id, "a second reply")
"#;

/// So much of it: it is replaced after some ten leaks.
const MOST_MEMORY: &str = "64MiB";

/// It closes after some replies, waits for the client's end after others, leaves some to a child that holds
/// them for a while, and forgets the rest.
const SERVER: &str = r#"import os, signal, socket, sys, threading, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
kept = []
def serve(connection):
    request = connection.recv(65536)
    if not request: return connection.close()
    verb, number = request.split()
    if verb == b"fail": return connection.close()
    if verb == b"hang": time.sleep(30); return connection.close()
    connection.sendall(b"reply to ")
    if verb == b"rubbish": time.sleep(0.03)
    connection.sendall(verb + b" " + number + b"\n")
    if verb == b"rubbish": return kept.append(connection)
    if verb == b"leak" and os.posix_spawnp("sleep", ["sleep", "2"], os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, connection.fileno(), 0)]): return connection.close()
    if int(number) % 2: connection.recv(1)
    connection.close()
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1]); listener.listen(512)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"#;

/// In so long a server without clients comes to rest, or to a part of it.
const SETTLED: Duration = Duration::from_millis(200);

/// How much is asked.
pub(crate) struct Load<'a> {
    /// Clients of each.
    pub(crate) clients: usize,
    /// For how long, or how many exchanges of each: those have few faults, so that there can be many.
    pub(crate) span: Span,
    pub(crate) done: &'a AtomicBool,
}

#[derive(Clone, Copy)]
pub(crate) enum Span {
    Until(Instant),
    Exchanges(u64),
}

/// What answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Workers,
    Front,
}

struct Served {
    kind: Kind,
    path: PathBuf,
    server: Child,
    behind: Option<Child>,
    /// Descriptors of the server at rest.
    at_rest: usize,
}

/// Asks all three until it is done.
pub(crate) fn run(
    directory: &Path,
    unhang: &Path,
    tally: &Tally,
    rng: &mut Rng,
    load: &Load<'_>,
) -> io::Result<()> {
    let mut all = Vec::new();
    for kind in [Kind::Program, Kind::Workers, Kind::Front] {
        all.push(Served::start(kind, directory, unhang, load.span)?);
    }
    let lefts = [(); 3].map(|()| AtomicU64::new(load.span.exchanges()));
    std::thread::scope(|scope| {
        for (served, left) in all.iter().zip(&lefts) {
            for _ in 0..load.clients {
                let mut rng = rng.fork();
                scope.spawn(move || {
                    while load.goes_on() && one_less(left) {
                        ask(served.kind, &served.path, load.span, tally, &mut rng);
                    }
                });
            }
        }
    });
    for served in all {
        served.stop(tally);
    }
    Ok(())
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        let in_time = match self.span {
            Span::Until(until) => Instant::now() < until,
            Span::Exchanges(_) => true,
        };
        in_time && !self.done.load(Relaxed)
    }
}

impl Span {
    fn exchanges(self) -> u64 {
        match self {
            Self::Until(_) => u64::MAX,
            Self::Exchanges(each) => each,
        }
    }
}

fn one_less(left: &AtomicU64) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// The program of a request, which starts faster than a shell: a million of them are asked.
pub(crate) fn answer() -> io::Result<bool> {
    let mut request = String::new();
    io::stdin().read_to_string(&mut request)?;
    let (verb, number) = request.trim_end().split_once(' ').unwrap_or_default();
    let mut reply = io::stdout().lock();
    match verb {
        "echo" => writeln!(reply, "reply to echo {number}")?,
        "rubbish" => {
            writeln!(io::stderr(), "rubbish")?;
            writeln!(reply, "reply to rubbish {number}")?;
        }
        "leak" => {
            // It holds the output for longer than this program runs.
            Command::new("sleep").arg("2").spawn()?;
            writeln!(reply, "reply to leak {number}")?;
        }
        "hang" => sleep(Duration::from_secs(600)),
        "cut" => reply.write_all(&b"0123456\n".repeat(25_000))?,
        _ => reply.write_all(b"half a re")?,
    }
    reply.flush()?;
    if matches!(verb, "die" | "cut") {
        kill_process(rustix::process::getpid(), Signal::KILL)?;
    }
    Ok(verb != "fail")
}

impl Served {
    fn start(kind: Kind, directory: &Path, unhang: &Path, span: Span) -> io::Result<Self> {
        let (path, real) = (directory.join(kind.name()), directory.join("real"));
        let mut command = Command::new(unhang);
        command.arg("serve").arg(&path).arg("--quiet");
        for (flag, value) in [
            ("--read-deadline", READ),
            ("--handler-deadline", HANDLER),
            ("--drain-deadline", DRAIN),
            ("--queue-deadline", QUEUE),
        ] {
            command.arg(flag).arg(format!("{}s", value.as_secs()));
        }
        let mut behind = None;
        match kind {
            Kind::Program => match span {
                Span::Until(_) => command.args(["--", "sh", "-c", PROGRAM]),
                Span::Exchanges(_) => command.arg("--").arg(std::env::current_exe()?).arg("answer"),
            },
            Kind::Workers => {
                command.args(["--workers", "4", "--max-memory", MOST_MEMORY]);
                command.args(["--", "python3", "-c", WORKER])
            }
            Kind::Front => {
                let mut server = Command::new("python3");
                behind = Some(server.args(["-c", SERVER]).arg(&real).process_group(0).spawn()?);
                command.arg("--to").arg(&real)
            }
        };
        // A Ctrl-C that ends the soak early must not end what its clients still wait for.
        let command = command.process_group(0);
        // The soak provokes the complaints of programs: nobody has to read them.
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut served = Self { kind, path, server: server.spawn()?, behind, at_rest: 0 };
        let listens =
            await_listener(&served.path) && (kind != Kind::Front || await_listener(&real));
        if !listens {
            served.end();
            return Err(io::Error::other(format!("{}: it does not listen", kind.name())));
        }
        // What it opens with its first client, and where a server first closes, stays open.
        if let Ok(mut it) = Exchange::connect(&served.path) {
            it.write(b"echo 2");
            it.half_close();
            it.read_to_end();
        }
        sleep(SETTLED);
        served.at_rest = open_in(served.server.id()).len();
        Ok(served)
    }

    /// Whatever its clients and what is behind have leaked, it must have no more open than at rest.
    fn settle(&self, tally: &Tally) {
        let begun = Instant::now();
        loop {
            let open = open_in(self.server.id());
            let more = open.len().saturating_sub(self.at_rest);
            if more == 0 {
                return;
            }
            if begun.elapsed() > 2 * DRAIN {
                let (name, open) = (self.kind.name(), open.join(", "));
                let what = format!("{name}: {more} descriptors: {open}");
                return tally.trouble(Trouble::Leaked, more as u64, &what);
            }
            sleep(SETTLED);
        }
    }

    fn stop(mut self, tally: &Tally) {
        self.settle(tally);
        // Fails only if it has ended, which is seen next.
        let _ = kill_process(Pid::from_child(&self.server), Signal::TERM);
        let begun = Instant::now();
        let status = loop {
            match self.server.try_wait() {
                Ok(None) if begun.elapsed() < 2 * DRAIN => sleep(Duration::from_millis(10)),
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        if !status.is_some_and(|status| status.success()) {
            let what = format!("{}: it ended badly, or not: {status:?}", self.kind.name());
            tally.trouble(Trouble::Server, 1, &what);
        }
        self.end();
    }

    fn end(&mut self) {
        for child in [Some(&mut self.server), self.behind.as_mut()].into_iter().flatten() {
            // Both fail only if it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Workers => "workers",
            Self::Front => "front",
        }
    }

    fn verb(self, span: Span, rng: &mut Rng) -> &'static str {
        if matches!(span, Span::Exchanges(_)) && rng.u32(0..100) > 0 {
            return "echo";
        }
        match rng.u32(0..40) {
            0 => "hang",
            1..4 => "fail",
            4..6 if self != Self::Front => "die",
            6..8 if self == Self::Program => "cut",
            8..16 => "rubbish",
            16..18 => "leak",
            _ => "echo",
        }
    }
}

fn await_listener(path: &Path) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        if Exchange::connect(path).is_ok() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    false
}

fn ask(kind: Kind, path: &Path, span: Span, tally: &Tally, rng: &mut Rng) {
    let (verb, number) = (kind.verb(span, rng), rng.u64(..));
    let name = kind.name();
    let mut it = match Exchange::connect(path) {
        Ok(it) => it,
        Err(error) => {
            let what = format!("{name}: cannot connect: {error}");
            sleep(Duration::from_millis(10));
            return tally.trouble(Trouble::Lost, 1, &what);
        }
    };
    it.write(format!("{verb} {number}").as_bytes());
    // The programs read a line, or to the end.
    it.half_close();
    let end = it.read_to_end();
    {
        let mut figures = tally.figures();
        figures.exchanges += 1;
        *figures.behaviours.entry(behaviour(&it.got, name)).or_default() += 1;
    }
    if let Some(trouble) = judge(verb, number, &it.got, &end) {
        let got = it.got[..it.got.len().min(90)].escape_ascii();
        let (length, took) = (it.got.len(), it.took());
        let what = format!("{name}, {verb}: got {length}: \"{got}\", then {end} after {took:?}");
        tally.trouble(trouble, 1, &what);
    }
}

fn behaviour(got: &[u8], name: &'static str) -> &'static str {
    match name {
        _ if got.starts_with(b"ERR busy: ") => "told that all is at work",
        "program" => "a program per request",
        "workers" => "a worker",
        _ => "a server behind a front",
    }
}

fn judge(verb: &str, number: u64, got: &[u8], end: &End) -> Option<Trouble> {
    let own = format!("reply to {verb} {number}\n");
    let is_told = got.starts_with(b"ERR ") && got.ends_with(b"\n");
    match (verb, end) {
        (_, End::Hung) => Some(Trouble::Hung),
        // It may have hung before it was asked: then all are at work for a while.
        (_, End::Closed) if is_told && got.starts_with(b"ERR busy: ") => None,
        ("echo" | "rubbish" | "leak", End::Closed) if got == own.as_bytes() => None,
        ("echo" | "rubbish" | "leak", _) if own.as_bytes().starts_with(got) || is_told => {
            Some(Trouble::Lost)
        }
        ("echo" | "rubbish" | "leak", _) => Some(Trouble::Garbled),
        ("cut", End::Lost(_)) => {
            let is_its_own = got.chunks(8).all(|line| b"0123456\n".starts_with(line));
            (!is_its_own).then_some(Trouble::Garbled)
        }
        ("cut", _) => Some(Trouble::Cut),
        (_, End::Closed) if is_told => None,
        (_, _) if got.is_empty() => Some(Trouble::Lost),
        _ => Some(Trouble::Garbled),
    }
}
