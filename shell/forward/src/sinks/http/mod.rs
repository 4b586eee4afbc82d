//! An HTTP service: batches as the bodies of POST requests, over a pool of connections.
//!
//! Delivered means a status of 2xx. Each request carries an idempotency key that names its records,
//! so that a service which keeps keys, or looks at (epoch, seq), takes each once.

mod answer;
mod body;
pub(super) mod connect;
mod pool;
pub(super) mod token;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aqueduct::config::{Millis, Size};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use serde::Deserialize;
use smol::LocalExecutor;
use smol::future::FutureExt;

use self::body::{Body, Piece};
use self::connect::Connector;
use self::pool::{Pool, Pooled};
use super::Context;
use super::join::join_all;
use crate::batch::Records;
use crate::compress::Compression;
use crate::envelope::{Envelope, Form};
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;

/// Bytes of an answer that are read: the rest would only be a longer reason.
const ANSWER_BYTES: usize = 64 << 10;

/// `[sink]` with `kind = "http"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Where to: `http://HOST:PORT/PATH`, or `https://`.
    url: String,
    /// What a request holds.
    #[serde(default)]
    body: Body,
    /// Most records of a request.
    request_records: Option<usize>,
    /// Most bytes of a request, before compression; one record may be larger.
    request_bytes: Option<Size>,
    /// Most connections, and requests at once. With more than one, a failure may leave records
    /// delivered that come after others which are not.
    max_active: Option<usize>,
    /// The longest wait for a connection.
    max_wait_ms: Option<Millis>,
    /// Whether a connection that was idle is looked at before it is used.
    #[serde(default = "super::yes")]
    test_on_borrow: bool,
    /// The longest that a request may take.
    timeout_ms: Option<Millis>,
    /// A file whose first line is the bearer token; read for every request.
    token_file: Option<PathBuf>,
    /// Certificates of authorities, PEM, instead of the system's.
    ca_file: Option<PathBuf>,
    /// A path that is asked for, by GET, whether the service is there; otherwise a new connection
    /// says so.
    probe_path: Option<String>,
    /// Name of the header with the idempotency key.
    key_header: Option<String>,
    /// More headers.
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

/// The sink.
pub struct Http {
    uri: Uri,
    body: Body,
    envelope: Envelope,
    compression: Compression,
    request_records: usize,
    request_bytes: usize,
    timeout: Duration,
    headers: HeaderMap,
    key_header: HeaderName,
    token_file: Option<PathBuf>,
    probe_path: Option<Uri>,
    pool: Rc<Pool>,
    executor: Rc<LocalExecutor<'static>>,
    limit: usize,
}

/// Fails unless a number is at least one.
fn at_least_one(key: &str, value: usize) -> Result<usize, String> {
    if value == 0 { Err(format!("sink.{key}: at least 1")) } else { Ok(value) }
}

