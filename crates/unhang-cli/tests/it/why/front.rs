//! A web server before a server that does not answer.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::{look, suspects_where};
use crate::support::await_some;
use crate::support::hang::{Stage, User};
use crate::support::programs::{find, missing};

/// nginx on the stage's socket, before the server at `behind`.
fn before(stage: &mut Stage, behind: &Path, listens: &str) {
    front(stage, &format!("proxy_pass http://unix:{}:/;", behind.display()), listens);
}

/// nginx on the stage's socket, which passes each request on, and one client that waits for its page.
pub(super) fn front(stage: &mut Stage, passes: &str, listens: &str) {
    let place = stage.place.directory.path().display().to_string();
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/log;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {place}/1; proxy_temp_path {place}/2;\n\
         fastcgi_temp_path {place}/3; uwsgi_temp_path {place}/4; scgi_temp_path {place}/5;\n\
         server {{ listen unix:{}; {listens} location / {{ {passes} }} }} }}\n",
        stage.place.socket.display(),
    );
    fs::write(stage.path("nginx.conf"), config).unwrap();
    let config = stage.path("nginx.conf");
    let nginx = find("nginx").unwrap();
    stage.run_silent(&nginx, &[OsStr::new("-c"), config.as_os_str()]);
    await_some("nginx listens", || UnixStream::connect(&stage.place.socket).ok());
    let curl = find("curl").unwrap();
    let socket = stage.place.socket.clone();
    let arguments = ["--silent", "--unix-socket"].map(OsStr::new);
    let address = OsStr::new("http://localhost/");
    stage.run_silent(&curl, &[&arguments[..], &[socket.as_os_str(), address]].concat());
}

/// Whether the finding follows the front to the process that sleeps.
fn names(finding: &Value, pid: u32) -> bool {
    let headline = finding["headline"].as_str().unwrap();
    headline.contains("its event loop itself waits for")
        && finding["because"].to_string().contains(&format!("[{pid}] sleeps"))
}

/// Regression: asked about nginx's own socket, `why` said nothing of the server that nginx waited for.
#[test]
fn behind_nginx_the_server_that_it_waits_for_is_named() {
    if missing("nginx", "nginx-light") || missing("curl", "curl") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let behind = stage.path("behind");
    stage.play_at("serve-sleep", &[&behind], "listening");
    before(&mut stage, &behind, "");
    let pid = stage.player(0).pid();
    let finding =
        suspects_where(&stage, "handler_waits_backend", "likely", |found| names(found, pid));
    assert_eq!(finding["fault"], true, "{finding:#}");

    // One more client, of which nobody knows what it waits for.
    let _idle = UnixStream::connect(&stage.place.socket).unwrap();
    let finding = await_some("the other client is counted", || {
        let (_, object) = look(&stage, &[&stage.place.socket]);
        let found = object["findings"].as_array().unwrap();
        let is_it = |one: &&Value| one["code"] == "handler_waits_backend" && names(one, pid);
        found.iter().find(is_it).filter(|one| one["certainty"] == "possible").cloned()
    });
    assert_eq!(finding["fault"], false, "{finding:#}");
}

/// A client in the network may be the one that the server behind works for.
#[test]
fn a_front_with_clients_in_a_network_is_possibly_held_up() {
    if missing("nginx", "nginx-light") || missing("curl", "curl") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let behind = stage.path("behind");
    stage.play_at("serve-sleep", &[&behind], "listening");
    // nginx takes no port 0.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    before(&mut stage, &behind, &format!("listen 127.0.0.1:{port};"));
    let pid = stage.player(0).pid();
    let finding =
        suspects_where(&stage, "handler_waits_backend", "possible", |found| names(found, pid));
    assert_eq!(finding["fault"], false, "{finding:#}");
}
