//! What the kernel answers about Unix sockets: half a row is no fact, and no row is made up.

// The command is a program, with nothing to link to.
#[allow(dead_code)]
#[path = "../../crates/unhang-cli/src/sock_diag/message.rs"]
mod message;

pub(crate) use message::FileId;
use message::{Socket, parse};

/// The smallest row: a header and a `unix_diag_msg`, of 16 bytes each.
const SMALLEST: usize = 32;

/// Takes the input for one datagram of the kernel's.
pub fn sock_diag(data: &[u8]) {
    let whole = sockets(data);
    assert!(whole.len() <= data.len() / SMALLEST, "{whole:?}");
    for socket in &whole {
        assert!(socket.pending.len() <= data.len() / 4 && socket.name.len() < data.len());
    }
    // The first byte says where it is cut off.
    let cut = data.first().map_or(0, |first| usize::from(*first).min(data.len()));
    assert!(whole.starts_with(&sockets(&data[..cut])), "cut at {cut}");
}

fn sockets(datagram: &[u8]) -> Vec<Socket> {
    let mut sockets = Vec::new();
    parse(datagram, &mut sockets);
    sockets
}
