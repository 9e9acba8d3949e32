//! Ten thousand connections that are kept and idle, on each wire: they cost little, are served when they speak,
//! and are ended without a lost request.

use std::fmt;

use super::super::crowds::allow_descriptors;
use super::*;

const MOST: usize = 10_000;

/// Generous beside the 228 bytes that docs/performance.md measures. With what a request under way needs, they
/// would be more than 900.
const BYTES_EACH: usize = 512;

/// That has nothing to do with their number: it counts if a low limit permits few of them.
const BYTES_FOR_ANYTHING: usize = 1 << 20;

/// Of so many connections, one is tried.
const SAMPLE: usize = 50;

#[test]
fn ten_thousand_idle_ones_cost_little_are_served_and_are_ended_without_a_lost_request() {
    let allowed = allow_descriptors();
    // What is left is for the tests beside this one.
    let clients = MOST.min(usize::try_from(allowed.most).unwrap() / 6 * 5);
    if clients < MOST {
        say(&format!("{clients} of {MOST} clients: {} descriptors are allowed", allowed.most));
    }
    for wire in WIRES {
        Crowd::gather(wire, clients, allowed.most).lives();
    }
}

/// Clients of one server, each of which was answered once.
struct Crowd {
    wire: &'static str,
    request: Vec<u8>,
    place: Place,
    server: Daemon,
    clients: Vec<Kept>,
    answered: usize,
}

impl Crowd {
    fn gather(wire: &'static str, clients: usize, descriptors: u64) -> Self {
        let place = Place::new();
        // Far fewer than clients: an idle one holds none.
        let places = (clients / 10).to_string();
        let flags = ["--wire", wire, "--max-connections", &places, "--idle", "1h", "--quiet"];
        let server = serve_with_descriptors(&place, descriptors, &flags);
        let mut crowd =
            Self { wire, request: request(wire), place, server, clients: Vec::new(), answered: 0 };
        // What the first ones need is there for all.
        crowd.grow_to(clients / 10);
        let before = crowd.memory();
        crowd.grow_to(clients);
        let (grown, more) = (crowd.memory().saturating_sub(before), clients - clients / 10);
        let each = grown / more;
        say(&format!("{wire}: {each} bytes of the server's memory for each of {clients} idle"));
        let most = BYTES_EACH * more + BYTES_FOR_ANYTHING;
        assert!(grown <= most, "{wire}: {grown} bytes for {more} idle connections");
        crowd
    }

    fn grow_to(&mut self, clients: usize) {
        while self.clients.len() < clients {
            let mut client = Kept::connect(&self.place);
            client.asks_for(&self.request);
            self.answered += 1;
            self.clients.push(client);
        }
    }

    /// What the server has while it has nothing to do.
    fn memory(&self) -> usize {
        self.server.await_idle();
        self.server.memory()
    }

    fn lives(mut self) {
        assert!(self.server.descriptors() > self.clients.len(), "{}: some were ended", self.wire);
        for client in self.clients.iter_mut().step_by(SAMPLE) {
            client.asks_for(&self.request);
            self.answered += 1;
        }
        Kept::connect(&self.place).asks_for(&self.request);
        self.answered += 1;
        self.ends();
    }

    /// Some ask just before the server is stopped, and some while it stops. Each is answered or told, or it
    /// knows by EPIPE that nothing of its request arrived; each has a clean end.
    fn ends(self) {
        let Self { wire, request, mut server, mut clients, mut answered, .. } = self;
        let mut sent = vec![0; clients.len()];
        let mut send = |nth: usize, client: &mut Kept| match client.0.get_mut().write(&request) {
            Ok(count) => {
                assert_eq!(count, request.len(), "{wire}: a part of a request was taken");
                sent[nth] = 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{wire}: {error}"),
        };
        for (nth, client) in clients.iter_mut().enumerate().step_by(SAMPLE) {
            send(nth, client);
        }
        server.signal(Signal::TERM);
        for (nth, client) in clients.iter_mut().enumerate().skip(1).step_by(SAMPLE / 10) {
            send(nth, client);
        }
        let mut told = 0;
        for (nth, mut client) in clients.into_iter().enumerate() {
            let mut said = Vec::new();
            let end = client.0.read_to_end(&mut said);
            let said = Said(said);
            assert!(end.is_ok(), "{wire}: client {nth} had {end:?} for its end, after {said}");
            assert_eq!(said.answers() + said.refusals(), sent[nth], "{wire}: client {nth}: {said}");
            answered += said.answers();
            told += said.refusals();
        }
        assert!(server.wait().success(), "{wire}");
        let stopped = server.await_line("\"stopped\"");
        let counts = format!("\"answered\":{answered},");
        assert!(stopped.contains(&counts), "{wire}: expected {counts} {stopped}");
        let sent: usize = sent.iter().sum();
        say(&format!("{wire}: {sent} asked at the end, of which {told} were refused, none lost"));
    }
}

/// What a client has read at the end.
struct Said(Vec<u8>);

impl Said {
    fn answers(&self) -> usize {
        self.times(END)
    }

    /// Also for want of a place: very many ask at once, and on a busy machine their handlers may wait for
    /// a processor.
    fn refusals(&self) -> usize {
        self.times(b"the server is stopping") + self.times(b"connections are under way")
    }

    fn times(&self, part: &[u8]) -> usize {
        self.0.windows(part.len()).filter(|bytes| *bytes == part).count()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.escape_ascii().to_string())
    }
}
