//! Rounds in turn (A B A B …), their medians, and ratios round by round, so that a slow minute of
//! the machine touches all alike.

use std::time::Duration;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds of every subject.
    pub rounds: usize,
    /// What one round of one subject shall take.
    pub round: Duration,
}

impl Plan {
    /// From `AQUEDUCT_BENCH_ROUNDS` and `AQUEDUCT_BENCH_ROUND_MS`; else `rounds` of `round_ms`.
    ///
    /// # Panics
    /// A variable is set and is not a number from 1.
    pub fn from_env(rounds: usize, round_ms: u64) -> Self {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .ok()
                .filter(|&n| n > 0)
                .unwrap_or_else(|| panic!("{name}={text}: not a number from 1")),
            Err(_) => default,
        };
        let rounds = number("AQUEDUCT_BENCH_ROUNDS", rounds as u64);
        let rounds = usize::try_from(rounds).expect("a number of rounds");
        Self { rounds, round: Duration::from_millis(number("AQUEDUCT_BENCH_ROUND_MS", round_ms)) }
    }
}

/// Something that can be done so many times, and tells how long that took.
pub struct Subject<'a> {
    /// As it is printed.
    pub name: &'a str,
    /// Does it.
    pub run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Subject<'a> {
    /// Names a way to do it.
    pub fn new(name: &'a str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Nanoseconds per time, one sample per round.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: Vec<f64>,
}

impl Series {
    /// Of these samples.
    pub fn of(samples: Vec<f64>) -> Self {
        Self { samples }
    }

    /// In the order of the rounds.
    pub fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// The value below which `quantile` (0 to 1) of the samples lie.
    ///
    /// # Panics
    /// There are no samples.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index among few samples"
    )]
    pub fn quantile(&self, quantile: f64) -> f64 {
        assert!(!self.samples.is_empty(), "no samples");
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
    }

    /// The middle sample.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Smallest and largest sample.
    pub fn spread(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    /// What undisturbed rounds give: the value below which a tenth of the samples lie. On a machine
    /// that others use too, the median tells how often somebody was in the way, this tells what the
    /// code does.
    pub fn quiet(&self) -> f64 {
        self.quantile(0.1)
    }

    /// This series by the other, round by round: how many times longer this one takes.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        Self { samples: self.samples.iter().zip(&other.samples).map(|(a, b)| a / b).collect() }
    }
}

/// Measures all subjects in turn. One series for each, in their order.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times far below 2^52"
)]
pub fn interleave(plan: Plan, subjects: &mut [Subject]) -> Vec<Series> {
    let times: Vec<u64> = subjects
        .iter_mut()
        .map(|subject| {
            let mut times = 64;
            loop {
                let took = (subject.run)(times);
                if took >= plan.round / 8 {
                    return ((times as f64 * plan.round.as_secs_f64() / took.as_secs_f64()) as u64)
                        .max(1);
                }
                times *= 4;
            }
        })
        .collect();
    let mut series = vec![Series::default(); subjects.len()];
    for _ in 0..plan.rounds {
        for ((subject, series), &times) in subjects.iter_mut().zip(&mut series).zip(&times) {
            let took = (subject.run)(times);
            series.samples.push(took.as_secs_f64() * 1e9 / times as f64);
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread_are_those_of_the_sorted_samples() {
        let series = Series::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((series.median().to_bits(), series.spread()), (3.0_f64.to_bits(), (1.0, 5.0)));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = Series::of(vec![2.0, 20.0, 3.0]).over(&Series::of(vec![1.0, 10.0, 1.0]));
        assert_eq!(ratio.spread(), (2.0, 3.0));
        assert_eq!(ratio.median().to_bits(), 2.0_f64.to_bits());
    }
}
