//! Workers: each client gets its own reply, whatever a worker prints, and whatever becomes of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use super::{Served, runs, serve};
use crate::metrics::{free_address, scrape};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{PATIENCE, Place, await_some, root};

/// A worker in Python: `answer(id, request)` is given, and what it prints goes to its pipe.
fn python(flags: &[&str], answer: &str) -> Served {
    Served::with(&python_arguments(flags, answer))
}

fn python_arguments(flags: &[&str], answer: &str) -> Vec<String> {
    let code = format!(
        "import os, sys, time\n{answer}\nfor line in sys.stdin:\n    answer(*line.rstrip('\\n').split(' ', 1))\n"
    );
    let all = [flags, &["--", "python3", "-c", &code]].concat();
    all.into_iter().map(str::to_owned).collect()
}

const ECHO: &str = "def answer(id, request): print(id, request, flush=True)";

/// So many clients at once ask so often; gives what each was told, with what it had asked.
fn crowd(served: &Served, clients: usize, each: usize) -> Vec<(String, String)> {
    let socket = &served.place.socket;
    let ask = |client: usize| {
        (0..each).map(move |nth| {
            let asked = format!("client {client} request {nth}");
            let told = Peer::ask(socket, asked.as_bytes());
            (asked, String::from_utf8(told).unwrap())
        })
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || ask(client).collect::<Vec<_>>()))
            .collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn the_examples_answer_and_are_as_short_as_they_say() {
    let examples = root().join("examples/workers");
    let at = |name: &str| examples.join(name).into_os_string();
    let kinds: [(&str, &str, Vec<OsString>, usize); 5] = [
        ("php", "php-cli", vec![at("worker.php")], 6),
        ("python3", "python3", vec![at("worker.py")], 6),
        ("node", "nodejs", vec![at("worker.mjs")], 6),
        ("perl", "perl", vec![at("worker.pl")], 7),
        ("bash", "bash", vec![at("worker.sh")], 5),
    ];
    for (program, package, arguments, lines) in kinds {
        let text = fs::read_to_string(&arguments[0]).unwrap();
        assert!(text.lines().count() <= lines, "{program}");
        if !missing(program, package) {
            let all =
                [vec!["--workers".into(), "2".into(), "--".into(), program.into()], arguments];
            is_shouting(&Served::with(&all.concat()));
        }
    }
    if missing("go", "golang-go") {
        return;
    }
    let place = Place::new();
    let program = place.directory.path().join("worker");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(examples.join("go/main.go"))
        .status()
        .unwrap();
    assert!(built.success());
    let arguments = [OsString::from("--workers"), "2".into(), "--".into(), program.into()];
    is_shouting(&Served::at(place, &arguments));
}

fn is_shouting(served: &Served) {
    for (asked, told) in [
        ("hello world", "HELLO WORLD\n"),
        ("a\tb  c\n", "A\tB  C\n"),
        ("", "\n"),
        (" leading and 8 words", " LEADING AND 8 WORDS\n"),
    ] {
        let mut client = Peer::connect(&served.place.socket);
        client.write(asked.as_bytes());
        client.half_close();
        assert_eq!(String::from_utf8(client.read_to_end()).unwrap(), told, "{asked:?}");
    }
    for (asked, told) in crowd(served, 4, 20) {
        assert_eq!(told, asked.to_uppercase() + "\n");
    }
}

#[test]
fn whatever_a_worker_prints_each_client_gets_its_own_reply() {
    if missing("python3", "python3") {
        return;
    }
    let answer = "
n = 0
def answer(id, request):
    global n; n += 1; kind = n % 7
    if kind == 1: print('Warning: stray before')
    if kind == 2: print('no newline ', end='')
    if kind == 6: print('0123456789abcdef not yours')
    print(id, request, flush=True)
    if kind == 3: print('stray after', flush=True)
    if kind == 4: print(id, 'a second answer', flush=True)
    if kind == 5: time.sleep(0.003); print('stray 3 ms later', flush=True)";
    let served = python(&["--workers", "3"], answer);
    let told = crowd(&served, 6, 500);
    assert_eq!(told.len(), 3000);
    for (asked, told) in told {
        assert_eq!(told, format!("{asked}\n"));
    }
    served.daemon.await_line("printed: ");
}

