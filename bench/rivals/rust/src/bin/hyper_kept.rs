//! hyper's HTTP/1.1 over a Unix socket, a task for each connection, as its documentation writes it. The reply is
//! the request's body with `pong:` before it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

fn main() -> std::io::Result<()> {
    let args: Vec<_> = std::env::args().collect();
    let [_, threads, path] = &args[..] else { panic!("expected THREADS PATH") };
    let threads = threads.parse().expect("a number of threads");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if threads == 1 {
        runtime = tokio::runtime::Builder::new_current_thread();
    }
    runtime.worker_threads(threads).enable_all().build()?.block_on(serve(path))
}

async fn serve(path: &str) -> std::io::Result<()> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that leaves is no fault.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(pong))
                .await;
        });
    }
}

async fn pong(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::from([b"pong:", &body[..]].concat())))
}
