//! What each path answers. A status tells the truth: 202 only for a record that is in the ring.
//!
//! Next: `serve`.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use smol::{Timer, future};

use super::Http;
use super::reply::{Reply, allowing, closing, problem, retry_later, with};
use crate::ingest::{PublishError, Published, Ring};
use crate::metrics::Rejection;

/// Body bytes for which room is made before they arrive.
const BODY_AHEAD_BYTES: usize = 64 << 10;

/// Answers one request and counts the answer. A record whose client goes away is counted even if
/// the future is never polled.
pub(super) fn answer(
    http: Arc<Http>,
    request: Request<Incoming>,
) -> impl Future<Output = Reply> + Send {
    let ring = records_of(request.uri().path())
        .and_then(|name| http.rings.iter().find(|ring| ring.name() == name))
        .cloned();
    let undecided = ring
        .filter(|_| request.method() == Method::POST)
        .map(|ring| Undecided { ring, answered: false });
    async move {
        let reply = match undecided {
            Some(undecided) => record(&http, undecided, request).await,
            None => look(&http, &request),
        };
        http.count_response(reply.status().as_u16());
        reply
    }
}

/// Everything that is not a record for a ring.
fn look(http: &Http, request: &Request<Incoming>) -> Reply {
    let read = request.method() == Method::GET || request.method() == Method::HEAD;
    let reply = match request.uri().path() {
        "/healthz" | "/readyz" | "/metrics" if !read => allowing(
            problem(StatusCode::METHOD_NOT_ALLOWED, "this resource is only read"),
            "GET, HEAD",
        ),
        "/healthz" => with(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        "/readyz" => ready(http),
        "/metrics" => metrics(http),
        path => match records_of(path) {
            None => problem(
                StatusCode::NOT_FOUND,
                "no such resource; records are posted to /v1/rings/{ring}/records",
            ),
            Some(name) if http.rings.iter().any(|ring| ring.name() == name) => {
                allowing(problem(StatusCode::METHOD_NOT_ALLOWED, "records are posted"), "POST")
            }
            Some(_) => problem(StatusCode::NOT_FOUND, "there is no ring of that name"),
        },
    };
    // An unread body would have to be read to find the next request.
    if request.body().is_end_stream() { reply } else { closing(reply) }
}

/// `{ring}` of `/v1/rings/{ring}/records`.
fn records_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/rings/")?.strip_suffix("/records").filter(|name| !name.contains('/'))
}

/// Counts a record whose client went away before it was answered.
struct Undecided {
    ring: Arc<Ring>,
    answered: bool,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if !self.answered {
            self.ring.metrics().rejected(Rejection::Disconnected);
            tracing::debug!(ring = self.ring.name(), "client gone before its record was answered");
        }
    }
}

/// Takes one record.
async fn record(http: &Http, mut undecided: Undecided, request: Request<Incoming>) -> Reply {
    let outcome = receive_and_publish(http, &undecided.ring, request).await;
    undecided.answered = true;
    let ring = &undecided.ring;
    match outcome {
        Ok(published) => accepted(published),
        Err((reason, reply)) => {
            ring.metrics().rejected(reason);
            tracing::debug!(ring = ring.name(), ?reason, "record rejected");
            reply
        }
    }
}

type Refusal = (Rejection, Reply);

async fn receive_and_publish(
    http: &Http,
    ring: &Ring,
    request: Request<Incoming>,
) -> Result<Published, Refusal> {
    let deadline = Instant::now() + http.limits.body_timeout;
    if http.stop.is_set() {
        return Err(shutting_down());
    }
    let type_tag = type_tag(&request).ok_or_else(|| {
        let detail = "the header aqueduct-type must be one decimal number from 0 to 65535";
        (Rejection::BadType, closing(problem(StatusCode::BAD_REQUEST, detail)))
    })?;
    let payload = future::or(body(ring, request.into_body()), async {
        Timer::at(deadline).await;
        let detail = "the request body did not arrive in time";
        Err((Rejection::Timeout, closing(problem(StatusCode::REQUEST_TIMEOUT, detail))))
    })
    .await?;
    ring.publish(type_tag, &payload, http.full_wait).await.map_err(|error| match error {
        PublishError::Full => {
            let detail =
                format!("ring {} stayed full: its readers have not released enough", ring.name());
            (Rejection::Full, retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, &detail)))
        }
        PublishError::TooLarge { .. } => too_large(ring),
        PublishError::Closed => shutting_down(),
    })
}

/// 0 without the header; `None` if it is not one number of 16 bits.
fn type_tag(request: &Request<Incoming>) -> Option<u16> {
    let mut values = request.headers().get_all("aqueduct-type").iter();
    let Some(value) = values.next() else { return Some(0) };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if values.next().is_some() {
        return None;
    }
    text.parse().ok()
}

/// The whole body, unless it is larger than a record may be.
async fn body(ring: &Ring, mut body: Incoming) -> Result<Vec<u8>, Refusal> {
    let most = usize::try_from(ring.max_payload_bytes()).unwrap_or(usize::MAX);
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large(ring));
    }
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    let mut payload = Vec::with_capacity(announced.min(BODY_AHEAD_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "request body broke off");
            (
                Rejection::Disconnected,
                closing(problem(StatusCode::BAD_REQUEST, "the request body broke off")),
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > most - payload.len() {
            return Err(too_large(ring));
        }
        payload.extend_from_slice(&data);
    }
    Ok(payload)
}

fn accepted(published: Published) -> Reply {
    let body = format!(r#"{{"seq":{},"epoch":"{:016x}"}}"#, published.seq, published.epoch);
    let mut reply = with(StatusCode::ACCEPTED, "application/json", body);
    reply.headers_mut().insert("aqueduct-seq", HeaderValue::from(published.seq));
    reply
}

fn too_large(ring: &Ring) -> Refusal {
    let detail =
        format!("a record of ring {} has at most {} bytes", ring.name(), ring.max_payload_bytes());
    (Rejection::TooLarge, closing(problem(StatusCode::PAYLOAD_TOO_LARGE, &detail)))
}

fn shutting_down() -> Refusal {
    (
        Rejection::ShuttingDown,
        closing(retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, "shutting down"))),
    )
}

fn ready(http: &Http) -> Reply {
    let mut missing = Vec::new();
    if http.stop.is_set() {
        missing.push("shutting down".to_owned());
    }
    missing.extend(
        http.rings
            .iter()
            .filter(|ring| ring.status().full)
            .map(|ring| format!("ring {} is full", ring.name())),
    );
    if missing.is_empty() {
        return with(StatusCode::OK, "application/json", r#"{"ready":true}"#);
    }
    retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, &missing.join("; ")))
}

fn metrics(http: &Http) -> Reply {
    for ring in &http.rings {
        ring.status();
    }
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    http.metrics.http_connections.set(gauge(http.slots.used()));
    http.metrics.control_connections.set(gauge(http.control.connections()));
    match http.metrics.text() {
        Ok(text) => with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_record_path_names_a_ring() {
        assert_eq!(records_of("/v1/rings/demo/records"), Some("demo"));
        for other in [
            "/v1/rings/demo",
            "/v1/rings/a/b/records",
            "/v1/rings/demo/records/",
            "/v1/rings/records",
            "/",
            "*",
        ] {
            assert_eq!(records_of(other), None, "{other}");
        }
    }
}
