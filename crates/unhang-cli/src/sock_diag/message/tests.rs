use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A listener with two clients in its queue of one, and the end of the dump.
fn sample() -> Vec<u8> {
    let mut body = vec![AF_UNIX, 1, 10, 0];
    body.extend(words(&[77, 5, 0]));
    body.extend(attribute(0, b"/run/app.sock\0"));
    body.extend(attribute(1, &words(&[12, 0xfe0_0001])));
    body.extend(attribute(3, &words(&[90, 91])));
    body.extend(attribute(4, &words(&[2, 1])));
    body.extend(attribute(6, &[3]));
    body.extend(attribute(7, &words(&[33])));
    body.extend(attribute(99, b"from a newer kernel"));
    [message(SOCK_DIAG_BY_FAMILY, &body), message(3, &words(&[0]))].concat()
}

#[test]
fn a_listener_is_read_with_its_queue_and_file() {
    let mut sockets = Vec::new();
    assert_eq!(parse(&sample(), &mut sockets), Progress::Done);
    let [socket] = &sockets[..] else { panic!("{sockets:?}") };
    assert_eq!((socket.inode, socket.cookie), (77, 5));
    assert_eq!((socket.kind, socket.state), (Kind::Stream, State::Listening));
    assert_eq!(socket.name, b"/run/app.sock");
    assert_eq!(socket.file, Some(FileId { inode: 12, major: 0xfe, minor: 1 }));
    assert_eq!(socket.pending, [90, 91]);
    assert_eq!((socket.unread, socket.in_flight), (2, 1));
    assert!(socket.shut_read && socket.shut_write);
    assert_eq!((socket.uid, socket.peer), (Some(33), Peer::None));
}

#[test]
fn an_abstract_name_keeps_its_first_nul_and_its_last() {
    for name in [&b"\0app"[..], b"\0app\0"] {
        let mut body = vec![AF_UNIX, 1, 1, 0];
        body.extend(words(&[1, 0, 0]));
        body.extend(attribute(0, name));
        let mut sockets = Vec::new();
        assert_eq!(parse(&message(20, &body), &mut sockets), Progress::More);
        assert_eq!(sockets[0].name, name);
    }
}

#[test]
fn a_refusal_or_a_dump_that_breaks_off_gives_the_error_number() {
    for kind in [2, 3] {
        let refused = message(kind, &(-2_i32).to_ne_bytes());
        assert_eq!(parse(&refused, &mut Vec::new()), Progress::Refused(2));
        let least = message(kind, &i32::MIN.to_ne_bytes());
        assert_eq!(parse(&least, &mut Vec::new()), Progress::Refused(i32::MAX));
    }
}

#[test]
fn cut_or_garbled_bytes_end_and_do_not_panic() {
    let whole = sample();
    for cut in 0..whole.len() {
        parse(&whole[..cut], &mut Vec::new());
    }
    for at in 0..whole.len() {
        for value in [0, 1, 3, 4, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            parse(&bytes, &mut Vec::new());
        }
    }
}

#[test]
fn random_bytes_in_a_frame_that_fits_do_not_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        // Xorshift: the same bytes in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_ne_bytes()[0]
    };
    for _ in 0..20_000 {
        let mut body = vec![AF_UNIX];
        body.extend((0..usize::from(random())).map(|_| random()));
        // Lengths that are near the truth go deeper than any others.
        for at in (16..body.len().saturating_sub(3)).step_by(8) {
            body[at..at + 4].copy_from_slice(&[random() % 24, 0, random() % 9, 0]);
        }
        let mut sockets = Vec::new();
        parse(&message(SOCK_DIAG_BY_FAMILY, &body), &mut sockets);
        assert!(sockets.len() <= 1);
    }
}
