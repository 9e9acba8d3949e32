//! The same for machines: one object, with facts and inferences apart. `docs/why.md` describes it.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cmd::why::ask::location::Location;
use crate::cmd::why::ask::server::waits::{Behind, ServerReport};
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::file::Found;
use crate::cmd::why::target::Target;
use crate::cmd::why::verdict::{self, End, Evidence, Held, Hop, Verdict};
use crate::shell::is_hidden;
use crate::sock_diag::FileId;

/// Grows with every change that could break a reader.
const SCHEMA: &str = "unhang-why/1";

/// Each finding names all threads of its processes. Of processes with thousands of threads and of connections that
/// took more memory than a look may have, and it ended without a word.
const MOST_THREADS: usize = 10_000;

pub(crate) fn render(
    facts: &Facts,
    target: &Target,
    verdicts: &[Verdict],
    undecided: usize,
    exit: u8,
) -> Value {
    let left = Cell::new(MOST_THREADS);
    json!({
        "schema": SCHEMA,
        "target": asked(target),
        "exit": exit,
        "undecided": undecided,
        "not_looked_at": not_looked_at(facts),
        "visibility": {
            "uid": facts.visibility.uid,
            "netns_seen": facts.visibility.namespaces - facts.visibility.hidden_namespaces,
            "netns_hidden": facts.visibility.hidden_namespaces,
            "pids_hidden": facts.hidden.len(),
            "sockets": facts.sockets.len(),
        },
        "samples": facts.visibility.samples,
        "interval_s": facts.visibility.window.as_secs_f64(),
        "listeners": listeners(facts, target),
        "findings": verdicts.iter().map(|verdict| finding(facts, verdict, &left)).collect::<Vec<_>>(),
    })
}

fn asked(target: &Target) -> Value {
    match target {
        Target::All => Value::Null,
        Target::Abstract(name) => {
            json!({ "abstract": String::from_utf8_lossy(name.strip_prefix(b"\0").unwrap_or(name)) })
        }
        Target::Process { pid, fd } => json!({ "pid": pid, "fd": fd }),
        Target::File(file) => {
            let mut object = json!({ "path": file.path.to_string_lossy() });
            if let Found::Socket { id, inode, mode, uid, made, .. } = &file.found {
                let made = made.and_then(|made| jiff::Timestamp::try_from(made).ok());
                object["file"] = json!({
                    "ino": inode,
                    "dev": device(*id),
                    "mode": format!("{mode:04o}"),
                    "uid": uid,
                    "bound_at": made.map(|made| made.to_string()),
                });
            }
            object
        }
    }
}

fn device(id: FileId) -> String {
    format!("{}:{}", id.major, id.minor)
}

