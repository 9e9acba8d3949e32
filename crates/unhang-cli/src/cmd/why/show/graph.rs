//! Processes, and which waits for which: what a picture shows, before it has a place on a page.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::words::{self, own_places, who};
use crate::cmd::why::ask::location::{Frame, Location};
use crate::cmd::why::facts::Facts;
use crate::cmd::why::verdict::{self, Code, End, Held, Verdict};

/// So many clients of one finding get a box each; the rest share one.
const CLIENTS: usize = 6;
/// So many processes of one end do, as of a pool that shares its listener.
const OWNERS: usize = 4;
/// A picture with more boxes is none.
const NODES: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) waits: Vec<Wait>,
    /// The first node of each finding; None if it concerns no process, as a stale file.
    pub(super) findings: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// `php[900]`, or `and 97 more`.
    pub(super) name: String,
    /// What it does, and where in its code.
    pub(super) lines: Vec<String>,
    pub(super) tone: Tone,
}

/// One process waits for another.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The name of the socket; empty if it is not known.
    pub(super) socket: String,
    pub(super) since: Option<Duration>,
    /// The connections, each by the inode of its client's end.
    pub(super) connections: HashSet<u32>,
    pub(super) tone: Tone,
    /// The other waits for this one as well.
    pub(super) is_mutual: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    #[default]
    Calm,
    Unsure,
    Bad,
}

impl Tone {
    fn of(verdict: &Verdict) -> Self {
        if verdict.is_fault { Self::Bad } else { Self::Unsure }
    }
}

impl Graph {
    /// `groups`: the findings, each of one or several connections.
    pub(super) fn of(facts: &Facts, groups: &[Vec<&Verdict>]) -> Self {
        let mut builder = Builder { facts, graph: Self::default(), nodes: HashMap::new() };
        for group in groups {
            let first = builder.group(group);
            builder.graph.findings.push(first);
        }
        builder.graph.mark_causes();
        builder.graph
    }

    /// Where following the waits ends is what there is to cure.
    fn mark_causes(&mut self) {
        for wait in &self.waits {
            let ends_there = self.waits.iter().all(|other| other.from != wait.to);
            if let Some(node) = self.nodes.get_mut(wait.to).filter(|_| ends_there) {
                node.tone = node.tone.max(wait.tone);
            }
        }
    }
}

/// What a node stands for.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Process(u32),
    /// An end that no process is seen to hold, by its inode.
    Unheld(u32),
    /// All further clients of the finding at this place.
    Others(usize),
}

struct Builder<'a> {
    facts: &'a Facts,
    graph: Graph,
    nodes: HashMap<Key, usize>,
}

