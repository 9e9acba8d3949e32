//! The screen: the verdict first, then the two ends, what it rests on, and the cure.

use std::collections::HashSet;
use std::fmt::{self, Display, Write};

use anstyle::{AnsiColor, Style};

use super::group::{cures, groups};
use super::words::{self, SHOWN, at, call, end, once_each, own_places};
use crate::cmd::why::ask::location::Location;
use crate::cmd::why::ask::scripts::is_advice;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::capabilities;
use crate::cmd::why::verdict::{Code, End, Verdict};

/// How much to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) verdicts: &'a [Verdict],
    /// Name the source of every fact, and leave nothing out.
    pub(crate) verbose: bool,
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const UNSURE: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const LABEL: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// So many kinds are shown; the rest are counted.
const KINDS: usize = 20;

const HIDDEN: &str =
    "Even root may not look here into these processes, which may have what was not seen";

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = groups(self.verdicts);
        let shown = if self.verbose { groups.len() } else { KINDS };
        for (nth, group) in groups.iter().take(shown).enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            self.group(f, group)?;
        }
        if groups.len() > shown {
            writeln!(f, "\n{DIM}and {} more kinds: -v shows all{DIM:#}", groups.len() - shown)?;
        }
        self.visibility(f)
    }
}

impl Text<'_> {
    fn group(&self, f: &mut fmt::Formatter<'_>, group: &[&Verdict]) -> fmt::Result {
        let Some(first) = group.first() else { return Ok(()) };
        headline(f, group, first)?;
        for verdict in group.iter().take(if self.verbose { group.len() } else { SHOWN }) {
            self.ends(f, verdict)?;
        }
        if group.len() > SHOWN && !self.verbose {
            writeln!(f, "  {DIM}and {} more: -v shows all{DIM:#}", group.len() - SHOWN)?;
        }
        for evidence in &first.evidence {
            match evidence.source {
                Some(source) if self.verbose => {
                    writeln!(f, "  · {}  {DIM}[{source}]{DIM:#}", evidence.text)?;
                }
                Some(_) => writeln!(f, "  · {}", evidence.text)?,
                None => writeln!(f, "  ~ {} {DIM}(inferred){DIM:#}", evidence.text)?,
            }
        }
        for fix in &first.fix {
            writeln!(f, "{LABEL}FIX{LABEL:#}   {fix}")?;
        }
        for now in cures(group).iter().take(SHOWN) {
            writeln!(f, "{LABEL}NOW{LABEL:#}   {now}")?;
        }
        Ok(())
    }

    fn ends(&self, f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
        let shown = if self.verbose { verdict.clients.len() } else { SHOWN };
        for client in verdict.clients.iter().take(shown) {
            write!(f, "  {}", end(client))?;
            if let (Some(server), [_]) = (&verdict.server, &verdict.clients[..]) {
                write!(f, "  ──▶  {}", end(server))?;
                if client.unread > 0 || server.unread > 0 {
                    write!(f, "   unread → {} B · ← {} B", server.unread, client.unread)?;
                }
            }
            writeln!(f)?;
            self.details(f, client)?;
        }
        if verdict.clients.len() > shown {
            writeln!(f, "  {DIM}and {} more{DIM:#}", verdict.clients.len() - shown)?;
        }
        if let Some(server) = &verdict.server {
            if verdict.clients.len() != 1 {
                writeln!(f, "  {}", end(server))?;
            }
            self.details(f, server)?;
        }
        // Each process once, though several workers may wait for the same.
        let mut seen = HashSet::new();
        for link in verdict.chain.iter().filter(|link| seen.insert(link.pid)) {
            self.place(f, link.pid, &link.name)?;
            if let Some(inode) = link.inode {
                self.goroutine(f, inode, link.pid, &link.name)?;
            }
        }
        Ok(())
    }

    /// What a closer look at an end gave.
    fn details(&self, f: &mut fmt::Formatter<'_>, end: &End) -> fmt::Result {
        let owners = once_each(&end.owners);
        for (held, _) in &owners {
            self.place(f, held.pid, &held.name)?;
        }
        if let Some((held, _)) = owners.first() {
            self.goroutine(f, end.inode, held.pid, &held.name)?;
        }
        if let Some(bytes) = self.facts.details.unread.get(&end.inode) {
            writeln!(f, "    unread: \"{}\"", bytes.escape_ascii())?;
        }
        Ok(())
    }

    /// Where a process's scripts are, or what tells that.
    fn place(&self, f: &mut fmt::Formatter<'_>, pid: u32, name: &str) -> fmt::Result {
        match self.facts.details.places.get(&pid) {
            Some(Ok(places)) => self.places(f, (pid, name), places),
            Some(Err(why)) if self.verbose || is_advice(why) => {
                writeln!(f, "    {DIM}where {name}[{pid}] is: not known: {why}{DIM:#}")
            }
            _ => Ok(()),
        }
    }

    /// Where the goroutine is that has an end.
    fn goroutine(
        &self,
        f: &mut fmt::Formatter<'_>,
        inode: u32,
        pid: u32,
        name: &str,
    ) -> fmt::Result {
        match words::goroutine(self.facts, inode) {
            Some(place) => self.places(f, (pid, name), std::slice::from_ref(place)),
            None => Ok(()),
        }
    }

    fn places(
        &self,
        f: &mut fmt::Formatter<'_>,
        (pid, name): (u32, &str),
        all: &[Location],
    ) -> fmt::Result {
        let shown = if self.verbose { all.iter().collect() } else { own_places(all) };
        for place in &shown {
            let thread = match place.thread.filter(|_| all.len() > 1) {
                Some(thread) => format!(", thread {thread},"),
                None => String::new(),
            };
            let request = place.request.as_ref().map(|text| format!(" for {text}"));
            let request = request.unwrap_or_default();
            writeln!(f, "    {name}[{pid}]{thread} is at {}{request}", at(place))?;
            for frame in place.stack.iter().filter(|_| self.verbose) {
                writeln!(f, "      {DIM}{}{DIM:#}", call(frame))?;
            }
            for (name, value) in &place.variables {
                writeln!(f, "    {name} = \"{value}\"")?;
            }
        }
        match all.len() - shown.len() {
            0 => Ok(()),
            more => writeln!(f, "    {DIM}and {more} more threads: -v shows all{DIM:#}"),
        }
    }

    fn visibility(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visibility = &self.facts.visibility;
        let is_unseen = |verdict: &Verdict| verdict.code == Code::OwnerNotVisible;
        let passed_over = &self.facts.passed_over;
        for (pid, why) in
            passed_over.iter().take(if self.verbose { passed_over.len() } else { SHOWN })
        {
            writeln!(f, "\nnot looked at: process {pid}: {why}")?;
        }
        if passed_over.len() > SHOWN && !self.verbose {
            writeln!(
                f,
                "not looked at: {} more processes: -v shows all",
                passed_over.len() - SHOWN
            )?;
        }
        let cure = capabilities::cure(visibility).filter(|_| self.verdicts.iter().any(is_unseen));
        if let Some(cure) = cure {
            writeln!(f, "\nTo see more: {cure}")?;
            if visibility.is_restricted && visibility.uid != 0 {
                writeln!(
                    f,
                    "Here the same user is not enough: kernel.yama.ptrace_scope is above 0"
                )?;
            }
        } else if self.verdicts.iter().any(is_unseen) {
            self.hidden(f)?;
        }
        if self.verbose {
            writeln!(
                f,
                "\n{DIM}{} samples in {:?} · {} sockets in {} network namespaces, {} not visible \
                 · {} processes not visible{DIM:#}",
                visibility.samples,
                visibility.window,
                self.facts.sockets.len(),
                visibility.namespaces,
                visibility.hidden_namespaces,
                self.facts.hidden.len(),
            )?;
        }
        Ok(())
    }

    /// This user lacks nothing, and these do not let themselves be looked into all the same: a sandbox, or a
    /// security module, keeps them.
    fn hidden(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden =
            self.facts.hidden.iter().filter(|pid| !self.facts.passed_over.contains_key(pid));
        let mut hidden: Vec<u32> = hidden.copied().collect();
        hidden.sort_unstable();
        let names: Vec<String> = hidden.iter().take(SHOWN).map(u32::to_string).collect();
        match (names.is_empty(), hidden.len() - names.len()) {
            (true, _) => Ok(()),
            (false, 0) => writeln!(f, "\n{HIDDEN}: {}", names.join(", ")),
            (false, more) => writeln!(f, "\n{HIDDEN}: {}, and {more} more", names.join(", ")),
        }
    }
}

