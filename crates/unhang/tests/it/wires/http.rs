use std::net::Shutdown;

use super::*;

fn http() -> Running {
    serve(Server::http)
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn refusal(status: &str, reason: &str, more: &str) -> String {
    let length = reason.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n{more}\r\n{reason}\n"
    )
}

fn expect(client: &mut UnixStream, expected: &str) {
    let bytes = read_exact(client, expected.len());
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

#[test]
fn requests_are_answered_in_order_however_they_come() {
    let server = http();
    let mut client = connect(&server.path);
    client.write_all((post("a") + &post("b")).as_bytes()).unwrap();
    expect(&mut client, &(ok("a") + &ok("b")));
    trickle(&mut client, post("c").as_bytes());
    expect(&mut client, &ok("c"));
    let chunks = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    client.write_all((chunks.to_owned() + &post("f")).as_bytes()).unwrap();
    expect(&mut client, &(ok("abcde") + &ok("f")));
}

#[test]
fn a_reply_in_pieces_is_chunked_and_the_next_follows() {
    let server = http();
    let mut client = connect(&server.path);
    client.write_all((post("stream") + &post("b")).as_bytes()).unwrap();
    let chunks = ["s", "t", "r", "e", "a", "m"].map(|letter| format!("1\r\n{letter}\r\n")).concat();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    expect(&mut client, &format!("{head}{chunks}0\r\n\r\n{}", ok("b")));
}

#[test]
fn after_a_handler_that_was_late_or_failed_the_next_request_gets_its_own_answer() {
    let server = http();
    let mut client = connect(&server.path);
    for (asked, status, reason) in [
        ("late", "504 Gateway Timeout", TOLD_LATE),
        ("panic", "500 Internal Server Error", "the handler panicked"),
        ("fault", "500 Internal Server Error", "it was asked to"),
    ] {
        client.write_all((post(asked) + &post("next")).as_bytes()).unwrap();
        expect(&mut client, &(refusal(status, reason, "") + &ok("next")));
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_the_rest_is_never_read_as_a_request() {
    let server = http();
    for bad in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: +4\r\n",
        "X: a\r\n b\r\n",
        "X: a\n",
    ] {
        let mut client = connect(&server.path);
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{bad}\r\n0\r\n\r\n");
        client.write_all((request + &post("smuggled")).as_bytes()).unwrap();
        let told = read_all(&mut client);
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad:?}: {told}");
        assert!(told.contains("Connection: close\r\n"), "{told}");
        assert_eq!(
            told.matches("HTTP/1.1").count() - told.matches("HTTP/1.1 wants").count(),
            1,
            "{told}"
        );
    }
}

/// The body does not come, as its client waits to be told so; it would else be a hang of both.
#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let server = http();
    let mut client = connect(&server.path);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    for _ in 0..2 {
        client.write_all(head.as_bytes()).unwrap();
        expect(&mut client, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hello").unwrap();
        expect(&mut client, &ok("hello"));
    }
}

/// The answer comes before the body, and is not lost to a reset although the body follows.
#[test]
fn a_body_that_is_too_long_is_refused_by_its_head() {
    let server = http();
    let mut client = connect(&server.path);
    let length = 2 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let reason = "the request is longer than 1048576 bytes";
    let expected = refusal("413 Content Too Large", reason, "Connection: close\r\n");
    expect(&mut client, &expected);
    client.write_all(&vec![b'x'; length]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "");
}

#[test]
fn the_last_request_of_a_client_is_answered_and_the_connection_ends() {
    let server = http();
    for last in [
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let mut client = connect(&server.path);
        client.write_all((post("a") + last).as_bytes()).unwrap();
        let close = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(read_all(&mut client), ok("a") + close);
    }
    let mut client = connect(&server.path);
    client.write_all((post("a") + &post("b")).as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let told = read_all(&mut client);
    assert!(told.starts_with(&ok("a")) && told.ends_with("\r\n\r\nb"), "{told}");
}

/// A server that stops says with its answer that it is the last, so that the client need not find out.
#[test]
fn a_client_that_asks_while_the_server_stops_is_answered_and_told_that_it_was_the_last() {
    let mut server = http();
    let mut client = connect(&server.path);
    client.write_all(post("a").as_bytes()).unwrap();
    expect(&mut client, &ok("a"));
    let mut asking = connect(&server.path);
    asking.write_all(post("b").as_bytes()).unwrap();
    expect(&mut asking, &ok("b"));
    server.stop();
    asking.write_all(post("c").as_bytes()).unwrap();
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc";
    let told = read_all(&mut asking);
    assert!(told == last || told == ok("c"), "{told}");
    assert_eq!(read_all(&mut client), "", "an idle client gets no word");
    server.wait();
}