impl Builder<'_> {
    /// Gives the first of its nodes.
    fn group(&mut self, group: &[&Verdict]) -> Option<usize> {
        let (mut first, mut shown) = (None, 0);
        for verdict in group {
            let servers =
                verdict.server.as_ref().map_or(Vec::new(), |end| self.owners(end, OWNERS));
            for client in &verdict.clients {
                let clients = if shown < CLIENTS {
                    shown += 1;
                    self.owners(client, OWNERS)
                } else {
                    self.one_more(client)
                };
                first = first.or(clients.first().copied());
                self.connect(verdict, client, &clients, &servers);
            }
            first = first.or(servers.first().copied());
            if verdict.clients.is_empty() {
                for server in servers {
                    self.worsen(server, Tone::of(verdict));
                }
            }
            self.behind(verdict);
        }
        first
    }

    /// The waits that the server's own waits lead to.
    fn behind(&mut self, verdict: &Verdict) {
        let Some(server) = &verdict.server else { return };
        for link in verdict::behind(self.facts, server.inode) {
            let from = self.owners(&link.client, 1);
            let to = link.server.as_ref().map_or(Vec::new(), |end| self.owners(end, OWNERS));
            self.wait(&from, &to, &link.client, link.client.since, Tone::of(verdict), false);
        }
        self.chain(verdict);
    }

    /// The processes that the finding itself names, as the worker that has the request, and what that waits for.
    fn chain(&mut self, verdict: &Verdict) {
        for hop in &verdict.chain {
            let waiters: Vec<usize> = match (hop.waiter, &verdict.server) {
                (Some(pid), _) => self.nodes.get(&Key::Process(pid)).copied().into_iter().collect(),
                (None, Some(server)) => self.owners(server, 1),
                (None, None) => Vec::new(),
            };
            let held = Held { pid: hop.pid, fd: 0, name: hop.name.clone(), uid: None };
            let Some(node) = self.process(&held, &hop.does, hop.inode) else { return };
            let socket = match hop.inode {
                Some(inode) => verdict::server_name(self.facts, inode),
                None => "a process that it started".to_owned(),
            };
            for from in waiters.into_iter().filter(|from| *from != node) {
                self.chained(from, node, &socket, Tone::of(verdict));
            }
        }
    }

    /// One line between two is enough, if it was drawn as a connection already.
    fn chained(&mut self, from: usize, to: usize, socket: &str, tone: Tone) {
        let drawn = self.graph.waits.iter_mut().find(|one| (one.from, one.to) == (from, to));
        if let Some(wait) = drawn {
            wait.tone = wait.tone.max(tone);
            return;
        }
        self.graph.waits.push(Wait {
            from,
            to,
            socket: socket.to_owned(),
            since: None,
            connections: HashSet::new(),
            tone,
            is_mutual: false,
        });
    }

    fn connect(&mut self, verdict: &Verdict, client: &End, clients: &[usize], servers: &[usize]) {
        let Some(server) = &verdict.server else { return };
        let tone = Tone::of(verdict);
        // Which of the two waits for the other.
        let is_mutual = matches!(
            verdict.code,
            Code::BothWaiting
                | Code::WriteDeadlock
                | Code::ServerWaitsEof
                | Code::ServerWaitsDelimiter
        );
        let since = client.since;
        match client.waits.is_none() && server.waits.is_some() && !is_mutual {
            true => self.wait(servers, clients, client, server.since, tone, false),
            false => self.wait(clients, servers, client, since, tone, is_mutual),
        }
    }

    /// `client`: the end that names the connection.
    fn wait(
        &mut self,
        from: &[usize],
        to: &[usize],
        client: &End,
        since: Option<Duration>,
        tone: Tone,
        is_mutual: bool,
    ) {
        let socket = verdict::socket_name(self.facts, client);
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            let same = |one: &&mut Wait| (one.from, one.to) == (from, to) && one.socket == socket;
            if let Some(wait) = self.graph.waits.iter_mut().find(same) {
                wait.since = wait.since.max(since);
                wait.tone = wait.tone.max(tone);
                wait.connections.insert(client.inode);
                continue;
            }
            let (socket, connections) = (socket.clone(), HashSet::from([client.inode]));
            self.graph.waits.push(Wait { from, to, socket, since, connections, tone, is_mutual });
        }
    }

    /// The nodes of an end.
    fn owners(&mut self, end: &End, most: usize) -> Vec<usize> {
        let mut nodes = Vec::new();
        for (held, _) in words::once_each(&end.owners).into_iter().take(most) {
            nodes.extend(self.process(held, &end.does, Some(end.inode)));
        }
        if end.owners.is_empty() {
            let lines = vec![end.does.clone()];
            nodes.extend(self.node(Key::Unheld(end.inode), "?".to_owned(), lines));
        }
        nodes
    }

    fn process(&mut self, held: &Held, does: &str, inode: Option<u32>) -> Option<usize> {
        let mut lines = vec![does.to_owned()];
        if let Some(Ok(places)) = self.facts.details.places.get(&held.pid) {
            lines.extend(own_places(places).first().map(|place| short(place)));
        }
        lines.extend(inode.and_then(|inode| words::goroutine(self.facts, inode)).map(short));
        let index = self.node(Key::Process(held.pid), who(held), Vec::new())?;
        let node = self.graph.nodes.get_mut(index)?;
        for line in lines {
            // A process with many connections says much the same of each.
            let is_new = !line.is_empty() && !node.lines.contains(&line);
            if is_new && node.lines.len() < words::SHOWN {
                node.lines.push(line);
            }
        }
        Some(index)
    }

    /// A box for the clients that get none of their own.
    fn one_more(&mut self, client: &End) -> Vec<usize> {
        let known = client.owners.iter().find_map(|held| self.nodes.get(&Key::Process(held.pid)));
        if let Some(known) = known {
            return vec![*known];
        }
        let finding = self.graph.findings.len();
        let index = self.node(Key::Others(finding), "other clients".to_owned(), Vec::new());
        index.into_iter().collect()
    }

    fn node(&mut self, key: Key, name: String, lines: Vec<String>) -> Option<usize> {
        if let Some(known) = self.nodes.get(&key) {
            return Some(*known);
        }
        let index = self.graph.nodes.len();
        (index < NODES).then(|| {
            self.graph.nodes.push(Node { name, lines, tone: Tone::Calm });
            self.nodes.insert(key, index);
            index
        })
    }

    fn worsen(&mut self, node: usize, tone: Tone) {
        if let Some(node) = self.graph.nodes.get_mut(node) {
            node.tone = node.tone.max(tone);
        }
    }
}

/// A box is narrow: the file without its directories.
fn short(place: &Location) -> String {
    let file = place.file.rsplit('/').next().unwrap_or_default().to_owned();
    words::call(&Frame { file, line: place.line, function: place.function.clone() })
}
