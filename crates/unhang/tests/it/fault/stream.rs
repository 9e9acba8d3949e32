//! Replies that are sent piece by piece.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use unhang::{Fault, Limits, Reply, ReplySender, Request};

use super::Watched;
use crate::support::{PATIENCE, connect};

fn start(limits: Limits, send: impl Fn(ReplySender) + Send + Sync + 'static) -> Watched {
    Watched::start(limits, move |_: Request| {
        let (sender, reply) = Reply::stream(2);
        send(sender);
        std::future::ready(Ok::<_, Fault>(reply))
    })
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

#[test]
fn a_streamed_reply_arrives_whole_and_ends() {
    let watched = start(Limits::default(), |mut sender| {
        spawn(async move {
            for n in 0..1000 {
                sender.send(format!("{n}\n")).await.unwrap();
            }
            sender.finish().await;
        });
    });
    let mut client = connect(&watched.server.path);
    client.write_all(b"hello").unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert!(said.lines().enumerate().all(|(n, line)| line == n.to_string()));
    assert_eq!(said.lines().count(), 1000);
    assert_eq!(watched.next_end(), "Answered");
}

/// In each case the client has the bytes so far and an error, and never a clean end.
#[test]
fn a_reply_that_is_cut_ends_in_a_reset() {
    type Send = fn(ReplySender);
    let sends: [(Send, &str); 4] = [
        (|mut sender| spawn(async move { sender.send("half").await.unwrap() }), "unfinished"),
        (
            |mut sender| {
                spawn(async move {
                    sender.send("half").await.unwrap();
                    sender.fail(Fault::new("the disk is gone")).await;
                });
            },
            "the disk is gone",
        ),
        (
            |mut sender| {
                spawn(async move {
                    sender.send("half").await.unwrap();
                    panic!("as the test wants");
                });
            },
            "unfinished",
        ),
        (
            |mut sender| {
                spawn(async move {
                    sender.send("half").await.unwrap();
                    sender.gone().await;
                });
            },
            "HandlerLate",
        ),
    ];
    let mut limits = Limits::default();
    limits.handler = Duration::from_millis(300);
    for (send, why) in sends {
        let watched = start(limits.clone(), send);
        let mut client = connect(&watched.server.path);
        client.write_all(b"hello").unwrap();
        let mut said = Vec::new();
        let error = client.read_to_end(&mut said).unwrap_err();
        assert_eq!((error.kind(), &said[..]), (ErrorKind::ConnectionReset, &b"half"[..]));
        let end = watched.next_end();
        assert!(end.starts_with("Cut(") && end.contains(why), "{end}");
    }
}

/// Nothing is said yet, so the client can be told why.
#[test]
fn a_streamed_reply_that_fails_before_its_first_piece_is_refused() {
    let watched = start(Limits::default(), |sender| {
        spawn(async move { sender.fail(Fault::new("no such page")).await });
    });
    watched.assert_told("hello", "ERR no such page\n", &["Refused", "no such page"]);
}

/// The sender learns it, and makes no more.
#[test]
fn a_client_that_leaves_stops_its_sender() {
    let (told, gone) = channel();
    let watched = start(Limits::default(), move |mut sender| {
        let told = told.clone();
        spawn(async move {
            while sender.send(vec![b'x'; 4096]).await.is_ok() {}
            let _ = told.send(());
        });
    });
    let mut client = connect(&watched.server.path);
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 4096]).unwrap();
    drop(client);
    gone.recv_timeout(PATIENCE).unwrap();
    assert!(watched.next_end().starts_with("ClientGone"));
}
