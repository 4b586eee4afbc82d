//! Another listener, over gRPC: its own service `aqueduct.v1.Publisher`, a call for each batch.
//!
//! Each record has its name, (epoch, seq), as key. What the other ring has seen it does not append
//! again, so a call that broke off is repeated as it was: each record is there once, as long as the
//! other listener remembers its keys.

mod status;
mod wire;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use aqueduct::config::{Millis, Size};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;
use smol::LocalExecutor;
use smol::future::FutureExt;
use smol_hyper::rt::FuturesIo;

use self::wire::Taken;
use super::Context;
use super::http::connect::Connector;
use super::http::token;
use crate::batch::Records;
use crate::compress::{Codec, Compression};
use crate::envelope::Envelope;
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;
use crate::trace::Common;

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 10;
const PATH: &str = "/aqueduct.v1.Publisher/PublishStream";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// `[sink]` with `kind = "grpc"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Where to: `http://HOST:PORT`, or `https://`.
    url: String,
    /// The ring there.
    ring: String,
    /// Whether records keep their attributes; the address must keep `aqueduct-attributes`.
    #[serde(default)]
    attributes: bool,
    /// Most records of a call.
    call_records: Option<usize>,
    /// Most bytes of a call, before compression; one record may be larger.
    call_bytes: Option<Size>,
    /// The longest wait for a connection.
    max_wait_ms: Option<Millis>,
    /// The longest that a call may take.
    timeout_ms: Option<Millis>,
    /// A file whose first line is the bearer token; read for every call.
    token_file: Option<PathBuf>,
    /// Certificates of authorities, PEM, instead of the system's.
    ca_file: Option<PathBuf>,
}

/// The sink.
pub struct Grpc {
    uri: Uri,
    ring: String,
    attributes: bool,
    envelope: Envelope,
    compression: Compression,
    call_records: usize,
    call_bytes: usize,
    wait: Duration,
    timeout: Duration,
    token_file: Option<PathBuf>,
    connector: Connector,
    connection: Option<SendRequest<Full<Bytes>>>,
    executor: Rc<LocalExecutor<'static>>,
}

/// Runs what hyper has to do beside a call on our thread.
#[derive(Clone)]
struct Tasks(Rc<LocalExecutor<'static>>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task).detach();
    }
}

/// A call that is ready.
struct Call {
    body: Bytes,
    records: usize,
    is_compressed: bool,
    /// The trace of its records.
    trace: Common,
}

