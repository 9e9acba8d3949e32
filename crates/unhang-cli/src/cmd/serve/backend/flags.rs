//! The flags that choose what answers.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use unhang::backend::{Frames, HalfClose, ReplyEnds, Target};

use crate::units::{self, Size};

/// More processes than a machine has numbers for (`PID_MAX_LIMIT` in the kernel's threads.h).
const MANY: usize = 1 << 22;

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "What answers (unless set, the time)")]
pub(crate) struct Answers {
    /// A program with its arguments, run once for each request: standard input is the request,
    /// standard output the reply, exit code 0 means answered
    // `last`: only after `--`, as a program's arguments look like ours.
    #[arg(last = true, value_name = "PROGRAM")]
    pub(super) program: Vec<OsString>,
    /// How many such programs may run at once; other requests wait [default: 4 per processor, 16 at
    /// least]
    #[arg(long, value_name = "N", value_parser = units::count(MANY), requires = "program")]
    pub(super) processes: Option<usize>,
    /// So many of that program live on and answer one request after another: "ID request" in, "ID
    /// reply" out, a line each; or as many as there are processors
    #[arg(
        long,
        value_name = "N|auto",
        value_parser = count_or_auto,
        requires = "program",
        conflicts_with = "processes"
    )]
    pub(super) workers: Option<usize>,
    /// With --workers: requests and replies are lines, or counted bytes ("ID LENGTH", a newline, the
    /// bytes)
    #[arg(long, value_name = "FRAMES", value_enum, requires = "workers", default_value_t)]
    pub(super) frames: Framing,
    /// A worker is replaced after so many replies [default: never]
    #[arg(long, value_name = "N", value_parser = units::count(u64::MAX), requires = "workers")]
    pub(super) max_requests: Option<u64>,
    /// A worker is replaced after a reply with more memory than this [default: never]
    #[arg(long, value_name = "SIZE", requires = "workers")]
    pub(super) max_memory: Option<Size>,

    /// Another server, that cannot be changed: each request is passed to it on a connection of its own,
    /// and the client's is closed where the reply ends
    // The place is the whole list: clap has no line of its own for each form.
    #[arg(
        long,
        value_name = "PATH|tcp:HOST:PORT|nats://NODE,NODE/SERVICE",
        value_parser = to,
        conflicts_with = "program"
    )]
    pub(super) to: Option<To>,
    /// Where its replies end, besides where it closes: auto (where it is seen to be through with one;
    /// never by silence), close, newline, json, http, or quiet=DURATION (a guess)
    #[arg(long, value_name = "RULE", value_parser = reply_ends, requires = "to", conflicts_with = "program", default_value = "auto")]
    pub(super) reply_ends: ReplyEnds,
    /// Whether it sees the end of a request: auto (as soon as it is seen to wait for more), always or
    /// never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        requires = "to",
        conflicts_with = "program",
        default_value_t
    )]
    pub(super) half_close: HalfClosing,
}

/// What requests are passed to.
#[derive(Clone, Debug)]
pub(super) enum To {
    Server(Target),
    #[cfg(feature = "nats")]
    Nats(unhang_nats::Address),
}

fn to(text: &str) -> Result<To, String> {
    if crate::cmd::nats::is_meant(text.as_ref()) {
        #[cfg(feature = "nats")]
        return crate::cmd::nats::address(text.as_ref()).map(To::Nats);
        #[cfg(not(feature = "nats"))]
        return Err(crate::cmd::nats::MISSING.to_owned());
    }
    Target::parse(text).map(To::Server).map_err(|error| error.to_string())
}

/// Whether the server behind sees the end of a request.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum HalfClosing {
    #[default]
    Auto,
    Always,
    Never,
}

impl From<HalfClosing> for HalfClose {
    fn from(given: HalfClosing) -> Self {
        match given {
            HalfClosing::Auto => Self::Auto,
            HalfClosing::Always => Self::Always,
            HalfClosing::Never => Self::Never,
        }
    }
}

fn reply_ends(text: &str) -> Result<ReplyEnds, String> {
    match text {
        "auto" => Ok(ReplyEnds::Auto),
        "close" => Ok(ReplyEnds::Close),
        "newline" => Ok(ReplyEnds::Newline),
        "json" => Ok(ReplyEnds::Json),
        "http" => Ok(ReplyEnds::Http),
        _ => match text.strip_prefix("quiet=") {
            Some(quiet) => units::deadline(quiet).map(|quiet| ReplyEnds::Quiet(quiet.0)),
            None => Err(format!(
                "expected auto, close, newline, json, http, or quiet= and a duration as 500ms, got \
                 {text:?}"
            )),
        },
    }
}

/// How requests and replies of workers are delimited.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Framing {
    #[default]
    Lines,
    Bytes,
}

impl From<Framing> for Frames {
    fn from(given: Framing) -> Self {
        match given {
            Framing::Lines => Self::Lines,
            Framing::Bytes => Self::Bytes,
        }
    }
}

fn count_or_auto(text: &str) -> Result<usize, String> {
    match text {
        "auto" => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        _ => units::count(MANY)(text).map_err(|error| format!("{error}; or auto")),
    }
}
