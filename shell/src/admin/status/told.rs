//! What is wrong, in the log: a line when a finding begins, and one when it is over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use smol::Timer;

use super::findings::{FINDINGS_MAX, Finding, findings};
use super::watch::{INTERVAL, Watch};
use crate::admin::Admin;

/// The end of the process, which the log tells in other words.
const ENDING: [&str; 2] = ["shutting_down", "ring_closed"];

/// A finding without its numbers: kind, ring, reader, forwarder.
type Key = (&'static str, Option<String>, Option<String>, Option<String>);

/// What the log has said.
#[derive(Default)]
struct Told(HashSet<Key>);

impl Watch {
    /// Takes samples until the process ends, and tells the log what is wrong.
    pub async fn samples(admin: Arc<Admin>) {
        let mut told = Told::default();
        loop {
            let now = Instant::now();
            admin.watch.sample(&admin, now);
            let found = admin.watch.with(|kept| findings(&admin, kept, now));
            told.tell(&found);
            Timer::after(INTERVAL).await;
        }
    }
}

impl Told {
    fn tell(&mut self, found: &[Finding]) {
        let (begun, over) = self.compare(found);
        for Finding { kind, ring, reader, forwarder, text } in begun {
            tracing::warn!(kind, ring, reader, forwarder, text, "trouble begins");
        }
        for (kind, ring, reader, forwarder) in over {
            tracing::info!(kind, ring, reader, forwarder, "trouble is over");
        }
    }

    /// Returns what was not there the last time, and what is not there any more.
    fn compare<'f>(&mut self, found: &'f [Finding]) -> (Vec<&'f Finding>, Vec<Key>) {
        let told = found.iter().filter(|finding| !ENDING.contains(&finding.kind));
        let told: Vec<&Finding> = told.take(FINDINGS_MAX).collect();
        let now: HashSet<Key> = told.iter().map(|finding| key(finding)).collect();
        let before = std::mem::replace(&mut self.0, now);
        let begun = told.into_iter().filter(|finding| !before.contains(&key(finding))).collect();
        let over = before.into_iter().filter(|key| !self.0.contains(key)).collect();
        (begun, over)
    }
}

fn key(finding: &Finding) -> Key {
    let Finding { kind, ring, reader, forwarder, .. } = finding;
    (kind, ring.clone(), reader.clone(), forwarder.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: &'static str, reader: &str, text: &str) -> Finding {
        let (ring, reader) = (Some("orders".to_owned()), Some(reader.to_owned()));
        Finding { kind, ring, reader, forwarder: None, text: text.to_owned() }
    }

    #[test]
    fn a_finding_is_told_when_it_begins_and_when_it_is_over_whatever_its_numbers() {
        let mut told = Told::default();
        let first = [finding("reader_slow", "a", "1 s"), finding("ring_closed", "a", "")];
        let (begun, over) = told.compare(&first);
        assert_eq!((begun, over.len()), (vec![&first[0]], 0));
        let later = [finding("reader_slow", "a", "2 s")];
        let (begun, over) = told.compare(&later);
        assert_eq!((begun.len(), over.len()), (0, 0));
        let other = [finding("reader_slow", "b", "1 s")];
        let (begun, over) = told.compare(&other);
        assert_eq!((begun, over), (vec![&other[0]], vec![key(&first[0])]));
        assert_eq!(told.compare(&[]).1, [key(&other[0])]);
    }
}
