//! What is done to a server while its clients are at it.

use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::exchange::PATIENCE;
use crate::service::DRAIN;
use crate::tally::{Tally, Trouble};
use crate::target::{Kind, LogReading, Process, Target, answers};
use crate::{clients, pressure, race};

/// A round of load, after which all is quiet and the server is looked at.
const ROUND: Duration = Duration::from_secs(15);

/// One after the other without a pause, in each round in which servers change.
const BURST: usize = 100;
const RACES: usize = 40;
const LONELY: usize = 20;

/// What a server may take beyond its drain: the last lines of its log, and a busy machine.
const GRACE: Duration = Duration::from_secs(8);

/// Client processes beside the threads, there to be killed.
const DOOMED: usize = 4;

pub(crate) struct Faults<'a> {
    target: &'a Target,
    tally: &'a Tally,
    done: &'a AtomicBool,
    rng: Rng,
    server: Process,
    /// Those that were replaced, and are to end.
    leaving: Vec<Process>,
    doomed: Vec<Child>,
    /// Descriptors of a server that has had no load: one that was just started, and a successor.
    at_rest: [usize; 2],
}

impl<'a> Faults<'a> {
    pub(crate) fn begin(
        target: &'a Target,
        tally: &'a Tally,
        rng: Rng,
        done: &'a AtomicBool,
    ) -> io::Result<Self> {
        let server = target.start(false)?;
        let (leaving, doomed) = (Vec::new(), Vec::new());
        let mut all = Self { target, tally, done, rng, server, leaving, doomed, at_rest: [0; 2] };
        for successor in [false, true] {
            if successor {
                all.replace()?;
            }
            answers(&target.path);
            // It closes after we have seen the end.
            sleep(Duration::from_millis(300));
            all.at_rest[usize::from(successor)] = all.server.descriptors();
        }
        tally.memory(target.kind, all.server.memory());
        Ok(all)
    }

