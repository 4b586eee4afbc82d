//! The end of the work: asked for once, then there is a deadline.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says that the process is to end, to whoever waits. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// When what is in flight must be done; `None` until the end is asked for.
    deadline: Mutex<Option<Instant>>,
    asked: Condvar,
}

impl Stop {
    /// Asks for the end, within this time. Later calls change nothing.
    pub fn ask(&self, within: Duration) {
        let mut deadline = self.lock();
        let now = Instant::now();
        // Without a deadline that the clock can hold there is a distant one.
        deadline.get_or_insert_with(|| now.checked_add(within).unwrap_or(now));
        self.shared.asked.notify_all();
    }

    /// Returns whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.lock().is_some()
    }

    /// Returns whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.lock().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Returns the time that an attempt may take: `limit`, or what is left until the deadline.
    pub fn time_for(&self, limit: Duration) -> Duration {
        let left = self.lock().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(limit, |left| left.min(limit))
    }

    /// Sleeps this long, or until the end is asked for; once it was, until the deadline at most.
    pub fn pause(&self, time: Duration) {
        let until = Instant::now() + self.time_for(time);
        let mut deadline = self.lock();
        let was_asked = deadline.is_some();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || (deadline.is_some() && !was_asked) {
                return;
            }
            deadline = self
                .shared
                .asked
                .wait_timeout(deadline, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_ends_a_pause_and_bounds_what_follows() {
        let stop = Stop::default();
        assert_eq!(stop.time_for(Duration::from_secs(9)), Duration::from_secs(9));
        let other = stop.clone();
        let began = Instant::now();
        let thread = std::thread::spawn(move || other.pause(Duration::from_secs(60)));
        stop.ask(Duration::from_millis(200));
        thread.join().expect("it ended");
        assert!(began.elapsed() < Duration::from_secs(30), "the pause ended");
        assert!(stop.is_asked() && stop.time_for(Duration::MAX) <= Duration::from_millis(200));
        stop.pause(Duration::from_secs(60));
        assert!(stop.is_over(), "a pause lasts until the deadline at most");
        stop.ask(Duration::from_secs(60));
        assert!(stop.is_over(), "asking again changes nothing");
    }
}
