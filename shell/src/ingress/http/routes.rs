//! What each path answers at the address of operators.

use hyper::body::{Body, Incoming};
use hyper::header::{HOST, ORIGIN};
use hyper::{Request, StatusCode, Version};

use super::Http;
#[cfg(feature = "otel")]
use super::accepts;
use super::reply::{Reply, allowing, closing, empty, for_browsers, problem, retry_later, with};
use crate::admin::{Admin, Page, Target};
use crate::codec::http1::is_host;

/// Answers one request and counts the answer.
pub(super) fn answer(http: &Http, request: &Request<Incoming>) -> Reply {
    let reply = match (&http.admin, Target::of(request.uri().path())) {
        (Some(admin), Some(target)) => {
            refusal(request).unwrap_or_else(|| page(admin, request, &target))
        }
        _ => problem(StatusCode::NOT_FOUND, "no such resource; see /openapi.json"),
    };
    http.count_response(reply.status().as_u16());
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

fn page(admin: &Admin, request: &Request<Incoming>, target: &Target) -> Reply {
    let method = request.method();
    if !target.methods().split(", ").any(|allowed| method == allowed) {
        let reply = problem(StatusCode::METHOD_NOT_ALLOWED, "this resource has other methods");
        return allowing(reply, target.methods());
    }
    let answer = match target {
        #[cfg(feature = "otel")]
        Target::Metrics if accepts::open_metrics(request.headers()) => admin.open_metrics(),
        _ => admin.answer(target),
    };
    match answer {
        Page::Content(kind, content) => with(StatusCode::OK, kind, content),
        Page::File(kind, content) => for_browsers(with(StatusCode::OK, kind, content)),
        Page::Unavailable(why) => retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, &why)),
        Page::Failed(why) => problem(StatusCode::INTERNAL_SERVER_ERROR, why),
        Page::Missing(what) => problem(StatusCode::NOT_FOUND, what),
        Page::Done => empty(StatusCode::NO_CONTENT),
    }
}
