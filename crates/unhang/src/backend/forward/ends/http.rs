//! The end of one HTTP/1.x response (RFC 9112, section 6.3): its head is kept until it is whole, its
//! body only counted.

use super::Found;

/// The longest head: four times what browsers and most servers allow.
const LONGEST_HEAD: usize = 64 * 1024;

#[derive(Debug)]
pub(in crate::backend::forward) struct Http {
    /// The request was HEAD: its response has no body, whatever its head says.
    is_head: bool,
    within: Within,
}

#[derive(Debug)]
enum Within {
    Head(Vec<u8>),
    /// So many bytes of the body are still to come.
    Counted(u64),
    Chunks(Chunk),
    /// To the close.
    Endless,
}

#[derive(Debug)]
enum Chunk {
    /// The line with its size, as far as it has come.
    Size(Vec<u8>),
    /// So many bytes, its line break among them.
    Data(u64),
    /// The lines behind the last chunk, of which an empty one is the end; the one that has begun.
    Trailer(usize),
}

const NOT_HTTP: &str = "bytes that are no HTTP/1.x response";

impl Http {
    pub(super) fn new(is_head: bool) -> Self {
        Self { is_head, within: Within::Head(Vec::new()) }
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Found {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            let step = match &mut self.within {
                Within::Head(head) => take_head(head, rest, self.is_head),
                Within::Counted(left) => Ok(take_counted(left, rest)),
                Within::Chunks(chunk) => take_chunks(chunk, rest),
                Within::Endless => return Found::More,
            };
            match step {
                Ok(Step::End(used)) => return Found::End(at + used),
                Ok(Step::Into(used, next)) => {
                    at += used;
                    self.within = next;
                }
                Ok(Step::Used(used)) => at += used,
                Err(why) => return Found::Broken(why),
            }
        }
        Found::More
    }

    pub(super) fn may_close(&self) -> bool {
        matches!(self.within, Within::Endless)
    }
}

enum Step {
    Used(usize),
    Into(usize, Within),
    End(usize),
}

fn take_head(head: &mut Vec<u8>, rest: &[u8], is_head: bool) -> Result<Step, &'static str> {
    let before = head.len();
    head.extend_from_slice(rest);
    let begins = |start: &[u8]| head.iter().zip(start).all(|(one, other)| one == other);
    if !begins(b"HTTP/1.") {
        return Err(NOT_HTTP);
    }
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
        return if head.len() > LONGEST_HEAD {
            Err("a head without an end")
        } else {
            Ok(Step::Used(rest.len()))
        };
    };
    let (used, text) = (end + 4 - before, String::from_utf8_lossy(&head[..end]).into_owned());
    let status = text.split(' ').nth(1).and_then(|status| status.get(..3)?.parse::<u16>().ok());
    let status = status.ok_or(NOT_HTTP)?;
    if (100..200).contains(&status) && status != 101 {
        return Ok(Step::Into(used, Within::Head(Vec::new())));
    }
    if is_head || status == 204 || status == 304 {
        return Ok(Step::End(used));
    }
    let fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (mut length, mut chunked) = (None, false);
    for (name, value) in fields {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().to_ascii_lowercase().ends_with("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| "a length that is no number")?);
        }
    }
    Ok(match length {
        _ if chunked => Step::Into(used, Within::Chunks(Chunk::Size(Vec::new()))),
        Some(0) => Step::End(used),
        Some(length) => Step::Into(used, Within::Counted(length)),
        None => Step::Into(used, Within::Endless),
    })
}

fn take_counted(left: &mut u64, rest: &[u8]) -> Step {
    let used = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= used as u64;
    if *left == 0 { Step::End(used) } else { Step::Used(used) }
}

fn take_chunks(chunk: &mut Chunk, rest: &[u8]) -> Result<Step, &'static str> {
    const LONGEST_LINE: usize = 1024;
    match chunk {
        Chunk::Size(line) => {
            let Some(at) = memchr::memchr(b'\n', rest) else {
                line.extend_from_slice(rest);
                return if line.len() > LONGEST_LINE {
                    Err("a chunk's size without an end")
                } else {
                    Ok(Step::Used(rest.len()))
                };
            };
            line.extend_from_slice(&rest[..at]);
            let digits = line.split(|byte| b";\r ".contains(byte)).next().unwrap_or_default();
            let size = std::str::from_utf8(digits).ok();
            let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let size = size
                .filter(|size| *size < u64::MAX - 2)
                .ok_or("a chunk's size that is no number")?;
            let next = if size == 0 { Chunk::Trailer(0) } else { Chunk::Data(size + 2) };
            Ok(Step::Into(at + 1, Within::Chunks(next)))
        }
        Chunk::Data(left) => Ok(match take_counted(left, rest) {
            Step::End(used) => Step::Into(used, Within::Chunks(Chunk::Size(Vec::new()))),
            step => step,
        }),
        Chunk::Trailer(length) => {
            for (at, byte) in rest.iter().enumerate() {
                match byte {
                    b'\n' if *length == 0 => return Ok(Step::End(at + 1)),
                    b'\n' => *length = 0,
                    b'\r' => {}
                    _ => *length += 1,
                }
            }
            Ok(Step::Used(rest.len()))
        }
    }
}
