//! A look goes before the processes that it looks at, if the kernel lets it, and leaves them the processor in between.

use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getpriority_process, getrlimit, setpriority_process};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    Error, NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadId, ThreadPriority,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use super::resource_limit;

/// `nice` is not enough: where each session has its own share of the processors (autogroup, sched(7)), it counts among the
/// processes of one terminal only. At equal priority looks take turns.
const BEFORE_OTHERS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);

const AS_OTHERS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);

/// Before others it goes for so long at a time: who has the processor taken away waits half as long for one that is free
/// again as a turn of the kernel's own takes (`SCHED_RR`: 100 ms).
const TURN: Duration = Duration::from_millis(50);

/// And then as others do for so long: one or two of those that had to wait get a turn of the kernel's usual ones (3 ms).
const PAUSE: Duration = Duration::from_millis(5);

/// So much of a processor it takes before others, and so does each helper: nearly all of the usual `--deadline`. What a
/// longer one leaves to do, as with thousands of processes, it does as others do.
const BUDGET: Duration = Duration::from_secs(2);

/// In microseconds before others, without waiting for anything. One that goes on past its budget is broken: the kernel ends
/// it, and leaves others a twentieth of the processor until then.
const ON_END: u64 = 5_000_000;

/// On a machine whose processors are all taken a look would be over before it had seen anything: of a hundred
/// processes that want one it gets a hundredth. Just there somebody wants to know.
///
/// Only root may (`CAP_SYS_NICE`). The look of another user, or one whose user chose a priority, takes longer and says
/// what it did not reach. Called by the first thread, which looks.
pub(super) fn raise() {
    let is_chosen = getpriority_process(None) != Ok(0);
    if !is_chosen && resource_limit::lower(Resource::Rttime, ON_END).is_ok() {
        // Refused, it goes on as others do.
        let _ = take_turns_for(BUDGET);
    }
}

/// For a helper, if the look that has started it goes before others: then it has that limit.
pub(super) fn raise_as_parent() {
    if getrlimit(Resource::Rttime).current == Some(ON_END) {
        raise();
    }
}

/// The thread that takes the priority away and gives it back: a look may be long in one step.
fn take_turns_for(budget: Duration) -> Result<thread::JoinHandle<()>, Error> {
    let look = thread_native_id();
    go_before_others(look, ThreadPriority::Min)?;
    let take_turns = move || {
        let used =
            || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        let until = used() + budget;
        // It sleeps nearly all the time, and has to go before the look.
        let first = ThreadPriority::try_from(2).unwrap_or(ThreadPriority::Max);
        let is_first = go_before_others(thread_native_id(), first).is_ok();
        while is_first && used() < until {
            thread::sleep(TURN);
            let paused = go_as_others(look);
            thread::sleep(PAUSE);
            if paused.is_err() || go_before_others(look, ThreadPriority::Min).is_err() {
                break;
            }
        }
        let _ = go_as_others(look);
        // Helpers that are started from now on look for the limit.
        let _ = resource_limit::lower(Resource::Rttime, ON_END - 1);
    };
    let turns = thread::Builder::new().name("turns".to_owned()).stack_size(64 << 10);
    turns.spawn(take_turns).or_else(|_| {
        go_as_others(look)?;
        // Here, the look is the calling thread.
        let _ = setpriority_process(None, 0);
        Err(Error::Priority("without a thread that takes it away"))
    })
}

fn go_before_others(thread: ThreadId, priority: ThreadPriority) -> Result<(), Error> {
    set_thread_priority_and_policy(thread, priority, BEFORE_OTHERS)
}

/// It also sets `nice`, but that of the calling thread, which is the one for the turns: to it that is nothing.
fn go_as_others(thread: ThreadId) -> Result<(), Error> {
    set_thread_priority_and_policy(thread, ThreadPriority::Max, AS_OTHERS)
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    /// With thousands of sockets and threads to look at, nobody else got that processor for 950 ms.
    #[test]
    fn a_look_before_others_goes_as_they_do_in_between_and_in_the_end() {
        if !rustix::process::getuid().is_root() || getpriority_process(None) != Ok(0) {
            eprintln!("skipped: only root may go before others, and not if a priority was chosen");
            return;
        }
        // A priority is a thread's own.
        let look = thread::spawn(|| {
            // Of the whole process, in which other tests compute.
            let turns = take_turns_for(20 * TURN).unwrap();
            let mut seen = vec![thread_schedule_policy().unwrap()];
            while !turns.is_finished() {
                let policy = thread_schedule_policy().unwrap();
                if seen.last() != Some(&policy) {
                    seen.push(policy);
                }
            }
            turns.join().unwrap();
            let wanted = [BEFORE_OTHERS, AS_OTHERS, BEFORE_OTHERS];
            assert!(seen.windows(3).any(|policies| policies == wanted), "{seen:?}");
            assert_eq!(thread_schedule_policy(), Ok(AS_OTHERS));
            assert_eq!(getpriority_process(None), Ok(0));
        });
        look.join().unwrap();
    }
}
