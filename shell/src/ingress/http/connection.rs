//! One connection from its first byte to its last: hyper speaks, the watchdog here ends what takes
//! too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, service::service_fn};
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

use super::activity::{Activity, Answering};
use super::{Http, finish, reply, routes, say_end};
use crate::ingress::line::Line;
use crate::ingress::watchdog::Watchdog;
use crate::ingress::watched::{Tail, Watched};

/// Room for a head and for body bytes on their way, bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Why a connection ended.
enum End {
    /// Hyper is through with it.
    Done(hyper::Result<()>),
    /// It took too long over something.
    TimedOut,
    /// It was idle, and another one needs its place.
    GaveWay,
}

/// Serves one connection until it ends. Returns it if its last answer is sent: it may be closed
/// when that has arrived.
pub(super) async fn drive(
    http: &Arc<Http>,
    line: Line,
    activity: Arc<Activity>,
) -> Option<TcpStream> {
    let mut needed = activity.needed();
    let io = FuturesIo::new(Watched::new(line, Bytes::new(), Arc::clone(&activity)));
    let service = {
        let (http, activity) = (Arc::clone(http), Arc::clone(&activity));
        service_fn(move |request: Request<Incoming>| {
            activity.busy();
            let answer = routes::answer(&http, &request);
            let answering = Answering(Arc::clone(&activity));
            let answer = answer.map(|body| Tail::new(body, answering));
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        })
    };
    let (limits, _) = &*http.rules.get();
    let mut connection = http1::Builder::new()
        // The watchdog's business: hyper's timeout knows no difference between an idle connection
        // and a slow head.
        .header_read_timeout(None)
        // A client that only ends its sending side is answered.
        .half_close(true)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service);

    let mut stopped = http.shutdown.listen();
    if stopped.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
    }
    let mut watchdog = Watchdog::new();
    let end = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(End::Done(result));
            }
            match stopped.as_mut().map(|listener| Pin::new(listener).poll(cx)) {
                Some(Poll::Ready(())) => {
                    stopped = None;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Some(Poll::Pending) | None => break,
            }
        }
        loop {
            if activity.gives_way() {
                return Poll::Ready(End::GaveWay);
            }
            match Pin::new(&mut needed).poll(cx) {
                Poll::Ready(()) => needed = activity.needed(),
                Poll::Pending => break,
            }
        }
        watchdog.poll(activity.deadline(limits), cx).map(|()| End::TimedOut)
    })
    .await;

    let parts = connection.into_parts();
    let mut line = parts.io.into_inner().into_line();
    match end {
        End::Done(Ok(())) => {}
        End::Done(Err(error)) => {
            tracing::debug!(%error, "HTTP connection ended");
            // Hyper has answered these itself, except for HTTP/2.
            if error.is_parse_too_large() {
                http.count_response(431);
            } else if error.is_parse_version_h2() {
                http.count_response(505);
                let detail = "only HTTP/1.1 and HTTP/1.0 are spoken here";
                let answer = reply::raw(505, "HTTP Version Not Supported", detail, "");
                if finish(&mut line, answer.as_bytes()).await.is_err() {
                    return None;
                }
            } else if error.is_parse() {
                http.count_response(400);
            }
        }
        End::GaveWay => {
            tracing::debug!("idle HTTP connection gave way to a newer one");
            return None;
        }
        End::TimedOut => {
            let part_of_a_head = parts.read_buf.iter().any(|byte| !byte.is_ascii_whitespace());
            if activity.is_stuck() || !part_of_a_head {
                tracing::debug!("HTTP connection closed: nothing moved");
                return None;
            }
            http.count_response(408);
            let answer =
                reply::raw(408, "Request Timeout", "the request head did not arrive in time", "");
            if finish(&mut line, answer.as_bytes()).await.is_err() {
                return None;
            }
        }
    }
    say_end(&mut line).await;
    Some(line.into_stream())
}
