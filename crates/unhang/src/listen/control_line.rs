//! Control lines: how a line is read and written at the control socket. One deadline holds for a whole
//! line, however many pieces the other side makes of it.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;

/// The longest line; the longest that is expected has 19 bytes.
const LONGEST: usize = 256;

/// How much is written in one call, which waits anew for each of its own pieces.
const PIECE: usize = 4096;

/// The shortest timeout that a socket knows; none at all would mean to wait for ever.
const SHORTEST: Duration = Duration::from_micros(1);

/// Reads a line that must be one of these; gives which.
pub(crate) fn expect(stream: &UnixStream, lines: &[&str], deadline: Instant) -> io::Result<usize> {
    let got = read_line(stream, deadline)?;
    one_of(stream, &got, lines, deadline)
}

/// Which of these a line is; if it is none, the other side is told what was expected.
pub(crate) fn one_of(
    stream: &UnixStream,
    got: &[u8],
    lines: &[&str],
    deadline: Instant,
) -> io::Result<usize> {
    if let Some(which) = lines.iter().position(|line| got == line.as_bytes()) {
        return Ok(which);
    }
    let expected = lines.iter().map(|line| format!("{line:?}")).collect::<Vec<_>>().join(" or ");
    let complaint = format!("expected {expected}, got {:?}", String::from_utf8_lossy(got));
    let _ = write(stream, &format!("{complaint}\n"), deadline);
    Err(io::Error::other(complaint))
}

/// Reads a line with its end, or what came before the end of the stream. What follows it in the same
/// write is read with it, and must be nothing.
pub(crate) fn read_line(mut stream: &UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < LONGEST {
        let mut piece = [0; LONGEST];
        let room = LONGEST - line.len();
        let piece = match within(stream, deadline, || stream.read(&mut piece[..room]))? {
            0 => break,
            count => &piece[..count],
        };
        if let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            line.extend_from_slice(&piece[..=end]);
            break;
        }
        line.extend_from_slice(piece);
    }
    Ok(line)
}

pub(crate) fn write(stream: &UnixStream, text: &str, deadline: Instant) -> io::Result<()> {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let piece = &left[..left.len().min(PIECE)];
        let sent = within(stream, deadline, || {
            rustix::net::send(stream, piece, SendFlags::NOSIGNAL).map_err(io::Error::from)
        })?;
        left = &left[sent..];
    }
    Ok(())
}

/// Makes one call that may wait, until then. The timeouts of a socket are for a single call, and one
/// of a process that was stopped and goes on is interrupted: signal(7).
pub(crate) fn within<T>(
    stream: &UnixStream,
    deadline: Instant,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        // Read what is there at once, even when time is up: this process may have been stopped.
        let left = deadline.saturating_duration_since(Instant::now()).max(SHORTEST);
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            done => return done,
        }
    }
}

/// Says what did not come in time.
pub(crate) fn in_words(error: io::Error, late: impl FnOnce() -> String) -> io::Error {
    match error.kind() {
        ErrorKind::TimedOut => io::Error::new(error.kind(), late()),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// It did, as long as it pleased: the deadline began anew with each byte.
    #[test]
    fn a_writer_of_a_byte_now_and_then_extends_no_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let slow = std::thread::spawn(move || {
            let mut sent = 0;
            while sent < 200 && theirs.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
                sent += 1;
            }
            sent
        });
        let read = read_line(&ours, Instant::now() + Duration::from_millis(500));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(ours);
        assert!(slow.join().unwrap() < 200, "it was still at it");
    }

    /// So would one that reads so.
    #[test]
    fn a_reader_of_a_byte_now_and_then_extends_no_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let slow = std::thread::spawn(move || {
            let mut taken = 0;
            while taken < 200 && theirs.read_exact(&mut [0; 16 << 10]).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
                taken += 1;
            }
            taken
        });
        let all = "x".repeat(16 << 20);
        let written = write(&ours, &all, Instant::now() + Duration::from_millis(500));
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(ours);
        assert!(slow.join().unwrap() < 200, "it was still at it");
    }

    #[test]
    fn what_is_there_already_is_read_however_late_it_is() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"ready\n").unwrap();
        assert_eq!(read_line(&ours, Instant::now()).unwrap(), b"ready\n");
        assert_eq!(read_line(&ours, Instant::now()).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_line_ends_with_the_newline_the_stream_or_the_longest() {
        for (sent, line) in [
            (b"ready\nand more".to_vec(), &b"ready\n"[..]),
            (b"rea".to_vec(), b"rea"),
            (Vec::new(), b""),
            (vec![b'x'; 300], &[b'x'; 256]),
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&sent).unwrap();
            drop(theirs);
            assert_eq!(read_line(&ours, Instant::now() + Duration::from_secs(30)).unwrap(), line);
        }
    }
}
