//! Limits: a bounded number of permits, waiting until all are given back; a bound on bytes; and
//! places for those who have not said yet what they want.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use event_listener::Event;
use prometheus::IntGauge;
use smol::channel::{Receiver, Sender};

use crate::sync::lock;

/// Names the limit of file sizes, if there is one, for whoever is refused because of it.
pub fn of_file_sizes() -> Option<String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current?;
    Some(format!("the limit of file sizes (RLIMIT_FSIZE) is {limit} bytes"))
}

/// A bound on how many of something exist at once.
pub struct Limit {
    most: usize,
    /// INVARIANT: at most `most`; the number of `Permit` values alive.
    used: Mutex<usize>,
    emptied: Event,
}

/// The right to be one of those that a [`Limit`] counts; dropping it gives the right back.
pub struct Permit {
    limit: Arc<Limit>,
    /// Where it is counted, too, for people.
    gauge: Option<IntGauge>,
}

impl Limit {
    /// Makes a limit of `most`, none of them used.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: Mutex::new(0), emptied: Event::new() })
    }

    /// Takes a permit, if one is left.
    pub fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut used = lock(&self.used);
        if *used == self.most {
            return None;
        }
        *used += 1;
        Some(Permit { limit: Arc::clone(self), gauge: None })
    }

    /// Returns how many there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns how many permits are taken.
    pub fn used(&self) -> usize {
        *lock(&self.used)
    }

    /// Waits until no permit is taken.
    pub async fn all_returned(&self) {
        loop {
            let emptied = self.emptied.listen();
            if self.used() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Permit {
    /// Has it counted here, too, from now on and as long as it exists.
    #[must_use]
    pub fn counted(mut self, gauge: &IntGauge) -> Self {
        debug_assert!(self.gauge.is_none(), "it is counted somewhere already");
        gauge.inc();
        self.gauge = Some(gauge.clone());
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
        let left = {
            let mut used = lock(&self.limit.used);
            *used -= 1;
            *used
        };
        if left == 0 {
            self.limit.emptied.notify(usize::MAX);
        }
    }
}

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Count = std::sync::atomic::AtomicU64;

/// Says whether the system would give so many bytes of memory.
pub type Asks = fn(u64) -> bool;

/// What is left, where the system may refuse memory, for all that has no answer to that: bytes.
pub const UNREFUSED_BYTES: u64 = 8 << 20;

/// A bound on bytes that several hold at once.
pub struct ByteLimit {
    most: u64,
    /// INVARIANT: at most `most`; the sum of all `Held` values alive.
    used: Count,
    /// Of them, those that are held for work and of which nobody knows how many are allocated.
    promised: Count,
    /// Where the system may refuse memory although the bound would leave it.
    asks: Option<Asks>,
}

/// What one of them holds; dropping it gives it back.
pub struct Held {
    limit: Arc<ByteLimit>,
    bytes: u64,
    /// INVARIANT: this much of `promised` is its own.
    promised: u64,
}

impl ByteLimit {
    /// Makes a bound of `most` bytes, none of them used.
    pub fn new(most: u64) -> Arc<Self> {
        Self::asking(most, None)
    }

    /// The same where the system may refuse memory: it is asked whenever somebody holds more. So
    /// what can be refused is refused, before an allocation fails that cannot be, which would end
    /// the process.
    pub fn asking(most: u64, asks: Option<Asks>) -> Arc<Self> {
        Arc::new(Self { most, used: Count::new(0), promised: Count::new(0), asks })
    }

    /// Whether the system has so many bytes more, with what was promised and what must be left.
    fn has(&self, more: u64) -> bool {
        self.asks.is_none_or(|asks| {
            // ORDER(none): who promises more at the same time asks after that.
            let promised = self.promised.load(Ordering::Relaxed);
            asks(more.saturating_add(promised).saturating_add(UNREFUSED_BYTES))
        })
    }

    /// Returns how many bytes may still be held.
    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.used())
    }

    /// Returns how many bytes are held.
    pub fn used(&self) -> u64 {
        // ORDER(none): a number for people.
        self.used.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Holds nothing.
    pub fn nothing(limit: &Arc<ByteLimit>) -> Self {
        Self { limit: Arc::clone(limit), bytes: 0, promised: 0 }
    }

    /// Returns how many bytes all holders together may hold.
    pub fn most(&self) -> u64 {
        self.limit.most
    }

    /// Holds this many bytes from now on, if the others leave so many and the system has them. Less
    /// than before is always possible.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = if bytes <= self.bytes {
            // ORDER(none): only the sum matters; what it bounds is each holder's own.
            self.limit.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            true
        } else {
            let more = bytes - self.bytes;
            let room = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.limit.most);
            // ORDER(none): as above.
            let fits =
                self.limit.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
            let has = fits && self.limit.has(more);
            if fits && !has {
                // ORDER(none): as above.
                self.limit.used.fetch_sub(more, Ordering::Relaxed);
            }
            has
        };
        if fits {
            self.bytes = bytes;
        }
        fits
    }

    /// Holds this many bytes for work that allocates them little by little, in place of what it
    /// held.
    #[must_use]
    pub fn promise(&mut self, bytes: usize) -> bool {
        self.keep_promise();
        // ORDER(none): only the sum matters. It is in it before anybody is asked, so of two who
        // promise at the same time one at least knows of both.
        self.limit.promised.fetch_add(bytes as u64, Ordering::Relaxed);
        self.promised = bytes as u64;
        // It is promised already, and none of it is allocated.
        let fits = self.resize(0) && self.limit.has(0) && self.hold_unasked(bytes);
        if !fits {
            self.keep_promise();
        }
        fits
    }

    fn hold_unasked(&mut self, bytes: usize) -> bool {
        let room = |used: u64| used.checked_add(bytes as u64).filter(|sum| *sum <= self.limit.most);
        // ORDER(none): as in `resize`.
        let fits = self.limit.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if fits {
            self.bytes = bytes as u64;
        }
        fits
    }

    fn keep_promise(&mut self) {
        // ORDER(none): only the sum matters.
        self.limit.promised.fetch_sub(std::mem::take(&mut self.promised), Ordering::Relaxed);
    }

    /// Makes room for `more` bytes in `buffer` and holds its whole capacity. It grows as a vector
    /// does by itself, but not beyond `end` bytes, where its message ends, if that is enough.
    /// Returns whether there is the memory and others leave it.
    #[must_use]
    pub fn reserve(&mut self, buffer: &mut Vec<u8>, more: usize, end: usize) -> bool {
        let (len, capacity) = (buffer.len() + more, buffer.capacity());
        let most = if end >= len { end } else { usize::MAX };
        let capacity = if len > capacity { len.max(most.min(2 * capacity)) } else { capacity };
        self.resize(capacity) && buffer.try_reserve_exact(capacity - buffer.len()).is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep_promise();
        let _ = self.resize(0);
    }
}

