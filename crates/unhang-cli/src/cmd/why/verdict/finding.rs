//! A finding: its code, how sure it is, which processes it concerns, what it rests on, and what cures it.

use std::time::Duration;

use super::code::Code;
use crate::cmd::why::ask::server::waits::ServerReport;

/// A server may take this long for an answer, and nobody says yet that its client waits in vain.
pub(crate) const LONG: Duration = Duration::from_secs(1);

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    pub(crate) owners: Vec<Held>,
    pub(crate) unread: u32,
    pub(crate) shut_read: bool,
    pub(crate) shut_write: bool,
    /// What its owners do about it.
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

/// A process on the way from a server to the one that all of them wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Its end of the connection on which the one before it waits; None if that waits in another way, as for
    /// a child process.
    pub(crate) inode: Option<u32>,
    /// The process before it, which waits for it; None: the server of the finding.
    pub(crate) waiter: Option<u32>,
    /// What it is at.
    pub(crate) does: String,
}

/// A finding about one connection, one queue or one file.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) certainty: Certainty,
    /// Somebody waits in vain, or would: this alone makes the exit code 1.
    pub(crate) is_fault: bool,
    pub(crate) headline: String,
    /// What exactly is certain, if that is not the whole headline.
    pub(crate) doubt: Option<String>,
    /// Nobody has waited for long yet: another look tells whether somebody does.
    pub(crate) is_young: bool,
    /// Several in a queue, one on a connection.
    pub(crate) clients: Vec<End>,
    pub(crate) server: Option<End>,
    /// Behind the server, in order; the last is the one that all wait for.
    pub(crate) chain: Vec<Hop>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) fix: Vec<String>,
    pub(crate) now: Vec<String>,
    /// What the server itself says of the connection.
    pub(crate) report: Option<ServerReport>,
}

impl Verdict {
    pub(super) fn new(code: Code, certainty: Certainty, headline: impl Into<String>) -> Self {
        Self {
            code,
            certainty,
            is_fault: certainty >= Certainty::Likely,
            headline: headline.into(),
            doubt: None,
            is_young: false,
            clients: Vec::new(),
            server: None,
            chain: Vec::new(),
            evidence: Vec::new(),
            fix: Vec::new(),
            now: Vec::new(),
            report: None,
        }
    }

    /// What this user may not see is not called idle.
    pub(super) fn unseen(headline: impl Into<String>) -> Self {
        Self::new(Code::OwnerNotVisible, Certainty::Unknown, headline)
    }

    pub(super) fn fact(mut self, source: &'static str, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { text: text.into(), source: Some(source) });
        self
    }

    pub(super) fn inferred(mut self, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { text: text.into(), source: None });
        self
    }

    pub(super) fn evidence(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    pub(super) fn doubt(mut self, text: impl Into<String>) -> Self {
        self.doubt = Some(text.into());
        self
    }

    pub(super) fn fix(mut self, text: impl Into<String>) -> Self {
        self.fix.push(text.into());
        self
    }

    pub(super) fn now(mut self, text: impl Into<String>) -> Self {
        self.now.push(text.into());
        self
    }

    /// A fault although it is less than likely, or none although it is likely.
    pub(super) fn fault(mut self, is_fault: bool) -> Self {
        self.is_fault = is_fault;
        self
    }

    /// The longest wait that it concerns.
    pub(crate) fn since(&self) -> Option<Duration> {
        let ends = self.clients.iter().chain(&self.server);
        let seen = ends.filter(|end| end.waits.is_some()).filter_map(|end| end.since).max();
        seen.max(self.report.map(|report| report.waited))
    }

    /// The processes that hold its ends.
    pub(crate) fn owners(&self) -> impl Iterator<Item = u32> {
        let ends = self.clients.iter().chain(&self.server);
        ends.flat_map(|end| &end.owners).map(|held| held.pid)
    }

    /// What is the same of it in another look: the code, and the cookies of its ends.
    pub(crate) fn key(&self) -> (Code, Vec<u64>) {
        (self.code, self.clients.iter().chain(&self.server).map(|end| end.cookie).collect())
    }

    /// The word that the screen begins with.
    pub(crate) fn label(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::OwnerNotVisible => "UNSEEN",
            Code::ClientGone => "LEAK",
            code if code.is_dead() && self.is_fault => "DEAD",
            code if code.is_dead() => "NOTE",
            _ if self.is_fault => "HUNG",
            _ => "MAYBE",
        }
    }
}
