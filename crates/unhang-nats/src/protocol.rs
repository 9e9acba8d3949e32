//! What doors and services say to each other: subjects and headers, as plain text. No socket, no clock.
//!
//! A call is one message to the service's subject, and its answer one message back. All else is a word in
//! the header `Unhang`: a worker that is at it for longer than a moment says `accepted`, and one that has
//! not run the call says why not.

use std::fmt;
use std::time::Duration;

/// Which call it is: 16 random bytes in hex. The same in both logs.
pub(crate) const ID: &str = "Unhang-Id";
/// For how many more milliseconds the caller waits: a duration, which needs no common clock.
pub(crate) const LEFT: &str = "Unhang-Left";
/// The call must not be started after this moment, in milliseconds since 1970. If clocks differ, a worker
/// says `late`, and nothing runs.
pub(crate) const BY: &str = "Unhang-By";
/// The user id of the client at the door.
pub(crate) const PEER: &str = "Unhang-Peer";
/// The call may run twice.
pub(crate) const IDEMPOTENT: &str = "Unhang-Idempotent";
/// A reply that is not the answer: one of the [`Word`]s.
pub(crate) const WORD: &str = "Unhang";
/// The worker's id, part of its subject.
pub(crate) const WORKER: &str = "Unhang-Worker";
/// The worker's clock, in milliseconds since 1970.
pub(crate) const AT: &str = "Unhang-At";
/// With `error`: the word for logs and counters.
pub(crate) const CODE: &str = "Unhang-Code";
/// Not the call itself, but the question which worker is free to take it.
pub(crate) const SEEK: &str = "Unhang-Seek";
/// Where a worker that is free listens for the call: the last token of that subject.
pub(crate) const DIRECT: &str = "Unhang-Direct";
/// With the question after a call: for so many milliseconds a person waits to be told what the worker does.
pub(crate) const TELL: &str = "Unhang-Tell";
/// How long a worker has had a call, in milliseconds.
pub(crate) const HAD: &str = "Unhang-Had";
/// Passed through: W3C Trace Context.
pub(crate) const TRACE: &str = "traceparent";

/// All workers of a service are one queue group: each message goes to one of them.
pub(crate) const QUEUE: &str = "unhang";

/// Where replies to doors go. One prefix, so that one line of a configuration permits it.
pub(crate) const DOOR_INBOX: &str = "_INBOX_door";
/// A worker's own inbox, on which it hears itself: so it knows that its node lives.
pub(crate) const WORKER_INBOX: &str = "_INBOX_worker";

/// Workers answer only there. A hostile message could name any subject for its reply, and a worker may
/// publish where a door may not.
const INBOX: &str = "_INBOX";

/// A call that is to be accepted later than this has no honest clock.
pub(crate) const FARTHEST: Duration = Duration::from_secs(3600);

/// A longer value is not of our making.
const LONGEST_TRACE: usize = 256;

pub(crate) fn service_subject(service: &str) -> String {
    format!("unhang.v1.{service}")
}

/// Where one worker takes calls that asked first. Below the service's subject, so that a door which may ask one
/// service alone cannot ask the workers of another.
pub(crate) fn direct_subject(service_subject: &str, direct: &str) -> String {
    format!("{service_subject}.{direct}")
}

/// The last token of that. Another one for each connection that is made: a node that hangs may still be taken for
/// the way to the one before, and swallow half of what is sent there.
pub(crate) fn direct_token(worker: &str) -> String {
    let tail: String = (0..8).map(|_| fastrand::lowercase()).collect();
    format!("{worker}-{tail}")
}

pub(crate) fn worker_subject(worker: &str) -> String {
    format!("unhang.w.{worker}")
}

/// Whether a worker may answer there.
pub(crate) fn is_inbox(subject: &str) -> bool {
    let rest = subject.strip_prefix(INBOX);
    rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with('_'))
}

/// Which call it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u128);

