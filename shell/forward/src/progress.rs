//! The bar of `--once`, on a terminal. Nothing else is told by it, and nothing waits for it.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use aqueduct::log;

/// How often it is drawn.
const PERIOD: Duration = Duration::from_millis(100);
const WIDTH: usize = 30;

/// A line that is drawn again and again.
#[derive(Debug)]
pub struct Bar {
    total: u64,
    began: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    /// Begins, if stderr is a terminal and somebody can see it.
    pub fn new(total: u64) -> Option<Self> {
        let is_seen = stderr().is_terminal();
        is_seen.then(|| Self { total, began: Instant::now(), drawn: None })
    }

    /// Draws it, unless it was drawn a moment ago.
    pub fn show(&mut self, done: u64) {
        let now = Instant::now();
        if self.drawn.is_none_or(|drawn| now - drawn >= PERIOD) {
            self.drawn = Some(now);
            self.draw(done);
        }
    }

    /// Draws it for the last time, and ends its line.
    pub fn end(&self, done: u64) {
        self.draw(done);
        log::draw("\n".to_owned());
    }

    fn draw(&self, done: u64) {
        // A terminal that is gone or stopped is nothing that matters here.
        log::draw(line(done, self.total, self.began.elapsed()));
    }
}

/// The line, over the one before.
#[allow(clippy::cast_precision_loss, reason = "a rate to look at")]
fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(done);
    let tenths = if total == 0 { 1000 } else { u128::from(done) * 1000 / u128::from(total) };
    let full = usize::try_from(tenths).unwrap_or(1000) * WIDTH / 1000;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "\r[{}{}] {:3}.{} % {done}/{total} records, {rate:.0}/s \x1b[K",
        "#".repeat(full),
        " ".repeat(WIDTH - full),
        tenths / 10,
        tenths % 10
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        let second = Duration::from_secs(1);
        assert!(line(0, 0, second).contains("[##############################] 100.0 % 0/0"));
        assert!(line(0, 9, second).contains("[                              ]   0.0 % 0/9"));
        let half = line(500, 1000, second);
        assert!(half.contains("[###############               ]  50.0 % 500/1000 records, 500/s"));
        assert!(line(12, 10, second).contains("100.0 % 12/12"), "more came than was there");
    }
}
