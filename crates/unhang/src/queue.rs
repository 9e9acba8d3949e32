//! The accept queue: what the accept loop needs of it, and the real one.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::unconstrained;
use tokio::time::sleep;

use crate::accept::{Observer, tell};
use crate::event::Event;
use crate::limits::ACCEPT_PAUSE;
use crate::listener::Listener;
use crate::stream::{Socket, Stream};
use crate::vigil::Vigil;

/// Where connections come from. A simulated one stands in where time matters.
pub(crate) trait Queue {
    type Connection: Stream + Send + 'static;

    /// Takes the connection that has waited longest, without a wait.
    fn accept(&self) -> rustix::io::Result<Self::Connection>;

    /// Whether somebody is in it.
    fn has_waiting(&self) -> bool;

    /// Waits until there may be something to accept. What it knew of before is forgotten here, and
    /// the next accept looks: what comes in between wakes the next wait.
    fn wait(&self) -> impl Future<Output = ()>;

    /// Lets nobody connect any more; who is in it can still be accepted. False where it goes on with
    /// somebody else, who then serves them.
    fn close_door(&self) -> impl Future<Output = bool>;
}

/// A listener's queue, watched by the runtime.
pub(crate) struct Watched {
    listener: Arc<Listener>,
    watch: UnixStream,
    /// Until the door is closed.
    vigil: Cell<Option<Vigil>>,
}

impl Watched {
    /// Must be called on the runtime that watches it.
    pub(crate) fn new(listener: Arc<Listener>, observer: Observer) -> io::Result<Self> {
        let tell = move |lost| tell(&observer, &Event::SocketLost(lost));
        let vigil = listener.file().map(|file| Vigil::keep(file.path.clone(), file.identity, tell));
        Ok(Self { watch: listener.watch()?, listener, vigil: Cell::new(vigil.transpose()?) })
    }
}

impl Queue for Watched {
    type Connection = Socket;

    fn accept(&self) -> rustix::io::Result<Socket> {
        self.listener.accept().map(Socket::new)
    }

    fn has_waiting(&self) -> bool {
        self.listener.has_waiting()
    }

    async fn wait(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.watch.try_io(Interest::READABLE, nothing);
        let ready = poll_fn(|cx| Poll::Ready(self.watch.poll_read_ready(cx).is_ready()));
        if unconstrained(ready).await {
            // Still, though it was just forgotten: somebody who shares the listener has shut it, and
            // it will be readable for ever.
            return sleep(ACCEPT_PAUSE).await;
        }
        if self.watch.readable().await.is_err() {
            sleep(ACCEPT_PAUSE).await;
        }
    }

    async fn close_door(&self) -> bool {
        // First: what is removed now is not lost.
        self.vigil.take();
        self.listener.close_door().await
    }
}
