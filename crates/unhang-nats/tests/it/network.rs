//! The network is cut and comes back; a node comes back with another configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use unhang_nats::Notice;

use crate::support::{Node, Service, ask, door, needs_nats};

/// Passes bytes on, or keeps them back with all connections open, as a cut cable does.
struct Cable {
    port: u16,
    is_cut: watch::Sender<bool>,
}

impl Cable {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let is_cut = watch::Sender::new(false);
        let cut = Arc::new(is_cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from, to), (back, forth)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from, forth, cut.subscribe()));
                tokio::spawn(pass(back, to, cut.subscribe()));
            }
        });
        Self { port: own, is_cut }
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_cut: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if is_cut.wait_for(|is_cut| !*is_cut).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_cable_that_is_cut_is_told_and_mended_by_itself() {
    needs_nats!();
    let node = Node::start("");
    let cable = Cable::to(node.port).await;
    let service = Service::hello(&node.address()).await;
    let (door, said) = door(&format!("nats://127.0.0.1:{}/app", cable.port)).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    let call = tokio::spawn({
        let door = door.clone();
        async move { ask(&door, "sleep 50000").await }
    });
    while door.waiting().first().is_none_or(|call| call.worker.is_none()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cable.is_cut.send_replace(true);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.ends_with("it may have run"), "{error}");
    // No connection is left, and none can be made.
    said.wait_for(2, |notice| matches!(notice, Notice::Disconnected { .. })).await;
    let error = ask(&door, "x").await.unwrap_err();
    assert!(error.starts_with("not connected to NATS"), "{error}");
    cable.is_cut.send_replace(false);
    said.wait_for(3, |notice| matches!(notice, Notice::Connected { .. })).await;
    assert_eq!(ask(&door, "again").await, Ok("hello, again\n".into()), "{}", said.text());
    assert_eq!(service.runs(), 3, "no call that was kept back ran later");
    service.stop().await;
}

/// It wants a password now, and then takes less: what doors and services say follows it.
#[tokio::test]
async fn a_node_that_comes_back_with_another_configuration_is_understood() {
    needs_nats!();
    let mut node = Node::start("");
    let service = Service::hello(&node.address()).await;
    let (door, said) = door(&node.address()).await;
    let long = "x".repeat(10_000);
    assert!(ask(&door, &long).await.is_ok());

    node.again_with("authorization { user: u, password: p }");
    said.wait_for(
        1,
        |notice| matches!(notice, Notice::NotConnected { why, .. } if why.contains("--nats-creds")),
    )
    .await;
    let error = ask(&door, "x").await.unwrap_err();
    assert!(error.starts_with("not connected to NATS"), "{error}");

    let is_connected = |notice: &Notice| matches!(notice, Notice::Connected { .. });
    let count =
        |told: &crate::support::Told| told.all().iter().filter(|it| is_connected(it)).count();
    let (doors, services) = (count(&said), count(&service.told));
    node.again_with("max_payload: 4096");
    said.wait_for(doors + 2, is_connected).await;
    service.told.wait_for(services + 2, is_connected).await;
    let error = ask(&door, &long).await.unwrap_err();
    assert!(error.contains("larger than NATS takes (4096 bytes"), "{error}");
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    service.stop().await;
}
