//! One exchange over a simulated stream: bytes, timing, handler and limits from the input.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::input::Input;
use crate::budget::Budget;
use crate::event::{Cause, Ended, Exchange, Scarce};
use crate::handler::{Fault, Reply, Request};
use crate::limits::Limits;
use crate::serve::admission::Guest;
use crate::serve::config::{self, Stop};
use crate::serve::connection::sim::{Client, pair};
use crate::serve::connection::{Connection, Rules};
use crate::wire::oneshot::{Until, error_line};

/// The clock counts in milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// First the rules, then what the handler does, then what the client does, and when.
pub fn exchange(data: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    assert!(runtime.is_ok(), "{runtime:?}");
    if let Ok(runtime) = runtime {
        runtime.block_on(one_exchange(&mut Input::new(data)));
    }
}

async fn one_exchange(input: &mut Input<'_>) {
    let held = Arc::<AtomicUsize>::default();
    let limits = limits(input);
    let until = input.choose([Until::Dry, Until::Newline, Until::HalfClose]);
    let (stop, drain) = config::channel();
    let rules = Arc::new(Rules {
        budget: Budget::new(limits.max_held, Arc::clone(&held)),
        limits: limits.clone(),
        until,
        refusal: Arc::new(|cause| Some(error_line(&cause.to_string()).into())),
        drain,
        in_flight: Arc::default(),
    });
    let script = Script::new(input);
    let asked = RefCell::new(None);
    let (stream, client) = pair();
    let began = Instant::now();
    let serving = async {
        let handler = |request: Request| {
            asked.replace(Some(request.bytes().to_vec()));
            script.answer(request.into_bytes())
        };
        let exchange = Connection::new(stream, rules, Guest::new(None)).run(handler).await;
        // What comes later comes to a closed socket.
        (exchange, client.unread())
    };
    let calling = Calling { client: &client, stop: &stop, began, did: Did::default() };
    let ((exchange, unread), did) = tokio::join!(serving, calling.play(input));

    assert_eq!(held.load(Ordering::Relaxed), 0, "what was held is given back");
    let asked = asked.into_inner();
    let seen = Seen { limits, until, script, did, asked, exchange, unread, client };
    seen.request_is_what_was_sent();
    seen.client_got_one_thing();
    seen.ended_in_time();
    seen.ended_for_its_reason();
    seen.the_close_resets_nobody();
}

fn limits(input: &mut Input<'_>) -> Limits {
    let mut span = |step| Duration::from_millis(u64::from(input.byte()) * step);
    let (read, handler, write) = (TICK + span(40), TICK + span(40), TICK + span(40));
    let (linger, settle) = (span(10), span(1));
    let max_request = input.choose([200_000, 100, 0, 32 << 10, 64 << 10]);
    let max_held = input.choose([usize::MAX, 10, 70_000]);
    Limits { read, handler, write, linger, settle, max_request, max_held, ..Limits::default() }
}

/// What the handler does.
struct Script {
    after: Duration,
    answer: Answer,
}

enum Answer {
    Echo,
    Bytes(Vec<u8>),
    Told(String),
    Failed,
    Never,
}

impl Script {
    fn new(input: &mut Input<'_>) -> Self {
        let after = Duration::from_millis(u64::from(input.byte()) * input.choose([0, 1, 60]));
        let answer = match input.choose([0, 1, 2, 3, 4]) {
            0 => Answer::Echo,
            1 => Answer::Bytes(vec![b'r'; usize::from(input.byte()) * 331]),
            2 => Answer::Told(String::from_utf8_lossy(input.counted()).into_owned()),
            3 => Answer::Failed,
            _ => Answer::Never,
        };
        Self { after, answer }
    }

    async fn answer(&self, request: Vec<u8>) -> Result<Reply, Fault> {
        if !self.after.is_zero() {
            sleep(self.after).await;
        }
        match &self.answer {
            Answer::Echo => Ok(request.into()),
            Answer::Bytes(bytes) => Ok(bytes.clone().into()),
            Answer::Told(reason) => Err(Fault::new(reason.clone())),
            Answer::Failed => Err(std::io::Error::other("for the log alone").into()),
            Answer::Never => std::future::pending().await,
        }
    }
}

