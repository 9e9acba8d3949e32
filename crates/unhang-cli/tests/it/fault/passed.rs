//! Clients that pass descriptors (`SCM_RIGHTS`) which the kernel closes on the thread that reads them: a TCP
//! connection with `SO_LINGER` makes that close wait for as long as its sender likes.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::{find_for_all, unable};
use crate::support::spoken::{END, WIRES, request};
use crate::support::{Place, UNHANG};

/// Neither root nor the user that serves.
const STRANGER: u32 = 12_345;

/// The kernels that a test is run as: this one, and one before Linux 6.16, which cannot refuse descriptors.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    This,
    Old,
}

/// `unhang serve`, under a kernel of that age.
fn serve(kernel: Kernel, python: &Path, name: &str, flags: &[&str]) -> Daemon {
    let mut command = match kernel {
        Kernel::This => Command::new(UNHANG),
        Kernel::Old => {
            let mut command = Command::new(python);
            command.arg(program("old_kernel.py")).arg(UNHANG);
            command
        }
    };
    Daemon::start(command.arg("serve").arg(name).args(flags), "listening")
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// A client of another user that passes a descriptor, and stays. The program lies where that user may read.
fn passes(python: &Path, place: &Place, name: &str, flags: &[&str]) -> Daemon {
    let copy = place.directory.path().join("pass_descriptor.py");
    if !copy.exists() {
        fs::copy(program("pass_descriptor.py"), &copy).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(place.directory.path(), all).unwrap();
    }
    let mut command = Command::new(python);
    command.arg(copy).arg(name).args(flags);
    if rustix::process::getuid().is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    Daemon::spawn(&mut command)
}

/// Regression: at `@NAME.ctl`, where any user can connect, a stranger's descriptor stopped the thread that
/// kept all deadlines for as long as the stranger liked; neither the next asker nor SIGTERM was heard.
#[test]
fn a_stranger_that_passes_descriptors_to_an_abstract_control_socket_holds_up_nobody() {
    if !rustix::process::getuid().is_root() {
        return unable("only root can start a client as another user");
    }
    let Some(python) = find_for_all("python3", "python3") else { return };
    for kernel in [Kernel::This, Kernel::Old] {
        let place = Place::new();
        let name = format!("unhang-passed-{}-{kernel:?}", std::process::id());
        let server = serve(kernel, &python, &format!("@{name}"), &[]);
        let control = format!("@{name}.ctl");
        let strangers =
            [&["oob"][..], &[], &[]].map(|flags| passes(&python, &place, &control, flags));
        // Their words do not matter: the server may have closed them before they could pass any.
        for stranger in &strangers {
            stranger.await_line("");
        }

        let address = SocketAddr::from_abstract_name(format!("{name}.ctl")).unwrap();
        let mut asks = UnixStream::connect_addr(&address).unwrap();
        asks.write_all(b"unhang in-flight 1\n").unwrap();
        assert_eq!(Peer::from(asks).read_to_end(), b"until dry\n", "{kernel:?}");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let mut client = UnixStream::connect_addr(&address).unwrap();
        client.write_all(b"hello\n").unwrap();
        assert!(Peer::from(client).read_to_end().starts_with(b"OK+ at "), "{kernel:?}");
        let (status, _) = server.stop();
        assert!(status.success(), "{kernel:?}");
        // The name is free again.
        drop(serve(kernel, &python, &format!("@{name}"), &[]));
    }
}

/// Regression: on kernels that cannot refuse descriptors, a few of them stopped all threads.
#[test]
fn on_an_old_kernel_clients_that_pass_descriptors_hold_up_nobody() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let place = Place::new();
    let name = place.socket.to_str().unwrap();
    let server = serve(Kernel::Old, &python, name, &["--mode", "0666", "--until", "newline"]);
    let strangers = attack(&python, &place);
    is_served(&place, server, strangers);
}

