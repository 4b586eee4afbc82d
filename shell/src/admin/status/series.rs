//! A value over the last ten minutes.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};

/// Samples that are kept: ten minutes of them.
pub(super) const SAMPLES: usize = 300;

/// The latest samples of a value, the oldest first. Memory is taken as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<f32>);

impl Series {
    /// Adds a sample; the oldest goes.
    #[allow(clippy::cast_possible_truncation, reason = "seven digits are plenty for a plot")]
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(value as f32);
    }

    /// Returns the latest sample; 0 before there is one.
    pub(super) fn last(&self) -> f64 {
        self.0.back().copied().unwrap_or_default().into()
    }

    /// Adds up the latest samples, `count` of them or as many as there are.
    pub(super) fn sum(&self, count: usize) -> f64 {
        self.0.iter().rev().take(count).copied().map(f64::from).sum()
    }
}

impl Serialize for Series {
    /// Writes numbers that no longer change in what a plot can show: four digits after the point.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter().map(|&value| (f64::from(value) * 10_000.0).round() / 10_000.0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_sample_goes() {
        let mut series = Series::default();
        assert!(series.last() + series.sum(5) < 0.1);
        for value in 0..SAMPLES + 3 {
            series.push(f64::from(u32::try_from(value).expect("small")));
        }
        assert_eq!(series.0.len(), SAMPLES);
        let seen = [series.0[0].into(), series.last(), series.sum(2)];
        assert_eq!(seen.map(|value| value.to_string()), ["3", "302", "603"]);
    }

    #[test]
    fn it_is_written_as_an_array() {
        let mut series = Series::default();
        series.push(0.1);
        series.push(2.0);
        assert_eq!(serde_json::to_string(&series).expect("written"), "[0.1,2.0]");
    }
}
