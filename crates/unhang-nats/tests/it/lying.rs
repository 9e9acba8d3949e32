//! A worker that lies, comes too late, or is a second service's.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use unhang_nats::{Notice, Outcome};

use crate::support::{ACCEPT, Node, Service, ask, client, door, door_with, headers, needs_nats};

/// A worker's place in the service, for a test to lie from.
async fn liar(node: &Node) -> (async_nats::Client, async_nats::Subscriber) {
    let client = client(node).await;
    let calls = client.queue_subscribe("unhang.v1.app", "unhang".into()).await.unwrap();
    client.flush().await.unwrap();
    (client, calls)
}

/// Asks until the hostile worker's subscription is in force.
async fn ask_it(door: &unhang_nats::Door, text: &str) -> Result<String, String> {
    loop {
        match ask(door, text).await {
            Err(error) if error.starts_with("no worker for") => {}
            other => return other,
        }
    }
}

/// A worker of a hostile make answers twice, late, to the wrong subject and with every word. The next
/// call's answer is its own.
#[tokio::test]
async fn an_answer_too_many_or_too_late_reaches_no_other_call() {
    needs_nats!();
    let node = Node::start("");
    let (client, mut calls) = liar(&node).await;
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
        let text = format!("call {nth}");
        let answer = if nth == 0 { ask_it(&door, &text).await } else { ask(&door, &text).await };
        assert_eq!(answer, Ok(text));
    }
    evil.abort();
}

/// A worker that said `accepted` and then `busy` has it: to believe the second would run it twice.
#[tokio::test]
async fn a_worker_that_takes_its_word_back_is_not_believed() {
    needs_nats!();
    let node = Node::start("");
    let (client, mut calls) = liar(&node).await;
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
    let (door, _) = door_with(&node.address(), |door| door.accept(ACCEPT)).await;
    let error = ask_it(&door, "x").await.unwrap_err();
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

/// An answer that comes after its caller was told of a loss is nobody's.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobody_s() {
    needs_nats!();
    let node = Node::start("");
    let (client, mut calls) = liar(&node).await;
    let late = tokio::spawn(async move {
        // Answers the first call only when the second has come, and before that one.
        let mut first = None;
        while let Some(call) = calls.next().await {
            match first.take() {
                None => {
                    // Nobody listens on the subject of that worker: its door takes it for lost.
                    let at =
                        [("Unhang", "accepted"), ("Unhang-Worker", "liar"), ("Unhang-At", "1")];
                    let (reply, words) = (call.reply.clone().unwrap(), headers(&at));
                    client.publish_with_headers(reply, words, Bytes::new()).await.unwrap();
                    first = Some(call);
                }
                Some(before) => {
                    for call in [before, call] {
                        let reply = call.reply.unwrap();
                        client.publish(reply, call.payload).await.unwrap();
                    }
                    client.flush().await.unwrap();
                }
            }
        }
    });
    let (door, said) = door_with(&node.address(), |it| it.accept(ACCEPT)).await;
    let error = ask_it(&door, "first").await.unwrap_err();
    assert!(error.contains("the worker liar was lost"), "{error}");
    assert_eq!(ask(&door, "second").await, Ok("second".into()), "{}", said.text());
    late.abort();
}

/// It says that it is free, under a name that nobody has, or with an answer that was not asked for: the call goes to
/// an honest one, and runs once.
#[tokio::test]
async fn a_worker_that_is_free_and_not_there_costs_a_moment() {
    needs_nats!();
    let node = Node::start("");
    let (client, mut calls) = liar(&node).await;
    let evil = tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let reply = call.reply.unwrap();
            let free = headers(&[
                ("Unhang", "free"),
                ("Unhang-Worker", "liar"),
                ("Unhang-Direct", "liar-7"),
            ]);
            client.publish(reply.clone(), "an answer before its call".into()).await.unwrap();
            client.publish_with_headers(reply, free, Bytes::new()).await.unwrap();
        }
    });
    let service = Service::hello(&node.address()).await;
    let (door, said) = door(&node.address()).await;
    let mut answered = 0;
    for nth in 0..20 {
        // Else a call that comes to it would be answered by it.
        door.be_wary();
        match ask(&door, &nth.to_string()).await {
            Ok(answer) => {
                assert_eq!(answer, format!("hello, {nth}\n"));
                answered += 1;
            }
            // Four times by chance to the liar: one call in 80.
            Err(error) => assert!(error.ends_with("the request did not run"), "{error}"),
        }
    }
    assert_eq!(service.runs(), answered, "{}", said.text());
    assert!(answered >= 10, "{}", said.text());
    service.stop().await;
    evil.abort();
}

