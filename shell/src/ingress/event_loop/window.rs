//! Idempotency keys that a ring has seen lately, with what became of their records.
//!
//! A window is looked at, and added to, while the ring is locked for a turn. So of two requests
//! with one key, whatever loops they are on, one appends and the other finds it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use crate::codec::{Keyed, Recall, Seen};

/// The keys of one ring.
pub struct Window {
    /// Most keys; 0 takes none.
    most: usize,
    /// How long one is kept.
    time: Duration,
    /// Two hashes of 64 bits, with secrets of this process: nobody can choose keys or bodies that
    /// are taken for others.
    secrets: [RandomState; 2],
    by_key: HashMap<u128, Entry>,
    /// In the order in which they came. INVARIANT: each is in `by_key`.
    order: VecDeque<(Instant, u128)>,
}

struct Entry {
    body: u128,
    seen: Seen,
    /// Of a message for several rings: its number in each.
    seqs: Box<[u64]>,
}

impl Window {
    /// Keeps at most so many keys, for this time.
    pub fn new(most: usize, time: Duration) -> Self {
        let secrets = [RandomState::new(), RandomState::new()];
        Self { most, time, secrets, by_key: HashMap::new(), order: VecDeque::new() }
    }

    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let half = |secret: &RandomState| {
            let mut hasher = secret.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            u128::from(hasher.finish())
        };
        half(&self.secrets[0]) << 64 | half(&self.secrets[1])
    }

    /// Looks for a key.
    pub fn recall(&mut self, keyed: &Keyed<'_>, now: Instant) -> Recall {
        if self.most == 0 {
            return Recall::Off;
        }
        self.forget_old(now);
        let (key, body) = self.hashes(keyed);
        match self.by_key.get(&key) {
            None => Recall::New,
            Some(entry) if entry.body == body => Recall::Seen(entry.seen),
            Some(_) => Recall::Conflict,
        }
    }

    /// Remembers a key that was new. Returns how many others were forgotten before their time.
    /// `seqs` are its numbers in [`Keyed::rings`].
    pub fn remember(&mut self, keyed: &Keyed<'_>, seen: Seen, seqs: &[u64], now: Instant) -> u64 {
        let (key, body) = self.hashes(keyed);
        let mut forgotten = 0;
        while self.order.len() >= self.most && !self.order.is_empty() {
            self.forget_first();
            forgotten += 1;
        }
        if self.by_key.insert(key, Entry { body, seen, seqs: seqs.into() }).is_none() {
            self.order.push_back((now, key));
        }
        forgotten
    }

    /// The numbers of a message for several rings whose key was just found.
    pub fn seqs(&self, keyed: &Keyed<'_>) -> &[u64] {
        let key = self.hash(&[keyed.owner, keyed.key]);
        self.by_key.get(&key).map_or(&[], |entry| &entry.seqs)
    }

    fn hashes(&self, keyed: &Keyed<'_>) -> (u128, u128) {
        let tag = keyed.type_tag.to_le_bytes();
        let rings: Vec<u8> = keyed.rings.iter().flat_map(|ring| ring.0.to_le_bytes()).collect();
        (self.hash(&[keyed.owner, keyed.key]), self.hash(&[&tag, &rings, keyed.body]))
    }

    fn forget_old(&mut self, now: Instant) {
        let time = self.time;
        let is_old = |(since, _): &(Instant, u128)| now.saturating_duration_since(*since) >= time;
        // A few at a time: each call brings at most one.
        for _ in 0..8 {
            if !self.order.front().is_some_and(is_old) {
                break;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::RingId;

    fn keyed<'a>(owner: &'a str, key: &'a str, body: &'a str) -> Keyed<'a> {
        let (owner, key, body) = (owner.as_bytes(), key.as_bytes(), body.as_bytes());
        Keyed { owner, key, type_tag: 0, body, rings: &[] }
    }

    const SEEN: Seen = Seen { first: 7, last: 9, records: 3 };

    #[test]
    fn a_key_is_its_owners_and_stands_for_one_body_and_type() {
        let (mut window, now) = (Window::new(10, Duration::from_secs(60)), Instant::now());
        assert_eq!(window.recall(&keyed("ann", "k", "body"), now), Recall::New);
        window.remember(&keyed("ann", "k", "body"), SEEN, &[], now);
        assert_eq!(window.recall(&keyed("ann", "k", "body"), now), Recall::Seen(SEEN));
        assert_eq!(window.recall(&keyed("ann", "k", "other"), now), Recall::Conflict);
        let other_type = Keyed { type_tag: 1, ..keyed("ann", "k", "body") };
        assert_eq!(window.recall(&other_type, now), Recall::Conflict);
        assert_eq!(window.recall(&keyed("bob", "k", "body"), now), Recall::New);
        assert_eq!(window.recall(&keyed("an", "nk", "body"), now), Recall::New);
    }

    #[test]
    fn a_key_stands_for_the_rings_of_its_message_and_has_a_number_for_each() {
        let (mut window, now) = (Window::new(10, Duration::from_secs(60)), Instant::now());
        let rings = [RingId(0), RingId(3)];
        let both = Keyed { rings: &rings, ..keyed("", "k", "body") };
        window.remember(&both, SEEN, &[7, 4], now);
        assert_eq!(
            (window.recall(&both, now), window.seqs(&both)),
            (Recall::Seen(SEEN), &[7, 4][..])
        );
        assert_eq!(window.recall(&keyed("", "k", "body"), now), Recall::Conflict);
        let others = [RingId(0), RingId(2)];
        let other = Keyed { rings: &others, ..both };
        assert_eq!(window.recall(&other, now), Recall::Conflict);
    }

    #[test]
    fn the_window_is_bounded_by_count_and_time() {
        let (mut window, begun) = (Window::new(3, Duration::from_secs(60)), Instant::now());
        let names: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        let mut forgotten = 0;
        for (second, name) in (0..).zip(&names) {
            let at = begun + Duration::from_secs(second);
            assert_eq!(window.recall(&keyed("", name, ""), at), Recall::New);
            forgotten += window.remember(&keyed("", name, ""), SEEN, &[], at);
        }
        assert_eq!((forgotten, window.order.len(), window.by_key.len()), (2, 3, 3));
        assert_eq!(window.recall(&keyed("", "1", ""), begun), Recall::New);
        assert_eq!(window.recall(&keyed("", "2", ""), begun), Recall::Seen(SEEN));
        let later = begun + Duration::from_secs(62);
        assert_eq!(window.recall(&keyed("", "2", ""), later), Recall::New);
        assert_eq!(window.recall(&keyed("", "3", ""), later), Recall::Seen(SEEN));
        let much_later = begun + Duration::from_secs(120);
        assert_eq!(window.recall(&keyed("", "4", ""), much_later), Recall::New);
        assert_eq!((window.order.len(), window.by_key.len()), (0, 0));
    }
}
