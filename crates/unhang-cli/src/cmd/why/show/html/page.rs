//! The page around the pictures.

use std::collections::HashSet;
use std::fmt::{self, Display};

use super::Escaped;
use super::layout::{self, Pictures};
use super::svg::Svg;
use crate::cmd::why::ask::location::Location;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::capabilities;
use crate::cmd::why::show::graph::Graph;
use crate::cmd::why::show::group::{cures, groups};
use crate::cmd::why::show::page_file::MARK;
use crate::cmd::why::show::words::{self, SHOWN, own_places};
use crate::cmd::why::verdict::{self, Code, End, Verdict};

/// So many findings are shown; the rest are counted.
const KINDS: usize = 100;
/// So many processes behind a server are shown with their lines: a pool may have hundreds of workers.
const BEHIND: usize = 8;
/// Seconds after which a browser loads a page again that is written again and again.
const AGAIN: u32 = 2;

pub(crate) struct Page<'a> {
    pub(crate) facts: &'a Facts,
    /// With the one that says that all is well.
    pub(crate) verdicts: &'a [Verdict],
    /// What was asked about, as `/run/app.sock`.
    pub(crate) asked: &'a str,
    /// The exit code.
    pub(crate) code: u8,
    /// It will be written again and again.
    pub(crate) is_watched: bool,
}

/// What hangs together: its picture, and all findings about it.
struct Case<'a> {
    pictures: Option<Pictures>,
    findings: Vec<&'a Vec<&'a Verdict>>,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = groups(self.verdicts);
        let shown = &groups[..groups.len().min(KINDS)];
        let graph = Graph::of(self.facts, shown);
        self.head(f)?;
        writeln!(f, "<main>")?;
        for case in cases(&graph, shown) {
            self.case(f, &graph, &case)?;
        }
        if groups.len() > KINDS {
            let more = groups.len() - KINDS;
            writeln!(f, "<p class=\"more\">and {more} more kinds: unhang why -v shows all</p>")?;
        }
        self.not_seen(f)?;
        writeln!(f, "</main>")?;
        self.foot(f)
    }
}

