//! What happened, and whether it may have.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::behaviours::{HANDLER_LATE, Outcome, Wanted};
use crate::exchange::{End, Exchange};
use crate::service::{READ, WRITE};
use crate::target::{Kind, Moment};

/// The shortest that can end a good client's exchange.
const DEADLINE: Duration = if READ.as_nanos() < WRITE.as_nanos() { READ } else { WRITE };

/// So many troubles of a kind are told in full; the rest only counted.
const TOLD: usize = 20;

#[derive(Default)]
pub(crate) struct Tally(Mutex<Figures>);

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) exchanges: u64,
    pub(crate) behaviours: BTreeMap<&'static str, u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) cut: u64,
    pub(crate) refused_in_restart: u64,
    /// Told that their handler is late, as another blocked its thread.
    pub(crate) late_by_another: u64,
    pub(crate) bad: BTreeMap<Trouble, u64>,
    /// Lost as a deadline passed while their server was stopped.
    pub(crate) late_by_stop: u64,
    /// By how much a deadline was passed at most, by the behaviour that ran into it.
    pub(crate) worst: BTreeMap<&'static str, Duration>,
    pub(crate) worst_stop: Duration,
    /// By how much a thread that only sleeps was woken too late at most.
    pub(crate) overslept: Duration,
    /// In percent.
    pub(crate) stolen: Option<u64>,
    pub(crate) memory: BTreeMap<&'static str, [u64; 3]>,
    told: BTreeMap<Trouble, usize>,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A client that saw no end.
    Hung,
    /// A good client without its whole reply, or a refused connection while a server serves.
    Lost,
    /// Bytes that are not what should have come.
    Garbled,
    /// A reply that is no refusal to a request of which only a part was taken.
    Cut,
    Leaked,
    /// A server that did not start, ended by itself or badly, or did not end.
    Server,
    /// A start race that has not exactly one winner.
    Race,
}

impl Tally {
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self, name: &'static str) {
        *self.figures().faults.entry(name).or_default() += 1;
    }

    pub(crate) fn trouble(&self, trouble: Trouble, count: u64, what: &str) {
        let mut figures = self.figures();
        *figures.bad.entry(trouble).or_default() += count;
        let told = figures.told.entry(trouble).or_default();
        *told += 1;
        if *told <= TOLD {
            println!("{trouble:?}: {what}");
        }
    }

    pub(crate) fn overslept(&self, over: Duration) {
        let mut figures = self.figures();
        figures.overslept = figures.overslept.max(over);
    }

    pub(crate) fn memory(&self, kind: Kind, now: u64) {
        let name = if kind == Kind::Echo { "the echo" } else { "unhang serve" };
        let mut figures = self.figures();
        let [_, last, most] = figures.memory.entry(name).or_insert([now; 3]);
        *last = now;
        *most = now.max(*most);
    }

    /// Judges an exchange that has ended, with the moments before and after it.
    pub(crate) fn exchange(
        &self,
        behaviour: &'static str,
        it: &Exchange,
        outcome: &Outcome,
        (before, after): (Moment, Moment),
    ) {
        let frozen = before.frozen_until(after);
        let took = it.took().saturating_sub(frozen);
        let judged = judge(outcome, &it.got);
        {
            let mut figures = self.figures();
            figures.exchanges += 1;
            *figures.behaviours.entry(behaviour).or_default() += 1;
            if judged.is_some_and(|trouble| trouble != Trouble::Hung) && before.killed_until(after)
            {
                figures.cut += 1;
                return;
            }
            if judged == Some(Trouble::Lost) && took < DEADLINE && took + frozen >= DEADLINE {
                figures.late_by_stop += 1;
                return;
            }
            if let (Wanted::Slept(_), None) = (&outcome.wanted, judged) {
                figures.late_by_another += u64::from(is_late(&it.got));
            }
            if let Some(deadline) = outcome.deadline {
                let over = took.saturating_sub(deadline);
                let worst = figures.worst.entry(behaviour).or_default();
                *worst = over.max(*worst);
            }
        }
        if let Some(trouble) = judged {
            let got = it.got[..it.got.len().min(60)].escape_ascii();
            let (sent, length, end) = (it.sent, it.got.len(), &outcome.end);
            let what = format!(
                "{behaviour}: sent {sent} bytes, got {length}: \"{got}\", then {end} after {took:?}, \
                 and {frozen:?} in which the server was stopped"
            );
            self.trouble(trouble, 1, &what);
        }
    }
}

fn judge(outcome: &Outcome, got: &[u8]) -> Option<Trouble> {
    let closed = match outcome.end {
        End::Hung => return Some(Trouble::Hung),
        End::Closed => true,
        End::Left | End::Lost(_) => false,
    };
    let stopping = got == b"ERR the server is stopping\n";
    match &outcome.wanted {
        Wanted::Nothing => None,
        Wanted::Told => match () {
            () if got.is_empty() => Some(Trouble::Lost),
            () => (!got.starts_with(b"ERR ")).then_some(Trouble::Cut),
        },
        Wanted::TimeOrTold if got.starts_with(b"ERR ") => None,
        Wanted::PartOf(_) if stopping => None,
        Wanted::PartOf(whole) => (!whole.starts_with(got)).then_some(Trouble::Garbled),
        Wanted::Refusal(reason) => {
            let line = format!("ERR {reason}\n");
            whole(line.as_bytes(), got, closed).filter(|_| !(stopping && closed))
        }
        Wanted::Slept(_) if is_late(got) && closed => None,
        Wanted::Reply(reply) | Wanted::Slept(reply) => whole(reply, got, closed),
        Wanted::Time | Wanted::TimeOrTold => {
            let time = got.starts_with(b"OK+ at ") && got.ends_with(b"\n") && got.len() == 43;
            match (time && closed, got.is_empty() || got.starts_with(b"ERR ")) {
                (true, _) => None,
                (false, lost) => Some(if lost || time { Trouble::Lost } else { Trouble::Garbled }),
            }
        }
    }
}

fn is_late(got: &[u8]) -> bool {
    got == format!("ERR {HANDLER_LATE}\n").as_bytes()
}

/// Refused, or cut, is lost; anything else is garbled.
fn whole(wanted: &[u8], got: &[u8], closed: bool) -> Option<Trouble> {
    match () {
        () if got == wanted && closed => None,
        () if wanted.starts_with(got) || got.starts_with(b"ERR ") => Some(Trouble::Lost),
        () => Some(Trouble::Garbled),
    }
}
