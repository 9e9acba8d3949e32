//! What the tests share: a server in this process, and clients that no server can hang.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use unhang::{Error, Handler, Listener, Request, Server};

/// No test waits longer for anything: generous, as machines are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a thread of its own.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    finished: Receiver<Result<(), Error>>,
    _directory: TempDir,
}

impl Running {
    pub(crate) fn start(change: impl FnOnce(Server) -> Server, handler: impl Handler) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s");
        let server = change(Server::bind(&path).unwrap());
        Self::run(server, directory, path, handler)
    }

    /// The same with a listener that it shares with the test.
    pub(crate) fn sharing(
        change: impl FnOnce(Server) -> Server,
        handler: impl Handler,
    ) -> (Self, UnixListener) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s");
        let shared = UnixListener::bind(&path).unwrap();
        let listener = Listener::inherited(shared.try_clone().unwrap()).unwrap();
        (Self::run(change(Server::new(listener)), directory, path, handler), shared)
    }

    fn run(server: Server, directory: TempDir, path: PathBuf, handler: impl Handler) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let server = server.stop_when(async {
            let _ = stopped.await;
        });
        let finished = on_a_thread(server, handler);
        Self { path, stop: Some(stop), finished, _directory: directory }
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(&self) {
        self.finished.recv_timeout(PATIENCE).unwrap().unwrap();
    }
}

/// Echoes on a thread of its own, until it is replaced or told to stop.
pub(crate) fn serve(server: Server) -> (oneshot::Sender<()>, Receiver<Result<(), Error>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let server = server.stop_when(async move {
        // Not told, but dropped: it goes on.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let answer = async |request: Request| Ok(request.into_bytes());
    (stop, on_a_thread(server, answer))
}

/// Serves until the server ends, and gives how it did.
fn on_a_thread(server: Server, handler: impl Handler) -> Receiver<Result<(), Error>> {
    let (done, finished) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = done.send(runtime.block_on(server.serve(handler)));
        // A handler that blocks would hold a plain drop up for ever.
        runtime.shutdown_background();
    });
    finished
}

pub(crate) fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn read_to_end(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn ask(path: &Path, message: &str) -> String {
    let mut stream = connect(path);
    stream.write_all(message.as_bytes()).unwrap();
    read_to_end(stream)
}
