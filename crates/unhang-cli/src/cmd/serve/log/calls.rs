//! Lines about calls over NATS, for machines. For people, each notice is a sentence already.

use serde_json::{Value, json};
use unhang_nats::{Notice, Outcome};

use super::limiter::Kind;

/// Lines of which any stranger on the cluster could cause any number. Not those of calls: each has its id.
pub(super) fn kind(notice: &Notice) -> Option<Kind> {
    let what = match notice {
        Notice::Refused { .. } => "refused_messages",
        Notice::Complaint { .. } => "complaints_of_nodes",
        _ => return None,
    };
    Some(Kind { what, uid: None })
}

/// Whether it is said with `--quiet`, or to people: a call at a door has its line already, that of its
/// exchange.
pub(super) fn is_news(notice: &Notice) -> bool {
    match notice {
        Notice::Called { outcome, .. } => *outcome != Outcome::Answered,
        Notice::Served { outcome, .. } => *outcome != "answered",
        _ => true,
    }
}

/// Whether somebody has to do something, or a client got no answer.
pub(super) fn is_bad(notice: &Notice) -> bool {
    match notice {
        Notice::Connected { advice, .. } => advice.is_some(),
        Notice::Called { .. } | Notice::Served { .. } => is_news(notice),
        Notice::Leaving { .. } | Notice::Draining { .. } => false,
        _ => true,
    }
}

pub(super) fn object(notice: &Notice) -> Value {
    let what = notice.to_string();
    let ms = |took: &std::time::Duration| took.as_secs_f64() * 1000.0;
    match notice {
        Notice::Connected { link, node, version, .. } => json!({
            "event": "nats_connected", "connection": link, "node": node, "version": version, "what": what,
        }),
        Notice::Disconnected { link, node, .. } => {
            json!({ "event": "nats_disconnected", "connection": link, "node": node, "what": what })
        }
        Notice::NotConnected { link, .. } => {
            json!({ "event": "nats_not_connected", "connection": link, "what": what })
        }
        Notice::Leaving { link, node } => {
            json!({ "event": "nats_leaving", "connection": link, "node": node, "what": what })
        }
        Notice::Called { id, outcome, worker, resends, took } => json!({
            "event": "call", "id": id.to_string(), "outcome": outcome.code(), "worker": worker,
            "resends": resends, "took_ms": ms(took),
        }),
        Notice::Skew { worker, ahead } => {
            json!({ "event": "clock_skew", "worker": worker, "ahead_ms": ahead, "what": what })
        }
        Notice::Served { id, uid, outcome, why, bytes_in, bytes_out, took } => json!({
            "event": "call", "id": id.to_string(), "outcome": outcome, "why": why, "uid": uid,
            "bytes_in": bytes_in, "bytes_out": bytes_out, "took_ms": ms(took),
        }),
        Notice::Draining { open } => json!({ "event": "draining", "open": open }),
        _ => json!({ "event": "nats", "what": what }),
    }
}
