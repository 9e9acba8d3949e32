//! A client that does exactly what a test says, byte by byte.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

pub(crate) struct Peer(UnixStream);

impl From<UnixStream> for Peer {
    fn from(stream: UnixStream) -> Self {
        // A server that leaves us hanging fails the test instead of hanging it.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }
}

impl Peer {
    pub(crate) fn connect(path: &Path) -> Self {
        Self::from(UnixStream::connect(path).unwrap())
    }
    /// Connects, writes and reads to the end, as a plain client does.
    pub(crate) fn ask(path: &Path, message: &[u8]) -> Vec<u8> {
        let mut peer = Self::connect(path);
        peer.write(message);
        peer.read_to_end()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Everything up to the end; a reset or a server that does not close fails the test.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let (bytes, end) = self.try_read_to_end();
        end.unwrap();
        bytes
    }

    /// Everything up to the end, and what kind of end it was.
    pub(crate) fn try_read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        let end = self.0.read_to_end(&mut bytes).map(drop);
        (bytes, end)
    }

    pub(crate) fn half_close(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}
