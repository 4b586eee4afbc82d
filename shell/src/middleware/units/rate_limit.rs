//! Token buckets: so many requests a second of each client or credential, with bursts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::middleware::{Client, Exchange, Fault, Problem, RequestHead, Step, Unit};
use crate::sync::lock;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Those of an address; of IPv6, of a network of 64 bits.
    Client,
    /// Those of a credential. Without one, those of the client.
    Credential,
}

/// How often full buckets are looked for at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Refuses requests beyond a rate with 429. Its table is bounded: when it is full, those that are
/// not in it share one bucket, until others have not asked for as long as their bucket takes to
/// fill.
#[derive(Debug)]
pub struct RateLimit {
    per: Per,
    /// Tokens a second.
    rate: f64,
    /// Most tokens.
    burst: f64,
    /// Most buckets.
    most: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Client(Client),
    Credential(String),
    /// Everyone for whom there is no place.
    Others,
}

#[derive(Debug, Default)]
struct Buckets {
    by: HashMap<Who, Bucket>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// `rate` requests a second, at most `burst` at once, at most `most` buckets.
    pub fn new(per: Per, rate: f64, burst: u32, most: usize) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per, rate, burst, most, buckets: Mutex::default() }
    }

    /// What [`new`](Self::new) was given.
    pub fn settings(&self) -> (Per, f64, u32, usize) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was one")]
        let burst = self.burst as u32;
        (self.per, self.rate, burst, self.most)
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + since * self.rate).min(self.burst)
    }

    /// Takes a token; how long to wait for one if there is none.
    fn take(&self, who: Who, now: Instant) -> Result<(), Duration> {
        let mut buckets = lock(&self.buckets);
        let is_full = buckets.by.len() >= self.most && !buckets.by.contains_key(&who);
        if is_full && buckets.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
            buckets.swept = Some(now);
            buckets.by.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
        }
        let is_full = is_full && buckets.by.len() >= self.most;
        let bucket = match buckets.by.entry(if is_full { Who::Others } else { who }) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(Bucket { tokens: self.burst, at: now }),
        };
        let tokens = self.filled(*bucket, now);
        let is_there = tokens >= 1.0;
        *bucket = Bucket { tokens: if is_there { tokens - 1.0 } else { tokens }, at: now };
        if is_there { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - tokens) / self.rate)) }
    }
}

impl Unit for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn head(&self, head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<Step, Problem> {
        let who = match (&exchange.credential, self.per) {
            (Some(credential), Per::Credential) => Who::Credential(credential.name.clone()),
            _ => Who::Client(exchange.client),
        };
        let Err(wait) = self.take(who, head.now) else { return Ok(Step::Next) };
        let seconds = wait.as_secs() + 1;
        Err(Problem {
            status: 429,
            fault: Fault::RateLimited,
            lines: format!("retry-after: {seconds}\r\n").into(),
            detail: "too many requests; this one was not taken".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Who {
        Who::Client(Client::Net(std::net::Ipv4Addr::from(number).into()))
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let limit = RateLimit::new(Per::Client, 2.0, 3, 10);
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(limit.take(client(1), begun), Ok(()));
        }
        assert_eq!(limit.take(client(1), begun), Err(Duration::from_millis(500)));
        assert_eq!(limit.take(client(2), begun), Ok(()), "another client has its own");
        let sooner = begun + Duration::from_millis(125);
        assert_eq!(limit.take(client(1), sooner), Err(Duration::from_millis(375)));
        let later = begun + Duration::from_millis(500);
        assert_eq!(limit.take(client(1), later), Ok(()));
        assert!(limit.take(client(1), later).is_err());
        let much_later = begun + Duration::from_secs(3600);
        for _ in 0..3 {
            assert_eq!(limit.take(client(1), much_later), Ok(()));
        }
        assert!(limit.take(client(1), much_later).is_err(), "a bucket does not overflow");
    }

    #[test]
    fn the_table_is_bounded_and_strangers_share_a_bucket_while_it_is_full() {
        let limit = RateLimit::new(Per::Client, 1.0, 2, 100);
        let begun = Instant::now();
        for number in 0..100 {
            assert_eq!(limit.take(client(number), begun), Ok(()));
        }
        let taken = (100..1000).filter(|&number| limit.take(client(number), begun).is_ok()).count();
        assert_eq!(taken, 2, "the shared bucket's burst");
        assert_eq!(lock(&limit.buckets).by.len(), 101);
        assert_eq!(limit.take(client(7), begun), Ok(()), "those who are in it are not concerned");
        let later = begun + Duration::from_secs(2);
        assert_eq!(limit.take(client(5000), later), Ok(()));
        assert!(lock(&limit.buckets).by.len() <= 2, "full buckets are forgotten");
    }

    #[test]
    fn a_table_that_is_full_is_swept_though_it_had_room_a_moment_ago() {
        let limit = RateLimit::new(Per::Client, 1000.0, 2, 2);
        let begun = Instant::now();
        for number in 0..3 {
            assert_eq!(limit.take(client(number), begun), Ok(()));
        }
        assert_eq!(lock(&limit.buckets).by.len(), 3);
        let limit = RateLimit::new(Per::Client, 1000.0, 2, 2);
        for number in 0..2 {
            assert_eq!(limit.take(client(number), begun), Ok(()));
        }
        // Both are full again, and the next one gets a bucket of its own.
        assert_eq!(limit.take(client(2), begun + Duration::from_millis(5)), Ok(()));
        assert!(lock(&limit.buckets).by.contains_key(&client(2)));
    }
}