impl Id {
    pub(crate) fn new() -> Self {
        Self(fastrand::u128(..))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// What a door asks, besides the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: Id,
    pub(crate) left: Duration,
    /// Milliseconds since 1970.
    pub(crate) by: u64,
    pub(crate) peer: Option<u32>,
    pub(crate) is_idempotent: bool,
    /// It runs nothing, and asks whether the worker is free.
    pub(crate) is_seek: bool,
    pub(crate) trace: Option<String>,
}

impl Question {
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (ID, self.id.to_string()),
            (LEFT, self.left.as_millis().to_string()),
            (BY, self.by.to_string()),
        ];
        headers.extend(self.peer.map(|uid| (PEER, uid.to_string())));
        headers.extend(self.is_idempotent.then(|| (IDEMPOTENT, "1".to_owned())));
        headers.extend(self.is_seek.then(|| (SEEK, "1".to_owned())));
        headers.extend(self.trace.clone().map(|trace| (TRACE, trace)));
        headers
    }

    /// # Errors
    /// Which header was expected, and what came.
    pub(crate) fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let number = |name: &str| {
            let text =
                header(name).ok_or_else(|| format!("no header {name}: not asked by a door"))?;
            whole(text).ok_or_else(|| format!("{name}: expected a number, got {:?}", short(text)))
        };
        let id = header(ID).ok_or_else(|| format!("no header {ID}: not asked by a door"))?;
        let id = Id::parse(id)
            .ok_or_else(|| format!("{ID}: expected 32 hex digits, got {:?}", short(id)))?;
        let peer = header(PEER).map(|_| number(PEER)).transpose()?;
        let peer = peer.map(|uid| u32::try_from(uid).map_err(|_| format!("{PEER}: no user id")));
        Ok(Self {
            id,
            left: Duration::from_millis(number(LEFT)?),
            by: number(BY)?,
            peer: peer.transpose()?,
            is_idempotent: header(IDEMPOTENT) == Some("1"),
            is_seek: header(SEEK).is_some(),
            trace: header(TRACE).filter(|trace| is_trace(trace)).map(str::to_owned),
        })
    }
}

