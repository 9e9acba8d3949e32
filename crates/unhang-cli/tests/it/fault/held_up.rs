//! The client gets no processor in the middle of its request, as on a crowded machine, or is stopped. From
//! the server's side it looks as if the client had written all.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{assert_ended, next_exchange, serve};
use crate::support::Place;

/// With thirty threads that sleep: half a request, then what the test is about, then the other half; at last the reply.
const CLIENT: &str = r#"
import os, signal, socket, sys, threading, time
for _ in range(30):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b"x" * 100_000)
if sys.argv[2] == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
    except BrokenPipeError:
        pass
if sys.argv[2] == "compute":
    end = time.process_time() + 1
    while time.process_time() < end: pass
print(client.makefile().read(), end="")
"#;

fn client(place: &Place, does: &str) -> Child {
    let mut python = Command::new("python3");
    python.args(["-c", CLIENT]).arg(&place.socket).arg(does).stdout(Stdio::piped());
    python.spawn().unwrap()
}

fn await_stop(client: &Child) {
    let stat = format!("/proc/{}/stat", client.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
}

fn reply_of(client: Child) -> String {
    let pid = Pid::from_child(&client);
    // For one that is not stopped it changes nothing.
    kill_process(pid, Signal::CONT).unwrap();
    String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap()
}

/// The soak found it: a client got no processor for longer than the pause that ends a request, and its first
/// part was answered. Stopped, it gets none for as long as the test likes.
#[test]
fn a_client_that_is_stopped_in_the_middle_of_its_request_gets_no_answer_to_a_part() {
    let place = Place::new();
    let server = serve(&place, &["--settle", "50ms", "--", "wc", "-c"]);
    let client = client(&place, "stop");
    await_stop(&client);
    // What is tested takes time: without a look at the client, the request would have ended long since.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(reply_of(client).trim(), "200000");
    assert_ended(&server, "answered", None);
}

#[test]
fn a_client_that_stays_stopped_is_told_at_the_read_deadline() {
    let place = Place::new();
    let limits = ["--settle", "50ms", "--read-deadline", "500ms", "--", "wc", "-c"];
    let server = serve(&place, &limits);
    let client = client(&place, "stop");
    await_stop(&client);
    assert_eq!(next_exchange(&server)["ended"], "refused");
    let told = reply_of(client);
    assert!(told.starts_with("ERR no whole request within 500ms"), "{told}");
}

/// It does not sleep either, and it has the processor: it has something else to do.
#[test]
fn a_client_that_computes_before_it_reads_is_not_waited_for() {
    let place = Place::new();
    let server = serve(&place, &["--settle", "50ms", "--", "wc", "-c"]);
    assert_eq!(reply_of(client(&place, "compute")).trim(), "100000");
    assert_ended(&server, "answered", None);
}
