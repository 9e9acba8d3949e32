//! Makes every class of hang on a real socket, for the tests of `unhang why` and for trying it out:
//!
//! ```sh
//! hang serve-sleep /tmp/s &  hang call /tmp/s &  unhang why /tmp/s
//! ```
//!
//! Every role says `ready` when it is where it will stay, and stays there until it is killed. A
//! `serve-` role is one thread unless its name says otherwise.

#[path = "hang/own.rs"]
mod own;

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use own::Handling;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, paths @ ..] = &arguments[..] else { return Err("hang ROLE PATH [PATH]".into()) };
    let path = paths.first().ok_or("expected a path")?;
    let other = paths.get(1);
    match &**role {
        "serve-mute" => mute(path, 128),
        "serve-queue-of-1" => mute(path, 1),
        "serve-unread" => with_connection(path, |_| sleep()),
        "serve-oneshot" => event_loop(path, EventFlags::IN | EventFlags::ONESHOT, 64),
        "serve-edge" => event_loop(path, EventFlags::IN | EventFlags::ET, 1),
        "serve-paused" => event_loop(path, EventFlags::IN, 64),
        "serve-sleep" => with_request(path, |_| sleep()),
        "serve-compute" => with_request(path, |_| {
            compute();
            Ok(())
        }),
        "serve-lock" => with_request(path, |_| {
            lock();
            Ok(())
        }),
        "serve-threads" => serve_threads(path),
        "serve-backend" => with_request(path, |_| call(other.ok_or("expected a backend")?)),
        "serve-forget" => forget(path),
        "serve-reply" => with_request(path, |stream| {
            stream.write_all(b"reply\n")?;
            ready();
            drain(stream)
        }),
        "serve-flood" => with_request(path, flood),
        "serve-read" => with_connection(path, |stream| {
            ready();
            drain(stream)
        }),
        "serve-read-and-ignore" => {
            // It says that it listens once both do.
            let _control = bound(&format!("{path}.ctl"), 0)?;
            with_connection(path, drain)
        }
        "serve-close" => with_request(path, |stream| {
            stream.shutdown(std::net::Shutdown::Both)?;
            drop(mem::replace(stream, UnixStream::pair()?.0));
            sleep()
        }),
        "serve-leak" => leak(path),
        "serve-at-limit" => at_limit(path),
        "serve-echo" => echo(path),
        "serve-own-never" => own::serve(path, Handling::Never),
        "serve-own-blocks" => own::serve(path, Handling::Blocks),
        "serve-own-large" => own::serve(path, Handling::Large),
        "call" => call(path),
        "call-poll" => call_poll(path),
        "call-mute" => call_and(path, b"", |stream| {
            ready();
            drain(stream)
        }),
        "call-mute-byte" => call_and(path, b"", |stream| {
            ready();
            stream.read_exact(&mut [0])?;
            sleep()
        }),
        "call-half" => call_and(path, b"half", |stream| {
            ready();
            drain(stream)
        }),
        "call-more" => call_and(path, b"request\nand more", |stream| {
            drain(stream)?;
            sleep()
        }),
        "call-twice" => call_twice(path),
        "call-hold" => call_and(path, b"request\n", |_| sleep()),
        "call-keep" => call_and(path, b"request\n", |stream| {
            stream.read_exact(&mut [0; 8])?;
            sleep()
        }),
        "call-flood" => call_and(path, b"", flood),
        "call-leave" => call_and(path, b"request\n", |_| {
            ready();
            Ok(())
        }),
        "close-again" => close_again(path),
        "storm" => storm(path),
        "ping-pong" => ping_pong(path),
        role => Err(format!("no role {role}").into()),
    }
}

fn ready() {
    println!("ready");
}

fn sleep() -> Outcome {
    ready();
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn compute() {
    ready();
    for number in 0_u64.. {
        std::hint::black_box(number);
    }
}

/// Takes a lock that nobody gives back.
fn lock() {
    let lock = std::sync::Mutex::new(());
    let _taken = lock.lock();
    ready();
    let _never = lock.lock();
}

fn listen(path: &str, backlog: i32) -> Result<OwnedFd, Box<dyn Error>> {
    let socket = bound(path, backlog)?;
    println!("listening");
    Ok(socket)
}

fn bound(path: &str, backlog: i32) -> Result<OwnedFd, Box<dyn Error>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Accepts one connection and gives it to `serve`.
fn with_connection(path: &str, serve: impl FnOnce(&mut UnixStream) -> Outcome) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    let (mut stream, _) = listener.accept()?;
    serve(&mut stream)
}

/// Accepts one connection, reads what comes first, and gives it to `serve`.
fn with_request(path: &str, serve: impl FnOnce(&mut UnixStream) -> Outcome) -> Outcome {
    with_connection(path, |stream| {
        let _ = stream.read(&mut [0; 64])?;
        serve(stream)
    })
}

/// Never accepts.
fn mute(path: &str, backlog: i32) -> Outcome {
    let _listener = listen(path, backlog)?;
    sleep()
}

