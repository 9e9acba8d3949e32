//! Keeps the promise for the clients of shards that are blocked by their handlers: a shard's own
//! thread cannot.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep, timeout};

use crate::event::{Cause, Ended, Event, Exchange};
use crate::handler::{Handler, Reply};
use crate::limits::{CLOSE_LOOKS, HELD_UP, QUEUE_CHECK, SHARD_STUCK};
use crate::listen::Listener;
use crate::serve::door::Service;
use crate::serve::stream::Rescued;
use crate::serve::worker::somebody_waits;
use crate::shards::{Inside, Mode, Shard, Shards};

/// For ever. Costs next to nothing while no shard is at work.
pub(crate) async fn look_after<H: Handler>(
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
    listener: Weak<Listener>,
) {
    let mut closely = 0;
    loop {
        // Before each rest: a shard that was only called accepts one, and knows of no other.
        if shards.mode() == Mode::Open && somebody_waits(&listener) {
            shards.nudge();
        }
        if timeout(QUEUE_CHECK, shards.at_work()).await.is_err() {
            continue;
        }
        while !shards.is_quiet() {
            if shards.one_was_held_up() {
                closely = CLOSE_LOOKS;
            }
            if closely > 0 {
                closely -= 1;
                look_closely(&shards, &listener).await;
            } else {
                sleep(SHARD_STUCK).await;
            }
            look(&service, &shards, &listener);
        }
    }
}

fn look<H: Handler>(service: &Service<H>, shards: &Shards, listener: &Weak<Listener>) {
    let limits = &service.rules.limits;
    let drained = service.rules.drain.is_over();
    let mut stuck = 0;
    for shard in &shards.all {
        let after = if drained { SHARD_STUCK } else { limits.handler };
        if let Some((inside, rescued)) = shard.take_away(after) {
            let cause = if drained {
                Cause::Stopping
            } else {
                Cause::HandlerLate { deadline: limits.handler }
            };
            service.answer_for(inside, &rescued, cause);
        }
        stuck += usize::from(shard.notice());
    }
    if stuck == shards.all.len() {
        shards.is_in_trouble();
    } else if stuck > 0 && somebody_waits(listener) {
        // The kernel has woken only the one that is stuck now.
        shards.nudge();
    } else if shards.somebody_stands_by() && somebody_waits(listener) {
        // Whoever has left them there would have called by now, unless something holds it up that is no
        // exchange: an observer that blocks.
        shards.call_another();
    }
}

/// For as long, whether somebody waits behind an exchange that is longer than others.
async fn look_closely(shards: &Shards, listener: &Weak<Listener>) {
    let end = Instant::now() + SHARD_STUCK;
    while Instant::now() < end {
        sleep(HELD_UP).await;
        let one_is_held_up = || shards.all.iter().any(Shard::is_held_up);
        if shards.somebody_stands_by() && one_is_held_up() && somebody_waits(listener) {
            shards.call_another();
        }
    }
}

impl<H: Handler> Service<H> {
    /// Tells the client of a handler that is still at it.
    fn answer_for(&self, inside: Inside, rescued: &Rescued, cause: Cause) {
        let guest = &inside.guest;
        let peer = guest.peer.or_else(|| rescued.peer());
        guest.leave();
        let word = (self.rules.refusal)(&cause);
        let (thrown_away, bytes_out) =
            rescued.end(word.as_ref().and_then(Reply::whole).unwrap_or_default());
        let took = guest.accepted.elapsed();
        self.tell(&Event::Exchange(&Exchange {
            peer,
            bytes_in: rescued.bytes_in() + thrown_away,
            bytes_out,
            took,
            handled: Some(took),
            ended: Ended::Refused(cause),
        }));
        drop(inside.place);
    }
}
