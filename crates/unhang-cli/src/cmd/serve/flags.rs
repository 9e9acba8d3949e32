//! The flags of `unhang serve`, by what they are about, and what they mean to the library.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use unhang::{Bind, Limits};

use super::namespace::IdMap;
use crate::units::{self, Mode, Size, Span};

/// More connections than a process may have descriptors, by far.
const MANY: usize = 1 << 24;

#[derive(Args, Debug)]
#[command(next_help_heading = "Socket file")]
pub(super) struct File {
    /// Its permissions: to connect takes write permission [default: 0660]
    #[arg(long, value_name = "OCTAL")]
    mode: Option<Mode>,
    /// Its owner, by name or number
    #[arg(long, value_name = "USER", value_parser = units::user)]
    owner: Option<u32>,
    /// Its group, by name or number
    #[arg(long, value_name = "GROUP", value_parser = units::group)]
    group: Option<u32>,
    /// Length of the accept queue, kept by --replace unless set; the kernel caps it at
    /// net.core.somaxconn [default: 4096]
    #[arg(long, value_name = "N", value_parser = units::count(i32::MAX))]
    pub(super) backlog: Option<i32>,
}

#[derive(Args, Debug)]
#[command(
    next_help_heading = "Which users may ask (unless set, all that the socket's mode lets in)"
)]
pub(super) struct Allowed {
    /// A user, by name or number; may be given again
    #[arg(long, value_name = "USER", value_parser = units::user)]
    pub(super) allow_uid: Vec<u32>,
    /// A group, by name or number, that is a caller's effective one; may be given again
    #[arg(long, value_name = "GROUP", value_parser = units::group)]
    pub(super) allow_gid: Vec<u32>,
}

impl Allowed {
    /// The users and groups that may ask; none if the socket file's mode alone decides.
    pub(super) fn lists(self) -> Option<(Vec<u32>, Vec<u32>)> {
        let Self { allow_uid, allow_gid } = self;
        let has_list = !allow_uid.is_empty() || !allow_gid.is_empty();
        has_list.then_some((allow_uid, allow_gid))
    }
}

#[derive(Args, Debug)]
#[command(
    next_help_heading = "Deadlines and limits (durations as 5ms, 10s, 2m; sizes as 64KiB, 1MiB)"
)]
pub(super) struct Bounds {
    /// From the accept until the request is whole
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().read))]
    read_deadline: Span,
    /// For the handler
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().handler))]
    handler_deadline: Span,
    /// For the client to take the whole reply
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().write))]
    write_deadline: Span,
    /// For discarding what a client still sends after its answer
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().linger))]
    linger: Span,
    /// For what is under way when the server is stopped
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().drain))]
    drain_deadline: Span,
    /// With --until dry: the pause after which a request of more than 32 KiB is whole
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().settle))]
    settle: Span,
    /// The longest request
    #[arg(long, value_name = "SIZE", default_value_t = Size(Limits::default().max_request))]
    max_request: Size,
    /// Bytes that all requests under way may hold together
    #[arg(long, value_name = "SIZE", default_value_t = Size(Limits::default().max_held))]
    max_held: Size,
    /// Connections served at once; more wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections, value_parser = units::count(MANY))]
    max_connections: usize,
    /// How long they may wait there before they are told that the server is busy
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().queue))]
    queue_deadline: Span,
    /// Connections of one user at once [default: no bound]
    #[arg(long, value_name = "N", value_parser = units::count(MANY))]
    max_per_uid: Option<usize>,
}

impl File {
    pub(super) fn bind(&self, path: &Path) -> Bind {
        let mut bind = Bind::new(path);
        if let Some(mode) = self.mode {
            bind = bind.mode(mode.0);
        }
        if let Some(uid) = self.owner {
            bind = bind.owner(uid);
        }
        if let Some(gid) = self.group {
            bind = bind.group(gid);
        }
        if let Some(backlog) = self.backlog {
            bind = bind.backlog(backlog);
        }
        bind
    }

    /// A flag that was given, and needs a file of our own.
    pub(super) fn given(&self) -> Option<&'static str> {
        let flags = [
            (self.mode.is_some(), "--mode"),
            (self.owner.is_some(), "--owner"),
            (self.group.is_some(), "--group"),
        ];
        flags.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    /// What was asked for and is not so, which only a file that was taken over can have.
    pub(super) fn missed(&self, file: &Metadata) -> Option<String> {
        let (mode, uid, gid) = (mode_of(file), file.uid(), file.gid());
        let mode = self
            .mode
            .filter(|asked| asked.0 != mode.0)
            .map(|it| format!("--mode {it}: it has {mode}"));
        let owner = self
            .owner
            .filter(|asked| *asked != uid)
            .map(|it| format!("--owner {it}: it has {uid}"));
        let group = self
            .group
            .filter(|asked| *asked != gid)
            .map(|it| format!("--group {it}: it has {gid}"));
        let missed: Vec<_> = [mode, owner, group].into_iter().flatten().collect();
        (!missed.is_empty()).then(|| missed.join(", "))
    }
}

impl Allowed {
    /// An error if one of them is nobody that could come.
    pub(super) fn check(&self) -> Result<(), String> {
        let users = IdMap::of_users();
        let groups = IdMap::of_groups();
        let users = self.allow_uid.iter().map(|id| ("--allow-uid", "user", users.says(*id)));
        let groups = self.allow_gid.iter().map(|id| ("--allow-gid", "group", groups.says(*id)));
        for (flag, what, says) in users.chain(groups) {
            if let Some(why) = says {
                return Err(format!(
                    "{flag}: {why}. Let this process see all {what}s; in a systemd unit, \
                     PrivateUsers=no"
                ));
            }
        }
        Ok(())
    }
}

impl Bounds {
    /// What they mean less than they seem to.
    pub(super) fn weakness(&self) -> Option<&'static str> {
        (self.max_per_uid.is_some() && !IdMap::of_users().is_whole()).then_some(
            "--max-per-uid: this user namespace does not map all users. Those that it does not map \
             count as one, who can shut all of them out. In a systemd unit, set PrivateUsers=no",
        )
    }
}

/// The permissions that a file has.
pub(super) fn mode_of(file: &Metadata) -> Mode {
    Mode(file.mode() & 0o7777)
}

impl Bounds {
    /// An error if they contradict each other.
    pub(super) fn limits(&self) -> Result<Limits, String> {
        let (held, request) = (self.max_held, self.max_request);
        if held.0 < request.0 {
            // One that is between them would be told that the server is busy, whenever it came.
            return Err(format!(
                "--max-held {held} is less than --max-request {request}: expected room for one \
                 request at least; raise the one, or lower the other"
            ));
        }
        let mut limits = Limits::default();
        limits.read = self.read_deadline.0;
        limits.handler = self.handler_deadline.0;
        limits.write = self.write_deadline.0;
        limits.linger = self.linger.0;
        limits.drain = self.drain_deadline.0;
        limits.settle = self.settle.0;
        limits.max_request = self.max_request.0;
        limits.max_held = self.max_held.0;
        limits.max_connections = self.max_connections;
        limits.queue = self.queue_deadline.0;
        limits.max_per_uid = self.max_per_uid.unwrap_or(limits.max_per_uid);
        Ok(limits)
    }
}
