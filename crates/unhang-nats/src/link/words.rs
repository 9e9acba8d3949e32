//! What is said of nodes and of what went wrong with them, with what to do if that can be told.

/// A server that was given no name has its key for one, 56 letters that tell nobody anything.
pub(super) fn named(node: &str, name: &str) -> String {
    let is_key = name.len() == 56 && name.starts_with('N');
    if name.is_empty() || is_key { node.to_owned() } else { format!("{node} ({name})") }
}

/// Why a node could not be reached, if it was tried in vain. Without user and password, which are in none of
/// our nodes' addresses.
pub(super) fn failure(node: &async_nats::Server) -> Option<String> {
    let why = node.last_error.as_ref()?;
    Some(format!("{}:{}: {why}", node.addr.host(), node.addr.port()))
}

/// With what to do, if that can be told.
pub(super) fn explained(what: &str) -> String {
    let lower = what.to_lowercase();
    let next = if lower.contains("authorization") || lower.contains("authentication") {
        "FIX give the user that the cluster's configuration has for this role: USER:PASSWORD@ in the address, \
         or --nats-creds FILE"
    } else if lower.contains("permissions violation") {
        "FIX permit what dist/nats-server.conf has for this role"
    } else if lower.contains("tls") || lower.contains("certificate") {
        "FIX name the authority of the cluster's certificates with --nats-ca FILE, and each node by the name \
         in its certificate"
    } else {
        return what.to_owned();
    };
    format!("{what}. {next}")
}
