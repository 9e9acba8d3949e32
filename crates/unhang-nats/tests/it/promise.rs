//! What holds as long as nothing is broken.

use std::sync::Arc;
use std::time::Duration;

use unhang::{AnyHandler, Cause, Fault, Handler, Peer, Reply, Request};
use unhang_nats::{Notice, Outcome};

use crate::support::{
    Node, PATIENCE, Service, ask, ask_within, door, door_with, hello, needs_nats, told,
};

#[tokio::test]
async fn a_call_is_answered_and_both_sides_log_its_id() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let (door, said) = door(&node.address()).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));

    let ids = |all: Vec<Notice>| {
        all.into_iter().find_map(|notice| match notice {
            Notice::Called { id, outcome: Outcome::Answered, .. }
            | Notice::Served { id, outcome: "answered", .. } => Some(id),
            _ => None,
        })
    };
    service.told.wait_for(1, |notice| matches!(notice, Notice::Served { .. })).await;
    assert_eq!(ids(said.all()).unwrap(), ids(service.told.all()).unwrap());
    service.stop().await;
}

#[tokio::test]
async fn without_a_worker_the_client_is_told_at_once() {
    needs_nats!();
    let node = Node::start("");
    let (door, _) = door(&node.address()).await;
    let error = ask(&door, "world").await.unwrap_err();
    assert_eq!(error, "no worker for unhang.v1.app; the request did not run");
}

#[tokio::test]
async fn without_a_node_the_client_is_told_within_the_hold() {
    let (door, said) = {
        let said = crate::support::Told::default();
        let port = crate::support::free_port();
        let address = format!("nats://127.0.0.1:{port}/app").parse().unwrap();
        let door = unhang_nats::Door::to(address).notices(said.listener()).connect().await.unwrap();
        (door, said)
    };
    let error = ask(&door, "world").await.unwrap_err();
    assert!(error.starts_with("not connected to NATS (nats://127.0.0.1:"), "{error}");
    assert!(error.ends_with("the request did not run"), "{error}");
    said.wait_for(1, |notice| matches!(notice, Notice::NotConnected { .. })).await;
}

