//! How the load speaks.

use clap::ValueEnum;
use unhang::frame::{FrameReader, delimited, http_request};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Wire {
    /// A connection for each exchange: the close ends the reply
    #[default]
    #[value(name = "oneshot")]
    OneShot,
    /// One connection per client: a newline ends the request and the reply
    Lines,
    /// One connection per client: the request is the body of POST /
    Http,
}

impl Wire {
    /// As many of these requests, or what is wrong with them.
    pub(super) fn requests(self, request: &[u8], depth: usize) -> Result<Vec<u8>, String> {
        let one = match self {
            Self::OneShot => request.into(),
            Self::Lines => delimited(request, b'\n')
                .ok_or("expected a request of one line for --wire lines, got several")?,
            Self::Http => http_request(request).into(),
        };
        Ok(one.repeat(depth))
    }

    /// What finds the end of a reply, if that is not the close.
    pub(super) fn reader(self) -> Option<FrameReader> {
        match self {
            Self::OneShot => None,
            Self::Lines => Some(FrameReader::lines(b'\n')),
            Self::Http => Some(FrameReader::http()),
        }
    }

    /// In JSON, and as the flag has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneShot => "oneshot",
            Self::Lines => "lines",
            Self::Http => "http",
        }
    }
}
