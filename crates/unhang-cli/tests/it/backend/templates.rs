//! The servers in `examples/servers` hang nobody, and `unhang why` finds nothing wrong with them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{Place, UNHANG, root};

#[test]
fn servers_to_copy_answer_and_close_whatever_their_clients_do() {
    for (program, package, file) in [
        ("go", "golang-go", "server.go"),
        ("python3", "python3", "server.py"),
        ("node", "nodejs", "server.mjs"),
        ("php", "php-cli", "server.php"),
    ] {
        if missing(program, package) {
            continue;
        }
        let place = Place::new();
        let file = root().join("examples/servers").join(file);
        let mut command = if program == "go" {
            let built = place.directory.path().join("server");
            let go = Command::new("go").args(["build", "-o"]).arg(&built).arg(&file).status();
            assert!(go.unwrap().success());
            let mut command = Command::new("sh");
            // It says so on standard error, as Go's log does.
            command.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(built);
            command
        } else {
            let mut command = Command::new(program);
            command.arg(&file);
            command
        };
        let _server = Daemon::start(command.arg(&place.socket), "ready");
        let socket = &place.socket;
        let silent = Peer::connect(socket);
        thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    for nth in 0..10 {
                        let mut peer = Peer::connect(socket);
                        peer.write(format!("client {client} request {nth}").as_bytes());
                        peer.half_close();
                        let told = String::from_utf8(peer.read_to_end()).unwrap();
                        assert_eq!(told, format!("CLIENT {client} REQUEST {nth}\n"), "{program}");
                    }
                });
            }
        });
        assert_well_under_load(program, socket);
        // One that leaves without a word, and one that said nothing, harm nobody.
        drop(Peer::connect(socket));
        let mut silent = silent;
        let (told, _) = silent.try_read_to_end();
        assert!(told.len() <= 1, "{program}");
        drop(silent);
        assert_eq!(Peer::ask(socket, b"still there\n"), b"STILL THERE\n", "{program}");
        let why = Command::new(UNHANG).arg("why").arg(socket).output().unwrap();
        let told = String::from_utf8_lossy(&why.stdout);
        assert!(told.contains("OK"), "{program}: {told}");
    }
}

/// `unhang why` finds nothing wrong while four clients ask as fast as they can.
fn assert_well_under_load(program: &str, socket: &Path) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(Peer::ask(socket, b"x\n"), b"X\n", "{program}");
                }
            });
        }
        let told: Vec<_> = (0..3)
            .map(|_| {
                let why = Command::new(UNHANG).arg("why").arg(socket).output().unwrap();
                String::from_utf8_lossy(&why.stdout).into_owned()
            })
            .collect();
        // Before anything can fail: the load would go on for ever.
        done.store(true, Ordering::Relaxed);
        for told in told {
            assert!(told.contains("OK"), "{program}: {told}");
        }
    });
}
