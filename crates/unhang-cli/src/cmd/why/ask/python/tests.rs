//! Programs that hang, looked at from outside, in each Python that can be had:
//! `UNHANG_PYTHON_VERSIONS=PATH:PATH` names further interpreters to test with, and pyenv's are found.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::memory::Mapping;
use super::super::scripts;
use super::super::test_support::{Ended, Pieces, await_ok, required, words};
use super::*;

/// Waits for ever in each of its threads but one.
const PROGRAM: &str = r"import queue
import socket
import sys
import threading
import time


def ask(sock):
    return sock.recv(
        100)


class Client:
    def call(self):
        one, self.other = socket.socketpair()
        return [ask(one) for _ in range(3)]


def take(jobs):
    jobs.get()


def lines():
    yield 1
    time.sleep(1000)


def read_lines():
    for line in lines():
        pass


def busy():
    while True:
        sum(range(10))


for target, arguments in ((take, (queue.Queue(),)), (read_lines, ()), (busy, ())):
    threading.Thread(target=target, args=arguments, daemon=True).start()
Client().call()
";

/// The machine's own, pyenv's, and those that the environment names.
fn pythons() -> Vec<PathBuf> {
    let further = std::env::var_os("UNHANG_PYTHON_VERSIONS").unwrap_or_default();
    let mut own = ["/usr/bin/python3".into()].into_iter().filter(|path: &PathBuf| path.exists());
    let own = own.next().or_else(|| required("python3", "python3")).into_iter();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let installed = std::fs::read_dir(Path::new(&home).join(".pyenv/versions"));
    let installed = installed.into_iter().flatten().filter_map(|entry| {
        let directory = entry.ok()?.path();
        let minor: u32 = directory.file_name()?.to_str()?.split('.').nth(1)?.parse().ok()?;
        // 3.6 and 3.7 have ended years ago.
        (8..).contains(&minor).then(|| directory.join("bin/python3"))
    });
    let further = std::env::split_paths(&further).filter(|path| !path.as_os_str().is_empty());
    own.chain(installed.filter(|path| path.exists())).chain(further).collect()
}

fn run(python: &Path, program: &str) -> (TempDir, PathBuf, Ended) {
    let directory = TempDir::new().unwrap();
    // Characters of one, two and four bytes, and one that would turn the terminal's text around.
    let path = directory.path().join("hang é€😀\u{202e}.py");
    std::fs::write(&path, program).unwrap();
    let mut command = Command::new(python);
    (directory, path.clone(), Ended::spawn(command.arg(path).stdin(Stdio::null())))
}

#[test]
fn each_thread_is_found_at_its_line_in_every_version() {
    for python in pythons() {
        let (_directory, path, running) = run(&python, PROGRAM);
        let found = await_ok("all four wait or work", || {
            let found = scripts::locations(running.pid(), false)?;
            let names: Vec<_> = found.iter().map(|place| &*place.function).collect();
            let all = ["ask", "take", "lines", "busy"].iter().all(|name| names.contains(name));
            all.then_some(found.clone()).ok_or_else(|| format!("{names:?} in {}", python.display()))
        });
        let file = path.to_str().unwrap().replace('\u{202e}', "\\u{202e}");
        for (function, lines) in
            [("ask", 9..=10), ("take", 20..=20), ("lines", 25..=25), ("busy", 34..=35)]
        {
            let place = found.iter().find(|place| place.function == function).unwrap();
            assert_eq!((&*place.language, &*place.file), ("Python", &*file));
            let line = place.line.unwrap();
            assert!(
                lines.contains(&line) && !place.is_library,
                "{place:?} in {}",
                python.display()
            );
        }
        let place = |name: &str| found.iter().find(|place| place.function == name).unwrap();
        // The main thread has the process's number.
        assert_eq!(place("ask").thread, Some(running.pid()));
        let distinct: std::collections::HashSet<_> = found.iter().map(|one| one.thread).collect();
        assert_eq!(distinct.len(), found.len());
        let asked = &place("ask").stack;
        let callers: Vec<_> = asked.iter().filter(|one| one.function.ends_with("call")).collect();
        assert_eq!((callers.len(), callers[0].line), (1, Some(16)), "{asked:?}");
        assert_eq!(asked.last().unwrap().function, "<module>");
        // Python's own modules are left out of the headline, not out of the stack.
        assert!(place("take").stack[0].file.ends_with("threading.py"), "{:?}", place("take").stack);
    }
}

#[test]
fn a_busy_program_gives_what_is_so_or_nothing() {
    const BUSY: &str = "def work(n):\n    return sum(map(int, str(n)))\n\n\n\
        while True:\n    for n in range(1000):\n        work(n)\n";
    for python in pythons() {
        let (_directory, _, running) = run(&python, BUSY);
        let mut looks = 0;
        // A thread that never stands still is seldom seen whole.
        await_ok("it was seen", || {
            let found = scripts::locations(running.pid(), false)?;
            for place in found.iter().filter(|place| !place.is_library) {
                assert!(["work", "<module>"].contains(&&*place.function), "{place:?}");
                assert!(place.line.is_none_or(|line| line <= 7), "{place:?}");
            }
            looks += 1;
            (looks >= 10).then_some(()).ok_or_else(|| format!("{looks} times"))
        });
    }
}

#[test]
fn a_library_is_told_from_the_users_own_code() {
    for path in [
        "/usr/lib/python3.11/threading.py",
        "/usr/lib/python3/dist-packages/gi/__init__.py",
        "/srv/venv/lib/python3.12/site-packages/gunicorn/sock.py",
        "/srv/venv/bin/gunicorn",
        "<frozen runpy>",
    ] {
        assert!(is_library(path), "{path}");
    }
    for path in
        ["/srv/app/app.py", "app.py", "<stdin>", "/home/python3.11/app.py", "/srv/bin/x/a.py"]
    {
        assert!(!is_library(path), "{path}");
    }
}

