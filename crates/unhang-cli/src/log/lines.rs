//! The lines of the log, each in its two forms.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use unhang::{Address, Cause, Ended, Exchange, Lost, Peer, State};

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
    /// For people.
    pub(super) fn text(&self, paint: &Paint) -> String {
        let Paint { bad, dim, .. } = paint;
        let time = wall_clock();
        let what = match self {
            Self::Listening { address, mode } => {
                let mode = mode.map_or(String::new(), |mode| format!("mode {mode}, "));
                format!("listening on {address} ({mode}pid {})", std::process::id())
            }
            Self::Exchange(exchange, _) => exchange_text(exchange, paint),
            Self::Hint { command } => {
                format!("while one waits, this says for whom, where and why: {command}")
            }
            Self::AcceptFailed(error) => format!(
                "{}cannot accept: {error}; clients wait in the accept queue until it succeeds{}",
                bad.render(),
                bad.render_reset()
            ),
            Self::Replaced { by } => format!("replaced by {}, which serves now", process(*by)),
            Self::NotReplaced { by, error } => format!(
                "{bad}not replaced{bad:#} by {}: {error}; this server goes on",
                process(*by)
            ),
            Self::SocketLost(lost) => {
                let next = lost.next_step();
                format!("{bad}{lost}{bad:#}; who is connected is served. {next}")
            }
            Self::Draining { open: 0, .. } => "stopping".to_owned(),
            Self::Draining { open, within } => {
                format!("stopping; {open} under way may take {}", Span(*within))
            }
            Self::Stopped { answered, refused, other } => {
                format!("stopped; {answered} answered, {refused} refused, {other} ended otherwise")
            }
            Self::Dropped { count } => {
                format!("{count} lines are missing here: the log was read too slowly")
            }
        };
        format!("{dim}{time}{dim:#}  {what}\n")
    }

    /// For machines: one object a line, with `time` and `event` in each.
    pub(super) fn json(&self) -> String {
        let mut object = match self {
            Self::Listening { address, mode } => json!({
                "event": "listening",
                "address": address.to_string(),
                "mode": mode.map(|mode| mode.to_string()),
                "pid": std::process::id(),
            }),
            Self::Exchange(exchange, command) => exchange_json(exchange, *command),
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
        object["time"] = Timestamp::now().to_string().into();
        format!("{object}\n")
    }
}

thread_local! {
    /// The second that was last told, and how: most lines are of the same one, and to find out what
    /// it is called costs as much as all the rest of a line.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// The time of day here, to the millisecond.
fn wall_clock() -> String {
    let now = Timestamp::now();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_second() {
            *second = now.as_second();
            *text = now.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string();
        }
        format!("{text}.{:03}", now.subsec_millisecond())
    })
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

fn exchange_text(exchange: &Exchange, paint: &Paint) -> String {
    let (word, why) = describe(&exchange.ended);
    let style = match exchange.ended {
        Ended::Answered | Ended::NoRequest => paint.good,
        _ => paint.bad,
    };
    let mut line = format!("{style}{word:<10}{style:#} ");
    if let Some(peer) = exchange.peer {
        let _ = write!(line, "pid {:<7} uid {:<6}", peer.pid, peer.uid);
    }
    let (bytes_in, bytes_out) = (Size(exchange.bytes_in), Size(exchange.bytes_out));
    let took = format!("{:.1?}", exchange.took);
    let _ = write!(line, " in {bytes_in:>8}  out {bytes_out:>8}  {took:>8}");
    if !why.is_empty() {
        let _ = write!(line, "  {}", one_line(&why));
    }
    line
}

/// A handler may have put parts of the request into its fault: they write no lines of their own, and
/// drive no terminal.
fn one_line(why: &str) -> String {
    why.replace(char::is_control, " ")
}

fn exchange_json(exchange: &Exchange, command: Option<&str>) -> Value {
    let (_, why) = describe(&exchange.ended);
    json!({
        "event": "exchange",
        "ended": exchange.ended.code(),
        "cause": match &exchange.ended {
            Ended::Refused(cause) => Some(cause.code()),
            _ => None,
        },
        "why": (!why.is_empty()).then_some(why),
        "pid": exchange.peer.map(|peer| peer.pid),
        "uid": exchange.peer.map(|peer| peer.uid),
        "gid": exchange.peer.map(|peer| peer.gid),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "took_s": exchange.took.as_secs_f64(),
        "handled_s": exchange.handled.map(|handled| handled.as_secs_f64()),
        "diagnose": command,
    })
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
