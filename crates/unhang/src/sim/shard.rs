//! A shard of the world: a task, where the real one is a thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::handler::Handler;
use crate::queue::Queue;
use crate::serve::door::Service;
use crate::serve::worker::Next;
use crate::shards::{Mode, Shards, Told};

use super::World;
use super::lobby::Door;

/// Within this time it sees that it is to begin or to end.
pub(super) const WAKES_WITHIN: Duration = Duration::from_millis(1);

pub(super) async fn run<H: Handler>(
    world: Arc<World>,
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
    at: usize,
) {
    let shard = &shards.all[at];
    let door = Door::shared(Arc::clone(&world));
    let mut opened = 0;
    loop {
        match shards.ask(shard, opened) {
            None => tokio::time::sleep(WAKES_WITHIN).await,
            Some(Told::End) => return,
            Some(Told::Accept(now)) => {
                opened = now;
                let mut seat = None;
                while shards.mode() == Mode::Open {
                    match service.serve_next(&shards, shard, &mut seat, || door.accept()) {
                        // Others have their turn, as if they ran at the same time.
                        Next::Accept => tokio::task::yield_now().await,
                        Next::Wait => {
                            let _ = timeout(WAKES_WITHIN, world.lobby.somebody()).await;
                        }
                        Next::Trouble => {
                            shards.is_in_trouble();
                            break;
                        }
                    }
                }
            }
        }
    }
}
