//! From facts to words: what hangs, how sure that is, what it rests on, and what cures it.
//!
//! Nothing here reads the system: the same facts always give the same verdicts.

mod cause;
mod chain;
mod code;
mod connection;
mod file;
mod inherited;
mod listener;
mod own;
mod queued;
mod unattended;
mod waiting;
mod words;

use std::time::Duration;

use super::attention::Attention;
use super::facts::Facts;
use super::in_flight::Word;
use super::target::Target;
use crate::sock_diag::State;

pub(crate) use code::Code;
pub(crate) use words::name_of;

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// What it rests on does not show why.
    Unknown,
    /// One of several explanations.
    Possible,
    /// Nothing that was seen speaks against it.
    Likely,
    /// It follows from what was seen.
    Certain,
}

impl Certainty {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// One line of what a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) text: String,
    /// Where it was read; None for what was only inferred.
    pub(crate) source: Option<&'static str>,
}

/// One end of a connection, for the reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) inode: u32,
    pub(crate) cookie: u64,
    pub(crate) holders: Vec<Held>,
    pub(crate) unread: u32,
    pub(crate) shut_read: bool,
    pub(crate) shut_write: bool,
    /// What its holders do about it.
    pub(crate) does: String,
    /// What they wait for: `read`, `write`, `connect`.
    pub(crate) waits: Option<&'static str>,
    pub(crate) since: Option<Duration>,
}

/// A process that holds an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) pid: u32,
    pub(crate) fd: u32,
    pub(crate) name: String,
    pub(crate) uid: Option<u32>,
}

/// A finding about one connection, one queue or one file.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) certainty: Certainty,
    /// Somebody waits in vain, or would: this alone makes the exit code 1.
    pub(crate) is_fault: bool,
    pub(crate) headline: String,
    /// What exactly is certain, where that is not the whole headline.
    pub(crate) doubt: Option<String>,
    /// Several in a queue, one on a connection.
    pub(crate) clients: Vec<End>,
    pub(crate) server: Option<End>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) fix: Vec<String>,
    pub(crate) now: Vec<String>,
    /// What the server itself says of the connection.
    pub(crate) word: Option<Word>,
}

impl Verdict {
    fn new(code: Code, certainty: Certainty, headline: impl Into<String>) -> Self {
        Self {
            code,
            certainty,
            is_fault: certainty >= Certainty::Likely,
            headline: headline.into(),
            doubt: None,
            clients: Vec::new(),
            server: None,
            evidence: Vec::new(),
            fix: Vec::new(),
            now: Vec::new(),
            word: None,
        }
    }

    fn fact(mut self, source: &'static str, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { text: text.into(), source: Some(source) });
        self
    }

    fn inferred(mut self, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { text: text.into(), source: None });
        self
    }

    fn evidence(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn doubt(mut self, text: impl Into<String>) -> Self {
        self.doubt = Some(text.into());
        self
    }

    fn fix(mut self, text: impl Into<String>) -> Self {
        self.fix.push(text.into());
        self
    }

    fn now(mut self, text: impl Into<String>) -> Self {
        self.now.push(text.into());
        self
    }

    /// A fault although it is less than likely, or none although it is likely.
    fn fault(mut self, is_fault: bool) -> Self {
        self.is_fault = is_fault;
        self
    }

    /// How long somebody has waited, by the one who has waited longest.
    pub(crate) fn since(&self) -> Option<Duration> {
        let ends = self.clients.iter().chain(&self.server);
        let seen = ends.filter(|end| end.waits.is_some()).filter_map(|end| end.since).max();
        seen.or(self.word.map(|word| word.waited))
    }

    /// The word that the screen begins with.
    pub(crate) fn label(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::OwnerNotVisible => "UNSEEN",
            code if code.is_dead() && self.is_fault => "DEAD",
            _ if self.is_fault => "HUNG",
            _ => "MAYBE",
        }
    }
}

/// Everything there is to say about what the user asked for; the faults first, the surest of them
/// first.
pub(crate) fn judge(facts: &Facts, target: &Target) -> Vec<Verdict> {
    let mut verdicts = file::judge(facts, target);
    for socket in facts.listeners().filter(|socket| target.concerns(facts, socket)) {
        verdicts.extend(listener::judge(facts, target, socket));
    }
    for socket in facts.sockets.values().filter(|socket| target.concerns(facts, socket)) {
        if facts.is_accepted(socket) {
            verdicts.extend(connection::judge(facts, socket));
        } else if let Some(former) = facts.details.former.get(&socket.inode) {
            verdicts.extend(connection::judge_left(facts, socket, former));
        }
    }
    verdicts.sort_by_cached_key(|verdict| {
        let order = |end: &End| end.cookie;
        (
            !verdict.is_fault,
            std::cmp::Reverse(verdict.certainty),
            verdict.code,
            verdict.clients.first().map(order),
            // Without a client, and of what has no end at all, the order is to be one, too.
            verdict.server.as_ref().map(order),
            verdict.headline.clone(),
        )
    });
    verdicts
}

/// The finding that there is none. Beside one that is only possible, it would deny it.
pub(crate) fn all_is_well(facts: &Facts, target: &Target, found: &[Verdict]) -> Option<Verdict> {
    if !found.is_empty() {
        return None;
    }
    let concerned = || facts.sockets.values().filter(|socket| target.concerns(facts, socket));
    let open = concerned().filter(|socket| facts.is_accepted(socket)).count();
    let listening = facts.listeners().filter(|socket| target.concerns(facts, socket)).count();
    let headline = format!("nothing hangs: {listening} listening, {open} connections");
    Some(Verdict::new(Code::Ok, Certainty::Certain, headline).fault(false))
}

/// The end as the verdict shows it.
fn end(attention: &Attention<'_>) -> End {
    let held = |(process, fd): &(&super::proc::Process, u32)| Held {
        pid: process.pid,
        fd: *fd,
        name: process.name.clone(),
        uid: process.uid,
    };
    let (does, waits, since) = words::does(attention);
    End {
        inode: attention.socket.inode,
        cookie: attention.socket.cookie,
        holders: attention.holders.iter().map(held).collect(),
        // Of a listener, this counts clients.
        unread: match attention.socket.state {
            State::Listening => 0,
            _ => attention.socket.unread,
        },
        shut_read: attention.socket.shut_read,
        shut_write: attention.socket.shut_write,
        does,
        waits,
        since,
    }
}

#[cfg(test)]
mod tests;
