//! What was answered, and how long it took.

use std::io::Write;
use std::time::Duration;

/// Latencies of one kind of answer, ns.
#[derive(Default)]
struct Latencies(Vec<u64>);

/// Everything that is said in the end.
#[derive(Default)]
pub(crate) struct Report {
    taken: Latencies,
    refused: Latencies,
    /// Other statuses than 2xx and 503.
    other: u64,
    /// How much later than due requests went out, because of this program or because all
    /// connections were busy.
    lateness: Latencies,
    /// Requests that were due and never sent: all connections were busy.
    pub(crate) unsent: u64,
    pub(crate) unanswered: u64,
    numbers: Vec<(u64, u64)>,
}

impl Latencies {
    fn add(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// As JSON, in us: p50, p90, p99, p99.9 and the largest.
    fn json(&mut self) -> String {
        self.0.sort_unstable();
        let at = |permille: usize| {
            let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
            let ns = self.0.get(index).copied().unwrap_or(0);
            format!("{}.{:03}", ns / 1000, ns % 1000)
        };
        let (p50, p90, p99, p999, max) = (at(500), at(900), at(990), at(999), at(1000));
        format!(
            "{{\"p50_us\":{p50},\"p90_us\":{p90},\"p99_us\":{p99},\"p999_us\":{p999},\
             \"max_us\":{max}}}"
        )
    }
}

impl Report {
    pub(crate) fn sent_late(&mut self, by: Duration) {
        self.lateness.add(by);
    }

    pub(crate) fn answered(&mut self, took: Duration, status: u16, seq: Option<u64>, number: u64) {
        match status {
            200..=299 => {
                self.taken.add(took);
                self.numbers.extend(seq.map(|seq| (seq, number)));
            }
            503 => self.refused.add(took),
            _ => self.other += 1,
        }
    }

    pub(crate) fn print(&mut self, sent: u64, time: Duration) {
        let (taken, refused) = (self.taken.0.len(), self.refused.0.len());
        println!(
            "{{\"seconds\":{:.3},\"sent\":{sent},\"taken\":{taken},\"refused\":{refused},\
             \"other\":{},\"unsent\":{},\"unanswered\":{},\"latency\":{},\"refusal\":{},\
             \"lateness\":{}}}",
            time.as_secs_f64(),
            self.other,
            self.unsent,
            self.unanswered,
            self.taken.json(),
            self.refused.json(),
            self.lateness.json(),
        );
    }

    /// Writes sequence number and number of each request that was taken.
    pub(crate) fn write_numbers(&self, file: &str) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(self.numbers.len() * 16);
        for (seq, number) in &self.numbers {
            bytes.extend_from_slice(&seq.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        std::fs::File::create(file)?.write_all(&bytes)
    }
}
