//! A line of the log for each request.

use crate::middleware::{Exchange, Problem, RequestHead, Step, Unit};

/// Target of the lines. The limiter of the log leaves them alone: they are asked for.
const TARGET: &str = crate::log::ACCESS;

/// Writes a line for each request of the route once it is answered: who asked what, and how it was
/// answered after how many microseconds. Lines that nobody takes are lost and counted, like all.
#[derive(Debug)]
pub struct AccessLog;

impl Unit for AccessLog {
    fn name(&self) -> &'static str {
        "access_log"
    }

    fn head(&self, head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<Step, Problem> {
        // Secrets do not belong into queries, but are found there.
        let path = head.target.split('?').next().unwrap_or_default();
        exchange.line = Some((head.method.to_owned(), path.to_owned()));
        Ok(Step::Next)
    }

    fn answered(&self, exchange: &Exchange, status: u16) {
        let Some((method, path)) = &exchange.line else { return };
        let us = u64::try_from(exchange.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let credential = exchange.credential.as_ref().map(|credential| credential.name.as_str());
        tracing::info!(
            target: TARGET,
            client = %exchange.client,
            credential,
            request_id = exchange.request_id.as_deref(),
            method,
            path,
            route = exchange.route().pattern.as_str(),
            status,
            us,
            "request"
        );
    }
}
