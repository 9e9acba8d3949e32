//! What happened in a world of kept connections, told so that a person can find out why.

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
        "{:?} {:?}\nbacklog {}, {} servers with {} workers, observed {}, {:?}, stopped after {:?}, drained {:?}\n",
        plan.speech,
        plan.limits,
        plan.backlog,
        plan.servers,
        plan.workers,
        plan.is_observed,
        plan.trouble,
        plan.stop,
        world.servers.iter().map(|server| at(server.stop.end())).collect::<Vec<_>>(),
    );
    for (plan, client) in plan.clients.iter().zip(&*world.clients.lock().unwrap()) {
        let _ = writeln!(
            story,
            "client {} arrives {:?}, room {}, {:?}, then {:?}, {:?}, leaves {:?}, {:?}",
            plan.peer.pid,
            plan.arrives,
            plan.room,
            plan.pieces,
            plan.then,
            plan.reading,
            plan.leaves,
            plan.trap,
        );
        for (nth, request) in plan.requests.iter().enumerate() {
            let (length, end) = (request.body.len(), plan.ends[nth]);
            let (form, deed, thinks) = (request.form, request.deed, request.thinks);
            let asked = client.asked.iter().find(|asked| asked.0 == nth).map(|asked| asked.1);
            let _ = write!(
                story,
                "    {nth}: {length} bytes to {end}, {form:?}, {deed:?} after {thinks:?}, asked {}",
                at(asked)
            );
            if let Some((when, exchange)) = client.told.get(nth) {
                let (ended, out) = (&exchange.ended, exchange.bytes_out);
                let _ = write!(story, ", {out} bytes {ended:?} at {}", at(Some(*when)));
            }
            story.push('\n');
        }
        let Some(socket) = &client.socket else {
            story.push_str("    never connected\n");
            continue;
        };
        let facts = socket.facts();
        let _ = writeln!(
            story,
            "    {} told; connected {}, accepted {} by {}, half-closed {}, closed {}\n    sent {} (last {}) \
             read {}, shut {} over {}, client {:?} left {}; written {} taken {}: {:.200}",
            client.told.len(),
            at(Some(facts.connected)),
            at(facts.accepted),
            facts.server,
            at(facts.half_closed),
            at(facts.closed),
            facts.sent.len(),
            at(facts.arrivals.last().map(|&(at, _)| at)),
            facts.read,
            facts.input_shut,
            facts.shut_over,
            facts.client,
            at(facts.left),
            facts.written.len(),
            facts.taken,
            facts.written.escape_ascii().to_string(),
        );
    }
    story
}
