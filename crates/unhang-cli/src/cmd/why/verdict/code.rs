//! The names of all findings.

/// The stable name of a finding. `docs/why.md` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Code {
    Ok,
    NotAccepted,
    BacklogFull,
    RequestUnread,
    OneshotNotRearmed,
    ReadingPaused,
    EdgeMissed,
    HandlerBlocked,
    HandlerCpu,
    HandlerWaitsBackend,
    Forgotten,
    AnsweredNotClosed,
    ReplyUnread,
    ClientNotReading,
    WriteDeadlock,
    QueueFull,
    BothWaiting,
    ServerWaitsEof,
    ServerWaitsDelimiter,
    ServerClosed,
    ClientGone,
    FdLeaked,
    ServerStopped,
    FdLimit,
    StaleFile,
    ReplacedFile,
    BoundNotListening,
    OtherType,
    NotASocket,
    NoSuchFile,
    Permission,
    OwnerNotVisible,
}

impl Code {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 32] = [
        Self::Ok,
        Self::NotAccepted,
        Self::BacklogFull,
        Self::RequestUnread,
        Self::OneshotNotRearmed,
        Self::ReadingPaused,
        Self::EdgeMissed,
        Self::HandlerBlocked,
        Self::HandlerCpu,
        Self::HandlerWaitsBackend,
        Self::Forgotten,
        Self::AnsweredNotClosed,
        Self::ReplyUnread,
        Self::ClientNotReading,
        Self::WriteDeadlock,
        Self::QueueFull,
        Self::BothWaiting,
        Self::ServerWaitsEof,
        Self::ServerWaitsDelimiter,
        Self::ServerClosed,
        Self::ClientGone,
        Self::FdLeaked,
        Self::ServerStopped,
        Self::FdLimit,
        Self::StaleFile,
        Self::ReplacedFile,
        Self::BoundNotListening,
        Self::OtherType,
        Self::NotASocket,
        Self::NoSuchFile,
        Self::Permission,
        Self::OwnerNotVisible,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotAccepted => "not_accepted",
            Self::BacklogFull => "backlog_full",
            Self::RequestUnread => "request_unread",
            Self::OneshotNotRearmed => "oneshot_not_rearmed",
            Self::ReadingPaused => "reading_paused",
            Self::EdgeMissed => "edge_missed",
            Self::HandlerBlocked => "handler_blocked",
            Self::HandlerCpu => "handler_cpu",
            Self::HandlerWaitsBackend => "handler_waits_backend",
            Self::Forgotten => "forgotten",
            Self::AnsweredNotClosed => "answered_not_closed",
            Self::ReplyUnread => "reply_unread",
            Self::ClientNotReading => "client_not_reading",
            Self::WriteDeadlock => "write_deadlock",
            Self::QueueFull => "queue_full",
            Self::BothWaiting => "both_waiting",
            Self::ServerWaitsEof => "server_waits_eof",
            Self::ServerWaitsDelimiter => "server_waits_delimiter",
            Self::ServerClosed => "server_closed",
            Self::ClientGone => "client_gone",
            Self::FdLeaked => "fd_leaked",
            Self::ServerStopped => "server_stopped",
            Self::FdLimit => "fd_limit",
            Self::StaleFile => "stale_file",
            Self::ReplacedFile => "replaced_file",
            Self::BoundNotListening => "bound_not_listening",
            Self::OtherType => "other_type",
            Self::NotASocket => "not_a_socket",
            Self::NoSuchFile => "no_such_file",
            Self::Permission => "permission",
            Self::OwnerNotVisible => "owner_not_visible",
        }
    }

    /// Nobody can be served here at all, as opposed to somebody who waits.
    pub(super) fn is_dead(self) -> bool {
        matches!(
            self,
            Self::StaleFile
                | Self::ReplacedFile
                | Self::BoundNotListening
                | Self::OtherType
                | Self::NotASocket
                | Self::NoSuchFile
                | Self::Permission
        )
    }
}
