//! A server process: started, awaited, and ended.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::{PATIENCE, UNHANG, await_some};

/// `unhang serve`, or any other program that says on standard output when it is ready. Dropping it
/// kills it.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Starts `unhang serve PATH ARGUMENTS` and waits until it listens.
    pub(crate) fn serve(path: impl AsRef<OsStr>, arguments: &[&str]) -> Self {
        let mut command = Command::new(UNHANG);
        command.arg("serve").arg(path).args(arguments);
        Self::start(&mut command, "listening")
    }

    /// Starts a program and waits until it prints a line with `ready` in it.
    pub(crate) fn start(command: &mut Command, ready: &str) -> Self {
        let daemon = Self::spawn(command);
        daemon.await_line(ready);
        daemon
    }

    /// The same with this as its standard input.
    pub(crate) fn start_with_input(
        command: &mut Command,
        input: impl Into<Stdio>,
        ready: &str,
    ) -> Self {
        let daemon = Self::spawn_with_input(command, input);
        daemon.await_line(ready);
        daemon
    }

    /// Starts a program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_with_input(command, Stdio::null())
    }

    fn spawn_with_input(command: &mut Command, input: impl Into<Stdio>) -> Self {
        let mut child = command.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for the next line that has `text` in it, and passes over those before.
    pub(crate) fn await_line(&self, text: &str) -> String {
        self.next_line(text).unwrap_or_else(|seen| panic!("no line with {text:?} among {seen:#?}"))
    }

    /// Waits for that line, or for the end of all lines. Whether it came.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.next_line(text).is_ok()
    }

    fn next_line(&self, text: &str) -> Result<String, Vec<String>> {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => seen.push(line),
                Err(_) => return Err(seen),
            }
        }
    }

    /// The first line with `text` in it among those printed since, if there is one yet.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.lines.try_iter().find(|line| line.contains(text))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Changes the soft limit for something, below our own hard one; gives what it was.
    pub(crate) fn limit(&self, resource: Resource, most: Option<u64>) -> Option<u64> {
        let limit = Rlimit { current: most, ..getrlimit(resource) };
        prlimit(Some(Pid::from_child(&self.child)), resource, limit).unwrap().current
    }

    /// All that it says on standard error, if that was piped.
    pub(crate) fn stderr(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        await_some("the process ends", || self.try_wait())
    }

    /// Its end, if it has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGTERM, and its end; gives what it printed since.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        let status = self.wait();
        (status, self.lines.iter().collect())
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        self.open_descriptors().count()
    }

    /// How many it has open when nobody is connected. Only after a first exchange are all there, and a
    /// client has its end a moment before its own is closed: so when the number stays as it is.
    pub(crate) fn descriptors_at_rest(&self) -> usize {
        let (mut last, mut same) = (self.descriptors(), 0);
        super::await_some("the number of its descriptors stays as it is", || {
            let now = self.descriptors();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same >= 50).then_some(now)
        })
    }

    /// Whether each of its threads waits in a system call, and none is held there by a tracer. Looked at
    /// more than once: one that is woken again and again sleeps in between.
    pub(crate) fn threads_sleep(&self) -> bool {
        (0..20).all(|_| self.threads_are('S'))
    }

    /// Whether all its threads are in a state: proc(5) has the letters.
    fn threads_are(&self, state: char) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.flatten().all(|thread| {
            // What follows the name, which is in brackets: proc_pid_stat(5).
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state))
        })
    }

    /// How many it could still open, if `ulimit -n` is `most`. The limit is one of numbers: a
    /// descriptor above it, inherited from the runner of the tests, takes no place below it.
    pub(crate) fn free_descriptors(&self, most: usize) -> usize {
        most - self.open_descriptors().filter(|&number| number < most).count()
    }

    /// Lowers its limit so that it cannot open any more than it has.
    pub(crate) fn leave_no_descriptor(&self) {
        let open: Vec<_> = self.open_descriptors().collect();
        let most = (0..=open.len()).find(|number| !open.contains(number)).unwrap();
        let limit = Rlimit { current: Some(most as u64), ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    fn open_descriptors(&self) -> impl Iterator<Item = usize> {
        let directory = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        directory.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap())
    }

    /// Stops every thread of it, as a debugger, a paused container or a suspended machine does.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        await_some("all its threads are stopped", || self.threads_are('T').then_some(()));
    }

    /// Waits until it has nothing to do.
    pub(crate) fn await_idle(&self) {
        await_some("all its threads sleep", || self.threads_sleep().then_some(()));
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The most memory that it has had at once, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kibibytes: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
