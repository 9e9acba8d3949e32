//! The lines of the log, each in its two forms.

use std::fmt::{self, Write as _};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use serde_json::json;
use unhang::backend::Notice;
use unhang::{Address, Exchange, Lost, Peer};

use super::super::clock;
use super::exchange;
use super::paint::Paint;
use crate::units::{Mode, Span};

pub(super) enum Line<'a> {
    Listening {
        address: &'a Address,
        mode: Option<Mode>,
    },
    #[cfg(feature = "nats")]
    Serving {
        address: &'a unhang_nats::Address,
        worker: &'a str,
    },
    #[cfg(feature = "nats")]
    Call(&'a unhang_nats::Notice),
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
    Notice(&'a Notice),
    Draining {
        open: usize,
        within: Duration,
    },
    Stopped {
        answered: u64,
        refused: u64,
        other: u64,
    },
    /// So many lines of a kind were held back in the last second.
    More {
        what: &'static str,
        uid: Option<u32>,
        count: u64,
    },
    Dropped {
        count: u64,
    },
}

impl Line<'_> {
    /// For people.
    pub(super) fn write_text(&self, paint: &Paint, text: &mut String) {
        *text += &paint.dim;
        clock::write_time_of_day(text);
        *text += &paint.end;
        *text += "  ";
        // Into a string, which cannot fail.
        let _ = self.write_words(paint, text);
        text.push('\n');
    }

    fn write_words(&self, paint: &Paint, text: &mut String) -> fmt::Result {
        let Paint { bad, end, .. } = paint;
        match self {
            Self::Listening { address, mode } => {
                write!(text, "listening on {address} (")?;
                if let Some(mode) = mode {
                    write!(text, "mode {mode}, ")?;
                }
                write!(text, "pid {})", std::process::id())
            }
            #[cfg(feature = "nats")]
            Self::Serving { address, worker } => {
                write!(text, "serving {address} as worker {worker} (pid {})", std::process::id())
            }
            #[cfg(feature = "nats")]
            Self::Call(notice) => match super::calls::is_bad(notice) {
                true => write!(text, "{bad}{notice}{end}"),
                false => write!(text, "{notice}"),
            },
            Self::Exchange(exchange, _) => {
                exchange::write_text(exchange, paint, text);
                Ok(())
            }
            Self::Hint { command } => {
                write!(text, "while one waits, this says for whom, where and why: {command}")
            }
            Self::AcceptFailed(error) => {
                let clients = match Errno::from_io_error(error) {
                    Some(Errno::MFILE | Errno::NFILE) => {
                        "clients are told that the server is busy until it succeeds. Let it open \
                         more files: ulimit -n, or LimitNOFILE= in systemd"
                    }
                    _ => "clients wait in the accept queue until it succeeds",
                };
                write!(text, "{bad}cannot accept: {error}{end}; {clients}")
            }
            Self::Replaced { by } => {
                write!(text, "replaced by {}, which serves now", process(*by))
            }
            Self::NotReplaced { by, error } => {
                let by = process(*by);
                write!(text, "{bad}not replaced{end} by {by}: {error}; this server goes on")
            }
            Self::SocketLost(lost) => {
                let next = lost.next_step();
                write!(text, "{bad}{lost}{end}; who is connected is served. {next}")
            }
            Self::Notice(notice) => write!(text, "{bad}{notice}{end}"),
            Self::Draining { open: 0, .. } => text.write_str("stopping"),
            Self::Draining { open, within } => {
                write!(text, "stopping; {open} under way may take {}", Span(*within))
            }
            Self::More { what, uid, count } => {
                write!(text, "{bad}{count} more{end}   {}", what.replace('_', " "))?;
                if let Some(uid) = uid {
                    write!(text, ", all of uid {uid},")?;
                }
                text.write_str(" in the last second")
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
                exchange::write_json(exchange, *command, &time, text);
                text.push('\n');
                return;
            }
            Self::Listening { address, mode } => json!({
                "event": "listening",
                "address": address.to_string(),
                "mode": mode.map(|mode| mode.to_string()),
                "pid": std::process::id(),
            }),
            #[cfg(feature = "nats")]
            Self::Serving { address, worker } => json!({
                "event": "serving",
                "address": address.to_string(),
                "worker": worker,
                "pid": std::process::id(),
            }),
            #[cfg(feature = "nats")]
            Self::Call(notice) => super::calls::object(notice),
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
                    Lost::Shut => "shut",
                    _ => "otherwise",
                },
                "what": lost.to_string(),
                "next": lost.next_step(),
            }),
            Self::Notice(notice) => notice_object(notice),
            Self::Draining { open, within } => {
                json!({ "event": "draining", "open": open, "within_s": within.as_secs_f64() })
            }
            Self::Stopped { answered, refused, other } => json!({
                "event": "stopped",
                "answered": answered,
                "refused": refused,
                "other": other,
            }),
            Self::More { what, uid, count } => {
                json!({ "event": "more_lines", "of": what, "uid": uid, "count": count })
            }
            Self::Dropped { count } => json!({ "event": "dropped_lines", "count": count }),
        };
        object["time"] = time.into();
        // Into a string, which cannot fail.
        let _ = writeln!(text, "{object}");
    }
}

fn process(peer: Option<Peer>) -> String {
    peer.map_or("a process that is not known".to_owned(), |peer| format!("process {}", peer.pid))
}

fn notice_object(notice: &Notice) -> serde_json::Value {
    let what = notice.to_string();
    match notice {
        Notice::Ended { worker, pid, stderr, cut_after, .. } => json!({
            "event": "process_ended",
            "worker": worker,
            "pid": pid,
            "what": what,
            "stderr": stderr,
            "cut_after": cut_after,
        }),
        Notice::Held { pid, holders } => json!({
            "event": "output_held",
            "pid": pid,
            "holders": holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(),
            "what": what,
        }),
        Notice::NotStarted { worker, .. } => {
            json!({ "event": "process_not_started", "worker": worker, "what": what })
        }
        Notice::Printed { worker, pid, line } => {
            json!({ "event": "printed", "worker": worker, "pid": pid, "line": line })
        }
        _ => json!({ "event": "notice", "what": what }),
    }
}
