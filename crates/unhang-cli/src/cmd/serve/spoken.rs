//! How the socket is spoken: the flags, and what they mean to the library.

use clap::{Args, ValueEnum};
use unhang::{Delimiter, Errors, Limits, Server, Until};

use crate::units::{self, Span};

#[derive(Args, Debug)]
#[command(next_help_heading = "How it is spoken")]
pub(super) struct Spoken {
    /// One exchange per connection, or any number of them: in lines, HTTP/1.1, or Goridge's frames
    #[arg(long, value_name = "WIRE", value_enum, default_value_t)]
    wire: Wire,
    /// With oneshot: where a request ends, besides at a half-close: when the receive queue is dry, at a
    /// newline, or nowhere else [default: dry]
    #[arg(long, value_name = "WHERE", value_enum)]
    until: Option<Ends>,
    /// With lines: what ends a request and a reply [default: newline]
    #[arg(long, value_name = "WHICH", value_enum)]
    delimiter: Option<Ending>,
    /// With lines: how a client is told that it gets no answer: ERR and the reason, or an error object
    /// of JSON-RPC with the id of its request [default: text]
    #[arg(long, value_name = "FORM", value_enum)]
    errors: Option<ErrorFormat>,
    /// With lines, http and goridge: how long a connection may be kept without a request [default: 1h,
    /// 2m and for ever]
    #[arg(long, value_name = "DURATION", value_parser = units::deadline)]
    idle: Option<Span>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Wire {
    #[default]
    Oneshot,
    Lines,
    Http,
    Goridge,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ends {
    Dry,
    Newline,
    HalfClose,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ending {
    Newline,
    Nul,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ErrorFormat {
    Text,
    Jsonrpc,
}

impl Spoken {
    /// A flag that says nothing with this wire would be believed to do something.
    pub(super) fn check(&self) -> Result<(), String> {
        let needs_lines = if self.wire == Wire::Lines { None } else { Some("lines") };
        let needs_oneshot = if self.wire == Wire::Oneshot { None } else { Some("oneshot") };
        let needs_kept =
            if self.wire == Wire::Oneshot { Some("lines, http or goridge") } else { None };
        let flags = [
            (self.until.is_some(), "--until", needs_oneshot),
            (self.delimiter.is_some(), "--delimiter", needs_lines),
            (self.errors.is_some(), "--errors", needs_lines),
            (self.idle.is_some(), "--idle", needs_kept),
        ];
        let wrong = flags.into_iter().find_map(|(given, flag, needs)| {
            needs.filter(|_| given).map(|needs| format!("{flag} is for --wire {needs} alone"))
        });
        wrong.map_or(Ok(()), Err)
    }

    /// A flag that was given.
    #[cfg(feature = "nats")]
    pub(super) fn given(&self) -> Option<&'static str> {
        let flags = [
            (self.wire != Wire::Oneshot, "--wire"),
            (self.until.is_some(), "--until"),
            (self.delimiter.is_some(), "--delimiter"),
            (self.errors.is_some(), "--errors"),
            (self.idle.is_some(), "--idle"),
        ];
        flags.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    pub(super) fn limit(&self, limits: &mut Limits) {
        limits.idle = self.idle.map(|idle| idle.0);
    }

    pub(super) fn speak(&self, server: Server) -> Server {
        match self.wire {
            Wire::Oneshot => server.until(match self.until {
                None | Some(Ends::Dry) => Until::Dry,
                Some(Ends::Newline) => Until::Newline,
                Some(Ends::HalfClose) => Until::HalfClose,
            }),
            Wire::Lines => {
                let delimiter = match self.delimiter {
                    None | Some(Ending::Newline) => Delimiter::Newline,
                    Some(Ending::Nul) => Delimiter::Nul,
                };
                let errors = match self.errors {
                    None | Some(ErrorFormat::Text) => Errors::Text,
                    Some(ErrorFormat::Jsonrpc) => Errors::JsonRpc,
                };
                server.lines(delimiter, errors)
            }
            Wire::Http => server.http(),
            Wire::Goridge => server.goridge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        spoken: Spoken,
    }

    fn check(arguments: &[&str]) -> Result<(), String> {
        let flags = Flags::parse_from(["serve"].iter().chain(arguments));
        flags.spoken.check()
    }

    #[test]
    fn a_flag_that_says_nothing_with_the_wire_is_refused() {
        for (arguments, flag, wire) in [
            (&["--wire", "http", "--until", "dry"][..], "--until", "oneshot"),
            (&["--wire", "http", "--delimiter", "nul"], "--delimiter", "lines"),
            (&["--delimiter", "newline"], "--delimiter", "lines"),
            (&["--wire", "goridge", "--errors", "jsonrpc"], "--errors", "lines"),
            (&["--idle", "1m"], "--idle", "lines, http or goridge"),
        ] {
            let expected = format!("{flag} is for --wire {wire} alone");
            assert_eq!(check(arguments), Err(expected), "{arguments:?}");
        }
    }

    #[test]
    fn the_flags_of_a_wire_are_taken_with_it() {
        for arguments in [
            &[][..],
            &["--until", "newline"],
            &["--wire", "oneshot", "--until", "half-close"],
            &["--wire", "lines", "--delimiter", "nul", "--errors", "jsonrpc", "--idle", "1m"],
            &["--wire", "http", "--idle", "1m"],
            &["--wire", "goridge", "--idle", "1h"],
        ] {
            assert_eq!(check(arguments), Ok(()), "{arguments:?}");
        }
    }
}
