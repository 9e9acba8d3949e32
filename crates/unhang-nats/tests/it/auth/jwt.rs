//! Credentials files: operator, account and users as `nsc` makes them, with the resolver in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD as BASE64;
use nkeys::KeyPair;
use unhang::AnyHandler;
use unhang_nats::{Access, Door, Notice};

use crate::support::{ACCEPT, Node, Service, Told, ask, door_with, hello, needs_nats};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of nats-io/jwt, version 2: three parts in base64, signed with the issuer's key.
fn token(issuer: &KeyPair, subject: &str, rest: &str, nats: &str) -> String {
    let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let (id, at, by) = (fastrand::u64(..), now() - 5, issuer.public_key());
    let claims = format!(
        r#"{{"jti":"{id:X}","iat":{at},"iss":"{by}","name":"a test","sub":"{subject}"{rest},"nats":{nats}}}"#
    );
    let signed =
        format!("{}.{}", BASE64.encode(header.as_bytes()), BASE64.encode(claims.as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64.encode(&signature))
}

/// An operator with one account, and a node that knows them.
struct Operator {
    account: KeyPair,
    node: Node,
}

impl Operator {
    fn start() -> Self {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let own =
            token(&operator, &operator.public_key(), "", r#"{"type":"operator","version":2}"#);
        let of_account = token(
            &operator,
            &account.public_key(),
            "",
            r#"{"limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,
                "leaf":-1},"default_permissions":{"pub":{},"sub":{}},"type":"account","version":2}"#,
        );
        let node = Node::start(&format!(
            "operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}",
            account.public_key()
        ));
        Self { account, node }
    }
}

/// What dist/nats-server.conf permits each role.
const DOOR: &str = r#"{"pub":{"allow":["unhang.v1.*","unhang.v1.*.*","unhang.w.*","_INBOX_door.>"]},
    "sub":{"allow":["_INBOX_door.>"]},"subs":-1,"data":-1,"payload":-1,"type":"user","version":2}"#;
const WORKER: &str = r#"{"pub":{"allow":["_INBOX_worker.>"]},
    "sub":{"allow":["unhang.v1.* unhang","unhang.v1.*.* unhang","unhang.w.*","_INBOX_worker.>"]},
    "resp":{"max":3,"ttl":3600000000000},"subs":-1,"data":-1,"payload":-1,"type":"user","version":2}"#;

/// A file as `nsc generate creds` writes it.
fn credentials(directory: &Path, name: &str, account: &KeyPair, rest: &str, nats: &str) -> PathBuf {
    let user = KeyPair::new_user();
    let file = directory.join(format!("{name}.creds"));
    let token = token(account, &user.public_key(), rest, nats);
    let seed = user.seed().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         NKEY Seed printed below can be used to sign and prove identity.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_credentials_file_of_an_operator_s_account_lets_in() {
    needs_nats!();
    let operator = Operator::start();
    let directory = tempfile::tempdir().unwrap();
    let of = |name: &str, nats: &str| {
        Access::default().credentials(credentials(
            directory.path(),
            name,
            &operator.account,
            "",
            nats,
        ))
    };
    let (theirs, ours) = (of("worker", WORKER), of("door", DOOR));
    let address = operator.node.address();
    let change = |server: unhang_nats::Server| server.access(theirs);
    let service = Service::start(&address, change, AnyHandler::new(hello)).await;
    let (door, said) = door_with(&address, |it| it.accept(ACCEPT).access(ours)).await;
    assert_eq!(ask(&door, "world").await, Ok("hello, world\n".into()), "{}", said.text());
    door.be_wary();
    assert_eq!(ask(&door, "sleep 200").await, Ok("hello, sleep 200\n".into()), "{}", said.text());
    for told in [&said, &service.told] {
        let complained = told.all().iter().any(|notice| matches!(notice, Notice::Complaint { .. }));
        assert!(!complained, "{}", told.text());
    }
    service.stop().await;
}

/// Of another account, and one whose time is over: the node refuses both, and it is said what to do.
#[tokio::test]
async fn a_credentials_file_that_is_not_the_account_s_is_refused_with_advice() {
    needs_nats!();
    let operator = Operator::start();
    let directory = tempfile::tempdir().unwrap();
    let stranger = KeyPair::new_account();
    let expired = format!(r#","exp":{}"#, now() - 3);
    for (name, account, rest) in
        [("stranger", &stranger, ""), ("expired", &operator.account, &*expired)]
    {
        let file = credentials(directory.path(), name, account, rest, DOOR);
        let told = Told::default();
        let address = operator.node.address().parse().unwrap();
        let builder = Door::to(address).access(Access::default().credentials(file));
        let door = builder.notices(told.listener()).connect().await.unwrap();
        told.wait_for(1, |notice| matches!(notice, Notice::NotConnected { .. })).await;
        assert!(told.text().contains("--nats-creds FILE"), "{name}: {}", told.text());
        let error = ask(&door, "world").await.unwrap_err();
        assert!(error.contains("not connected to NATS"), "{name}: {error}");
    }
}

/// A token whose key is another one's: said at the start, with the file's name.
#[tokio::test]
async fn a_credentials_file_without_a_key_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let account = KeyPair::new_account();
    let file = credentials(directory.path(), "cut", &account, "", DOOR);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.split("-----BEGIN USER").next().unwrap()).unwrap();
    let door = Door::to("nats://127.0.0.1:1/app".parse().unwrap());
    let error = door.access(Access::default().credentials(&file)).connect().await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("a JWT and no key") && error.contains("cut.creds"), "{error}");
}
