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
    /// Whether one is not delivered; told once.
    has_failed: bool,
    is_told: bool,
}

/// What a wait has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// All have their report.
    All,
    /// One of them is not delivered, which was not known before.
    Failed,
    /// The time is over.
    Late,
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
        (now.has_failed, now.is_told) = (false, false);
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
            now.has_failed |= result.is_err();
            let is_news = now.has_failed && !now.is_told;
            // Waking takes longer than a report: once, when all have come or the first fails.
            if now.awaited.is_some_and(|awaited| now.reported >= awaited || is_news) {
                now.awaited = None;
                self.came.notify_one();
            }
        }
    }

    /// Whether one of those that came says that its record is not delivered.
    pub(super) fn has_failed(&self) -> bool {
        self.now().has_failed
    }

    /// Waits until so many records have their report, or the first says that it is not delivered.
    pub(super) fn wait(&self, records: usize, time: Duration) -> Waited {
        let until = Instant::now() + time;
        let mut now = self.now();
        while now.reported < records {
            if now.has_failed && !now.is_told {
                now.is_told = true;
                return Waited::Failed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                now.awaited = None;
                return Waited::Late;
            }
            now.awaited = Some(records);
            let waited = self.came.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Waited::All
    }

    /// Returns the first of so many records that is not delivered, and why. One without a report
    /// has timed out. Of those that were taken back because of another the reason is the other's.
    pub(super) fn first_failure(&self, records: usize) -> Option<(usize, RDKafkaErrorCode)> {
        let now = self.now();
        let reports = &now.reports[..records];
        let first = reports.iter().position(|report| *report != Some(Ok(())))?;
        let why = |report: &Option<Result<(), RDKafkaErrorCode>>| match report {
            Some(Err(RDKafkaErrorCode::PurgeQueue) | Ok(())) => None,
            Some(Err(error)) => Some(*error),
            None => Some(RDKafkaErrorCode::MessageTimedOut),
        };
        let error = reports[first..].iter().find_map(why);
        Some((first, error.unwrap_or(RDKafkaErrorCode::PurgeQueue)))
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
