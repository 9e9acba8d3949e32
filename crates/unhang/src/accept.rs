//! The accept loop, and the drain: a place → accept → who is it → one task per connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::admission::{Admission, Places, Turn};
use crate::connection::{Connection, Rules};
use crate::drain::{Drain, Stop};
use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::gauges::Gauges;
use crate::handler::{Handler, Peer};
use crate::handover::{self, Control};
use crate::isolate::isolated;
use crate::limits::ACCEPT_PAUSE;
use crate::listener::Listener;
use crate::peer;
use crate::spare::Spare;
use crate::stream::Socket;

pub(crate) type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// What the accept loop and all connections share.
pub(crate) struct Service<H> {
    pub(crate) rules: Arc<Rules>,
    pub(crate) admission: Admission,
    pub(crate) places: Places,
    pub(crate) gauges: Gauges,
    pub(crate) handler: Arc<H>,
    /// Where handlers run.
    pub(crate) handlers: Handle,
    pub(crate) observer: Observer,
    pub(crate) drain: Drain,
}

/// Whether new connections can still enter the accept queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

impl<H: Handler> Service<H> {
    pub(crate) async fn run(
        self,
        listener: Listener,
        stop: Arc<Stop>,
        stop_when: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let queue = listener.watch()?;
        let listener = Arc::new(listener);
        let within = self.rules.limits.drain;
        let giving = Arc::new(Mutex::new(()));
        listener.serve_instead();
        tokio::spawn(self.hand_over(Arc::clone(&listener), Arc::clone(&stop), Arc::clone(&giving)));
        tokio::spawn(async move {
            stop_when.await;
            stop.begin(within);
        });

        let mut drain = self.drain.clone();
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.accept_all(&listener, &queue, Door::Open) => {}
        }

