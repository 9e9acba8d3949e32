//! Regression: a server passed a TCP connection with `SO_LINGER` along with its reply, and the kernel held
//! the client while it closed that connection, past every deadline.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sockopt};
use unhang::ReplyEnds;
use unhang::passed_descriptors::{close_elsewhere, peek};

use super::call_to;

/// How long a close of the passed connection takes.
const LINGER: Duration = Duration::from_secs(60);

/// Connections whose close waits for LINGER: there are bytes to send that the other end never takes.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    sockopt::set_socket_linger(&sender, Some(LINGER)).unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.write(&[0; 16 * 1024]).is_ok() {}
    (sender, receiver)
}

/// Sends `bytes` with a connection that lingers. What keeps its other end open, or that it was refused.
fn pass(stream: &UnixStream, bytes: &[u8]) -> Result<TcpStream, Errno> {
    let (passed, other_end) = lingering();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [passed.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(stream, &bytes, &mut ancillary, SendFlags::NOSIGNAL);
    // Without it, the close of our own copy would linger.
    sockopt::set_socket_linger(&passed, sent.err().map(|_| Duration::ZERO)).unwrap();
    if sent.is_ok() {
        sockopt::set_socket_linger(&passed, Some(LINGER)).unwrap();
    }
    sent.map(|_| other_end)
}

#[test]
fn the_server_cannot_pass_one_and_may_answer_without() {
    let behaviour = |stream: &mut UnixStream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        let _open = match pass(stream, b"OK\n") {
            // A kernel that cannot refuse it.
            Ok(other_end) => Some(other_end),
            Err(error) => {
                assert_eq!(error, Errno::PERM);
                stream.write_all(b"OK\n").unwrap();
                None
            }
        };
    };
    let began = Instant::now();
    let at_newline = |client: unhang::Client| client.reply_ends(ReplyEnds::AtNewline);
    assert_eq!(call_to(behaviour, at_newline, b"hello").unwrap(), b"OK\n");
    assert!(began.elapsed() < LINGER);
}

/// As on kernels before 6.16: nobody has refused anything.
#[test]
fn a_descriptor_is_found_before_it_is_read_and_closed_where_nobody_waits() {
    let began = Instant::now();
    let (ours, theirs) = UnixStream::pair().unwrap();
    (&theirs).write_all(b"plain").unwrap();
    let other_end = pass(&theirs, b"passed").unwrap();
    (&theirs).write_all(b"behind").unwrap();

    let mut buffer = [0; 64];
    // The kernel gives what lies before the descriptor alone, or up to it.
    let mut seen = peek(&ours, &mut buffer).unwrap();
    if !seen.has_descriptor {
        assert_eq!(&buffer[..seen.bytes], b"plain");
        (&ours).read_exact(&mut buffer[..seen.bytes]).unwrap();
        seen = peek(&ours, &mut buffer).unwrap();
    }
    assert!(seen.has_descriptor);
    assert!(buffer[..seen.bytes].ends_with(b"passed"));
    close_elsewhere(ours.into());
    assert!(began.elapsed() < LINGER, "it lingered");
    // Ends the thread that closes.
    drop(other_end);
}

#[test]
fn a_socket_with_nothing_unread_is_closed_at_once() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    close_elsewhere(ours.into());
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    assert!(theirs.write_all(b"x").is_err());
}
