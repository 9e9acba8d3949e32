//! `unhang call`: one message, one reply, one deadline.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use unhang::{Client, Error, ErrorKind, Phase, ReplyEnds, limits};

use super::{block_on, complain, given, write};
use crate::exit;
use crate::shell::quoted;
use crate::units::{self, Size, Span};

/// Send a message to a socket, print the reply
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub(crate) struct Call {
    /// The socket: a path, or @name for an abstract one
    path: PathBuf,
    /// The message; from standard input when left out or -
    message: Option<OsString>,
    /// For the whole call: connecting, sending and receiving together
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(limits::CALL))]
    deadline: Span,
    /// Where the reply ends: when the server closes, or after the first newline
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    reply_ends: Ends,
    /// Do not half-close after the message: for servers that take that for the end of everything
    #[arg(long)]
    no_half_close: bool,
    /// The longest reply to take
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::MAX_REPLY))]
    max_reply: Size,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Ends {
    #[default]
    Close,
    Newline,
}

impl Call {
    pub(crate) fn run(self) -> ExitCode {
        let message = match self.message() {
            Ok(message) => message,
            Err(error) => {
                complain(
                    "call",
                    format_args!("cannot read the message from standard input: {error}"),
                );
                return exit::FAILED.into();
            }
        };
        let client = Client::new(&self.path)
            .deadline(self.deadline.0)
            .reply_ends(match self.reply_ends {
                Ends::Close => ReplyEnds::AtClose,
                Ends::Newline => ReplyEnds::AtNewline,
            })
            .half_close(!self.no_half_close)
            .max_reply(self.max_reply.0);
        match block_on(client.call(message)) {
            Ok(Ok(reply)) => print(&reply, exit::DONE),
            Ok(Err(error)) => report(error, &self.path),
            Err(error) => {
                complain("call", format_args!("cannot start the event loop: {error}"));
                exit::FAILED.into()
            }
        }
    }

    fn message(&self) -> io::Result<Vec<u8>> {
        match &self.message {
            Some(message) if message != "-" => Ok(message.clone().into_vec()),
            _ => {
                let mut message = Vec::new();
                io::stdin().lock().read_to_end(&mut message)?;
                Ok(message)
            }
        }
    }
}

/// Prints what came of a reply, and says what went wrong.
fn report(error: Error, path: &Path) -> ExitCode {
    let code = exit_code(&error);
    let complaint = error.to_string();
    // First of all: it is what was asked for, and the complaint may not get anywhere.
    let printed = match error.into_kind() {
        ErrorKind::Refused { reply, .. } | ErrorKind::NotClosed { reply, .. } => {
            print(&reply, code)
        }
        ErrorKind::Lost { partial, .. } | ErrorKind::Incomplete { partial, .. } => {
            print(&partial, code)
        }
        _ => code.into(),
    };
    // The server's own word is an answer like any other.
    if code != exit::DONE {
        complain("call", complaint);
    }
    if matches!(code, exit::NO_ANSWER | exit::NOT_CLOSED) {
        let command = format!("unhang why {}", target(path));
        let _ = writeln!(anstream::stderr(), "to see why, while a call hangs: {command}");
    }
    printed
}

/// The socket, as a shell takes it: from any folder, and never to be taken for a process's number.
fn target(path: &Path) -> String {
    let is_abstract = path.as_os_str().as_encoded_bytes().starts_with(b"@");
    let full = if is_abstract { None } else { std::path::absolute(path).ok() };
    quoted(&full.as_deref().unwrap_or(path).to_string_lossy())
}

fn exit_code(error: &Error) -> u8 {
    match (error.kind(), error.phase()) {
        (ErrorKind::BadAddress { .. }, _) => exit::USAGE,
        (ErrorKind::Refused { .. }, _) => exit::DONE,
        (ErrorKind::NotClosed { .. }, _) => exit::NOT_CLOSED,
        (ErrorKind::TimedOut { .. } | ErrorKind::Incomplete { .. }, _) => exit::NO_ANSWER,
        (_, Phase::Connect) => exit::NOT_CONNECTED,
        _ => exit::FAILED,
    }
}

/// Prints the bytes as they came.
fn print(reply: &[u8], code: u8) -> ExitCode {
    let written = write(io::stdout().lock(), reply);
    given("call", &written, code, exit::FAILED, "cannot print the reply").into()
}