impl Page<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{MARK}\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )?;
        if self.is_watched {
            writeln!(f, "<meta http-equiv=\"refresh\" content=\"{AGAIN}\">")?;
        }
        let (tone, title) = self.title();
        writeln!(
            f,
            "<title>{title} · unhang why {}</title>\n<style>\n{}{}</style></head>\n<body class=\"{tone}\">",
            Escaped(self.asked),
            include_str!("colours.css"),
            include_str!("page.css")
        )?;
        writeln!(
            f,
            "<header><p class=\"asked\"><b>unhang why</b> <code>{}</code></p>\n<h1>{title}</h1></header>",
            Escaped(self.asked)
        )
    }

    /// The colour, and the most important thing to say.
    fn title(&self) -> (&'static str, &'static str) {
        use crate::exit;
        let first = self.verdicts.first();
        match (first.map(Verdict::label), self.code) {
            (Some("HUNG"), exit::FAULT) => ("bad", "Somebody is left hanging"),
            (Some("LEAK"), exit::FAULT) => ("bad", "A connection is kept for nobody"),
            (_, exit::FAULT) => ("bad", "Nobody can be served here"),
            (_, exit::NOT_ALLOWED) => ("unsure", "Not all of it could be seen"),
            (Some("MAYBE"), _) => ("unsure", "Perhaps somebody waits in vain"),
            (Some("OK") | None, _) => ("good", "Nothing hangs"),
            _ => ("good", "Nobody is known to hang"),
        }
    }

    fn case(&self, f: &mut fmt::Formatter<'_>, graph: &Graph, case: &Case<'_>) -> fmt::Result {
        let wide = case.pictures.as_ref().and_then(|pictures| pictures.wide.as_ref());
        writeln!(f, "<section{}>", if wide.is_some() { " class=\"wide\"" } else { "" })?;
        if let Some(picture) = wide {
            write!(f, "<figure class=\"row\">{}</figure>", Svg { graph, picture })?;
        }
        if let Some(Pictures { column: picture, .. }) = &case.pictures {
            write!(f, "<figure class=\"column\">{}</figure>", Svg { graph, picture })?;
        }
        writeln!(f, "<div class=\"findings\">")?;
        for finding in &case.findings {
            self.finding(f, finding)?;
        }
        writeln!(f, "</div></section>")
    }

    fn finding(&self, f: &mut fmt::Formatter<'_>, group: &[&Verdict]) -> fmt::Result {
        let Some(first) = group.first() else { return Ok(()) };
        let tone = match (first.code, first.is_fault) {
            (Code::Ok, _) => "good",
            (_, true) => "bad",
            (_, false) => "unsure",
        };
        let count = match group.len() {
            1 => String::new(),
            count => format!("{count} connections · "),
        };
        writeln!(
            f,
            "<article class=\"{tone}\"><h2><b>{}</b> {count}{}</h2>",
            first.label(),
            Escaped(&first.headline)
        )?;
        if first.code != Code::Ok {
            let sure = words::sure(first);
            let between = if sure.is_empty() { "" } else { " · " };
            let code = first.code.name();
            writeln!(f, "<p class=\"code\">{code}{between}{}</p>", Escaped(sure))?;
        }
        // Before the evidence, as people look for it first: on a small screen the rest is below the fold.
        cure(f, group, first)?;
        self.ends(f, group)?;
        writeln!(f, "<ul>")?;
        for evidence in &first.evidence {
            let text = Escaped(&evidence.text);
            match evidence.source {
                Some(source) => writeln!(f, "<li title=\"{source}\">{text}</li>")?,
                None => inferred(f, &text)?,
            }
        }
        writeln!(f, "</ul></article>")
    }

    /// The two ends of the first connections, with the line of code where each is.
    fn ends(&self, f: &mut fmt::Formatter<'_>, group: &[&Verdict]) -> fmt::Result {
        let clients: Vec<_> = group.iter().flat_map(|verdict| &verdict.clients).collect();
        let mut seen = HashSet::new();
        let servers = group.iter().filter_map(|verdict| verdict.server.as_ref());
        let servers: Vec<_> = servers.filter(|end| seen.insert(words::end(end))).collect();
        if clients.is_empty() && servers.is_empty() {
            return Ok(());
        }
        writeln!(f, "<dl>")?;
        for (word, ends) in [("client", clients), ("server", servers)] {
            for end in ends.iter().take(SHOWN) {
                writeln!(f, "<dt>{word}</dt><dd>{}", Escaped(&words::end(end)))?;
                if end.unread > 0 {
                    writeln!(f, "<br>{} B lie unread", end.unread)?;
                }
                self.places(f, end)?;
                writeln!(f, "</dd>")?;
            }
            if ends.len() > SHOWN {
                writeln!(f, "<dt></dt><dd>and {} more</dd>", ends.len() - SHOWN)?;
            }
        }
        self.behind(f, group)?;
        writeln!(f, "</dl>")
    }

    /// The processes that the server waits for, each once.
    fn behind(&self, f: &mut fmt::Formatter<'_>, group: &[&Verdict]) -> fmt::Result {
        let mut seen = HashSet::new();
        let hops = group.iter().flat_map(|verdict| &verdict.chain);
        for hop in hops.filter(|hop| seen.insert(hop.pid)).take(BEHIND) {
            let (dash, does) = if hop.does.is_empty() { ("", "") } else { (" · ", &*hop.does) };
            let what = format!("{}[{}]{dash}{does}", hop.name, hop.pid);
            write!(f, "<dt>behind</dt><dd>{}", Escaped(&what))?;
            self.lines(f, &[hop.pid], hop.inode)?;
            writeln!(f, "</dd>")?;
        }
        Ok(())
    }

    fn places(&self, f: &mut fmt::Formatter<'_>, end: &End) -> fmt::Result {
        let held = words::once_each(&end.owners);
        let pids: Vec<u32> = held.iter().map(|(held, _)| held.pid).collect();
        self.lines(f, &pids, Some(end.inode))?;
        let unread = self.facts.details.unread.get(&end.inode);
        if let Some(bytes) = unread {
            let bytes = bytes.escape_ascii().to_string();
            write!(f, "<br>unread: <code>{}</code>", Escaped(&bytes))?;
        }
        Ok(())
    }

    /// The lines of code that these processes are at, and that of the goroutine that has the end.
    fn lines(&self, f: &mut fmt::Formatter<'_>, pids: &[u32], end: Option<u32>) -> fmt::Result {
        let places = |pid: &u32| self.facts.details.places.get(pid)?.as_ref().ok();
        let of_processes = pids.iter().filter_map(places);
        let all: Vec<&Location> = of_processes.flat_map(|places| own_places(places)).collect();
        let goroutine = end.and_then(|inode| words::goroutine(self.facts, inode));
        for place in all.into_iter().chain(goroutine).take(SHOWN) {
            write!(f, "<br>at <code>{}</code>", Escaped(&words::at(place)))?;
            if let Some(request) = &place.request {
                write!(f, " for <code>{}</code>", Escaped(request))?;
            }
            for (name, value) in &place.variables {
                let variable = format!("{name} = \"{value}\"");
                write!(f, "<br><code>{}</code>", Escaped(&variable))?;
            }
        }
        Ok(())
    }

    fn not_seen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed_over = &self.facts.passed_over;
        let is_unseen = |verdict: &Verdict| verdict.code == Code::OwnerNotVisible;
        let cure = capabilities::cure(&self.facts.visibility);
        let cure = cure.filter(|_| self.verdicts.iter().any(is_unseen));
        if passed_over.is_empty() && cure.is_none() {
            return Ok(());
        }
        writeln!(f, "<section class=\"unseen\"><h2>Not looked at</h2><ul>")?;
        for (pid, why) in passed_over.iter().take(KINDS) {
            writeln!(f, "<li>process {pid}: {}</li>", Escaped(why))?;
        }
        if passed_over.len() > KINDS {
            writeln!(f, "<li>and {} more processes</li>", passed_over.len() - KINDS)?;
        }
        if let Some(cure) = cure {
            writeln!(f, "<li>To see more: {}</li>", Escaped(&cure))?;
        }
        writeln!(f, "</ul></section>")
    }

    fn foot(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = jiff::Timestamp::now();
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        writeln!(
            f,
            "<footer><p>Looked at {} Unix sockets for {}, at <time>{now}</time>.</p>\n\
             <p>An arrow leads from a process to the one that it waits for. \
             <span class=\"bad\">Solid: in vain.</span> <span class=\"unsure\">Dashed: perhaps on purpose.</span></p>\
             </footer></body></html>",
            self.facts.sockets.len(),
            verdict::age(self.facts.visibility.window),
        )
    }
}

