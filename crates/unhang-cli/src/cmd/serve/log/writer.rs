//! Writes lines from a thread of its own, so that a log that nobody reads (a pipe into a stopped
//! program, a full disk) never holds up a client. Lines that find no room are counted, and their
//! number is said.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait: a fraction of a second of a busy server.
const WAITING: usize = 512 * 1024;

/// How long lines are gathered after some were written: to be woken for each line, and to write it,
/// costs more than the exchange that it tells of. A hundredth of a second later is at once for people.
const GATHER: Duration = Duration::from_millis(10);

/// How long the last lines may take. A log that takes none must not keep a stopped server; one that
/// is only slow, on a machine that is short of processors, should lose nothing.
const FLUSH: Duration = Duration::from_secs(2);

pub(super) struct Writer(Arc<Desk>);

/// Where the threads that have a line meet the thread that writes them.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    /// For the thread, while it is idle.
    news: Condvar,
    /// For a thread that waits for the last line.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: String,
    /// How many found no room after those.
    dropped: u64,
    /// What is to be written when all else is.
    last: Option<String>,
    /// Whether the thread waits to be told of a line.
    idle: bool,
    /// Whether the thread has written the last one, or cannot write any.
    over: bool,
}

impl Writer {
    /// `lost` renders how many lines were dropped.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        lost: impl Fn(u64) -> String + Send + 'static,
    ) -> Self {
        let desk = Arc::new(Desk::default());
        let shared = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("log".into());
        // Without the thread all lines are dropped, which is better than no server.
        if thread.spawn(move || shared.write_all(out, lost)).is_err() {
            desk.waiting().over = true;
        }
        Self(desk)
    }

    /// Never blocks for longer than it takes to copy a line.
    pub(super) fn write(&self, line: &str) {
        let mut waiting = self.0.waiting();
        if waiting.over || waiting.dropped > 0 || waiting.lines.len() + line.len() > WAITING {
            waiting.dropped += 1;
        } else {
            waiting.lines += line;
        }
        if std::mem::take(&mut waiting.idle) {
            self.0.news.notify_one();
        }
    }

    /// Waits a moment until everything is written.
    pub(super) fn finish(&self, line: String) {
        let mut waiting = self.0.waiting();
        waiting.last = Some(line);
        self.0.news.notify_one();
        // Written by then or not, the server goes.
        let _ = self.0.written.wait_timeout_while(waiting, FLUSH, |waiting| !waiting.over);
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut out: impl Write, lost: impl Fn(u64) -> String) {
        let mut text = String::new();
        loop {
            // All that waits goes out in one write: a write per line costs more than the exchange.
            let (dropped, last) = self.take(&mut text);
            if dropped > 0 {
                text += &lost(dropped);
            }
            if let Some(last) = &last {
                text += last;
            }
            // Nowhere is left to complain about the log.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            text.clear();
            if last.is_some() {
                self.waiting().over = true;
                self.written.notify_one();
                return;
            }
            std::thread::sleep(GATHER);
        }
    }

    /// Waits until there is something, and takes it all: the lines, how many are missing after them,
    /// and the last one.
    fn take(&self, lines: &mut String) -> (u64, Option<String>) {
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() && waiting.dropped == 0 && waiting.last.is_none() {
            waiting.idle = true;
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        std::mem::swap(lines, &mut waiting.lines);
        (std::mem::take(&mut waiting.dropped), waiting.last.take())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what is written when it is told to.
    struct Reader {
        goes_on: Receiver<()>,
        began: Sender<()>,
        got: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(());
            let _ = self.goes_on.recv();
            self.got.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// It was not said until the end, and nothing else was, either: the thread was not woken.
    #[test]
    fn a_line_that_is_too_long_alone_is_counted_at_once() {
        let ((go_on, goes_on), (began, begun)) = (channel(), channel());
        let got = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer::start(Reader { goes_on, began, got }, |_| "missing\n".into());
        while !writer.0.waiting().idle {
            std::thread::yield_now();
        }
        writer.write(&"x".repeat(WAITING + 1));
        begun.recv_timeout(Duration::from_secs(30)).unwrap();
        drop(go_on);
    }

    /// What is missing is missing in one place, whose beginning and length the log tells.
    #[test]
    fn lines_that_find_no_room_are_counted_where_they_would_be() {
        let ((go_on, goes_on), (began, begun)) = (channel(), channel());
        let got = Arc::new(Mutex::new(Vec::new()));
        let reader = Reader { goes_on, began, got: Arc::clone(&got) };
        let writer = Writer::start(reader, |count| format!("{count} missing\n"));
        writer.write("first\n");
        begun.recv().unwrap();

        let long = format!("{}\n", "x".repeat(WAITING - 1));
        writer.write(&long);
        writer.write("no room\n");
        writer.write("none\n");
        writer.write("nor this\n");
        drop(go_on);
        writer.finish("last\n".into());
        let got = String::from_utf8(got.lock().unwrap().clone()).unwrap();
        assert_eq!(got.replace(&long, "long\n"), "first\nlong\n3 missing\nlast\n");
    }
}
