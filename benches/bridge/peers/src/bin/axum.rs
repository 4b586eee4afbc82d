//! Axum on Tokio, as many threads as cores: takes the body of every POST and answers 204.
//!
//! Run: `axum`; it prints `http=ADDR:PORT` and serves until it is killed.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

async fn take(body: Bytes) -> StatusCode {
    if body.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::NO_CONTENT }
}

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http={}", listener.local_addr()?);
        axum::serve(listener, Router::new().route("/", post(take))).await
    })
}