#[test]
fn workers_that_die_cost_their_own_clients_and_no_other() {
    if missing("python3", "python3") {
        return;
    }
    let answer = "
n = os.getpid()
def answer(id, request):
    global n; n += 7
    if n % 100 < 3:
        open(os.environ['DEATHS'], 'a').write('x'); kind = n % 3
        if kind == 0: os._exit(9)
        if kind == 1: os.kill(os.getpid(), 9)
        print(id, request[:5], end='', flush=True); os._exit(0)
    print(id, request, flush=True)";
    let place = Place::new();
    let deaths = place.directory.path().join("deaths");
    fs::write(&deaths, "").unwrap();
    let mut command = serve(&place, &python_arguments(&["--workers", "3"], answer));
    let daemon = Daemon::start(command.env("DEATHS", &deaths), "listening");
    let served = Served { daemon, place };
    let mut refused = 0;
    for (asked, told) in crowd(&served, 4, 200) {
        match told.strip_prefix("ERR ") {
            Some(reason) if reason.contains("the request may have run") => refused += 1,
            // All of them were just dying, or being started again.
            Some(reason) => {
                assert!(reason.contains("no worker") || reason.contains("busy"), "{told}");
            }
            None => assert_eq!(told, format!("{asked}\n")),
        }
    }
    let deaths = fs::read_to_string(&deaths).unwrap().len();
    assert_eq!(refused, deaths, "as many told so as deaths, and none asked twice");
    assert!(deaths > 0);
}

#[test]
fn workers_that_do_not_flush_are_told_apart_and_named() {
    let kinds: [(&str, &str, &[&str]); 5] = [
        ("perl", "perl", &["-pe", "1"]),
        ("sed", "sed", &["s/a/b/"]),
        ("grep", "grep", &["."]),
        ("tr", "coreutils", &["a-z", "A-Z"]),
        (
            "php",
            "php-cli",
            &["-d", "output_buffering=65536", "-r", "while ($l = fgets(STDIN)) echo $l;"],
        ),
    ];
    for (program, package, arguments) in kinds {
        if missing(program, package) {
            continue;
        }
        let served = Served::with(&[&["--workers", "1", "--", program], arguments].concat());
        assert_eq!(served.text("hello"), "ERR the worker answered nothing\n", "{program}");
        let line = served.daemon.await_line("it has not flushed its reply");
        assert!(line.contains("worker 1["), "{line}");
    }
}

/// A tenth of a second is the promise; a machine that is loaded is given the whole handler deadline, of
/// which the answer must not need a tenth.
#[test]
fn a_worker_that_does_not_flush_is_found_long_before_its_deadline() {
    let served =
        Served::with(&["--workers", "1", "--handler-deadline", "300s", "--", "tr", "a", "b"]);
    let started = Instant::now();
    assert_eq!(served.text("hello"), "ERR the worker answered nothing\n");
    assert!(started.elapsed() < PATIENCE);
}

/// A worker that we cannot see into is reported at its deadline, like any other that is late: a loop of events, or one of
/// several threads, may yet answer.
#[test]
fn a_worker_with_several_threads_that_does_not_flush_is_told_at_its_deadline() {
    if missing("python3", "python3") {
        return;
    }
    let answer = "
import threading
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
def answer(id, request): pass";
    let served = python(&["--workers", "1", "--handler-deadline", "500ms"], answer);
    let told = "ERR the worker took longer than 500ms; the request may have run\n";
    assert_eq!(served.text("hello"), told);
}

/// Its output was read before its deadline was looked at, and each line of its complaints was a line of
/// the log: the processor was taken, and clients were told of nothing for seconds.
#[test]
fn a_worker_that_prints_for_ever_is_told_at_its_deadline_and_answers_beside_its_complaints() {
    let flags = ["--workers", "1", "--handler-deadline", "500ms", "--queue-deadline", "20s"];
    let served = Served::sh(&flags, "read -r id request; exec yes stray");
    let told = "ERR the worker took longer than 500ms; the request may have run\n";
    assert_eq!(served.text("hello"), told);
    let script = "yes c >&2 & while read -r id request; do echo \"$id ok\"; done";
    let served = Served::sh(&["--workers", "1", "--handler-deadline", "20s"], script);
    for _ in 0..3 {
        assert_eq!(served.text("hello"), "ok\n");
    }
}

#[test]
fn a_late_worker_is_told_and_ended_and_its_late_reply_reaches_nobody() {
    if missing("python3", "python3") {
        return;
    }
    let answer = "
import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
def answer(id, request):
    if request == 'slow': time.sleep(0.6)
    print(id, request, flush=True)";
    let served = python(&["--workers", "1", "--handler-deadline", "300ms"], answer);
    let told = served.text("slow");
    assert_eq!(told, "ERR the worker took longer than 300ms; the request may have run\n");
    for nth in 0..50 {
        let asked = format!("quick {nth}");
        assert_eq!(served.text(&asked), format!("{asked}\n"));
    }
    served.daemon.await_line("took longer than 300ms, and was ended");
    await_some("only its successor is left", || (served.children().len() == 1).then_some(()));
}

