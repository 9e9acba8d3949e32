use super::*;

const JSON: u8 = 0x08;
const ERROR: u8 = 0x40;

/// By the format's own description: see docs/protocols.md.
fn frame(flags: u8, sequence: u32, method: &str, body: &str) -> Vec<u8> {
    let mut frame = vec![0x15, flags];
    frame.extend(u32::try_from(method.len() + body.len()).unwrap().to_le_bytes());
    let sum = crc32(&frame);
    frame.extend(sum.to_le_bytes());
    frame.extend([0, 0]);
    frame.extend(sequence.to_le_bytes());
    frame.extend(u32::try_from(method.len()).unwrap().to_le_bytes());
    frame.extend(method.as_bytes());
    frame.extend(body.as_bytes());
    frame
}

/// The one of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

pub(super) fn call(sequence: u32, body: &str) -> Vec<u8> {
    frame(JSON, sequence, "S.m", body)
}

fn expect(client: &mut UnixStream, expected: &[u8]) {
    let bytes = read_exact(client, expected.len());
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn calls_are_answered_in_order_however_they_come() {
    let server = serve(Server::goridge);
    let mut client = connect(&server.path);
    client.write_all(&[call(1, "a"), call(2, "stream b"), call(3, "")].concat()).unwrap();
    expect(&mut client, &[call(1, "a"), call(2, "stream b"), call(3, "")].concat());
    trickle(&mut client, &call(u32::MAX, "d"));
    expect(&mut client, &call(u32::MAX, "d"));
}

/// A client that gets a late answer takes it for the next one and never recovers.
#[test]
fn after_a_handler_that_was_late_or_failed_the_next_call_gets_its_own_answer() {
    let server = serve(Server::goridge);
    let mut client = connect(&server.path);
    let told = |sequence, reason| frame(JSON | ERROR, sequence, "S.m", reason);
    for (sequence, asked, reason) in [
        (1, "slow", TOLD_LATE),
        (3, "late", TOLD_LATE),
        (5, "panic", "the handler panicked"),
        (7, "fault", "it was asked to"),
    ] {
        client.write_all(&[call(sequence, asked), call(sequence + 1, "next")].concat()).unwrap();
        expect(&mut client, &[told(sequence, reason), call(sequence + 1, "next")].concat());
    }
    // Until the slow one's answer would have come.
    std::thread::sleep(Duration::from_secs(1));
    client.write_all(&call(9, "after")).unwrap();
    expect(&mut client, &call(9, "after"));
}

#[test]
fn a_method_length_beyond_the_payload_is_told_and_ends_the_connection() {
    let server = serve(Server::goridge);
    let mut client = connect(&server.path);
    let mut bad = call(7, "a");
    bad[16..20].copy_from_slice(&99_999_u32.to_le_bytes());
    client.write_all(&[call(6, "a"), bad].concat()).unwrap();
    expect(&mut client, &call(6, "a"));
    let reason = "expected a method name within 4 bytes, got one of 99999";
    expect(&mut client, &frame(JSON | ERROR, 7, "", reason));
    assert_eq!(read_all(&mut client), "");
}

#[test]
fn a_frame_that_is_none_ends_the_connection_without_a_word() {
    let server = serve(Server::goridge);
    let mut sum = call(7, "a");
    sum[6] ^= 1;
    for bad in [&sum[..], b"GET / HTTP/1.1\r\n\r\n", b"\0"] {
        let mut client = connect(&server.path);
        client.write_all(bad).unwrap();
        assert_eq!(read_all(&mut client), "");
    }
}

/// Half a frame is late; between two frames no deadline runs, as the client would never come back.
#[test]
fn half_a_frame_is_told_at_its_deadline_and_an_idle_client_may_stay() {
    let mut limits = Limits::default();
    limits.read = Duration::from_millis(200);
    let server = Running::start(|server| server.goridge().limits(limits), answer);
    let mut idle = connect(&server.path);
    idle.write_all(&call(1, "a")).unwrap();
    expect(&mut idle, &call(1, "a"));
    let mut half = connect(&server.path);
    half.write_all(&call(7, "hello")[..24]).unwrap();
    let mut told = Vec::new();
    half.read_to_end(&mut told).unwrap();
    assert_eq!(told[..2], [0x15, JSON | ERROR]);
    assert_eq!(told[12..16], 7_u32.to_le_bytes());
    let mut unknown = connect(&server.path);
    unknown.write_all(&call(7, "hello")[..14]).unwrap();
    assert_eq!(read_all(&mut unknown), "", "its sequence is not known");
    idle.write_all(&call(2, "b")).unwrap();
    expect(&mut idle, &call(2, "b"));
}
