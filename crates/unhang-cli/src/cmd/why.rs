//! `unhang why`: which process hangs on which, since when, why, and the cure.

mod ask;
mod deadline;
mod endpoint;
mod facts;
mod gather;
mod helper;
mod priority;
mod probe;
mod resource_limit;
pub(crate) mod see;
mod show;
mod target;
mod try_action;
mod verdict;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::units::{self, Span};
use crate::{exit, shell};
use ask::{details, server};
use deadline::Deadline;
use facts::Facts;
use helper::{Helper, LATE, answers};
use probe::Probe;
use show::dot::Dot;
use show::html::Page;
use show::output::{self, Unseen, complain};
use show::text::Text;
use show::{json, page_file};
use target::{Target, TargetArgument};
use try_action::{Action, Refusal};
use verdict::{Code, Verdict};

/// Say which process hangs on a socket, on which other, why, and what cures it
///
/// Looks at the running system, and changes nothing. Without a path: every Unix socket that
/// something is wrong with.
#[derive(Args, Debug)]
// Flags are what they are.
#[allow(clippy::struct_excessive_bools)]
#[command(after_help = exit::WHY_HELP)]
pub(crate) struct Why {
    /// The socket: a path, @name for an abstract one, a process's id, or PID:FD
    #[arg(
        value_name = "PATH|PID|PID:FD",
        value_parser = OsStringValueParser::new().try_map(|name| TargetArgument::parse(&name)),
    )]
    target: Option<TargetArgument>,
    /// With --try: further connections
    #[arg(
        value_name = "PID:FD:COOKIE",
        requires = "action",
        value_parser = OsStringValueParser::new().try_map(|name| TargetArgument::parse(&name)),
    )]
    more: Vec<TargetArgument>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Print a picture for Graphviz: which process waits for which
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// Write a page with the picture, the verdict and the cure, besides what is printed
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(page_path))]
    html: Option<PathBuf>,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Name the source of every fact, and leave nothing out
    #[arg(long, short)]
    verbose: bool,
    /// How long to look: only what stands still all the while hangs
    #[arg(long = "for", value_name = "DURATION", value_parser = units::deadline, default_value = "500ms")]
    window: Span,
    /// How long the whole look may take, besides --for: what is not reached by then is named
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value = "3s")]
    deadline: Span,
    /// Pass over processes that have waited for less
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    min: Span,
    /// Show unread bytes and a script's variables: they may be secret
    #[arg(long)]
    show_data: bool,
    /// Do one thing to these connections, PID:FD:COOKIE each, and see whether it helps
    #[arg(long = "try", value_name = "ACTION", conflicts_with_all = ["watch", "json", "dot", "html", "probe"], requires = "target")]
    action: Option<Action>,
    /// With --try: do it without asking
    #[arg(long, requires = "action")]
    yes: bool,
    /// Send this on connections of its own, and see how the server ends its replies
    #[arg(long, value_name = "DATA", conflicts_with_all = ["watch", "json", "dot", "html"], requires = "target")]
    probe: Option<OsString>,
    /// Say what one process waits for that has a request: for another machine, where that is waited for
    #[arg(long, hide = true, requires = "target", conflicts_with_all = ["watch", "json", "dot", "html", "probe", "action"])]
    chain: bool,
    /// Read for another `unhang why` what might not answer
    #[arg(long, hide = true, exclusive = true)]
    helper: bool,
}

/// What one look gave.
struct Look {
    facts: Facts,
    target: Target,
    verdicts: Vec<Verdict>,
    /// Connections of which nothing tells whether they are idle.
    undecided: usize,
    code: u8,
}

/// A second look lasts until the shortest wait is long, and a little longer: a client
/// that wakes once a second is then seen to do so.
const LATER: Duration = Duration::from_millis(100);

/// To judge takes some thousandths of a look, and with thousands of threads that hang as long as all the rest. It may take
/// this part of the time that a look has, if it begins late.
const JUDGING: u32 = 3;

impl Why {
    pub(crate) fn run(self) -> ExitCode {
        if self.helper {
            // Its parent notices that it ended, and has nobody to tell why.
            return answers::serve().map_or(exit::FAILED, |()| exit::DONE).into();
        }
        // The kernel refuses only to raise a limit.
        let _ = resource_limit::set_memory(resource_limit::OF_A_LOOK);
        // One that goes on and on is a load itself.
        if !self.watch {
            priority::raise();
        }
        if self.chain {
            return self.follow();
        }
        if let Some(action) = self.action {
            return self.attempt(action);
        }
        if let (Some(data), Some(asked)) = (&self.probe, &self.target) {
            return self.probe(asked, data);
        }
        loop {
            let look = match self.look() {
                Ok(look) => look,
                Err(unseen) => return unseen.tell().into(),
            };
            if let Err(why) = self.write_page(&look) {
                complain(why);
                // Not 1, which would say that a fault was found.
                return exit::NOT_ALLOWED.into();
            }
            let printed = output::print(&self.printed(&look));
            // To watch on behalf of nobody would never end.
            if printed.is_err() || !self.watch {
                return output::code(&printed, look.code).into();
            }
        }
    }