#[test]
fn workers_that_die_at_once_end_the_start_with_their_last_line() {
    let place = Place::new();
    let arguments = ["--workers", "2", "--", "sh", "-c", "echo 'no such database' >&2; exit 7"];
    let output = serve(&place, &arguments).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let expected = "it ended with exit code 7 before it was asked anything: no such database";
    assert!(told.contains(expected), "{told}");
    assert!(!place.socket.exists());
}

#[test]
fn when_all_workers_have_died_clients_are_told_at_once() {
    let place = Place::new();
    let flag = place.directory.path().join("broken");
    let script = "[ -e $FLAG ] && { echo gone >&2; exit 1; }; read id request; exit 1";
    let script = script.replace("$FLAG", &flag.display().to_string());
    let served = Served::at(
        place,
        &["--workers", "2", "--queue-deadline", "200s", "--", "sh", "-c", &script],
    );
    fs::write(&flag, "").unwrap();
    await_some("all are dead", || {
        served.text("x").contains("no worker runs: all have ended").then_some(())
    });
    served.daemon.await_line("before it was asked anything: gone");
    // And alive again, as soon as they can be.
    fs::remove_file(&flag).unwrap();
    await_some("one is asked again", || {
        served.text("x").contains("the worker ended with exit code 1").then_some(())
    });
}

#[test]
fn requests_of_every_shape_come_back_as_they_are() {
    if missing("python3", "python3") {
        return;
    }
    let answer = "
sys.stdin.reconfigure(encoding='latin-1', newline='\\n')
sys.stdout.reconfigure(encoding='latin-1', newline='')
def answer(id, request): print(id, request, flush=True)";
    let served = python(&["--workers", "1"], answer);
    let ask = |request: &[u8]| {
        let mut client = Peer::connect(&served.place.socket);
        client.write(request);
        client.half_close();
        client.read_to_end()
    };
    assert_eq!(ask(b"a\r"), b"a\r\n");
    assert_eq!(ask(b"\xff\xfe"), b"\xff\xfe\n");
    for length in [70_000, (1 << 20) - 1] {
        let request = vec![b'x'; length];
        assert!(ask(&request) == [&request[..], b"\n"].concat(), "{length}");
    }
    let refusal = "and the workers take lines: --frames bytes\n";
    assert_eq!(ask(b"a\nb\n"), format!("ERR the request holds a newline, {refusal}").as_bytes());
    assert_eq!(ask(b"a\0b"), format!("ERR the request holds a NUL byte, {refusal}").as_bytes());
    assert_eq!(ask(b"still there"), b"still there\n");
}

#[test]
fn counted_bytes_may_be_any() {
    if missing("python3", "python3") {
        return;
    }
    let code = "import sys\nr, w = sys.stdin.buffer, sys.stdout.buffer\nwhile line := r.readline():\n    \
                id, length = line.split(); body = r.read(int(length))\n    \
                w.write(b'%s %d\\n%s' % (id, len(body), body)); w.flush()";
    let served =
        Served::with(&["--workers", "1", "--frames", "bytes", "--", "python3", "-c", code]);
    let all: Vec<u8> = (0..=255).collect();
    let long = all.repeat(4096);
    for request in [&b"a\nb\n"[..], b"\0", b"0123456789abcdef 5\nabcde", &all, &long] {
        let mut client = Peer::connect(&served.place.socket);
        client.write(request);
        client.half_close();
        assert!(client.read_to_end() == request, "{} bytes", request.len());
    }
    let mut client = Peer::connect(&served.place.socket);
    client.half_close();
    assert_eq!(client.read_to_end(), b"\n", "an empty reply could not be told from a death");
}

