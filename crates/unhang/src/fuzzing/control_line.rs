//! What any process may say at the control socket, or as the old server of a replacement.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::input::Input;
use crate::listen::control::{Question, REPLACE, WAITS, call, question};
use crate::listen::control_line::read_line;

/// The longest line that is read.
const LONGEST: usize = 256;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each piece is written by itself, some while the other side reads.
pub fn control_line(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pieces = Vec::new();
    while !input.is_used_up() {
        pieces.push(input.counted());
    }
    let said = pieces.concat();
    assert_eq!(read(&pieces), line(&said), "{}", said.escape_ascii());
    ask(&said);
}

/// The first line with its end; without one what came, or as much of it as is read.
fn line(said: &[u8]) -> &[u8] {
    let end = said.iter().position(|&byte| byte == b'\n').map_or(said.len(), |end| end + 1);
    &said[..end.min(LONGEST)]
}

fn read(pieces: &[&[u8]]) -> Vec<u8> {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return Vec::new() };
    let read = std::thread::scope(|scope| {
        let reads = scope.spawn(|| read_line(&ours, Instant::now() + PATIENCE));
        for piece in pieces {
            assert!(theirs.write_all(piece).is_ok());
        }
        assert!(theirs.shutdown(Shutdown::Write).is_ok());
        reads.join()
    });
    let Ok(Ok(line)) = read else { return b"no line was read".to_vec() };
    line
}

/// Only exactly the three questions are answered. Any other asker is told in one line what was expected.
fn ask(said: &[u8]) {
    let Ok((server, mut asker)) = UnixStream::pair() else { return };
    assert!(asker.write_all(said).and_then(|()| asker.shutdown(Shutdown::Write)).is_ok());
    let understood = question(&server);
    let expected = match line(said) {
        line if line == REPLACE.as_bytes() => Some(Question::Replace),
        line if line == WAITS.as_bytes() => Some(Question::Waits),
        line => call(line),
    };
    assert_eq!(understood.as_ref().ok(), expected.as_ref(), "{}", said.escape_ascii());
    drop(server);
    let mut told = Vec::new();
    match asker.read_to_end(&mut told) {
        Ok(_) => {}
        // It was closed with bytes that it had not read.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let Ok(told) = String::from_utf8(told) else { unreachable!("it is told no text") };
    let Some(complaint) = told.strip_suffix('\n') else {
        assert!(told.is_empty() && expected.is_some(), "{told:?}");
        return;
    };
    assert!(expected.is_none() && complaint.starts_with("expected "), "{told:?}");
    assert!(!complaint.contains(char::is_control), "{told:?}");
}
