//! Servers made with the library, that keep their clients waiting until their own deadlines end it.

use std::thread;
use std::time::Duration;

use unhang::{Fault, Limits, Reply, Request, Server};

use super::{Outcome, ready};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

#[derive(Clone, Copy)]
pub(crate) enum Handling {
    /// Waits for what never comes.
    Never,
    /// The same, and keeps its thread.
    Blocks,
    /// Answers with more than a socket holds.
    Large,
}

/// Two workers: one is left when the other is blocked.
pub(crate) fn serve(path: &str, handling: Handling) -> Outcome {
    let mut limits = Limits::default();
    (limits.handler, limits.write) = (LONG, LONG);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::bind(path)?.limits(limits).threads(2);
        println!("listening");
        server.serve(move |_: Request| handle(handling)).await?;
        Ok(())
    })
}

async fn handle(handling: Handling) -> Result<Reply, Fault> {
    match handling {
        Handling::Never => std::future::pending().await,
        Handling::Blocks => {
            ready();
            thread::sleep(LONG);
            Ok("late\n".into())
        }
        Handling::Large => Ok(vec![b'x'; 8 << 20].into()),
    }
}