impl Grpc {
    /// Takes the settings. A connection is made when there is something to send.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let uri: Uri =
            table.url.parse().map_err(|error| format!("sink.url: `{}`: {error}", table.url))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err("sink.url: http://HOST:PORT without a path".to_owned());
        }
        if !matches!(context.compression.codec, Codec::None | Codec::Snappy) {
            return Err("compression.codec: `snappy` or `none` for the sink `grpc`".to_owned());
        }
        let connector = Connector::new(&uri, table.ca_file.as_deref(), &[b"h2"])?;
        let mut parts = uri.into_parts();
        parts.path_and_query = PATH.parse().ok();
        let uri = Uri::from_parts(parts).map_err(|error| format!("sink.url: {error}"))?;
        let call_records = table.call_records.unwrap_or(1000);
        if call_records == 0 {
            return Err("sink.call_records: at least 1".to_owned());
        }
        let bytes = table.call_bytes.map_or(1 << 20, |size| size.0);
        Ok(Self {
            uri,
            ring: table.ring,
            attributes: table.attributes,
            envelope: context.envelope.clone(),
            compression: context.compression,
            call_records,
            call_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            wait: Duration::from_millis(table.max_wait_ms.map_or(2000, |wait| wait.0)),
            timeout: Duration::from_millis(table.timeout_ms.map_or(10_000, |time| time.0)),
            token_file: table.token_file,
            connector,
            connection: None,
            executor: Rc::new(LocalExecutor::new()),
        })
    }

    /// Divides records into calls. The failure is that of the first record that cannot be written.
    fn calls(&self, records: &Records<'_>) -> (Vec<Call>, Option<Failure>) {
        let mut calls = Vec::new();
        let (mut body, mut is_compressed, mut count) = (Vec::new(), false, 0);
        let mut trace = Common::default();
        let mut payload = Vec::new();
        let mut refused = None;
        for (at, record) in records.iter().enumerate() {
            payload.clear();
            if let Err(reason) = self.envelope.encode(&record, &mut payload) {
                refused = Some(Failure::poison(at, reason));
                break;
            }
            let is_full = body.len() + payload.len() > self.call_bytes;
            if count > 0 && (count == self.call_records || is_full) {
                let body = Bytes::from(std::mem::take(&mut body));
                let trace = std::mem::take(&mut trace);
                calls.push(Call { body, records: count, is_compressed, trace });
                (is_compressed, count) = (false, 0);
            }
            // A call names the ring once.
            let ring = if count == 0 { self.ring.as_str() } else { "" };
            let attributes: &[u8] = if self.attributes { record.block } else { &[] };
            is_compressed |=
                wire::frame((&record, &payload), (ring, attributes), self.compression, &mut body);
            trace.add(&record);
            count += 1;
        }
        if count > 0 {
            calls.push(Call { body: Bytes::from(body), records: count, is_compressed, trace });
        }
        (calls, refused)
    }

    /// Makes a connection, unless there is one that is alive.
    async fn connect(&mut self, time: Duration) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        // What happened to an idle one is known to its task, once it ran.
        while self.executor.try_tick() {}
        let alive = self.connection.take().filter(SendRequest::is_ready);
        let connection = if let Some(connection) = alive {
            connection
        } else {
            let wait = self.wait.min(time);
            let late = async {
                smol::Timer::after(wait).await;
                Err(Failure::retry(format!("no connection in {} ms", wait.as_millis())))
            };
            self.handshake().or(late).await?
        };
        Ok(self.connection.insert(connection))
    }

    async fn handshake(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = self.connector.connect().await.map_err(Failure::retry)?;
        let tasks = Tasks(Rc::clone(&self.executor));
        let (sender, connection) = http2::Builder::new(tasks)
            // Requests are larger than answers.
            .max_send_buf_size(self.call_bytes.clamp(64 << 10, 4 << 20))
            .handshake(FuturesIo::new(stream))
            .await
            .map_err(Failure::retry)?;
        let run = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        };
        self.executor.spawn(run).detach();
        Ok(sender)
    }

    /// Makes a call; returns what was taken. The connection is closed unless it was answered.
    async fn call(&mut self, call: &Call, time: Duration) -> Result<Taken, Failure> {
        let uri = self.uri.clone();
        let token = token::read(self.token_file.as_deref())?;
        let connection = self.connect(time).await?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if call.is_compressed {
            headers.insert(ENCODING, HeaderValue::from_static("snappy"));
        }
        for (name, value) in call.trace.headers() {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token);
        }
        let exchange = async {
            let answer = connection.send_request(request).await.map_err(Failure::retry)?;
            read(answer).await
        };
        let late = async {
            smol::Timer::after(time).await;
            Err(Lost(Failure::retry(format!("no answer in {} ms", time.as_millis()))))
        };
        match exchange.or(late).await {
            Ok(judged) => judged,
            Err(Lost(failure)) => {
                self.connection = None;
                Err(failure)
            }
        }
    }

    /// Makes all calls; returns how many records were known.
    async fn call_all(&mut self, calls: &[Call], stop: &Stop) -> Result<u64, Failure> {
        let (mut done, mut known) = (0, 0);
        for call in calls {
            let time = stop.time_for(self.timeout);
            let taken = self.call(call, time).await.map_err(|failure| {
                // Whatever the other side says, not more than there were.
                let taken = failure.done.min(call.records);
                failure.after(done + taken)
            })?;
            if taken.records != call.records as u64 {
                let (of, records) = (call.records, taken.records);
                let reason = format!("{records} of {of} records were taken, and the status is OK");
                return Err(Failure::retry(reason).after(done));
            }
            done += call.records;
            known += taken.known;
        }
        Ok(known)
    }
}

/// A failure after which nothing is known of the connection.
struct Lost(Failure);

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// Reads an answer to its end.
async fn read(
    answer: hyper::Response<hyper::body::Incoming>,
) -> Result<Result<Taken, Failure>, Lost> {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        let reason = format!("answered {}: no gRPC is spoken there", head.status);
        return Err(Lost(Failure::retry(reason)));
    }
    let body = Limited::new(body, ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| Lost(Failure::retry(error)))?;
    let trailers: HeaderMap = body.trailers().cloned().unwrap_or(head.headers);
    if let Err(failure) = status::judge(&trailers) {
        return Ok(Err(failure));
    }
    let taken = wire::taken(&body.to_bytes());
    taken.map(Ok).ok_or_else(|| Lost(Failure::retry("the answer is none of this service")))
}

impl Sink for Grpc {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        let (calls, refused) = self.calls(records);
        let executor = Rc::clone(&self.executor);
        let known = smol::block_on(executor.run(self.call_all(&calls, stop)))?;
        refused.map_or(Ok(Delivered { known }), Err)
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        // A call of no records.
        let trace = Common::default();
        let nothing = Call { body: Bytes::new(), records: 0, is_compressed: false, trace };
        let executor = Rc::clone(&self.executor);
        let time = stop.time_for(self.timeout);
        smol::block_on(executor.run(self.call(&nothing, time))).map(|_| ())
    }
}
