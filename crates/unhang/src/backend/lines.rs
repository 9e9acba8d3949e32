//! What a program prints beside its replies, as lines of bounded length.

use std::fmt::Write;
use std::time::{Duration, Instant};

/// The longest line that is kept whole: as much as a log line should have.
const LONGEST: usize = 4096;

/// As much is read at once of what a process complains of.
pub(super) const COMPLAINT: usize = 16 * 1024;
/// After so much at once we leave it alone for a moment: one that complains for ever is read at some
/// megabytes a second, and does not take the thread that keeps deadlines.
pub(super) const MUCH: usize = 4 * 1024;
pub(super) const BREATH: Duration = Duration::from_millis(1);

/// So many lines of one process are told in a second: a person reads no more, and one that prints for ever
/// would take the processor from all others. The rest is counted.
const MOST: u32 = 100;
const SPAN: Duration = Duration::from_secs(1);

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// How many bytes of this line found no room.
    left_out: usize,
    limit: Option<Limit>,
}

/// How many lines may still be told.
#[derive(Debug)]
struct Limit {
    since: Instant,
    told: u32,
    untold: u64,
}

impl Limit {
    /// Whether the next line may be told, and how many before it were not.
    fn next(&mut self) -> Option<u64> {
        if self.told >= MOST && self.since.elapsed() >= SPAN {
            (self.since, self.told) = (Instant::now(), 0);
        }
        if self.told >= MOST {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Lines {
    /// Of a stream that may never end: not more than a hundred lines in a second.
    #[cfg(feature = "workers")]
    pub(super) fn limited() -> Self {
        let limit = Limit { since: Instant::now(), told: 0, untold: 0 };
        Self { limit: Some(limit), ..Self::default() }
    }

    /// Takes bytes as they come, and gives each line that they end.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LONGEST.saturating_sub(self.begun.len()).min(text.len());
            self.begun.extend_from_slice(&text[..room]);
            self.left_out += text.len() - room;
            if ends {
                self.end(&mut line);
            }
        }
    }

    /// Ends the line that has begun, if one has. One without a visible character is none.
    pub(super) fn end(&mut self, mut line: impl FnMut(String)) {
        let left_out = std::mem::take(&mut self.left_out);
        if self.begun.trim_ascii_end().is_empty() {
            return self.begun.clear();
        }
        let Some(untold) = self.limit.as_mut().map_or(Some(0), Limit::next) else {
            return self.begun.clear();
        };
        let mut text = String::from_utf8_lossy(self.begun.trim_ascii_end()).into_owned();
        self.begun.clear();
        // A log is read in terminals: control characters would be commands there.
        text.retain(|letter| !letter.is_control() || letter == '\t');
        if left_out > 0 {
            // Into a string, which cannot fail.
            let _ = write!(text, " … and {left_out} bytes more");
        }
        if untold > 0 {
            let _ = write!(text, " (and {untold} lines before it: they were too many)");
        }
        if !text.is_empty() {
            line(text);
        }
    }
}

/// The end of what a program has printed on standard error, and how much that was.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Vec<u8>,
    total: u64,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(LONGEST)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(LONGEST);
        self.kept.drain(..excess);
        self.kept.extend_from_slice(bytes);
    }

    /// The last line that says something, and how much there was if that is more than is kept.
    pub(super) fn last_line(&self) -> Option<String> {
        let (mut lines, mut last) = (Lines::default(), None);
        lines.push(&self.kept, |line| last = Some(line));
        lines.end(|line| last = Some(line));
        match self.total > self.kept.len() as u64 {
            true => Some(format!("{} (the end of {} bytes)", last?, self.total)),
            false => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for part in parts {
            lines.push(part, |line| all.push(line));
        }
        lines.end(|line| all.push(line));
        all
    }

    #[test]
    fn lines_are_cut_wherever_the_bytes_are() {
        assert_eq!(lines(&[b"a", b"b\r\n\n", b"c\x1b[1md\n", b"e"]), ["ab", "c[1md", "e"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let endless = vec![b'x'; 3 * LONGEST];
        let all = lines(&[&endless, &endless, b"\nnext\n"]);
        assert_eq!(all.len(), 2);
        assert!(all[0].len() < LONGEST + 100 && all[0].ends_with("and 20480 bytes more"));
        assert_eq!(all[1], "next");
    }

    #[test]
    #[cfg(feature = "workers")]
    fn a_process_that_prints_for_ever_is_told_of_a_hundred_times_a_second() {
        let (mut lines, mut all) = (Lines::limited(), Vec::new());
        let begun = Instant::now();
        lines.push(&b"c\n".repeat(100_000), |line| all.push(line));
        let seconds = begun.elapsed().as_secs() + 1;
        assert!(
            all.len() as u64 <= seconds * u64::from(MOST),
            "{} lines in {seconds} s",
            all.len()
        );
        if let Some(limit) = &mut lines.limit {
            limit.since -= SPAN;
        }
        lines.push(b"the next\n", |line| all.push(line));
        let last = all.last().unwrap();
        assert!(last.starts_with("the next (and 99") && last.ends_with("too many)"), "{last}");
    }

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        let mut tail = Tail::default();
        tail.push(&vec![b'x'; 1 << 20]);
        tail.push(b"\nPHP Fatal error\n \n");
        let last = tail.last_line().unwrap();
        assert_eq!(last, "PHP Fatal error (the end of 1048595 bytes)");
    }
}
