//! Standard input that never ends, standard output that nobody reads, and either without blocking.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::{echo_once, said};
use crate::support::{PATIENCE, Place, UNHANG, await_some};

/// More than a pipe holds, which is 64 KiB.
const LARGE: usize = 1_000_000;

fn pipe(flags: PipeFlags) -> (File, File) {
    let (read, write) = pipe_with(flags | PipeFlags::CLOEXEC).unwrap();
    (read.into(), write.into())
}

fn call(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(UNHANG);
    command.arg("call").arg(&place.socket).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// It waited for ever.
#[test]
fn a_message_that_never_ends_is_not_waited_for_past_the_deadline() {
    let place = Place::new();
    let (input, writer) = pipe(PipeFlags::empty());
    let mut child = call(&place, &["--deadline", "300ms"]).stdin(input).spawn().unwrap();
    await_some("it gives up", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("standard input did not end within 300ms"), "{}", said(&output));
    drop(writer);
}

/// It waited for ever.
#[test]
fn a_reply_that_nobody_reads_holds_it_no_longer_than_the_deadline() {
    let place = Place::new();
    let server = echo_once(&place.socket);
    let (reader, output) = pipe(PipeFlags::empty());
    let (input, mut writer) = pipe(PipeFlags::empty());
    let mut command = call(&place, &["--deadline", "2s"]);
    let mut child = command.stdin(input).stdout(output).spawn().unwrap();
    writer.write_all(&vec![b'x'; LARGE]).unwrap();
    drop((writer, command));
    await_some("it gives up", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("nobody took the reply"), "{}", said(&output));
    server.join().unwrap();
    drop(reader);
}

/// Nor does a standard error that nobody reads, when there is something to complain about.
#[test]
fn a_complaint_that_nobody_reads_holds_it_no_longer_either() {
    let place = Place::new();
    let (reader, output) = pipe(PipeFlags::empty());
    fill(&output);
    let mut child = call(&place, &["hello", "--deadline", "300ms"]).stderr(output).spawn().unwrap();
    await_some("it gives up", || child.try_wait().unwrap());
    drop(reader);
}

fn fill(pipe: &File) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let flags = fcntl_getfl(pipe).unwrap();
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    while (&*pipe).write(&[0; 4096]).is_ok() {}
    fcntl_setfl(pipe, flags).unwrap();
}

/// EAGAIN ended it.
#[test]
fn an_input_that_does_not_block_is_waited_for() {
    let place = Place::new();
    let server = echo_once(&place.socket);
    let (input, mut writer) = pipe(PipeFlags::NONBLOCK);
    let mut child = call(&place, &["--deadline", "30s"]).stdin(input).spawn().unwrap();
    let pid = child.id();
    // It has found nothing, and waits.
    await_some("a thread of it polls", || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let mut calls = tasks.flatten().map(|task| task.path().join("syscall"));
        calls
            .any(|file| is_polling(&std::fs::read_to_string(file).unwrap_or_default()))
            .then_some(())
    });
    writer.write_all(b"late").unwrap();
    drop(writer);
    let mut reply = String::new();
    child.stdout.take().unwrap().read_to_string(&mut reply).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*reply), (Some(0), "late"), "{}", said(&output));
    server.join().unwrap();
}

/// The number of poll or ppoll, on the processors that CI has.
fn is_polling(syscall: &str) -> bool {
    let numbers = if cfg!(target_arch = "x86_64") { ["7 ", "271 "] } else { ["73 ", "73 "] };
    numbers.iter().any(|number| syscall.starts_with(number))
}

/// A part of the reply was printed, and EAGAIN ended it. All commands write so.
#[test]
fn an_output_that_does_not_block_gets_all_of_the_reply() {
    let place = Place::new();
    let server = echo_once(&place.socket);
    let (reader, output) = pipe(PipeFlags::NONBLOCK);
    set_blocking(&reader);
    let mut command = call(&place, &["--deadline", "30s"]);
    let mut child = command.stdin(Stdio::piped()).stdout(output).spawn().unwrap();
    drop(command);
    child.stdin.take().unwrap().write_all(&vec![b'x'; LARGE]).unwrap();
    assert_eq!(read_slowly(reader), LARGE);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    server.join().unwrap();
}

/// Only one end of it was meant not to block.
fn set_blocking(pipe: impl AsFd) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let flags = fcntl_getfl(&pipe).unwrap();
    fcntl_setfl(&pipe, flags - OFlags::NONBLOCK).unwrap();
}

/// Begins only when the pipe is full, and so when the writer has met EAGAIN.
fn read_slowly(reader: File) -> usize {
    let waited = Instant::now();
    while rustix::io::ioctl_fionread(&reader).unwrap() < 60_000 && waited.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let reader = OwnedFd::from(reader);
    let mut all = Vec::new();
    File::from(reader).read_to_end(&mut all).unwrap()
}
