//! A hostile publisher, a second service, a worker that lies.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use unhang_nats::Notice;

use crate::support::{Node, Service, ask, door, door_with, needs_nats};

async fn client(node: &Node) -> async_nats::Client {
    async_nats::connect(format!("127.0.0.1:{}", node.port)).await.unwrap()
}

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in all {
        map.insert(*name, *value);
    }
    map
}

const ID: &str = "0123456789abcdef0123456789abcdef";

/// Forged, torn and foreign messages: nothing runs, the sender of an inbox is told why, and the service
/// serves on.
#[tokio::test]
async fn a_message_that_no_door_has_sent_runs_nothing() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let client = client(&node).await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
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
        let (subject, reply, map) = ("unhang.v1.app", inbox.clone(), headers(all));
        client.publish_with_reply_and_headers(subject, reply, map, "evil".into()).await.unwrap();
        let told = replies.next().await.unwrap();
        let word = told.headers.unwrap().get("Unhang").unwrap().as_str().to_owned();
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
    let client = client(&node).await;
    let mut victim = client.subscribe("victim.>").await.unwrap();
    let map =
        headers(&[("Unhang-Id", ID), ("Unhang-Left", "1000"), ("Unhang-By", "99999999999999")]);
    client
        .publish_with_reply_and_headers("unhang.v1.app", "victim.a", map, "evil".into())
        .await
        .unwrap();
    client.publish("unhang.v1.app", Bytes::new()).await.unwrap();
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
    let client = client(&node).await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let by = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
        + crate::support::PATIENCE;
    let by = by.as_millis().to_string();
    for _ in 0..2 {
        let map = headers(&[("Unhang-Id", ID), ("Unhang-Left", "5000"), ("Unhang-By", &by)]);
        let (subject, reply) = ("unhang.v1.app", inbox.clone());
        client.publish_with_reply_and_headers(subject, reply, map, "once".into()).await.unwrap();
    }
    replies.next().await.unwrap();
    replies.next().await.unwrap();
    assert_eq!(service.runs(), 1);
    service.stop().await;
}

/// A worker of a hostile make answers twice, late, to the wrong subject and with every word. The next
/// call's answer is its own.
#[tokio::test]
async fn an_answer_too_many_or_too_late_reaches_no_other_call() {
    needs_nats!();
    let node = Node::start("");
    let client = client(&node).await;
    let mut calls = client.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    client.flush().await.unwrap();
    let evil = tokio::spawn(async move {
        let mut before: Vec<async_nats::Subject> = Vec::new();
        while let Some(call) = calls.next().await {
            // To all earlier calls, first.
            for reply in &before {
                client.publish(reply.clone(), "an answer of before".into()).await.unwrap();
            }
            let reply = call.reply.unwrap();
            for words in
                [&[("Unhang", "nonsense")][..], &[("Unhang", "accepted")], &[("Unhang", "running")]]
            {
                client
                    .publish_with_headers(reply.clone(), headers(words), "a word".into())
                    .await
                    .unwrap();
            }
            client.publish(reply.clone(), call.payload.clone()).await.unwrap();
            client.publish(reply.clone(), "twice".into()).await.unwrap();
            before.push(reply);
        }
    });
    let (door, _) = door(&node.address()).await;
    for nth in 0..50 {
        let answer = loop {
            match ask(&door, &format!("call {nth}")).await {
                Err(error) if nth == 0 && error.starts_with("no worker for") => {}
                other => break other,
            }
        };
        assert_eq!(answer, Ok(format!("call {nth}")));
    }
    evil.abort();
}

/// A worker that said `accepted` and then `busy` has it: to believe the second would run it twice.
#[tokio::test]
async fn a_worker_that_takes_its_word_back_is_not_believed() {
    needs_nats!();
    let node = Node::start("");
    let client = client(&node).await;
    let mut calls = client.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    client.flush().await.unwrap();
    let evil = tokio::spawn(async move {
        let mut asked = 0;
        while let Some(call) = calls.next().await {
            asked += 1;
            let reply = call.reply.unwrap();
            let accepted = [("Unhang", "accepted"), ("Unhang-Worker", "liar"), ("Unhang-At", "1")];
            let busy = [("Unhang", "busy"), ("Unhang-Worker", "liar")];
            for word in [&accepted[..], &busy[..]] {
                client
                    .publish_with_headers(reply.clone(), headers(word), Bytes::new())
                    .await
                    .unwrap();
            }
            client.flush().await.unwrap();
            if asked == 2 {
                break;
            }
        }
        asked
    });
    let (door, _) = door_with(&node.address(), |door| door.accept(crate::support::ACCEPT)).await;
    let error = loop {
        match ask(&door, "x").await {
            Err(error) if error.starts_with("no worker for") => {}
            other => break other.unwrap_err(),
        }
    };
    // Nobody listens on the subject of that worker.
    assert!(error.contains("the worker liar was lost after it accepted"), "{error}");
    assert!(!evil.is_finished(), "it was asked twice");
    evil.abort();
}

/// A second service of the same name is in the same group, and takes a share: what it says is its own, and
/// the worker's name in the log tells which it was.
#[tokio::test]
async fn a_second_service_of_the_name_is_told_apart_by_its_worker() {
    needs_nats!();
    let node = Node::start("");
    let (one, two) = (Service::hello(&node.address()).await, Service::hello(&node.address()).await);
    let (door, said) = door(&node.address()).await;
    for _ in 0..20 {
        assert!(ask(&door, "sleep 50").await.is_ok());
    }
    assert_eq!(one.runs() + two.runs(), 20);
    let mut workers: Vec<_> = said
        .all()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Called { worker, .. } => worker,
            _ => None,
        })
        .collect();
    workers.sort();
    workers.dedup();
    assert!(!workers.is_empty() && workers.len() <= 2, "{workers:?}");
    one.stop().await;
    two.stop().await;
}
