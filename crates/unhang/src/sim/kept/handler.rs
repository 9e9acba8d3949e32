//! The service: each request is answered as its client's plan says.

use std::sync::Arc;

use super::plan::{Deed, Form, RequestPlan, words};
use super::{World, oracle};
use crate::handler::{Fault, Reply, Request};
use crate::sim::clock::{self, sleep};

pub(super) async fn answer(world: Arc<World>, request: Request) -> Result<Reply, Fault> {
    let Some((id, nth)) = oracle::asked(&world, &request) else {
        return Err(Fault::new("it was never asked"));
    };
    // Its bytes count for as long as it is handled.
    let _held = request;
    let plan = &world.plan.clients[id].requests[nth];
    match plan.deed {
        Deed::Never => std::future::pending().await,
        Deed::Block(_) => clock::block_until(clock::now() + plan.thinks),
        _ => sleep(plan.thinks).await,
    }
    match plan.deed {
        Deed::Reply(size) | Deed::Block(size) => Ok(words(id, nth, size).into()),
        Deed::Stream(..) => Ok(stream(plan, words(id, nth, plan.says()))),
        Deed::Delimiter => Ok("one\n\0two".into()),
        Deed::Tell => Err(Fault::new(told(id, nth))),
        Deed::Fail => Err(std::io::Error::from(std::io::ErrorKind::NotFound).into()),
        // As a panic, but without its words on the terminal.
        Deed::Panic | Deed::Never => std::panic::resume_unwind(Box::new("oh")),
    }
}

/// In pieces, each after a pause.
fn stream(plan: &RequestPlan, all: Vec<u8>) -> Reply {
    let Deed::Stream(pieces, size, pause, finishes) = plan.deed else { return Reply::from(all) };
    let (mut sender, reply) = Reply::stream(pieces);
    clock::spawn(async move {
        for piece in all.chunks(size.max(1)) {
            sleep(pause).await;
            if sender.send(piece.to_vec()).await.is_err() {
                return;
            }
        }
        if finishes {
            sender.finish().await;
        }
    });
    reply
}

/// A fault that no other request is told.
pub(super) fn told(id: usize, nth: usize) -> String {
    format!("nothing for client {id} and its request {nth}")
}

/// What a client has as the body of its answer.
pub(super) fn reply(plan: &RequestPlan, id: usize, nth: usize) -> Vec<u8> {
    if plan.form == Form::Head { Vec::new() } else { words(id, nth, plan.says()) }
}
