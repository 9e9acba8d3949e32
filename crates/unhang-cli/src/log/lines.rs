//! The lines of the log, each in its two forms.

use std::fmt::{self, Write as _};
use std::io;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;
use unhang::{Address, Cause, Ended, Exchange, Lost, Peer, State};

use crate::clock;
use crate::units::{Mode, Size, Span};

pub(super) enum Line<'a> {
    Listening {
        address: &'a Address,
        mode: Option<Mode>,
    },
    /// And the command that can tell more of it.
    Exchange(&'a Exchange, Option<&'a str>),
    Hint {
        command: &'a str,
    },
    AcceptFailed(&'a io::Error),
    Replaced {
        by: Option<Peer>,
    },
    NotReplaced {
        by: Option<Peer>,
        error: &'a io::Error,
    },
    SocketLost(Lost),
    Draining {
        open: usize,
        within: Duration,
    },
    Stopped {
        answered: u64,
        refused: u64,
        other: u64,
    },
    Dropped {
        count: u64,
    },
}

impl Line<'_> {
    /// For people. Nothing is put together on the side: with a log, an exchange costs what its line
    /// does again.
    pub(super) fn write_text(&self, paint: &Paint, text: &mut String) {
        let Paint { dim, .. } = paint;
        // Into a string, which cannot fail.
        let _ = write!(text, "{dim}");
        clock::write_time_of_day(text);
        let _ = write!(text, "{dim:#}  ");
        let _ = self.write_words(paint, text);
        text.push('\n');
    }

    fn write_words(&self, paint: &Paint, text: &mut String) -> fmt::Result {
        let Paint { bad, .. } = paint;
        match self {
            Self::Listening { address, mode } => {
                write!(text, "listening on {address} (")?;
                if let Some(mode) = mode {
                    write!(text, "mode {mode}, ")?;
                }
                write!(text, "pid {})", std::process::id())
            }
            Self::Exchange(exchange, _) => write_exchange(exchange, paint, text),
            Self::Hint { command } => {
                write!(text, "while one waits, this says for whom, where and why: {command}")
            }
            Self::AcceptFailed(error) => write!(
                text,
                "{bad}cannot accept: {error}; clients wait in the accept queue until it succeeds{bad:#}"
            ),
            Self::Replaced { by } => {
                write!(text, "replaced by {}, which serves now", process(*by))
            }
            Self::NotReplaced { by, error } => {
                let by = process(*by);
                write!(text, "{bad}not replaced{bad:#} by {by}: {error}; this server goes on")
            }
            Self::SocketLost(lost) => {
                let next = lost.next_step();
                write!(text, "{bad}{lost}{bad:#}; who is connected is served. {next}")
            }
            Self::Draining { open: 0, .. } => text.write_str("stopping"),
            Self::Draining { open, within } => {
                write!(text, "stopping; {open} under way may take {}", Span(*within))
            }
            Self::Stopped { answered, refused, other } => write!(
                text,
                "stopped; {answered} answered, {refused} refused, {other} ended otherwise"
            ),
            Self::Dropped { count } => {
                write!(text, "{count} lines are missing here: the log was read too slowly")
            }
        }
    }

    /// For machines: one object a line, with `time` and `event` in each.
    pub(super) fn write_json(&self, text: &mut String) {
        let time = clock::timestamp();
        let mut object = match self {
            // One for each exchange: to make a map of it first costs more than to answer its client.
            Self::Exchange(exchange, command) => {
                let record = Record::new(exchange, *command, &time);
                // Every part of it can be written.
                *text += &serde_json::to_string(&record).unwrap_or_default();
                text.push('\n');
                return;
            }
            Self::Listening { address, mode } => json!({
                "event": "listening",
                "address": address.to_string(),
                "mode": mode.map(|mode| mode.to_string()),
                "pid": std::process::id(),
            }),
            Self::Hint { command } => json!({ "event": "hint", "diagnose": command }),
            Self::AcceptFailed(error) => {
                json!({ "event": "accept_failed", "error": error.to_string() })
            }
            Self::Replaced { by } => {
                json!({ "event": "replaced", "pid": by.map(|by| by.pid) })
            }
            Self::NotReplaced { by, error } => json!({
                "event": "not_replaced",
                "pid": by.map(|by| by.pid),
                "error": error.to_string(),
            }),
            Self::SocketLost(lost) => json!({
                "event": "socket_lost",
                "how": match lost {
                    Lost::Deleted => "deleted",
                    Lost::Replaced => "replaced",
                    _ => "otherwise",
                },
                "what": lost.to_string(),
                "next": lost.next_step(),
            }),
            Self::Draining { open, within } => {
                json!({ "event": "draining", "open": open, "within_s": within.as_secs_f64() })
            }
            Self::Stopped { answered, refused, other } => json!({
                "event": "stopped",
                "answered": answered,
                "refused": refused,
                "other": other,
            }),
            Self::Dropped { count } => json!({ "event": "dropped_lines", "count": count }),
        };
        object["time"] = time.into();
        // Into a string, which cannot fail.
        let _ = writeln!(text, "{object}");
    }
}

