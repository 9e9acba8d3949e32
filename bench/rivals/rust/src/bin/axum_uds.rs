//! axum, and so hyper, over a Unix socket, as its documentation writes it.

use axum::Router;
use axum::routing::get;
use tokio::net::UnixListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).expect("expected a path");
    let router = Router::new().route("/", get(async || "pong\n"));
    axum::serve(UnixListener::bind(path)?, router).await
}
