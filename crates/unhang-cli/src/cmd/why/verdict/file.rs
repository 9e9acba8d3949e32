//! What a path leads to, before any connection.

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::listener::path_state;
use super::words::{end, name_of, owners, source};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::{Facts, is_same_address};
use crate::cmd::why::see::file::{Bound, Found, SocketFile};
use crate::cmd::why::target::Target;
use crate::shell::quoted_for_any_shell;
use crate::sock_diag::{Kind, Socket};

pub(super) fn judge(facts: &Facts, target: &Target) -> Vec<Verdict> {
    match target {
        Target::File(file) => {
            let displaced = target.displaced(facts);
            let mut verdicts: Vec<_> = displaced
                .filter_map(|old| path_state(facts, &Endpoint::of(facts, old), true))
                .collect();
            // Of a server that is there it is not said that it should be started.
            if file.empty.is_none() || verdicts.is_empty() {
                verdicts.extend(by_path(facts, file));
            }
            verdicts
        }
        Target::Abstract(name) if facts.listeners().all(|one| one.name != *name) => {
            let headline = format!("nobody listens on {}", name_of(name));
            let verdict = Verdict::new(Code::NoSuchFile, Certainty::Certain, headline)
                .fact(source::DIAG, "no socket listens under this name")
                .fix("start the server; an abstract name vanishes with its last owner");
            vec![verdict]
        }
        Target::Abstract(name) => {
            let here = |one: &&Socket| one.name == *name;
            let streams = facts.listeners().filter(here).any(|one| one.kind == Kind::Stream);
            let packets = facts.listeners().filter(here).find(|_| !streams);
            packets.and_then(|one| packets_at(facts, &name_of(name), one)).into_iter().collect()
        }
        Target::Process { pid, .. } if facts.hidden.contains(pid) => {
            vec![Verdict::unseen(format!("which sockets process {pid} holds may not be seen"))]
        }
        // Were all namespaces seen, it would have been refused.
        Target::Process { pid, fd: Some(fd) } if !facts.is_held_at(*pid, *fd) => {
            let namespaces = "there are network namespaces that may not be looked into";
            vec![Verdict::unseen(format!(
                "{pid}:{fd} is no Unix socket that may be seen: {namespaces}"
            ))]
        }
        Target::All | Target::Process { .. } => Vec::new(),
    }
}

fn by_path(facts: &Facts, file: &SocketFile) -> Option<Verdict> {
    let path = name(file);
    let certain = |code, headline: String| Verdict::new(code, Certainty::Certain, headline);
    match &file.found {
        Found::Missing => Some(
            certain(Code::NoSuchFile, format!("there is no file {path}"))
                .fact(source::FILE, "ENOENT")
                .fix("start the server, or give the client the path the server really uses")
                .fix("a service with PrivateTmp=yes has a /tmp of its own: use /run"),
        ),
        Found::NotASocket(what) => Some(
            certain(Code::NotASocket, format!("{path} is {what}, not a socket"))
                .fact(source::FILE, what)
                .fix("find out who made it; a server must not delete what is no socket"),
        ),
        Found::Denied => Some(
            certain(
                Code::Permission,
                format!("a directory on the way to {path} may not be searched"),
            )
            .fact(source::FILE, "EACCES")
            .fix("to connect takes search permission (x) on every directory above the socket"),
        ),
        Found::Unclear(why) => Some(Verdict::unseen(format!("{path} cannot be looked at: {why}"))),
        Found::Socket { mode, uid, .. } => bound(facts, file).or_else(|| {
            (file.bound == Bound::Denied).then(|| {
                let me = facts.visibility.uid;
                certain(Code::Permission, format!("uid {me} may not connect to {path}"))
                    .fact(source::FILE, format!("mode {mode:04o}, owner uid {uid}"))
                    .fact(source::PROBE, "EACCES")
                    .fix("to connect takes write permission on the socket file")
            })
        }),
    }
}

/// The maker of the file chose it, and is not to write to our terminal with that.
fn name(file: &SocketFile) -> String {
    name_of(file.path.as_os_str().as_encoded_bytes())
}

