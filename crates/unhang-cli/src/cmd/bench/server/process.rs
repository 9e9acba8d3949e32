//! One process, held by a pidfd: when it has ended, its number may become another's, and a signal by
//! number would hit that one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pid: i32,
    handle: Arc<OwnedFd>,
}

impl Process {
    /// `Errno::SRCH`: there is none. `Errno::NOSYS`: the kernel is older than 5.3.
    pub(super) fn open(pid: i32) -> Result<Self, Errno> {
        let number = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let handle = Arc::new(pidfd_open(number, PidfdFlags::empty())?);
        Ok(Self { pid, handle })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// A pidfd is readable when its process has ended: `pidfd_open(2)`.
    pub(super) fn has_ended(&self) -> bool {
        let mut asked = [PollFd::new(&*self.handle, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn send(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&*self.handle, signal)
    }

    /// Whether one of its descriptors is one of these sockets, which are named by their inodes: proc(5).
    pub(super) fn holds(&self, sockets: &[u32]) -> io::Result<bool> {
        let names: Vec<_> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
        let is_one = |entry: fs::DirEntry| {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            names.iter().any(|name| link.as_os_str() == name.as_str())
        };
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.flatten().any(is_one))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_has_ended_gets_no_signal_whatever_has_its_number() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!process.has_ended());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(process.has_ended());
        assert_eq!(process.send(Signal::STOP), Err(Errno::SRCH));
    }

    #[test]
    fn a_process_holds_the_sockets_that_it_has_open_and_no_others() {
        let directory = tempfile::TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap();
        let inode = link.strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap();
        let inode: u32 = inode.parse().unwrap();
        let us = Process::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(us.holds(&[1, inode]).unwrap());
        drop(listener);
        assert!(!us.holds(&[inode]).unwrap());
    }
}
