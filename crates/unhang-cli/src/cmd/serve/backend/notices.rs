//! Where the notices of what answers go: to the counters and the log.

use std::sync::{Arc, OnceLock};

use unhang::backend::Notice;

use crate::cmd::serve::log::{self, Log};
use crate::cmd::serve::metrics::behind::Behind as Counts;
#[cfg(feature = "nats")]
use crate::cmd::serve::metrics::calls::Calls;
use crate::stdio::complain;

/// Before there is a log, a notice goes to standard error.
#[derive(Clone, Default)]
pub(crate) struct Notices {
    log: Arc<OnceLock<Arc<Log>>>,
    counts: Arc<Counts>,
    #[cfg(feature = "nats")]
    calls: Arc<Calls>,
}

impl Notices {
    /// From now on they are log lines.
    pub(crate) fn go_to(&self, log: &Arc<Log>) {
        // Set once only.
        let _ = self.log.set(Arc::clone(log));
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    pub(super) fn listener(&self) -> impl Fn(Notice) + Send + Sync + 'static {
        let Self { log: lines, counts, .. } = self.clone();
        move |notice| {
            counts.count(&notice);
            match lines.get() {
                Some(log) => log.notice(&notice),
                None if log::is_worth_a_line(&notice) => complain("serve", notice),
                None => {}
            }
        }
    }
}

#[cfg(feature = "nats")]
impl Notices {
    pub(crate) fn nats_counts(&self) -> Arc<Calls> {
        Arc::clone(&self.calls)
    }

    pub(crate) fn nats_listener(&self) -> impl Fn(unhang_nats::Notice) + Send + Sync + 'static {
        let Self { log, calls, .. } = self.clone();
        move |notice| {
            calls.count(&notice);
            match log.get() {
                Some(log) => log.call(&notice),
                None => complain("serve", notice),
            }
        }
    }
}
