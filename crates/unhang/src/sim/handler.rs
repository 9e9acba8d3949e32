//! The service of the world: every request is answered as its client's plan says.

use std::fmt::Write;
use std::sync::Arc;

use super::clock::{self, sleep};

use crate::handler::{Fault, Reply, Request};

use super::plan::Deed;
use super::{World, oracle};

pub(super) async fn answer(world: Arc<World>, request: Request) -> Result<Reply, Fault> {
    let id = request.peer().map_or(0, |peer| peer.pid);
    oracle::request(&world, id, &request);
    let plan = &world.plan.clients[id as usize];
    if plan.deed == Deed::Never {
        std::future::pending::<()>().await;
    }
    if let Deed::Block(_) = plan.deed {
        clock::block_until(clock::now() + plan.thinks);
    } else {
        sleep(plan.thinks).await;
    }
    if let Some(socket) = &world.sockets.lock().unwrap()[id as usize] {
        socket.facts().answered = Some(clock::now());
    }
    match plan.deed {
        Deed::Reply(size) | Deed::Block(size) => Ok(reply(id, size).into()),
        Deed::Tell => Err(Fault::new(told(id))),
        Deed::Fail => Err(std::io::Error::from(std::io::ErrorKind::NotFound).into()),
        // As a panic, but without its words on the terminal.
        Deed::Panic | Deed::Never => std::panic::resume_unwind(Box::new("oh")),
    }
}

/// A reply that no other client gets, and in which no byte can be missing unseen.
pub(super) fn reply(id: u32, size: usize) -> Vec<u8> {
    let mut text = String::new();
    for count in 0..50 {
        if text.len() >= size {
            break;
        }
        let _ = write!(text, "{count} for client {id}, ");
    }
    filled(text, size)
}

/// So many bytes of this text, said again and again.
pub(super) fn filled(text: String, size: usize) -> Vec<u8> {
    let mut reply = text.into_bytes();
    let once = reply.len();
    if once < size {
        reply = reply.repeat(size / once + 1);
    }
    reply.truncate(size);
    reply
}

/// A fault that no other client is told.
pub(super) fn told(id: u32) -> String {
    format!("nothing for client {id}")
}
