//! The exit codes of all commands, said once. `--help` shows them.

/// Done: for `call`, answered and closed; for `serve`, stopped as asked.
pub(crate) const DONE: u8 = 0;
/// Failed in a way that none of the others names: for `serve`, it could not start; for `call`, the
/// connection was lost, the reply too large, or the request not taken to its end.
pub(crate) const FAILED: u8 = 1;
/// The arguments make no sense. Clap uses the same for those that it refuses itself.
pub(crate) const USAGE: u8 = 2;
/// `call`: could not connect; `bench`: not even before the load.
pub(crate) const NOT_CONNECTED: u8 = 3;
/// `call`: no answer in time, or standard input or output held it up for as long.
pub(crate) const NO_ANSWER: u8 = 4;
/// `call`: answered, and not closed in time.
pub(crate) const NOT_CLOSED: u8 = 5;

/// `why`: somebody hangs, or nobody can be served; `bench`: not every exchange ended as it must.
pub(crate) const FAULT: u8 = 1;
/// `why`: nothing wrong was seen, but not everything that matters could be seen.
pub(crate) const NOT_ALLOWED: u8 = 3;
/// `why`: the kernel does not tell what it takes.
pub(crate) const OLD_KERNEL: u8 = 4;

/// For `unhang why --help`.
pub(crate) const WHY_HELP: &str = "\
Exit codes:
  0  nothing wrong
  1  a fault was found
  2  the arguments make no sense
  3  this user may not see enough to tell
  4  the kernel is too old, or built without unix_diag";

/// For `unhang bench --help`.
pub(crate) const BENCH_HELP: &str = "\
Exit codes:
  0  every exchange was answered and closed
  1  not every one was, or nothing could be measured
  2  the arguments make no sense
  3  could not connect at all";

/// For `unhang --help`, and for `unhang call --help`.
pub(crate) const HELP: &str = "\
Exit codes of serve and call (why and bench have their own):
  0  done: answered and closed, or stopped as asked
  1  failed: could not serve; the connection was lost; the reply was too large; the server took
     only a part of the request; --wire http: a status from 400 on
  2  the arguments make no sense
  3  could not connect: no such file, nobody listens, permission, not a socket, queue full
  4  no answer in time; or standard input did not end, or nobody read the reply, in time
  5  answered, but not closed in time";