    /// Rounds, by turns with servers that stay, which shows what they leak, and servers that change.
    pub(crate) fn run(mut self, until: Instant) -> io::Result<()> {
        let mut steady = true;
        while Instant::now() < until && !self.done.load(Relaxed) {
            self.round(steady, until.min(Instant::now() + ROUND))?;
            steady = !steady;
        }
        self.restart()?;
        let begun = Instant::now();
        while !self.leaving.is_empty() && begun.elapsed() < DRAIN + 2 * GRACE {
            self.see_off();
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn round(&mut self, steady: bool, until: Instant) -> io::Result<()> {
        self.target.open(true);
        for _ in 0..DOOMED {
            self.doomed.push(clients::spawn(self.target, self.rng.u64(..))?);
        }
        while Instant::now() < until && !self.done.load(Relaxed) {
            sleep(Duration::from_millis(self.rng.u64(100..1000)));
            self.see_off();
            match self.rng.u32(0..if steady { 6 } else { 12 }) {
                0 => self.freeze(),
                1 => self.hold_up_log(),
                2 | 3 => self.kill_client()?,
                4 => self.stop_client(),
                5 => self.press(),
                6 => self.restart()?,
                7 => self.kill()?,
                8 => self.end_successor()?,
                _ => self.replace()?,
            }
        }
        if !steady {
            for _ in 0..BURST {
                self.replace()?;
                self.see_off();
            }
            if self.target.kind == Kind::Serve {
                self.races()?;
            }
        }
        self.target.open(false);
        self.doomed.drain(..).for_each(end);
        if !steady {
            self.replace_under_one()?;
        }
        self.look_at_rest();
        Ok(())
    }

    /// Replacements with a single client each, when all others are gone: nobody comes after it, whose
    /// coming would wake a server that has missed it.
    fn replace_under_one(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while !self.target.is_quiet() && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10));
        }
        for _ in 0..LONELY {
            self.replace()?;
            self.see_off();
            sleep(Duration::from_micros(self.rng.u64(0..1000)));
            clients::one(self.target, self.tally, &mut self.rng, true);
        }
        Ok(())
    }

    fn replace(&mut self) -> io::Result<()> {
        self.tally.fault("replacement");
        let mut old = std::mem::replace(&mut self.server, self.target.start(true)?);
        old.leaving = Some(Instant::now());
        self.leaving.push(old);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.tally.fault("restart (SIGTERM)");
        self.target.while_down(|| {
            let begun = Instant::now();
            self.server.signal(Signal::TERM);
            let ended = loop {
                match self.server.ended() {
                    None if begun.elapsed() < DRAIN + GRACE => sleep(Duration::from_millis(2)),
                    ended => break ended,
                }
            };
            let kind = self.target.kind;
            let how = match ended {
                Some(Ok(())) => None,
                Some(Err(how)) => Some(format!("{kind:?}: after SIGTERM it ended badly: {how}")),
                None => Some(format!("{kind:?}: after SIGTERM it did not end")),
            };
            if let Some(how) = how {
                self.tally.trouble(Trouble::Server, 1, &how);
            }
            let over = begun.elapsed().saturating_sub(DRAIN);
            let mut figures = self.tally.figures();
            figures.worst_stop = figures.worst_stop.max(over);
            drop(figures);
            self.server = self.target.start(false)?;
            Ok(())
        })
    }

    fn kill(&mut self) -> io::Result<()> {
        self.tally.fault("server killed");
        let target = self.target;
        target.while_killed(|| {
            self.server.kill();
            // Killed before it has told the old server, that one goes on, and is to be replaced.
            self.server = target.start(!self.leaving.is_empty())?;
            Ok(())
        })
    }

    /// Starts a successor and kills or stops it, wherever it has come to.
    fn end_successor(&mut self) -> io::Result<()> {
        let killed = self.rng.bool();
        self.tally.fault(if killed { "successor killed" } else { "successor stopped" });
        let target = self.target;
        let mut successor = target.spawn(true)?;
        sleep(Duration::from_micros(self.rng.u64(0..30_000)));
        if killed {
            return target.while_killed(|| {
                end_one(&mut successor);
                self.replace()
            });
        }
        target.while_down(|| {
            // Fails only if it has ended.
            let _ = kill_process(Pid::from_child(&successor), Signal::TERM);
            let begun = Instant::now();
            while matches!(successor.try_wait(), Ok(None)) && begun.elapsed() < DRAIN + GRACE {
                sleep(Duration::from_millis(2));
            }
            self.replace()
        })?;
        if matches!(successor.try_wait(), Ok(None)) {
            self.tally.trouble(Trouble::Server, 1, "a successor that was stopped did not end");
            end_one(&mut successor);
        }
        Ok(())
    }

    fn freeze(&mut self) {
        self.tally.fault("server stopped and continued");
        self.target.freeze(&self.server, Duration::from_millis(self.rng.u64(50..1000)));
    }

    fn hold_up_log(&mut self) {
        let (fault, reading) = match self.rng.bool() {
            true => ("log unread for a while", LogReading::Not),
            false => ("log on a slow disk for a while", LogReading::Slowly),
        };
        self.tally.fault(fault);
        self.target.read_log(reading);
        sleep(Duration::from_millis(self.rng.u64(500..3000)));
        self.target.read_log(LogReading::AtOnce);
    }

    fn kill_client(&mut self) -> io::Result<()> {
        self.tally.fault("client killed");
        let at = self.rng.usize(..self.doomed.len());
        let next = clients::spawn(self.target, self.rng.u64(..))?;
        end(std::mem::replace(&mut self.doomed[at], next));
        Ok(())
    }

    fn stop_client(&mut self) {
        self.tally.fault("client stopped and continued");
        let client = Pid::from_child(&self.doomed[self.rng.usize(..self.doomed.len())]);
        // Both fail only if it has ended by itself.
        let _ = kill_process(client, Signal::STOP);
        sleep(Duration::from_millis(self.rng.u64(1..300)));
        let _ = kill_process(client, Signal::CONT);
    }

    fn press(&mut self) {
        self.tally.fault("processors kept busy");
        pressure::press(Duration::from_millis(self.rng.u64(500..3000)));
    }

    fn races(&mut self) -> io::Result<()> {
        for _ in 0..RACES {
            self.tally.fault("start race of 8");
            if let Some(what) = race::run(self.target)? {
                self.tally.trouble(Trouble::Race, 1, &what);
            }
        }
        Ok(())
    }

    /// Lets those go that have ended, and looks for those that should have.
    fn see_off(&mut self) {
        let (tally, kind) = (self.tally, self.target.kind);
        let bad = |what: &str| tally.trouble(Trouble::Server, 1, &format!("{kind:?}: {what}"));
        self.leaving.retain_mut(|old| match old.ended() {
            Some(Ok(())) => false,
            Some(Err(how)) => {
                bad(&format!("a replaced server ended badly: {how}"));
                false
            }
            None if old.leaving.is_some_and(|since| since.elapsed() > DRAIN + GRACE) => {
                bad("a replaced server did not end");
                false
            }
            None => true,
        });
        if let Some(ended) = self.server.ended() {
            let how = ended.map_or_else(|how| how, |()| "as if it had been told to".to_owned());
            bad(&format!("the server ended by itself: {how}"));
            match self.target.start(true) {
                Ok(server) => self.server = server,
                Err(_) => bad("and it could not be started again"),
            }
        }
    }

    /// With all clients gone, the server must be as it was before they came.
    fn look_at_rest(&mut self) {
        let begun = Instant::now();
        let at_rest = self.at_rest[usize::from(self.server.replace)];
        let mut open = usize::MAX;
        while (!self.target.is_quiet() || open > at_rest) && begun.elapsed() < 2 * PATIENCE {
            sleep(Duration::from_millis(20));
            self.see_off();
            open = self.server.descriptors();
        }
        if open > at_rest {
            let which = self.server.what_is_open();
            let what =
                format!("{open} descriptors are open at rest, {at_rest} were before: {which}");
            self.tally.trouble(Trouble::Leaked, (open - at_rest) as u64, &what);
        }
        self.tally.memory(self.target.kind, self.server.memory());
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        self.target.open(false);
        self.doomed.drain(..).for_each(end);
    }
}

fn end(mut process: Child) {
    end_one(&mut process);
}

fn end_one(process: &mut Child) {
    // Both fail only if it has ended already.
    let _ = process.kill();
    let _ = process.wait();
}