    /// Once, for the length of the window.
    fn look(&self) -> Result<Look, Unseen> {
        let helper = Helper::new(Deadline::after(self.deadline.0));
        let target = Target::look(self.target.as_ref(), &helper).map_err(Unseen::Nothing)?;
        let (facts, mut verdicts) = self.judge(&target)?;
        let code = code(&facts, &verdicts);
        let undecided = verdict::undecided(&facts, &target, &verdicts);
        let is_told = self.json || self.verbose || self.html.is_some();
        if !matches!(target, Target::All) || is_told {
            verdicts.extend(verdict::all_is_well(&facts, &target, &verdicts, undecided));
        }
        Ok(Look { facts, target, verdicts, undecided, code })
    }

    fn printed(&self, Look { facts, target, verdicts, undecided, code }: &Look) -> String {
        if self.json {
            return json::printable(&json::render(facts, target, verdicts, *undecided, *code));
        }
        if self.dot {
            return Dot { facts, verdicts }.to_string();
        }
        let is_screen = self.watch && io::stdout().is_terminal();
        // Home, and clear what is below.
        let clear = if is_screen { "\x1b[H\x1b[J" } else { "" };
        format!("{clear}{}", self.text(facts, verdicts, *undecided))
    }

    fn write_page(&self, Look { facts, verdicts, code, .. }: &Look) -> Result<(), String> {
        let Some(file) = &self.html else { return Ok(()) };
        let asked = self.target.as_ref().map(ToString::to_string);
        let asked = asked.as_deref().unwrap_or_default();
        let page = Page { facts, verdicts, asked, code: *code, is_watched: self.watch };
        page_file::replace(file, &page.to_string())
            .map_err(|error| format!("--html {}: {error}", shell::quoted(&file.to_string_lossy())))
    }