#[test]
fn a_crowd_is_served_in_its_order_and_the_tail_is_told_in_time() {
    if missing("python3", "python3") {
        return;
    }
    let (place, address) = (Place::new(), free_address());
    let gate = place.directory.path().join("gate");
    let answer = format!(
        "nth = 0\ndef answer(id, request):\n    global nth\n    while not os.path.exists({:?}): time.sleep(0.005)\n    print(id, request, nth, flush=True)\n    nth += 1",
        gate.display().to_string()
    );
    let flags = ["--workers", "1", "--queue-deadline", "50s", "--handler-deadline", "55s"];
    let flags = [&flags[..], &["--metrics", &address]].concat();
    let served = Served::at(place, &python_arguments(&flags, &answer));
    await_some("the worker waits for its first request", || {
        (scrape(&address)["unhang_workers{state=\"idle\"}"] > 0.0).then_some(())
    });
    let clients: Vec<_> = (0..20)
        .map(|nth| {
            let mut client = Peer::connect(&served.place.socket);
            client.write(format!("{nth}").as_bytes());
            // The next one asks when this one is known to wait.
            await_some("the worker has the first, and the others wait", || {
                let samples = scrape(&address);
                let (busy, waiting) =
                    (samples["unhang_workers{state=\"busy\"}"], samples["unhang_place_queue"]);
                (busy > 0.0 && waiting >= f64::from(nth)).then_some(())
            });
            client
        })
        .collect();
    fs::write(gate, "").unwrap();
    for (nth, mut client) in clients.into_iter().enumerate() {
        let told = String::from_utf8(client.read_to_end()).unwrap();
        // The worker counts what it is asked.
        assert_eq!(told, format!("{nth} {nth}\n"));
    }
}

