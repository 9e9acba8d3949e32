//! The accept queue: what the accept loop needs of it, and the real one.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::unconstrained;
use tokio::time::sleep;

use crate::event::{Event, Lost};
use crate::limits::ACCEPT_PAUSE;
use crate::listen::Listener;
use crate::listen::watcher::Watcher;
use crate::serve::door::{Observer, tell};
use crate::serve::stream::{Socket, Stream};

/// Where connections come from. A simulated one stands in where time matters.
pub(crate) trait Queue {
    type Connection: Stream + Send + 'static;

    /// Takes the connection that has waited longest, without a wait.
    fn accept(&self) -> rustix::io::Result<Self::Connection>;

    /// Whether somebody is in it; always, once the door is closed.
    fn has_waiting(&self) -> bool;

    /// Whether nobody can connect any more. From then on it is readable for ever, whoever is in it.
    fn is_shut(&self) -> bool;

    /// Waits until there may be something to accept. What it knew of before is forgotten here, and
    /// the next accept looks: what comes in between wakes the next wait.
    fn wait(&self) -> impl Future<Output = ()>;

    /// It will not be waited for, for a while: others do.
    fn rest(&self);

    /// Lets nobody connect any more; who is in it can still be accepted. False where it goes on with
    /// somebody else, who then serves them.
    fn close_door(&self) -> impl Future<Output = bool>;
}

/// A listener's queue, watched by the runtime while it is waited for: to be woken for each client
/// that others accept would cost more than they do.
pub(crate) struct Watched {
    listener: Arc<Listener>,
    watch: RefCell<Watch>,
    /// Until the door is closed.
    watcher: Cell<Option<Watcher>>,
    /// Who is told that another has shut it, until then or until the door is closed.
    untold: Cell<Option<Observer>>,
}

enum Watch {
    /// A descriptor of its own, as the runtime wants to own what it watches; and a stream's, as only
    /// that can be watched without accepting.
    Resting(std::os::unix::net::UnixStream),
    Watching(Rc<UnixStream>),
    /// While it passes from the one to the other, and where that failed.
    None,
}

impl Watched {
    /// Must be called on the runtime that watches it.
    pub(crate) fn new(listener: Arc<Listener>, observer: Observer) -> io::Result<Self> {
        let untold = Cell::new(Some(Arc::clone(&observer)));
        let tell = move |lost| tell(&observer, &Event::SocketLost(lost));
        let watcher =
            listener.file().map(|file| Watcher::keep(file.path.clone(), file.identity, tell));
        let watch = RefCell::new(Watch::Resting(listener.as_fd().try_clone_to_owned()?.into()));
        Ok(Self { watch, listener, watcher: Cell::new(watcher.transpose()?), untold })
    }

    fn watch(&self) -> io::Result<Rc<UnixStream>> {
        let mut watch = self.watch.borrow_mut();
        let resting = match std::mem::replace(&mut *watch, Watch::None) {
            Watch::Watching(stream) => {
                *watch = Watch::Watching(Rc::clone(&stream));
                return Ok(stream);
            }
            Watch::Resting(stream) => stream,
            Watch::None => self.listener.as_fd().try_clone_to_owned()?.into(),
        };
        let stream = Rc::new(UnixStream::from_std(resting)?);
        *watch = Watch::Watching(Rc::clone(&stream));
        Ok(stream)
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

    fn is_shut(&self) -> bool {
        self.listener.is_shut()
    }

    async fn wait(&self) {
        let Ok(watch) = self.watch() else { return sleep(ACCEPT_PAUSE).await };
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = watch.try_io(Interest::READABLE, nothing);
        let ready = poll_fn(|cx| Poll::Ready(watch.poll_read_ready(cx).is_ready()));
        if unconstrained(ready).await {
            // Still, though it was just forgotten: somebody who shares the listener has shut it, and
            // it will be readable for ever.
            if let Some(observer) = self.untold.take() {
                tell(&observer, &Event::SocketLost(Lost::Shut));
            }
            return sleep(ACCEPT_PAUSE).await;
        }
        if watch.readable().await.is_err() {
            sleep(ACCEPT_PAUSE).await;
        }
    }

    fn rest(&self) {
        let mut watch = self.watch.borrow_mut();
        let stream = match std::mem::replace(&mut *watch, Watch::None) {
            Watch::Watching(stream) => {
                Rc::try_unwrap(stream).ok().and_then(|stream| stream.into_std().ok())
            }
            Watch::Resting(stream) => Some(stream),
            Watch::None => None,
        };
        // One that could not be watched is gone.
        let another = || self.listener.as_fd().try_clone_to_owned().ok().map(Into::into);
        *watch = stream.or_else(another).map_or(Watch::None, Watch::Resting);
    }

    async fn close_door(&self) -> bool {
        // First: what is removed and shut now is not lost.
        self.watcher.take();
        self.untold.take();
        self.listener.close_door().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Bind;

    /// It had none until the next wait, which may be one without a descriptor to spare.
    #[tokio::test]
    async fn who_rests_has_a_descriptor_for_the_next_wait_also_after_one_could_not_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Arc::new(Bind::new(folder.path().join("s")).listen().unwrap());
        let queue = Watched::new(listener, Arc::new(|_| {})).unwrap();
        queue.watch.replace(Watch::None);
        queue.rest();
        assert!(matches!(*queue.watch.borrow(), Watch::Resting(_)));
        assert!(queue.watch().is_ok());
        queue.rest();
        assert!(matches!(*queue.watch.borrow(), Watch::Resting(_)));
    }
}
