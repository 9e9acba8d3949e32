//! What a program, workers and a server behind have in common: two deadlines, and where notices go.

use std::time::Duration;

use super::notice::Notices;
use crate::Limits;

#[derive(Debug)]
pub(super) struct Terms {
    /// For one request.
    pub(super) deadline: Duration,
    /// For a place, a worker, or a server that is being started.
    pub(super) queue: Duration,
    pub(super) notices: Notices,
}

impl Default for Terms {
    fn default() -> Self {
        let limits = Limits::default();
        Self { deadline: limits.handler, queue: limits.queue, notices: Notices::default() }
    }
}

/// The methods that set them, for a backend whose `shared: Arc<Shared>` has `terms`.
macro_rules! terms {
    ($backend:ty) => {
        impl $backend {
            /// How long one request may take: a program or a worker until it has answered, a server behind
            /// until its first byte, and between two. At this deadline the client is told so, and what runs
            /// for it is ended. Unless set, [`Limits::handler`](crate::Limits::handler).
            #[must_use]
            pub fn deadline(self, deadline: Duration) -> Self {
                self.with(|shared| shared.terms.deadline = deadline)
            }

            /// How long a request may wait until another program has ended, a worker is free, or a server
            /// behind that is not there listens again. Unless set, [`Limits::queue`](crate::Limits::queue).
            #[must_use]
            pub fn queue_deadline(self, queue: Duration) -> Self {
                self.with(|shared| shared.terms.queue = queue)
            }

            /// Hears of what the operator should know. It is called where requests are awaited, and must not
            /// block.
            #[must_use]
            pub fn notices(self, listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
                self.with(|shared| {
                    shared.terms.notices = $crate::backend::notice::Notices::to(listener);
                })
            }

            fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
                // It is shared with what runs only, and nothing runs before it serves.
                if let Some(shared) = Arc::get_mut(&mut self.shared) {
                    change(shared);
                }
                self
            }
        }
    };
}
pub(super) use terms;
