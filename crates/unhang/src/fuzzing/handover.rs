//! What the two servers of a replacement say to each other.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::input::Input;
use crate::listen::address::Address;
use crate::listen::control::REPLACE;
use crate::listen::control_line::expect;
use crate::listen::replace::{PATIENCE, file, receive};

/// The first byte chooses the side that is told the rest.
pub fn handover(data: &[u8]) {
    let mut input = Input::new(data);
    let address = Address::new("/nonexistent/app.sock");
    let (Ok(address), Some(free)) = (address, lowest_free_descriptor()) else { return };
    match input.choose([0, 1, 2]) {
        0 => server_is_told(&mut input),
        1 => successor_is_told(&mut input, &address),
        _ => line(&address, &String::from_utf8_lossy(input.rest())),
    }
    assert_eq!(lowest_free_descriptor(), Some(free), "a descriptor is left open");
}

/// The server goes on only at exactly the line that it expects.
fn server_is_told(input: &mut Input<'_>) {
    let Ok((server, mut successor)) = UnixStream::pair() else { return };
    let mut told = Vec::new();
    if input.choose([true, false]) {
        told.extend_from_slice(&REPLACE.as_bytes()[..REPLACE.len().min(input.byte().into())]);
    }
    told.extend_from_slice(input.rest());
    let sent = successor.write_all(&told).and_then(|()| successor.shutdown(Shutdown::Write));
    let first = told.split_inclusive(|&byte| byte == b'\n').next();
    let right = first == Some(REPLACE.as_bytes());
    assert!(sent.is_ok());
    assert_eq!(
        expect(&server, &[REPLACE], Instant::now() + PATIENCE).is_ok(),
        right,
        "{}",
        told.escape_ascii()
    );
}

/// The successor takes three descriptors, whatever is said with them, and leaks none.
fn successor_is_told(input: &mut Input<'_>, address: &Address) {
    let (Some(control), Ok((successor, server)), Ok(null)) =
        (address.control(), UnixStream::pair(), File::open("/dev/null"))
    else {
        return;
    };
    let descriptors = [null.as_fd(); 5];
    let descriptors = &descriptors[..input.choose([0, 1, 2, 3, 4, 5])];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        rights.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let text = input.rest();
    let sent = sendmsg(&server, &[IoSlice::new(text)], &mut rights, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(text.len()));
    let _ = server.shutdown(Shutdown::Write);
    let received = receive(address, &control, successor, Instant::now() + PATIENCE);
    // A stream carries descriptors only with bytes. Of too many the kernel may drop some.
    let enough = descriptors.len() >= 3 && !text.is_empty();
    let right = received.is_ok() == enough || enough && descriptors.len() > 3;
    assert!(right, "{received:?}");
}

/// A line that is read as a file's identity says just that.
fn line(address: &Address, text: &str) {
    if let Some(file) = file(address, text) {
        let (device, inode) = (file.identity.device, file.identity.inode);
        assert_eq!(file.path, Path::new("/nonexistent/app.sock"));
        let plain = text.replace('+', "");
        let mut words = plain.split_whitespace().map(|word| word.trim_start_matches('0'));
        let mut is_next = |number: u64| {
            words.next().is_some_and(|word| word == number.to_string().trim_start_matches('0'))
        };
        assert!(is_next(device) && is_next(inode), "{text:?}: {device} {inode}");
    }
}

fn lowest_free_descriptor() -> Option<i32> {
    File::open("/dev/null").ok().map(|file| file.as_raw_fd())
}
