//! Where the service is: `nats://node,node,node/service`.

use std::fmt;
use std::str::FromStr;

/// The nodes of a NATS cluster, and the service's name: `nats://n1,n2:4222,n3/app`, with
/// `USER:PASSWORD@` before the nodes if the cluster asks for one, and `tls://` to insist on TLS.
///
/// ```
/// let address: unhang_nats::Address = "nats://n1,n2:4333/app".parse()?;
/// assert_eq!((address.service(), address.nodes().len()), ("app", 2));
/// assert_eq!(address.to_string(), "nats://n1:4222,n2:4333/app");
/// # Ok::<(), unhang_nats::BadAddress>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    nodes: Vec<String>,
    service: String,
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: bool,
}

/// What is wrong with an address: what was expected, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(String);

impl BadAddress {
    fn of(what: impl fmt::Display) -> Self {
        Self(format!("{what}: expected nats://NODE,NODE,NODE/SERVICE, as nats://n1,n2,n3/app"))
    }
}

/// NATS's own, IANA has it for the protocol.
const PORT: u16 = 4222;

/// A subject's token has no length of its own in NATS; a name is for people.
const LONGEST_NAME: usize = 64;

/// A mesh of servers is useful up to nine or so; more in one address is a mistake.
const MOST_NODES: usize = 64;

impl Address {
    /// Whether a text is meant as one: it begins with `nats://` or `tls://`.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("nats://") || text.starts_with("tls://")
    }

    /// The service's name, a token of the subject that it listens on.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The nodes, each as `HOST:PORT`.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    pub(crate) fn url(&self, node: &str) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        format!("{scheme}://{node}")
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (tls, rest) = match (text.strip_prefix("nats://"), text.strip_prefix("tls://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(BadAddress::of("no nats:// or tls:// at its beginning")),
        };
        let Some((place, service)) = rest.split_once('/') else {
            return Err(BadAddress::of("no name of a service behind the nodes"));
        };
        check_name(service).map_err(BadAddress::of)?;
        let (user, nodes) = match place.rsplit_once('@') {
            None => (None, place),
            Some((user, nodes)) => match user.split_once(':') {
                Some((name, password)) if !name.is_empty() => {
                    (Some((decoded(name)?, decoded(password)?)), nodes)
                }
                // Never printed: it may be a password.
                _ => return Err(BadAddress::of("before the @ is no USER:PASSWORD")),
            },
        };
        let nodes =
            nodes.split(',').map(node).collect::<Result<Vec<_>, _>>().map_err(BadAddress::of)?;
        if nodes.len() > MOST_NODES {
            return Err(BadAddress::of(format!(
                "{} nodes, and {MOST_NODES} are the most",
                nodes.len()
            )));
        }
        if let Some(twice) = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node))
        {
            return Err(BadAddress::of(format!("the node {} is there twice", twice.1)));
        }
        Ok(Self { nodes, service: service.into(), user, tls })
    }
}

/// A token of a subject, and nothing that a subject gives a meaning to (`*`, `>`, `.`, spaces).
fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
        return Err(format!(
            "the service {name:?} is no name of 1 to {LONGEST_NAME} letters, digits, - and _"
        ));
    }
    Ok(())
}

fn node(text: &str) -> Result<String, String> {
    // An IPv6 address has colons of its own, and stands in brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_host = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(fits),
    };
    if !is_host {
        return Err(format!("the node {text:?} is no HOST or HOST:PORT"));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("the port of the node {text:?} is no number from 1 to 65535")),
        },
    };
    Ok(format!("{host}:{port}"))
}

/// `%40` for an `@`: RFC 3986, section 2.1.
fn decoded(text: &str) -> Result<String, BadAddress> {
    let bad = || BadAddress("a % in the user or password is not followed by two hex digits".into());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits =
                tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()).ok_or_else(bad)?;
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(bad());
            }
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| BadAddress("the user or password is not UTF-8".into()))
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}/{}", self.nodes.join(","), self.service)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        text.parse::<Address>().map_or_else(|bad| bad.to_string(), |address| address.to_string())
    }

    #[test]
    fn nodes_have_ports_and_a_service_has_a_name() {
        assert_eq!(said("nats://n1,n2:1,[::1]:7/a-b_c"), "nats://n1:4222,n2:1,[::1]:7/a-b_c");
        assert_eq!(said("tls://[::1]/a"), "tls://[::1]:4222/a");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("http://n1/a", "no nats://"),
            ("nats://n1", "no name of a service"),
            ("nats://n1/", "the service \"\""),
            ("nats://n1/a.b", "the service \"a.b\""),
            ("nats://n1/a>", "the service"),
            ("nats://n1/a/b", "the service"),
            ("nats://,n1/a", "the node \"\""),
            ("nats://n1:0/a", "no number from 1"),
            ("nats://n 1/a", "no HOST"),
            ("nats://[::1/a", "no HOST"),
            ("nats://n1,n1:4222/a", "twice"),
            ("nats://user@n1/a", "no USER:PASSWORD"),
            ("nats://u:%4@n1/a", "two hex digits"),
            ("nats://u:%+4@n1/a", "two hex digits"),
        ] {
            assert!(said(text).contains(part), "{text}: {}", said(text));
        }
    }

    #[test]
    fn the_password_is_used_and_never_printed() {
        let address: Address = "nats://me:p%40ss@n1/a".parse().unwrap();
        assert_eq!(address.user, Some(("me".into(), "p@ss".into())));
        assert!(!format!("{address} {address:?}").contains("ss@"));
        assert!(!said("nats://secret@n1/a").contains("secret"));
    }
}
