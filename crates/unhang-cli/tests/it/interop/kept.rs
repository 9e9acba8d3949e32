//! Clients that keep their connection, each as people write it in its language.

mod http;
mod lines;
mod load;
mod nginx;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use unhang::{Error, Event, Fault, Reply, Request, Server, ServerHandle};

use super::{Running, find, missing};
use crate::support::Place;

/// A server in this process that notes which exchange of its connection each was.
struct Kept {
    place: Place,
    exchanges: Arc<Mutex<Vec<(u64, String)>>>,
    handle: ServerHandle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Kept {
    fn start(speak: impl FnOnce(Server) -> Server) -> Self {
        let place = Place::new();
        let exchanges = Arc::<Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&exchanges);
        let server = speak(Server::bind(&place.socket).unwrap()).observe(move |event| {
            if let Event::Exchange(exchange) = event {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push((exchange.nth, exchange.ended.code().to_owned()));
            }
        });
        let handle = server.handle();
        let thread = Some(std::thread::spawn(|| server.run(answer)));
        Self { place, exchanges, handle, thread }
    }

    fn path(&self) -> &str {
        self.place.socket.to_str().unwrap()
    }

    /// Runs the client, ends the server, and tells what the client printed and what the server saw.
    fn serves(mut self, client: &mut Command, input: &[u8]) -> (String, Vec<(u64, String)>) {
        let ended = Running::start(client, input).wait();
        assert!(ended.status.success(), "{}, said {:?}", ended.status, ended.said);
        self.stop();
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        (ended.printed, std::mem::take(&mut exchanges))
    }

    fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// So many exchanges, all answered, all on one connection.
fn on_one_connection(count: u64) -> Vec<(u64, String)> {
    (1..=count).map(|nth| (nth, "answered".to_owned())).collect()
}

async fn answer(request: Request) -> Result<Reply, Fault> {
    let method = request.method().unwrap_or("line").to_owned();
    let target = request.target().unwrap_or("-").to_owned();
    let text = format!("{method} {target} {}", request.text());
    match &*target {
        "/stream" => {
            let (mut sender, reply) = Reply::stream(1);
            tokio::spawn(async move {
                for piece in text.split_inclusive(' ') {
                    if sender.send(piece.to_owned()).await.is_err() {
                        return;
                    }
                }
                sender.finish().await;
            });
            Ok(reply)
        }
        "/gone" => Ok(Reply::from("gone").status(410).header("X-Because", "it is")),
        "/fails" => Err(Fault::new("no such thing")),
        _ => Ok(text.into()),
    }
}

/// Where the file is whose presence says that a library for Python is installed by the system.
fn missing_for_python(module: &str, package: &str) -> bool {
    if missing("python3", "python3") {
        return true;
    }
    let found = Command::new(python()).args(["-c", &format!("import {module}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        crate::support::programs::skip(&format!("Python has no {module}"), package);
    }
    !found
}

/// Debian's, for which apt-get installs libraries; another may come first in PATH.
fn python() -> PathBuf {
    let system = PathBuf::from("/usr/bin/python3");
    if system.exists() { system } else { find("python3").unwrap_or(system) }
}