fn headline(f: &mut fmt::Formatter<'_>, group: &[&Verdict], first: &Verdict) -> fmt::Result {
    let word = first.label();
    let style = match (first.code, first.is_fault) {
        (Code::Ok, _) => GOOD,
        (_, true) => BAD,
        (_, false) => UNSURE,
    };
    let mut line = format!("{style}{word:<5}{style:#} ");
    if group.len() > 1 {
        write!(line, "{} connections · ", group.len())?;
    }
    write!(line, "{}", first.headline)?;
    let code = first.code.name();
    match (first.code, words::sure(first)) {
        (Code::Ok, _) => writeln!(f, "{line}"),
        (_, "") => writeln!(f, "{line}   {DIM}{code}{DIM:#}"),
        (_, sure) => writeln!(f, "{line}   {DIM}{code} · {sure}{DIM:#}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cmd::why::target::Target;
    use crate::cmd::why::verdict::all_is_well;

    /// As a sandbox hides its first process: root was told that something may not be seen, and not what.
    #[test]
    fn processes_that_even_root_may_not_look_into_are_named() {
        let mut facts = Facts::default();
        facts.hidden.extend([1, 9]);
        facts.passed_over = BTreeMap::from([(9, "there was no time left".to_owned())]);
        let verdicts: Vec<_> = all_is_well(&facts, &Target::All, &[], 0).into_iter().collect();
        let text = |facts: &Facts| Text { facts, verdicts: &verdicts, verbose: false }.to_string();
        assert!(text(&facts).contains(&format!("{HIDDEN}: 1\n")), "{}", text(&facts));
        // A user that could become root is told that instead.
        facts.visibility.uid = 1000;
        let text = text(&facts);
        assert!(text.contains("run it as root") && !text.contains(HIDDEN), "{text}");
    }
}
