//! How the load speaks.

use std::sync::Arc;

use clap::ValueEnum;
use unhang::GoridgeCodec;
use unhang::frame::{FrameReader, delimited, goridge_call, http_request};

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
    /// One connection per client: the request is the RAW body of a call of --method
    Goridge,
}

impl Wire {
    /// As many of these requests, or what is wrong with them.
    pub(super) fn requests(
        self,
        request: &[u8],
        method: &str,
        depth: usize,
    ) -> Result<Vec<u8>, String> {
        let one = match self {
            Self::OneShot => request.into(),
            Self::Lines => delimited(request, b'\n')
                .ok_or("expected a request of one line for --wire lines, got several")?,
            Self::Http => http_request(request).into(),
            Self::Goridge => {
                let depth = u32::try_from(depth).map_err(|error| error.to_string())?;
                let call = |nth| goridge_call(method, GoridgeCodec::Raw, nth, request);
                let calls: Result<Vec<_>, _> = (1..=depth).map(call).collect();
                return Ok(calls?.concat());
            }
        };
        Ok(one.repeat(depth))
    }

    /// What finds the end of a reply, if that is not the close.
    pub(super) fn reader(self, method: &Arc<str>) -> Option<FrameReader> {
        match self {
            Self::OneShot => None,
            Self::Lines => Some(FrameReader::lines(b'\n')),
            Self::Http => Some(FrameReader::http()),
            Self::Goridge => Some(FrameReader::goridge(Arc::clone(method))),
        }
    }

    /// In JSON, and as the flag has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneShot => "oneshot",
            Self::Lines => "lines",
            Self::Http => "http",
            Self::Goridge => "goridge",
        }
    }
}
