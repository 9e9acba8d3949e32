//! A Go program's goroutines and their stacks.

use super::super::location::Frame;
use super::super::memory::{Address, Memory};
use super::functions::{Function, Functions};
use super::layout::Layout;

/// The low bits of `atomicstatus` (runtime2.go); above them is whether the collector looks at it.
mod status {
    pub(super) const MASK: u32 = 0xfff;
    pub(super) const IDLE: u32 = 0;
    pub(super) const RUNNABLE: u32 = 1;
    pub(super) const WAITING: u32 = 4;
    pub(super) const DEAD: u32 = 6;
    pub(super) const PREEMPTED: u32 = 9;
    /// Since 1.26. Leaked: it waits for what nobody will do.
    pub(super) const LEAKED: u32 = 10;
    pub(super) const DEAD_EXTRA: u32 = 11;
}

/// As much of a `g` as is looked at.
const G_SIZE: usize = 320;
/// With more goroutines than these, counting them takes too long to be one moment's picture.
const MOST_GOROUTINES: u64 = 1 << 17;
/// How far up a stack is looked at.
const MOST_FRAMES: usize = 64;
const MOST_STACK: u64 = 64 << 10;

/// A stack that does not lead up to where all begin, as when its goroutine runs meanwhile.
const TORN: &str = "a goroutine's stack does not fit";

/// The goroutines of a program.
pub(super) struct Goroutines<'a> {
    memory: &'a Memory,
    functions: &'a Functions<'a>,
    layout: Layout,
    /// Where `runtime.allgs` lies, the slice of all goroutines that there have ever been.
    all: Address,
}

/// What a `g` says.
struct Goroutine {
    id: u64,
    status: u32,
    start_pc: Address,
    stack_end: Address,
    sp: Address,
    pc: Address,
    bp: Address,
}

/// A goroutine that waits.
pub(super) struct Waiting {
    pub(super) id: u64,
    /// Innermost first; how the runtime parks it is left out.
    calls: Vec<Call>,
    /// It waits in a `select` with more than one case.
    pub(super) selects: bool,
}

impl Waiting {
    /// Its functions, innermost first.
    pub(super) fn names(&self) -> Vec<String> {
        self.calls.iter().flat_map(|call| call.function.names()).cloned().collect()
    }
}

/// The calls of one goroutine.
pub(super) struct Calls(Vec<Call>);

impl Calls {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|call| call.function.names().any(|one| one == name))
    }
}

/// A function that has not returned, and where in it the goroutine is.
struct Call {
    pc: Address,
    function: Function,
}

impl<'a> Goroutines<'a> {
    /// Finds `runtime.allgs` among the program's variables: the longest slice of goroutines that
    /// begins with the main one. While the collector runs, it has a slice of the first of them.
    pub(super) fn find(
        memory: &'a Memory,
        functions: &'a Functions<'a>,
        layout: Layout,
    ) -> Result<Self, String> {
        let mut goroutines = Self { memory, functions, layout, all: Address::default() };
        let mut longest = None;
        functions.search_variables::<()>(3, |at, words| {
            let [first, length, capacity] = *words else { return None };
            let is_slice = (1..=capacity).contains(&length) && capacity < u64::from(u32::MAX);
            if is_slice && goroutines.is_main(Address(first)).unwrap_or_default() {
                longest = longest.max(Some((length, at)));
            }
            None
        });
        let (_, all) = longest.ok_or("its goroutines were not found")?;
        goroutines.all = all;
        Ok(goroutines)
    }

    /// The main goroutine is the first, for ever. Its number and function prove the layout.
    fn is_main(&self, first: Address) -> Result<bool, String> {
        let goroutine = self.read(self.memory.follow(first)?)?;
        let start = self.functions.at(goroutine.start_pc)?;
        Ok(goroutine.id == 1
            && start.is_some_and(|function| {
                function.name == "runtime.main" && function.entry == goroutine.start_pc
            }))
    }

