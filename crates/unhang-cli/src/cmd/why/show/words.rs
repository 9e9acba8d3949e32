//! How a process, its descriptors and its line of code are called, on the screen and in the picture.

use crate::cmd::why::ask::location::{Frame, Location};
use crate::cmd::why::facts::Facts;
use crate::cmd::why::verdict::{Certainty, End, Held, Verdict};

/// So many of a kind are shown; the rest are counted.
pub(super) const SHOWN: usize = 3;

/// A process as in `php[900]`.
pub(super) fn who(held: &Held) -> String {
    format!("{}[{}]", held.name, held.pid)
}

/// All processes that own an end, each with its descriptors, and what they do about it.
pub(super) fn end(end: &End) -> String {
    let held = |(held, fds): &(&Held, Vec<String>)| format!("{} fd {}", who(held), fds.join(", "));
    let owners: Vec<_> = once_each(&end.owners).iter().map(held).collect();
    let owners = if owners.is_empty() { "?".to_owned() } else { owners.join(", ") };
    format!("{owners} · {}", end.does)
}

/// Each process, and all the descriptors under which it has that.
pub(super) fn once_each(owners: &[Held]) -> Vec<(&Held, Vec<String>)> {
    let mut all: Vec<(&Held, Vec<String>)> = Vec::new();
    for held in owners {
        let fd = held.fd.to_string();
        match all.iter_mut().find(|(one, _)| one.pid == held.pid) {
            Some((_, fds)) => fds.push(fd),
            None => all.push((held, vec![fd])),
        }
    }
    all
}

/// Threads that are in the user's own code; if none is, the first of them.
pub(super) fn own_places(all: &[Location]) -> Vec<&Location> {
    let own: Vec<_> = all.iter().filter(|place| !place.is_library).take(SHOWN).collect();
    if own.is_empty() { all.iter().take(1).collect() } else { own }
}

/// Where the goroutine is that reads an end.
pub(super) fn goroutine(facts: &Facts, inode: u32) -> Option<&Location> {
    facts.details.readers.get(&inode)?.as_ref().ok()?.as_ref()?.location()
}

pub(super) fn at(place: &Location) -> String {
    let Location { language, file, line, function, .. } = place.clone();
    format!("{} ({language})", call(&Frame { file, line, function }))
}

pub(super) fn call(Frame { file, line, function }: &Frame) -> String {
    let line = line.map_or(String::new(), |line| format!(":{line}"));
    match function.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        true => format!("{file}{line}, {function}()"),
        // As `{main}`, which is PHP's word for being in none, and Python's `<module>`.
        false => format!("{file}{line}"),
    }
}

/// How sure a verdict is, or what exactly of it; empty if there is nothing to be sure of.
pub(super) fn sure(verdict: &Verdict) -> &str {
    match (&verdict.doubt, verdict.certainty) {
        (Some(doubt), _) => doubt,
        (None, Certainty::Certain | Certainty::Likely | Certainty::Possible) => {
            verdict.certainty.name()
        }
        (None, Certainty::Unknown) => "",
    }
}
