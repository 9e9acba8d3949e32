//! docs/many-machines.md: what to take for two or three fixed machines. The configuration as it stands there.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::missing;
use crate::metrics::free_address;
use crate::support::daemon::Daemon;
use crate::support::{PATIENCE, Place, await_some, root};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nginx(directory: &Path, name: &str, servers: &str) -> Nginx {
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
    Nginx(command.spawn().unwrap())
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
    let change = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "the guide has no {from}");
        text.replace(from, to)
    };
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