/// On one line, and nothing in it acts on a terminal: JSON itself lets much of Unicode pass.
pub(crate) fn printable(object: &Value) -> String {
    let mut text = String::new();
    for one in object.to_string().chars() {
        match is_hidden(one) {
            true => text
                .extend(one.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            false => text.push(one),
        }
    }
    text + "\n"
}

/// Processes that were passed over, as they did not let themselves be read or time was up.
fn not_looked_at(facts: &Facts) -> Vec<Value> {
    let one = |(pid, why): (&u32, &String)| json!({ "pid": pid, "why": why });
    facts.passed_over.iter().map(one).collect()
}

/// With a path, its own; without, those that clients wait for.
fn listeners(facts: &Facts, target: &Target) -> Vec<Value> {
    let is_all = matches!(target, Target::All);
    let mut listeners: Vec<_> = facts
        .listeners()
        .filter(|one| target.concerns(facts, one) && (!is_all || !one.pending.is_empty()))
        .collect();
    listeners.sort_by_key(|one| one.inode);
    let owners = |inode: &u32| facts.owners.get(inode).into_iter().flatten();
    listeners
        .into_iter()
        .map(|one| {
            json!({
                "ino": one.inode,
                "name": verdict::name_of(&one.name),
                "pending": one.unread,
                "backlog": one.in_flight,
                "owners": owners(&one.inode)
                    .map(|(pid, fd)| json!({ "pid": pid, "fd": fd }))
                    .collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn finding(facts: &Facts, verdict: &Verdict, left: &Cell<usize>) -> Value {
    let (known, inferred): (Vec<&Evidence>, Vec<_>) =
        verdict.evidence.iter().partition(|evidence| evidence.source.is_some());
    let because: Vec<_> = known
        .iter()
        .map(|evidence| json!({ "fact": evidence.text, "source": evidence.source }))
        .collect();
    let inferred: Vec<_> = inferred.iter().map(|evidence| &evidence.text).collect();
    let id = match (&verdict.clients[..], &verdict.server) {
        ([client], Some(server)) => Some(format!("{}-{}", client.cookie, server.cookie)),
        _ => None,
    };
    json!({
        "id": id,
        "code": verdict.code.name(),
        "certainty": verdict.certainty.name(),
        "fault": verdict.is_fault,
        "headline": verdict.headline,
        "doubt": verdict.doubt,
        "since_s": verdict.since().map(|since| since.as_secs_f64()),
        "clients": verdict.clients.iter().map(|client| end(facts, client, left)).collect::<Vec<_>>(),
        "server": verdict.server.as_ref().map(|server| end(facts, server, left)),
        "chain": verdict.chain.iter().map(|one| link(facts, one, left)).collect::<Vec<_>>(),
        "because": because,
        "inferred": inferred,
        "fix": verdict.fix,
        "now": verdict.now,
        "server_says": verdict.report.map(says),
    })
}

fn says(report: ServerReport) -> Value {
    json!({
        "waits_for": report.stage.word(),
        "request_ends": report.until.word(),
        "for_s": report.waited.as_secs_f64(),
        "ends_in_s": report.left.as_secs_f64(),
        "behind": match report.behind {
            None => Value::Null,
            Some(Behind::Process(pid)) => json!({ "pid": pid }),
            Some(Behind::Descriptor(fd)) => json!({ "fd": fd }),
            Some(Behind::Place) => json!("place"),
            Some(Behind::Call(number)) => json!({ "call": number }),
        },
    })
}

fn end(facts: &Facts, end: &End, left: &Cell<usize>) -> Value {
    let unread = facts.details.unread.get(&end.inode);
    let reader = facts.details.readers.get(&end.inode);
    let place = reader.and_then(|reader| reader.as_ref().ok()?.as_ref()?.location());
    let mut shut = Vec::new();
    shut.extend(end.shut_read.then_some("read"));
    shut.extend(end.shut_write.then_some("write"));
    json!({
        "ino": end.inode,
        "cookie": end.cookie,
        "owners": end.owners.iter().map(|held| owner(facts, held, left)).collect::<Vec<_>>(),
        "unread": end.unread,
        "unread_bytes": unread.map(|bytes| bytes.escape_ascii().to_string()),
        "shutdown": shut,
        "does": end.does,
        "waits": end.waits,
        "since_s": end.since.map(|since| since.as_secs_f64()),
        "goroutine": place.map(location),
    })
}

/// A process behind the server.
fn link(facts: &Facts, link: &Hop, left: &Cell<usize>) -> Value {
    let reader = link.inode.and_then(|inode| facts.details.readers.get(&inode));
    let goroutine = reader.and_then(|reader| reader.as_ref().ok()?.as_ref()?.location());
    let (places, first, unknown) = places(facts, link.pid);
    json!({
        "pid": link.pid,
        "comm": link.name,
        "ino": link.inode,
        "does": link.does,
        "at": first.map(location),
        "threads": threads(places, left),
        "at_unknown": unknown,
        "goroutine": goroutine.map(location),
    })
}

/// Where a process's threads are, the one of them that is in the user's own code, if one is, and why none
/// is known.
fn places(facts: &Facts, pid: u32) -> (&[Location], Option<&Location>, Option<&String>) {
    let (places, unknown) = match facts.details.places.get(&pid) {
        Some(Ok(places)) => (&places[..], None),
        Some(Err(why)) => (&[][..], Some(why)),
        None => (&[][..], None),
    };
    (places, places.iter().find(|place| !place.is_library).or(places.first()), unknown)
}

fn owner(facts: &Facts, held: &Held, left: &Cell<usize>) -> Value {
    let (places, first, unknown) = places(facts, held.pid);
    json!({
        "pid": held.pid,
        "fd": held.fd,
        "comm": held.name,
        "uid": held.uid,
        "at": first.map(location),
        "threads": threads(places, left),
        "at_unknown": unknown,
    })
}

/// As many of them as may still be told.
fn threads(places: &[Location], left: &Cell<usize>) -> Vec<Value> {
    let told = places.len().min(left.get());
    left.set(left.get() - told);
    places[..told].iter().map(location).collect()
}

fn location(place: &Location) -> Value {
    let stack = place
        .stack
        .iter()
        .map(|frame| json!({ "file": frame.file, "line": frame.line, "function": frame.function }));
    json!({
        "language": place.language,
        "thread": place.thread,
        "file": place.file,
        "line": place.line,
        "function": place.function,
        "is_library": place.is_library,
        "stack": stack.collect::<Vec<_>>(),
        "request": place.request,
        "variables": place.variables.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_it_acts_on_a_terminal_and_it_means_the_same() {
        let object = json!({ "name": "a\u{202e}\u{9b}\n\u{e0001}é\"\\" });
        let text = printable(&object);
        assert!(!text.trim_end().chars().any(is_hidden), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), object);
    }

    /// 3,600 connections of processes with 1,200 threads each took more than 4 GiB.
    #[test]
    fn so_many_threads_are_told_in_all_findings_together() {
        let places = vec![Location::default(); 7];
        let left = Cell::new(10);
        let told = [(), (), ()].map(|()| threads(&places, &left).len());
        assert_eq!(told, [7, 3, 0]);
    }
}