/// Bounded places for peers that have not shown yet what they want. A new one always gets a place;
/// if none is free, the oldest has to go. So silent peers keep nobody out.
pub struct Rotation {
    most: usize,
    places: Mutex<Places>,
    freed: Event,
}

#[derive(Default)]
struct Places {
    next: u64,
    /// Places that exist, with those that are lost and not given back yet. INVARIANT: at most
    /// `most`.
    used: usize,
    /// Those that are kept, in order of arrival.
    kept: VecDeque<(u64, Sender<()>)>,
}

/// A place in a [`Rotation`]; dropping it gives it back.
pub struct Place {
    rotation: Arc<Rotation>,
    number: u64,
    /// Ends when the place is lost.
    kept: Receiver<()>,
}

impl Rotation {
    /// Makes `most` free places; at least one.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), places: Mutex::default(), freed: Event::new() })
    }

    /// Takes a place. If there is none, the oldest is lost, and this waits until it is given back:
    /// whatever its owner holds is then free again.
    pub async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.listen();
            match self.try_enter() {
                Ok(place) => return place,
                // Closes its channel, which is what the owner waits for.
                Err(oldest) => drop(oldest),
            }
            freed.await;
        }
    }

    /// Takes a place, or the oldest one out of those that are kept.
    fn try_enter(self: &Arc<Self>) -> Result<Place, Option<(u64, Sender<()>)>> {
        let mut places = lock(&self.places);
        if places.used == self.most {
            return Err(places.kept.pop_front());
        }
        let (sender, kept) = smol::channel::bounded(1);
        let number = places.next;
        places.next += 1;
        places.used += 1;
        places.kept.push_back((number, sender));
        Ok(Place { rotation: Arc::clone(self), number, kept })
    }
}