/// Watches one connection for `events` and takes at most `at_once` bytes at each.
fn event_loop(path: &str, events: EventFlags, at_once: usize) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    let (mut stream, _) = listener.accept()?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, stream.as_fd(), EventData::new_u64(1), events)?;
    let mut happened = Vec::with_capacity(4);
    let mut bytes = vec![0; at_once];
    ready();
    loop {
        happened.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut happened), None)?;
        let _ = stream.read(&mut bytes)?;
        stream.write_all(b".")?;
        if events == EventFlags::IN {
            // No longer told of bytes, and never again.
            epoll::modify(&poll, stream.as_fd(), EventData::new_u64(1), EventFlags::PRI)?;
        }
    }
}

/// A thread for each connection, which reads the request and sleeps.
fn serve_threads(path: &str) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            let _ = stream.read(&mut [0; 64]);
            sleep().is_ok()
        });
    }
}

/// Answers, keeps the connection, and waits for the next.
fn forget(path: &str) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    loop {
        let (mut stream, _) = listener.accept()?;
        let _ = stream.read(&mut [0; 64])?;
        stream.write_all(b"reply\n")?;
        mem::forget(stream);
        ready();
    }
}

fn flood(stream: &mut UnixStream) -> Outcome {
    ready();
    loop {
        stream.write_all(&[b'x'; 4_096])?;
    }
}

/// Reads to the end; that the other side was killed is one, too.
fn drain(stream: &mut UnixStream) -> Outcome {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(()),
    }
}

/// Closes its connection; another program has inherited it, and ends when this one does.
fn leak(path: &str) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    let (mut stream, _) = listener.accept()?;
    let _ = stream.read(&mut [0; 64])?;
    let inherited = rustix::io::dup(&stream)?;
    let _heir = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    drop(inherited);
    drop(stream);
    sleep()
}

/// Has no descriptor left to accept with.
fn at_limit(path: &str) -> Outcome {
    const LIMIT: u64 = 32;
    let listener = UnixListener::from(listen(path, 128)?);
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), ..getrlimit(Resource::Nofile) })?;
    let mut held = Vec::new();
    while let Ok(another) = listener.try_clone() {
        held.push(another);
    }
    ready();
    loop {
        let refused = listener.accept().err();
        assert!(refused.is_some_and(|error| error.raw_os_error() == Some(24)));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Healthy: a thread for each connection, which gives back what it gets.
fn echo(path: &str) -> Outcome {
    let listener = UnixListener::from(listen(path, 4096)?);
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..count]).is_err() {
                    return;
                }
            }
        });
    }
}

fn call_and(path: &str, request: &[u8], then: impl FnOnce(&mut UnixStream) -> Outcome) -> Outcome {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(request)?;
    then(&mut stream)
}

/// Sends a request and reads the reply to its end.
fn call(path: &str) -> Outcome {
    call_and(path, b"request\n", |stream| {
        ready();
        drain(stream)
    })
}

/// The same, as programs with a deadline do it.
fn call_poll(path: &str) -> Outcome {
    call_and(path, b"request\n", |stream| {
        ready();
        poll(&mut [PollFd::new(stream, PollFlags::IN)], None)?;
        Ok(())
    })
}

/// Sends, waits for an answer, and sends again.
fn call_twice(path: &str) -> Outcome {
    call_and(path, b"request\n", |stream| {
        stream.read_exact(&mut [0])?;
        stream.write_all(b"again, and more of it\n")?;
        ready();
        drain(stream)
    })
}

/// Closes connections with a request unread in them, again and again, and says for each how long it took
/// until the client was told. All in one thread: only a descriptor held elsewhere can delay it.
fn close_again(path: &str) -> Outcome {
    let listener = UnixListener::from(listen(path, 128)?);
    loop {
        let mut client = UnixStream::connect(path)?;
        client.write_all(b"unread")?;
        let (server, _) = listener.accept()?;
        // Long enough for two looks, also on a loaded machine.
        thread::sleep(Duration::from_secs(5));
        let closed = Instant::now();
        drop(server);
        // A reset, as the request was not read; either way an end.
        let _ = client.read(&mut [0; 8]);
        println!("closed {}", closed.elapsed().as_millis());
    }
}

/// Healthy: connections that come and go as fast as they can.
fn storm(path: &str) -> Outcome {
    let client = |path: String| {
        move || -> std::io::Result<()> {
            let mut first = true;
            loop {
                let mut stream = UnixStream::connect(&path)?;
                stream.write_all(b"request\n")?;
                stream.read_exact(&mut [0; 8])?;
                if mem::take(&mut first) {
                    ready();
                }
            }
        }
    };
    let clients: Vec<_> = (0..8).map(|_| thread::spawn(client(path.to_owned()))).collect();
    for client in clients {
        client.join().map_err(|_| "a client failed")??;
    }
    Ok(())
}

/// Healthy: four connections that never rest.
fn ping_pong(path: &str) -> Outcome {
    let client = |path: String| {
        move || -> std::io::Result<()> {
            let mut stream = UnixStream::connect(&path)?;
            let mut bytes = [b'x'; 8];
            ready();
            loop {
                stream.write_all(&bytes)?;
                stream.read_exact(&mut bytes)?;
            }
        }
    };
    let clients: Vec<_> = (0..4).map(|_| thread::spawn(client(path.to_owned()))).collect();
    for client in clients {
        client.join().map_err(|_| "a client failed")??;
    }
    Ok(())
}
