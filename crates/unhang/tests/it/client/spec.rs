//! What every client makes of every mode of the bad server: `spec/vectors/calls.json`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use unhang::{Client, ClientWire, Delimiter, Error, ErrorKind, LengthPrefix, ReplyEnds};

use super::block_on;

/// Beside a call's deadline, on a machine with much else to do. A hang takes for ever.
const SLACK: Duration = Duration::from_secs(40);

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec")
}

#[test]
fn each_mode_of_the_bad_server_gives_what_the_specification_says() {
    let vectors = spec().join("vectors/calls.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(&vectors).unwrap()).unwrap();
    let directory = TempDir::new().unwrap();
    let _server = BadServer::start(&vectors, directory.path());
    let wrong: Vec<String> = block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for (number, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
            if can_be_asked(case) {
                let path = directory.path().join(format!("{number}.sock"));
                calls.spawn(outcome(case.clone(), path));
            }
        }
        calls.join_all().await.into_iter().flatten().collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Over HTTP this client asks for `POST /` alone: it has no target that could be slow, nor one that is none.
fn can_be_asked(case: &Value) -> bool {
    let mut expected = case["expect"].as_array().unwrap().iter();
    let is_about_targets =
        case["mode"] == "http-late" || expected.any(|one| one["error"] == "invalid_argument");
    case["via"] != "http" || !is_about_targets
}

/// What is wrong with it.
async fn outcome(case: Value, path: PathBuf) -> Option<String> {
    let client = client(&case, path);
    let deadline = Duration::from_secs_f64(case["options"]["timeout"].as_f64().unwrap());
    let pause = Duration::from_secs_f64(case["pause"].as_f64().unwrap_or(0.0));
    let requests = case["requests"].as_array().unwrap();
    for (request, expected) in requests.iter().zip(case["expect"].as_array().unwrap()) {
        let started = Instant::now();
        let is_http = case["via"] == "http";
        let message = if is_http { body(request) } else { bytes(request) };
        let result = client.call(message).await;
        let late = started.elapsed() > deadline + SLACK;
        let wrong = match &result {
            _ if is_http && expected.get("status").is_some() => {
                !is_response(&result, request, expected)
            }
            Ok(reply) => {
                expected.get("reply").is_none_or(|whole| content(&case, reply) != bytes(whole))
            }
            Err(error) => is_wrong(error, expected),
        };
        if late || wrong {
            return Some(format!("{}: {result:?}", case["name"]));
        }
        tokio::time::sleep(pause).await;
    }
    None
}

/// The body of a request over HTTP.
fn body(request: &Value) -> Vec<u8> {
    request["body"].as_str().unwrap_or_default().as_bytes().to_vec()
}

/// Whether it is the response that is expected, where the server says `POST /` for what another client asks.
fn is_response(result: &Result<Vec<u8>, Error>, request: &Value, expected: &Value) -> bool {
    let asked = |method: &str, target: &str| {
        [format!("{method} {target} ").as_bytes(), &body(request)].concat()
    };
    let method = request["method"].as_str().unwrap();
    let echo = asked(method, request["target"].as_str().unwrap());
    let whole = bytes(&expected["body"]);
    let whole = if whole == echo || method == "HEAD" { asked("POST", "/") } else { whole };
    match result {
        Ok(reply) => expected["status"].as_u64() < Some(400) && *reply == whole,
        Err(error) => match error.kind() {
            ErrorKind::Refused { reply, .. } => {
                expected["status"].as_u64() >= Some(400) && *reply == whole
            }
            _ => false,
        },
    }
}

fn client(case: &Value, path: PathBuf) -> Client {
    let options = &case["options"];
    let deadline = Duration::from_secs_f64(options["timeout"].as_f64().unwrap());
    let mut client = Client::new(path).deadline(deadline).reply_ends(ends(&options["ends"]));
    if case["via"] == "lines" {
        client = client.wire(ClientWire::Lines(Delimiter::Newline));
    }
    if case["via"] == "http" {
        client = client.wire(ClientWire::Http);
    }
    if let Some(half_close) = options["half_close"].as_bool() {
        client = client.half_close(half_close);
    }
    if let Some(limit) = options["max_reply"].as_u64() {
        client = client.max_reply(limit.try_into().unwrap());
    }
    client
}

/// A line without its newline, which is part of it here.
fn content<'a>(case: &Value, reply: &'a [u8]) -> &'a [u8] {
    if case["via"] == "lines" { reply.strip_suffix(b"\n").unwrap_or(reply) } else { reply }
}

fn is_wrong(error: &Error, expected: &Value) -> bool {
    let message = error.to_string();
    let (kind, reply, reason) = described(error.kind());
    expected["error"].as_str() != Some(kind)
        || expected["reason"].as_str().is_some_and(|text| reason != Some(text))
        || expected.get("reply").is_some_and(|came| reply.is_some_and(|reply| reply != bytes(came)))
        || message.len() > 2000
        || message.chars().any(char::is_control)
}

/// The kind as the specification names it, what had come, and the server's reason.
fn described(kind: &ErrorKind) -> (&'static str, Option<&[u8]>, Option<&str>) {
    match kind {
        ErrorKind::TimedOut { .. } => ("timeout", Some(b""), None),
        ErrorKind::Incomplete { partial, .. } => ("timeout", Some(partial), None),
        ErrorKind::NotClosed { reply, .. } => ("not_closed", Some(reply), None),
        ErrorKind::Lost { partial, .. } => ("connection_lost", Some(partial), None),
        ErrorKind::RequestCut { reply, .. } => ("request_not_taken", Some(reply), None),
        ErrorKind::BrokenReply { partial, .. } => ("malformed_reply", Some(partial), None),
        ErrorKind::ReplyTooLarge { .. } => ("reply_too_large", None, None),
        ErrorKind::Refused { reason, reply } => ("server_error", Some(reply), Some(reason)),
        ErrorKind::BadSetting { .. } => ("invalid_argument", None, None),
        _ => ("another", None, None),
    }
}

fn ends(rule: &Value) -> ReplyEnds {
    match rule["at"].as_str() {
        Some("newline") => ReplyEnds::AtNewline,
        Some("delimiter") => ReplyEnds::AtDelimiter(bytes(&rule["delimiter"])),
        Some("length") => {
            ReplyEnds::AfterLength(match (rule["bytes"].as_u64(), rule["order"].as_str()) {
                (Some(2), Some("big")) => LengthPrefix::U16Be,
                (Some(2), _) => LengthPrefix::U16Le,
                _ => LengthPrefix::U32Be,
            })
        }
        Some("json") => ReplyEnds::AfterJson,
        Some("silence") => {
            ReplyEnds::AfterQuiet(Duration::from_secs_f64(rule["seconds"].as_f64().unwrap()))
        }
        _ => ReplyEnds::AtClose,
    }
}

/// Bytes, as the vectors write them: each character is one.
fn bytes(value: &Value) -> Vec<u8> {
    let (text, times) = match value["repeat"].as_str() {
        Some(text) => (text, value["times"].as_u64().unwrap().try_into().unwrap()),
        None => (value.as_str().unwrap(), 1),
    };
    text.repeat(times).chars().map(|character| u8::try_from(character).unwrap()).collect()
}

/// It ends with its standard input.
struct BadServer(Child);

impl BadServer {
    fn start(vectors: &Path, directory: &Path) -> Self {
        let mut command = Command::new("python3");
        command.arg(spec().join("bad_server.py")).arg("--cases").args([vectors, directory]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for BadServer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
