//! The exchange over a simulated stream, with the clock paused: every deadline is met to the
//! millisecond, and no test waits for one.

use std::future::{pending, ready};
use std::task::Context;
use std::time::Duration;

use tokio::time::sleep;

use super::sim::{Client, Simulated, pair};
use super::*;
use crate::handler::Peer;
use crate::serve::config::{self, Stop};
use crate::wire::oneshot::ONE_PIECE;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A connection under the default rules, its client, and what stops its server.
fn connection() -> (Connection<Simulated>, Client, Stop) {
    connection_with(|_| {})
}

fn connection_with(change: impl FnOnce(&mut Rules)) -> (Connection<Simulated>, Client, Stop) {
    let (stop, drain) = config::channel();
    let mut rules = Rules {
        budget: Budget::new(usize::MAX, Arc::default()),
        limits: Limits::default(),
        until: Until::default(),
        refusal: Arc::new(|cause| Some(format!("ERR {cause}\n").into())),
        drain,
        in_flight: Arc::default(),
    };
    change(&mut rules);
    let (stream, client) = pair();
    (Connection::new(stream, Arc::new(rules), Guest::new(None)), client, stop)
}

/// Answers with the request itself.
fn echo(request: Request) -> impl Future<Output = Result<Reply, Fault>> {
    ready(Ok(request.into_bytes().into()))
}

fn never(_: Request) -> impl Future<Output = Result<Reply, Fault>> {
    pending()
}

fn limits() -> Limits {
    Limits::default()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_just_writes_is_answered_and_closed_at_once() {
    let (connection, client, _stop) = connection();
    client.send(b"hello");
    let exchange = connection.run(echo).await;
    assert!(matches!(exchange.ended, Ended::Answered), "{exchange:?}");
    assert_eq!((exchange.bytes_in, exchange.bytes_out), (5, 5));
    assert_eq!(exchange.took, Duration::ZERO);
    assert_eq!(client.received(), b"hello");
    assert!(client.is_closed());
    assert!(!client.was_half_closed_first(), "nothing was left to discard");
}

#[tokio::test(start_paused = true)]
async fn a_long_message_in_pieces_is_waited_for_and_arrives_whole() {
    let (connection, client, _stop) = connection();
    let piece = vec![b'x'; ONE_PIECE + 1];
    let pause = limits().settle.saturating_sub(MILLISECOND);
    let run = tokio::spawn(connection.run(echo));
    for _ in 0..3 {
        client.send(&piece);
        sleep(pause).await;
    }
    let exchange = run.await.unwrap();
    assert_eq!(exchange.bytes_in, 3 * piece.len());
    assert_eq!(client.received().len(), 3 * piece.len());
    assert_eq!(exchange.took, 2 * pause + limits().settle);
}

/// As on a real socket whose client writes on another core: what the queue holds is never all.
struct OneByOne(Simulated);

impl Stream for OneByOne {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, &mut buffer[..1])
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.0.half_close()
    }

    fn has_unread(&self) -> bool {
        self.0.has_unread()
    }

    fn is_hung_up(&self) -> bool {
        self.0.is_hung_up()
    }

    fn peer(&self) -> Option<Peer> {
        self.0.peer()
    }

    fn caller(&self) -> Caller {
        self.0.caller()
    }

    fn close(self) -> usize {
        self.0.close()
    }
}

/// The thread that keeps all deadlines was kept until the request was whole.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_lets_the_queue_run_dry_leaves_others_their_turn() {
    let (Connection { stream, rules, guest, .. }, client, _stop) =
        connection_with(|rules| rules.until = Until::Newline);
    client.send(&[b'x'; 1000]);
    client.send(b"\n");
    let run = tokio::spawn(Connection::new(OneByOne(stream), rules, guest).run(echo));
    let other = tokio::spawn(async {
        for _ in 0..1000 / READS {
            yield_now().await;
        }
    });
    assert!(matches!(run.await.unwrap().ended, Ended::Answered));
    assert!(other.is_finished());
}

