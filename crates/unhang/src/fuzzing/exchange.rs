//! A connection, on a simulated socket: wire, limits, bytes, timing and handler from the input.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::input::Input;
use crate::event::Ended;
use crate::handler::{Fault, Reply, Request};
use crate::limits::Limits;
use crate::serve::admission::Client;
use crate::serve::bounds::Bounds;
use crate::serve::config::{Config, Stop};
use crate::serve::connection::{Connection, Next};
use crate::sim::clock;
use crate::sim::socket::{ServerEnd, Socket};
use crate::wire::lines::{Delimiter, Errors, Lines};
use crate::wire::oneshot::{OneShot, Until};
use crate::wire::{Goridge, Http, Wire};

/// First the wire and the limits, then what happens, step by step.
pub fn exchange(data: &[u8]) {
    clock::live(0, || {
        let mut input = Input::new(data);
        Case::new(&mut input).live(&mut input);
    });
}

struct Case {
    config: Config,
    held: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    client: Socket,
    connection: Option<Connection<ServerEnd>>,
    /// Being answered.
    asked: Option<(Request, Instant)>,
    /// What the handler was asked with, in order.
    requests: VecDeque<Vec<u8>>,
    told: usize,
    begun: Instant,
}

impl Case {
    fn new(input: &mut Input<'_>) -> Self {
        let (held, running) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let wire = input.choose([
            Wire::OneShot(OneShot::new(Until::Dry)),
            Wire::OneShot(OneShot::new(Until::Newline)),
            Wire::OneShot(OneShot::new(Until::HalfClose)),
            Wire::Lines(Lines::new(Delimiter::Newline, Errors::Text)),
            Wire::Http(Http::default()),
            Wire::Goridge(Goridge::default()),
        ]);
        let limits = limits(input);
        let config = Config {
            wire,
            refusal: None,
            calls: None,
            names_peers: false,
            is_observed: true,
            bounds: vec![Bounds::new(
                (limits.max_held, Arc::clone(&held)),
                (2, Arc::clone(&running)),
            )],
            stop: Stop::new(clock::now()),
            limits,
        };
        let client = Socket::new(None, 1 + usize::from(input.byte()) * 257, None);
        let (begun, stream) = (clock::now(), client.accept(0, None));
        let connection = Connection::new(stream, &config, Client::default(), None, begun);
        Self {
            config,
            held,
            running,
            client,
            connection: Some(connection),
            asked: None,
            requests: VecDeque::new(),
            told: 0,
            begun,
        }
    }

    fn live(mut self, input: &mut Input<'_>) {
        self.go_on();
        while !input.is_used_up() && self.connection.is_some() {
            match input.choose([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
                0 | 1 => drop(self.client.send_now(input.counted())),
                2 => drop(self.client.send_now(&vec![b'x'; usize::from(input.byte()) * 257])),
                3 => clock::pass(Duration::from_millis(input.byte().into())),
                4 => self.answer(Ok(vec![b'r'; usize::from(input.byte()) * 331].into())),
                5 => self.answer(Err(Fault::new(String::from_utf8_lossy(input.counted())))),
                6 => self.client.take_now(usize::from(input.byte()) * 257),
                7 => self.client.half_close(),
                8 if input.byte() > 200 => self.client.leave(),
                9 if input.byte() > 200 => {
                    let within = Duration::from_millis(input.byte().into());
                    self.config.stop.begin(clock::now(), within);
                }
                _ => {}
            }
            self.go_on();
        }
        self.end();
    }

    /// Steps it until it waits, or is over.
    fn go_on(&mut self) {
        for _ in 0..10_000 {
            let Some(connection) = &mut self.connection else { return };
            match connection.step(&self.config, clock::now()) {
                Next::Wait(_) => {
                    if !connection.is_handled() {
                        // Its client was told that there is no answer: the handler's goes nowhere.
                        self.asked = None;
                    }
                    assert!(connection.due(&self.config) > clock::now(), "it waits for nothing");
                    return;
                }
                Next::Ask(request) => {
                    assert!(self.asked.is_none(), "one at a time");
                    self.requests.push_back(request.bytes().to_vec());
                    self.asked = Some((request, clock::now()));
                    drop(connection.awaits_handler());
                }
                Next::Piece => return,
                Next::Told(_) => self.told += 1,
                Next::Done(exchange) => {
                    self.told += usize::from(exchange.is_some());
                    self.connection = None;
                    if let Some(exchange) = exchange {
                        self.check(&exchange.ended);
                    }
                }
            }
        }
        assert!(self.connection.is_none(), "it spins");
    }

    fn answer(&mut self, answer: Result<Reply, Fault>) {
        if let (Some(_), Some(connection)) = (self.asked.take(), &mut self.connection) {
            connection.answer(answer, &self.config, clock::now());
        }
    }

    /// Nothing more comes from anybody: it is over by its deadlines.
    fn end(mut self) {
        self.config.stop.begin(clock::now(), Duration::from_secs(1));
        let latest = clock::now() + Duration::from_secs(2);
        while let Some(connection) = &self.connection {
            let due = connection.due(&self.config);
            clock::pass(due.saturating_duration_since(clock::now()));
            assert!(clock::now() <= latest, "it is not over when the drain is");
            self.asked = None;
            self.go_on();
        }
        self.asked = None;
        let facts = self.client.facts();
        assert!(facts.closed.is_some(), "every way out closes");
        assert!(facts.offences.is_empty(), "{:?}", facts.offences);
        drop(facts);
        let left = (self.held.load(Ordering::Relaxed), self.running.load(Ordering::Relaxed));
        assert_eq!(left, (0, 0), "what was held is given back");
    }

    fn check(&self, ended: &Ended) {
        let facts = self.client.facts();
        let one_shot = matches!(self.config.wire, Wire::OneShot(_));
        if let (true, Some(request)) = (one_shot, self.requests.front()) {
            assert!(facts.sent.starts_with(request), "the request is what was sent");
            assert!(self.requests.len() == 1, "one shot");
        }
        // A cut reply is told: an error, and no clean end, if the request came in one piece.
        if facts.reset {
            assert!(matches!(ended, Ended::ReplyNotTaken | Ended::Cut(_)) || facts.is_left());
        }
        assert!(clock::now() >= self.begun, "time goes on");
    }
}

fn limits(input: &mut Input<'_>) -> Limits {
    let mut span = |step| Duration::from_millis(1 + u64::from(input.byte()) * step);
    let (read, handler, write) = (span(40), span(40), span(40));
    let (linger, settle) = (span(10), span(1));
    let max_request = input.choose([200_000, 100, 0, 32 << 10, 64 << 10]);
    let max_held = input.choose([usize::MAX, 10, 70_000]);
    let idle = Some(Duration::from_millis(input.byte().into()));
    Limits {
        read,
        handler,
        write,
        linger,
        settle,
        max_request,
        max_held,
        idle,
        ..Limits::default()
    }
}
