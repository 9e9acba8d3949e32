//! Names the command that can tell more than the log: where the client is that did not send its
//! request, or did not take its reply, and what a handler waits for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use unhang::{Address, Cause, Ended};

use crate::shell::quoted;

/// Long enough to be no noise if every client does it, and short enough that an operator that looks
/// for what is wrong finds it near the end of the log.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Said once for each way to hang, and again after a while.
#[derive(Debug)]
pub(super) struct Hint {
    command: String,
    /// By the code of what was seen.
    last: Mutex<HashMap<&'static str, Instant>>,
}

impl Hint {
    pub(super) fn new(address: &Address) -> Self {
        let target = match address.path() {
            // From wherever it is asked, and never to be taken for a process's number.
            Some(path) => absolute(path),
            None => address.to_string(),
        };
        Self { command: format!("unhang why {}", quoted(&target)), last: Mutex::default() }
    }

    /// Of a service that has no socket: the process is what can be asked after.
    #[cfg(feature = "nats")]
    pub(super) fn of_process() -> Self {
        Self { command: format!("unhang why {}", std::process::id()), last: Mutex::default() }
    }

    /// The command, if it can tell more of such an end.
    pub(super) fn command(&self, ended: &Ended) -> Option<&str> {
        hang(ended).map(|_| &*self.command)
    }

    /// The same, if it is time to say it.
    pub(super) fn is_due(&self, ended: &Ended, now: Instant) -> Option<&str> {
        let what = hang(ended)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let said = last.get(what).is_some_and(|last| now.duration_since(*last) < AGAIN);
        if said {
            return None;
        }
        last.insert(what, now);
        Some(&self.command)
    }
}

/// A client or the server waited until a deadline: why, only a look at the system tells.
fn hang(ended: &Ended) -> Option<&'static str> {
    match ended {
        Ended::Refused(cause @ (Cause::RequestLate { .. } | Cause::HandlerLate { .. })) => {
            Some(cause.code())
        }
        Ended::ReplyNotTaken => Some(ended.code()),
        _ => None,
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).as_deref().unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint() -> Hint {
        Hint { command: "unhang why /s".to_owned(), last: Mutex::default() }
    }

    #[test]
    fn each_way_to_hang_is_said_once_an_hour() {
        let (hint, now) = (hint(), Instant::now());
        let late = Ended::Refused(Cause::HandlerLate { deadline: AGAIN });
        for ended in [&late, &Ended::ReplyNotTaken] {
            assert_eq!(hint.is_due(ended, now), Some("unhang why /s"));
            assert_eq!(hint.is_due(ended, now + AGAIN / 2), None);
            assert_eq!(hint.command(ended), Some("unhang why /s"));
        }
        assert!(hint.is_due(&late, now + AGAIN).is_some());
    }

    #[test]
    fn what_is_no_hang_has_no_command() {
        for ended in [Ended::Answered, Ended::NoRequest, Ended::Refused(Cause::Stopping)] {
            assert_eq!(
                (hint().command(&ended), hint().is_due(&ended, Instant::now())),
                (None, None)
            );
        }
    }

    #[test]
    fn a_path_is_named_in_full() {
        assert_eq!(absolute(Path::new("/900")), "/900");
        assert!(absolute(Path::new("900")).starts_with('/'));
    }
}