/// It did not: a read that filled the buffer promised more, and none came until the read deadline.
#[tokio::test(start_paused = true)]
async fn a_message_that_fills_the_read_buffer_exactly_ends_after_the_settle_time() {
    for chunks in [1, 2] {
        let (connection, client, _stop) = connection();
        let message = vec![b'x'; chunks * CHUNK.with_borrow(Vec::len)];
        client.send(&message);
        let exchange = connection.run(echo).await;
        assert!(matches!(exchange.ended, Ended::Answered), "{exchange:?}");
        assert_eq!((exchange.bytes_out, exchange.took), (message.len(), limits().settle));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_close_ends_a_long_message_without_a_wait() {
    let (connection, client, _stop) = connection();
    client.send(&vec![b'x'; 2 * ONE_PIECE]);
    client.half_close();
    let exchange = connection.run(echo).await;
    assert_eq!((exchange.bytes_out, exchange.took), (2 * ONE_PIECE, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn until_newline_the_request_ends_there_and_the_rest_is_not_part_of_it() {
    let (connection, client, _stop) = connection_with(|rules| rules.until = Until::Newline);
    let run = tokio::spawn(connection.run(echo));
    client.send(b"hel");
    sleep(limits().settle * 2).await;
    client.send(b"lo\nand more");
    run.await.unwrap();
    assert_eq!(client.received(), b"hello\n");
}

#[tokio::test(start_paused = true)]
async fn an_empty_request_is_one_when_the_client_waits_for_the_answer() {
    let (connection, client, _stop) = connection();
    client.half_close();
    let answer = |request: Request| {
        assert_eq!(request.bytes(), b"");
        ready(Ok("the time\n".into()))
    };
    let exchange = connection.run(answer).await;
    assert!(matches!(exchange.ended, Ended::Answered), "{exchange:?}");
    assert_eq!(client.received(), b"the time\n");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_connects_and_leaves_reaches_no_handler() {
    let (connection, client, _stop) = connection();
    client.vanish();
    let exchange = connection.run(|_| async { unreachable!("the handler was asked") }).await;
    assert!(matches!(exchange.ended, Ended::NoRequest), "{exchange:?}");
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_told_at_the_read_deadline_and_closed_after_the_linger() {
    let (connection, client, _stop) = connection();
    let exchange = connection.run(echo).await;
    assert!(matches!(exchange.ended, Ended::Refused(Cause::RequestLate { .. })), "{exchange:?}");
    assert_eq!(client.heard_the_end_after(), Some(limits().read));
    assert_eq!(exchange.took, limits().read + limits().linger);
    assert!(client.received().starts_with(b"ERR no whole request within 10s"));
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_does_not_stretch_the_read_deadline() {
    let (connection, client, _stop) = connection_with(|rules| rules.until = Until::Newline);
    let run = tokio::spawn(connection.run(echo));
    while !run.is_finished() && client.heard_the_end_after().is_none() {
        client.send(b"x");
        sleep(Duration::from_secs(1)).await;
    }
    client.vanish();
    let exchange = run.await.unwrap();
    assert!(matches!(exchange.ended, Ended::Refused(Cause::RequestLate { .. })), "{exchange:?}");
    assert_eq!(client.heard_the_end_after(), Some(limits().read));
}

#[tokio::test(start_paused = true)]
async fn the_request_may_be_as_long_as_the_limit_and_no_longer() {
    for (length, answered) in [(limits().max_request, true), (limits().max_request + 1, false)] {
        let (connection, client, _stop) = connection();
        client.send(&vec![b'x'; length]);
        client.half_close();
        let exchange = connection.run(echo).await;
        assert_eq!(matches!(exchange.ended, Ended::Answered), answered, "{:?}", exchange.ended);
        assert_eq!(client.received().starts_with(b"ERR the request is longer than"), !answered);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_hold_too_much_together_are_told_so_and_give_it_back() {
    let budget = Budget::new(100, Arc::default());
    let connection = || connection_with(|rules| rules.budget = Arc::clone(&budget));
    let (first, client, _stop) = connection();
    client.send(&[b'x'; 60]);
    let first = tokio::spawn(first.run(never));
    sleep(MILLISECOND).await;

    let (second, client, _stop) = connection();
    client.send(&[b'x'; 60]);
    client.half_close();
    let exchange = second.run(echo).await;
    assert!(matches!(exchange.ended, Ended::Refused(Cause::Busy(Scarce::Memory { most: 100 }))));
    assert!(client.received().starts_with(b"ERR busy"));

    first.await.unwrap();
    let (third, client, _stop) = connection();
    client.send(&[b'x'; 60]);
    client.half_close();
    assert!(matches!(third.run(echo).await.ended, Ended::Answered));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_too_much_hears_why_and_may_finish_sending() {
    let (connection, client, _stop) = connection();
    let run = tokio::spawn(connection.run(echo));
    let piece = vec![b'x'; 256 * 1024];
    for _ in 0..16 {
        client.send(&piece);
        sleep(MILLISECOND).await;
    }
    assert!(client.received().starts_with(b"ERR the request is longer than"));
    assert!(client.was_half_closed_first() && !client.is_closed());
    client.vanish();
    let exchange = run.await.unwrap();
    assert!(matches!(exchange.ended, Ended::Refused(Cause::RequestTooLong { .. })));
    assert_eq!(exchange.bytes_in, 16 * piece.len(), "all was discarded");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_ended_at_its_deadline() {
    let (connection, client, _stop) = connection();
    client.send(b"hello");
    let exchange = connection.run(never).await;
    assert!(matches!(exchange.ended, Ended::Refused(Cause::HandlerLate { .. })), "{exchange:?}");
    assert_eq!(exchange.took, limits().handler);
    assert_eq!(client.received(), b"ERR the handler took longer than 10s\n");
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_told_in_words_and_an_inner_error_only_by_its_name() {
    let missing = io::Error::from(io::ErrorKind::NotFound);
    for (fault, told) in [
        (Fault::new("no such customer"), "ERR no such customer\n"),
        (Fault::from(missing), "ERR the handler failed\n"),
        (Fault::panicked("secret".into()), "ERR the handler panicked\n"),
    ] {
        let (connection, client, _stop) = connection();
        client.send(b"hello");
        let exchange = connection.run(|_| ready(Err(fault))).await;
        assert!(matches!(exchange.ended, Ended::Refused(Cause::HandlerFailed(_))));
        assert_eq!(client.received(), told.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_line_can_be_turned_off() {
    let (connection, client, _stop) = connection_with(|rules| rules.refusal = Arc::new(|_| None));
    client.send(b"hello");
    connection.run(never).await;
    assert_eq!(client.received(), b"");
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_taken_a_byte_at_a_time_arrives_whole() {
    let (connection, client, _stop) = connection();
    client.send(b"hello");
    client.take_at_most(1);
    let run = tokio::spawn(connection.run(echo));
    while !run.is_finished() {
        sleep(MILLISECOND).await;
        client.take_at_most(1);
    }
    assert!(matches!(run.await.unwrap().ended, Ended::Answered));
    assert_eq!(client.received(), b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_at_the_write_deadline() {
    let (connection, client, _stop) = connection();
    client.take_at_most(2);
    client.send(b"hello");
    let exchange = connection.run(echo).await;
    assert!(matches!(exchange.ended, Ended::ReplyNotTaken), "{exchange:?}");
    assert_eq!((exchange.took, exchange.bytes_out), (limits().write, 2));
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_writes_on_before_it_reads_is_not_waited_for() {
    let (connection, client, _stop) = connection();
    client.take_at_most(0);
    client.send(b"hello");
    let run = tokio::spawn(connection.run(echo));
    sleep(MILLISECOND).await;
    client.send(&[b'x'; 1000]);
    sleep(MILLISECOND).await;
    assert_eq!(client.unread(), 0, "what it still writes is taken");
    client.take_at_most(usize::MAX);
    let exchange = run.await.unwrap();
    assert!(matches!(exchange.ended, Ended::Answered), "{exchange:?}");
    assert_eq!(exchange.bytes_in, 1005);
}

#[tokio::test(start_paused = true)]
async fn input_after_the_request_is_discarded_after_the_end_was_given() {
    let (connection, client, _stop) = connection_with(|rules| rules.until = Until::Newline);
    client.send(b"hello\n");
    let run = tokio::spawn(connection.run(|_| async {
        sleep(4 * MILLISECOND).await;
        Ok("answer\n".into())
    }));
    sleep(2 * MILLISECOND).await;
    client.send(b"more");
    sleep(4 * MILLISECOND).await;
    assert_eq!(client.received(), b"answer\n");
    assert!(client.was_half_closed_first() && !client.is_closed());
    client.vanish();
    let exchange = run.await.unwrap();
    assert_eq!((exchange.bytes_in, exchange.took), (10, 6 * MILLISECOND));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_is_closed_after_the_linger() {
    let (connection, client, _stop) = connection();
    let run = tokio::spawn(connection.run(|_| async {
        sleep(4 * MILLISECOND).await;
        Ok("answer\n".into())
    }));
    client.send(b"hello");
    sleep(2 * MILLISECOND).await;
    client.send(b"more");
    let exchange = run.await.unwrap();
    assert_eq!(exchange.took, 4 * MILLISECOND + limits().linger);
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_an_ordinary_end_in_every_state() {
    let (reading, client, _stop) = connection_with(|rules| rules.until = Until::HalfClose);
    client.send(b"half a request");
    client.reset();
    let exchange = reading.run(echo).await;
    assert!(matches!(exchange.ended, Ended::ClientGone(State::Reading)), "{exchange:?}");

    let (handling, client, _stop) = connection();
    client.send(b"hello");
    let gone = client.clone();
    let exchange = handling
        .run(|request| {
            gone.vanish();
            echo(request)
        })
        .await;
    assert!(matches!(exchange.ended, Ended::ClientGone(State::Writing)), "{exchange:?}");

    let (writing, client, _stop) = connection();
    client.send(b"hello");
    client.take_at_most(1);
    let run = tokio::spawn(writing.run(echo));
    sleep(MILLISECOND).await;
    client.vanish();
    let exchange = run.await.unwrap();
    assert!(matches!(exchange.ended, Ended::ClientGone(State::Writing)), "{exchange:?}");
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_state_when_its_drain_is_over() {
    let drain = Duration::from_secs(3);
    let told = b"ERR the server is stopping\n";

    let (reading, client, stop) = connection();
    stop.begin(drain);
    let exchange = reading.run(echo).await;
    assert!(matches!(exchange.ended, Ended::Refused(Cause::Stopping)), "{exchange:?}");
    assert_eq!((client.received(), exchange.took), (told.to_vec(), drain));

    let (handling, client, stop) = connection();
    client.send(b"hello");
    stop.begin(drain);
    let exchange = handling.run(never).await;
    assert!(matches!(exchange.ended, Ended::Refused(Cause::Stopping)), "{exchange:?}");
    assert_eq!((client.received(), exchange.took), (told.to_vec(), drain));

    let (writing, client, stop) = connection();
    client.send(b"hello");
    client.take_at_most(0);
    stop.begin(drain);
    let exchange = writing.run(echo).await;
    assert!(matches!(exchange.ended, Ended::ReplyNotTaken), "{exchange:?}");
    assert_eq!(exchange.took, drain);
    assert!(client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_can_be_done_within_the_drain_is_done() {
    let (connection, client, stop) = connection();
    let run = tokio::spawn(connection.run(echo));
    stop.begin(Duration::from_secs(3));
    sleep(Duration::from_secs(2)).await;
    client.send(b"hello");
    assert!(matches!(run.await.unwrap().ended, Ended::Answered));
    assert_eq!(client.received(), b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_no_clock_can_hold_is_no_panic() {
    let (connection, client, _stop) = connection_with(|rules| {
        rules.limits.read = Duration::MAX;
        rules.limits.handler = Duration::MAX;
        rules.limits.write = Duration::MAX;
        rules.limits.linger = Duration::MAX;
    });
    client.send(b"hello");
    assert!(matches!(connection.run(echo).await.ended, Ended::Answered));
}