/// Colours, for people who want them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Paint {
    good: Style,
    bad: Style,
    dim: Style,
}

impl Paint {
    /// Decided once: to take the colours out of every line again would cost more than to write it.
    pub(crate) fn for_stdout() -> Self {
        match anstream::AutoStream::choice(&std::io::stdout()) {
            anstream::ColorChoice::Never => Self::default(),
            _ => Self {
                good: AnsiColor::Green.on_default(),
                bad: AnsiColor::Red.on_default(),
                dim: Style::new().dimmed(),
            },
        }
    }
}

fn write_exchange(exchange: &Exchange, paint: &Paint, text: &mut String) -> fmt::Result {
    let (word, why) = describe(&exchange.ended);
    let style = match exchange.ended {
        Ended::Answered | Ended::NoRequest => paint.good,
        _ => paint.bad,
    };
    write!(text, "{style}{word:<10}{style:#} ")?;
    if let Some(peer) = exchange.peer {
        write!(text, "pid {:<7} uid {:<6}", peer.pid, peer.uid)?;
    }
    let (bytes_in, bytes_out) = (Size(exchange.bytes_in), Size(exchange.bytes_out));
    write!(text, " in {bytes_in:>8}  out {bytes_out:>8}  {:>8.1?}", exchange.took)?;
    if !why.is_empty() {
        write!(text, "  {}", one_line(&why))?;
    }
    Ok(())
}

/// A handler may have put parts of the request into its fault: they write no lines of their own, and
/// drive no terminal.
fn one_line(why: &str) -> String {
    why.replace(char::is_control, " ")
}

/// An exchange for machines. By the alphabet, as the other lines are.
#[derive(Serialize)]
struct Record<'a> {
    bytes_in: usize,
    bytes_out: usize,
    cause: Option<&'static str>,
    diagnose: Option<&'a str>,
    ended: &'static str,
    event: &'static str,
    gid: Option<u32>,
    handled_s: Option<f64>,
    pid: Option<u32>,
    time: &'a str,
    took_s: f64,
    uid: Option<u32>,
    why: Option<String>,
}

impl<'a> Record<'a> {
    fn new(exchange: &Exchange, diagnose: Option<&'a str>, time: &'a str) -> Self {
        let (_, why) = describe(&exchange.ended);
        Self {
            bytes_in: exchange.bytes_in,
            bytes_out: exchange.bytes_out,
            cause: match &exchange.ended {
                Ended::Refused(cause) => Some(cause.code()),
                _ => None,
            },
            diagnose,
            ended: exchange.ended.code(),
            event: "exchange",
            gid: exchange.peer.map(|peer| peer.gid),
            handled_s: exchange.handled.map(|handled| handled.as_secs_f64()),
            pid: exchange.peer.map(|peer| peer.pid),
            time,
            took_s: exchange.took.as_secs_f64(),
            uid: exchange.peer.map(|peer| peer.uid),
            why: (!why.is_empty()).then_some(why),
        }
    }
}

/// How it ended in a word or two, and why where that is not all there is to say.
fn describe(ended: &Ended) -> (&'static str, String) {
    match ended {
        Ended::Answered => ("answered", String::new()),
        Ended::Refused(cause) => ("refused", reason(cause)),
        Ended::NoRequest => ("no request", String::new()),
        Ended::ClientGone(state) => ("gone", format!("the client left {}", during(*state))),
        Ended::ReplyNotTaken => {
            ("not taken", "the client did not read its whole reply in time".to_owned())
        }
        Ended::Failed(state, error) => ("failed", format!("{error}, {}", during(*state))),
        _ => ("ended", String::new()),
    }
}

/// What the client was told, and what only the log may know.
fn reason(cause: &Cause) -> String {
    match cause {
        Cause::HandlerFailed(fault) => {
            let (told, known) = (cause.to_string(), fault.to_string());
            if told == known { told } else { format!("{told}: {known}") }
        }
        _ => cause.to_string(),
    }
}

fn process(peer: Option<Peer>) -> String {
    peer.map_or("a process that is not known".to_owned(), |peer| format!("process {}", peer.pid))
}

fn during(state: State) -> &'static str {
    match state {
        State::Reading => "while its request was read",
        State::Writing => "while its reply was written",
        _ => "in mid-exchange",
    }
}

#[cfg(test)]
mod tests {
    use unhang::Fault;

    use super::*;

    /// It did.
    #[test]
    fn a_fault_with_a_newline_from_its_client_does_not_write_a_line_of_its_own() {
        let fault = Fault::new("no customer x\n09:41:12.871  answered\x1b[2J");
        let (_, why) = describe(&Ended::Refused(Cause::HandlerFailed(fault)));
        assert_eq!(one_line(&why), "no customer x 09:41:12.871  answered [2J");
    }
}
