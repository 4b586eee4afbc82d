//! What was found out about passwords lately, so that Argon2id runs once for many requests.
//!
//! Keyed by a hash with a random key, so that neither the secrets are here nor their plain hashes,
//! and that nobody can choose what collides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, Mac};

use super::hash::random;
use crate::middleware::credentials::{Check, Credential};
use crate::sync::lock;

/// How long a password that was right need not be computed again.
const GRANTED_FOR: Duration = Duration::from_secs(300);
/// How long a wrong one is known to be wrong.
const DENIED_FOR: Duration = Duration::from_secs(10);
/// Most entries of either kind.
const ENTRIES_MAX: usize = 4096;

type Key = [u8; 32];

/// Results by name and secret. What is wrong never displaces what is right.
pub(super) struct Cache {
    key: Key,
    granted: Mutex<HashMap<Key, (Instant, Arc<Credential>)>>,
    denied: Mutex<HashMap<Key, (Instant, ())>>,
}

impl Cache {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { key: random()?, granted: Mutex::default(), denied: Mutex::default() })
    }

    /// Returns what is known, or that finding out is slow.
    pub(super) fn get(&self, name: &[u8], secret: &[u8]) -> Check {
        let (key, now) = (self.key_of(name, secret), Instant::now());
        if let Some((until, credential)) = lock(&self.granted).get(&key)
            && now < *until
        {
            return Check::Granted(Arc::clone(credential));
        }
        let denied = lock(&self.denied).get(&key).is_some_and(|(until, ())| now < *until);
        if denied { Check::Denied } else { Check::Slow }
    }

    /// Keeps what was found out.
    pub(super) fn put(&self, name: &[u8], secret: &[u8], found: Option<&Arc<Credential>>) {
        let key = self.key_of(name, secret);
        match found {
            Some(credential) => {
                insert(&mut lock(&self.granted), key, GRANTED_FOR, Arc::clone(credential));
            }
            None => insert(&mut lock(&self.denied), key, DENIED_FOR, ()),
        }
    }

    fn key_of(&self, name: &[u8], secret: &[u8]) -> Key {
        // A key of 32 bytes is allowed, so this cannot fail.
        let Ok(mut mac) = Blake2bMac::<U32>::new_from_slice(&self.key) else { return self.key };
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name);
        mac.update(secret);
        mac.finalize_fixed().into()
    }
}

/// Inserts; a full table first loses what is out of date, and then whatever there is.
fn insert<T>(table: &mut HashMap<Key, (Instant, T)>, key: Key, time: Duration, value: T) {
    let now = Instant::now();
    if table.len() >= ENTRIES_MAX {
        table.retain(|_, (until, _)| now < *until);
        if table.len() >= ENTRIES_MAX {
            table.clear();
        }
    }
    table.insert(key, (now + time, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_ones_are_bounded_and_displace_no_right_one() {
        let cache = Cache::new().expect("random bytes");
        let credential = Arc::new(Credential { name: "a".to_owned(), rings: None, mark: 1 });
        cache.put(b"a", b"right", Some(&credential));
        assert!(matches!(cache.get(b"a", b"wrong"), Check::Slow));
        for number in 0..3 * ENTRIES_MAX {
            cache.put(b"a", number.to_string().as_bytes(), None);
        }
        assert!(lock(&cache.denied).len() <= ENTRIES_MAX);
        let last = (3 * ENTRIES_MAX - 1).to_string();
        assert!(matches!(cache.get(b"a", last.as_bytes()), Check::Denied));
        assert!(matches!(cache.get(b"a", b"right"), Check::Granted(who) if who == credential));
        let run_together = cache.get(b"", b"aright");
        assert!(matches!(run_together, Check::Slow), "a name does not run into its secret");
    }

    #[test]
    fn nothing_is_known_longer_than_it_holds() {
        let mut table = HashMap::new();
        insert(&mut table, [0; 32], Duration::ZERO, ());
        assert!(table.values().all(|(until, ())| *until <= Instant::now()));
    }

    #[test]
    fn a_full_table_loses_what_is_out_of_date_before_anything_else() {
        let mut table = HashMap::new();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            key
        };
        insert(&mut table, key(0), GRANTED_FOR, 0);
        for number in 1..ENTRIES_MAX {
            insert(&mut table, key(number), Duration::ZERO, number);
        }
        assert_eq!(table.len(), ENTRIES_MAX);
        insert(&mut table, key(ENTRIES_MAX), GRANTED_FOR, ENTRIES_MAX);
        assert_eq!(table.len(), 2);
        assert!(table.contains_key(&key(0)), "it was good still");
    }

    #[test]
    fn what_is_out_of_date_is_found_out_again() {
        let cache = Cache::new().expect("random bytes");
        let credential = Arc::new(Credential { name: "a".to_owned(), rings: None, mark: 1 });
        let key = cache.key_of(b"a", b"s");
        insert(&mut lock(&cache.granted), key, Duration::ZERO, credential);
        insert(&mut lock(&cache.denied), key, Duration::ZERO, ());
        std::thread::sleep(Duration::from_millis(1));
        assert!(matches!(cache.get(b"a", b"s"), Check::Slow));
    }
}
