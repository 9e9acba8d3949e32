//! The flags, and what they mean together.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::drain::{Drain, Rounds};
use super::exchange::Script;
use super::load::{Length, Load};
use super::plan::{Mode, Plan};
use super::reply::Expected;
use super::target::Target;
use super::wire::Wire;
use crate::data::{self, Data};
use crate::exit;
use crate::units::{self, Size, Span};

/// Put a load on a socket: count how every exchange ends, and what it takes of the server
///
/// Each client connects, writes, reads to the end and closes, again and again; with another
/// --wire than oneshot it keeps its connection.
#[derive(Args, Debug)]
#[command(after_help = exit::BENCH_HELP)]
pub(crate) struct Bench {
    /// The socket: a path, @name for an abstract one, or tcp:HOST:PORT on this machine
    #[arg(value_name = "PATH", value_parser = bytes(Target::parse))]
    target: Target,
    /// Print a JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// A process of the server, with all that descend from it; may be given again [default: the
    /// process that listens on the socket]
    #[arg(long, value_name = "PID", value_parser = pid)]
    pub(super) pid: Vec<i32>,
    #[command(flatten)]
    kind: Kind,
    #[command(flatten)]
    length: Long,
    #[command(flatten)]
    exchange: Asked,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "The load")]
struct Kind {
    /// Clients at once; with --rate, at most so many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = units::count(DESCRIPTORS))]
    clients: usize,
    /// Begin so many exchanges per second, however the server does, and count the latency of each
    /// from when it was due (open loop) [default: each client begins the next when one ends]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Stop the server (SIGSTOP) while N clients connect and write, let it go on, and measure what
    /// it takes to answer them all; again and again
    #[arg(long, value_name = "N", value_parser = units::count(DESCRIPTORS), conflicts_with_all = ["clients", "rate", "count"])]
    drain: Option<usize>,
    /// Keep so many further connections open and silent
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = units::count_or_none(DESCRIPTORS))]
    idle: usize,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "How long")]
struct Long {
    /// For this time
    #[arg(long = "for", value_name = "DURATION", value_parser = units::deadline, default_value = "10s")]
    span: Span,
    /// So many exchanges
    #[arg(long, value_name = "N", value_parser = units::count(MANY), conflicts_with = "span")]
    count: Option<u64>,
    /// With --drain: so many rounds
    #[arg(long, value_name = "N", value_parser = units::count(MANY), conflicts_with = "span", requires = "drain")]
    rounds: Option<u64>,
    /// Before, the same for this time, which is not counted
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    warm_up: Span,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Each exchange (in DATA, \\n \\r \\t \\0 \\\\ and \\xNN are bytes)")]
struct Asked {
    /// What a client sends
    // With a newline, so that servers of either kind have a whole request.
    #[arg(long, value_name = "DATA", value_parser = bytes(data::parse), default_value = "ping\\n")]
    request: Data,
    /// Send so many bytes instead, of which the last is a newline
    #[arg(long, value_name = "SIZE", value_parser = request_size, conflicts_with = "request")]
    request_bytes: Option<Size>,
    /// What the reply must be [default: anything but nothing]
    #[arg(long, value_name = "DATA", value_parser = bytes(data::parse))]
    expect: Option<Data>,
    /// How long the reply must be
    #[arg(long, value_name = "SIZE", conflicts_with = "expect")]
    reply_bytes: Option<Size>,
    /// How it speaks, as the server's --wire. All but oneshot keep a client's connection for its next
    /// exchange
    #[arg(long, value_enum, default_value_t)]
    wire: Wire,
    /// With --wire goridge: what is called, as Service.Method [default: Bench.Ping]
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Write so many requests at once, and the next when all are answered (pipelining). One is what a plain
    /// client does
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = units::count(DEEPEST))]
    depth: usize,
    /// Half-close after the request
    #[arg(long)]
    half_close: bool,
    /// For each exchange; one that takes longer has timed out
    #[arg(long, value_name = "DURATION", value_parser = timeout, default_value = "5s")]
    timeout: Span,
}