/// A `_Py_DebugOffsets` as 3.14's header has it, with some of the offsets of a build of it.
fn offsets(version: u64, free_threaded: u64) -> Vec<u64> {
    let mut told = vec![0; 96];
    told[0] = u64::from_le_bytes(*b"xdebugpy");
    (told[1], told[2]) = (version, free_threaded);
    // Interpreters in the runtime; the next, and its first thread.
    (told[5], told[8], told[9]) = (800, 8, 16);
    // Of a thread: the next, its frame, its number. Of a frame: caller, code, instruction, owner.
    (told[24], told[26], told[28]) = (8, 72, 168);
    (told[32], told[33], told[34], told[36]) = (8, 0, 56, 74);
    // Of the code: file, name, lines, first line, its instructions.
    (told[40], told[42], told[43], told[44], told[48]) = (112, 128, 136, 68, 208);
    (told[75], told[76]) = (16, 32);
    (told[78], told[79], told[80]) = (32, 16, 40);
    told
}

/// As in 3.14, of which not every machine has one. Its texts have two forms: the first 3.14 and 3.14.10 differ, and of the
/// latter no line was told.
#[test]
fn a_version_that_tells_its_own_layout_is_read_by_that() {
    let mut runtime = words(&offsets(0x030e_01f0, 0));
    runtime.resize(800, 0);
    runtime.extend(words(&[0x1_0000]));
    // Compact ASCII of one byte a character: above the two bits of `interned`, with what lies unused in the same word, or
    // above its sixteen.
    let (of_two, of_sixteen) = (0xfcba_0000 | (1 | 8 | 16) << 2 | 2, (1 | 8 | 16) << 16 | 2);
    let text = |text: &str, state: u64| {
        let mut object = words(&[1, 0, text.len() as u64, 0, state]);
        object.extend(text.bytes());
        object
    };
    let mut thread = vec![0; 200];
    thread[72..80].copy_from_slice(&0x3_0000_u64.to_le_bytes());
    thread[168..176].copy_from_slice(&77_u64.to_le_bytes());
    let frame = |code: u64, caller: u64, instruction: u64, owner: u8| {
        let mut frame = vec![0; 80];
        frame[..8].copy_from_slice(&code.to_le_bytes());
        frame[8..16].copy_from_slice(&caller.to_le_bytes());
        frame[56..64].copy_from_slice(&instruction.to_le_bytes());
        frame[74] = owner;
        frame
    };
    let mut code = vec![0; 240];
    code[112..120].copy_from_slice(&0x6_0000_u64.to_le_bytes());
    code[128..136].copy_from_slice(&0x7_0000_u64.to_le_bytes());
    code[136..144].copy_from_slice(&0x8_0000_u64.to_le_bytes());
    code[68..72].copy_from_slice(&40_u32.to_le_bytes());
    // Two instructions of the first line, then one of the line after.
    let mut table = words(&[1, 0, 5, 0]);
    table.extend([0x80 | 1, 0, 0x80 | 11 << 3, 0, 0]);
    let pieces = Pieces(vec![
        (0x9000, runtime),
        (0x1_0000, words(&[0, 0, 0x2_0000])),
        (0x2_0000, thread),
        // The interpreter's own frame comes first, without any code.
        (0x3_0000, frame(1, 0x4_0000, 0, 3)),
        // The lowest bit of the reference to the code is a mark.
        (0x4_0000, frame(0x5_0001, 0, 0x5_0000 + 208 + 4, 0)),
        (0x5_0000, code),
        (0x6_0000, text("/srv/app.py", of_two)),
        (0x7_0000, text("App.handle", of_sixteen)),
        (0x8_0000, table),
    ]);
    let memory = Memory::new(Box::new(pieces), Vec::<Mapping>::new());
    let layout = Layout::find(&memory, Address(0x9000), None).unwrap();
    let python = Python { memory: &memory, layout, codes: HashMap::new() };
    let found = python.threads(Address(0x9000), &[77, 78]).unwrap();
    let [place] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*place.file, place.line), ("/srv/app.py", Some(41)));
    assert_eq!((&*place.function, place.thread), ("App.handle", Some(77)));
    assert_eq!(place.stack.len(), 1);
}

#[test]
fn what_is_not_known_is_said() {
    let find = |told: &[u64], version| {
        let pieces = Pieces(vec![(0x9000, words(told))]);
        let memory = Memory::new(Box::new(pieces), Vec::new());
        Layout::find(&memory, Address(0x9000), version)
    };
    for (version, free_threaded, why) in [
        (0x030f_00f0, 0, "Python 3.15's layout is not known to this version"),
        (0x030e_00f0, 1, "the layout of a free-threaded Python 3.14"),
        (0x030d_00f0, 0, "Python 3.13 does not tell its layout in a known way"),
    ] {
        let error = find(&offsets(version, free_threaded), None).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let mut garbled = offsets(0x030e_00f0, 0);
    garbled[26] = u64::MAX;
    assert!(find(&garbled, None).unwrap_err().contains("which none can be"));
    let plain = vec![0; 96];
    assert!(find(&plain, None).unwrap_err().contains("does not tell Python's version"));
    assert!(find(&plain, Some(0x0307_0000)).unwrap_err().contains("Python 3.7's layout"));
    assert!(find(&plain, Some(0x030b_07f0)).is_ok());
}
