//! A nats-server of a test's own, doors and services that tell what they did.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use unhang::{AnyHandler, Cause, Fault, Reply, Request};
use unhang_nats::{Door, Notice, Server};

/// A deadline that only a test that hangs comes to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for a worker on a machine with six busy programs for each processor.
pub(crate) const ACCEPT: Duration = Duration::from_secs(15);

/// nats-server: the one that `UNHANG_NATS_SERVER` names, or Debian's, which lies where not every user's path
/// leads.
fn program() -> String {
    let debian = "/usr/sbin/nats-server";
    std::env::var("UNHANG_NATS_SERVER").unwrap_or_else(|_| {
        if Path::new(debian).exists() { debian.to_owned() } else { "nats-server".to_owned() }
    })
}

/// Whether nats-server is there. `script/test` insists.
pub(crate) fn is_there() -> bool {
    let is_there = Command::new(program()).arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("UNHANG_REQUIRE_ALL").is_none(), "nats-server is missing");
    is_there
}

macro_rules! needs_nats {
    () => {
        if !crate::support::is_there() {
            return;
        }
    };
}
pub(crate) use needs_nats;

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One node, ended when it is dropped.
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) child: Child,
    config: String,
    directory: TempDir,
}

impl Node {
    /// With what stands in its configuration besides the address.
    pub(crate) fn start(config: &str) -> Self {
        // Another process may take the port between: then another one is tried.
        for _ in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            if let Some(child) = run(directory.path(), port, config) {
                return Self { port, child, config: config.to_owned(), directory };
            }
        }
        panic!("nats-server does not start with {config}");
    }

    pub(crate) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}/app", self.port)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// With another configuration from now on.
    pub(crate) fn again_with(&mut self, config: &str) {
        self.kill();
        config.clone_into(&mut self.config);
        self.again();
    }

    pub(crate) fn again(&mut self) {
        self.child = run(self.directory.path(), self.port, &self.config).expect("it starts again");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// None if it did not come to serve.
fn run(directory: &Path, port: u16, config: &str) -> Option<Child> {
    let file = directory.join("nats.conf");
    fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{config}\n")).unwrap();
    let mut child = Command::new(program())
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let mut all = String::new();
    while log.read_line(&mut line).unwrap_or(0) > 0 {
        all += &line;
        if line.contains("Server is ready") {
            // Read on, or it would block one day.
            std::thread::spawn(move || {
                let _ = log.read_to_end(&mut Vec::new());
            });
            return Some(child);
        }
        line.clear();
    }
    let _ = child.wait();
    assert!(all.contains("address already in use"), "nats-server: {all}");
    None
}

/// What was told, to be looked at and waited for.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Notice>>>);

impl Told {
    pub(crate) fn listener(&self) -> impl Fn(Notice) + Send + Sync + 'static {
        let told = Arc::clone(&self.0);
        move |notice| told.lock().unwrap().push(notice)
    }

    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until so many notices are like that.
    pub(crate) async fn wait_for(&self, count: usize, is: impl Fn(&Notice) -> bool) {
        let wait = async {
            while self.all().iter().filter(|notice| is(notice)).count() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "it was never told: {:#?}", self.all());
    }

    pub(crate) fn text(&self) -> String {
        let lines: Vec<_> = self.all().iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// A service that runs, until it is stopped or dropped.
pub(crate) struct Service {
    pub(crate) told: Told,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
    /// The bytes of all requests that it ran.
    pub(crate) ran: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// One that answers `hello, REQUEST`, after the pause that a request `sleep MS` asks for.
    pub(crate) async fn hello(address: &str) -> Self {
        Self::start(address, |server| server, AnyHandler::new(hello)).await
    }

    pub(crate) async fn start(
        address: &str,
        change: impl FnOnce(Server) -> Server,
        handler: AnyHandler,
    ) -> Self {
        let service = Self::begin(address, change, handler);
        service.told.wait_for(1, |notice| matches!(notice, Notice::Connected { .. })).await;
        // Both connections, if both can be: a call may come by either.
        service
    }

    pub(crate) fn begin(
        address: &str,
        change: impl FnOnce(Server) -> Server,
        handler: AnyHandler,
    ) -> Self {
        let (told, ran) = (Told::default(), Arc::new(Mutex::new(Vec::new())));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::new(address.parse().unwrap())
            .notices(told.listener())
            .stop_when(async { drop(stopped.await) });
        let noting = Arc::clone(&ran);
        let handler = move |request: Request| {
            noting.lock().unwrap().push(request.text().into_owned());
            let handler = handler.clone();
            async move { unhang::Handler::handle(&handler, request).await }
        };
        let server = change(server);
        let task = tokio::spawn(async move { server.serve(handler).await.unwrap() });
        Self { told, stop: Some(stop), task, ran }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, &mut self.task).await.expect("it ends").unwrap();
    }

    pub(crate) fn runs(&self) -> usize {
        self.ran.lock().unwrap().len()
    }
}

pub(crate) async fn hello(request: Request) -> Result<String, Fault> {
    let text = request.text().into_owned();
    if let Some(pause) = text.strip_prefix("sleep ") {
        tokio::time::sleep(Duration::from_millis(pause.parse()?)).await;
    }
    Ok(format!("hello, {text}\n"))
}

/// A door that can be used, and waits for workers on a busy machine.
pub(crate) async fn door(address: &str) -> (Door, Told) {
    door_with(address, |door| door.accept(ACCEPT)).await
}

pub(crate) async fn door_with(
    address: &str,
    change: impl FnOnce(unhang_nats::Builder) -> unhang_nats::Builder,
) -> (Door, Told) {
    let told = Told::default();
    let builder = Door::to(address.parse().unwrap()).notices(told.listener());
    let door = change(builder).connect().await.unwrap();
    assert!(door.ready(PATIENCE).await, "{}", told.text());
    (door, told)
}

pub(crate) async fn ask(door: &Door, text: &str) -> Result<String, String> {
    ask_within(door, text, PATIENCE).await
}

pub(crate) async fn ask_within(
    door: &Door,
    text: &str,
    budget: Duration,
) -> Result<String, String> {
    told(door.ask(Request::new(text, None), budget).await)
}

pub(crate) fn told(answer: Result<Reply, Fault>) -> Result<String, String> {
    match answer {
        Ok(reply) => Ok(String::from_utf8_lossy(reply.whole().unwrap()).into_owned()),
        Err(fault) => Err(Cause::HandlerFailed(fault).to_string()),
    }
}

/// A client of NATS itself.
pub(crate) async fn client(node: &Node) -> async_nats::Client {
    async_nats::connect(format!("127.0.0.1:{}", node.port)).await.unwrap()
}

pub(crate) fn headers(all: &[(&str, &str)]) -> async_nats::HeaderMap {
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in all {
        map.insert(*name, *value);
    }
    map
}
