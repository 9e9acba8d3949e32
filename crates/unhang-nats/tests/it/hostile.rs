//! A hostile publisher: forged, copied and huge messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use unhang_nats::Notice;

use crate::support::{Node, PATIENCE, Service, ask, client, door, headers, needs_nats};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A moment that a call may still be started at, as a door says it.
fn soon() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now + PATIENCE).as_millis().to_string()
}

/// Publishes what no door has sent, and hears what comes of it.
struct Forger {
    client: async_nats::Client,
    inbox: String,
    replies: Subscriber,
}

impl Forger {
    async fn new(node: &Node) -> Self {
        let client = client(node).await;
        let inbox = client.new_inbox();
        let replies = client.subscribe(inbox.clone()).await.unwrap();
        Self { client, inbox, replies }
    }

    /// To the service, with this subject for the reply.
    async fn send_for(&self, reply: &str, headers: HeaderMap) {
        let (subject, reply) = ("unhang.v1.app", reply.to_owned());
        let client = &self.client;
        client
            .publish_with_reply_and_headers(subject, reply, headers, "evil".into())
            .await
            .unwrap();
    }

    /// The word that the reply has. That it was accepted, as on a busy machine, is none yet.
    async fn send(&mut self, headers: HeaderMap) -> String {
        self.send_for(&self.inbox.clone(), headers).await;
        loop {
            let told = tokio::time::timeout(PATIENCE, self.replies.next()).await.expect("a reply");
            let headers = told.unwrap().headers.unwrap_or_default();
            match headers.get("Unhang").map(async_nats::HeaderValue::as_str) {
                None => return "answer".to_owned(),
                Some("accepted") => {}
                Some(word) => return word.to_owned(),
            }
        }
    }
}

/// Forged, torn and foreign messages: nothing runs, the sender of an inbox is told why, and the service
/// serves on.
#[tokio::test]
async fn a_message_that_no_door_has_sent_runs_nothing() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let mut forger = Forger::new(&node).await;
    let far = u64::MAX.to_string();
    let forged: [&[(&str, &str)]; 5] = [
        &[],
        &[("Unhang-Id", "x"), ("Unhang-Left", "1"), ("Unhang-By", "1")],
        &[("Unhang-Id", ID), ("Unhang-Left", "-1"), ("Unhang-By", "1")],
        // Long ago, and far in the future.
        &[("Unhang-Id", ID), ("Unhang-Left", "1000"), ("Unhang-By", "1")],
        &[("Unhang-Id", ID), ("Unhang-Left", "1000"), ("Unhang-By", &far)],
    ];
    for all in forged {
        let word = forger.send(headers(all)).await;
        assert!(word == "error" || word == "late", "{word}");
    }
    assert_eq!(service.runs(), 0);
    let (door, _) = door(&node.address()).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    service.stop().await;
}

/// A worker may publish where its requester may not: a reply subject that is no inbox gets nothing.
#[tokio::test]
async fn a_worker_is_not_made_to_publish_elsewhere() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let forger = Forger::new(&node).await;
    let mut victim = forger.client.subscribe("victim.>").await.unwrap();
    let by = soon();
    let map = headers(&[("Unhang-Id", ID), ("Unhang-Left", "1000"), ("Unhang-By", &by)]);
    forger.send_for("victim.a", map).await;
    forger.client.publish("unhang.v1.app", Bytes::new()).await.unwrap();
    service.told.wait_for(2, |notice| matches!(notice, Notice::Refused { .. })).await;
    assert!(service.told.text().contains("which is no inbox"), "{}", service.told.text());
    let nothing = tokio::time::timeout(Duration::from_millis(100), victim.next()).await;
    assert!(nothing.is_err());
    assert_eq!(service.runs(), 0);
    service.stop().await;
}

/// The same message twice is run once: a copy is somebody's, no door makes one.
#[tokio::test]
async fn a_copied_call_runs_once() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let mut forger = Forger::new(&node).await;
    let by = soon();
    for expected in ["answer", "error"] {
        let map = headers(&[("Unhang-Id", ID), ("Unhang-Left", "5000"), ("Unhang-By", &by)]);
        assert_eq!(forger.send(map).await, expected);
    }
    assert_eq!(service.runs(), 1);
    service.stop().await;
}

/// Headers of half a megabyte, ten thousand of them, and one name with two values: the service reads what it knows,
/// and serves on.
#[tokio::test]
async fn huge_headers_hurt_nobody() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let mut forger = Forger::new(&node).await;
    let huge = "x".repeat(1 << 19);
    assert_eq!(forger.send(headers(&[("Unhang-Id", &huge)])).await, "error");
    assert!(service.told.text().len() < 1000, "it is not logged whole");
    let by = soon();
    let mut map = headers(&[("Unhang-Id", ID), ("Unhang-Left", "5000"), ("Unhang-By", &by)]);
    map.insert("traceparent", huge.as_str());
    for nth in 0..10_000 {
        map.insert(format!("X-{nth}").as_str(), "y");
    }
    assert_eq!(forger.send(map).await, "answer");
    let mut map = headers(&[("Unhang-Left", "5000"), ("Unhang-By", &by)]);
    map.append("Unhang-Id", "other");
    map.append("Unhang-Id", ID);
    assert_eq!(forger.send(map).await, "error");
    assert_eq!(service.runs(), 1);
    service.stop().await;
}

/// To ask whether a worker is free runs nothing, and holds no place.
#[tokio::test]
async fn hundreds_that_ask_who_is_free_take_no_place() {
    needs_nats!();
    let node = Node::start("");
    let change = |server: unhang_nats::Server| server.places(1);
    let handler = unhang::AnyHandler::new(crate::support::hello);
    let service = Service::start(&node.address(), change, handler).await;
    let mut forger = Forger::new(&node).await;
    for _ in 0..200 {
        let by = soon();
        let map = headers(&[
            ("Unhang-Id", ID),
            ("Unhang-Left", "5000"),
            ("Unhang-By", &by),
            ("Unhang-Seek", "1"),
        ]);
        assert_eq!(forger.send(map).await, "free");
    }
    let (door, _) = door(&node.address()).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    assert_eq!(service.runs(), 1);
    service.stop().await;
}
