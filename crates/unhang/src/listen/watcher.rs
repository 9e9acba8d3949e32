//! Keeps an eye on the socket file. A process that deletes or replaces it shuts all new clients
//! out, and neither they nor the server would learn why.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;

use crate::event::Lost;
use crate::limits::FILE_CHECK;
use crate::listen::file::Identity;

/// Watches until it is dropped.
pub(crate) struct Watcher {
    _end: Sender<()>,
}

impl Watcher {
    /// Calls `tell` once when the file is lost, and again only when that changes. On a thread of its
    /// own: a file system that hangs must not hold up a deadline.
    pub(crate) fn keep(
        path: PathBuf,
        ours: Identity,
        tell: impl Fn(Lost) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (end, ended) = channel();
        thread::Builder::new().name("unhang-file".into()).spawn(move || {
            let mut known = None;
            while ended.recv_timeout(FILE_CHECK) == Err(RecvTimeoutError::Timeout) {
                let now = match Identity::of(&path) {
                    Ok(found) if found == ours => None,
                    Ok(_) => Some(Lost::Replaced),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        Some(Lost::Deleted)
                    }
                    // It may be there all the same.
                    Err(_) => known,
                };
                // A server that stops ends this before it removes the file itself.
                if ended.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
                if let Some(lost) = now.filter(|_| now != known) {
                    tell(lost);
                }
                known = now;
            }
        })?;
        Ok(Self { _end: end })
    }
}
