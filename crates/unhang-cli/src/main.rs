//! The command `unhang`: parse, dispatch, exit code.

mod accounts;
mod cmd;
mod connection;
mod data;
mod exit;
mod shell;
mod sock_diag;
mod stdio;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::Unhang::read().run()
}
