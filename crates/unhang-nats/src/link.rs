//! One connection to a node: which node it is on, whether that node lives, and when to leave it.
//!
//! async-nats connects again by itself. The rest is done here: it hears a node's silence only after
//! its pings (3 s at the shortest), and it stays with a node that says that it goes away.

mod beats;
mod state;
mod words;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, HeaderMap, ReconnectToServer, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::nodes::Nodes;
use crate::notice::{Notice, Notices, advice};
use beats::Beats;
pub(crate) use state::State;
use words::{explained, failure, named};

/// The connection hears itself so often: each time a few dozen bytes.
const BEAT: Duration = Duration::from_millis(250);

/// A node that has not given it back for so long gets no new calls, if another node is there.
const SUSPECT: Duration = Duration::from_millis(500);

/// And after so long the connection moves. Longer, because its calls under way are lost with it, and a busy
/// machine is not dead.
const DEAD: Duration = Duration::from_secs(2);

/// async-nats's own ping, the second line of defence: a node that takes no bytes either.
const PING: Duration = Duration::from_secs(1);

/// TLS and a key take several round trips, and a busy machine half a second for them. The other connection serves
/// meanwhile.
const CONNECT: Duration = Duration::from_secs(2);

/// Messages that wait to be read, of one subscription: async-nats drops those above it. Calls under way are
/// bounded far below it.
const CAPACITY: usize = 1 << 16;

/// How long a message may wait for room in the connection's queue, which is full only if the node takes
/// nothing.
const ROOM: Duration = Duration::from_millis(50);

/// How long calls under way may take to end on a node that goes away; its own grace period is 10 s unless
/// it is configured otherwise.
pub(crate) const LEAVE: Duration = Duration::from_secs(8);

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) number: usize,
    pub(crate) client: Client,
    pub(crate) inbox: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    state: watch::Sender<State>,
    nodes: Arc<Nodes>,
    notices: Notices,
    address: String,
    /// Calls that would be lost with the connection.
    open: AtomicUsize,
    beats: Beats,
}

/// What came on a connection's own inbox, behind its prefix.
pub(crate) type Incoming = mpsc::UnboundedReceiver<async_nats::Message>;

/// The last token of a beat's subject.
const ECHO: &str = "echo";

