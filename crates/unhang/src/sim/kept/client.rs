//! A client that keeps its connection, and does what its plan says.

use std::sync::Arc;

use super::World;
use super::plan::{ClientPlan, Then};
use crate::sim::client::listen;
use crate::sim::clock::sleep;
use crate::sim::socket::Socket;

/// From its arrival until it closes.
pub(super) async fn live(world: Arc<World>, id: usize) {
    let plan = &world.plan.clients[id];
    sleep(plan.arrives).await;
    let client = || {
        let socket = Socket::new(Some(plan.peer), plan.room, plan.trap);
        socket.facts().ahead = plan.ahead.clone();
        socket
    };
    let Some(socket) = world.servers[0].listener.connect(client).await else { return };
    world.clients.lock().unwrap()[id].socket = Some(socket.clone());
    let leaves = async {
        match plan.leaves {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ((), ()) = async { tokio::join!(biased; talk(&world, plan, &socket), listen(&plan.reading, &socket)) } => {}
        () = leaves => {}
    }
    socket.leave();
}

async fn talk(world: &World, plan: &ClientPlan, socket: &Socket) {
    let (speech, mut count, mut at) = (world.plan.speech, 0, 0);
    for piece in &plan.pieces {
        let read = |taken: &[u8]| {
            while count < piece.awaits {
                match speech.next(&taken[at..], plan.requests.get(count)) {
                    Ok(Some(answer)) => (count, at) = (count + 1, at + answer.end),
                    // The oracle tells what is no answer.
                    Ok(None) | Err(_) => return false,
                }
            }
            true
        };
        if piece.awaits > 0 {
            socket.until_taken(read).await;
        }
        sleep(piece.pause).await;
        if !socket.send_up_to(piece.end).await {
            return;
        }
    }
    match plan.then {
        Then::Wait => {}
        Then::HalfClose(after) => {
            sleep(after).await;
            socket.half_close();
        }
    }
}
