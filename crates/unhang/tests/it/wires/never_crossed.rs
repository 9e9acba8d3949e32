//! Exchanges with an id each, on several connections at once, deep and shallow, in cut and glued pieces,
//! with handlers that fail, panic and are late between them. `UNHANG_EXCHANGES=1000000` asks for so many on
//! each wire.

use std::io::BufReader;

use fastrand::Rng;
use unhang::{Delimiter, Errors};

use super::*;

const CLIENTS: u64 = 4;

/// How a wire says a request, and what it has as the answer to it.
trait Speaks: Copy + Send + 'static {
    fn request(self, id: u32, text: &str) -> Vec<u8>;
    fn reply(self, from: &mut BufReader<UnixStream>) -> (Option<u32>, String);
}

#[derive(Clone, Copy)]
struct InLines;

#[derive(Clone, Copy)]
struct InHttp;

#[derive(Clone, Copy)]
struct InGoridge;

impl Speaks for InLines {
    fn request(self, _: u32, text: &str) -> Vec<u8> {
        format!("{text}\n").into_bytes()
    }

    fn reply(self, from: &mut BufReader<UnixStream>) -> (Option<u32>, String) {
        let mut line = String::new();
        std::io::BufRead::read_line(from, &mut line).unwrap();
        (None, line.trim_end().trim_start_matches("ERR ").to_owned())
    }
}

impl Speaks for InHttp {
    fn request(self, id: u32, text: &str) -> Vec<u8> {
        let length = text.len();
        let head = format!("POST /{id} HTTP/1.1\r\nHost: x\r\n");
        match id % 2 {
            0 => format!("{head}Content-Length: {length}\r\n\r\n{text}").into_bytes(),
            _ => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n")
                    .into_bytes()
            }
        }
    }

    fn reply(self, from: &mut BufReader<UnixStream>) -> (Option<u32>, String) {
        let line = |from: &mut BufReader<UnixStream>| {
            let mut line = String::new();
            std::io::BufRead::read_line(from, &mut line).unwrap();
            line
        };
        let status = line(from);
        assert!(status.starts_with("HTTP/1.1 "), "{status:?}");
        let mut length = None;
        loop {
            let header = line(from);
            if header == "\r\n" {
                break;
            }
            if let Some(value) = header.strip_prefix("Content-Length: ") {
                length = value.trim_end().parse().ok();
            }
        }
        let take = |from: &mut BufReader<UnixStream>, length: usize| {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let mut body = length.map_or_else(String::new, |length| take(from, length));
        while length.is_none() {
            let size = usize::from_str_radix(line(from).trim_end(), 16).unwrap();
            body.push_str(&take(from, size));
            assert_eq!(take(from, 2), "\r\n");
            if size == 0 {
                break;
            }
        }
        (None, body.trim_end().to_owned())
    }
}

impl Speaks for InGoridge {
    fn request(self, id: u32, text: &str) -> Vec<u8> {
        goridge::call(id, text)
    }

    fn reply(self, from: &mut BufReader<UnixStream>) -> (Option<u32>, String) {
        let mut header = [0; 20];
        from.read_exact(&mut header).unwrap();
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; word(2) as usize];
        from.read_exact(&mut payload).unwrap();
        let body = payload.split_off(word(16) as usize);
        (Some(word(12)), String::from_utf8(body).unwrap())
    }
}

#[test]
fn in_lines() {
    let speak = |server: Server| server.lines(Delimiter::Newline, Errors::Text);
    exchanges(&serve(speak), InLines);
}

#[test]
fn in_http() {
    exchanges(&serve(Server::http), InHttp);
}

#[test]
fn in_goridge() {
    exchanges(&serve(Server::goridge), InGoridge);
}

/// How many an ordinary run has on each wire.
fn exchanges_asked_for() -> u64 {
    std::env::var("UNHANG_EXCHANGES").map_or(5000, |count| count.parse().unwrap())
}

fn exchanges(server: &Running, wire: impl Speaks) {
    let each = u32::try_from(exchanges_asked_for() / CLIENTS).unwrap();
    let path = &server.path;
    let done: u32 = std::thread::scope(|scope| {
        let ask = |client| scope.spawn(move || one_client(connect(path), wire, client, each));
        let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    println!("{done} exchanges, none crossed");
}

/// So many exchanges, and those that a round has more.
fn one_client(stream: UnixStream, wire: impl Speaks, client: u64, most: u32) -> u32 {
    let mut random = Rng::with_seed(client);
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut id, mut round) = (0, 0);
    while id < most {
        round += 1;
        let depth = random.usize(1..=64);
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..depth {
            id += 1;
            let words = ["echo", "stream", "fault", "panic", "echo", "echo"];
            // Late ones take their time, so there are few; and a panic is written to standard error.
            let late = (round == 7 || round % 5000 == 27) && expected.is_empty();
            let mut word = if late { "late" } else { words[random.usize(..words.len())] };
            if word == "panic" && round > 40 && random.u8(..100) > 0 {
                word = "echo";
            }
            let text = format!("{word} {client} {id}");
            bytes.extend(wire.request(id, &text));
            expected.push((
                id,
                match word {
                    "fault" => "it was asked to".to_owned(),
                    "panic" => "the handler panicked".to_owned(),
                    "late" => TOLD_LATE.to_owned(),
                    _ => text,
                },
            ));
        }
        let writer = &mut writer;
        let cuts = random.bool();
        std::thread::scope(|scope| {
            // In a thread, as the server reads on only once its answers are read.
            let random = &mut random;
            scope.spawn(move || {
                while !bytes.is_empty() {
                    let length =
                        if cuts { random.usize(1..=40).min(bytes.len()) } else { bytes.len() };
                    writer.write_all(&bytes[..length]).unwrap();
                    bytes.drain(..length);
                }
            });
            for (id, text) in expected {
                let (said, reply) = wire.reply(&mut reader);
                // A machine that is busy beyond measure may make any of them late.
                assert!(reply == text || reply == TOLD_LATE, "expected {text:?}, got {reply:?}");
                assert_eq!(said.unwrap_or(id), id);
            }
        });
    }
    id
}