/// What the client and the server's owner have done.
#[derive(Default)]
struct Did {
    sent: Vec<u8>,
    /// When it sent, and how many bytes that made in all.
    sends: Vec<(Duration, usize)>,
    half_closed: bool,
    /// When it half-closed or left.
    ended: Option<Duration>,
    left: bool,
    limited_its_room: bool,
    /// When the drain is over, since the beginning.
    stop: Option<Duration>,
}

struct Calling<'a> {
    client: &'a Client,
    stop: &'a Stop,
    began: Instant,
    did: Did,
}

impl Calling<'_> {
    async fn play(mut self, input: &mut Input<'_>) -> Did {
        while !input.is_used_up() {
            match input.choose([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
                0 => self.send(input.counted()),
                1 => self.send(&vec![b'x'; usize::from(input.byte()) * 257]),
                2 => self.send(&vec![b'x'; 64 * 1024]),
                3 => sleep(Duration::from_millis(input.byte().into())).await,
                4 => sleep(Duration::from_millis(u64::from(input.byte()) * 50)).await,
                5 if !self.did.left => {
                    self.did.limited_its_room = true;
                    self.client.take_at_most(usize::from(input.byte()) * input.choose([1, 257]));
                }
                6 if !self.did.left => self.client.take_at_most(usize::MAX),
                7 if !self.did.left => {
                    self.did.half_closed = true;
                    self.did.ended.get_or_insert(self.began.elapsed());
                    self.client.half_close();
                }
                8 if !self.did.left => {
                    self.did.left = true;
                    self.did.ended.get_or_insert(self.began.elapsed());
                    match input.choose([0, 1]) {
                        0 => self.client.vanish(),
                        _ => self.client.reset(),
                    }
                }
                9 => {
                    let within = Duration::from_millis(u64::from(input.byte()) * 20);
                    self.stop.begin(within);
                    let end = self.began.elapsed() + within;
                    self.did.stop = Some(self.did.stop.map_or(end, |sooner| sooner.min(end)));
                }
                _ => {}
            }
        }
        self.did
    }

    fn send(&mut self, bytes: &[u8]) {
        // Above every limit, and short enough to be fast.
        if !self.did.half_closed && !self.did.left && self.did.sent.len() < 300_000 {
            self.did.sent.extend_from_slice(bytes);
            self.did.sends.push((self.began.elapsed(), self.did.sent.len()));
            self.client.send(bytes);
        }
    }
}

/// What must hold at the end.
struct Seen {
    limits: Limits,
    until: Until,
    script: Script,
    did: Did,
    /// The request, if the handler was asked.
    asked: Option<Vec<u8>>,
    exchange: Exchange,
    /// What lay in the server's receive queue at the close.
    unread: usize,
    client: Client,
}

impl Seen {
    fn request_is_what_was_sent(&self) {
        let sent = &self.did.sent;
        assert!(self.exchange.bytes_in <= sent.len());
        let Some(request) = &self.asked else { return };
        assert!(request.len() <= self.limits.max_request && request.len() <= self.limits.max_held);
        assert!(sent.starts_with(request));
        let line = sent.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        match self.until {
            Until::Newline if line.ends_with(b"\n") => assert_eq!(request, line),
            Until::Newline | Until::HalfClose => {
                assert!(self.did.half_closed || self.did.left);
                assert_eq!(request, sent, "all that came before the end");
            }
            Until::Dry => assert!(!request.is_empty() || self.did.half_closed || self.did.left),
        }
    }