#[tokio::test]
async fn many_calls_at_once_are_never_crossed() {
    needs_nats!();
    let node = Node::start("");
    let service =
        Service::start(&node.address(), |server| server.places(1000), AnyHandler::new(hello)).await;
    let (door, _) = door(&node.address()).await;
    let calls = (0..500).map(|nth| {
        let door = door.clone();
        tokio::spawn(async move { (nth, ask(&door, &format!("{nth}")).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (nth, answer) = call.await.unwrap();
        assert_eq!(answer, Ok(format!("hello, {nth}\n")));
    }
    assert_eq!(service.runs(), 500);
    service.stop().await;
}

#[tokio::test]
async fn a_worker_hears_who_asked_and_the_trace() {
    needs_nats!();
    let node = Node::start("");
    let handler = |request: Request| async move {
        let trace = String::from_utf8_lossy(request.header("traceparent").unwrap_or(b"none"));
        let uid = request.peer().map(|peer| peer.uid);
        Ok::<_, Fault>(format!("{uid:?} {trace} {}", request.header("unhang-id").is_some()))
    };
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(handler)).await;
    let (door, _) = door(&node.address()).await;
    let peer = Some(Peer { pid: 1, uid: 4711, gid: 1 });
    let request = Request::new("x", peer).with_header("traceparent", "00-ab-cd-01");
    let answer = told(door.ask(request, PATIENCE).await);
    assert_eq!(answer, Ok("Some(4711) 00-ab-cd-01 true".into()));
    service.stop().await;
}

#[tokio::test]
async fn failures_and_panics_are_told_and_the_worker_serves_on() {
    needs_nats!();
    let node = Node::start("");
    let handler = |request: Request| async move {
        match &*request.text() {
            "told" => Err(Fault::new("no such page")),
            "failed" => Err(std::io::Error::other("secret").into()),
            "panic" => panic!("it panics"),
            _ => Ok("fine\n"),
        }
    };
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(handler)).await;
    let (door, _) = door(&node.address()).await;
    assert_eq!(ask(&door, "told").await, Err("no such page".into()));
    assert_eq!(ask(&door, "failed").await, Err("the handler failed".into()));
    assert_eq!(ask(&door, "panic").await, Err("the handler panicked".into()));
    assert_eq!(ask(&door, "else").await, Ok("fine\n".into()));
    service.stop().await;
}

#[tokio::test]
async fn a_streamed_reply_comes_whole() {
    needs_nats!();
    let node = Node::start("");
    let handler = |_: Request| async move {
        let (mut sender, reply) = Reply::stream(1);
        tokio::spawn(async move {
            for _ in 0..100 {
                sender.send("0123456789").await.unwrap();
            }
            sender.finish().await;
        });
        Ok::<_, Fault>(reply)
    };
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(handler)).await;
    let (door, _) = door(&node.address()).await;
    assert_eq!(ask(&door, "x").await, Ok("0123456789".repeat(100)));
    service.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_told_in_both_directions() {
    needs_nats!();
    let node = Node::start("max_payload: 4096");
    let handler = |request: Request| async move {
        let length: usize = request.text().trim().parse().unwrap_or(1);
        Ok::<_, Fault>(vec![b'x'; length])
    };
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(handler)).await;
    let (door, _) = door(&node.address()).await;
    let error = ask(&door, &"y".repeat(5000)).await.unwrap_err();
    assert!(
        error.contains("larger than NATS takes (4096 bytes") && error.contains("did not run"),
        "{error}"
    );
    assert_eq!(service.runs(), 0);
    for length in [5_000, 50_000] {
        let error = ask(&door, &length.to_string()).await.unwrap_err();
        assert!(error.contains("reply"), "{error}");
    }
    // Up to the limit itself all of it is carried.
    assert_eq!(ask(&door, "4084").await.map(|reply| reply.len()), Ok(4084));
    service.stop().await;
}

#[tokio::test]
async fn a_late_worker_is_told_by_its_own_words_and_the_deadline_is_kept() {
    needs_nats!();
    let node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let (door, _) = door(&node.address()).await;
    let error = ask_within(&door, "sleep 60000", Duration::from_secs(2)).await.unwrap_err();
    assert!(error.contains("took longer than"), "{error}");
    service.stop().await;
}

#[tokio::test]
async fn when_all_places_are_taken_the_client_is_told_busy() {
    needs_nats!();
    let node = Node::start("");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |_: Request| {
            let gate = Arc::clone(&gate);
            async move {
                let _open = gate.acquire().await;
                Ok::<_, Fault>("done\n")
            }
        }
    };
    let service =
        Service::start(&node.address(), |it| it.places(1), AnyHandler::new(handler)).await;
    let (door, said) = door(&node.address()).await;
    let first = {
        let door = door.clone();
        tokio::spawn(async move { ask(&door, "first").await })
    };
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = ask(&door, "second").await.unwrap_err();
    assert!(error.starts_with("busy:") && error.ends_with("did not run"), "{error}");
    let sent_again = |notice: &Notice| {
        matches!(notice, Notice::Called { outcome: Outcome::Busy, resends: 3, .. })
    };
    assert!(said.all().iter().any(sent_again), "{}", said.text());
    gate.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok("done\n".into()));
    assert_eq!(service.runs(), 1);
    service.stop().await;
}

/// A call is not to be started after its time: a clock that is ahead says `late`, and nothing runs.
#[tokio::test]
async fn clocks_that_differ_fail_safe_and_are_logged() {
    needs_nats!();
    let node = Node::start("");
    // A worker that is an hour behind takes the moment for one that no honest door would name.
    for (ahead, is_answered) in
        [(60_000, false), (-60_000, true), (3_600_000, false), (-3_600_000, false)]
    {
        let change = |server: unhang_nats::Server| server.clock_ahead(ahead);
        let service = Service::start(&node.address(), change, AnyHandler::new(hello)).await;
        let (door, said) = door(&node.address()).await;
        let answer = ask(&door, "sleep 200").await;
        assert_eq!(answer.is_ok(), is_answered, "{answer:?}");
        assert_eq!(service.runs(), usize::from(is_answered));
        let skew = |notice: &Notice| matches!(notice, Notice::Skew { ahead: seen, .. } if (seen - ahead).abs() < 30_000);
        said.wait_for(1, skew).await;
        service.stop().await;
    }
}

