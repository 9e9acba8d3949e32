//! Descriptors that a hostile client passes: TCP connections whose close waits for as long as it likes.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Longer than any deadline of the servers.
const LINGER: Duration = Duration::from_secs(60);

/// A connection with bytes to send that its other end never takes.
pub(crate) fn lingering() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (receiver, _) = listener.accept()?;
    sender.set_nonblocking(true)?;
    while sender.write(&[0; 16 * 1024]).is_ok() {}
    set_socket_linger(&sender, Some(LINGER))?;
    Ok((sender, receiver))
}

/// Sends these bytes with the descriptor. Whether it was taken.
pub(crate) fn pass(stream: impl AsFd, bytes: &[u8], passed: BorrowedFd<'_>) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [passed];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors))
        && rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
            .is_ok()
}

/// Closes our own copy. If it may be the last one, without the wait.
pub(crate) fn close(passed: TcpStream, is_passed: bool) {
    if !is_passed {
        let _ = set_socket_linger(&passed, Some(Duration::ZERO));
    }
    // A server that has read it already has closed its copy, and then this close would linger.
    std::thread::spawn(move || drop(passed));
}
