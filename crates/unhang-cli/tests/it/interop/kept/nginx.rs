//! nginx in front, with connections that it keeps.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::missing;
use crate::support::daemon::Daemon;
use crate::support::{Place, await_some};

struct Nginx(Child);

impl Nginx {
    /// Listens at `front` and passes on to `back`, with up to four kept connections.
    fn start(front: &Path, back: &Path) -> Self {
        let directory = front.parent().unwrap();
        let configuration = directory.join("nginx.conf");
        let text = format!(
            "daemon off; master_process off; pid {directory}/pid; error_log stderr warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory};\n\
             fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             upstream app {{ server unix:{back}; keepalive 4; }}\n\
             server {{ listen unix:{front}; location / {{ proxy_pass http://app;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
            directory = directory.display(),
            back = back.display(),
            front = front.display(),
        );
        fs::write(&configuration, text).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self(child);
        await_some("nginx listens", || UnixStream::connect(front).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
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
fn asked_for() -> Option<Duration> {
    let time = std::env::var("UNHANG_FOR").ok()?;
    let seconds = time.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    Some(Duration::from_secs(seconds.expect("UNHANG_FOR is so many seconds, like 60s")))
}

/// Each server that takes over ends the old server's kept connections, under load.
#[test]
fn nginx_loses_no_request_while_the_server_is_replaced() {
    if missing("nginx", "nginx-light") {
        return;
    }
    let place = Place::new();
    let front = place.socket.with_file_name("front");
    let serve = |arguments: &[&str]| {
        Daemon::serve(&place.socket, &[&["--wire", "http", "--quiet"], arguments].concat())
    };
    let mut server = serve(&[]);
    let _nginx = Nginx::start(&front, &place.socket);
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
            let next = serve(&["--replace"]);
            let bad = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
            server = next;
            bad
        });
        assert_eq!(bad, []);
    }
    drop(server);
    println!("{} requests, {rounds} servers replaced, none lost", rounds * 4 * 150);
}
