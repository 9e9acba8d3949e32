//! The list of commands.

mod bench;
mod call;
mod nats;
mod serve;
pub(crate) mod why;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::{
    Arg, ArgAction, Command as Grammar, CommandFactory, FromArgMatches, Parser, Subcommand,
};

pub(crate) use crate::stdio::complain;
use crate::{exit, stdio};

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
    /// Reads the command line; ends the process if that makes no sense.
    pub(crate) fn read() -> Self {
        let matches = Self::command().mut_subcommands(take_hyphens).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command line's definition, for its man pages and completions.
    #[cfg(feature = "pages")]
    pub(crate) fn grammar() -> Grammar {
        Self::command()
    }

    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Call(call) => call.run(),
            Command::Why(why) => why.run(),
            Command::Bench(bench) => bench.run(),
        }
    }
}

/// Takes the word after a flag as its value also if the word begins with a hyphen: `--deadline -5s` is
/// answered with what a deadline is, and not with "no flag `-5`". Not for flags that take any bytes: if
/// the value was forgotten, the next flag would be sent.
fn take_hyphens(command: Grammar) -> Grammar {
    let takes_anything = |arg: &Arg| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "DATA"))
    };
    let checks =
        |arg: &Arg| !arg.is_positional() && arg.get_action().takes_values() && !takes_anything(arg);
    command.mut_args(|arg| match checks(&arg) {
        true => arg.allow_hyphen_values(true),
        false => arg,
    })
}

/// A runtime for one command. Both need little of it: the library serves on a thread of its own.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    // As many descriptors as it opens: if the last of them are missing, Tokio panics.
    let room = [UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?];
    drop(room);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

/// The same with threads for handlers, for a service that the library does not serve: one that blocks must not
/// hold up the others.
#[cfg(feature = "nats")]
fn block_on_threads<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // As `unhang::Server::run` does, and for the same reasons.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    Ok(done)
}

/// Writes all of it to standard output, with colours for a terminal alone.
fn print(text: &str) -> io::Result<()> {
    stdio::Stdout.write_all(stdio::for_stdout(text).as_bytes())
}

/// The exit code, which must not tell of something that nobody was given: then it is `lost`, and it
/// is said why.
fn given(command: &str, written: &io::Result<()>, code: u8, lost: u8, complaint: &str) -> u8 {
    match written {
        // The reader of our output has seen enough, as `head` has.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(command, format_args!("{complaint}: {error}"));
            lost
        }
        _ => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command would have sent the next flag as its data.
    #[test]
    fn a_flag_is_no_data_to_send_where_that_was_forgotten() {
        let read = |line: &[&str]| {
            let grammar = Unhang::command().mut_subcommands(take_hyphens);
            grammar.try_get_matches_from(line).is_ok()
        };
        assert!(!read(&["unhang", "why", "s", "--probe", "--json"]));
        assert!(!read(&["unhang", "bench", "s", "--request", "--half-close"]));
        assert!(read(&["unhang", "why", "s", "--probe", "data"]));
    }
}