    /// A goroutine that waits, and its calls.
    pub(super) fn waiting(&self, at: Address) -> Result<Waiting, String> {
        let goroutine = self.read(at)?;
        if goroutine.status != status::WAITING || goroutine.id == 0 {
            return Err("the goroutine that reads does not wait".to_owned());
        }
        let calls = self.calls(&goroutine)?;
        let after = self.read(at)?;
        if (after.id, after.sp, after.pc) != (goroutine.id, goroutine.sp, goroutine.pc) {
            return Err("the goroutine that reads is running".to_owned());
        }
        let is_parking = |call: &Call| {
            let name = &call.function.name;
            name.starts_with("runtime.") || name.starts_with("internal/poll.runtime_")
        };
        let selects = calls.iter().any(|call| call.function.name == "runtime.selectgo");
        let calls: Vec<_> = calls.into_iter().skip_while(is_parking).collect();
        match calls.is_empty() {
            true => Err("the stack of the goroutine that reads does not fit".to_owned()),
            false => Ok(Waiting { id: goroutine.id, calls, selects }),
        }
    }

    /// All that wait and are not the runtime's own. One that moves on meanwhile is left out.
    pub(super) fn all_waiting(&self) -> Result<Vec<Waiting>, String> {
        let every = self.every()?;
        let may_own = |at: &Address| self.read(*at).and_then(|one| self.may_own(&one));
        let owners = every.into_iter().filter(|at| may_own(at).unwrap_or_default());
        Ok(owners.filter_map(|at| self.waiting(at).ok()).collect())
    }

    /// A waiting goroutine's stack and calls, of all those for which `is_wanted` holds, which is told
    /// the function that each began with.
    pub(super) fn each_waiting(
        &self,
        most: usize,
        is_wanted: impl Fn(&str) -> bool,
        mut take: impl FnMut(Address, &Calls, &[u8]),
    ) -> Result<(), String> {
        let mut taken = 0;
        for at in self.every()? {
            let Ok(goroutine) = self.read(at) else { continue };
            if goroutine.status != status::WAITING {
                continue;
            }
            let start = self.functions.at(goroutine.start_pc)?;
            if !start.is_some_and(|function| is_wanted(&function.name)) {
                continue;
            }
            let (Ok(calls), Ok(stack)) =
                (self.calls(&goroutine), self.stack(&goroutine, MOST_STACK))
            else {
                continue;
            };
            take(at, &Calls(calls), &stack);
            taken += 1;
            if taken == most {
                break;
            }
        }
        Ok(())
    }

    /// What lies on its stack.
    pub(super) fn words(&self, at: Address) -> Result<Vec<u64>, String> {
        let stack = self.stack(&self.read(at)?, MOST_STACK)?;
        Ok(stack.chunks_exact(8).map(|one| word(one, 0)).collect())
    }

    /// How many goroutines may one day do something with a connection that none of them reads now.
    pub(super) fn possible_owners(&self) -> Result<usize, String> {
        let mut owners = 0;
        for at in self.every()? {
            let goroutine = self.read(at)?;
            owners += usize::from(self.may_own(&goroutine)?);
        }
        Ok(owners)
    }

    fn every(&self) -> Result<Vec<Address>, String> {
        let count = self.memory.u64(self.all + 8)?;
        if count > MOST_GOROUTINES {
            return Err(format!("it has more than {MOST_GOROUTINES} goroutines"));
        }
        let length = usize::try_from(count * 8).map_err(|_| "its goroutines do not fit")?;
        let all = self.memory.bytes(self.memory.follow(self.all)?, length)?;
        Ok(all.chunks_exact(8).map(|pointer| Address(word(pointer, 0))).collect())
    }

