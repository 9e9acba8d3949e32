//! What a door says on `--wire http`: a status that proxies and clients act on.

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use unhang::{AnyHandler, Server};

use crate::support::{ACCEPT, Node, Service, door_with, hello, needs_nats};

async fn post(socket: &std::path::Path, body: &str) -> String {
    let mut client = UnixStream::connect(socket).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    let request = format!("{head}Connection: close\r\n\r\n{body}");
    // A server that refuses it early may close before it has read all.
    let _ = client.write_all(request.as_bytes()).await;
    let mut reply = Vec::new();
    let _ = client.read_to_end(&mut reply).await;
    String::from_utf8_lossy(&reply).into_owned()
}

/// Regression: each was a 500, and no proxy tried another door, nor did a client come again.
#[tokio::test]
async fn a_call_that_did_not_run_is_a_503_and_one_too_large_a_413() {
    needs_nats!();
    let node = Node::start("max_payload: 4096");
    let (door, _) = door_with(&node.address(), |it| it.accept(ACCEPT)).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("door.sock");
    let server = Server::bind(&socket).unwrap().http();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(door.clone()));

    let reply = post(&socket, "x").await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
    assert!(reply.contains("no worker for unhang.v1.app; the request did not run"), "{reply}");

    let reply = post(&socket, &"x".repeat(5000)).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("larger than NATS takes"), "{reply}");

    // A worker that says what it is told to.
    let client = async_nats::connect(format!("127.0.0.1:{}", node.port)).await.unwrap();
    let mut calls = client.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    client.flush().await.unwrap();
    let parrot = tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let mut words = HeaderMap::new();
            words.insert("Unhang", &*String::from_utf8_lossy(&call.payload));
            words.insert("Unhang-Worker", "parrot");
            words.insert("Unhang-At", "1");
            let reply = call.reply.unwrap();
            client.publish_with_headers(reply, words, Bytes::new()).await.unwrap();
        }
    });
    for (word, told) in
        [("busy", "busy: "), ("stopping", "are stopping; "), ("late", "too late for every worker")]
    {
        let reply = loop {
            let reply = post(&socket, word).await;
            if !reply.contains("no worker for") {
                break reply;
            }
        };
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        assert!(reply.contains("\r\nRetry-After: 1\r\n") && reply.contains(told), "{reply}");
    }
    parrot.abort();
    let _ = parrot.await;

    // What may have run is a 500: nobody is to try it again by himself.
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(hello)).await;
    let reply = loop {
        let reply = post(&socket, "sleep x").await;
        if !reply.contains("503") {
            break reply;
        }
    };
    assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
    service.stop().await;
    handle.stop();
    serving.await.unwrap().unwrap();
}
