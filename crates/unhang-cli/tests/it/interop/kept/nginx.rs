//! nginx in front, with connections that it keeps.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::missing;
use crate::support::daemon::Daemon;
use crate::support::programs::say;
use crate::support::{Place, await_some};

pub(super) struct Nginx {
    /// The process that starts the workers, and has others in their place when it is told to.
    master: Child,
    directory: PathBuf,
}

impl Nginx {
    /// Listens at `front`, as its configuration has it, and passes on to `back`, with up to four kept
    /// connections.
    pub(super) fn start(directory: &Path, front: &str, back: &Path) -> Self {
        let text = format!(
            "user root; daemon off; worker_processes 1; pid {directory}/pid; error_log stderr crit;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory};\n\
             fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             upstream app {{ server unix:{back}; keepalive 4; }}\n\
             server {{ listen {front}; location / {{ proxy_pass http://app;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
            directory = directory.display(),
            back = back.display(),
        );
        fs::write(directory.join("nginx.conf"), text).unwrap();
        let directory = directory.to_owned();
        let master = Self::command(&directory).spawn().unwrap();
        Self { master, directory }
    }

    fn command(directory: &Path) -> Command {
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
        // Before it has read its configuration it writes to the system's log.
        nginx.args(["-e", "stderr"]).stdin(Stdio::null());
        nginx
    }

    /// New workers take the place of the old ones, which end when their clients have their answers.
    fn reload(&self) {
        let reloaded = Self::command(&self.directory).args(["-s", "reload"]).status().unwrap();
        assert!(reloaded.success());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

/// The status line's number, of one request on a connection of its own.
fn ask(front: &Path, method: &str, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(front).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head = format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let status = reply.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// For so long, if that is asked for by `UNHANG_FOR=60s`; else for a few rounds.
pub(super) fn asked_for() -> Option<Duration> {
    let time = std::env::var("UNHANG_FOR").ok()?;
    let seconds = time.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    Some(Duration::from_secs(seconds.expect("UNHANG_FOR is so many seconds, like 60s")))
}

/// A front at a socket of its own, and the clients that ask there while something happens, again and again.
fn while_asked(place: &Place, mut happens: impl FnMut(&Nginx)) {
    let front = place.socket.with_file_name("front");
    let nginx =
        Nginx::start(front.parent().unwrap(), &format!("unix:{}", front.display()), &place.socket);
    await_some("nginx listens", || UnixStream::connect(&front).ok());
    let (begun, time) = (Instant::now(), asked_for());
    let mut rounds = 0;
    while time.map_or(rounds < 4, |time| begun.elapsed() < time) {
        rounds += 1;
        let bad: Vec<_> = std::thread::scope(|scope| {
            let asking = |method: &'static str| {
                let front = &front;
                move || -> Vec<_> {
                    let replies = (0..150).map(|_| ask(front, method, "hello"));
                    replies.filter(|(status, _)| status != "200").collect()
                }
            };
            let clients = ["GET", "POST", "GET", "POST"].map(|method| scope.spawn(asking(method)));
            happens(&nginx);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(bad, []);
    }
    say(&format!("{} requests in {rounds} rounds, none lost", rounds * 4 * 150));
}

/// Each server that takes over ends the old server's kept connections, under load.
#[test]
fn nginx_loses_no_request_while_the_server_is_replaced() {
    if missing("nginx", "nginx-light") {
        return;
    }
    let place = Place::new();
    let mut servers = Successive::start(&place);
    while_asked(&place, |_| servers.replace());
}

/// Each new worker of nginx opens connections of its own, and the old one leaves its.
#[test]
fn nginx_loses_no_request_while_it_reloads() {
    if missing("nginx", "nginx-light") {
        return;
    }
    let place = Place::new();
    let mut servers = Successive::start(&place);
    let mut rounds = 0;
    while_asked(&place, |nginx| {
        nginx.reload();
        rounds += 1;
        // Both at once, too.
        if rounds % 2 == 0 {
            servers.replace();
        }
    });
}

/// One server after another at the same socket.
pub(super) struct Successive<'a> {
    place: &'a Place,
    server: Daemon,
    /// Those that have been replaced, and end when the clients that they keep have left or were ended.
    old: Vec<Daemon>,
}

impl<'a> Successive<'a> {
    pub(super) fn start(place: &'a Place) -> Self {
        Self { place, server: Self::serve(place, &[]), old: Vec::new() }
    }

    fn serve(place: &Place, arguments: &[&str]) -> Daemon {
        let flags = [&["--wire", "http", "--quiet", "--drain-deadline", "4s"], arguments].concat();
        Daemon::serve(&place.socket, &flags)
    }

    pub(super) fn replace(&mut self) {
        let next = Self::serve(self.place, &["--replace"]);
        self.old.push(std::mem::replace(&mut self.server, next));
        // A drain that is over is no part of what is tried.
        self.old.retain_mut(|old| match old.try_wait() {
            Some(status) => {
                assert!(status.success(), "{status}");
                false
            }
            None => true,
        });
    }
}
