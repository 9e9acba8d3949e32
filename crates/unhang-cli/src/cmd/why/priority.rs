//! A look goes before the processes that it looks at, if the kernel lets it.

use rustix::process::{Resource, getpriority_process};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::resource_limit;

/// The lowest that goes before all others. `nice` is not enough: where each session has its own share of the processors
/// (autogroup, sched(7)), it counts among the processes of one terminal only. At equal priority looks take turns.
const BEFORE_OTHERS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);

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
