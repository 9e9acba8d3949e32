//! What a program prints beside its replies, as lines of bounded length.

use std::fmt::Write;

/// The longest line that is kept whole: as much as a log line should have.
const LONGEST: usize = 4096;

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// How many bytes of this line found no room.
    left_out: usize,
}

impl Lines {
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
        let mut text = String::from_utf8_lossy(self.begun.trim_ascii_end()).into_owned();
        self.begun.clear();
        // A log is read in terminals: control characters would be commands there.
        text.retain(|letter| !letter.is_control() || letter == '\t');
        if left_out > 0 {
            // Into a string, which cannot fail.
            let _ = write!(text, " … and {left_out} bytes more");
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
    fn the_last_line_is_the_last_that_says_something() {
        let mut tail = Tail::default();
        tail.push(&vec![b'x'; 1 << 20]);
        tail.push(b"\nPHP Fatal error\n \n");
        let last = tail.last_line().unwrap();
        assert_eq!(last, "PHP Fatal error (the end of 1048595 bytes)");
    }
}
