//! What clients were answered and readers were handed, and whether that can all be true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Epoch and sequence number.
pub type Place = (u64, u64);

/// Everything that anybody knows.
#[derive(Default)]
pub struct Known {
    /// What was ever seen or answered under a number.
    given: BTreeMap<Place, Vec<u8>>,
    /// Number of each payload, which are all different, in each epoch.
    places: HashMap<Vec<u8>, BTreeMap<u64, u64>>,
    /// What was answered 202 and must be seen.
    owed: BTreeSet<Place>,
    seen: BTreeSet<Vec<u8>>,
    pub answered: u64,
    /// Answers that a loss of power may have taken back, with `process`.
    pub taken_back: u64,
    pub refused: u64,
    pub epochs: BTreeSet<u64>,
    pub faults: Vec<String>,
}

impl Known {
    fn give(&mut self, place: Place, payload: &[u8], who: &str) {
        let before = self.given.entry(place).or_insert_with(|| payload.to_vec());
        if before != payload {
            let before = String::from_utf8_lossy(before).into_owned();
            self.fault(format!("{who}: {place:x?} was {before:.40}"));
        }
        let places = self.places.entry(payload.to_vec()).or_default();
        let seq = *places.entry(place.0).or_insert(place.1);
        if seq != place.1 {
            let payload = String::from_utf8_lossy(payload).into_owned();
            self.fault(format!("{who}: {place:x?}, {payload:.40}, was number {seq} as well"));
        }
        self.epochs.insert(place.0);
    }

    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// A client was answered 202.
    pub fn answer(&mut self, place: Place, payload: &[u8]) {
        self.give(place, payload, "answered");
        self.answered += 1;
        if !self.owed.insert(place) {
            self.fault(format!("{place:x?} was answered twice"));
        }
    }

    /// A reader was handed a record.
    pub fn see(&mut self, place: Place, payload: &[u8]) {
        self.give(place, payload, "seen");
        self.seen.insert(payload.to_vec());
    }

    /// Everything that was answered and not seen is not owed any more.
    pub fn forgive(&mut self) {
        let all = self.owed.len();
        self.settle();
        self.taken_back += self.owed.len() as u64;
        debug_assert!(self.owed.len() <= all);
        self.owed.clear();
    }

    /// Strikes what was seen, under whatever number of whatever epoch.
    fn settle(&mut self) {
        let Self { owed, given, seen, .. } = self;
        owed.retain(|place| !given.get(place).is_some_and(|payload| seen.contains(payload)));
    }

    /// Everything was read: what is still owed is lost.
    pub fn end(&mut self) -> u64 {
        let answered = self.answered;
        self.settle();
        for place in std::mem::take(&mut self.owed) {
            let payload = String::from_utf8_lossy(&self.given[&place]).into_owned();
            self.fault(format!("lost: {place:x?}, {payload:.40}"));
        }
        answered
    }

    pub fn seen(&self) -> u64 {
        self.seen.len() as u64
    }
}