        // A successor that has the socket already, and is about to say so, must find it open.
        let _nobody_is_given = giving.lock().await;
        let door_is_ours = listener.is_ours();
        if door_is_ours {
            listener.close_door();
        }
        self.tell(&Event::Draining { open: self.places.taken(), within });
        if door_is_ours {
            tokio::select! {
                biased;
                () = self.accept_all(&listener, &queue, Door::Closed) => {}
                () = drain.over() => self.turn_all_away(&listener, || Cause::Stopping),
            }
        } else {
            // It is another's alone now. Kept open until the drain is over, it would outlive that
            // other if it is killed: clients would enter a queue that nobody serves, and the lock
            // would keep the next start out.
            drop((queue, listener));
        }
        self.places.all_free().await;
        Ok(())
    }

    /// Gives the socket to a successor that asks for it, and stops when that one serves. `giving` is
    /// held while it is open who will.
    fn hand_over(
        &self,
        listener: Arc<Listener>,
        stop: Arc<Stop>,
        giving: Arc<Mutex<()>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let observer = Arc::clone(&self.observer);
        let within = self.rules.limits.drain;
        async move {
            let Some(Ok(control)) = listener.control.as_ref().map(Control::listener) else {
                return;
            };
            loop {
                let Ok((stream, _)) = control.accept().await else {
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let Ok(stream) = stream.into_std() else { continue };
                let _giving = giving.lock().await;
                let peer = peer::of(stream.as_fd());
                let listener = Arc::clone(&listener);
                let given = spawn_blocking(move || handover::give(&listener, &stream)).await;
                match given.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                    Ok(()) => {
                        tell(&observer, &Event::Replaced { by: peer });
                        stop.begin(within);
                        return;
                    }
                    Err(error) => tell(&observer, &Event::NotReplaced { by: peer, error: &error }),
                }
            }
        }
    }

    /// Accepts for ever, or, once nobody can connect any more, until the queue is empty. No failure
    /// ends it before.
    async fn accept_all(&self, listener: &Listener, queue: &UnixStream, door: Door) {
        let mut spare = Spare::new();
        let mut failing = false;
        loop {
            // First the place: who cannot be served yet waits in the accept queue, but not for long.
            let place = match self.places.take(somebody_waits(listener, queue)).await {
                Turn::Served(place) => place,
                Turn::TooLate => {
                    let most = self.rules.limits.max_connections;
                    self.turn_all_away(listener, || Cause::Busy(Scarce::Places { most }));
                    self.places.queue_is_empty();
                    continue;
                }
            };
            let connection = loop {
                match listener.accept() {
                    Ok(connection) => break connection,
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(Errno::AGAIN) => {
                        self.places.queue_is_empty();
                        match door {
                            Door::Open => wait(queue).await,
                            Door::Closed => return,
                        }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            self.tell(&Event::AcceptFailed(&error.into()));
                        }
                        match spare.accept(listener, error) {
                            Some(connection) => {
                                self.turn_away(connection, Cause::Busy(Scarce::Descriptors));
                            }
                            None => sleep(ACCEPT_PAUSE).await,
                        }
                    }
                }
            };
            failing = false;
            let peer = peer::of(connection.as_fd());
            match self.admission.admit(peer, &self.rules.limits) {
                Ok(entry) => self.serve(connection, peer, (place, entry)),
                Err(cause) => self.turn_away(connection, cause),
            }
        }
    }

    /// `held` is what the connection takes up, given back when it has ended.
    fn serve(&self, connection: OwnedFd, peer: Option<Peer>, held: impl Send + 'static) {
        let connection =
            Connection::new(Socket::new(connection), Arc::clone(&self.rules), self.drain.clone());
        let handler = Arc::clone(&self.handler);
        let handlers = self.handlers.clone();
        let observer = Arc::clone(&self.observer);
        let counted = self.gauges.connection();
        tokio::spawn(async move {
            let answer = |request| isolated(handlers, handler, request);
            let exchange = connection.run(peer, answer).await;
            tell(&observer, &Event::Exchange(&exchange));
            drop((held, counted));
        });
    }

    /// Tells everybody in the accept queue why they are not served.
    fn turn_all_away(&self, listener: &Listener, cause: impl Fn() -> Cause) {
        // As many as the longest queue holds: who comes after that is not to keep us here.
        for _ in 0..=crate::limits::BACKLOG {
            match listener.accept() {
                Ok(connection) => self.turn_away(connection, cause()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    /// Tells one client why it is not served, without a wait: it holds no place that it could wait
    /// in. Its input is shut off before the rest of it is thrown away, so that nothing can come
    /// after that and make the close a reset.
    fn turn_away(&self, connection: OwnedFd, cause: Cause) {
        let accepted = Instant::now();
        let (mut bytes_in, mut bytes_out) = (0, 0);
        if let Some(reply) = (self.rules.refusal)(&cause) {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            bytes_out = rustix::net::send(&connection, reply.bytes(), flags).unwrap_or(0);
        }
        // Each of these fails only where the client is gone.
        let _ = rustix::net::shutdown(&connection, Shutdown::Both);
        let mut rest = [0; 16 * 1024];
        while let Ok((_, count @ 1..)) =
            rustix::net::recv(&connection, &mut rest, RecvFlags::DONTWAIT)
        {
            bytes_in += count;
        }
        let peer = peer::of(connection.as_fd());
        drop(connection);
        let took = accepted.elapsed();
        let ended = Ended::Refused(cause);
        let handled = None;
        self.tell(&Event::Exchange(&Exchange { peer, bytes_in, bytes_out, took, handled, ended }));
    }

    fn tell(&self, event: &Event<'_>) {
        tell(&self.observer, event);
    }
}

/// An observer that panics costs its own line, and no connection.
fn tell(observer: &Observer, event: &Event<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
}

/// Waits until there is somebody in the accept queue.
async fn somebody_waits(listener: &Listener, queue: &UnixStream) {
    while !listener.has_waiting() {
        wait(queue).await;
    }
}

/// Waits until there may be something to accept. What it knew of before is forgotten here, and the
/// next accept looks: what comes in between wakes the next wait.
async fn wait(queue: &UnixStream) {
    let forgotten = async {
        queue.readable().await?;
        queue.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))
    };
    match forgotten.await {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => sleep(ACCEPT_PAUSE).await,
        _ => {}
    }
}
