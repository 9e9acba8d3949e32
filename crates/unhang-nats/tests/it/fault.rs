//! What clients are told when something breaks.

use std::time::{Duration, Instant};

use unhang::AnyHandler;
use unhang_nats::{Notice, Outcome};

use crate::support::{ACCEPT, Node, Service, ask, door, door_with, hello, needs_nats};

/// Ends it as a crash does: its connections close, and nothing is said.
async fn crash(service: Service) {
    service.task.abort();
    let _ = service.task.await;
}

#[tokio::test]
async fn a_connection_that_is_lost_is_told_at_once_and_not_at_the_deadline() {
    needs_nats!();
    let mut node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let (door, said) = door(&node.address()).await;
    let call = tokio::spawn({
        let door = door.clone();
        async move { (ask(&door, "sleep 50000").await, Instant::now()) }
    });
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.kill();
    let (answer, _) = call.await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!(
        error,
        "the connection to NATS was lost after the request was sent; it may have run"
    );
    assert_eq!(service.runs(), 1);

    // And it comes back by itself.
    node.again();
    said.wait_for(3, |notice| matches!(notice, Notice::Connected { .. })).await;
    service.told.wait_for(4, |notice| matches!(notice, Notice::Connected { .. })).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    service.stop().await;
}

/// An idempotent call goes on by the other worker.
#[tokio::test]
async fn an_idempotent_call_survives_its_node() {
    needs_nats!();
    let mut node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let (door, _) = door_with(&node.address(), |door| door.accept(ACCEPT).idempotent(true)).await;
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, "sleep 500").await }
    });
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.kill();
    node.again();
    // It may be told that no node could be reached within the hold, and never hangs.
    match call.await.unwrap() {
        Ok(answer) => assert_eq!(answer, "hello, sleep 500\n"),
        Err(error) => assert!(error.contains("NATS") || error.contains("no worker"), "{error}"),
    }
    service.stop().await;
}

/// Subscribed, and never reads: only the accept time tells.
#[tokio::test]
async fn a_deaf_worker_is_told_by_the_accept_time() {
    needs_nats!();
    let node = Node::start("");
    let deaf = async_nats::connect(format!("127.0.0.1:{}", node.port)).await.unwrap();
    let _held = deaf.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    deaf.flush().await.unwrap();
    let (door, said) = door_with(&node.address(), |door| door).await;
    let error = loop {
        // The subscription may not be in force yet.
        match ask(&door, "world").await {
            Err(error) if error.starts_with("no worker for") => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error, "no worker said within 250ms that it has the request; it may have run");
    let once = |notice: &Notice| {
        matches!(notice, Notice::Called { outcome: Outcome::NotAccepted, resends: 0, .. })
    };
    assert!(said.all().iter().any(once), "{}", said.text());
}

/// A call that may run twice is sent again, and each time another worker may get it.
#[tokio::test]
async fn an_idempotent_call_gets_past_a_deaf_worker() {
    needs_nats!();
    let node = Node::start("");
    let services = [Service::hello(&node.address()).await, Service::hello(&node.address()).await];
    let deaf = async_nats::connect(format!("127.0.0.1:{}", node.port)).await.unwrap();
    let _held = deaf.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    deaf.flush().await.unwrap();
    let (door, said) = door_with(&node.address(), |door| door.idempotent(true)).await;
    let mut answered = 0;
    for nth in 0..20 {
        match ask(&door, &format!("{nth}")).await {
            Ok(answer) => {
                assert_eq!(answer, format!("hello, {nth}\n"));
                answered += 1;
            }
            // Four times by chance to the deaf one: one call in 1,250 with the group's five subscriptions.
            Err(error) => assert!(error.starts_with("no worker said within"), "{error}"),
        }
    }
    assert!(answered >= 15, "{answered}: {}", said.text());
    for service in services {
        service.stop().await;
    }
}

/// Without the worker's own subject its death was told by the deadline alone.
#[tokio::test]
async fn a_worker_that_dies_at_work_is_told_long_before_the_deadline() {
    needs_nats!();
    let node = Node::start("");
    // On a runtime of its own, to be dropped with all its connections.
    let other =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let address = node.address();
    let service = other
        .spawn(async move { Service::start(&address, |it| it, AnyHandler::new(hello)).await })
        .await
        .unwrap();
    let (door, said) = door(&node.address()).await;
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, "sleep 50000").await }
    });
    while door.waiting().first().is_none_or(|call| call.worker.is_none()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let worker = door.waiting()[0].worker.clone().unwrap();
    other.shutdown_background();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        error,
        format!("the worker {worker} was lost after it accepted the request; it may have run"),
        "{}",
        said.text()
    );
    crash(service).await;
}

/// A node that says that it goes away is left, and nothing is lost.
#[tokio::test]
async fn a_lame_duck_loses_nothing() {
    needs_nats!();
    let config = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"10s\"";
    // Two nodes that are no cluster, with the service on both. In a cluster a call could be on its way between two
    // nodes just then, which is for script/nats-faults.
    let (first, second) = (Node::start(config), Node::start(config));
    let address = format!("nats://127.0.0.1:{},127.0.0.1:{}/app", first.port, second.port);
    let service = Service::hello(&address).await;
    let (door, said) = door(&address).await;
    let is_connected = |notice: &Notice| matches!(notice, Notice::Connected { .. });
    said.wait_for(2, is_connected).await;
    service.told.wait_for(2, is_connected).await;
    let (stop, _) = tokio::sync::watch::channel(false);
    let load: Vec<_> = (0..4)
        .map(|client| {
            let (door, stopped) = (door.clone(), stop.subscribe());
            tokio::spawn(async move {
                let mut asked = 0;
                while !*stopped.borrow() {
                    let text = format!("{client} {asked}");
                    assert_eq!(ask(&door, &text).await, Ok(format!("hello, {text}\n")));
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    first.signal("-USR2");
    // Both sides have left it, and are on the other with both connections.
    said.wait_for(3, is_connected).await;
    service.told.wait_for(3, is_connected).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send_replace(true);
    let mut asked = 0;
    for client in load {
        let calls = client.await;
        asked +=
            calls.unwrap_or_else(|error| panic!("{error}: {}{}", said.text(), service.told.text()));
    }
    assert_eq!(service.runs(), asked);
    service.stop().await;
}

/// A node that is stopped (SIGSTOP) keeps its connections open: only silence tells.
#[tokio::test]
async fn a_hung_node_is_left_and_the_other_one_serves() {
    needs_nats!();
    let (first, second) = (Node::start(""), Node::start(""));
    // Two nodes that are no cluster: the service is on both, so each can carry a call.
    let address = format!("nats://127.0.0.1:{},127.0.0.1:{}/app", first.port, second.port);
    let service = Service::hello(&address).await;
    let (door, said) = door(&address).await;
    let is_connected = |notice: &Notice| matches!(notice, Notice::Connected { .. });
    said.wait_for(2, is_connected).await;
    service.told.wait_for(2, is_connected).await;
    first.signal("-STOP");
    said.wait_for(1, |notice| matches!(notice, Notice::Disconnected { .. })).await;
    let answer = ask(&door, "world").await;
    first.signal("-CONT");
    assert_eq!(answer, Ok("hello, world\n".into()), "{}", said.text());
    service.stop().await;
}
