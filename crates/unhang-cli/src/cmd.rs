//! The list of commands.

mod bench;
mod call;
mod serve;
mod why;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::exit;

/// No client of a Unix socket is ever left hanging
#[derive(Debug, Parser)]
#[command(name = "unhang", version, after_help = exit::HELP, disable_help_flag = true)]
pub(crate) struct Unhang {
    /// Print this help
    // Always the short form: clap's long one spreads a screen over three.
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Call(call::Call),
    Why(why::Why),
    Bench(Box<bench::Bench>),
}

impl Unhang {
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Call(call) => call.run(),
            Command::Why(why) => why.run(),
            Command::Bench(bench) => bench.run(),
        }
    }
}

/// A runtime for one command. Both need little of it: the library serves on a thread of its own.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

/// Says on standard error what went wrong, and under which command.
fn complain(command: &str, what: impl std::fmt::Display) {
    anstream::eprintln!("unhang {command}: {what}");
}
