//! A client that does what its plan says, down to its last call.

use std::sync::Arc;

use tokio::time::sleep;

use super::World;
use super::plan::{ClientPlan, Reading, Then};
use super::wire::{Taken, Wire};

/// From its arrival until it closes.
pub(super) async fn live(world: Arc<World>, id: usize) {
    let plan = &world.plan.clients[id];
    sleep(plan.arrives).await;
    let Some(wire) = world.lobby.connect(plan).await else { return };
    world.wires.lock().unwrap()[id] = Some(wire.clone());
    let leaves = async {
        match plan.leaves {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = exchange(plan, &wire) => {}
        () = leaves => {}
    }
    wire.leave();
}

async fn exchange(plan: &ClientPlan, wire: &Wire) {
    if plan.talks_first {
        talk(plan, wire).await;
        listen(&plan.reading, wire).await;
    } else {
        tokio::join!(biased; talk(plan, wire), listen(&plan.reading, wire));
    }
    if plan.stays {
        wire.over().await;
    }
}

async fn talk(plan: &ClientPlan, wire: &Wire) {
    for (pause, piece) in &plan.pieces {
        sleep(*pause).await;
        if !wire.send(piece).await {
            return;
        }
    }
    match plan.then {
        Then::Wait => {}
        Then::HalfClose(after) => {
            sleep(after).await;
            wire.half_close();
        }
        Then::Flood(bytes, times, pause) => {
            let piece = vec![b'?'; bytes];
            for _ in 0..times {
                sleep(pause).await;
                if !wire.send(&piece).await {
                    return;
                }
            }
        }
    }
}

async fn listen(reading: &Reading, wire: &Wire) {
    for _ in 0..reading.times {
        sleep(reading.pause).await;
        if wire.take(reading.step).await == Taken::End {
            return;
        }
    }
    if reading.to_the_end {
        while wire.take(usize::MAX).await == Taken::Bytes {}
    } else {
        wire.over().await;
    }
}
