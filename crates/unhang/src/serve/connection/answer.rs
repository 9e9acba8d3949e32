//! From a request to the beginning of its reply, or to the reason that there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::under_way::UnderWay;
use super::{Connection, End, Stage};
use crate::event::{Cause, Scarce};
use crate::handler::{Caller, Fault, Held, Reply, Request, Says};
use crate::serve::bounds::{Bounds, Share};
use crate::serve::config::Config;
use crate::serve::stream::Stream;
use crate::wire::{Kind, Refusal};

impl<S: Stream> Connection<S> {
    /// The request that `body` is of, unless it cannot be handled.
    pub(super) fn ask(
        &mut self,
        mut body: Vec<u8>,
        config: &Config,
        now: Instant,
    ) -> Option<Request> {
        let parts = self.wire.parts(&mut body);
        let share = std::mem::take(&mut self.under_way().share);
        let bounds = config.bounds(self.home);
        let Ok(running) = Bounds::begin(bounds, share) else {
            let most = bounds.0.most_running;
            self.refuse(Cause::Busy(Scarce::Handlers { most }), config, now);
            return None;
        };
        let peer = self.client.as_ref().and_then(|client| client.peer);
        let caller = peer.map_or_else(|| self.stream.caller(), Caller::Known);
        self.waited = false;
        self.enter(Stage::Handler, config.limits.handler, now);
        self.under_way().asked = Some(now);
        Some(Request::from(body, caller, parts, Some(Arc::new(Held::new(running)))))
    }

    /// What the handler has come to.
    pub(crate) fn answer(&mut self, answer: Result<Reply, Fault>, config: &Config, now: Instant) {
        let handled = self.under_way().answered(now);
        if self.went_on(handled) {
            return self.refuse(Cause::RequestWentOn, config, now);
        }
        let fault = match answer {
            Ok(reply) => match self.begin_reply(reply, config, now) {
                Ok(()) => return,
                Err(unspeakable) => Fault::new(unspeakable.0),
            },
            Err(fault) => fault,
        };
        self.refuse(Cause::HandlerFailed(fault), config, now);
    }

    /// Whether more of the request came after a pause that had been taken for its end. The client gets
    /// no answer to a part as if that were the whole.
    pub(super) fn went_on(&self, handled: Duration) -> bool {
        /// In less time no client was heard of: looking costs a system call.
        const NO_TIME: Duration = Duration::from_micros(50);
        let may_have = self.waited || handled >= NO_TIME;
        self.wire.ends_by_pause()
            && self.end == End::Open
            && may_have
            && self.stream.unread() > self.unread()
    }

    /// Tells the client why it gets no answer: the only place that does. Nothing of a reply may have been
    /// written.
    pub(crate) fn refuse(&mut self, cause: Cause, config: &Config, now: Instant) {
        self.refuse_as(kind(&cause), cause, config, now);
    }

    /// The same for a request of which a part may have come. Kept, the rest of it would be read as the next
    /// request, and answered once more.
    pub(super) fn refuse_in_part(&mut self, cause: Cause, config: &Config, now: Instant) {
        self.wire.last();
        self.refuse(cause, config, now);
    }

    pub(super) fn refuse_as(&mut self, kind: Kind, cause: Cause, config: &Config, now: Instant) {
        let Self { under_way, wire, .. } = self;
        let under_way = under_way.get_or_insert_with(UnderWay::begin);
        // Its bytes are not needed any more, and others may need the room.
        (under_way.share, under_way.look) = (Share::default(), None);
        // Else the end of its rest, which may be long past, would end each wait of this reply at once.
        self.rests = false;
        if !wire.stays_open() {
            under_way.forget_input();
            self.fresh = false;
        }
        let own = match (&cause, &config.refusal) {
            (Cause::HandlerFailed(fault), _) if fault.reply().is_some() => {
                fault.reply().map(Reply::copied)
            }
            (_, Some(refusal)) => Some(refusal(&cause).unwrap_or_else(|| Reply::copied(&[]))),
            _ => None,
        };
        under_way.forget_reply();
        let outgoing = &mut under_way.outgoing;
        if let Some(reply) = own {
            wire.refused(kind);
            if reply.whole().is_some() {
                // A wire that cannot say it closes without a word.
                let _ = outgoing.whole(reply, wire);
            }
        } else {
            let reason = cause.to_string();
            wire.refusal(Refusal { kind, reason: &reason }, &mut outgoing.head);
        }
        outgoing.refused = Some(cause);
        self.enter(Stage::Reply, config.limits.write, now);
    }
}

/// Why there is no answer, as far as a wire has different words for it.
fn kind(cause: &Cause) -> Kind {
    match cause {
        Cause::RequestTooLong { .. } => Kind::TooLong,
        Cause::RequestLate { .. } => Kind::RequestLate,
        Cause::Malformed(_) | Cause::RequestWentOn | Cause::DescriptorPassed => Kind::Malformed,
        Cause::HandlerLate { .. } => Kind::HandlerLate,
        Cause::HandlerFailed(fault) => match fault.says {
            Says::Failed => Kind::HandlerFailed,
            Says::Busy => Kind::Busy,
            Says::Late => Kind::HandlerLate,
            Says::TooLarge => Kind::TooLong,
        },
        Cause::Stopping => Kind::Stopping,
        Cause::Busy(_) => Kind::Busy,
        Cause::NotAllowed => Kind::NotAllowed,
    }
}
