//! Time, read once per turn.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::codec::http1::date;

/// Never.
pub(super) const NEVER: u64 = u64::MAX;

/// The time of the present turn, in ms since the loop began, and as a date.
pub(in crate::ingress) struct Clock {
    begun: Instant,
    now_ms: u64,
    wall: SystemTime,
    unix_seconds: u64,
    date: [u8; 29],
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self {
            begun: Instant::now(),
            now_ms: 0,
            wall: UNIX_EPOCH,
            unix_seconds: 0,
            date: date::format(0),
        };
        clock.read();
        clock
    }

    /// Reads the time, which then holds until the next call.
    pub(super) fn read(&mut self) {
        self.now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.wall = SystemTime::now();
        let unix_seconds = self.wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if unix_seconds != self.unix_seconds {
            self.unix_seconds = unix_seconds;
            self.date = date::format(unix_seconds);
        }
    }

    /// Returns the time, ms.
    pub(super) fn now(&self) -> u64 {
        self.now_ms
    }

    /// Returns the time after a while, ms; never, after no while. The time of a turn is rounded
    /// down, so the end of a wait is rounded up: none ends early.
    pub(super) fn after(&self, wait: impl Into<Option<Duration>>) -> u64 {
        let Some(wait) = wait.into() else { return NEVER };
        let wait = u64::try_from(wait.as_millis()).unwrap_or(NEVER);
        self.now_ms.saturating_add(wait).saturating_add(1).min(NEVER - 1)
    }

    /// Returns how long it is until then.
    pub(super) fn until(&self, then: u64) -> Duration {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER);
        Duration::from_millis(then.saturating_sub(now))
    }

    /// Returns the time as all loops tell it.
    pub(in crate::ingress) fn instant(&self) -> Instant {
        self.begun + Duration::from_millis(self.now_ms)
    }

    /// Returns the time as people tell it.
    #[cfg(feature = "otel")]
    pub(super) fn wall(&self) -> SystemTime {
        self.wall
    }

    /// Returns the date as HTTP writes it.
    pub(in crate::ingress) fn date(&self) -> [u8; 29] {
        self.date
    }
}
