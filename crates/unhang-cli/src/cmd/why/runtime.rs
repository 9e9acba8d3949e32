//! What a language's runtime gives away about a running program: the script's line, and who reads a
//! descriptor. Read through /proc/PID/mem: nothing is stopped and nothing is changed. Another
//! program's memory moves while it is read, so every pointer is checked, and what does not fit is
//! "not known", never a guess.

mod elf;
mod go;
mod mem;
mod php;

/// Where a script is.
#[derive(Debug)]
pub(crate) struct Where {
    pub(crate) language: &'static str,
    pub(crate) file: String,
    pub(crate) line: Option<u32>,
    /// What runs there: the built-in function that the line calls, as `socket_read`, else the
    /// script's own, as `Client::ask`; `{main}` outside of any.
    pub(crate) function: String,
    /// The strings that the function's variables hold, as name (`$reply`) and escaped content
    /// without quotes. Empty unless asked for: they may be secrets.
    pub(crate) variables: Vec<(String, String)>,
}

/// Who reads a descriptor of a Go program.
#[derive(Debug)]
pub(crate) enum Reader {
    /// This goroutine waits until there is something to read. Its functions, innermost first; how
    /// the runtime parks it is left out.
    Waiting { goroutine: u64, frames: Vec<String> },
    /// None does.
    Nobody {
        /// How many goroutines could own it nevertheless. Not counted are the runtime's own, and
        /// those (the main one too) that wait in accept or for ever in `select {}`. So with 0 there
        /// is no goroutine left that would read or close it; a timer (`time.AfterFunc`), the
        /// garbage collector, or whoever accepts the next connection still might.
        handlers: usize,
    },
}

pub(crate) use go::readers as go_readers;
pub(crate) use php::where_is;

/// Looks again when what was seen does not fit: it may have been changed halfway.
fn steady<T>(mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    look().or_else(|_| look()).or_else(|_| look())
}

#[cfg(test)]
mod tests {
    //! What the runtimes' tests share.

    use std::fmt::Debug;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Child, ChildStdout, Command};
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process_group};

    /// No test waits longer for anything: generous, as machines are slow and shared.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A process that is ended with the test, and with it those that it has started.
    pub(super) struct Ended(Child);

    impl Ended {
        pub(super) fn spawn(command: &mut Command) -> Self {
            Self(command.process_group(0).spawn().unwrap())
        }

        pub(super) fn pid(&self) -> u32 {
            self.0.id()
        }

        /// Its standard output, where that is piped.
        pub(super) fn output(&mut self) -> ChildStdout {
            self.0.stdout.take().unwrap()
        }
    }

    impl Drop for Ended {
        fn drop(&mut self) {
            // Both fail only where it has ended already.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }

    /// Waits until `look` succeeds. For states that nobody announces.
    pub(super) fn await_ok<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
        let started = Instant::now();
        loop {
            match look() {
                Ok(found) => return found,
                Err(error) if started.elapsed() > PATIENCE => {
                    panic!("waited in vain until {what}: {error:?}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Looks for a program in the path. Where it is missing, the test is skipped with a word, unless
    /// the environment has `UNHANG_REQUIRE_ALL=1`.
    pub(super) fn required(program: &str, package: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&path).map(|folder| folder.join(program)).find(|p| p.exists());
        if found.is_none() {
            let all = std::env::var("UNHANG_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!all, "{program} is missing; Debian's package is {package}");
            eprintln!("skipped: {program} is missing; Debian's package is {package}");
        }
        found
    }
}