impl Place {
    /// Waits until a newer peer needs this place.
    pub async fn lost(&self) {
        // Nothing is ever sent.
        let _ = self.kept.recv().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut places = lock(&self.rotation.places);
            places.used -= 1;
            if let Ok(at) = places.kept.binary_search_by_key(&self.number, |&(number, _)| number) {
                places.kept.remove(at);
            }
        }
        // One more, although one who was woken before has not come yet: there is a place for each.
        self.rotation.freed.notify_additional(1);
    }
}

#[cfg(test)]
mod tests {
    use smol::future::poll_once;

    use super::*;

    #[test]
    fn permits_are_bounded_and_given_back() {
        let limit = Limit::new(2);
        let first = limit.acquire();
        let second = limit.acquire();
        assert!(first.is_some() && second.is_some() && limit.acquire().is_none());
        drop(first);
        assert_eq!((limit.used(), limit.most()), (1, 2));
        assert!(limit.acquire().is_some());
        drop(second);
        smol::block_on(limit.all_returned());
    }

    #[test]
    fn a_permit_is_counted_as_long_as_it_exists() {
        let (limit, gauge) = (Limit::new(2), IntGauge::new("open", "open").expect("a name"));
        let first = limit.acquire().map(|permit| permit.counted(&gauge));
        let second = limit.acquire().map(|permit| permit.counted(&gauge));
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!((gauge.get(), limit.used()), (1, 1));
        drop(second);
        assert_eq!((gauge.get(), limit.used()), (0, 0));
    }

    #[test]
    fn the_last_permit_that_is_given_back_wakes_those_who_wait_for_it() {
        let limit = Limit::new(3);
        let (first, second) = (limit.acquire(), limit.acquire());
        let mut returned = std::pin::pin!(limit.all_returned());
        smol::block_on(async {
            assert!(poll_once(returned.as_mut()).await.is_none());
            drop(first);
            assert!(poll_once(returned.as_mut()).await.is_none(), "the second is still out");
            drop(second);
            assert!(poll_once(returned.as_mut()).await.is_some());
        });
    }

    #[test]
    fn bytes_are_bounded_over_all_who_hold_some_and_given_back() {
        let limit = ByteLimit::new(100);
        let (mut first, mut second) = (Held::nothing(&limit), Held::nothing(&limit));
        assert!(first.resize(60) && limit.left() == 40);
        assert!(second.resize(40) && limit.used() == 100 && limit.left() == 0);
        assert!(!second.resize(41) && limit.used() == 100, "what it held it still holds");
        assert!(first.resize(59) && second.resize(41) && !first.resize(usize::MAX));
        drop(first);
        assert_eq!(limit.used(), 41);
        assert!(second.resize(100));
        drop(second);
        assert_eq!(limit.used(), 0);
    }

