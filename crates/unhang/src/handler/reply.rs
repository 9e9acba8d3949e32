//! What goes back to the client: whole, or piece by piece.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Fault;
#[cfg(feature = "forward")]
use super::Piped;
use crate::parts::{Header, ReplyHead};

/// What goes back to the client. Its end is the close of the connection, so an empty reply cannot
/// be told from a server that died: send at least a newline.
///
/// It is made of bytes or text, owned or `'static`:
///
/// ```
/// # use unhang::Reply;
/// let replies: [Reply; 4] =
///     ["hello\n".into(), String::from("hello\n").into(), b"hello\n".into(), vec![0_u8; 3].into()];
/// assert_eq!(replies[2].whole(), Some(&b"hello\n"[..]));
/// ```
#[derive(Debug)]
pub struct Reply {
    pub(crate) body: Body,
    head: Option<Box<Head>>,
}

/// What stands before the body, in wires that have such a thing.
#[derive(Debug)]
struct Head {
    status: u16,
    headers: Vec<Header>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    /// To make [`Bytes`] of it may take room for a counter.
    Owned(Vec<u8>),
    Pieces(Pieces),
}

/// The connection's end of a streamed reply.
pub(crate) type Pieces = mpsc::Receiver<Piece>;

#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    #[cfg(feature = "forward")]
    Piped(Piped),
    /// The reply is whole. Without it the reply is cut.
    End,
    Failed(Fault),
}

impl Reply {
    /// A reply whose bytes are made while it is sent: for one that is large, or that takes long. No
    /// more than `ahead` pieces (at least one) wait to be written, so a slow client slows its sender
    /// down and no memory grows.
    ///
    /// Each piece has to come within the [handler](crate::Limits::handler) deadline, and the client
    /// has to take some of it within the [write](crate::Limits::write) deadline; there is no deadline
    /// for the whole. Only [`finish`](ReplySender::finish) makes the reply whole. A sender that is
    /// dropped before that, because its task panicked, say, cuts the reply: the client of a one-shot
    /// connection sees the bytes so far and then an error (`ECONNRESET`), and never a clean end.
    ///
    /// ```
    /// # use unhang::{Fault, Reply, Request};
    /// async fn count(_: Request) -> Result<Reply, Fault> {
    ///     let (mut sender, reply) = Reply::stream(4);
    ///     tokio::spawn(async move {
    ///         for n in 0..1_000_000 {
    ///             if sender.send(format!("{n}\n")).await.is_err() {
    ///                 return;   // the client has left
    ///             }
    ///         }
    ///         sender.finish().await;
    ///     });
    ///     Ok(reply)
    /// }
    /// ```
    pub fn stream(ahead: usize) -> (ReplySender, Self) {
        let (sender, pieces) = mpsc::channel(ahead.max(1));
        (ReplySender(sender), Self { body: Body::Pieces(pieces), head: None })
    }