/// The same with the second request of a connection that is kept. Its client is told; on Goridge, if so much
/// of its frame has come that its sequence number is known.
#[test]
fn on_an_old_kernel_a_descriptor_with_a_later_request_is_told_and_holds_up_nobody() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for (wire, told, told_at_first) in [
        ("lines", "told b'ERR ", "told b'ERR "),
        ("http", "told b'HTTP/1.1 400 ", "told b'HTTP/1.1 400 "),
        // With the flags of JSON and of an error.
        ("goridge", r"told b'\x15H", "told nothing"),
    ] {
        let place = Place::new();
        let name = place.socket.to_str().unwrap();
        let flags = ["--mode", "0666", "--wire", wire, "--threads", "1"];
        let server = serve(Kernel::Old, &python, name, &flags);
        let ways = [&[][..], &["oob"], &["last"], &["last", "oob"]].map(|way| {
            let expected = if way.contains(&"last") { told } else { told_at_first };
            (passes(&python, &place, name, &[way, &["kept", wire]].concat()), expected)
        });
        for (stranger, told) in &ways {
            let line = stranger.await_line("told ");
            assert!(line.starts_with(told), "{wire}: {line}");
            assert!(line.contains("a descriptor was passed") || told == &"told nothing", "{line}");
            server.await_line("a descriptor was passed");
        }
        let mut kept = Peer::connect(&place.socket);
        kept.write(&request(wire).repeat(20));
        kept.half_close();
        let answers = kept.read_to_end();
        let answered = answers.windows(END.len()).filter(|part| *part == END).count();
        assert_eq!(answered, 20, "{wire}: {}", answers.escape_ascii());
        let (status, _) = server.stop();
        assert!(status.success(), "{wire}");
    }
}

/// This kernel refuses the write with the descriptor, and its client may do the same without.
#[test]
fn a_descriptor_with_a_later_request_is_refused_and_the_request_answered() {
    if !refuses_descriptors() {
        return unable(TOO_OLD);
    }
    let Some(python) = find_for_all("python3", "python3") else { return };
    for (wire, way) in WIRES.into_iter().flat_map(|wire| [(wire, ""), (wire, "last")]) {
        let place = Place::new();
        let name = place.socket.to_str().unwrap();
        let _server = serve(Kernel::This, &python, name, &["--mode", "0666", "--wire", wire]);
        let client = passes(&python, &place, name, &["kept", wire, way]);
        client.await_line("refused");
        let line = client.await_line("told ");
        assert!(line.contains("OK+ at "), "{wire} {way}: {line}");
    }
}

/// Regression: with socket activation this kernel could not refuse them, either: those clients had connected
/// before the server was there.
#[test]
fn clients_that_passed_descriptors_before_the_server_started_hold_up_nobody() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for kernel in [Kernel::This, Kernel::Old] {
        let place = Place::new();
        let socket = UnixListener::bind(&place.socket).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&place.socket, all).unwrap();
        let strangers = attack(&python, &place);
        for stranger in &strangers {
            stranger.await_line("passed");
        }
        let steps = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", steps, "sh"]);
        if let Kernel::Old = kernel {
            command.arg(&python).arg(program("old_kernel.py"));
        }
        command.args([UNHANG, "serve", "--until", "newline"]);
        let server = Daemon::start_with_input(&mut command, OwnedFd::from(socket), "listening");
        is_served(&place, server, strangers);
    }
}

fn attack(python: &Path, place: &Place) -> Vec<Daemon> {
    let name = place.socket.to_str().unwrap();
    let ways: [&[&str]; 4] = [&[], &["oob"], &["after"], &["after", "oob"]];
    (0..8).map(|n| passes(python, place, name, ways[n % 4])).collect()
}

/// It answers, and it ends when it is told to.
fn is_served(place: &Place, server: Daemon, strangers: Vec<Daemon>) {
    for _ in 0..20 {
        assert!(Peer::ask(&place.socket, b"hello\n").starts_with(b"OK+ at "));
    }
    let (status, _) = server.stop();
    assert!(status.success());
    drop(strangers);
}

const TOO_OLD: &str = "this kernel is older than Linux 6.16";

fn refuses_descriptors() -> bool {
    unhang::passed_descriptors::refuse(UnixStream::pair().unwrap().0)
}

/// What a test of an old kernel relies on.
#[test]
fn descriptors_are_refused_unless_the_kernel_is_old() {
    if !refuses_descriptors() {
        return unable(TOO_OLD);
    }
    let Some(python) = find_for_all("python3", "python3") else { return };
    for (kernel, said) in [(Kernel::This, "refused"), (Kernel::Old, "passed")] {
        let place = Place::new();
        let name = place.socket.to_str().unwrap();
        let _server = serve(kernel, &python, name, &["--mode", "0666"]);
        passes(&python, &place, name, &[]).await_line(said);
    }
}
