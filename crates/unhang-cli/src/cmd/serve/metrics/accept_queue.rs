//! How many clients wait to be accepted. Only the kernel knows; it is asked
//! anew for each scrape.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::sock_diag::Diag;

/// The queue of one listening socket.
#[derive(Debug)]
pub(crate) struct AcceptQueue {
    inode: u32,
    /// Kept open: a server that is out of descriptors is one whose queue fills.
    diag: Mutex<Diag>,
}

impl AcceptQueue {
    /// None if the kernel does not tell, as in some sandboxes: then there is no such gauge, for
    /// a zero would say that nobody waits.
    pub(crate) fn of(listener: impl AsFd) -> Option<Self> {
        let inode = rustix::fs::fstat(listener).ok()?.st_ino.try_into().ok()?;
        let queue = Self { inode, diag: Mutex::new(Diag::open().ok()?) };
        queue.look().map(|_| queue)
    }

    /// How many wait, and the backlog.
    fn look(&self) -> Option<(u32, u32)> {
        let diag = self.diag.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = diag.queues(self.inode).ok()?;
        Some((socket.unread, socket.in_flight))
    }
}

impl Collector for AcceptQueue {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((waiting, backlog)) = self.look() else { return Ok(()) };
        for (name, help, value) in [
            ("unhang_accept_queue", "Clients that wait to be accepted.", waiting),
            (
                "unhang_accept_queue_limit",
                "With more of them than this, others must wait.",
                backlog,
            ),
        ] {
            let gauge = ConstGauge::new(i64::from(value));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
