//! Programs that know nothing of this project, and no runtime peek knows: Python's.

use std::process::Command;

use serde_json::Value;

use super::{codes, finds, look};
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User};

/// Starts a script with the stage's socket as its argument, and waits until it says so.
fn script(stage: &Stage, text: &str) -> Daemon {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", text]).arg(&stage.place.socket);
    Daemon::start(&mut command, "ready")
}

fn pid_of(end: &Value) -> Option<u64> {
    end["owners"][0]["pid"].as_u64()
}

const FORGETS: &str = "
import socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
print('ready')
kept = []
while True:
    connection, _ = listener.accept()
    connection.recv(100); connection.sendall(b'OK\\n'); kept.append(connection)
";

const READS_TO_THE_END: &str = "
import socket, sys
client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1]); client.sendall(b'hello')
print('ready')
while client.recv(100): pass
";

#[test]
fn a_server_that_forgets_and_a_client_that_reads_to_the_end() {
    let stage = Stage::new(User::Me);
    let server = script(&stage, FORGETS);
    let client = script(&stage, READS_TO_THE_END);
    let finding = finds(&stage, "forgotten", "likely");
    assert_eq!(pid_of(&finding["server"]), Some(server.pid().into()));
    assert_eq!(pid_of(&finding["clients"][0]), Some(client.pid().into()));
}

const LOCKS: &str = "
import socket, sys, threading
lock = threading.Lock(); lock.acquire()
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
print('ready')
def handle(connection):
    connection.recv(100); lock.acquire()
while True:
    threading.Thread(target=handle, args=listener.accept()[:1], daemon=True).start()
";

#[test]
fn a_thread_that_waits_for_a_lock_is_only_possibly_the_one() {
    let stage = Stage::new(User::Me);
    let _server = script(&stage, LOCKS);
    let _client = script(&stage, READS_TO_THE_END);
    finds(&stage, "handler_blocked", "possible");
}

const FIRST_THREAD_ENDS: &str = "
import ctypes, socket, sys, threading, time
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()
print('ready')
def handle():
    connection, _ = listener.accept(); connection.recv(100); time.sleep(1000)
threading.Thread(target=handle).start()
ctypes.CDLL(None).pthread_exit(None)
";

/// The kernel shows its descriptors, and what its calls mean, only at its other threads.
#[test]
fn a_server_whose_first_thread_has_ended_still_holds_its_sockets() {
    let stage = Stage::new(User::Me);
    let server = script(&stage, FIRST_THREAD_ENDS);
    let _client = script(&stage, READS_TO_THE_END);
    let mut last = Value::Null;
    let is_seen = (0..20).any(|_| {
        last = look(&stage, &[&stage.place.socket]).1;
        codes(&last) == [("owner_not_visible", "unknown")]
            && pid_of(&last["findings"][0]["server"]) == Some(server.pid().into())
    });
    assert!(is_seen, "{last:#}");
}

const ASYNC_ECHO: &str = "
import asyncio, sys
async def handle(reader, writer):
    while data := await reader.read(100):
        writer.write(data); await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_unix_server(handle, sys.argv[1])
    print('ready')
    await server.serve_forever()
asyncio.run(main())
";

const ASYNC_IDLE: &str = "
import asyncio, sys
async def main():
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(b'hello'); await reader.read(100)
    print('ready')
    await asyncio.sleep(1000)
asyncio.run(main())
";

#[test]
fn two_event_loops_that_rest_raise_no_alarm() {
    let stage = Stage::new(User::Me);
    let _server = script(&stage, ASYNC_ECHO);
    let _client = script(&stage, ASYNC_IDLE);
    for _ in 0..5 {
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        assert_eq!((exit, codes(&object)), (0, vec![("ok", "likely")]), "{object:#}");
    }
}
