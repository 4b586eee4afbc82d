//! What each path answers. A status tells the truth: 202 only for a record that is in the ring.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode, Version};
use smol::{Timer, future};

use super::Http;
use super::reply::{Reply, allowing, closing, problem, refused, retry_later, with};
use crate::admin::{Admin, Page};
use crate::codec::http1::is_host;
use crate::ingress::{Record, Submit};
use crate::refusal::Refusal;
use crate::ring::{Published, Ring};

/// Body bytes for which room is made before they arrive.
const BODY_AHEAD_BYTES: usize = 64 << 10;

/// Answers one request and counts the answer.
pub(super) fn answer(
    http: Arc<Http>,
    request: Request<Incoming>,
) -> impl Future<Output = Reply> + Send {
    let submitted = if request.method() == Method::POST
        && let Some(submit) = &http.records
        && let Some(ring) = record_path(request.uri().path()).and_then(|name| submit.ring(name))
    {
        let deadline = Instant::now() + http.limits.body_timeout;
        let received = receive(Arc::clone(ring), request, deadline);
        Ok((Arc::clone(ring), submit.submit(ring, received)))
    } else {
        Err(request)
    };
    async move {
        let reply = match submitted {
            Ok((ring, submitted)) => match submitted.await {
                Ok(published) => accepted(published),
                Err(refusal) => refused(refusal, ring.name()),
            },
            Err(request) => look(&http, &request),
        };
        http.count_response(reply.status().as_u16());
        reply
    }
}

/// Answers everything that is not a record for a ring.
fn look(http: &Http, request: &Request<Incoming>) -> Reply {
    let path = request.uri().path();
    let reply = match (&http.admin, &http.records) {
        (Some(admin), _) if Admin::PATHS.contains(&path) => {
            refusal(request).unwrap_or_else(|| page(admin, request.method(), path))
        }
        (_, Some(submit)) => no_record(submit, path),
        (_, None) => problem(
            StatusCode::NOT_FOUND,
            "no such resource; health and metrics are at /healthz, /readyz and /metrics",
        ),
    };
    // An unread body would have to be read to find the next request.
    if request.body().is_end_stream() { reply } else { closing(reply) }
}

/// Refuses what the codec refuses, too: a host that is not named once, and pages of other origins.
fn refusal(request: &Request<Incoming>) -> Option<Reply> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host_is_good = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_10,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if !host_is_good {
        let reply = problem(StatusCode::BAD_REQUEST, "a request names its host once");
        return Some(closing(reply));
    }
    let is_foreign = request.headers().contains_key(ORIGIN);
    is_foreign
        .then(|| problem(StatusCode::FORBIDDEN, "pages of this origin may not use this listener"))
}

fn page(admin: &Admin, method: &Method, path: &str) -> Reply {
    if method != Method::GET && method != Method::HEAD {
        let reply = problem(StatusCode::METHOD_NOT_ALLOWED, "this resource is only read");
        return allowing(reply, "GET, HEAD");
    }
    match admin.page(path) {
        Some(Page::Content(kind, content)) => with(StatusCode::OK, kind, content),
        Some(Page::Unavailable(why)) => retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, &why)),
        Some(Page::Failed(why)) => problem(StatusCode::INTERNAL_SERVER_ERROR, why),
        None => problem(StatusCode::NOT_FOUND, "no such resource"),
    }
}

/// Answers a request that posts no record to a ring there is.
fn no_record(submit: &Submit, path: &str) -> Reply {
    match record_path(path) {
        None => problem(
            StatusCode::NOT_FOUND,
            "no such resource; records are posted to /v1/rings/{ring}/records",
        ),
        Some(name) if submit.ring(name).is_some() => {
            allowing(problem(StatusCode::METHOD_NOT_ALLOWED, "records are posted"), "POST")
        }
        Some(_) => problem(StatusCode::NOT_FOUND, "there is no ring of that name"),
    }
}

/// Finds `{ring}` in `/v1/rings/{ring}/records`.
fn record_path(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/rings/")?.strip_suffix("/records").filter(|name| !name.contains('/'))
}

/// Receives the record of a request, until the deadline.
async fn receive(
    ring: Arc<Ring>,
    request: Request<Incoming>,
    deadline: Instant,
) -> Result<Record<Bytes>, Refusal> {
    let type_tag = type_tag(&request).ok_or(Refusal::BadType)?;
    let payload = future::or(body(&ring, request.into_body()), async {
        Timer::at(deadline).await;
        Err(Refusal::Timeout)
    })
    .await?;
    Ok(Record { type_tag, payload })
}

/// Reads the type tag: 0 without the header, `None` if it is not one number of 16 bits.
fn type_tag(request: &Request<Incoming>) -> Option<u16> {
    let mut values = request.headers().get_all("aqueduct-type").iter();
    let Some(value) = values.next() else { return Some(0) };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if values.next().is_some() {
        return None;
    }
    text.parse().ok()
}

/// Reads the whole body, unless it is larger than a record may be. A body that arrives in one piece
/// is not copied.
async fn body(ring: &Ring, mut body: Incoming) -> Result<Bytes, Refusal> {
    let limit = ring.max_payload_bytes();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let announced = body.size_hint().lower();
    if announced > u64::from(limit) {
        return Err(Refusal::TooLarge { bytes: announced, limit });
    }
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "request body broke off");
            Refusal::Disconnected
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let so_far = if joined.is_empty() { first.len() } else { joined.len() };
        if data.len() > most - so_far {
            return Err(Refusal::TooLarge { bytes: (so_far + data.len()) as u64, limit });
        }
        if so_far == 0 {
            first = data;
            continue;
        }
        let more = if joined.is_empty() {
            // Not everything that was announced: it may never come.
            let arrived = first.len() + data.len();
            announced.clamp(arrived, BODY_AHEAD_BYTES.max(arrived))
        } else {
            data.len()
        };
        joined.try_reserve(more).map_err(|_| Refusal::NoMemory)?;
        if joined.is_empty() {
            joined.extend_from_slice(&first);
            first = Bytes::new();
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}

/// Answers for a record that is in the ring.
fn accepted(published: Published) -> Reply {
    let body = format!(r#"{{"seq":{},"epoch":"{:016x}"}}"#, published.seq, published.epoch);
    let mut reply = with(StatusCode::ACCEPTED, "application/json", body);
    reply.headers_mut().insert("aqueduct-seq", HeaderValue::from(published.seq));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_record_path_names_a_ring() {
        assert_eq!(record_path("/v1/rings/demo/records"), Some("demo"));
        for other in [
            "/v1/rings/demo",
            "/v1/rings/a/b/records",
            "/v1/rings/demo/records/",
            "/v1/rings/records",
            "/",
            "*",
        ] {
            assert_eq!(record_path(other), None, "{other}");
        }
    }
}
