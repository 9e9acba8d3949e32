//! What happened in a world, told so that a person can find out why.

use std::fmt::Write;

use std::time::Instant;

use super::World;

pub(super) fn tell(world: &World) -> String {
    let at = |instant: Option<Instant>| match instant {
        Some(instant) => format!("{} ms", (instant - world.begun).as_millis()),
        None => "never".into(),
    };
    let plan = &world.plan;
    let mut story = format!(
        "{:?}\nuntil {:?}, words {:?}, allowed {:?} {:?}, backlog {}, {:?}, observer {:?}\n\
         stopped after {:?}, hurried {:?}, drained at {:?}\n",
        plan.limits,
        plan.until,
        plan.words,
        plan.uids,
        plan.gids,
        plan.backlog,
        plan.trouble,
        plan.observer,
        plan.stop,
        plan.hurry,
        world.servers.iter().map(|server| at(server.stop.end())).collect::<Vec<_>>(),
    );
    for (plan, socket) in plan.clients.iter().zip(&*world.sockets.lock().unwrap()) {
        let pieces = plan.pieces.iter().map(|(pause, piece)| (*pause, piece.len()));
        let _ = writeln!(
            story,
            "{:?} arrives {:?}, room {}, sends {:?}, then {:?}, talks first {}, {:?}, leaves {:?}, stays {}, \
             {:?}, handler {:?} after {:?}",
            plan.peer,
            plan.arrives,
            plan.room,
            pieces.collect::<Vec<_>>(),
            plan.then,
            plan.talks_first,
            plan.reading,
            plan.leaves,
            plan.stays,
            plan.trap,
            plan.deed,
            plan.thinks,
        );
        let Some(socket) = socket else {
            story.push_str("    never connected\n");
            continue;
        };
        let facts = socket.facts();
        let start = &facts.written[..facts.written.len().min(60)];
        let _ = writeln!(
            story,
            "    connected {}, accepted {} by {}, asked {} answered {}, half-closed {}, closed {}\n    \
             sent {} (last {}) read {}, client {:?}; written {} taken {}: {}\n    {}",
            at(Some(facts.connected)),
            at(facts.accepted),
            facts.server,
            at(facts.asked.map(|(at, _)| at)),
            at(facts.answered),
            at(facts.half_closed),
            at(facts.closed),
            facts.sent.len(),
            at(facts.arrivals.last().map(|&(at, _)| at)),
            facts.read,
            facts.client,
            facts.written.len(),
            facts.taken,
            start.escape_ascii(),
            facts.ending,
        );
    }
    story
}