/// Visible characters alone: whatever else is in there would be a header of its own, or no header.
pub(crate) fn is_trace(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_TRACE
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether NATS takes it: headers count, as "NATS/1.0", a line for each, and an empty line.
pub(crate) fn fits(headers: &[(&'static str, String)], payload: usize, most: usize) -> bool {
    let lines: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    payload + lines + 12 <= most
}

/// Digits alone: `parse` would take a sign.
pub(crate) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A worker's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The bytes are the answer.
    Answer,
    /// It has a place free, and listens there for the call.
    Free { worker: String, direct: String },
    /// It is at work.
    Accepted { worker: String, at: u64 },
    /// All its places are taken. It has not run.
    Busy { worker: String },
    /// The call came after its time, by the worker's clock. It has not run.
    Late { worker: String, at: u64 },
    /// The worker stops. It has not run.
    Stopping { worker: String },
    /// It has run and failed, or cannot be answered. The bytes are the reason.
    Failed { worker: String, code: String },
    /// To the question whether a call is still under way: yes.
    Running,
    /// No.
    Unknown,
}

impl Word {
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let word = |word: &str| (WORD, word.to_owned());
        let by = |worker: &String| (WORKER, worker.clone());
        match self {
            Self::Answer => Vec::new(),
            Self::Accepted { worker, at } => {
                vec![word("accepted"), by(worker), (AT, at.to_string())]
            }
            Self::Free { worker, direct } => {
                vec![word("free"), by(worker), (DIRECT, direct.clone())]
            }
            Self::Busy { worker } => vec![word("busy"), by(worker)],
            Self::Late { worker, at } => vec![word("late"), by(worker), (AT, at.to_string())],
            Self::Stopping { worker } => vec![word("stopping"), by(worker)],
            Self::Failed { worker, code } => {
                vec![word("error"), by(worker), (CODE, code.clone())]
            }
            Self::Running => vec![word("running")],
            Self::Unknown => vec![word("unknown")],
        }
    }

    /// None if it is no word that a worker says: then it is as if nothing had come.
    pub(crate) fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let Some(word) = header(WORD) else { return Some(Self::Answer) };
        let worker = || header(WORKER).filter(|worker| is_token(worker)).map(str::to_owned);
        let at = || header(AT).and_then(whole);
        Some(match word {
            "accepted" => Self::Accepted { worker: worker()?, at: at()? },
            "free" => Self::Free {
                worker: worker()?,
                direct: header(DIRECT).filter(|direct| is_token(direct))?.to_owned(),
            },
            "busy" => Self::Busy { worker: worker()? },
            "late" => Self::Late { worker: worker()?, at: at()? },
            "stopping" => Self::Stopping { worker: worker()? },
            "error" => Self::Failed {
                worker: worker()?,
                code: header(CODE).unwrap_or_default().to_owned(),
            },
            "running" => Self::Running,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// A worker's name becomes part of a subject that the door asks, so it must be one token.
fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(fits)
}

/// A name for this process that people can find: its machine, its process, and four characters for two that
/// have both in common.
pub(crate) fn worker_name(host: &str, pid: u32) -> String {
    let host =
        host.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte as char } else { '-' });
    let host: String = host.take(40).collect();
    let host = if host.is_empty() { "host".to_owned() } else { host };
    let tail: String = (0..4).map(|_| fastrand::lowercase()).collect();
    format!("{host}-{pid}-{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            id: Id(7),
            left: Duration::from_millis(1500),
            by: 1_700_000_000_000,
            peer: Some(33),
            is_idempotent: true,
            is_seek: true,
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        }
    }

    fn lookup<'a>(headers: &'a [(&'static str, String)]) -> impl Fn(&str) -> Option<&'a str> {
        |name| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_question_comes_back_as_it_was() {
        let headers = question().headers();
        assert_eq!(Question::read(lookup(&headers)), Ok(question()));
    }

    #[test]
    fn a_forged_header_is_refused_with_its_name() {
        for (name, value) in [
            (ID, ""),
            (ID, "0123"),
            (ID, "+0000000000000000000000000000007"),
            (LEFT, "-1"),
            (LEFT, "+1"),
            (LEFT, "1e9"),
            (LEFT, "99999999999999999999999"),
            (BY, "soon"),
            (PEER, "4294967296"),
            (PEER, "root"),
        ] {
            let mut headers = question().headers();
            headers
                .iter_mut()
                .filter(|(other, _)| *other == name)
                .for_each(|it| it.1 = value.into());
            let error = Question::read(lookup(&headers)).unwrap_err();
            assert!(error.contains(name), "{name} {value}: {error}");
        }
        assert!(Question::read(|_| None).unwrap_err().contains("not asked by a door"));
    }

    #[test]
    fn a_trace_that_would_be_a_header_of_its_own_is_left_out() {
        for bad in ["a\r\nUnhang: busy", "a b", "", &"a".repeat(1000)] {
            let mut headers = question().headers();
            headers.iter_mut().filter(|it| it.0 == TRACE).for_each(|it| it.1 = bad.to_owned());
            assert_eq!(Question::read(lookup(&headers)).unwrap().trace, None);
        }
    }

    #[test]
    fn words_come_back_as_they_were_and_forged_ones_are_nothing() {
        let worker = || "host-7-abcd".to_owned();
        for word in [
            Word::Answer,
            Word::Accepted { worker: worker(), at: 5 },
            Word::Free { worker: worker(), direct: "host-7-abcd-qwertyui".into() },
            Word::Busy { worker: worker() },
            Word::Late { worker: worker(), at: 9 },
            Word::Stopping { worker: worker() },
            Word::Failed { worker: worker(), code: "backend_ended".into() },
            Word::Running,
            Word::Unknown,
        ] {
            assert_eq!(Word::read(lookup(&word.headers())), Some(word));
        }
        // The door would ask this subject.
        for direct in ["a.b", "*", ">", ""] {
            let forged =
                [(WORD, "free".to_owned()), (WORKER, worker()), (DIRECT, direct.to_owned())];
            assert_eq!(Word::read(lookup(&forged)), None, "{direct}");
        }
        let forged =
            [(WORD, "accepted".to_owned()), (WORKER, ">".to_owned()), (AT, "1".to_owned())];
        assert_eq!(Word::read(lookup(&forged)), None);
        assert_eq!(Word::read(lookup(&[(WORD, "accepted".to_owned())])), None);
        assert_eq!(Word::read(lookup(&[(WORD, "hello".to_owned())])), None);
    }

    /// A message that names another subject for its reply would make a worker publish there.
    #[test]
    fn workers_answer_in_inboxes_alone() {
        assert!(is_inbox("_INBOX_door.a.b") && is_inbox("_INBOX.a"));
        for bad in ["unhang.v1.app", "$SYS.REQ.SERVER.PING", "_INBOXES.a", "", "_INBOX"] {
            assert!(!is_inbox(bad), "{bad}");
        }
    }

    #[test]
    fn a_worker_s_name_is_one_token_of_a_subject() {
        assert!(is_token(&worker_name("web.example.org > *", 12)));
        assert!(is_token(&worker_name("", 12)));
    }
}