    /// The whole reply, the error line, or a close: and of what it did not take, the beginning.
    fn client_got_one_thing(&self) {
        let got = self.client.received();
        assert_eq!(got.len(), self.exchange.bytes_out);
        assert!(self.client.is_closed());
        let reply = match (&self.script.answer, &self.asked) {
            (Answer::Echo, Some(request)) => &request[..],
            (Answer::Bytes(bytes), Some(_)) => &bytes[..],
            _ => &[],
        };
        match &self.exchange.ended {
            Ended::Answered => assert_eq!(got, reply),
            Ended::Refused(cause) => {
                let told = error_line(&cause.to_string());
                assert!(told.starts_with(&got));
                assert!(got == told || self.did.left || self.did.limited_its_room);
            }
            Ended::ReplyNotTaken => assert!(reply.starts_with(&got) && got.len() < reply.len()),
            Ended::NoRequest => assert!(got.is_empty() && self.asked.is_none()),
            Ended::ClientGone(_) => assert!(reply.starts_with(&got)),
            Ended::Failed(..) => {}
        }
    }

    fn ended_in_time(&self) {
        let Limits { read, handler, write, linger, .. } = self.limits;
        let heard = self.client.heard_the_end_after();
        let (heard, took) = (heard.unwrap_or(Duration::MAX), self.exchange.took);
        assert!(heard <= read + handler + write + TICK, "the end came after {heard:?}");
        assert!(took <= read + handler + write + linger + TICK, "it took {took:?}");
        let drained = self.did.stop.unwrap_or(Duration::MAX);
        assert!(took <= drained.saturating_add(TICK), "it took {took:?}, drained {drained:?}");
    }

    fn ended_for_its_reason(&self) {
        let Self { limits, did, script, .. } = self;
        let took = self.exchange.took;
        let stopped = did.stop.is_some_and(|end| took >= end);
        let right = match &self.exchange.ended {
            Ended::Answered => self.asked.is_some(),
            Ended::NoRequest => did.left,
            Ended::ClientGone(_) => did.left,
            Ended::ReplyNotTaken => did.limited_its_room && (took >= limits.write || stopped),
            Ended::Failed(..) => false,
            Ended::Refused(cause) => match cause {
                Cause::RequestTooLong { .. } => did.sent.len() > limits.max_request,
                Cause::RequestLate { .. } => {
                    took >= limits.read && self.asked.is_none() && !self.request_was_whole()
                }
                Cause::HandlerLate { .. } => {
                    let never = matches!(script.answer, Answer::Never);
                    took >= limits.handler && (never || script.after >= limits.handler)
                }
                Cause::HandlerFailed(_) => {
                    self.asked.is_some()
                        && matches!(script.answer, Answer::Told(_) | Answer::Failed)
                }
                Cause::Stopping => stopped,
                Cause::Busy(Scarce::Memory { .. }) => did.sent.len() > limits.max_held,
                Cause::Busy(_) | Cause::NotAllowed => false,
            },
        };
        assert!(right, "{:?}", self.exchange);
    }

    /// Whether the server could see the end of a request before its deadline.
    fn request_was_whole(&self) -> bool {
        let Limits { read, settle, .. } = self.limits;
        let in_time = self.did.sends.iter().rev().find(|(at, _)| *at < read);
        let (last, length) = in_time.copied().unwrap_or_default();
        let came = &self.did.sent[..length];
        let ended = self.did.ended.is_some_and(|at| at < read);
        ended
            || match self.until {
                Until::Newline => came.contains(&b'\n'),
                Until::HalfClose => false,
                Until::Dry => !came.is_empty() && last + settle < read,
            }
    }

    /// A close over unread bytes resets the client: only where it would not stop sending, or did
    /// not read.
    fn the_close_resets_nobody(&self) {
        let told = matches!(self.exchange.ended, Ended::Answered | Ended::Refused(_));
        if told && self.unread > 0 && !self.did.left {
            let took = self.exchange.took;
            let lingered = self
                .client
                .heard_the_end_after()
                .is_some_and(|heard| took.saturating_sub(heard) >= self.limits.linger);
            let stopped = self.did.stop.is_some_and(|end| took >= end);
            assert!(lingered || stopped, "{} bytes are left", self.unread);
        }
    }
}
