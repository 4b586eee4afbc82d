//! Reconnecting after the listener's end: an attempt now and then, none of which waits, until there
//! is a listener again.
//!
//! Meanwhile the old ring stays mapped; it is drained, so its reader finds nothing more. Only a
//! successful attachment replaces it.

use std::time::{Duration, Instant};

use aqueduct_core::ReadError;

use super::reading::told;
use super::{Client, Event, Phase, waiting};
use crate::attach::{self, Patience, Request};
use crate::error::OpenError;
use crate::info::{Change, End, RingInfo};
use crate::link::SLEEP_SLICE;
use crate::source::Source;

/// How to attach again.
pub(crate) struct Reconnecting {
    pub(crate) request: Request,
    /// For each handshake.
    pub(crate) timeout: Duration,
    /// For all attempts after one end; zero: none is made.
    pub(crate) limit: Duration,
    /// The first pause and the longest.
    pub(crate) backoff: (Duration, Duration),
}

/// What came of a step.
enum Step {
    StillDown,
    Attached,
    GivenUp,
}

impl Client {
    /// What to return after the end of the ring; `None`: look again, at a new attachment.
    pub(super) fn go_on_after(&mut self, end: End) -> Option<Result<Event, ReadError>> {
        match self.step(end) {
            None => Some(told(end)),
            Some(Step::StillDown) => Some(Ok(Event::Empty)),
            Some(Step::Attached) => None,
            Some(Step::GivenUp) => Some(told(self.outage.end)),
        }
    }

    /// Makes a step while down; false if there is something to read now.
    pub(super) fn is_still_down(&mut self) -> bool {
        matches!(self.step(self.outage.end), Some(Step::StillDown))
    }

    /// How long nothing needs to be done.
    pub(super) fn time_to_next_step(&self) -> Duration {
        let now = Instant::now();
        let until = match (self.phase, &self.reconnecting) {
            (Phase::Greeted { until }, _) => until,
            (Phase::Down { next_attempt }, Some(how)) => {
                let end = self.outage.began.checked_add(how.limit);
                end.map_or(next_attempt, |end| end.min(next_attempt))
            }
            _ => now,
        };
        let left = until.saturating_duration_since(now);
        left.clamp(Duration::from_millis(1), SLEEP_SLICE)
    }

    /// Makes one step, without waiting; `None` if reconnecting is not wanted. `end` is how the
    /// attached ring ended.
    fn step(&mut self, end: End) -> Option<Step> {
        let how = self.reconnecting.as_ref().filter(|how| !how.limit.is_zero())?;
        let (timeout, limit) = (how.timeout, how.limit);
        if self.phase == Phase::Attached {
            self.start_outage(end);
        }
        let now = Instant::now();
        if let Phase::Down { next_attempt } = self.phase
            && now >= next_attempt
        {
            self.totals.attempts += 1;
            let how = self.reconnecting.as_ref()?;
            match attach::begin(&mut self.link, &how.request, Patience::none()) {
                Ok(()) => self.phase = Phase::Greeted { until: soon(now, timeout) },
                Err(error) => self.attempt_failed(error, now),
            }
        }
        if let Phase::Greeted { until } = self.phase {
            let how = self.reconnecting.as_ref()?;
            match attach::finish(&self.link, &how.request, Patience::none()) {
                Ok((source, info)) => {
                    self.adopt(source, info);
                    return Some(Step::Attached);
                }
                Err(OpenError::Timeout) if now < until => {}
                Err(error) => self.attempt_failed(error, now),
            }
        }
        if self.phase == Phase::Over {
            return Some(Step::GivenUp);
        }
        if matches!(self.phase, Phase::Down { .. }) && now - self.outage.began >= limit {
            self.phase = Phase::Over;
            return Some(Step::GivenUp);
        }
        Some(Step::StillDown)
    }

    fn start_outage(&mut self, end: End) {
        let now = Instant::now();
        let fruitful = self.totals.records + self.totals.skipped != self.outage.records_before;
        self.outage.end = end;
        self.hung_up = true;
        self.link.disconnect();
        if fruitful || !self.outage.resumed {
            self.outage.began = now;
        }
        if fruitful || self.totals.attachments == 1 {
            self.outage.backoff = self.backoff().0;
            self.phase = Phase::Down { next_attempt: now };
        } else {
            // Attached and lost again for nothing: not at once once more.
            self.pause_before_next(now);
        }
    }

    fn attempt_failed(&mut self, error: OpenError, now: Instant) {
        self.failure = Some(error);
        self.link.disconnect();
        self.pause_before_next(now);
    }

    fn pause_before_next(&mut self, now: Instant) {
        let pause = self.outage.backoff;
        self.phase = Phase::Down { next_attempt: soon(now, pause) };
        self.outage.backoff = pause.saturating_mul(2).min(self.backoff().1);
    }

    fn backoff(&self) -> (Duration, Duration) {
        self.reconnecting.as_ref().map_or_else(Default::default, |how| how.backoff)
    }

    /// Puts a new attachment in the place of the one before.
    fn adopt(&mut self, source: Source, info: RingInfo) {
        let before = std::mem::replace(&mut self.source, source);
        let old_epoch = std::mem::replace(&mut self.info, info).epoch;
        self.failure = None;
        self.phase = Phase::Attached;
        self.hung_up = false;
        self.look_again_after = waiting::LOOK_AGAIN_MIN;
        self.totals.attachments += 1;
        self.outage.records_before = self.totals.records + self.totals.skipped;
        self.outage.resumed = self.info.epoch == old_epoch;
        if self.outage.resumed {
            self.source.resume(&before);
            return;
        }
        let change = Change {
            old_epoch,
            new_epoch: self.info.epoch,
            old_next_seq: before.next_seq(),
            old_end: self.outage.end,
            missed_old: matches!(self.outage.end, End::TailOutOfRange { .. }),
            missed_new: !self.source.is_at_first(),
            down: self.outage.began.elapsed(),
        };
        self.change = Some(change);
        self.untold = Some(change);
    }
}

/// A time from now; one that no clock can count to is a century.
fn soon(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400))
}
