//! The gate: of two samples, only what is the same in both counts as standing still.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::{LEFT, Socket, State};

/// How a thread moved between two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It has not run between the two, or only as the timeout of its call ran out.
    Still,
    /// In the same call in both, and it woke once or twice a second between, as a clock makes it: it is not
    /// at work, but something may have passed.
    Ticking,
    /// On a CPU, or ready for one, in both, and it went to sleep hardly ever.
    Computing,
    /// Ready for a CPU all the while, and it got hardly any of one.
    Starved,
    Moving,
}

/// Which sockets of this sample are as they were in the one before.
pub(crate) fn unchanged(before: &HashMap<u32, Socket>, now: &HashMap<u32, Socket>) -> HashSet<u32> {
    let is_same = |inode: &u32, socket: &Socket| {
        before.get(inode).is_some_and(|before| is_still(before, socket))
    };
    now.iter().filter(|(inode, socket)| is_same(inode, socket)).map(|(inode, _)| *inode).collect()
}

/// A listener stands still when each client is still in its place: others may have come and some
/// have left, but nobody was accepted.
fn is_still(before: &Socket, now: &Socket) -> bool {
    let stays = |(was, is): (&u32, &u32)| is == was || *is == LEFT;
    match now.state {
        State::Listening => {
            before.cookie == now.cookie
                && before.pending.len() <= now.pending.len()
                && before.pending.iter().zip(&now.pending).all(stays)
        }
        _ => before == now,
    }
}

/// A thread that woke no more often in a second is not at work.
const TICKS: f64 = 2.0;
/// A thread that goes to sleep this often in a second does not compute.
const BUSY_SLEEPS: f64 = 50.0;
/// A thread that computes gets this share of a CPU, even if it goes to sleep now and then.
const COMPUTING: f64 = 0.2;

/// What a thread did from one sample to the next.
pub(crate) fn activity(before: &Thread, now: &Thread, window: Duration) -> Activity {
    let seconds = window.as_secs_f64().max(0.001);
    let slept = now.sleeps.saturating_sub(before.sleeps);
    let runs = |thread: &Thread| thread.state == 'R';
    let stays = !runs(before) && !runs(now) && before.call == now.call;
    let has_run = slept > 0 || now.ran > before.ran;
    if stays && (!has_run || is_only_its_timeout(before, now, slept)) {
        return Activity::Still;
    }
    #[allow(clippy::cast_precision_loss)]
    let times = slept as f64;
    if stays && times <= (TICKS * seconds).max(1.0) {
        return Activity::Ticking;
    }
    let hardly_slept = times <= (BUSY_SLEEPS * seconds).max(1.0);
    let is_ready = hardly_slept && runs(before) && runs(now);
    let has_share = now.ran - before.ran > COMPUTING * seconds * 1_000.0;
    match (is_ready, has_share) {
        (true, true) => Activity::Computing,
        // One that never slept was ready for a CPU all the while, and on a crowded machine got none.
        (true, false) if slept == 0 => Activity::Starved,
        _ => Activity::Moving,
    }
}

