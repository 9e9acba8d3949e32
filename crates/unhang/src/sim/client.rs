//! A client that does what its plan says, down to its last call.

use std::sync::Arc;

use super::clock::sleep;

use super::World;
use super::plan::{ClientPlan, Reading, Then};
use super::socket::{Socket, Taken};

/// From its arrival until it closes.
pub(super) async fn live(world: Arc<World>, id: usize) {
    let plan = &world.plan.clients[id];
    sleep(plan.arrives).await;
    let client = || Socket::new(plan.peer, plan.room, plan.trap);
    let Some(socket) = world.servers[0].listener.connect(client).await else { return };
    world.sockets.lock().unwrap()[id] = Some(socket.clone());
    let leaves = async {
        match plan.leaves {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = exchange(plan, &socket) => {}
        () = leaves => {}
    }
    socket.leave();
}

async fn exchange(plan: &ClientPlan, socket: &Socket) {
    if plan.talks_first {
        talk(plan, socket).await;
        listen(&plan.reading, socket).await;
    } else {
        tokio::join!(biased; talk(plan, socket), listen(&plan.reading, socket));
    }
    if plan.stays {
        socket.over().await;
    }
}

async fn talk(plan: &ClientPlan, socket: &Socket) {
    for (pause, piece) in &plan.pieces {
        sleep(*pause).await;
        if !socket.send(piece).await {
            return;
        }
    }
    match plan.then {
        Then::Wait => {}
        Then::HalfClose(after) => {
            sleep(after).await;
            socket.half_close();
        }
        Then::Flood(bytes, times, pause) => {
            let piece = vec![b'?'; bytes];
            for _ in 0..times {
                sleep(pause).await;
                if !socket.send(&piece).await {
                    return;
                }
            }
        }
    }
}

pub(super) async fn listen(reading: &Reading, socket: &Socket) {
    for _ in 0..reading.times {
        sleep(reading.pause).await;
        if socket.take(reading.step).await == Taken::End {
            return;
        }
    }
    if reading.to_the_end {
        while socket.take(usize::MAX).await == Taken::Bytes {}
    } else {
        socket.over().await;
    }
}
