//! dist/nats-server.conf: each role can do its part, and is refused what is the other's.

use std::time::Duration;

use futures_util::StreamExt;
use unhang::AnyHandler;
use unhang_nats::{Door, Notice};

use crate::support::{ACCEPT, Node, PATIENCE, Service, Told, ask, hello, needs_nats};

/// The file as it is shipped, on the test's own port.
fn shipped() -> Node {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/nats-server.conf");
    let text = std::fs::read_to_string(file).unwrap();
    let listen = "listen: \"127.0.0.1:4222\"";
    assert!(text.contains(listen));
    Node::start(&text.replace(listen, ""))
}

fn address(node: &Node, user: &str) -> String {
    format!("nats://{user}:change-me-{user}@127.0.0.1:{}/app", node.port)
}

async fn client(
    node: &Node,
    user: &str,
) -> (async_nats::Client, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let options = async_nats::ConnectOptions::new()
        .user_and_password(user.into(), format!("change-me-{user}"))
        .event_callback(move |event| {
            let _ = tell.send(event.to_string());
            std::future::ready(())
        });
    (options.connect(format!("127.0.0.1:{}", node.port)).await.unwrap(), told)
}

async fn is_refused(told: &mut tokio::sync::mpsc::UnboundedReceiver<String>, what: &str) {
    let refused = async {
        while let Some(event) = told.recv().await {
            if event.to_lowercase().contains("permissions violation") {
                return event;
            }
        }
        panic!("the connection ended: {what}");
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap_or_else(|_| panic!("it may: {what}"));
}

#[tokio::test]
async fn a_call_goes_through_with_the_shipped_permissions() {
    needs_nats!();
    let node = shipped();
    let service = Service::hello(&address(&node, "worker")).await;
    let (door, said) = crate::support::door(&address(&node, "door")).await;
    // Long enough for `accepted` and a probe.
    assert_eq!(ask(&door, "sleep 400").await, Ok("hello, sleep 400\n".into()), "{}", said.text());
    for told in [&said, &service.told] {
        let complained = told.all().iter().any(|notice| matches!(notice, Notice::Complaint { .. }));
        assert!(!complained, "{}", told.text());
    }
    service.stop().await;
}

#[tokio::test]
async fn each_role_is_refused_what_is_the_other_s() {
    needs_nats!();
    let node = shipped();
    let (door, mut told) = client(&node, "door").await;
    // Not to answer, not to listen in on calls.
    for subject in ["unhang.v1.app", "unhang.>", "_INBOX.>", ">", "$SYS.>"] {
        let _held = door.subscribe(subject).await.unwrap();
        is_refused(&mut told, &format!("door subscribes to {subject}")).await;
    }
    for subject in ["unhang.v2.app", "other"] {
        door.publish(subject, "x".into()).await.unwrap();
        is_refused(&mut told, &format!("door publishes to {subject}")).await;
    }
    let (worker, mut told) = client(&node, "worker").await;
    // Not beside the queue group (it would get every call), not on inboxes of doors.
    for subject in ["unhang.v1.app", "unhang.v1.app.*", "unhang.v1.>", "_INBOX_door.>", ">"] {
        let _held = worker.subscribe(subject).await.unwrap();
        is_refused(&mut told, &format!("worker subscribes to {subject}")).await;
    }
    // Not to ask a service, not to forge an answer.
    for subject in ["unhang.v1.app", "unhang.v1.app.w-1", "unhang.w.other", "_INBOX_door.a.1.b"] {
        worker.publish(subject, "x".into()).await.unwrap();
        is_refused(&mut told, &format!("worker publishes to {subject}")).await;
    }
    let mut calls = worker.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    worker.flush().await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(50), calls.next()).await;
    assert!(nothing.is_err());
}

#[tokio::test]
async fn without_credentials_nobody_is_let_in_and_it_is_said_what_to_do() {
    needs_nats!();
    let node = shipped();
    for address in [node.address(), address(&node, "door").replace("change-me", "guess")] {
        let told = Told::default();
        let door =
            Door::to(address.parse().unwrap()).notices(told.listener()).connect().await.unwrap();
        told.wait_for(1, |notice| matches!(notice, Notice::NotConnected { .. })).await;
        assert!(told.text().contains("--nats-creds"), "{}", told.text());
        assert!(!told.text().contains("guess-door"), "{}", told.text());
        let error = ask(&door, "world").await.unwrap_err();
        assert!(error.contains("not connected to NATS"), "{error}");
    }
}

/// A wary call is sent to one worker's own subject: it has to be permitted, too.
#[tokio::test]
async fn a_wary_call_goes_through_with_the_shipped_permissions() {
    needs_nats!();
    let node = shipped();
    let service = Service::hello(&address(&node, "worker")).await;
    let (door, said) = crate::support::door(&address(&node, "door")).await;
    door.be_wary();
    assert_eq!(ask(&door, "sleep 400").await, Ok("hello, sleep 400\n".into()), "{}", said.text());
    for told in [&said, &service.told] {
        let complained = told.all().iter().any(|notice| matches!(notice, Notice::Complaint { .. }));
        assert!(!complained, "{}", told.text());
    }
    service.stop().await;
}

/// A worker that comes with the door's user cannot serve: it is told, and no call hangs.
#[tokio::test]
async fn the_wrong_role_is_told_what_it_may_not() {
    needs_nats!();
    let node = shipped();
    let service = Service::begin(&address(&node, "door"), |it| it, AnyHandler::new(hello));
    service.told.wait_for(1, |notice| matches!(notice, Notice::Complaint { .. })).await;
    assert!(service.told.text().contains("dist/nats-server.conf"), "{}", service.told.text());
    let (door, _) =
        crate::support::door_with(&address(&node, "door"), |it| it.accept(ACCEPT)).await;
    let error = ask(&door, "world").await.unwrap_err();
    assert!(error.starts_with("no worker for"), "{error}");
    service.stop().await;
}
