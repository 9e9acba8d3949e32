//! A working service: `echo world | nc -UN /tmp/hello.sock`

use unhang::{Error, Fault, Request, Server, termination};

#[tokio::main]
async fn main() -> Result<(), Error> {
    Server::bind("/tmp/hello.sock")?.stop_when(termination()).serve(hello).await
}

async fn hello(request: Request) -> Result<String, Fault> {
    match request.text().trim() {
        "" => Err(Fault::new("whom shall I greet?")),
        name => Ok(format!("hello, {name}\n")),
    }
}
