//! One HTTP/2 connection from its preface to its end: hyper speaks, the watchdog here ends what
//! takes too long.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol::io;
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

use super::activity::{Activity, Due, OpenStream};
#[cfg(feature = "grpc")]
use super::grpc;
use super::{Connection, Http2, STREAM_WINDOW_BYTES, exchange, translate};
use crate::ingress::http::{LINGER, LINGER_MOST, LINGER_REJECTED, linger};
use crate::ingress::line::Line;
use crate::ingress::watchdog::Watchdog;
use crate::ingress::watched::{Tail, Watched};

/// What a connection's window may be, bytes (RFC 9113 §6.9).
const CONNECTION_WINDOW_BYTES: RangeInclusive<u32> = 0xffff..=(1 << 31) - 1;
/// Most bytes of an answer that wait for the peer's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes by which a field of a header list is counted longer than it is (RFC 9113 §6.5.2), and
/// fields that a request has beside those that are counted.
const FIELD_BYTES: usize = 32;
const PSEUDO_FIELDS: usize = 8;

/// Why a connection ended.
enum End {
    /// Hyper is through with it.
    Done(hyper::Result<()>),
    /// It was idle for long enough.
    Idle,
    /// It took too long over something.
    Late(&'static str),
}

/// Serves one connection until it ends; `read_before` are its first bytes.
pub(super) async fn drive(connection: Connection, line: Line, read_before: Bytes) {
    let stream = line.stream().clone();
    let activity = Activity::new();
    let http2 = &Arc::clone(&connection.http2);
    let limits = Arc::clone(&connection.limits);
    let connection = Arc::new(connection);
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            respond(Arc::clone(&connection), OpenStream::new(Arc::clone(&activity)), request)
        })
    };
    let io = FuturesIo::new(Watched::new(line, read_before, Arc::clone(&activity)));
    let list_bytes = limits.max_header_bytes + FIELD_BYTES * (limits.max_headers + PSEUDO_FIELDS);
    let mut serving = http2::Builder::new(Tasks(Arc::clone(http2)))
        .max_concurrent_streams(limits.max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window(limits.max_concurrent_streams))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .auto_date_header(false)
        .serve_connection(io, service);

    let shutdown = &http2.shutdown;
    let mut stopped = shutdown.listen();
    // When the connection was told to end.
    let mut told: Option<Instant> = None;
    if stopped.is_none() {
        Pin::new(&mut serving).graceful_shutdown();
        told = Some(Instant::now());
    }
    let mut watchdog = Watchdog::new();
    let end = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut serving).poll(cx) {
                return Poll::Ready(End::Done(result));
            }
            if let Some(listener) = &mut stopped
                && Pin::new(listener).poll(cx).is_ready()
            {
                stopped = None;
                told.get_or_insert_with(Instant::now);
                Pin::new(&mut serving).graceful_shutdown();
                continue;
            }
            let (mut at, mut due) = activity.due(&limits);
            if let Some(told) = told
                && activity.is_idle()
            {
                // Its peer has no more to get; it may take its time to hang up, but not long.
                (at, due) = (at.min(told + LINGER_REJECTED), Due::Idle);
            }
            if watchdog.poll(Some(at), cx).is_pending() {
                return Poll::Pending;
            }
            match due {
                Due::Nothing => {}
                Due::Late(what) => return Poll::Ready(End::Late(what)),
                Due::Idle if told.is_some() => return Poll::Ready(End::Idle),
                Due::Idle => {
                    told = Some(Instant::now());
                    Pin::new(&mut serving).graceful_shutdown();
                }
            }
        }
    })
    .await;
    drop(serving);
    settle(http2, stream, &activity, end).await;
}

/// Returns how many bytes of all bodies of a connection may have arrived and not been read. Each of
/// its streams can fill its own window, so those that wait for room do not keep the others from
/// arriving.
fn connection_window(streams: u32) -> u32 {
    let (least, most) = (*CONNECTION_WINDOW_BYTES.start(), *CONNECTION_WINDOW_BYTES.end());
    STREAM_WINDOW_BYTES.saturating_mul(streams).clamp(least, most)
}

/// Counts how a connection ended, and sees that its last bytes arrive.
async fn settle(http2: &Http2, stream: TcpStream, activity: &Activity, end: End) {
    let mut most = LINGER_MOST;
    match end {
        End::Done(Ok(())) => {}
        End::Done(Err(_)) if activity.is_flood() => {
            http2.count_protocol_error("its peer sends frames that carry nothing");
            return;
        }
        End::Done(Err(error)) => {
            tracing::debug!(%error, "HTTP/2 connection ended");
            // Whoever breaks the rules is told so, and not listened to for long.
            most = LINGER;
            if is_of_protocol(&error) {
                http2.count_protocol_error("its peer broke the protocol");
            }
        }
        End::Idle => return,
        End::Late(what) => {
            http2.count_protocol_error(what);
            return;
        }
    }
    if http2.shutdown.has_begun() {
        linger(stream, LINGER_REJECTED, LINGER_REJECTED).await;
    } else {
        linger(stream, LINGER, most).await;
    }
}

/// Whether it is the peer's frames that are wrong, and not merely its connection gone.
fn is_of_protocol(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| !cause.is_io() && cause.reason() != Some(h2::Reason::NO_ERROR))
}

/// The body of an answer.
#[cfg(not(feature = "grpc"))]
type Answer = Full<Bytes>;
#[cfg(feature = "grpc")]
type Answer = http_body_util::Either<Full<Bytes>, tonic::body::Body>;

#[cfg(not(feature = "grpc"))]
fn whole(body: Bytes) -> Answer {
    Full::new(body)
}

#[cfg(feature = "grpc")]
fn whole(body: Bytes) -> Answer {
    Answer::Left(Full::new(body))
}

/// Answers one request.
async fn respond(
    connection: Arc<Connection>,
    mut open: OpenStream,
    request: Request<Incoming>,
) -> io::Result<Response<Tail<OpenStream, Answer>>> {
    // Without an answer the stream is reset; there is nobody who could read one.
    let nobody = || io::Error::from(io::ErrorKind::ConnectionAborted);
    if !connection.is_accepted() {
        return Err(nobody());
    }
    let request = request.map(|body| open.body(body));
    #[cfg(feature = "grpc")]
    if grpc::is_call(&request) {
        let answer = grpc::answer(&connection, request).await.ok_or_else(nobody)?;
        open.answered();
        return Ok(answer.map(|body| Tail::new(Answer::Right(body), open)));
    }
    let (parts, body) = request.into_parts();
    let answer = exchange::answer(&connection, &parts, body).await;
    let answer = answer.as_deref().and_then(translate::answer).ok_or_else(nobody)?;
    open.answered();
    Ok(answer.map(|body| Tail::new(whole(body), open)))
}

/// Runs the streams of a connection where the connection runs.
#[derive(Clone)]
struct Tasks(Arc<Http2>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.executor.spawn(stream).detach();
    }
}