    #[test]
    fn what_the_system_refuses_is_refused_before_it_is_allocated() {
        const LEFT: u64 = UNREFUSED_BYTES + 100;
        let limit = ByteLimit::asking(1 << 40, Some(|bytes| bytes <= LEFT));
        let (mut first, mut second) = (Held::nothing(&limit), Held::nothing(&limit));
        assert!(!first.resize(101) && limit.used() == 0);
        assert!(first.resize(100) && limit.used() == 100, "what it holds is allocated by now");
        assert!(second.promise(60) && limit.used() == 160);
        // Nobody knows how much of it is allocated.
        assert!(!first.resize(141) && first.resize(140));
        let mut third = Held::nothing(&limit);
        assert!(!third.promise(41) && third.promise(40) && !first.resize(141));
        assert!(!third.promise(41), "it held 40 of them itself");
        assert_eq!(limit.used(), 200);
        drop(second);
        assert!(third.promise(100) && limit.used() == 240);
        drop(third);
        assert!(first.resize(240) && limit.used() == 240);
        let mut buffer = Vec::new();
        assert!(!Held::nothing(&limit).reserve(&mut buffer, 101, 0) && buffer.capacity() == 0);
        // And the bound counts as ever.
        let limit = ByteLimit::asking(100, Some(|_| true));
        assert!(!Held::nothing(&limit).promise(101) && Held::nothing(&limit).promise(100));
        assert_eq!(limit.used(), 0);
    }

    #[test]
    fn a_buffer_grows_to_the_end_of_its_message_and_is_held_whole() {
        let limit = ByteLimit::new(1000);
        let (mut held, mut buffer) = (Held::nothing(&limit), Vec::new());
        for _ in 0..7 {
            assert!(held.reserve(&mut buffer, 100, 700));
            buffer.extend_from_slice(&[0; 100]);
            assert_eq!(limit.used(), buffer.capacity() as u64);
        }
        assert_eq!(buffer.capacity(), 700, "400 twice would be more");
        buffer.truncate(600);
        assert!(held.reserve(&mut buffer, 100, 900) && limit.used() == 700, "it is there already");
        buffer.extend_from_slice(&[0; 100]);
        assert!(!held.reserve(&mut buffer, 1, 0) && limit.used() == 700, "1400 would be too much");
        assert!(held.reserve(&mut buffer, 1, 701) && limit.used() == 701);
    }

    #[test]
    fn the_oldest_place_is_lost_to_the_newest_which_waits_until_it_is_given_back() {
        smol::block_on(async {
            let rotation = Rotation::new(2);
            let (first, second) = (rotation.enter().await, rotation.enter().await);
            assert!(poll_once(first.lost()).await.is_none());
            let mut third = std::pin::pin!(rotation.enter());
            assert!(poll_once(third.as_mut()).await.is_none(), "the first is still there");
            first.lost().await;
            assert!(poll_once(second.lost()).await.is_none());
            drop(first);
            let third = third.await;
            assert!(poll_once(second.lost()).await.is_none());
            drop(second);
            let fourth = rotation.enter().await;
            assert!(poll_once(third.lost()).await.is_none(), "a place was given back");
            let mut fifth = std::pin::pin!(rotation.enter());
            assert!(poll_once(fifth.as_mut()).await.is_none(), "there are two places, as before");
            third.lost().await;
            drop(fourth);
        });
    }

    #[test]
    fn each_place_that_is_given_back_wakes_one_of_those_who_wait() {
        let rotation = Rotation::new(2);
        let (first, second) =
            smol::block_on(async { (rotation.enter().await, rotation.enter().await) });
        let enter = || {
            let rotation = Arc::clone(&rotation);
            Box::pin(async move { rotation.enter().await })
        };
        let (mut third, mut fourth) = (enter(), enter());
        smol::block_on(async {
            assert!(poll_once(&mut third).await.is_none());
            assert!(poll_once(&mut fourth).await.is_none());
            // Both, before either of those who wait is polled again.
            drop((first, second));
            let third = poll_once(&mut third).await.expect("a place");
            let fourth = poll_once(&mut fourth).await.expect("a place");
            drop((third, fourth));
        });
    }
}
