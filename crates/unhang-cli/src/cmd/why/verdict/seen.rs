//! A connection judged from outside: by its two queues and by what the owners of its ends do.

use super::finding::Verdict;
use super::unread_bytes::stopped;
use super::{fastcgi, line_end, unread_bytes, waiting};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;

/// What is to be seen of it from outside.
pub(super) fn judge(
    facts: &Facts,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    if fastcgi::has_request(server) {
        if server.is_stopped() {
            return Some(stopped(server));
        }
        fastcgi::judge(facts, server, client)
    } else if server.socket.unread > 0 || client.socket.unread > 0 {
        line_end::judge(facts, server, client).or_else(|| unread_bytes::judge(server, client))
    } else {
        waiting::judge(facts, server, client)
    }
}
