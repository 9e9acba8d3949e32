//! `unhang serve --to nats://…`: the door to a service on other machines, and the flags of both sides.

use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;
use unhang::Limits;
use unhang_nats::{Address, Door, Notice};

use crate::cmd::nats::Access;
use crate::exit;
use crate::stdio::complain;
use crate::units::{self, Span};

/// More than any process holds.
const MANY: usize = 1 << 20;

#[derive(Args, Debug)]
#[command(next_help_heading = "Many machines (docs/many-machines.md)")]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) access: Access,
    /// For --to `nats://…`: a call may run twice, so it is sent again if its worker is lost
    #[arg(long, requires = "to")]
    pub(super) idempotent: bool,
    /// For --to `nats://…`: until when after its sending a worker may start a call; longer waits for machines that
    /// are slow, and tells later of workers that are dead [default: 250ms]
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, requires = "to")]
    pub(super) accept_deadline: Option<Span>,
    /// For serve `nats://…`: calls at once; more are told that it is busy, and go to another [default: 64]
    #[arg(long, value_name = "N", value_parser = units::count(MANY))]
    pub(super) places: Option<usize>,
}

impl Flags {
    /// A flag that goes with NATS alone, and was given.
    pub(super) fn given(&self, has_socket: bool) -> Option<&'static str> {
        match has_socket {
            _ if self.idempotent => Some("--idempotent"),
            _ if self.accept_deadline.is_some() => Some("--accept-deadline"),
            true if self.places.is_some() => Some("--places"),
            true => self.access.given(),
            false => None,
        }
    }
}

/// What a door says at its control socket of a call: the worker is asked, over NATS.
pub(super) fn tell_of_calls(
    door: &Door,
) -> impl Fn(u32, Duration) -> Option<String> + Send + Sync + 'static {
    let (door, runtime) = (door.clone(), Handle::current());
    move |number, within| {
        let (told, tells) = std::sync::mpsc::sync_channel(1);
        let door = door.clone();
        runtime.spawn(async move {
            // The asker has gone if it did not wait so long.
            let _ = told.send(door.tell_of(number, within).await);
        });
        // It keeps the time itself, unless the runtime is held up.
        tells.recv_timeout(within).ok().flatten()
    }
}

/// The door to a service. Nodes that cannot be reached are tried on and on.
pub(super) async fn door(
    flags: &Flags,
    address: &Address,
    limits: &Limits,
    notices: impl Fn(Notice) + Send + Sync + 'static,
) -> Result<Door, u8> {
    if flags.places.is_some() {
        complain("serve", "--places is for serve nats://… alone: the socket has --max-connections");
        return Err(exit::USAGE);
    }
    let mut door = Door::to(address.clone())
        .access(flags.access.access())
        .deadline(limits.handler)
        .idempotent(flags.idempotent)
        .notices(notices);
    if let Some(accept) = &flags.accept_deadline {
        door = door.accept(accept.0);
    }
    door.connect().await.map_err(|error| {
        complain("serve", error);
        exit::USAGE
    })
}
