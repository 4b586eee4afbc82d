//! Hyper on smol's shared executor with two threads: takes the body of every request and answers
//! 204.
//!
//! Run: `hyper-smol`; it prints `http=ADDR:PORT` and serves until it is killed.

use std::convert::Infallible;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use smol_hyper::rt::FuturesIo;

async fn take(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match request.into_body().collect().await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    Ok(response)
}

fn main() -> std::io::Result<()> {
    let executor: &'static smol::Executor<'static> = Box::leak(Box::default());
    let serve = async move {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http={}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            executor
                .spawn(async move {
                    // A connection that ends early is the client's business.
                    let _ = http1::Builder::new()
                        .serve_connection(FuturesIo::new(stream), service_fn(take))
                        .await;
                })
                .detach();
        }
    };
    std::thread::spawn(move || smol::block_on(executor.run(std::future::pending::<()>())));
    smol::block_on(executor.run(serve))
}
