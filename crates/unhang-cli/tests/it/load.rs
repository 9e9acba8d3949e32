//! Many at once: nobody hangs, nothing is lost, no descriptor leaks.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, await_some};

const CLIENTS: usize = 64;
const EXCHANGES: usize = 10_000;

#[test]
fn ten_thousand_exchanges_by_64_clients() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    Peer::ask(&place.socket, b"hello");
    let before = server.descriptors_at_rest();

    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while begun.fetch_add(1, Ordering::Relaxed) < EXCHANGES {
                    let reply = Peer::ask(&place.socket, b"hello");
                    assert!(
                        reply.starts_with(b"OK+ at ")
                            && reply.ends_with(b"\n")
                            && reply.len() == 43,
                        "{:?}",
                        reply.escape_ascii().to_string()
                    );
                }
            });
        }
    });

    await_some("its descriptors are back where they were", || {
        (server.descriptors() == before).then_some(())
    });
    let (status, lines) = server.stop();
    assert!(status.success());
    let answered = format!("stopped; {} answered, 0 refused, 0 ended otherwise", EXCHANGES + 1);
    assert!(lines.last().unwrap().contains(&answered), "{lines:#?}");
}
