//! `unhang call`: one message, one reply, one deadline.

#[cfg(feature = "nats")]
mod nats;
mod reply_ends;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use unhang::{
    Client, ClientWire, Delimiter, Error, ErrorKind, GoridgeCodec, Phase, ReplyEnds, limits,
};

use super::nats::{Access as Nats, is_meant};
use super::{block_on, complain, given};
use crate::shell::quoted;
use crate::units::{self, Size, Span};
use crate::{exit, stdio};

/// Send a message to a socket, print the reply
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub(crate) struct Call {
    /// The socket: a path, or @name for an abstract one;
    /// or a service on other machines, as `nats://NODE,NODE/SERVICE`
    path: PathBuf,
    /// The message; from standard input when left out or -, up to 256 MiB
    message: Option<OsString>,
    /// For the whole call: reading the message, connecting, sending, receiving and printing. Longer than
    /// a person waits for a page is longer than anybody waits for the reply
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(limits::CALL))]
    deadline: Span,
    /// Where the reply ends: close (the default, as it cannot be mistaken), newline, delimiter=DATA,
    /// length=1|2|4|8 (that many bytes before it, high one first; low one first: 2le, 4le, 8le), json
    /// (one whole value), or as a last resort quiet=DURATION, which cuts a reply that pauses for longer
    #[arg(
        long,
        value_name = "WHERE",
        value_parser = OsStringValueParser::new().try_map(|text| reply_ends::parse(&text))
    )]
    reply_ends: Option<ReplyEnds>,
    /// How it speaks, as the server's --wire: oneshot (the message as it is, a reply that ends as
    /// --reply-ends says), lines (both end with --delimiter), http (the body of POST /, the body of the
    /// response), or goridge (the body of a call of --method, the body of its reply)
    #[arg(long, value_enum, default_value_t)]
    wire: Wire,
    /// With --wire lines: what ends the message and the reply [default: newline]
    #[arg(long, value_enum)]
    delimiter: Option<End>,
    /// With --wire goridge: what is called, as Service.Method
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// With --wire goridge: what the message is encoded in [default: json]
    #[arg(long, value_enum)]
    codec: Option<Codec>,
    /// Do not half-close after the message: for servers that take that for the end of everything
    #[arg(long)]
    no_half_close: bool,
    /// Wait, until the deadline, for a server that does not listen yet
    #[arg(long)]
    wait: bool,
    /// The longest reply to take: what a caller can hold in memory
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::MAX_REPLY))]
    max_reply: Size,
    #[command(flatten)]
    nats: Nats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Wire {
    #[default]
    Oneshot,
    Lines,
    Http,
    Goridge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Codec {
    Json,
    Raw,
    Msgpack,
    Proto,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum End {
    Newline,
    Nul,
}

/// How long what has come may take to be printed, if the deadline is near or has passed. A reader that is
/// there takes it in less.
const PRINTING: Duration = Duration::from_secs(1);

/// What is to be told, and how the command ends.
struct Outcome {
    reply: Vec<u8>,
    complaint: Option<String>,
    code: u8,
}

impl Call {
    pub(crate) fn run(self) -> ExitCode {
        if let Some(what) = self.contradiction() {
            complain("call", what);
            return exit::USAGE.into();
        }
        let deadline = Instant::now() + self.deadline.0.min(LONGEST);
        let outcome = self.outcome(deadline);
        let until = deadline.max(Instant::now() + PRINTING);
        let code = match stdio::by(until, move || outcome.tell()) {
            Some(Ok(code)) => code,
            Some(Err(error)) => failed(exit::FAILED, format!("cannot start a thread: {error}")),
            None => failed(
                exit::NO_ANSWER,
                format!("nobody took the reply from standard output within {}", self.deadline),
            ),
        };
        code.into()
    }

    fn outcome(&self, deadline: Instant) -> Outcome {
        let failed = |code, complaint: String| {
            let complaint = Some(format!("unhang call: {complaint}\n"));
            Outcome { reply: Vec::new(), complaint, code }
        };
        let message = match self.message(deadline) {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                let what = format!("cannot read the message from standard input: {error}");
                return failed(exit::FAILED, what);
            }
            None => {
                let what = format!(
                    "standard input did not end within {}: the message is whole at its end. Close it \
                     (Ctrl-D), or give the message as an argument",
                    self.deadline
                );
                return failed(exit::NO_ANSWER, what);
            }
        };
        #[cfg(feature = "nats")]
        if is_meant(self.path.as_os_str()) {
            return match super::nats::address(self.path.as_os_str()) {
                Ok(address) => self.ask_service(&address, message, deadline),
                Err(error) => failed(exit::USAGE, error),
            };
        }
        let client = Client::new(&self.path)
            .deadline(deadline.saturating_duration_since(Instant::now()))
            .wire(self.wire())
            .reply_ends(self.reply_ends.clone().unwrap_or_default())
            .half_close(!self.no_half_close)
            .wait_for_server(self.wait)
            .max_reply(self.max_reply.0);
        match block_on(client.call(message)) {
            Ok(Ok(reply)) => Outcome { reply, complaint: None, code: exit::DONE },
            Ok(Err(error)) => Outcome::of(error, self),
            Err(error) => failed(exit::FAILED, format!("cannot start the event loop: {error}")),
        }
    }

    /// Flags that do not go together.
    fn contradiction(&self) -> Option<&'static str> {
        let is_meant = is_meant(self.path.as_os_str());
        #[cfg(not(feature = "nats"))]
        if is_meant {
            return Some(super::nats::MISSING);
        }
        if is_meant && (self.wire != Wire::Oneshot || self.reply_ends.is_some()) {
            return Some(
                "--wire and --reply-ends are for sockets: a service over NATS has its own end",
            );
        }
        if !is_meant && self.nats.given_with_socket() {
            return Some("--nats-creds and --nats-ca go with nats:// alone");
        }
        let kept = self.wire != Wire::Oneshot;
        let calls = self.method.is_some() || self.codec.is_some();
        match (self.wire, &self.delimiter, &self.reply_ends) {
            (Wire::Goridge, _, _) if self.method.is_none() => {
                Some("--wire goridge wants a --method, as Service.Method")
            }
            (Wire::Oneshot | Wire::Lines | Wire::Http, _, _) if calls => {
                Some("--method and --codec go with --wire goridge alone")
            }
            (Wire::Oneshot | Wire::Http | Wire::Goridge, Some(_), _) => {
                Some("--delimiter goes with --wire lines alone")
            }
            (_, _, Some(_)) if kept => Some(
                "--reply-ends goes with --wire oneshot alone: the other wires have their own end",
            ),
            _ if kept && self.no_half_close => {
                Some("--no-half-close goes with --wire oneshot alone: the others do not half-close")
            }
            _ => None,
        }
    }

    fn wire(&self) -> ClientWire {
        match (self.wire, self.delimiter) {
            (Wire::Oneshot, _) => ClientWire::OneShot,
            (Wire::Lines, None | Some(End::Newline)) => ClientWire::Lines(Delimiter::Newline),
            (Wire::Lines, Some(End::Nul)) => ClientWire::Lines(Delimiter::Nul),
            (Wire::Http, _) => ClientWire::Http,
            (Wire::Goridge, _) => ClientWire::Goridge {
                method: self.method.as_deref().unwrap_or_default().into(),
                codec: match self.codec {
                    None | Some(Codec::Json) => GoridgeCodec::Json,
                    Some(Codec::Raw) => GoridgeCodec::Raw,
                    Some(Codec::Msgpack) => GoridgeCodec::Msgpack,
                    Some(Codec::Proto) => GoridgeCodec::Proto,
                },
            },
        }
    }

    fn message(&self, deadline: Instant) -> Option<io::Result<Vec<u8>>> {
        match &self.message {
            Some(message) if message != "-" => Some(Ok(message.clone().into_vec())),
            _ => stdio::by(deadline, stdio::read_to_end).map(|read| read.and_then(|read| read)),
        }
    }
}

