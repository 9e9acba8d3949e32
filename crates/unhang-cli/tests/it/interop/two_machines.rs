//! docs/many-machines.md: what to take for two or three fixed machines. The configuration as it stands there.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::missing;
use crate::metrics::free_address;
use crate::support::daemon::Daemon;
use crate::support::{PATIENCE, Place, await_some, root};

/// nginx or haproxy.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nginx(directory: &Path, name: &str, servers: &str) -> Proxy {
    let configuration = directory.join(format!("{name}.conf"));
    let at = directory.display();
    let text = format!(
        "daemon off; master_process off; pid {at}/{name}.pid; error_log stderr crit;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at};\n\
         fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n{servers}\n}}\n"
    );
    fs::write(&configuration, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&configuration).stdin(Stdio::null());
    Proxy(command.spawn().unwrap())
}

fn haproxy(directory: &Path, name: &str, configuration: &str) -> Proxy {
    let file = directory.join(format!("{name}.cfg"));
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
    Proxy(command.spawn().unwrap())
}

fn change(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the guide has no {from}");
    text.replace(from, to)
}

/// The blocks of a language in the guide.
fn blocks(language: &str) -> Vec<String> {
    let guide = fs::read_to_string(root().join("docs/many-machines.md")).unwrap();
    let fence = format!("```{language}\n");
    let parts = guide.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

fn post(front: &Path, body: &str) -> String {
    let mut stream = UnixStream::connect(front).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// One of the two machines is down: each call goes to the other one.
#[test]
fn the_guide_s_nginx_serves_with_one_machine_down() {
    if missing("nginx", "nginx-light") {
        return;
    }
    let place = Place::new();
    let _service = Daemon::serve(&place.socket, &["--wire", "http", "--", "cat"]);
    let (up, down) = (free_address(), free_address());
    let front = place.socket.with_file_name("front");
    let [back, web] = <[String; 2]>::try_from(blocks("nginx")).unwrap();
    let back = change(&back, "listen 8080", &format!("listen {up}"));
    let back = change(&back, "/run/app.sock", place.socket.to_str().unwrap());
    let web = change(&web, "10.0.0.1:8080", &down);
    let web = change(&web, "10.0.0.2:8080", &up);
    let web = change(&web, "/run/web/app.sock", front.to_str().unwrap());
    let _back = nginx(place.directory.path(), "back", &back);
    await_some("the service's nginx listens", || TcpStream::connect(&up).ok());
    let _web = nginx(place.directory.path(), "web", &web);
    await_some("the web machine's nginx listens", || UnixStream::connect(&front).ok());
    for nth in 0..20 {
        let reply = post(&front, &format!("call {nth}"));
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        assert!(reply.ends_with(&format!("call {nth}")), "{reply}");
    }
}

/// Two machines, and what is needed of each.
struct Machines {
    place: Place,
    services: Vec<Option<Daemon>>,
    _proxies: Vec<Proxy>,
    front: PathBuf,
}

impl Machines {
    fn start() -> Self {
        let place = Place::new();
        let at = place.directory.path().to_owned();
        let [back, web] = <[String; 2]>::try_from(blocks("haproxy")).unwrap();
        let mut web = change(&web, "/run/web/app.sock", at.join("front").to_str().unwrap());
        let (mut services, mut proxies) = (Vec::new(), Vec::new());
        for nth in ["1", "2"] {
            let socket = at.join(nth);
            services.push(Some(serve(&socket)));
            let address = free_address();
            let back = change(&back, "bind :8080", &format!("bind {address}"));
            let back = change(&back, "/run/app.sock", socket.to_str().unwrap());
            proxies.push(haproxy(&at, &format!("back{nth}"), &back));
            await_some("a service's haproxy listens", || TcpStream::connect(&address).ok());
            web = change(&web, &format!("10.0.0.{nth}:8080"), &address);
        }
        proxies.push(haproxy(&at, "web", &web));
        let front = at.join("front");
        await_some("the web machine's haproxy listens", || UnixStream::connect(&front).ok());
        Self { place, services, _proxies: proxies, front }
    }

    /// Four clients call all the while; gives what they were told, but for right answers, and how many calls there
    /// were.
    fn under_load(
        &mut self,
        change: impl FnOnce(&mut Vec<Option<Daemon>>, &Path),
    ) -> (Vec<String>, usize) {
        let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
        let front = &self.front;
        let at = self.place.directory.path();
        let client = || {
            let mut bad = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let body = format!("call {}", calls.fetch_add(1, Ordering::Relaxed));
                let reply = post(front, &body);
                if !reply.starts_with("HTTP/1.1 200 ") || !reply.ends_with(&body) {
                    bad.push(reply);
                }
            }
            bad
        };
        let reached = |count: usize| {
            await_some("calls", || (calls.load(Ordering::Relaxed) >= count).then_some(()));
        };
        let bad = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            reached(20);
            change(&mut self.services, at);
            reached(calls.load(Ordering::Relaxed) + 40);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        (bad, calls.into_inner())
    }
}

fn serve(socket: &Path) -> Daemon {
    Daemon::serve(socket, &["--wire", "http", "--", "cat"])
}

/// One of the two machines is stopped, and comes back, while clients call: no call is lost.
#[test]
fn the_guide_s_haproxy_loses_no_call_of_a_service_that_stops() {
    if missing("haproxy", "haproxy") {
        return;
    }
    let mut machines = Machines::start();
    let (bad, calls) = machines.under_load(|services, at| {
        for (nth, service) in services.iter_mut().enumerate() {
            let (status, lines) = service.take().unwrap().stop();
            assert!(status.success(), "{lines:?}");
            *service = Some(serve(&at.join((nth + 1).to_string())));
        }
    });
    assert!(bad.is_empty(), "{} of {calls}: {bad:?}", bad.len());
}

/// One is killed: the calls that it has are told of a failure, as they may have run, and no other is.
#[test]
fn the_guide_s_haproxy_loses_of_a_killed_service_what_it_had() {
    if missing("haproxy", "haproxy") {
        return;
    }
    let mut machines = Machines::start();
    let (bad, calls) = machines.under_load(|services, _| drop(services[0].take()));
    assert!(bad.len() <= 4, "{} of {calls}: {bad:?}", bad.len());
    assert!(bad.iter().all(|reply| reply.starts_with("HTTP/1.1 502 ")), "{bad:?}");
}
