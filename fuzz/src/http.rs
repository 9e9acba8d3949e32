//! HTTP as it is read here, and as hyper reads it: the same, unless one of the two refuses.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use unhang::fuzzing::{Read as Ours, http_requests};

/// What requests are made of: a byte from 0x80 on stands for one of these, any other for itself.
const WORDS: [&str; 64] = [
    "\r\n", "\r\n\r\n", "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "HEAD * HTTP/1.0\r\n",
    "Host: x\r\n", "Host:", "Content-Length: ", "Content-Length: 5\r\n", "Content-Length: 0\r\n",
    "Transfer-Encoding: ", "Transfer-Encoding: chunked\r\n", "chunked", "gzip, chunked", "identity",
    "Connection: ", "Connection: close\r\n", "Connection: keep-alive\r\n", "close", "keep-alive",
    "Upgrade: h2c\r\n", "Connection: upgrade\r\n", "Expect: 100-continue\r\n", "Expect: ", "hello",
    "5\r\nhello\r\n", "0\r\n\r\n", "0\r\n", "1\r\n", "a\r\n", "0", "00", "ffffffffffffffff", ";",
    ";a=b", ";a=\"b\"", "Trailer: a\r\n", "a: b\r\n", ":", " ", "\t", "\n", "\r", "\r\n ", "\r\n\t",
    "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", " HTTP/1.1\r\n", "OPTIONS ", "CONNECT ", "PUT ", "GET ",
    "http://x", "http://x/a?b", "/", "*", "#", "%20", "+5", "5, 5", "18446744073709551616",
    "\u{e9}", "\0",
];

/// The input, with words for some of its bytes.
pub fn http(data: &[u8]) {
    let mut input = Vec::new();
    for &byte in data {
        match byte.checked_sub(0x80) {
            Some(word) => input.extend_from_slice(WORDS[usize::from(word) % WORDS.len()].as_bytes()),
            None => input.push(byte),
        }
    }
    let ours = http_requests(&input);
    if ours.is_empty() {
        return;
    }
    let theirs = hyper_requests(&input);
    for (turn, request) in ours.iter().enumerate() {
        let shown = || input.escape_ascii().to_string();
        let Some(other) = theirs.get(turn) else {
            panic!("hyper refuses what is taken here, {request:?} of\n{}", shown());
        };
        assert_eq!(request.method, other.method, "{}", shown());
        assert_eq!(target(&request.target), other.target, "{}", shown());
        assert_eq!(request.body, other.body, "{}", shown());
        let fold = |headers: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
            let mut headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
            // hyper keeps those of one name together.
            headers.sort_by(|a, b| a.0.cmp(&b.0));
            headers
        };
        assert_eq!(fold(&request.headers), fold(&other.headers), "{}", shown());
        if turn + 1 < ours.len() {
            assert!(other.stays, "hyper ends the connection after {request:?} of\n{}", shown());
        }
    }
}

/// As hyper writes it.
fn target(ours: &str) -> String {
    ours.parse::<Uri>().map_or_else(|_| ours.into(), |uri| uri.to_string())
}

/// What hyper reads, up to the first request that it refuses.
fn hyper_requests(input: &[u8]) -> Vec<Ours> {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let requests = Arc::clone(&requests);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let headers = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
                    .collect();
                requests.lock().unwrap_or_else(PoisonError::into_inner).push(Ours {
                    method: head.method.to_string(),
                    target: head.uri.to_string(),
                    headers,
                    body: body.to_bytes().to_vec(),
                    stays: true,
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let stream = Memory { input, at: 0 };
    let mut connection = pin!(
        http1::Builder::new()
            .half_close(true)
            .header_read_timeout(None)
            .serve_connection(stream, service)
    );
    let mut context = Context::from_waker(Waker::noop());
    // All of its input lies there: it cannot wait for long.
    for _ in 0..10_000 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    drop(connection);
    let requests = std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner));
    requests
}

/// A client that has sent all of it and half-closed, and reads everything.
struct Memory<'a> {
    input: &'a [u8],
    at: usize,
}

impl Read for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = &self.input[self.at..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