/// A deadline that no clock can tell is none that anybody waits for.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

impl Outcome {
    fn of(error: Error, call: &Call) -> Self {
        let code = match exit_code(&error) {
            // That it is no answer is not in the body that is printed.
            exit::DONE if matches!(call.wire, Wire::Http | Wire::Goridge) => exit::FAILED,
            code => code,
        };
        // The server's own word is an answer like any other.
        let complaint = (code != exit::DONE).then(|| {
            let mut complaint = format!("unhang call: {error}\n");
            if matches!(code, exit::NO_ANSWER | exit::NOT_CLOSED) {
                complaint += "to see why, while a call hangs: unhang why ";
                complaint += &target(&call.path);
                complaint.push('\n');
            }
            complaint
        });
        let reply = match error.into_kind() {
            ErrorKind::Refused { reply, .. }
            | ErrorKind::NotClosed { reply, .. }
            | ErrorKind::RequestCut { reply, .. } => reply,
            ErrorKind::Lost { partial, .. }
            | ErrorKind::Incomplete { partial, .. }
            | ErrorKind::BrokenReply { partial, .. }
            | ErrorKind::DescriptorPassed { partial } => partial,
            _ => Vec::new(),
        };
        Self { reply, complaint, code }
    }

    /// Prints what came of a reply, as it came, and says what went wrong.
    fn tell(self) -> u8 {
        // First of all: it is what was asked for, and the complaint may not get anywhere.
        let written = stdio::Stdout.write_all(&self.reply);
        if let Some(complaint) = self.complaint {
            // If it cannot be written, there is nobody to tell.
            let _ = stdio::Stderr.write_all(complaint.as_bytes());
        }
        given("call", &written, self.code, exit::FAILED, "cannot print the reply")
    }
}

/// Says it, unless standard error takes no more either.
fn failed(code: u8, complaint: String) -> u8 {
    stdio::by(Instant::now() + PRINTING, move || complain("call", complaint));
    code
}

/// The socket, as a shell takes it: from any directory, and never to be taken for a process's number.
fn target(path: &Path) -> String {
    let is_abstract = path.as_os_str().as_encoded_bytes().starts_with(b"@");
    let full = if is_abstract { None } else { std::path::absolute(path).ok() };
    quoted(&full.as_deref().unwrap_or(path).to_string_lossy())
}

fn exit_code(error: &Error) -> u8 {
    match (error.kind(), error.phase()) {
        (ErrorKind::BadAddress { .. } | ErrorKind::BadSetting { .. }, _) => exit::USAGE,
        (ErrorKind::Refused { .. }, _) => exit::DONE,
        (ErrorKind::NotClosed { .. }, _) => exit::NOT_CLOSED,
        (ErrorKind::TimedOut { .. } | ErrorKind::Incomplete { .. }, _) => exit::NO_ANSWER,
        (_, Phase::Connect) => exit::NOT_CONNECTED,
        _ => exit::FAILED,
    }
}