    /// Looks a second time if somebody has not waited for long: what is the same by then was not just
    /// about to be answered.
    fn judge(&self, target: &Target) -> Result<(Facts, Vec<Verdict>), Unseen> {
        let (begun, deadline) = (Instant::now(), Deadline::after(self.window.0 + self.deadline.0));
        let (mut facts, mut verdicts) = self.judge_once(target, self.window.0, deadline)?;
        let took = begun.elapsed().saturating_sub(self.window.0);
        let in_doubt: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_young).collect();
        let seen: HashSet<_> = in_doubt.iter().map(|verdict| verdict.key()).collect();
        let ages = in_doubt.iter().map(|verdict| verdict.since().unwrap_or_default());
        if let Some(age) = ages.min() {
            if deadline.left() < took {
                // In what is left it would see less than the first, which stands but for what is in doubt.
                let owners = in_doubt.iter().flat_map(|verdict| verdict.owners());
                let late = owners.map(|pid| (pid, LATE.to_owned()));
                facts.passed_over.extend(late);
                verdicts.retain(|verdict| !verdict.is_young);
                return Ok((facts, verdicts));
            }
            let window = (verdict::LONG + LATER).saturating_sub(age);
            let window = self.window.0.max(window);
            let deadline = Deadline::after(window + deadline.left());
            (facts, verdicts) = self.judge_once(target, window, deadline)?;
        }
        verdicts.retain(|verdict| !verdict.is_young || seen.contains(&verdict.key()));
        Ok((facts, verdicts))
    }

    fn judge_once(
        &self,
        target: &Target,
        window: Duration,
        deadline: Deadline,
    ) -> Result<(Facts, Vec<Verdict>), Unseen> {
        let helper = Helper::new(deadline);
        let mut facts = gather::gather(target, window, &helper).map_err(Unseen::System)?;
        if let Some(amiss) = target.is_amiss(&facts) {
            return Err(Unseen::Nothing(amiss));
        }
        server::ask_servers(&mut facts, target, &helper);
        details::ask_readers(&mut facts, target, &helper);
        // What was seen by the deadline is judged all the same.
        let judging = Deadline::after(deadline.left().max(deadline.whole() / JUDGING));
        let (mut verdicts, left) = verdict::judge(&facts, target, || judging.is_over());
        verdicts.retain(|verdict| !is_younger(verdict, self.min.0));
        details::look(&mut facts, &verdicts, self.show_data, &helper);
        for pid in left {
            helper.pass_over(pid);
        }
        facts.passed_over = helper.passed_over();
        Ok((facts, verdicts))
    }

    /// Follows one process to what it waits for in the end.
    fn follow(&self) -> ExitCode {
        let helper = Helper::new(Deadline::after(self.window.0 + self.deadline.0));
        let looked = Target::look(self.target.as_ref(), &helper).map_err(Unseen::Nothing);
        let followed = looked.and_then(|target| {
            let mut facts =
                gather::gather(&target, self.window.0, &helper).map_err(Unseen::System)?;
            let verdict = target.process().and_then(|pid| verdict::of_process(&facts, pid));
            let verdicts: Vec<_> = verdict.into_iter().collect();
            details::look(&mut facts, &verdicts, self.show_data, &helper);
            Ok(self.text(&facts, &verdicts, 0))
        });
        match followed {
            Ok(text) => output::code(&output::print(&text), exit::DONE).into(),
            Err(unseen) => unseen.tell().into(),
        }
    }

    /// One connection after the other: the first that is refused ends it.
    fn attempt(&self, action: Action) -> ExitCode {
        let (mut text, mut worst) = (String::new(), exit::DONE);
        for asked in self.target.iter().chain(&self.more) {
            match self.attempt_one(asked, action) {
                Ok((done, helped)) => {
                    text.push_str(&done);
                    worst = if helped { worst } else { exit::FAULT };
                }
                Err(Refusal::Usage(why)) => {
                    complain(why);
                    worst = exit::USAGE;
                    break;
                }
                // Another connection by now; the others may be what they were.
                Err(Refusal::Failed(why)) => {
                    complain(why);
                    worst = exit::FAILED;
                }
            }
        }
        output::code(&output::print(&text), worst).into()
    }

    fn attempt_one(
        &self,
        asked: &TargetArgument,
        action: Action,
    ) -> Result<(String, bool), Refusal> {
        let target = try_action::target(asked)?;
        let helper = Helper::new(Deadline::after(self.deadline.0));
        // Nothing is judged, so nobody has to stand still.
        let facts = gather::gather(&target, Duration::ZERO, &helper);
        let facts = facts.map_err(|error| Refusal::Failed(error.to_string()))?;
        try_action::attempt(&facts, asked, action, self.yes)
    }

    fn probe(&self, asked: &TargetArgument, data: &OsStr) -> ExitCode {
        let TargetArgument::Path(path) = asked else {
            complain("--probe connects to a path");
            return exit::USAGE.into();
        };
        let probe = Probe::of(path, data.as_bytes());
        let mut text = probe.to_string();
        if probe.is_refused() {
            text.push_str(&self.hindrance(asked));
        }
        let code = if probe.is_served() { exit::DONE } else { exit::FAULT };
        output::code(&output::print(&text), code).into()
    }

    /// What is wrong with a socket that cannot be asked, in the words of a plain look at it.
    fn hindrance(&self, asked: &TargetArgument) -> String {
        let helper = Helper::new(Deadline::after(self.deadline.0));
        let found = Target::look(Some(asked), &helper).map_err(Unseen::Nothing);
        let Ok((facts, mut verdicts)) = found.and_then(|target| self.judge(&target)) else {
            return String::new();
        };
        verdicts.retain(|verdict| verdict.is_fault || verdict.code == Code::OtherType);
        match verdicts.is_empty() {
            true => String::new(),
            false => format!("\n{}", self.text(&facts, &verdicts, 0)),
        }
    }

    fn text(&self, facts: &Facts, verdicts: &[Verdict], undecided: usize) -> String {
        if verdicts.is_empty() && facts.passed_over.is_empty() {
            let looked_at = format!("{} Unix sockets", facts.sockets.len());
            return format!("OK    {}\n", verdict::well(&looked_at, undecided));
        }
        Text { facts, verdicts, verbose: self.verbose }.to_string()
    }
}

/// A hyphen is standard output elsewhere, where a file cannot be replaced whole.
fn page_path(name: OsString) -> Result<PathBuf, &'static str> {
    match name.as_bytes() {
        b"" | b"-" => Err("expected the name of a file, as why.html"),
        _ => Ok(PathBuf::from(name)),
    }
}

/// A file that is stale is so at any age.
fn is_younger(verdict: &Verdict, least: Duration) -> bool {
    verdict.since().is_some_and(|since| since < least)
}

fn code(facts: &Facts, verdicts: &[Verdict]) -> u8 {
    if verdicts.iter().any(|verdict| verdict.is_fault) {
        exit::FAULT
    } else if !facts.passed_over.is_empty()
        || verdicts.iter().any(|verdict| verdict.code == Code::OwnerNotVisible)
    {
        exit::NOT_ALLOWED
    } else {
        exit::DONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/why.md");
        let text = std::fs::read_to_string(page).unwrap();
        for code in Code::ALL {
            assert!(text.contains(&format!("\n| `{}` |", code.name())), "{}", code.name());
        }
    }

    #[test]
    fn every_code_is_found_in_real_processes_by_a_test() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/why");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let rust = files.filter(|file| file.extension().is_some_and(|end| end == "rs"));
        let tests: String = rust.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        for code in Code::ALL {
            assert!(tests.contains(&format!("\"{}\"", code.name())), "{}", code.name());
        }
    }
}
