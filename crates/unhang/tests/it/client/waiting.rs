//! A server that is not there yet.

use std::io::Write;
use std::os::unix::net::UnixListener;

use unhang::{Client, ErrorKind};

use super::{LONG, SHORT, block_on, place};

#[test]
fn a_client_that_waits_is_served_by_a_server_that_starts_later() {
    let (_directory, path) = place();
    // A file without a server, as one that was killed leaves behind: it is waited for, too.
    drop(UnixListener::bind(&path).unwrap());
    let (began, has_begun) = std::sync::mpsc::channel();
    let server = std::thread::spawn({
        let path = path.clone();
        move || {
            has_begun.recv().unwrap();
            std::fs::remove_file(&path).unwrap();
            let (mut stream, _) = UnixListener::bind(&path).unwrap().accept().unwrap();
            stream.write_all(b"OK\n").unwrap();
            // Until the client has half-closed.
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
    });
    let client = Client::new(&path).deadline(LONG).wait_for_server(true);
    let reply = block_on(async {
        let mut call = std::pin::pin!(client.call("hello"));
        // It has been turned away by now.
        let first = tokio::time::timeout(SHORT / 10, &mut call).await;
        assert!(first.is_err(), "{first:?}");
        began.send(()).unwrap();
        call.await
    });
    server.join().unwrap();
    assert_eq!(reply.unwrap(), b"OK\n");
}

#[test]
fn a_server_that_never_starts_is_told_at_the_deadline() {
    let (_directory, path) = place();
    let client = Client::new(&path).deadline(SHORT).wait_for_server(true);
    let error = block_on(client.call("hello")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSuchFile), "{error}");
}
