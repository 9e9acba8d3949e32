//! What a Go server reads for.

use super::*;

#[test]
fn what_a_go_program_reads_for_is_told_by_its_frames() {
    let world = |reader| go_server().reader(Ok(Some(reader)));
    let eof = waits(&["internal/poll.(*FD).Read", "net.(*conn).Read", "io.ReadAll", "main.handle"]);
    says(&world(eof), Code::ServerWaitsEof, Certainty::Certain, true);
    let line = waits(&["net.(*conn).Read", "bufio.(*Reader).ReadString", "main.handle"]);
    says(&world(line), Code::ServerWaitsDelimiter, Certainty::Likely, true);
    let plain = waits(&["net.(*conn).Read", "main.handle"]);
    says(&world(plain), Code::BothWaiting, Certainty::Possible, false);
}

#[test]
fn a_reader_of_a_known_length_and_a_proxy_wait_for_no_delimiter() {
    for frames in [
        &["bufio.(*Reader).Read", "io.ReadAtLeast", "io.ReadFull", "main.handle"][..],
        // A proxy copies whatever comes, in either direction.
        &["net.(*conn).Read", "io.copyBuffer", "io.Copy", "main.proxy"],
    ] {
        let world = go_server().reader(Ok(Some(waits(frames))));
        says(&world, Code::BothWaiting, Certainty::Possible, false);
    }
}

/// Regression: "reads until the end", with certainty, of a request that was shorter than it says; the half-close that
/// was advised had the server handle a part of it.
#[test]
fn a_reader_of_so_many_bytes_does_not_wait_for_the_end() {
    let own = ["net.(*conn).Read", "io.(*LimitedReader).Read", "io.ReadAll", "main.handle"];
    let unzips = ["net.(*conn).Read", "compress/gzip.(*Reader).Read", "io.ReadAll", "main.handle"];
    let scans = ["net.(*conn).Read", "io.(*LimitedReader).Read", "bufio.(*Scanner).Scan"];
    for frames in [&own[..], &unzips, &scans] {
        let world = go_server().reader(Ok(Some(waits(frames))));
        says(&world, Code::BothWaiting, Certainty::Possible, false);
    }
}

fn body(inner: &str) -> Reader {
    waits(&[
        "net.(*conn).Read",
        "net/http.(*connReader).Read",
        "bufio.(*Reader).Read",
        inner,
        "net/http.(*body).readLocked",
        "net/http.(*body).Read",
        "io.ReadAll",
        "main.main.func1",
        "net/http.(*conn).serve",
    ])
}

#[test]
fn a_body_that_is_shorter_than_its_head_says_is_told() {
    let announced = || body("io.(*LimitedReader).Read");
    let world = go_server().reader(Ok(Some(announced())));
    says(&world, Code::BothWaiting, Certainty::Likely, true);
    let verdict = judge(&world.0, &Target::All).remove(0);
    assert!(verdict.headline.contains("shorter than it says"), "{verdict:#?}");
    assert!(verdict.now.is_empty() && verdict.fix[0].contains("whole request"), "{verdict:#?}");
    // The client may wait for what it sends next.
    let watch = |fd| Watch { fd, reads: true, writes: false };
    let uploads = World::new()
        .thread(CLIENT_PID, Call::Poll(Some(vec![watch(0), watch(3)])))
        .event_loop(SERVER_PID, &[(3, LISTENER, RUNTIME), (4, SERVER, RUNTIME)]);
    says(&uploads.reader(Ok(Some(announced()))), Code::BothWaiting, Certainty::Possible, false);
    let in_chunks = body("net/http/internal.(*chunkedReader).Read");
    says(&go_server().reader(Ok(Some(in_chunks))), Code::BothWaiting, Certainty::Possible, false);
}