/// It is a socket: which process has it bound, if not as one would expect?
fn bound(facts: &Facts, file: &SocketFile) -> Option<Verdict> {
    let path = name(file);
    let here = |socket: &&Socket| socket.file.is_some() && socket.file == file.id();
    if let Some(listener) = facts.listeners().find(here) {
        return packets_at(facts, &path, listener);
    }
    let bound = facts
        .sockets
        .values()
        .find(|socket| here(socket) && !facts.is_accepted(socket) && !socket.is_orphan());
    match bound {
        Some(socket) if socket.kind == Kind::Datagram => {
            Some(with_server(facts, datagram(&path), socket))
        }
        Some(socket) => {
            let name = owners(&Endpoint::of(facts, socket));
            let headline = format!("{name} has bound {path} and does not listen");
            let verdict = Verdict::new(Code::BoundNotListening, Certainty::Certain, headline)
                .fact(source::DIAG, "the socket is bound, and neither listens nor is connected")
                .fix("server: call listen() right after bind()");
            Some(with_server(facts, verdict, socket))
        }
        None => Some(match file.bound {
            Bound::Nobody => stale(file, Certainty::Certain).fact(source::PROBE, "ECONNREFUSED"),
            Bound::Datagram => datagram(&path),
            Bound::Denied if facts.visibility.hidden_namespaces == 0 => {
                stale(file, Certainty::Likely)
                    .fact(source::DIAG, "no socket of any process is bound to this file")
            }
            Bound::Stream | Bound::Denied | Bound::Unclear => Verdict::unseen(format!(
                "whoever has {path} bound is in a network namespace that may not be looked into"
            )),
        }),
    }
}

fn with_server(facts: &Facts, mut verdict: Verdict, socket: &Socket) -> Verdict {
    verdict.server = Some(end(&Endpoint::of(facts, socket)));
    verdict
}

fn datagram(path: &str) -> Verdict {
    let headline = format!("{path} is a datagram socket: a stream client cannot connect to it");
    Verdict::new(Code::OtherType, Certainty::Certain, headline)
        // Its own clients know that.
        .fault(false)
        .fact(source::DIAG, "bound by a datagram socket")
        .fix("client and server must agree: SOCK_STREAM or SOCK_DGRAM")
}

/// None if the listener's type is that of a stream.
fn packets_at(facts: &Facts, path: &str, listener: &Socket) -> Option<Verdict> {
    if listener.kind != Kind::SeqPacket {
        return None;
    }
    let headline =
        format!("{path} is a socket of sequenced packets: a stream client cannot connect to it");
    // A connected client has the right type.
    let is_client = |end: &Socket| facts.is_accepted(end) && is_same_address(listener, end);
    let is_in_use = listener.unread > 0 || facts.sockets.values().any(is_client);
    let verdict = Verdict::new(Code::OtherType, Certainty::Certain, headline)
        .fault(!is_in_use)
        .fact(source::DIAG, "a SOCK_SEQPACKET socket listens")
        .fix("client and server must agree: SOCK_STREAM or SOCK_SEQPACKET");
    Some(with_server(facts, verdict, listener))
}

fn stale(file: &SocketFile, certainty: Certainty) -> Verdict {
    let path = name(file);
    let made = match &file.found {
        Found::Socket { made: Some(made), .. } => jiff::Timestamp::try_from(*made).ok(),
        _ => None,
    };
    let bound = made.map_or(String::new(), |made| {
        let made = made.to_zoned(jiff::tz::TimeZone::system());
        format!(" (bound {})", made.strftime("%Y-%m-%d %H:%M:%S"))
    });
    if let Found::Socket { is_deleted: true, .. } = &file.found {
        let headline = format!(
            "{path} is a mount of a socket file that was deleted{bound}, and nobody has it open: clients are \
             refused"
        );
        return Verdict::new(Code::StaleFile, certainty, headline)
            .fact(source::FILE, "no directory has this file any more (its link count is 0)")
            .inferred("the server was started anew and made another file of that name")
            .fix("mount the directory that the socket is in, not the socket; restart the container")
            .fix("unhang serve --replace, or a socket that systemd holds, keeps the file");
    }
    let headline = format!("{path} is there{bound}, but nobody has it open: clients are refused");
    let verdict = Verdict::new(Code::StaleFile, certainty, headline)
        .fix("start the server; let it prove that the file is stale, and unlink it, before bind()");
    match quoted_for_any_shell(&file.path) {
        Some(path) => verdict.now(format!("rm {path}")),
        None => verdict,
    }
}
