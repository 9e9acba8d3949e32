//! Time and tasks of a simulated world. No time passes but when all tasks wait: then it goes on to the
//! next moment that one waits for. So a minute takes as long as what happens in it.
//!
//! A task may block: the world goes on around it, as it does around a thread that is blocked.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    static CLOCK: RefCell<Option<Arc<Clock>>> = const { RefCell::new(None) };
}

/// The clock of one world.
pub(crate) struct Clock(Mutex<State>);

struct State {
    now: Instant,
    /// Other events of one moment come in the order in which they were asked for.
    timers: BTreeMap<(Instant, u64), Waker>,
    tasks: BTreeMap<u64, Slot>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    next: u64,
    /// Which of the tasks that could run, does.
    rng: Rng,
    /// How often a task has run while time stood still.
    runs: u32,
}

enum Slot {
    /// With its waker, which lives as long as the task does.
    Waits(Task, Waker),
    Runs,
    /// It was ended while it ran.
    Ended,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

/// A task by which it can be ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskId(u64);

/// Has `world` live on a clock of its own. The same seed gives the same order of tasks.
pub(crate) fn live<T>(seed: u64, world: impl FnOnce() -> T) -> T {
    let clock = Clock(Mutex::new(State {
        now: Instant::now(),
        timers: BTreeMap::new(),
        tasks: BTreeMap::new(),
        ready: Arc::default(),
        next: 0,
        rng: Rng::with_seed(seed),
        runs: 0,
    }));
    CLOCK.set(Some(Arc::new(clock)));
    let lived = world();
    // Values of tasks may still ask for the time as they are dropped.
    let left = std::mem::take(&mut current().state().tasks);
    drop(left);
    CLOCK.set(None);
    lived
}

fn current() -> Arc<Clock> {
    CLOCK.with_borrow(|clock| clock.clone().expect("called in a simulated world"))
}

/// As `current`, without a count of its users: this is asked for in each call of a socket.
fn with_state<T>(use_it: impl FnOnce(&mut State) -> T) -> T {
    CLOCK.with_borrow(|clock| {
        use_it(&mut clock.as_ref().expect("called in a simulated world").state())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now() -> Instant {
    with_state(|state| state.now)
}

/// Has time go on by so much, whatever is waited for.
#[cfg(fuzzing)]
pub(crate) fn pass(duration: Duration) {
    current().state().now += duration;
}

pub(crate) async fn sleep(duration: Duration) {
    sleep_until(now() + duration).await;
}

pub(crate) async fn sleep_until(then: Instant) {
    let mut timer = Timer(None);
    poll_fn(|cx| {
        with_state(|state| {
            if state.now >= then {
                return Poll::Ready(());
            }
            let next = state.next + 1;
            state.next = next;
            // Asked again, perhaps by another task.
            let key = *timer.0.get_or_insert((then, next));
            state.timers.insert(key, cx.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

/// Left behind, it would wake its task for nothing: and a thread that is woken waits anew, with a timer more.
struct Timer(Option<(Instant, u64)>);

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(key) = self.0 else { return };
        // Without a clock, the world is over.
        let clock = CLOCK.with_borrow(Clone::clone);
        let waker = clock.and_then(|clock| clock.state().timers.remove(&key));
        drop(waker);
    }
}

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> TaskId {
    let task = Box::pin(task);
    with_state(|state| {
        state.next += 1;
        let id = state.next;
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&state.ready) }));
        state.tasks.insert(id, Slot::Waits(task, waker));
        lock(&state.ready).push_back(id);
        TaskId(id)
    })
}

/// Ends a task where it waits.
pub(crate) fn abort(TaskId(id): TaskId) {
    let clock = current();
    let mut state = clock.state();
    let ended = match state.tasks.get_mut(&id) {
        Some(slot @ Slot::Runs) => {
            *slot = Slot::Ended;
            None
        }
        Some(Slot::Waits(..)) => state.tasks.remove(&id),
        _ => None,
    };
    drop(state);
    drop(ended);
}

/// One that nothing else in this world has.
pub(crate) fn number() -> u64 {
    with_state(|state| {
        state.next += 1;
        state.next
    })
}

/// How many tasks there are.
pub(crate) fn tasks() -> usize {
    current().state().tasks.len()
}

/// Blocks the calling task until then; all others go on.
pub(crate) fn block_until(then: Instant) {
    let wakes = Waker::noop().clone();
    let clock = current();
    let key = {
        let mut state = clock.state();
        state.next += 1;
        let key = (then, state.next);
        state.timers.insert(key, wakes);
        key
    };
    while clock.state().now < then {
        assert!(clock.go_on(), "time goes on to what was waited for: {key:?}");
    }
}

/// Lives until `done`, or until nothing happens any more. Whether it was done.
pub(crate) fn run_until(mut done: impl FnMut() -> bool) -> bool {
    let clock = current();
    while !done() {
        if !clock.go_on() {
            return done();
        }
    }
    true
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Runs one task, or has time go on to the next moment. False if nothing is waited for.
    fn go_on(&self) -> bool {
        let Some((id, mut task, waker)) = self.next_task() else { return self.pass_time() };
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state();
        match state.tasks.get_mut(&id) {
            Some(slot @ Slot::Runs) if polled.is_pending() => {
                *slot = Slot::Waits(task, waker);
                return true;
            }
            _ => state.tasks.remove(&id),
        };
        drop(state);
        drop(task);
        true
    }

    fn next_task(&self) -> Option<(u64, Task, Waker)> {
        let mut state = self.state();
        let State { tasks, ready, rng, runs, .. } = &mut *state;
        let mut ready = lock(ready);
        loop {
            // A task that is blocked keeps its place in the line until it is back.
            let is_able = |id: &&u64| !matches!(tasks.get(id), Some(Slot::Runs));
            let able = ready.iter().filter(is_able).count();
            let nth = rng.usize(..able.max(1));
            let (at, _) = ready.iter().enumerate().filter(|(_, id)| is_able(id)).nth(nth)?;
            let id = ready.remove(at)?;
            *runs += 1;
            assert!(*runs < 1_000_000, "the world spins");
            let slot = tasks.get_mut(&id);
            // Without a slot, it was woken when it was over.
            if let Some(slot) = slot {
                if let Slot::Waits(task, waker) = std::mem::replace(slot, Slot::Runs) {
                    return Some((id, task, waker));
                }
            }
        }
    }

    fn pass_time(&self) -> bool {
        let mut state = self.state();
        let Some((&(then, _), _)) = state.timers.first_key_value() else { return false };
        if then > state.now {
            (state.now, state.runs) = (then, 0);
        }
        let mut due = Vec::new();
        while let Some(entry) = state.timers.first_entry().filter(|entry| entry.key().0 <= then) {
            due.push(entry.remove());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

#[test]
fn a_task_that_blocks_holds_up_no_other() {
    live(0, || {
        let begun = now();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        spawn(async move {
            block_until(begun + Duration::from_secs(2));
            lock(&tell).push(("blocked", now() - begun));
        });
        let tell = Arc::clone(&told);
        spawn(async move {
            sleep(Duration::from_secs(1)).await;
            lock(&tell).push(("slept", now() - begun));
        });
        assert!(run_until(|| tasks() == 0));
        let secs = Duration::from_secs;
        assert_eq!(*lock(&told), [("slept", secs(1)), ("blocked", secs(2))]);
    });
}
