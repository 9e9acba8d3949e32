//! Every deadline and limit, each with the reason for its default.

use std::time::Duration;

/// How long, and how much, one exchange may take. All durations count real time.
///
/// ```
/// use std::time::Duration;
/// let mut limits = unhang::Limits::default();
/// limits.handler = Duration::from_secs(60);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// From the accept until the request is whole. A local client writes within microseconds; ten
    /// seconds forgive one that is stopped, swapped out or typed by hand, and end a page that
    /// forgot its newline while somebody still looks at it.
    pub read: Duration,
    /// For the handler. Ten seconds are longer than a person waits for a page and shorter than the
    /// 30 s after which PHP, and the 60 s after which nginx, would give up without a reason.
    pub handler: Duration,
    /// For the client to take some of its reply, again and again until it has all of it. A client that
    /// has taken nothing for ten seconds does not read; one that reads slowly is not cut.
    pub write: Duration,
    /// For discarding what a client still sends after its answer, so that the answer is not lost to
    /// a reset. A reader sees the end at once (it is half-closed first); two seconds let a writer
    /// finish.
    pub linger: Duration,
    /// From the call to stop until whatever is still under way is told so and closed. Below the ten
    /// seconds after which container runtimes kill: a drain longer than that is none.
    pub drain: Duration,
    /// How long a request of more than 32 KiB may pause, at least, before it is taken to be whole, with
    /// [`Until::Dry`](crate::Until::Dry); four times as long as it has taken so far, if that is longer.
    /// A quarter of a second lets a writer get the processor on a machine with several busy programs
    /// for each; five milliseconds, the default once, cut requests there. Shorter requests never wait,
    /// and neither does one whose client half-closes.
    pub settle: Duration,
    /// The longest request, in bytes. One mebibyte holds any message somebody would write in one
    /// call, and a thousand of them do not fill a small machine's memory.
    pub max_request: usize,
    /// Connections served at once; more wait in the accept queue. A thousand stay below the 1,024
    /// descriptors that a process may usually open.
    pub max_connections: usize,
    /// How long clients may wait in the accept queue for a place. A client that is still there then is
    /// told that the server is busy: two seconds get over a burst, and leave a client with the
    /// usual patience of five the time to do something else.
    pub queue: Duration,
    /// Connections of one user at once. Not bounded unless set: most services have one user, the web
    /// server's.
    pub max_per_uid: usize,
    /// Handlers that run at once, those included whose clients were told that they are late: work that a
    /// handler has left to `spawn_blocking` goes on after that, for as long as it holds its
    /// [`Request`](crate::Request). When so many run, clients are told that the server is busy. Twice
    /// `max_connections` unless set: as many as may be answered, and as many that nobody waits for any
    /// more. A server without such work never comes to it.
    pub max_handlers: Option<usize>,
    /// How long a connection may be kept without a request, on wires that keep one. Unless set, that
    /// depends on the wire: two minutes for HTTP, longer than the pools of nginx (60 s), Go (90 s) and
    /// curl (118 s), so that it is the client that closes; an hour for lines, which a person or a worker
    /// may hold open, and which cost little memory; for ever for Goridge, whose client never connects
    /// again.
    pub idle: Option<Duration>,
    /// Bytes that the requests under way may hold together. A thousand of the longest would be a
    /// gigabyte; a quarter of that fits beside other programs on a small machine. What handlers and
    /// replies hold is theirs to bound.
    pub max_held: usize,
}

impl Limits {
    /// How many handlers may run at once.
    pub(crate) fn most_handlers(&self) -> usize {
        self.max_handlers.unwrap_or(self.max_connections.saturating_mul(2))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(10),
            handler: Duration::from_secs(10),
            write: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(8),
            settle: Duration::from_millis(250),
            max_request: 1 << 20,
            max_connections: 1000,
            queue: Duration::from_secs(2),
            max_per_uid: usize::MAX,
            max_handlers: None,
            idle: None,
            max_held: 256 << 20,
        }
    }
}

/// The accept queue's length that is asked for. The kernel lowers it to net.core.somaxconn, which is
/// 4096 since Linux 5.4; a burst that does not fit makes clients wait in `connect()`.
pub const BACKLOG: i32 = 4096;

/// The mode of a new socket file: its owner and group may connect, others may not. To connect needs
/// write permission: unix(7).
pub const MODE: u32 = 0o660;

/// How long a whole call may take, from the client's side. Below the server's handler deadline: a
/// caller that wants to wait longer says so; a page that waits longer has lost its reader.
pub const CALL: Duration = Duration::from_secs(5);

/// The longest reply that a client takes, in bytes: enough for a large page or picture, and what a
/// PHP worker with the usual 128 MiB can hold beside its own data.
pub const MAX_REPLY: usize = 16 << 20;

/// How often it is looked whether the socket file is still there. It costs a system call; and a
/// person that has just deleted the file, or started what replaced it, still looks at the log a second later.
pub(crate) const FILE_CHECK: Duration = Duration::from_secs(1);

/// How often it is looked whether somebody waits in the accept queue while no worker is at work. A
/// process that shares the listener (an old server, a child that has inherited it) may be woken for a
/// client in place of a worker, and not accept it: because it is killed just then, say. For that a second
/// is soon enough; more often would only wake an idle machine.
pub(crate) const QUEUE_CHECK: Duration = Duration::from_secs(1);

/// How often it is looked whether a client that does not take its reply still writes: it may read only
/// after that, and is made room for. Ten times a second is soon enough for a client that does both, and
/// costs little with a thousand of them. And so long a client that has more requests, and has left no room for the
/// next answer, waits after its turn.
pub(crate) const READER_CHECK: Duration = Duration::from_millis(100);

/// The pause after an accept that failed for want of descriptors or memory. The connection stays in
/// the queue and the listener readable: trying again at once would only burn the processor that the
/// others need to finish.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often, with that pause between, it is tried to tell the clients still in the accept queue
/// at the end of a drain: for one second, as closing the socket would reset them. The drain's
/// default of eight leaves a container two.
pub(crate) const LAST_CALLS: u32 = 20;

/// How long a successor that finds the lock held, and nobody to ask, waits for it. A server that was
/// replaced lets go within milliseconds; one that cannot be replaced is not waited for much longer.
pub(crate) const LET_GO: Duration = Duration::from_secs(1);

/// How often it is looked whether a handler blocks the worker that it began on, while any worker is at
/// work; so others are called to go on without it after one to two of these. A client that waits for a
/// blocked worker loses that much; ten milliseconds are not felt, and to look a hundred times a second
/// costs a busy server less than a thousandth of a processor.
pub(crate) const WORKER_CHECK: Duration = Duration::from_millis(10);

/// How many connections a worker accepts before it looks again what else is ready.
pub(crate) const BURST: u32 = 64;
