//! The command `unhang`: parse, dispatch, exit code.

mod clock;
mod cmd;
mod exit;
mod log;
mod metrics;
mod shell;
mod sock_diag;
mod systemd;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::Unhang::read().run()
}
