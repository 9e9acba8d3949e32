//! `unhang why`: who hangs on whom, since when, why, and the cure.

mod attention;
mod borrow;
mod closer;
mod facts;
mod file;
mod gather;
mod json;
mod namespace;
mod proc;
mod report;
mod runtime;
mod sock_diag;
mod target;
mod verdict;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::complain;
use crate::exit;
use crate::units::{self, Span};
use facts::Facts;
use report::Report;
use target::{Asked, Target};
use verdict::{Code, Verdict};

/// Say who hangs on a socket, on whom, why, and what cures it
///
/// Looks at the running system, and changes nothing. Without a path: every Unix socket that
/// something is wrong with.
#[derive(Args, Debug)]
// Flags are what they are.
#[allow(clippy::struct_excessive_bools)]
#[command(after_help = exit::WHY_HELP)]
pub(crate) struct Why {
    /// The socket: a path, @name for an abstract one, a process's id, or PID:FD
    #[arg(value_name = "PATH|PID|PID:FD")]
    target: Option<Asked>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Look again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Name the source of every fact, and leave nothing out
    #[arg(long, short)]
    verbose: bool,
    /// How long to look: only what stands still all the while hangs
    #[arg(long = "for", value_name = "DURATION", value_parser = units::deadline, default_value = "500ms")]
    window: Span,
    /// Pass over who has waited for less
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    min: Span,
    /// Show unread bytes and a script's variables: they may be secret
    #[arg(long)]
    show_data: bool,
}

impl Why {
    pub(crate) fn run(self) -> ExitCode {
        loop {
            match self.look() {
                Ok((text, code)) => {
                    if self.watch && !self.json && io::stdout().is_terminal() {
                        // Home, and clear what is below.
                        anstream::print!("\x1b[H\x1b[J");
                    }
                    anstream::print!("{text}");
                    if !self.watch {
                        return code.into();
                    }
                }
                Err(error) => {
                    complain("why", &error);
                    return if is_old_kernel(&error) { exit::OLD_KERNEL } else { exit::FAILED }
                        .into();
                }
            }
        }
    }

    /// Once, for the length of the window.
    fn look(&self) -> io::Result<(String, u8)> {
        let target = Target::look(self.target.as_ref());
        let mut facts = gather::gather(&target, self.window.0)?;
        closer::ask_readers(&mut facts, &target);
        let mut verdicts = verdict::judge(&facts, &target);
        verdicts.retain(|verdict| !is_younger(verdict, self.min.0));
        closer::look(&mut facts, &verdicts, self.show_data);
        let code = code(&verdicts);
        if !matches!(target, Target::All) || self.json || self.verbose {
            verdicts.extend(verdict::all_is_well(&facts, &target, &verdicts));
        }
        let text = if self.json {
            format!("{}\n", json::render(&facts, &target, &verdicts, code))
        } else {
            self.text(&facts, &verdicts)
        };
        Ok((text, code))
    }

    fn text(&self, facts: &Facts, verdicts: &[Verdict]) -> String {
        if verdicts.is_empty() {
            return format!("OK    nothing hangs: {} Unix sockets\n", facts.sockets.len());
        }
        Report { facts, verdicts, verbose: self.verbose }.to_string()
    }
}

/// A file that is stale is so at any age.
fn is_younger(verdict: &Verdict, least: Duration) -> bool {
    verdict.since().is_some_and(|since| since < least)
}

fn code(verdicts: &[Verdict]) -> u8 {
    if verdicts.iter().any(|verdict| verdict.is_fault) {
        exit::FAULT
    } else if verdicts.iter().any(|verdict| verdict.code == Code::OwnerNotVisible) {
        exit::NOT_ALLOWED
    } else {
        exit::DONE
    }
}

/// The kernel has no `unix_diag`: before 3.3, or built without it, as some sandboxes are.
fn is_old_kernel(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::NOENT, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