/// A worker that takes calls and does nothing swallows one; the next ones ask first, and none is lost though none may
/// run twice.
#[tokio::test]
async fn behind_one_call_that_was_swallowed_none_is() {
    needs_nats!();
    let node = Node::start("");
    let (_client, _held) = liar(&node).await;
    let (door, said) = door_with(&node.address(), |it| it.accept(Duration::from_secs(5))).await;
    let error = ask_it(&door, "swallowed").await.unwrap_err();
    assert!(error.starts_with("no worker said within 5s"), "{error}");
    let services = [Service::hello(&node.address()).await, Service::hello(&node.address()).await];
    for nth in 0..50 {
        let answer = ask(&door, &nth.to_string()).await;
        assert_eq!(answer, Ok(format!("hello, {nth}\n")), "{}", said.text());
    }
    assert_eq!(services.iter().map(Service::runs).sum::<usize>(), 50);
    for service in services {
        service.stop().await;
    }
}

/// With nobody but workers that swallow, a call that asks first has not run, and is told so.
#[tokio::test]
async fn if_nobody_says_that_it_is_free_the_call_has_not_run() {
    needs_nats!();
    let node = Node::start("");
    let (_client, _held) = liar(&node).await;
    let (door, said) = door_with(&node.address(), |it| it.accept(Duration::from_millis(250))).await;
    ask_it(&door, "swallowed").await.unwrap_err();
    let error = ask(&door, "x").await.unwrap_err();
    assert_eq!(error, "no worker said that it is free to take the request; it did not run");
    let not_offered =
        |notice: &Notice| matches!(notice, Notice::Called { outcome: Outcome::NotOffered, .. });
    assert!(said.all().iter().any(not_offered), "{}", said.text());
}

/// Two doors of one service: each gets its own answers.
#[tokio::test]
async fn two_doors_of_one_name_never_get_each_other_s_answers() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let doors = [door(&node.address()).await.0, door(&node.address()).await.0];
    let calls = doors.iter().enumerate().map(|(which, door)| async move {
        for nth in 0..100 {
            let text = format!("{which} {nth}");
            assert_eq!(ask(door, &text).await, Ok(format!("hello, {text}\n")));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(service.runs(), 200);
    service.stop().await;
}

/// It lives, and does not say what it does: `unhang why` is not kept, and is told so.
#[tokio::test]
async fn a_worker_that_does_not_say_what_it_does_keeps_nobody() {
    needs_nats!();
    let node = Node::start("");
    let (client, mut calls) = liar(&node).await;
    let mut probes = client.subscribe("unhang.w.liar").await.unwrap();
    client.flush().await.unwrap();
    let mute = tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(call) = calls.next() => {
                    let at = [("Unhang", "accepted"), ("Unhang-Worker", "liar"), ("Unhang-At", "1")];
                    let (reply, words) = (call.reply.unwrap(), headers(&at));
                    client.publish_with_headers(reply, words, Bytes::new()).await.unwrap();
                }
                Some(probe) = probes.next() => {
                    if probe.headers.unwrap_or_default().get("Unhang-Tell").is_some() {
                        continue;
                    }
                    let (reply, words) = (probe.reply.unwrap(), headers(&[("Unhang", "running")]));
                    client.publish_with_headers(reply, words, Bytes::new()).await.unwrap();
                }
            }
        }
    });
    let (door, _) = door(&node.address()).await;
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask_it(&door, "x").await }
    });
    let number = loop {
        match door.waiting().first() {
            Some(call) if call.worker.is_some() => break call.number,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let told = door.tell_of(number, Duration::from_millis(200)).await.unwrap();
    assert!(told.contains("has not said within 200.0ms what it does"), "{told}");
    call.abort();
    mute.abort();
}