impl Link {
    /// Begins to connect, and goes on for ever. The second part is what comes on its inbox.
    ///
    /// # Errors
    /// None that a later try could mend: an address that async-nats does not take.
    pub(crate) async fn open(
        number: usize,
        address: &Address,
        options: ConnectOptions,
        inbox: String,
        nodes: Arc<Nodes>,
        notices: Notices,
    ) -> Result<(Self, Incoming), String> {
        let (events, told) = mpsc::unbounded_channel();
        let chooser = Arc::clone(&nodes);
        let failures = events.clone();
        let scheme = address.clone();
        let options = options
            .name(format!("unhang {number}"))
            .ping_interval(PING)
            .connection_timeout(CONNECT)
            .subscription_capacity(CAPACITY)
            .ignore_discovered_servers()
            .retain_servers_order()
            .retry_on_initial_connect()
            .event_callback(move |event| {
                // The other end is there as long as the connection is.
                let _ = events.send(Told::Event(event));
                std::future::ready(())
            })
            .reconnect_to_server_callback(move |tried, _| {
                let why: Vec<_> = tried.iter().filter_map(failure).collect();
                if !why.is_empty() {
                    let _ = failures.send(Told::Failed(why.join("; ")));
                }
                let choice = chooser.choose(number, Instant::now());
                let choice = choice.and_then(|(node, pause)| {
                    let addr = scheme.url(&node).parse().ok()?;
                    Some(ReconnectToServer { addr, delay: Some(pause) })
                });
                std::future::ready(choice)
            });
        let urls: Vec<_> = address.nodes().iter().map(|node| address.url(node)).collect();
        let client = options.connect(urls).await.map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State { why: "it is tried".into(), ..State::default() }),
            nodes,
            notices,
            address: address.nodes().join(", "),
            open: AtomicUsize::new(0),
            beats: Beats::new(),
        });
        let link = Self { number, client, inbox: inbox.into(), shared };
        let own = link.client.subscribe(format!("{}.>", link.inbox)).await;
        let own = own.map_err(|error| error.to_string())?;
        let (pass, incoming) = mpsc::unbounded_channel();
        tokio::spawn(link.clone().listen(own, pass));
        tokio::spawn(link.clone().watch(told));
        tokio::spawn(link.clone().beat());
        Ok((link, incoming))
    }

    pub(crate) fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// Without a copy of its words: each call asks.
    pub(crate) fn is(&self, test: &dyn Fn(&State) -> bool) -> bool {
        test(&self.shared.state.borrow())
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// How many calls would be lost with it.
    pub(crate) fn open_calls(&self) -> &AtomicUsize {
        &self.shared.open
    }

    /// Whether the message is on its way; if not, it never will be.
    pub(crate) async fn publish(
        &self,
        subject: String,
        reply: Option<String>,
        headers: &[(&'static str, String)],
        payload: Bytes,
    ) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.as_str());
        }
        let sending = async {
            match reply {
                Some(reply) => {
                    let client = &self.client;
                    client.publish_with_reply_and_headers(subject, reply, map, payload).await
                }
                None => self.client.publish_with_headers(subject, map, payload).await,
            }
        };
        match timeout(ROOM, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the node takes no bytes".into()),
        }
    }

    /// Waits until all that was published before has been seen by the node, and all that the node had sent
    /// before that has been read. False if the connection was lost or silent meanwhile.
    pub(crate) async fn round_trip(&self, within: Duration) -> bool {
        let epoch = self.state().epoch;
        let beat = self.send_beat().await;
        let heard = timeout(within, async {
            while !self.shared.beats.has_come_back(beat) {
                if self.state().epoch != epoch {
                    return false;
                }
                sleep(Duration::from_millis(1)).await;
            }
            true
        });
        heard.await.unwrap_or(false)
    }

    /// Leaves the node that it is on. Calls under way on it are lost.
    pub(crate) async fn move_away(&self) {
        self.shared.nodes.leave(self.number, Instant::now());
        let _ = timeout(ROOM, self.client.force_reconnect()).await;
    }

    async fn send_beat(&self) -> u64 {
        let beat = self.shared.beats.next();
        let subject = format!("{}.{ECHO}", self.inbox);
        let payload = Bytes::from(beat.to_string());
        // Its not coming back says it all.
        let _ = timeout(ROOM, self.client.publish(subject, payload)).await;
        beat
    }

    async fn listen(self, mut own: Subscriber, pass: mpsc::UnboundedSender<async_nats::Message>) {
        while let Some(message) = own.next().await {
            let tail = message.subject.as_str().rsplit('.').next();
            if tail == Some(ECHO) {
                self.shared.beats.hear(&message.payload);
            } else if pass.send(message).is_err() {
                return;
            }
        }
    }

    async fn watch(self, mut told: mpsc::UnboundedReceiver<Told>) {
        while let Some(told) = told.recv().await {
            let event = match told {
                Told::Event(event) => event,
                Told::Failed(why) => {
                    self.failed(&why);
                    continue;
                }
            };
            match event {
                Event::Connected => {
                    tokio::spawn(self.clone().connected());
                }
                Event::Disconnected => self.lost("the node has closed it"),
                Event::LameDuckMode => self.leaving(),
                Event::ServerError(error) => self.complained(&error.to_string()),
                _ => {}
            }
        }
    }

    /// It can be used once it hears itself: then its subscriptions are in force, too.
    async fn connected(self) {
        let epoch = self.state().epoch;
        let node = self.shared.nodes.reached(self.number).unwrap_or_default();
        while !self.round_trip(SUSPECT).await {
            if self.state().epoch != epoch {
                return;
            }
        }
        let info = self.client.server_info();
        let changed = self.shared.state.send_if_modified(|state| {
            let is_new = state.epoch == epoch && !state.is_up;
            if is_new {
                *state = State {
                    is_up: true,
                    is_leaving: info.lame_duck_mode,
                    epoch,
                    node: named(&node, &info.server_name),
                    ..State::default()
                };
            }
            is_new
        });
        if changed {
            let advice = advice(&info.version, &node);
            let node = self.state().node;
            let (link, version) = (self.number, info.version.clone());
            self.shared.notices.tell(Notice::Connected { link, node, version, advice });
        }
    }

    fn lost(&self, why: &str) {
        let mut was = State::default();
        self.shared.state.send_modify(|state| {
            was = state.clone();
            state.epoch += 1;
            (state.is_up, state.is_leaving, state.is_silent) = (false, false, false);
            why.clone_into(&mut state.why);
        });
        if was.is_up {
            let (link, why) = (self.number, why.to_owned());
            self.shared.notices.tell(Notice::Disconnected { link, node: was.node, why });
        }
    }

    /// A try to connect has failed.
    fn failed(&self, why: &str) {
        let why = explained(why);
        let is_news = self.shared.state.send_if_modified(|state| {
            let is_news = !state.is_up && state.why != why;
            if is_news {
                state.why.clone_from(&why);
            }
            is_news
        });
        if is_news {
            let (link, address) = (self.number, self.shared.address.clone());
            self.shared.notices.tell(Notice::NotConnected { link, address, why });
        }
    }

    fn complained(&self, what: &str) {
        let (link, what) = (self.number, explained(what));
        self.shared.notices.tell(Notice::Complaint { link, what });
    }

    fn leaving(&self) {
        let is_news = self.shared.state.send_if_modified(|state| {
            let is_news = state.is_up && !state.is_leaving;
            state.is_leaving |= is_news;
            is_news
        });
        if is_news {
            let (link, node) = (self.number, self.state().node);
            self.shared.notices.tell(Notice::Leaving { link, node });
        }
    }

    async fn beat(self) {
        loop {
            sleep(BEAT).await;
            let state = self.state();
            if !state.is_up {
                self.shared.beats.restart();
                continue;
            }
            // async-nats could not tell us, as its events were too many.
            if self.client.connection_state() == async_nats::connection::State::Disconnected {
                self.lost("it was closed");
                continue;
            }
            let silence = self.shared.beats.silence();
            let is_silent = silence > SUSPECT && self.shared.beats.is_owed();
            if is_silent != state.is_silent {
                self.shared.state.send_if_modified(|now| {
                    let is_same = now.epoch == state.epoch;
                    now.is_silent = if is_same { is_silent } else { now.is_silent };
                    is_same
                });
            }
            if is_silent && silence > DEAD {
                self.lost("the node has been silent for 2 s");
                self.move_away().await;
                continue;
            }
            self.send_beat().await;
        }
    }
}

/// What async-nats tells.
enum Told {
    Event(Event),
    /// Why it could not connect: its event for that says no more than "IO error".
    Failed(String),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("number", &self.number).finish_non_exhaustive()
    }
}
