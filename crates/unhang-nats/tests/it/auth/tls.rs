//! TLS with an authority of one's own, nkeys, and files that cannot be used.

use std::fs;
use std::path::Path;
use std::process::Command;

use unhang::AnyHandler;
use unhang_nats::{Access, Door, Notice};

use crate::support::{ACCEPT, Node, Service, Told, ask, door_with, hello, needs_nats};

/// An authority and a certificate for 127.0.0.1, by openssl, as people make them.
fn certificates(directory: &Path) {
    let run = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let done =
            Command::new("openssl").current_dir(directory).args(&arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    for (name, subject) in [("ca", "/CN=authority"), ("other", "/CN=other")] {
        run(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj {subject} -keyout \
             {name}.key -out {name}.crt"
        ));
    }
    run(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout node.key -out node.csr",
    );
    fs::write(directory.join("node.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(
        "x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile node.ext -out node.crt",
    );
}

#[tokio::test]
async fn tls_with_an_authority_of_one_s_own() {
    needs_nats!();
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let file = |name: &str| directory.path().join(name);
    let node = Node::start(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        file("node.crt"),
        file("node.key")
    ));
    let ours = Access::default().authority(file("ca.crt"));
    let theirs = ours.clone();
    let change = |server: unhang_nats::Server| server.access(theirs);
    let service = Service::start(&node.address(), change, AnyHandler::new(hello)).await;
    let (door, _) = door_with(&node.address(), |it| it.accept(ACCEPT).access(ours)).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    service.stop().await;

    // An authority that has not signed it, and the system's.
    for access in [Access::default().authority(file("other.crt")), Access::default()] {
        let told = Told::default();
        let address = node.address().replace("nats://", "tls://").parse().unwrap();
        let door =
            Door::to(address).access(access).notices(told.listener()).connect().await.unwrap();
        told.wait_for(1, |notice| matches!(notice, Notice::NotConnected { .. })).await;
        assert!(ask(&door, "world").await.unwrap_err().contains("not connected"));
    }
}

/// A key in place of a password: the seed is in a file, the server knows the public half.
#[tokio::test]
async fn an_nkey_lets_in() {
    needs_nats!();
    // Made for this test.
    let (seed, public) = nkey();
    let node = Node::start(&format!("authorization {{ users: [ {{ nkey: {public} }} ] }}"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("user.nk");
    fs::write(&file, format!("# a comment\n{seed}\n")).unwrap();
    let access = Access::default().credentials(&file);
    let theirs = access.clone();
    let change = |server: unhang_nats::Server| server.access(theirs);
    let service = Service::start(&node.address(), change, AnyHandler::new(hello)).await;
    let (door, _) = door_with(&node.address(), |it| it.accept(ACCEPT).access(access)).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()));
    service.stop().await;
}

fn nkey() -> (String, String) {
    let pair = nkeys::KeyPair::new_user();
    (pair.seed().unwrap(), pair.public_key())
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "rubbish\n").unwrap();
    let missing = directory.path().join("missing");
    for (access, part) in [
        (Access::default().credentials(&file), "expected a credentials file"),
        (Access::default().credentials(&missing), "cannot be read"),
        (Access::default().authority(&file), "expected certificates in PEM"),
        (Access::default().authority(&missing), "cannot be read"),
    ] {
        let door = Door::to("nats://127.0.0.1:1/app".parse().unwrap()).access(access);
        let error = door.connect().await.unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains(directory.path().to_str().unwrap()),
            "{error}"
        );
    }
    let both = Access::default().credentials(&file);
    let door = Door::to("nats://u:p@127.0.0.1:1/app".parse().unwrap()).access(both);
    assert!(door.connect().await.unwrap_err().to_string().contains("got both"));
}
