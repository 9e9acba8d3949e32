//! Writes lines from a thread of its own, so that a log that nobody reads (a pipe into a stopped
//! program, a full disk) never holds up a client. Lines that find no room are counted, and their
//! number is said.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait: a fraction of a second of a busy server, in well under a megabyte.
const WAITING: usize = 4096;

/// How long lines are gathered after some were written: to be woken for each line, and to write it,
/// costs more than the exchange that it tells of. A hundredth of a second later is at once for people.
const GATHER: Duration = Duration::from_millis(10);

/// How long the last lines may take. A log that takes none must not keep a stopped server; one that
/// is only slow, on a machine that is short of processors, should lose nothing.
const FLUSH: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    items: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Line(String),
    /// The last line. When it is written, the sender is dropped.
    Last(String, SyncSender<()>),
}

impl Writer {
    /// `lost` renders how many lines were dropped.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        lost: impl Fn(u64) -> String + Send + 'static,
    ) -> Self {
        let (items, waiting) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        // Without the thread all lines are dropped, which is better than no server.
        let _ = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(out, &waiting, &count, lost));
        Self { items, dropped }
    }

    /// Never blocks.
    pub(super) fn write(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.items.try_send(Item::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a moment until everything is written.
    pub(super) fn finish(&self, line: String) {
        let end = Instant::now() + FLUSH;
        let (done, written) = sync_channel(0);
        let mut last = Item::Last(line, done);
        // Where the log is full, there may soon be room: somebody has begun to read it.
        while let Err(TrySendError::Full(item)) = self.items.try_send(last) {
            if Instant::now() >= end {
                return;
            }
            last = item;
            std::thread::sleep(Duration::from_millis(1));
        }
        // An error either way: the sender was dropped, so all is written; or time is up.
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write_all(
    mut out: impl Write,
    items: &Receiver<Item>,
    dropped: &AtomicU64,
    lost: impl Fn(u64) -> String,
) {
    while let Ok(first) = items.recv() {
        // All that waits goes out in one write: a write per line costs more than the exchange.
        let mut text = String::new();
        let mut last = None;
        for item in std::iter::once(first).chain(items.try_iter().take(WAITING)) {
            match item {
                Item::Line(line) => text += &line,
                Item::Last(line, done) => last = Some((line, done)),
            }
        }
        // What found no room came after what did.
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => text += &lost(count),
        }
        if let Some((line, _)) = &last {
            text += line;
        }
        // Nowhere is left to complain about the log.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // Whoever waits for the last line hears of it by this.
        drop(last);
        std::thread::sleep(GATHER);
    }
}
