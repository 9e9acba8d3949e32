//! What both sides have to tell, for a log and for counters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::call::Outcome;
use crate::protocol::Id;

/// Something that the operator of a door or of a service should know. Its `Display` is a sentence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// One of the connections is there, and can be used.
    Connected {
        /// Which connection, from 1.
        link: usize,
        /// The node's address, and the name that it gives itself.
        node: String,
        /// The version of the node's server.
        version: String,
        /// What is wrong with that version, and what to do.
        advice: Option<&'static str>,
    },
    /// One of the connections is lost; it is tried again.
    Disconnected {
        /// Which connection, from 1.
        link: usize,
        /// The node that it was on.
        node: String,
        /// Why, if it is known.
        why: String,
    },
    /// No connection could be made. Told once, until that changes.
    NotConnected {
        /// Which connection, from 1.
        link: usize,
        /// What is tried.
        address: String,
        /// What went wrong last, and what to do.
        why: String,
    },
    /// The node goes away (lame duck): the connection moves to another.
    Leaving {
        /// Which connection, from 1.
        link: usize,
        /// That node.
        node: String,
    },
    /// The node has refused or complained of something: permissions, mostly.
    Complaint {
        /// Which connection, from 1.
        link: usize,
        /// What it said.
        what: String,
    },
    /// At a door: a call is over.
    Called {
        /// Which call.
        id: Id,
        /// How it went.
        outcome: Outcome,
        /// The worker that has said a word last.
        worker: Option<String>,
        /// How often it was sent again.
        resends: u32,
        /// From the door to the door.
        took: Duration,
    },
    /// At a door: a worker's clock is off by more than a tenth of a second.
    Skew {
        /// That worker.
        worker: String,
        /// By how many milliseconds it is ahead of the door's; negative if it is behind.
        ahead: i64,
    },
    /// At a service: a call is over.
    Served {
        /// Which call.
        id: Id,
        /// The user id of the client at the door, if the door has told.
        uid: Option<u32>,
        /// One stable word.
        outcome: &'static str,
        /// Why there is no answer.
        why: Option<String>,
        /// Bytes of the request.
        bytes_in: usize,
        /// Bytes of the reply.
        bytes_out: usize,
        /// From its arrival to the reply.
        took: Duration,
    },
    /// At a service: a message that is no call was dropped or refused.
    Refused {
        /// What was wrong with it.
        what: String,
    },
    /// At a service: it takes no more calls, and finishes those that it has.
    Draining {
        /// How many those are.
        open: usize,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { link, node, version, advice } => {
                write!(f, "connection {link} to NATS: {node}, nats-server {version}")?;
                advice.map_or(Ok(()), |advice| write!(f, ". {advice}"))
            }
            Self::Disconnected { link, node, why } => {
                write!(f, "connection {link} to NATS, to {node}, is lost: {why}")
            }
            Self::NotConnected { link, address, why } => {
                write!(f, "connection {link} to NATS cannot be made ({address}): {why}")
            }
            Self::Leaving { link, node } => {
                write!(f, "the node {node} goes away: connection {link} moves to another")
            }
            Self::Complaint { link, what } => {
                write!(f, "connection {link} to NATS: the node says: {what}")
            }
            Self::Called { id, outcome, worker, resends, took } => {
                write!(f, "call {id} {}", outcome.code().replace('_', " "))?;
                if let Some(worker) = worker {
                    write!(f, ", worker {worker}")?;
                }
                match resends {
                    0 => {}
                    1 => write!(f, ", sent again once")?,
                    _ => write!(f, ", sent again {resends} times")?,
                }
                write!(f, ", {:.1} ms", took.as_secs_f64() * 1000.0)
            }
            Self::Skew { worker, ahead } => write!(
                f,
                "the clock of worker {worker} is {} ms {} this one: calls that come late there are \
                 refused too early or too late. FIX run chrony or ntpd on both",
                ahead.unsigned_abs(),
                if *ahead > 0 { "ahead of" } else { "behind" }
            ),
            Self::Served { id, uid, outcome, why, bytes_in, bytes_out, took } => {
                write!(f, "call {id} {}", outcome.replace('_', " "))?;
                if let Some(uid) = uid {
                    write!(f, ", uid {uid}")?;
                }
                write!(f, ", {bytes_in} B in, {bytes_out} B out, ")?;
                write!(f, "{:.1} ms", took.as_secs_f64() * 1000.0)?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::Refused { what } => write!(f, "a message was refused: {what}"),
            Self::Draining { open } => write!(f, "stopping; {open} calls are under way"),
        }
    }
}

/// Where notices go.
#[derive(Clone, Default)]
pub(crate) struct Notices(Option<Arc<dyn Fn(Notice) + Send + Sync>>);

impl Notices {
    pub(crate) fn to(listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.0 {
            listener(notice);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}

/// What is wrong with a server of that version on this node. None if nothing is known of it.
pub(crate) fn advice(version: &str, node: &str) -> Option<&'static str> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let host = node.rsplit_once(':').map_or(node, |(host, _)| host);
    let is_local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    ((major, minor) < (2, 11) && !is_local).then_some(
        "It is older than 2.11: before 2.9.23 and 2.10.2, users beside accounts and without an account \
         of their own let everybody in (CVE-2023-47090). FIX upgrade nats-server, or define users inside \
         of accounts alone, as dist/nats-server.conf does",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_on_a_network_is_advised_against() {
        for (version, node, is_advised) in [
            ("2.9.10", "n1:4222", true),
            ("2.10.26", "10.0.0.1:4222", true),
            ("2.9.10", "127.0.0.1:4222", false),
            ("2.9.10", "[::1]:4222", false),
            ("2.11.0", "n1:4222", false),
            ("2.15.1", "n1:4222", false),
            ("3.0.0-beta", "n1:4222", false),
            ("nonsense", "n1:4222", false),
        ] {
            assert_eq!(advice(version, node).is_some(), is_advised, "{version} {node}");
        }
    }
}
