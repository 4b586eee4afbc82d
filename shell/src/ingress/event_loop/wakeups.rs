//! When a loop wakes the readers that sleep: after the answers, at once for a lone record, and
//! under load only so often, because waking costs both sides several times what a record does.

use std::time::{Duration, Instant};

/// Records for which readers are woken before the time has come.
const RECORDS: u64 = 256;

/// Wake-ups that are due for what a loop has published. Dropping a `W` makes it.
pub(super) struct Wakeups<W> {
    due: Vec<W>,
    /// Least time from one time to the next.
    interval: Duration,
    /// When readers were woken last.
    last: Option<Instant>,
    /// Records since.
    records: u64,
}

impl<W> Wakeups<W> {
    pub(super) fn new(interval: Duration) -> Self {
        Self { due: Vec::new(), interval, last: None, records: 0 }
    }

    /// Adds what is due for so many records.
    pub(super) fn add(&mut self, due: Option<W>, records: u64) {
        self.due.extend(due);
        self.records = self.records.saturating_add(records);
    }

    /// Has readers woken without further delay: there is no space without them.
    pub(super) fn hurry(&mut self) {
        self.records = RECORDS;
    }

    /// Returns how long readers may sleep on; `None` if none is to be woken.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if self.due.is_empty() {
            return None;
        }
        let left = match self.last {
            Some(last) if self.records < RECORDS => self.interval.saturating_sub(last.elapsed()),
            _ => Duration::ZERO,
        };
        Some(left)
    }

    /// Wakes each reader that sleeps, once, if the time has come.
    pub(super) fn make_if_due(&mut self) {
        if self.due_in() == Some(Duration::ZERO) {
            self.due.clear();
            self.last = Some(Instant::now());
            self.records = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    struct Woken<'a>(&'a Cell<u32>);

    impl Drop for Woken<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_lone_record_wakes_at_once_and_one_after_it_waits() {
        let woken = Cell::new(0);
        let mut wakeups = Wakeups::new(LONG);
        assert_eq!(wakeups.due_in(), None);
        wakeups.add(None, 1);
        assert_eq!(wakeups.due_in(), None, "nobody sleeps");
        wakeups.add(Some(Woken(&woken)), 1);
        assert_eq!(wakeups.due_in(), Some(Duration::ZERO));
        wakeups.make_if_due();
        assert_eq!((woken.get(), wakeups.due_in()), (1, None));
        wakeups.add(Some(Woken(&woken)), 1);
        wakeups.make_if_due();
        assert_eq!(woken.get(), 1);
        assert!(wakeups.due_in().is_some_and(|left| left > LONG / 2 && left <= LONG));
    }

    #[test]
    fn many_records_and_a_full_ring_do_not_wait() {
        let woken = Cell::new(0);
        let mut wakeups = Wakeups::new(LONG);
        wakeups.add(Some(Woken(&woken)), 1);
        wakeups.make_if_due();
        wakeups.add(Some(Woken(&woken)), 1);
        wakeups.add(Some(Woken(&woken)), RECORDS - 1);
        wakeups.make_if_due();
        assert_eq!(woken.get(), 3);
        wakeups.add(Some(Woken(&woken)), 1);
        wakeups.hurry();
        wakeups.make_if_due();
        assert_eq!((woken.get(), wakeups.due_in()), (4, None));
    }

    #[test]
    fn without_an_interval_each_turn_wakes() {
        let woken = Cell::new(0);
        let mut wakeups = Wakeups::new(Duration::ZERO);
        for turn in 1..=3 {
            wakeups.add(Some(Woken(&woken)), 1);
            wakeups.make_if_due();
            assert_eq!(woken.get(), turn);
        }
    }
}