impl Bench {
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let (timeout, span) = (self.exchange.timeout.0, self.length.span.0);
        let mode = match self.kind.drain {
            Some(clients) => Mode::Drain(Drain {
                clients,
                rounds: self.length.rounds.map_or(Rounds::For(span), Rounds::Count),
                timeout,
            }),
            None => Mode::Load(Load {
                clients: self.kind.clients,
                rate: self.kind.rate,
                length: self.length.count.map_or(Length::For(span), Length::Count),
                timeout,
            }),
        };
        let idle = self.kind.idle;
        Ok(Plan { script: self.script()?, mode, warm_up: self.length.warm_up.0, idle, timeout })
    }

    fn script(&self) -> Result<Script, String> {
        let asked = &self.exchange;
        if let Some(what) = self.contradiction() {
            return Err(what.to_owned());
        }
        let request = match asked.request_bytes {
            Some(Size(length)) => filled(length),
            None => asked.request.0.clone(),
        };
        let (wire, depth) = (asked.wire, asked.depth);
        if request.len().saturating_mul(depth) > LONGEST.0 {
            return Err(format!("expected at most {LONGEST} of requests at once, got more"));
        }
        let method: Arc<str> = asked.method.as_deref().unwrap_or("Bench.Ping").into();
        let request = wire.requests(&request, &method, depth)?;
        if request.is_empty() && !asked.half_close {
            return Err("expected a request of at least one byte, or --half-close, without which \
                        the server never hears of an empty one"
                .to_owned());
        }
        let expected = match (&asked.expect, asked.reply_bytes) {
            (Some(Data(bytes)), _) if bytes.is_empty() => return Err(no_reply("--expect")),
            (None, Some(Size(0))) => return Err(no_reply("--reply-bytes")),
            (Some(Data(bytes)), _) => Expected::Exactly(bytes.clone()),
            (None, Some(Size(length))) => Expected::Length(length),
            (None, None) => Expected::Any,
        };
        let (target, half_close) = (self.target.clone(), asked.half_close);
        Ok(Script { target, request, wire, method, depth, half_close, expected })
    }

    /// Flags that do not go together.
    fn contradiction(&self) -> Option<&'static str> {
        let asked = &self.exchange;
        match asked.wire {
            Wire::OneShot if asked.depth > 1 => {
                Some("--depth goes without --wire oneshot: a connection of that has one exchange")
            }
            Wire::OneShot | Wire::Lines | Wire::Http if asked.method.is_some() => {
                Some("--method goes with --wire goridge alone")
            }
            Wire::Lines | Wire::Http | Wire::Goridge if asked.half_close => {
                Some("--half-close goes with --wire oneshot: the others keep the connection")
            }
            _ if asked.depth > 1 && self.kind.rate.is_some() => {
                Some("--depth goes without --rate: requests that are due one by one go one by one")
            }
            _ => None,
        }
    }
}

fn no_reply(flag: &str) -> String {
    format!("expected at least one byte for {flag}: who closes without a reply has not answered")
}

fn filled(length: usize) -> Vec<u8> {
    let mut request = vec![b'x'; length];
    if let Some(last) = request.last_mut() {
        *last = b'\n';
    }
    request
}

/// For what need not be text.
fn bytes<T: Clone + Send + Sync + 'static>(
    parse: fn(&OsStr) -> Result<T, String>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |text| parse(&text))
}

/// Above any rate that a machine can serve, and below any at which times no longer differ.
const FASTEST: f64 = 10_000_000.0;
/// One in a day.
const SLOWEST: f64 = 1.0 / 86_400.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (SLOWEST..=FASTEST).contains(&rate) => Ok(rate),
        _ => Err(format!("expected exchanges per second, as 500 or 0.5, got {text:?}")),
    }
}

/// No process has more: the kernel counts them in an `int`.
const DESCRIPTORS: usize = 0x7fff_ffff;

/// A day and more at the fastest rate.
const MANY: u64 = 1_000_000_000_000;

/// Whether there is such a process is asked later.
fn pid(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(format!("expected the pid of a server, as 1234, got {text:?}")),
    }
}

/// It is held in memory, more than once, and that is no part of what is measured.
const LONGEST: Size = Size(256 << 20);

fn request_size(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(length) if length > LONGEST.0 => {
            Err(format!("expected at most {LONGEST}, as a request is held in memory, got {text:?}"))
        }
        size => Ok(size),
    }
}

/// Far more than a server reads at once.
const DEEPEST: usize = 1024;

/// A day. Nobody waits longer for one exchange, and a moment that the clock cannot tell is a panic.
const PATIENCE: Span = Span(Duration::from_secs(86_400));

fn timeout(text: &str) -> Result<Span, String> {
    match units::deadline(text)? {
        Span(span) if span > PATIENCE.0 => {
            Err(format!("expected at most {PATIENCE} for one exchange, got {text:?}"))
        }
        span => Ok(span),
    }
}
