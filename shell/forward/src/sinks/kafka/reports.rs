//! Delivery reports of one batch, as librdkafka's thread brings them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// Bits of a ticket that number a record of its batch; those above number the batch.
const RECORD_BITS: u32 = 24;

/// What came back of the records of a batch.
#[derive(Debug, Default)]
pub(super) struct Reports {
    now: Mutex<Now>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    batch: usize,
    /// For each record: nothing yet, delivered, or why not.
    reports: Vec<Option<Result<(), RDKafkaErrorCode>>>,
    reported: usize,
    /// How many of them somebody waits for.
    awaited: Option<usize>,
}

/// Numbers for the records of one batch. Those of another one are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tickets(usize);

impl Tickets {
    /// Returns the number of a record, counted from 0.
    pub(super) fn of(self, at: usize) -> usize {
        debug_assert!(at < 1 << RECORD_BITS, "a batch has a million records at most");
        self.0 << RECORD_BITS | at
    }
}

impl Reports {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a batch; what comes of earlier ones is not counted.
    pub(super) fn begin(&self, records: usize) -> Tickets {
        let mut now = self.now();
        now.batch = (now.batch + 1) & (usize::MAX >> RECORD_BITS);
        now.reports.clear();
        now.reports.resize(records, None);
        now.reported = 0;
        now.awaited = None;
        Tickets(now.batch)
    }

    fn report(&self, ticket: usize, result: Result<(), RDKafkaErrorCode>) {
        let mut now = self.now();
        let at = ticket & ((1 << RECORD_BITS) - 1);
        if ticket >> RECORD_BITS != now.batch {
            return;
        }
        if let Some(report @ None) = now.reports.get_mut(at) {
            *report = Some(result);
            now.reported += 1;
            // Waking takes longer than a report: once, when all have come.
            if now.awaited.is_some_and(|awaited| now.reported >= awaited) {
                now.awaited = None;
                self.came.notify_one();
            }
        }
    }

    /// Waits until so many records have their report; whether they have.
    pub(super) fn wait(&self, records: usize, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut now = self.now();
        while now.reported < records {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                now.awaited = None;
                return false;
            }
            now.awaited = Some(records);
            let waited = self.came.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Returns the first of so many records that is not delivered, and why. One without a report
    /// has timed out.
    pub(super) fn first_failure(&self, records: usize) -> Option<(usize, RDKafkaErrorCode)> {
        let now = self.now();
        let first = now.reports[..records].iter().position(|report| *report != Some(Ok(())))?;
        let error = match now.reports[first] {
            Some(Err(error)) => error,
            _ => RDKafkaErrorCode::MessageTimedOut,
        };
        Some((first, error))
    }
}

/// What librdkafka tells: reports, and its log.
pub(super) struct Observer(Arc<Reports>);

impl Observer {
    pub(super) const fn new(reports: Arc<Reports>) -> Self {
        Self(reports)
    }
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Observer {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.0.report(ticket, result);
    }
}
