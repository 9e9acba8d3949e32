//! Connections that are kept for the next call.

use std::sync::{Arc, Mutex, PoisonError};

use super::socket::Unregistered;

/// Shared by all clones of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Unregistered>>>);

/// How many are kept while nobody calls: each is a descriptor here and at the server. More calls than that
/// at once are made all the same, and those above it connect anew.
const MOST: usize = 16;

impl Pool {
    /// The one that was used last, and that the server has not ended.
    pub(super) fn take(&self) -> Option<Unregistered> {
        loop {
            // The lock is not held while an ended one is closed.
            let socket = self.sockets().pop()?;
            if socket.is_silent() {
                return Some(socket);
            }
        }
    }

    pub(super) fn keep(&self, socket: Unregistered) {
        let mut sockets = self.sockets();
        if sockets.len() < MOST {
            sockets.push(socket);
        } else {
            drop(sockets);
            drop(socket);
        }
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<Unregistered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
