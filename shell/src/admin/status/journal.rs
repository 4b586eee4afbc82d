//! The journal of a ring as of the latest sample, and what two samples say of its disk.

use std::time::Duration;

use serde::Serialize;

use super::{milliseconds, rounded};
use crate::admin::status::watch::float;
use crate::ring::JournalLook;

/// A commit that takes this long has a disk that is in trouble.
pub(super) const WAITS: Duration = Duration::from_secs(2);

/// A journal as of the latest sample.
pub(super) struct KeptJournal {
    pub(super) look: JournalLook,
    written_per_second: f64,
    /// Mean since the sample before, seconds; nothing if there was no commit.
    commit_seconds: Option<f64>,
}

/// What is said of it.
#[derive(Serialize)]
pub(super) struct JournalSummary<'a> {
    ring: &'a str,
    durability: &'static str,
    state: &'static str,
    segments: u64,
    size_bytes: u64,
    room_bytes: u64,
    written_bytes_per_second: f64,
    commit_seconds: Option<f64>,
    waiting_seconds: f64,
    cursor_failures: u64,
    damaged_places: u64,
    missing_records: u64,
}

impl KeptJournal {
    /// Compares it with the sample before, if there is one, taken so many seconds ago.
    pub(super) fn new(look: JournalLook, before: Option<(&Self, f64)>) -> Self {
        let (mut written_per_second, mut commit_seconds) = (0.0, None);
        if let Some((Self { look: before, .. }, seconds)) = before {
            let written = look.written_bytes.saturating_sub(before.written_bytes);
            written_per_second = float(written) / seconds;
            let commits = look.commits.saturating_sub(before.commits);
            let took = (look.commit_seconds - before.commit_seconds).max(0.0);
            commit_seconds = (commits > 0).then(|| took / float(commits));
        }
        Self { look, written_per_second, commit_seconds }
    }

    /// Whether the commit that is under way takes so long that the disk is in trouble.
    pub(super) fn waits(&self) -> bool {
        self.look.waiting >= WAITS
    }

    /// Says what the start found missing; `None` if nothing.
    pub(super) fn damage(&self) -> Option<String> {
        let (places, records) = (self.look.damaged_places, self.look.missing_records);
        let missing = match records {
            0 => "how many records are missing is not known".to_owned(),
            1 => "1 record is missing, or more".to_owned(),
            _ => format!("{records} records are missing, or more"),
        };
        let text = format!("the start found {places} damaged places: {missing}; the log says more");
        (places > 0).then_some(text)
    }

    /// Sums it up; `trouble` is why nothing is taken.
    pub(super) fn summary<'a>(&self, ring: &'a str, trouble: Option<&str>) -> JournalSummary<'a> {
        let look = &self.look;
        let state = match trouble {
            Some(_) => "refuses",
            None if self.waits() => "waits",
            None if look.damaged_places > 0 => "damaged",
            None => "good",
        };
        JournalSummary {
            ring,
            durability: look.durability,
            state,
            segments: look.segments,
            size_bytes: look.size_bytes,
            room_bytes: look.room_bytes,
            written_bytes_per_second: rounded(self.written_per_second),
            commit_seconds: self.commit_seconds.map(|seconds| (seconds * 1e6).round() / 1e6),
            waiting_seconds: milliseconds(look.waiting),
            cursor_failures: look.cursor_failures,
            damaged_places: look.damaged_places,
            missing_records: look.missing_records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_samples_say_how_much_was_written_and_how_long_a_commit_took() {
        let look = |written_bytes, commits, commit_seconds, waiting| JournalLook {
            durability: "disk",
            written_bytes,
            commits,
            commit_seconds,
            waiting,
            ..JournalLook::default()
        };
        let first = KeptJournal::new(look(1000, 4, 1.0, Duration::ZERO), None);
        let of = |kept: &KeptJournal| serde_json::to_value(kept.summary("r", None)).expect("JSON");
        assert_eq!(of(&first)["commit_seconds"], serde_json::Value::Null);
        let second = KeptJournal::new(look(5000, 8, 1.5, WAITS), Some((&first, 2.0)));
        let said = of(&second);
        assert_eq!(
            (&said["written_bytes_per_second"], &said["commit_seconds"]),
            (&2000.0.into(), &0.125.into())
        );
        assert_eq!((&said["state"], &said["waiting_seconds"]), (&"waits".into(), &2.0.into()));
        let refused = serde_json::to_value(second.summary("r", Some("why"))).expect("JSON");
        assert_eq!(refused["state"], "refuses");
        let idle = KeptJournal::new(look(5000, 8, 1.5, Duration::ZERO), Some((&second, 2.0)));
        assert_eq!(
            (&of(&idle)["commit_seconds"], &of(&idle)["state"]),
            (&().into(), &"good".into())
        );
    }

    #[test]
    fn what_a_start_found_missing_is_a_state_and_a_sentence() {
        let look = |damaged_places, missing_records| JournalLook {
            damaged_places,
            missing_records,
            ..JournalLook::default()
        };
        let kept = |places, records| KeptJournal::new(look(places, records), None);
        assert_eq!(kept(0, 0).damage(), None);
        for (places, records, words) in [
            (1, 836, "1 damaged places: 836 records are missing, or more"),
            (2, 1, "2 damaged places: 1 record is missing, or more"),
            (1, 0, "how many records are missing is not known"),
        ] {
            let damaged = kept(places, records);
            let text = damaged.damage().expect("a sentence");
            assert!(text.contains(words), "{text}");
            let said = serde_json::to_value(damaged.summary("r", None)).expect("JSON");
            let numbers = (&said["damaged_places"], &said["missing_records"]);
            assert_eq!(
                (&said["state"], numbers),
                (&"damaged".into(), (&places.into(), &records.into()))
            );
            let refused = serde_json::to_value(damaged.summary("r", Some("why"))).expect("JSON");
            assert_eq!(refused["state"], "refuses");
        }
    }
}
