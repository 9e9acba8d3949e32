//! The command `unhang`: parse, dispatch, exit code.

mod accounts;
mod cmd;
mod connection;
mod data;
mod exit;
#[cfg(feature = "pages")]
mod pages;
mod shell;
mod sock_diag;
mod stdio;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "pages")]
    if let Some(directory) = std::env::var_os("UNHANG_PAGES") {
        return pages::write(directory.as_ref());
    }
    cmd::Unhang::read().run()
}
