//! A server that passes a descriptor along with its reply, whose close would hold up its client.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sockopt};

use super::UNHANG;

/// How long the close of the passed connection takes: longer than any test waits.
pub(crate) const LINGER: Duration = Duration::from_secs(90);

/// Serves until the test process ends: each client gets a connection that lingers, with `reply`, or where
/// it refuses that, the reply alone.
pub(crate) fn serve(path: &Path, reply: &'static [u8]) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut other_ends = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let (passed, other_end) = lingering();
            if !pass(&stream, &passed, reply) {
                let _ = stream.write_all(reply);
                // Our own copy is the last one, and must not linger here.
                sockopt::set_socket_linger(&passed, Some(Duration::ZERO)).unwrap();
            }
            // If the client has closed it already, the close of our own copy lingers.
            std::thread::spawn(move || drop(passed));
            other_ends.push(other_end);
        }
    });
}

/// The close of the first waits, as it has bytes to send that the other never takes.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    sockopt::set_socket_linger(&sender, Some(LINGER)).unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.write(&[0; 16 * 1024]).is_ok() {}
    (sender, receiver)
}

fn pass(stream: &UnixStream, passed: &TcpStream, reply: &[u8]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [passed.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let reply = [IoSlice::new(reply)];
    rustix::net::sendmsg(stream, &reply, &mut ancillary, SendFlags::NOSIGNAL).is_ok()
}

/// The command under `strace`, which lets the kernel seem older than Linux 6.16: it knows no
/// `SO_PASSRIGHTS`. `which` of the calls of setsockopt(2) that is, in strace's words.
pub(crate) fn without_passrights(which: &str) -> Command {
    let mut command = Command::new("strace");
    let inject = format!("inject=setsockopt:error=ENOPROTOOPT:when={which}");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt", "-e", &inject]);
    command.arg(UNHANG);
    command
}
