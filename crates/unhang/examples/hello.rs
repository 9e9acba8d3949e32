//! A service in fifteen lines: `cargo run --example hello`, then `unhang call /tmp/hello.sock world`.

use unhang::{Error, Fault, Request, Server};

fn main() -> Result<(), Error> {
    Server::bind("/tmp/hello.sock")?.run(hello)
}

async fn hello(request: Request) -> Result<String, Fault> {
    match request.text().trim() {
        "" => Err(Fault::new("expected a name, got nothing")),
        name => Ok(format!("hello, {name}\n")),
    }
}