impl Http {
    /// Takes the settings. Connections are made when there is something to send.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let uri: Uri =
            table.url.parse().map_err(|error| format!("sink.url: `{}`: {error}", table.url))?;
        let connector = Connector::new(&uri, table.ca_file.as_deref(), &[])?;
        let form = context.envelope.form;
        let envelope = match (table.body, form) {
            (Body::Protobuf, _) => Envelope { form: Form::Protobuf, ..context.envelope.clone() },
            (Body::Counted, _) => Envelope { form: Form::Raw, ..context.envelope.clone() },
            (Body::Ndjson, Form::Protobuf | Form::Avro | Form::Xml) => {
                return Err("sink.body: `ndjson` needs the envelope `json` or `raw`".to_owned());
            }
            _ => context.envelope.clone(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &table.headers {
            let name: HeaderName =
                name.parse().map_err(|error| format!("sink.headers: `{name}`: {error}"))?;
            let value: HeaderValue =
                value.parse().map_err(|error| format!("sink.headers: `{name}`: {error}"))?;
            headers.insert(name, value);
        }
        let host = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = host.parse().map_err(|error| format!("sink.url: {error}"))?;
        headers.entry(header::HOST).or_insert(host);
        let probe_path = table.probe_path.map(|path| {
            let parsed = path.parse::<Uri>().ok().filter(|_| path.starts_with('/'));
            parsed.ok_or_else(|| format!("sink.probe_path: `{path}`: a path begins with `/`"))
        });
        let key = table.key_header.as_deref().unwrap_or("idempotency-key");
        let limit = at_least_one("max_active", table.max_active.unwrap_or(1))?;
        let executor = Rc::new(LocalExecutor::new());
        let pool = Pool::new(
            connector,
            Rc::clone(&executor),
            pool::Limits {
                active: limit,
                wait: Duration::from_millis(table.max_wait_ms.map_or(2000, |wait| wait.0)),
                test_on_borrow: table.test_on_borrow,
            },
        );
        let bytes = table.request_bytes.map_or(1 << 20, |size| size.0);
        Ok(Self {
            key_header: key.parse().map_err(|error| format!("sink.key_header: {error}"))?,
            body: table.body,
            envelope,
            compression: context.compression,
            request_records: at_least_one(
                "request_records",
                table.request_records.unwrap_or(1000),
            )?,
            request_bytes: at_least_one(
                "request_bytes",
                usize::try_from(bytes).unwrap_or(usize::MAX),
            )?,
            timeout: Duration::from_millis(table.timeout_ms.map_or(10_000, |time| time.0)),
            headers,
            token_file: table.token_file,
            probe_path: probe_path.transpose()?,
            pool: Rc::new(pool),
            executor,
            uri,
            limit,
        })
    }

    /// Makes the request of a piece.
    fn request(&self, piece: &Piece, token: Option<HeaderValue>) -> Request<Full<Bytes>> {
        let (bytes, encoding) = self.compression.apply(&piece.bytes);
        let mut request = Request::new(Full::new(Bytes::from(bytes.into_owned())));
        *request.method_mut() = hyper::Method::POST;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        // It is part of a valid one.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let media_type = self.body.media_type(&self.envelope);
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(media_type));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token);
        }
        for (name, value) in &piece.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        for (name, value) in piece.trace.headers() {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Ok(key) = HeaderValue::from_str(&piece.key) {
            headers.insert(self.key_header.clone(), key);
        }
        request
    }

    /// Sends a piece; returns when it is answered.
    async fn send(&self, piece: &Piece, stop: &Stop) -> Result<(), Failure> {
        let time = stop.time_for(self.timeout);
        let exchange = async {
            let mut pooled = self.pool.borrow(time).await?;
            let request = self.request(piece, token::read(self.token_file.as_deref())?);
            let answer = pooled.sender().send_request(request).await.map_err(Failure::retry)?;
            let status = answer.status();
            let retry_after = answer::retry_after(answer.headers(), std::time::SystemTime::now());
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            let text = match body {
                Ok(body) => {
                    Pooled::give_back(pooled);
                    body.to_bytes()
                }
                // Its status is what counts; the connection is not used again.
                Err(_) => Bytes::new(),
            };
            answer::judge(status, retry_after, &text)
        };
        let late = async {
            smol::Timer::after(time).await;
            Err(Failure::retry(format!("no answer in {} ms", time.as_millis())))
        };
        exchange.or(late).await
    }

    /// Asks whether the service is there, over a new connection.
    async fn ask(&self, time: Duration) -> Result<(), Failure> {
        let exchange = async {
            let mut pooled = self.pool.borrow_new(time).await?;
            if let Some(path) = &self.probe_path {
                let mut request = Request::new(Full::default());
                *request.uri_mut() = path.clone();
                request.headers_mut().clone_from(&self.headers);
                if let Some(token) = token::read(self.token_file.as_deref())? {
                    request.headers_mut().insert(header::AUTHORIZATION, token);
                }
                let answer = pooled.sender().send_request(request).await;
                let answer = answer.map_err(Failure::retry)?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
                if !status.is_success() {
                    return Err(Failure::retry(format!("{path} answered {status}")));
                }
                if body.is_err() {
                    // As after a delivery: its status is what counts.
                    return Ok(());
                }
            }
            Pooled::give_back(pooled);
            Ok(())
        };
        let late = async {
            smol::Timer::after(time).await;
            Err(Failure::retry(format!("no answer in {} ms", time.as_millis())))
        };
        exchange.or(late).await
    }

    /// Sends all pieces, as many at once as there may be; returns how many records were delivered
    /// without one missing before them, and the first failure.
    async fn send_all(&self, pieces: &[Piece], stop: &Stop) -> Result<(), Failure> {
        let mut done = 0;
        for together in pieces.chunks(self.limit) {
            let mut tasks = Vec::with_capacity(together.len());
            for piece in together {
                tasks.push(Box::pin(self.send(piece, stop)));
            }
            let results = join_all(tasks).await;
            for (piece, result) in together.iter().zip(results) {
                match result {
                    Ok(()) => done += piece.records,
                    Err(failure) => return Err(failure.after(done)),
                }
            }
        }
        Ok(())
    }
}

impl Sink for Http {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        let limits = (self.request_records, self.request_bytes);
        // What cannot be written is poison, after what comes before it was sent.
        let (pieces, refused) = self.body.pieces(&self.envelope, records, limits);
        let executor = Rc::clone(&self.executor);
        smol::block_on(executor.run(self.send_all(&pieces, stop)))?;
        match refused {
            None => Ok(Delivered::default()),
            Some(failure) => Err(failure),
        }
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        let began = Instant::now();
        let executor = Rc::clone(&self.executor);
        let time = stop.time_for(self.timeout);
        let probed = smol::block_on(executor.run(self.ask(time)));
        tracing::debug!(ms = began.elapsed().as_millis(), is_there = probed.is_ok(), "probed");
        probed
    }
}