/// SIGTERM of a service: what it has is answered, what comes goes to another, and nothing is lost.
#[tokio::test]
async fn a_service_that_stops_loses_nothing() {
    needs_nats!();
    let node = Node::start("");
    let address = node.address();
    let mut services = vec![Service::hello(&address).await, Service::hello(&address).await];
    let (door, said) = door(&address).await;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let load: Vec<_> = (0..8)
        .map(|client| {
            let (door, stopped) = (door.clone(), stop.subscribe());
            tokio::spawn(async move {
                let mut asked = 0;
                while !*stopped.borrow() {
                    let text = format!("{client} {asked}");
                    let answer = ask(&door, &text).await;
                    assert_eq!(answer, Ok(format!("hello, {text}\n")));
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let mut ran = 0;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        services.push(Service::hello(&address).await);
        let old = services.remove(0);
        let runs = Arc::clone(&old.ran);
        old.stop().await;
        ran += runs.lock().unwrap().len();
    }
    stop.send_replace(true);
    let _ = stopped.borrow_and_update();
    let mut asked = 0;
    for client in load {
        asked += client.await.unwrap_or_else(|error| panic!("{error}: {}", said.text()));
    }
    ran += services.iter().map(Service::runs).sum::<usize>();
    assert!(asked > 0);
    assert_eq!(ran, asked, "each ran once");
    for service in services {
        service.stop().await;
    }
}

/// Regression: a handler that blocked its runtime kept the word back that its call was accepted, and the door took
/// it for lost.
#[tokio::test]
async fn a_handler_that_blocks_has_accepted_its_call() {
    needs_nats!();
    let node = Node::start("");
    let handler = |_: Request| async move {
        std::thread::sleep(Duration::from_secs(4));
        Ok::<_, Fault>("done\n")
    };
    // A runtime with one thread, which the handler blocks.
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let address = node.address();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let service = Service::start(&address, |it| it, AnyHandler::new(handler)).await;
            ready.send(()).unwrap();
            let _ = ended.await;
            service.stop().await;
        });
    });
    is_ready.await.unwrap();
    let (door, said) = door_with(&node.address(), |door| door.accept(Duration::from_secs(1))).await;
    let answer = ask(&door, "x").await;
    assert_eq!(answer, Ok("done\n".into()), "{}", said.text());
    drop(end);
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
}

/// A client that the drain's deadline cuts is told so.
#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_told_that_the_worker_stopped() {
    needs_nats!();
    let node = Node::start("");
    let change = |server: unhang_nats::Server| server.drain(Duration::from_millis(100));
    let service = Service::start(&node.address(), change, AnyHandler::new(hello)).await;
    let (door, _) = door(&node.address()).await;
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, "sleep 50000").await }
    });
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    service.stop().await;
    let error = call.await.unwrap().unwrap_err();
    assert!(error.contains("the worker stopped before the answer was ready"), "{error}");
}

/// The handler's own words in a log, and a code in counters that the worker cannot make up.
#[tokio::test]
async fn the_reason_s_word_is_passed_on() {
    needs_nats!();
    let node = Node::start("");
    let handler = |request: Request| async move {
        let code = if request.text() == "known" { "backend_killed" } else { "made_up" };
        Err::<Reply, _>(Fault::new("gone").with_code(code))
    };
    let service = Service::start(&node.address(), |it| it, AnyHandler::new(handler)).await;
    let (door, _) = door_with(&node.address(), |it| it.accept(crate::support::ACCEPT)).await;
    for (text, code) in [("known", "backend_killed"), ("other", "handler_failed")] {
        let fault = door.handle(Request::new(text, None)).await.unwrap_err();
        assert_eq!(Cause::HandlerFailed(fault).code(), code);
    }
    service.stop().await;
}

/// What `unhang why` at the door is told: the worker is asked, and a look at its machine comes with its answer.
#[tokio::test]
async fn a_worker_says_what_it_does_with_a_call() {
    needs_nats!();
    let node = Node::start("");
    let change = |server: unhang_nats::Server| {
        server.tell_of_waits(|report, within| {
            assert!(report.process().is_none() && within > Duration::from_secs(1));
            "process 7 has it\n".to_owned()
        })
    };
    let service = Service::start(&node.address(), change, AnyHandler::new(hello)).await;
    let (door, said) = door(&node.address()).await;
    assert_eq!(door.tell_of(0, PATIENCE).await, None, "there is no call yet");
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, "sleep 50000").await }
    });
    let waiting = loop {
        match door.waiting().first() {
            Some(call) if call.worker.is_some() => break call.clone(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let told = door.tell_of(waiting.number, PATIENCE).await.unwrap();
    let worker = waiting.worker.unwrap();
    assert!(told.starts_with(&format!("worker {worker} has had it for ")), "{told}");
    assert!(told.ends_with("\nprocess 7 has it\n"), "{told} {}", said.text());
    call.abort();
    drop(service);
}
