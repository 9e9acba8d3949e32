//! Descriptors that are where they should not be: a copy of the connection, or one that a client passes.

use std::fs::{self, File};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use unhang::{Fault, Request, Until};

use crate::support::{PATIENCE, Running, connect, read_to_end};

/// It had its end only when the copy was gone, as the server did nothing but close.
#[test]
fn a_client_that_has_half_closed_gets_its_end_though_a_child_has_a_copy() {
    let copies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&copies);
    let handler = move |request: Request| {
        // What a process has that is forked here, and executes no other program.
        let name = request.text().into_owned();
        kept.lock().unwrap().push(copy_of_connection_from(Path::new(&name)));
        std::future::ready(Ok::<_, Fault>("OK\n"))
    };
    let server = Running::start(|server| server.until(Until::HalfClose), handler);
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().join("client");
    let mut client = connect_from(&name, &server.path);
    client.write_all(name.to_str().unwrap().as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(client), "OK\n");
    assert_eq!(copies.lock().unwrap().len(), 1);
}

/// A client with a name of its own.
fn connect_from(name: &Path, path: &Path) -> UnixStream {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(name).unwrap()).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    let stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The server is in this process, and so is its end.
fn copy_of_connection_from(name: &Path) -> OwnedFd {
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let copies =
        numbers.filter_map(|fd| pidfd_getfd(&ourselves, fd, PidfdGetfdFlags::empty()).ok());
    let its = |copy: &OwnedFd| {
        let stream = UnixStream::from(copy.try_clone().unwrap());
        stream.peer_addr().is_ok_and(|peer| peer.as_pathname() == Some(name))
    };
    copies.into_iter().find(its).expect("the connection")
}

/// The kernel closed it on the thread that read, or that closed the connection: of a TCP connection with
/// `SO_LINGER` that close waits, and with it waited all clients of that thread, for as long as one client
/// liked.
#[test]
fn a_descriptor_that_a_client_passes_is_refused() {
    if kernel() < (6, 16) {
        eprintln!("skipped: Linux {:?} cannot refuse passed descriptors", kernel());
        return;
    }
    let echo = async |request: Request| Ok(request.into_bytes());
    let server = Running::start(|server| server, echo);
    let mut client = connect(&server.path);
    let passed = File::open("/dev/null").unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let descriptors = [passed.as_fd()];
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [IoSlice::new(b"x")];
    let sent = rustix::net::sendmsg(&client, &bytes, &mut rights, SendFlags::NOSIGNAL);
    assert_eq!(sent, Err(Errno::PERM));
    client.write_all(b"hello").unwrap();
    assert_eq!(read_to_end(client), "hello");
}

/// Its version, of which two numbers count.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