    /// On HTTP, the status of the response, from 200 to 599; 200 unless set. Other wires have none. With
    /// any other the client is told that the handler failed (500).
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.head_mut().status = status;
        self
    }

    /// On HTTP, one more header of the response. Other wires have none. A name or a value that HTTP cannot
    /// say, and one that frames the message (`Content-Length`, `Transfer-Encoding`), make the client be
    /// told that the handler failed (500).
    #[must_use]
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.head_mut().headers.push((name.into(), value.into()));
        self
    }

    fn head_mut(&mut self) -> &mut Head {
        self.head.get_or_insert_with(|| Box::new(Head { status: 200, headers: Vec::new() }))
    }

    pub(crate) fn head(&self) -> ReplyHead<'_> {
        self.head.as_ref().map_or_else(ReplyHead::default, |head| ReplyHead {
            status: head.status,
            headers: &head.headers,
        })
    }

    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }

    /// All its bytes, also if it is [streamed](Self::stream): for a transport that sends replies whole. There
    /// is no deadline in here.
    ///
    /// # Errors
    /// If its sender failed or was dropped before [`finish`](ReplySender::finish), or if it is longer than
    /// `most` bytes.
    pub async fn collect(self, most: usize) -> Result<Bytes, Fault> {
        let too_long = || Fault::new(format!("the reply is longer than {most} bytes"));
        if self.whole().is_some_and(|bytes| bytes.len() > most) {
            return Err(too_long());
        }
        let mut pieces = match self.body {
            Body::Whole(bytes) => return Ok(bytes),
            Body::Owned(bytes) => return Ok(bytes.into()),
            Body::Pieces(pieces) => pieces,
        };
        let mut all = Vec::new();
        loop {
            let piece = match pieces.recv().await {
                #[cfg(feature = "forward")]
                Some(Piece::Piped(piped)) => Some(Piece::Bytes(piped.into_bytes()?)),
                other => other,
            };
            match piece {
                Some(Piece::Bytes(bytes)) if all.len() + bytes.len() > most => {
                    return Err(too_long());
                }
                Some(Piece::Bytes(bytes)) => all.extend_from_slice(&bytes),
                #[cfg(feature = "forward")]
                Some(Piece::Piped(_)) => {}
                Some(Piece::End) => return Ok(all.into()),
                Some(Piece::Failed(fault)) => return Err(fault),
                None => return Err(Fault::new("the reply was cut")),
            }
        }
    }

    /// The bytes, unless it is [streamed](Self::stream).
    pub fn whole(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Whole(bytes) => Some(bytes),
            Body::Owned(bytes) => Some(bytes),
            Body::Pieces(_) => None,
        }
    }
}

/// Sends a reply piece by piece, see [`Reply::stream`]. Dropped without [`finish`](Self::finish) it cuts
/// the reply.
#[derive(Debug)]
#[must_use = "a sender that is dropped without `finish` cuts the reply"]
pub struct ReplySender(mpsc::Sender<Piece>);

/// The reply has nobody to go to any more: the client has left, or the reply was late and was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl ReplySender {
    /// Sends the next piece, once there is room for it. An empty piece sends nothing.
    ///
    /// # Errors
    /// [`Gone`] if nobody takes the reply any more.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        let piece = piece.into();
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(Piece::Bytes(piece)).await.map_err(|_| Gone)
    }

    /// The same with bytes that lie in a pipe, which is free again once there is room for the next piece but
    /// one.
    #[cfg(feature = "forward")]
    pub(crate) async fn send_piped(&mut self, piped: Piped) -> Result<(), Gone> {
        self.0.send(Piece::Piped(piped)).await.map_err(|_| Gone)
    }

    /// Waits until there is room for the next piece.
    #[cfg(feature = "forward")]
    pub(crate) async fn has_room(&self) -> Result<(), Gone> {
        self.0.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// The reply is whole.
    pub async fn finish(self) {
        // Nobody is there to be told if the client has left.
        let _ = self.0.send(Piece::End).await;
    }

    /// The reply cannot be made whole: it is cut, and the log is told why. If nothing of it was written
    /// yet, the client is told as by a handler that returns this fault.
    pub async fn fail(self, fault: impl Into<Fault>) {
        let _ = self.0.send(Piece::Failed(fault.into())).await;
    }

    /// Waits until nobody takes the reply any more.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody takes the reply any more: the client has left, or the reply was late")
    }
}

impl std::error::Error for Gone {}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Self { body: Body::Whole(bytes), head: None }
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self { body: Body::Owned(bytes), head: None }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&'static [u8]> for Reply {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Reply {
    fn from(bytes: &'static [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&'static str> for Reply {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Cow<'static, str>> for Reply {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Cow<'static, [u8]>> for Reply {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_streamed_reply_is_collected_if_it_is_whole_and_fits() {
        let streamed = |ends: bool| {
            let (mut sender, reply) = Reply::stream(1);
            tokio::spawn(async move {
                for piece in ["one ", "two"] {
                    sender.send(piece).await.unwrap();
                }
                if ends {
                    sender.finish().await;
                }
            });
            reply
        };
        assert_eq!(streamed(true).collect(7).await.unwrap(), "one two");
        assert!(streamed(true).collect(6).await.unwrap_err().to_string().contains("6 bytes"));
        assert!(streamed(false).collect(7).await.unwrap_err().to_string().contains("cut"));
        assert!(Reply::from("1234").collect(3).await.is_err());
    }
}