fn inferred(f: &mut fmt::Formatter<'_>, text: &Escaped<'_>) -> fmt::Result {
    writeln!(f, "<li class=\"inferred\">{text} <small>(inferred)</small></li>")
}

/// The lasting cures, and what helps at once.
fn cure(f: &mut fmt::Formatter<'_>, group: &[&Verdict], first: &Verdict) -> fmt::Result {
    for fix in &first.fix {
        writeln!(f, "<p class=\"fix\"><b>Fix</b> {}</p>", Escaped(fix))?;
    }
    for now in cures(group).iter().take(SHOWN) {
        writeln!(f, "<p class=\"now\"><b>Now</b></p><pre>{}</pre>", Escaped(now))?;
    }
    Ok(())
}

/// One for each picture that a finding is about, and one for each finding that is about no process.
fn cases<'a>(graph: &Graph, groups: &'a [Vec<&'a Verdict>]) -> Vec<Case<'a>> {
    let has = |pictures: &Option<Pictures>, node: &Option<usize>| {
        let boxes = pictures.iter().flat_map(|pictures| &pictures.column.boxes);
        node.is_some_and(|node| boxes.into_iter().any(|one| one.node == node))
    };
    let mut all: Vec<_> = layout::pictures(graph).into_iter().map(Some).collect();
    let mut cases: Vec<Case<'a>> = Vec::new();
    for (group, node) in groups.iter().zip(&graph.findings) {
        if let Some(case) = cases.iter_mut().find(|case| has(&case.pictures, node)) {
            case.findings.push(group);
            continue;
        }
        let pictures = all.iter_mut().find(|one| has(one, node)).and_then(Option::take);
        cases.push(Case { pictures, findings: vec![group] });
    }
    // Several connections that are one finding may be several pictures.
    let rest = all.into_iter().flatten();
    cases.extend(rest.map(|one| Case { pictures: Some(one), findings: Vec::new() }));
    cases
}
