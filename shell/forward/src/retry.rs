//! When to try again: pauses that grow, with jitter, and a circuit breaker. Neither sleeps nor
//! looks at a clock.

use std::time::Duration;

/// The longest pause that the other side may ask for.
const ASKED_LONGEST: Duration = Duration::from_secs(3600);

/// How failures are answered.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest; pauses double until then.
    pub longest: Duration,
    /// Failures in a row that open the circuit.
    pub breaker_failures: u32,
    /// How long it stays open before the other side is asked whether it is there again.
    pub breaker_pause: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this time.
    Retry(Duration),
    /// Send nothing for this time, then ask whether the other side is there.
    Probe(Duration),
}

/// Counts failures in a row.
///
/// Transitions: closed → open (so many failures) → half open (a probe succeeded) → closed (a
/// delivery) or open (any failure).
#[derive(Debug)]
pub struct Retry {
    policy: Policy,
    failures: u32,
    random: u64,
}

impl Retry {
    /// Begins without a failure. `seed` makes the jitter, so that processes do not beat together.
    pub const fn new(policy: Policy, seed: u64) -> Self {
        Self { policy, failures: 0, random: seed | 1 }
    }

    /// Counts a delivery: all is well.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure, of a delivery or of a probe. `after` is what the other side asked for, and
    /// is kept, up to an hour.
    pub fn failed(&mut self, after: Option<Duration>) -> Next {
        self.failures = self.failures.saturating_add(1);
        let asked = after.unwrap_or_default().min(ASKED_LONGEST);
        if self.failures >= self.policy.breaker_failures {
            return Next::Probe(self.jittered(self.policy.breaker_pause).max(asked));
        }
        let doublings = (self.failures - 1).min(20);
        let pause = self.policy.first.saturating_mul(1 << doublings).min(self.policy.longest);
        Next::Retry(self.jittered(pause).max(asked))
    }

    /// Returns whether the circuit is open.
    pub const fn is_open(&self) -> bool {
        self.failures >= self.policy.breaker_failures
    }

    /// Half of it to all of it.
    fn jittered(&mut self, pause: Duration) -> Duration {
        // xorshift64: enough for jitter.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random >> 33).unwrap_or(0); // 31 bits
        pause / 2 + pause.mul_f64(0.5 * f64::from(part) / f64::from(1_u32 << 31))
    }
}

/// How many records are tried together: half of them after an attempt that did not end in its time,
/// and more again, by an eighth, after each that did.
#[derive(Debug)]
pub struct Window {
    most: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { most: usize::MAX }
    }
}

impl Window {
    /// Returns the most; at least 1.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Says that so many were delivered together.
    pub const fn delivered(&mut self, records: usize) {
        if records >= self.most {
            self.most = self.most.saturating_add(self.most / 8 + 1);
        }
    }

    /// Says that so many took too long.
    pub fn late(&mut self, records: usize) {
        self.most = (records / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(2),
        breaker_failures: 7,
        breaker_pause: Duration::from_secs(1),
    };

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter_and_then_the_circuit_opens() {
        for seed in 0..200 {
            let mut retry = Retry::new(POLICY, seed);
            for expected_ms in [100, 200, 400, 800, 1600, 2000] {
                let Next::Retry(pause) = retry.failed(None) else {
                    panic!("the circuit is closed")
                };
                let pause_ms = pause.as_millis();
                assert!(expected_ms / 2 <= pause_ms && pause_ms <= expected_ms, "{pause_ms}");
                assert!(!retry.is_open());
            }
            for _ in 0..3 {
                let next = retry.failed(None);
                assert!(matches!(next, Next::Probe(pause) if pause <= POLICY.breaker_pause));
                assert!(retry.is_open());
            }
            retry.succeeded();
            assert!(!retry.is_open());
            assert!(matches!(retry.failed(None), Next::Retry(pause) if pause.as_millis() <= 100));
        }
    }

    #[test]
    fn a_window_finds_what_can_be_done_in_time_and_opens_again() {
        let mut window = Window::default();
        for can in [700, 1, 100_000] {
            let (mut late, mut delivered) = (0, 0);
            for _ in 0..200 {
                let tried = window.most().min(100_000);
                if tried > can {
                    window.late(tried);
                    late += 1;
                } else {
                    window.delivered(tried);
                    delivered += tried;
                }
            }
            assert!(delivered >= can * 50, "{delivered} of {can} at a time");
            assert!(can == 1 || late < 50, "{late} of 200 attempts were too long with {can}");
        }
        assert!(window.most() >= 100_000, "nothing is left of it");
        window.late(1);
        assert_eq!(window.most(), 1);
    }

    #[test]
    fn jitter_spreads_pauses_over_half_of_their_length() {
        let mut retry = Retry::new(Policy { breaker_failures: 1, ..POLICY }, 42);
        let pauses: Vec<_> = (0..1000)
            .map(|_| match retry.failed(None) {
                Next::Probe(pause) => pause.as_millis(),
                Next::Retry(_) => panic!("the circuit is open"),
            })
            .collect();
        for tenth in 5..10 {
            let share = pauses.iter().filter(|&&pause| pause / 100 == tenth).count();
            assert!((150..250).contains(&share), "{share} in {tenth}00 ms");
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_within_reason() {
        let mut retry = Retry::new(POLICY, 3);
        for seconds in [5, 120, 3600] {
            let asked = Duration::from_secs(seconds);
            assert_eq!(retry.failed(Some(asked)), Next::Retry(asked));
        }
        let year = Some(Duration::from_secs(31_000_000));
        assert_eq!(retry.failed(year), Next::Retry(ASKED_LONGEST));
    }
}