    fn may_own(&self, goroutine: &Goroutine) -> Result<bool, String> {
        if [status::IDLE, status::DEAD, status::DEAD_EXTRA].contains(&goroutine.status) {
            return Ok(false);
        }
        let start = self.functions.at(goroutine.start_pc)?;
        let start = start.map_or_else(String::new, |function| function.name);
        // As `isSystemGoroutine` (traceback.go) has it, and those that wait for signals.
        let is_the_runtimes = start.starts_with("runtime.")
            && !["runtime.main", "runtime.corostart"].contains(&&*start);
        if is_the_runtimes || start.starts_with("os/signal.") {
            return Ok(false);
        }
        // The stack of a running one cannot be read: it might.
        let stands = [status::RUNNABLE, status::WAITING, status::PREEMPTED, status::LEAKED];
        if !stands.contains(&goroutine.status) {
            return Ok(true);
        }
        let waits_for_others = |call: &Call| {
            // The next connection, or `select {}`.
            let waits = ["internal/poll.(*FD).Accept", "runtime.block"];
            call.function.names().any(|name| waits.contains(&&**name))
        };
        // One that has moved on meanwhile might, too.
        Ok(!self.calls(goroutine).is_ok_and(|calls| calls.iter().any(waits_for_others)))
    }

    /// Its calls with the lines that they are at, those that are inlined too.
    pub(super) fn lines(&self, waiting: &Waiting) -> Vec<Frame> {
        let calls = waiting.calls.iter();
        calls.flat_map(|call| self.functions.calls(&call.function, call.pc)).collect()
    }

    /// The lower part of its stack, where the innermost calls are.
    fn stack(&self, goroutine: &Goroutine, most: u64) -> Result<Vec<u8>, String> {
        let end = goroutine.stack_end.min(goroutine.sp + most);
        let size = end.0.checked_sub(goroutine.sp.0).ok_or(TORN)?;
        self.memory.bytes(goroutine.sp, usize::try_from(size).map_err(|_| TORN)?)
    }

    /// Follows the frame pointers up the stack: each leads to the caller's, and behind it lies where
    /// the function returns to.
    fn calls(&self, goroutine: &Goroutine) -> Result<Vec<Call>, String> {
        let end = goroutine.stack_end.min(goroutine.sp + MOST_STACK);
        let above = |place: Address| place.0.checked_sub(goroutine.sp.0)?.try_into().ok();
        let stack = self.stack(goroutine, MOST_STACK)?;
        let mut calls = Vec::new();
        let (mut pc, mut bp) = (goroutine.pc, goroutine.bp);
        while calls.len() < MOST_FRAMES {
            // It is where the call returns to: the call itself lies before.
            let at = Address(pc.0.wrapping_sub(1));
            let function = self.functions.at(at)?.ok_or(TORN)?;
            if function.name == "runtime.goexit" {
                return Ok(calls);
            }
            calls.push(Call { pc: at, function });
            let frame = above(bp).and_then(|offset: usize| stack.get(offset..)?.get(..16));
            let Some(frame) = frame else {
                // Higher up than is looked at, or nowhere.
                return if bp >= end && end < goroutine.stack_end {
                    Ok(calls)
                } else {
                    Err(TORN.to_owned())
                };
            };
            let caller = Address(word(frame, 0));
            pc = Address(word(frame, 8));
            // Only upwards: a torn stack must not lead in a circle.
            bp = if caller > bp { caller } else { Address::default() };
        }
        Ok(calls)
    }

    fn read(&self, at: Address) -> Result<Goroutine, String> {
        let Layout { sched, bp, status, goid, start_pc, .. } = self.layout;
        let bytes = self.memory.bytes(at, G_SIZE)?;
        let place = |at| Address(word(&bytes, at));
        Ok(Goroutine {
            id: word(&bytes, goid),
            status: u32::try_from(word(&bytes, status) & u64::from(status::MASK))
                .unwrap_or_default(),
            start_pc: place(start_pc),
            stack_end: place(8),
            sp: place(sched),
            pc: place(sched + 8),
            bp: place(sched + bp),
        })
    }
}

/// Eight bytes at the offset; zero if there are none.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |&word| u64::from_le_bytes(word))
}
