//! Clients that must work unmodified: each sends and reads as people write it in its language.

mod examples;
pub(crate) mod go;
mod kept;
mod node;
mod perl;
mod php;
mod python;
mod shell;
mod two_machines;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::daemon::Daemon;
use crate::support::programs::{find, missing, skip};
use crate::support::{Place, await_some};

/// What [`every_way`] gives for a client that has nothing to complain about.
const SILENCE: [&str; 9] = [""; 9];

/// Lets a client, made for a socket and for whether it half-closes, send in every way that can
/// work. It must get the reply and end by itself in all of them; what it said about that is given.
fn every_way(client: impl Fn(&Path, bool) -> Command) -> Vec<String> {
    let mut said = Vec::new();
    for until in ["dry", "newline", "half-close"] {
        let service = Service::start(&["--until", until]);
        for message in ["hello", "hello\n"] {
            for half_close in [false, true] {
                // Otherwise the message has no end, and waiting for it is what was asked for.
                if until == "dry" || half_close || until == "newline" && message.ends_with('\n') {
                    eprintln!("until {until}, {message:?}, half-close: {half_close}");
                    let client = &mut client(&service.place.socket, half_close);
                    said.push(service.answers(client, message.as_bytes()));
                }
            }
        }
    }
    said
}

/// Lets a client send a mebibyte in one go, with a newline as its last byte.
fn a_mebibyte(until: &str, half_close: bool, client: impl Fn(&Path, bool) -> Command) {
    let mut message = vec![b'x'; 1 << 20];
    message[(1 << 20) - 1] = b'\n';
    // Until dry, the default settle time is for machines where a writer is not kept waiting.
    let service = Service::start(&["--until", until, "--settle", "200ms"]);
    let said = service.answers(&mut client(&service.place.socket, half_close), &message);
    assert_eq!(said, "", "until {until}");
}

/// `unhang serve`, with an eye on its log.
struct Service {
    server: Daemon,
    place: Place,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let place = Place::new();
        let server = Daemon::serve(&place.socket, &[&["--log", "json"], arguments].concat());
        Self { server, place }
    }

    /// Both sides of an exchange are content: the client printed the whole reply, nothing else,
    /// and ended well; the server got every byte. Gives what the client said on standard error.
    fn answers(&self, client: &mut Command, message: &[u8]) -> String {
        let Ended { status, printed, said } = Running::start(client, message).wait();
        let log = self.server.await_line("\"exchange\"");
        assert!(is_clock(&printed), "printed {printed:?}, said {said:?}; {log}");
        assert!(status.success(), "{status}, said {said:?}; {log}");

        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(log["ended"], "answered", "{log}");
        assert_eq!(log["bytes_in"], message.len(), "{log}");
        assert_eq!(log["bytes_out"], printed.len(), "{log}");
        said
    }
}

/// Whether it is one reply of `unhang serve`, whole.
fn is_clock(reply: &str) -> bool {
    let shape = reply.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
    let shape = shape.collect::<String>().replace('-', "+");
    shape == "OK+ at 0000+00+00T00:00:00.000000000+00:00\n"
}

/// A foreign program at work, in a process group of its own, as some start others. Dropping it
/// kills the group.
struct Running {
    child: Child,
    printed: File,
    said: File,
}

/// How a program ended, and what was on its standard output and its standard error.
struct Ended {
    status: ExitStatus,
    printed: String,
    said: String,
}

impl Running {
    /// Starts a program with `input` as its standard input. Its output goes to files: from a pipe
    /// we would read for as long as any process that it left behind holds it.
    fn start(command: &mut Command, input: &[u8]) -> Self {
        let mut running = Self::start_open(command);
        let mut stdin = running.child.stdin.take().unwrap();
        let input = input.to_vec();
        // In a thread, as a program may never read. One that ends before it has read all is not
        // at fault for that alone.
        std::thread::spawn(move || stdin.write_all(&input));
        running
    }

    /// Starts a program whose standard input stays open, like that of a person at a terminal.
    fn start_open(command: &mut Command) -> Self {
        let (printed, said) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = command
            .stdin(Stdio::piped())
            .stdout(printed.try_clone().unwrap())
            .stderr(said.try_clone().unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, printed, said }
    }

    /// Waits for its end, not for ever.
    fn wait(mut self) -> Ended {
        let status = await_some("the client ends", || self.child.try_wait().unwrap());
        Ended { status, printed: text(&mut self.printed), said: text(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it has been waited for, its number may belong to another.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