/// It woke only as its own timeout ran out: each time after exactly that long. An answer in between
/// would have woken it at another moment.
fn is_only_its_timeout(before: &Thread, now: &Thread, slept: u64) -> bool {
    /// So late a timer may be on a loaded machine, besides a tenth of its time.
    const LATE: Duration = Duration::from_millis(15);
    /// A shorter one is told from an answer by nothing.
    const SHORTEST: Duration = Duration::from_millis(100);
    let ran_at = |thread: &Thread| thread.read_at?.checked_sub(thread.since?);
    let (Some(timeout), Some(first), Some(last)) = (now.timeout, ran_at(before), ran_at(now))
    else {
        return false;
    };
    let Ok(times) = u32::try_from(slept) else { return false };
    if before.timeout != now.timeout || timeout < SHORTEST || times == 0 {
        return false;
    }
    let expected = timeout * times;
    let passed = last.saturating_duration_since(first);
    passed + LATE >= expected && passed <= expected + LATE * times + expected / 10
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cmd::why::see::process::call::Call;

    fn thread(state: char, call: Call, sleeps: u64, ran: f64) -> Thread {
        Thread { state, call, ran, sleeps, ..Thread::default() }
    }

    #[test]
    fn only_a_thread_that_has_not_run_stands_still() {
        let half = Duration::from_millis(500);
        let asleep = thread('S', Call::Read(4), 10, 5.0);
        let judged = |now| activity(&asleep, &now, half);
        assert_eq!(judged(thread('S', Call::Read(4), 10, 5.0)), Activity::Still);
        // Regression: a thread that answered up to 25 requests in the window was said to sleep.
        assert_eq!(judged(thread('S', Call::Read(4), 11, 5.1)), Activity::Ticking);
        assert_eq!(judged(thread('S', Call::Read(4), 12, 5.1)), Activity::Moving);
        assert_eq!(judged(thread('S', Call::Read(5), 10, 5.0)), Activity::Moving);
        assert_eq!(judged(thread('R', Call::None, 10, 5.0)), Activity::Moving);
    }

    /// As curl does, which wakes once a second to see whether its time is up.
    #[test]
    fn a_thread_that_wakes_only_at_its_own_timeout_stands_still() {
        let (began, ms) = (Instant::now() + Duration::from_secs(9), Duration::from_millis);
        let at = |sleeps: u32, read_at: Duration, since: Duration| Thread {
            timeout: Some(ms(1_000)),
            since: Some(since),
            read_at: Some(began + read_at),
            ..thread('S', Call::Poll(None), sleeps.into(), sleeps.into())
        };
        // It ran 300 ms before the window.
        let before = at(10, ms(0), ms(300));
        let judged = |ran_at: u64, times: u32| {
            let now = at(10 + times, ms(1_500), ms(1_500 - ran_at));
            activity(&before, &now, ms(1_500))
        };
        assert_eq!(judged(700, 1), Activity::Still);
        assert_eq!(judged(790, 1), Activity::Still);
        for ran_at in [0, 300, 600, 900, 1_400] {
            assert_eq!(judged(ran_at, 1), Activity::Ticking, "{ran_at}");
        }
        assert_eq!(judged(700, 2), Activity::Ticking);
        let other = Thread { timeout: Some(ms(900)), ..at(11, ms(1_500), ms(800)) };
        assert_eq!(activity(&before, &other, ms(1_500)), Activity::Ticking);
    }

    #[test]
    fn a_queue_stands_still_while_nobody_is_accepted() {
        let queue = |pending: &[u32]| Socket {
            state: State::Listening,
            pending: pending.to_vec(),
            ..Socket::default()
        };
        let stands = |before: &[u32], now: &[u32]| is_still(&queue(before), &queue(now));
        for now in [&[7, 8][..], &[7, 8, 9], &[LEFT, 8], &[7, LEFT, 9], &[LEFT, LEFT]] {
            assert!(stands(&[7, 8], now), "{now:?}");
        }
        for now in [&[8][..], &[8, 9], &[8, 9, 10], &[]] {
            assert!(!stands(&[7, 8], now), "{now:?}");
        }
        // The first of them was accepted, and turned out to have left.
        assert!(!stands(&[LEFT, 8, 9], &[8, 9, 10]) && !stands(&[LEFT, LEFT], &[LEFT]));
        assert!(!stands(&[LEFT, 8, 9], &[LEFT, 9, 10]));
    }

    #[test]
    fn a_thread_computes_when_it_runs_all_the_while() {
        let half = Duration::from_millis(500);
        let runs = thread('R', Call::None, 10, 1_000.0);
        let judged = |now| activity(&runs, &now, half);
        assert_eq!(judged(thread('R', Call::None, 11, 1_400.0)), Activity::Computing);
        assert_eq!(judged(thread('R', Call::None, 11, 1_050.0)), Activity::Moving);
        assert_eq!(judged(thread('R', Call::None, 99, 1_400.0)), Activity::Moving);
    }

    /// It was said to move, and its client, with certainty, not to hang; then to compute, and its client to hang.
    #[test]
    fn a_thread_that_is_ready_all_the_while_and_gets_no_cpu_is_starved() {
        let window = Duration::from_millis(100);
        let runs = thread('R', Call::None, 10, 1_000.0);
        assert_eq!(activity(&runs, &runs, window), Activity::Starved);
        let some = |ran| activity(&runs, &thread('R', Call::None, 10, 1_000.0 + ran), window);
        assert_eq!((some(19.0), some(21.0)), (Activity::Starved, Activity::Computing));
        assert_eq!(
            activity(&runs, &thread('S', Call::None, 11, 1_001.0), window),
            Activity::Moving
        );
    }
}
