//! A look goes before the processes that it looks at, if the kernel lets it.

use std::time::Duration;

use rustix::process::{Resource, getpriority_process, setpriority_process};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::resource_limit;

/// The lowest that goes before all others. `nice` is not enough: where each session has its own share of the processors
/// (autogroup, sched(7)), it counts among the processes of one terminal only. At equal priority looks take turns.
const BEFORE_OTHERS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);

const AS_OTHERS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);

/// So much of a processor it gets before others: what a look at some hundred processes takes. Processes with thousands of
/// sockets and threads take seconds, and for these nobody else would get that processor.
const BUDGET: Duration = Duration::from_millis(200);

/// In microseconds, without waiting for anything. A look takes some tenths of a second of a processor, of a machine with
/// thousands of listeners a second, and waits in between. One that goes on is broken: it is ended, and the kernel leaves
/// others a twentieth of the processor until then.
const ON_END: u64 = 5_000_000;

/// On a machine whose processors are all taken a look would be over before it had seen anything: of a hundred
/// processes that want one it gets a hundredth. Just there somebody wants to know.
///
/// Only root may (`CAP_SYS_NICE`). The look of another user, or one whose user chose a priority, takes longer and says
/// what it did not reach.
pub(super) fn raise() {
    let is_chosen = getpriority_process(None) != Ok(0);
    if !is_chosen && resource_limit::lower(Resource::Rttime, ON_END).is_ok() {
        let _ =
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, BEFORE_OTHERS);
    }
}

/// Goes on as others do, once its budget is used up. Called between the steps of a look.
pub(super) fn keep_to_budget() {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    if Duration::try_from(used).is_ok_and(|used| used < BUDGET) {
        return;
    }
    let is_ahead = thread_priority::thread_schedule_policy() == Ok(BEFORE_OTHERS);
    if is_ahead
        && set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, AS_OTHERS)
            .is_ok()
    {
        // That was the lowest of them.
        let _ = setpriority_process(None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With thousands of sockets and threads to look at, nobody else got that processor for 950 ms.
    #[test]
    fn a_look_that_takes_long_goes_on_as_others_do() {
        if !rustix::process::getuid().is_root() || getpriority_process(None) != Ok(0) {
            eprintln!("skipped: only root may go before others, and not if a priority was chosen");
            return;
        }
        // A priority is a thread's own.
        let look = std::thread::spawn(|| {
            let policy = || thread_priority::thread_schedule_policy();
            raise();
            keep_to_budget();
            assert_eq!(policy(), Ok(BEFORE_OTHERS));
            while policy() == Ok(BEFORE_OTHERS) {
                keep_to_budget();
            }
            assert_eq!((policy(), getpriority_process(None)), (Ok(AS_OTHERS), Ok(0)));
        });
        look.join().unwrap();
    }
}