/// Both workers are at work until the last of those that wait was told: however busy the machine is, two are
/// served.
#[test]
fn two_hundred_clients_are_told_at_the_queue_deadline_that_two_workers_are_at_work() {
    const CLIENTS: usize = 200;
    if missing("python3", "python3") {
        return;
    }
    let (place, address) = (Place::new(), free_address());
    let gate = place.directory.path().join("gate");
    let answer = format!(
        "def answer(id, request):\n    while not os.path.exists({:?}): time.sleep(0.005)\n    print(id, request, flush=True)",
        gate.display().to_string()
    );
    let flags = ["--workers", "2", "--queue-deadline", "300ms", "--handler-deadline", "300s"];
    let flags = [&flags[..], &["--metrics", &address]].concat();
    let served = Served::at(place, &python_arguments(&flags, &answer));
    await_some("both wait for their first request", || {
        (scrape(&address)["unhang_workers{state=\"idle\"}"] > 1.0).then_some(())
    });
    let (start, socket, busy) = (Barrier::new(CLIENTS), &served.place.socket, AtomicUsize::new(0));
    let told: Vec<_> = thread::scope(|scope| {
        let ask = || {
            start.wait();
            let told = String::from_utf8(Peer::ask(socket, b"x")).unwrap();
            if told.starts_with("ERR busy: ") && busy.fetch_add(1, Ordering::SeqCst) == CLIENTS - 3
            {
                fs::write(&gate, "").unwrap();
            }
            told
        };
        let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let busy = "ERR busy: none of 2 workers was free within 300ms\n";
    let served = told.iter().filter(|told| *told == "x\n").count();
    let refused = told.iter().filter(|told| *told == busy).count();
    assert_eq!((served, refused), (2, CLIENTS - 2), "{told:?}");
}

/// It was asked a second after its start at the latest, was late, and was ended as it became ready: on a
/// busy machine, or with a large framework, no worker ever answered.
#[test]
fn a_worker_that_starts_for_longer_than_a_request_may_take_is_asked_when_it_is_ready() {
    if missing("python3", "python3") {
        return;
    }
    let flags = ["--workers", "1", "--handler-deadline", "1s", "--queue-deadline", "60s"];
    let starts = [
        "time.sleep(2.5)",
        "until = time.monotonic() + 2.5\nwhile time.monotonic() < until: pass",
        "import subprocess; subprocess.run(['sleep', '2.5'], stdin=subprocess.DEVNULL)",
    ];
    thread::scope(|scope| {
        for start in starts {
            scope.spawn(move || {
                let answer = "def answer(id, request):
    if request == 'die': os.kill(os.getpid(), 9)
    print(id, request, flush=True)";
                let served = python(&flags, &format!("{start}\n{answer}"));
                assert_eq!(served.text("first"), "first\n", "{start}");
                assert!(served.text("die").starts_with("ERR the worker was killed"), "{start}");
                assert_eq!(served.text("after"), "after\n", "{start}");
            });
        }
    });
}

/// A script in front of the worker, that waits for it: the script itself never reads.
#[test]
fn a_worker_behind_a_script_is_seen_to_be_ready() {
    let script = "sh -c 'while read -r id request; do echo \"$id $request\"; done'; true";
    let flags = ["--workers", "1", "--queue-deadline", "10s"];
    assert_eq!(Served::sh(&flags, script).text("hello"), "hello\n");
}

/// None is left without a word: each has its own reply, or is told when the queue's deadline has passed.
#[test]
fn a_thousand_clients_and_two_workers_each_end_with_a_reply_or_a_reason() {
    const CLIENTS: usize = 1000;
    if missing("python3", "python3") {
        return;
    }
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < 4 * CLIENTS as u64) {
        limit.current = Some(4 * CLIENTS as u64);
        // Without room for them the test fails when it connects.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let flags = ["--workers", "2", "--queue-deadline", "2s", "--handler-deadline", "20s"];
    let answer = "def answer(id, request): time.sleep(0.1); print(id, request, flush=True)";
    let served = python(&flags, answer);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|nth| {
            let mut client = Peer::connect(&served.place.socket);
            client.write(format!("client {nth}").as_bytes());
            client.half_close();
            client
        })
        .collect();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for (nth, mut client) in clients.into_iter().enumerate() {
        let reply = String::from_utf8(client.read_to_end()).unwrap();
        let kind = if reply == format!("client {nth}\n") { "its own".to_owned() } else { reply };
        *told.entry(kind).or_default() += 1;
    }
    let busy = "ERR busy: none of 2 workers was free within 2s\n";
    let known = told.get("its own").copied().unwrap_or(0) + told.get(busy).copied().unwrap_or(0);
    assert_eq!(known, CLIENTS, "{told:?}");
    assert!(told.len() == 2, "some of both: {told:?}");
}

#[test]
fn workers_are_replaced_between_requests_and_none_is_lost() {
    if missing("python3", "python3") {
        return;
    }
    let served = python(&["--workers", "1", "--max-requests", "5"], ECHO);
    let first = served.children();
    for (asked, told) in crowd(&served, 2, 20) {
        assert_eq!(told, format!("{asked}\n"));
    }
    served.daemon.await_line("has answered --max-requests, and was replaced");
    await_some("the first one is gone", || {
        let now = served.children();
        (now.len() == 1 && now != first).then_some(())
    });

    let answer = "
held = []
def answer(id, request):
    held.append(bytearray(40 << 20)); print(id, request, len(held), flush=True)";
    let served = python(&["--workers", "1", "--max-memory", "100MiB"], answer);
    // The one that reaches the limit is answered, and so is each after it.
    for nth in 0..12 {
        let told = served.text(&format!("{nth}"));
        assert!(told.starts_with(&format!("{nth} ")), "{told}");
    }
    let line = served.daemon.await_line("more than --max-memory");
    assert!(line.contains("held "), "{line}");
}

#[test]
fn a_replaced_server_loses_nobody_and_its_workers_end() {
    if missing("python3", "python3") {
        return;
    }
    let served = python(&["--workers", "2"], ECHO);
    let old = served.children();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let second = thread::scope(|scope| {
        let loads: Vec<_> = (0..3)
            .map(|client| {
                let (socket, stop) = (&served.place.socket, &stop);
                scope.spawn(move || {
                    let mut asked = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let request = format!("client {client} request {asked}");
                        let told = Peer::ask(socket, request.as_bytes());
                        assert_eq!(told, [request.as_bytes(), b"\n"].concat());
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        let arguments = python_arguments(&["--replace", "--workers", "2"], ECHO);
        let second = Daemon::start(&mut serve(&served.place, &arguments), "listening");
        served.daemon.await_line("stopped;");
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
        second
    });
    for pid in old {
        await_some("its workers are gone", || (!runs(pid)).then_some(()));
    }
    drop(second);
}

#[test]
fn a_killed_server_leaves_no_client_hanging_and_no_idle_worker() {
    if missing("python3", "python3") {
        return;
    }
    let served = python(&["--workers", "3"], "def answer(id, request): time.sleep(0.5)");
    let workers = served.children();
    assert_eq!(workers.len(), 3);
    let mut client = Peer::connect(&served.place.socket);
    client.write(b"x\n");
    client.half_close();
    served.daemon.signal(Signal::KILL);
    // However it ends, it ends.
    let _ = client.try_read_to_end();
    for pid in workers {
        await_some("a worker ends with its input", || (!runs(pid)).then_some(()));
    }
}

#[test]
fn what_a_worker_complains_of_is_in_the_log() {
    let script = "while read -r id request; do echo \"about $request\" >&2; echo \"$id ok\"; done";
    let served = Served::sh(&["--workers", "1"], script);
    assert_eq!(served.text("that"), "ok\n");
    let line = served.daemon.await_line("printed: about that");
    assert!(line.contains("worker 1["), "{line}");
    let environment = Path::new("/proc").join(served.children()[0].to_string()).join("environ");
    let environment = fs::read_to_string(environment).unwrap();
    assert!(environment.contains("UNIXLOCALPATH="), "{environment}");
}
