//! The sentence that says what went wrong.

use std::fmt;

use super::excerpt::Excerpt;
use super::{ErrorKind, Phase, may_be_coming};

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress { complaint } => write!(f, "not an address: {complaint}"),
            Self::BadSetting { complaint } => f.write_str(complaint),
            Self::Held { pid } => f.write_str(&held(*pid)),
            Self::NotReplaceable { pid, why } => {
                write!(f, "{}. It cannot be replaced: {why}", held(*pid))
            }
            Self::NotHandedOver { waited } => write!(
                f,
                "cannot take the socket over: its server did not answer within {waited:?}"
            ),
            Self::NotReplaced { why } => {
                write!(f, "cannot take the socket over: its server goes on, as {why}")
            }
            Self::Occupied { by } => write!(f, "it is {by}, expected a socket or nothing"),
            Self::UnsafeDirectory { mode } => {
                write!(f, "its directory may be written by everyone (mode {mode:04o})")
            }
            Self::Setup { step, source } => write!(f, "cannot {step}: {source}"),
            Self::NoSuchFile => f.write_str("cannot connect: no such file"),
            Self::NobodyListens => f.write_str("cannot connect: nobody listens on it"),
            Self::DeletedFile => f.write_str(
                "cannot connect: this is a mount of a deleted file (link count 0), on which nobody listens",
            ),
            Self::PermissionDenied => f.write_str("cannot connect: permission denied"),
            Self::NotASocket => f.write_str("cannot connect: it is not a socket"),
            Self::NotAStreamSocket => f.write_str("cannot connect: it is not a stream socket"),
            Self::QueueFull { tried } => {
                write!(f, "cannot connect: the accept queue stayed full for {tried:.1?}")
            }
            Self::Connect { source } => write!(f, "cannot connect: {source}"),
            Self::TimedOut { phase: Phase::Send, elapsed } => {
                write!(f, "the server did not take the whole request within {elapsed:.1?}")
            }
            Self::TimedOut { elapsed, .. } => write!(f, "no answer within {elapsed:.1?}"),
            Self::Incomplete { awaited, partial, elapsed } => {
                write!(f, "{} bytes and no {awaited} within {elapsed:.1?}", partial.len())
            }
            Self::NotClosed { reply, silent, elapsed } if may_be_coming(*silent, *elapsed) => {
                write!(
                    f,
                    "no end of the reply within {elapsed:.1?} ({} bytes, the last {silent:.1?} before)",
                    reply.len()
                )
            }
            Self::NotClosed { reply, silent, .. } => write!(
                f,
                "answered ({} bytes, then silent for {silent:.1?}) but did not close",
                reply.len()
            ),
            Self::Lost { source, request_may_have_run, partial, .. } => {
                f.write_str("the connection ended ")?;
                match partial.len() {
                    0 => f.write_str("without a reply")?,
                    n => write!(f, "after {n} bytes of a reply")?,
                }
                if let Some(source) = source {
                    write!(f, ": {source}")?;
                }
                f.write_str(match request_may_have_run {
                    true => " (the request may have run)",
                    false => " (the request did not run)",
                })
            }
            Self::RequestCut { sent, of, reply } => write!(
                f,
                "the server took {sent} of {of} bytes of the request, and answered to that part \
                 ({} bytes)",
                reply.len()
            ),
            Self::BrokenReply { why, partial } => {
                write!(f, "{why} ({} bytes came: \"{}\")", partial.len(), Excerpt(partial))
            }
            Self::DescriptorPassed { partial } => write!(
                f,
                "the server passes a file descriptor along with its reply, after {} bytes of it; this \
                 kernel cannot refuse that",
                partial.len()
            ),
            Self::ReplyTooLarge { limit } => write!(f, "the reply is longer than {limit} bytes"),
            Self::Refused { reason, .. } => {
                write!(f, "the server refused: {}", Excerpt(reason.as_bytes()))
            }
        }
    }
}

fn held(pid: Option<u32>) -> String {
    match pid {
        Some(pid) if pid == std::process::id() => {
            "this process itself serves it already".to_owned()
        }
        Some(pid) => format!("process {pid} serves it already"),
        None => "another process serves it already, which this user may not see".to_owned(),
    }
}
