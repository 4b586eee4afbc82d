//! The ring beside its oracle; every operation does both and compares.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use aqueduct_core::geometry::{distance, low32, max_payload_for};
use aqueduct_core::internals::Framing;
use aqueduct_core::layout::{cursor_word, ring_word};
use aqueduct_core::recovery::{Bound, Checkpoint, Cut, RecoverError, recover};
use aqueduct_core::shared::Native;
use aqueduct_core::{
    ClaimError, Memory, MemoryMut, Meta, Next, Observer, Producer, ReadError, Reader, RingConfig,
    Seek, SharedProducer, Start, SubscribeError, SubscriptionId,
};
use aqueduct_verify::explore::Events;
use aqueduct_verify::heap::Heap;

use crate::oracle::{Data, Item, Oracle};
use crate::{From, OBSERVERS, SUBSCRIPTIONS, Shape, Turn, Where};

const EPOCH: u64 = 0x0123_4567_89ab_cdef;
const CLAIMS: usize = 4;
pub(crate) type Ring = Heap<{ 256 + 64 * 32 }>;
type Page = Heap<256>;
type Single = Producer<Ring, Page, SUBSCRIPTIONS>;
type Many = SharedProducer<Ring, Page, Native, CLAIMS, SUBSCRIPTIONS>;

pub(crate) static SEEN: LazyLock<Events> = LazyLock::new(Events::default);

/// Where somebody reads, by the oracle.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    position: u64,
    expected: Option<u64>,
}

struct Sub {
    id: SubscriptionId,
    released: u64,
    attached: Option<(Reader<Ring, Page>, Page, Place)>,
}

struct Watcher {
    observer: Observer<Ring>,
    place: Place,
    lost: u64,
}

enum State {
    Open,
    Committed { nonce: u64, len: usize },
    Dropped,
}

struct Claim {
    pad: u64,
    granules: u64,
    state: State,
}

pub(crate) struct World {
    ring: Ring,
    /// Away while it is shared.
    producer: Option<Single>,
    max_payload: usize,
    subs: [Option<Sub>; SUBSCRIPTIONS],
    watchers: [Option<Watcher>; OBSERVERS],
    oracle: Oracle,
    oldest: u64,
    nonce: u64,
    /// Behind the claims in flight, at least `head`.
    claimed: u64,
}

fn payload(nonce: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (nonce.wrapping_mul(31) ^ at.wrapping_mul(7)).wrapping_add(3).to_le_bytes()[0])
        .collect()
}

fn meta(nonce: u64) -> Meta {
    Meta { type_tag: u16::try_from(nonce % 65_536).unwrap(), timestamp_ns: nonce << 10 }
}

/// What was given must be this record.
fn compare(record: aqueduct_core::Record, buf: &[u8], item: Item, data: Data) {
    let meta = meta(data.nonce);
    assert_eq!((record.seq, record.len, record.position), (data.seq, data.len, low32(item.start)));
    assert_eq!(
        (record.type_tag, record.timestamp_ns, record.flags),
        (meta.type_tag, meta.timestamp_ns, 0)
    );
    assert_eq!(buf[..record.len], payload(data.nonce, data.len));
}

impl World {
    pub(crate) fn new(shape: &Shape) -> Self {
        let ring = Ring::new();
        let mut config = RingConfig::new("recovery", EPOCH, shape.capacity as usize * 32);
        config.first_position = shape.first_position;
        let producer = Some(Producer::create(ring.clone(), &config).unwrap());
        let oracle = Oracle::new(shape.capacity, shape.first_position);
        let max_payload = max_payload_for(shape.capacity) as usize;
        let at = shape.first_position.into();
        let (subs, watchers) = ([const { None }; SUBSCRIPTIONS], [const { None }; OBSERVERS]);
        Self {
            ring,
            producer,
            max_payload,
            subs,
            watchers,
            oracle,
            oldest: at,
            nonce: 0,
            claimed: at,
        }
    }

    fn producer(&mut self) -> &mut Single {
        self.producer.as_mut().expect("it is not shared now")
    }

    fn floor(&self) -> u64 {
        self.subs.iter().flatten().map(|sub| sub.released).min().unwrap_or(self.oracle.tail)
    }

    /// What a claim at `head` must say: its PAD, or why not.
    fn fits(&self, head: u64, len: usize) -> Result<(u64, u64), ClaimError> {
        if len > self.max_payload {
            return Err(ClaimError::TooLarge {
                bytes: len,
                limit: u32::try_from(self.max_payload).unwrap(),
            });
        }
        if self.oracle.closed {
            return Err(ClaimError::Closed);
        }
        let (pad, granules) = self.oracle.shape(head, len);
        let limit = self.floor() + self.oracle.capacity - 1;
        if head + pad + granules > limit {
            SEEN.add("full", 1);
            let narrow = |granules| u32::try_from(granules).unwrap();
            return Err(ClaimError::Full {
                needed: narrow(pad + granules),
                free: narrow(limit.saturating_sub(head)),
            });
        }
        Ok((pad, granules))
    }

    fn len(&self, raw: usize) -> usize {
        raw % (self.max_payload + 2)
    }

    fn nonce(&mut self) -> u64 {
        self.nonce += 1;
        self.nonce
    }

    // ---- one producer

    pub(crate) fn append(&mut self, raw: usize, publish: bool) {
        let (len, nonce) = (self.len(raw), self.nonce());
        let expected = self.fits(self.oracle.head, len);
        let bytes = payload(nonce, len);
        let given = if publish {
            self.producer().push(meta(nonce), &bytes).map(|(seq, _)| seq)
        } else {
            self.producer().append(meta(nonce), &bytes)
        };
        match (given, expected) {
            (Ok(seq), Ok((pad, _))) => {
                self.oracle.padding(pad);
                assert_eq!(self.oracle.data(nonce, len), seq);
                if publish {
                    self.oracle.publish();
                }
            }
            (given, expected) => assert_eq!(given.err(), expected.err()),
        }
    }

    pub(crate) fn publish(&mut self) {
        let _ = self.producer().publish();
        self.oracle.publish();
    }

    pub(crate) fn grant(&mut self, raw: usize, less: usize, commit: bool) {
        let (len, nonce) = (self.len(raw), self.nonce());
        let expected = self.fits(self.oracle.head, len);
        let written = len.saturating_sub(less);
        let bytes = payload(nonce, written);
        match (self.producer.as_mut().unwrap().claim(len), expected) {
            (Ok(mut grant), Ok((pad, _))) => {
                let half = written / 2;
                grant.write(&bytes[..half]).unwrap();
                grant.write(&bytes[half..]).unwrap();
                self.oracle.padding(pad);
                if commit {
                    assert_eq!(grant.commit(meta(nonce)), self.oracle.data(nonce, written));
                }
            }
            (given, expected) => assert_eq!(given.err(), expected.err()),
        }
    }

    pub(crate) fn close(&mut self) {
        if self.oracle.closed {
            assert!(self.producer().close().is_none());
            return;
        }
        let _ = self.producer().close();
        self.oracle.publish();
        // A ring that was resumed full to the last granule has none left for the closing record.
        if self.oracle.head < self.floor() + self.oracle.capacity {
            self.oracle.padding(1);
        } else {
            SEEN.add("closed without a record", 1);
        }
        self.oracle.publish();
        self.oracle.closed = true;
    }

    // ---- subscriptions

    pub(crate) fn subscribe(&mut self, place: Where, raw: u32) {
        // Boundaries of the last lap, though the ring may say of those before `oldest` that they
        // are gone.
        let boundaries = self.oracle.boundaries(
            (self.oracle.head + 1).saturating_sub(self.oracle.capacity).min(self.oldest),
        );
        let (start, at) = match place {
            Where::Oldest => (Start::Oldest, Some(self.oldest)),
            Where::Latest => (Start::Latest, Some(self.oracle.tail)),
            Where::At => {
                let at = boundaries[raw as usize % boundaries.len()];
                (Start::At(low32(at)), Some(at))
            }
            Where::Beyond => {
                let lap = u32::try_from(self.oracle.capacity).unwrap();
                let outside =
                    low32(self.oracle.tail).wrapping_add(1).wrapping_add(raw % (u32::MAX - lap));
                (Start::At(outside), None)
            }
        };
        let free = self.subs.iter().position(Option::is_none);
        let tail = self.oracle.tail;
        match (self.producer().subscribe(start), free, at) {
            (Ok(id), Some(index), Some(at)) => {
                assert_eq!(id.index(), index);
                SEEN.add("subscribed", 1);
                SEEN.note("subscribed in the middle", at > self.oldest && at < tail);
                SEEN.note("subscribed before oldest", at < self.oldest);
                self.subs[index] = Some(Sub { id, released: at, attached: None });
            }
            (Err(SubscribeError::Position { position, tail: told, .. }), _, at) => {
                assert_eq!((start, told), (Start::At(position), low32(tail)));
                assert!(at.is_none_or(|at| at < self.oldest), "{at:?} is whole");
            }
            (Err(error), None, _) => {
                assert_eq!(error, SubscribeError::TableFull { limit: SUBSCRIPTIONS });
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn unsubscribe(&mut self, index: usize) {
        if let Some(sub) = self.subs[index].take() {
            assert!(self.producer().unsubscribe(sub.id));
        }
    }

    pub(crate) fn attach(&mut self, index: usize) {
        let (Some(producer), Some(sub)) = (&mut self.producer, &mut self.subs[index]) else {
            return;
        };
        assert_eq!(producer.detach(sub.id).is_some(), sub.attached.is_some());
        let page = Page::new();
        producer.attach(sub.id, "recovery", page.clone()).unwrap();
        let reader = Reader::attach(self.ring.clone(), page.clone()).unwrap();
        sub.attached = Some((reader, page, Place { position: sub.released, expected: None }));
    }

    /// A reader lies and is evicted; its subscription gates on where it was.
    pub(crate) fn lie(&mut self, index: usize, raw: u32) {
        let (Some(producer), Some(sub)) = (&mut self.producer, &mut self.subs[index]) else {
            return;
        };
        let Some((_, page, _)) = sub.attached.take() else { return };
        let _ = producer.backlog();
        let (seen, tail) = (low32(sub.released), low32(self.oracle.tail));
        let stored = tail.wrapping_add(1).wrapping_add(raw % (u32::MAX - distance(seen, tail)));
        page.store(cursor_word::CURSOR, stored, Ordering::Release);
        assert_eq!(
            u64::from(producer.subscription(sub.id).unwrap().lag_granules),
            self.oracle.tail - sub.released
        );
        let violation = producer.take_violation().expect("the lie is noticed");
        assert_eq!((violation.stored, violation.last_seen, violation.tail), (stored, seen, tail));
        SEEN.add("evicted", 1);
    }

    // ---- readers

    pub(crate) fn read(&mut self, index: usize, records: usize, release: bool) {
        let Some(Sub { attached: Some((reader, _, place)), released, .. }) = &mut self.subs[index]
        else {
            return;
        };
        let mut buf = [0; 1024];
        for _ in 0..records {
            match (reader.next(&mut buf).unwrap(), self.oracle.first_from(place.position)) {
                (Next::Record(record), Some((item, data))) => {
                    compare(record, &buf, item, data);
                    *place = Place { position: item.end, expected: Some(data.seq + 1) };
                    SEEN.add("read", 1);
                }
                (end @ (Next::Empty | Next::Closed), None) => {
                    assert_eq!(matches!(end, Next::Closed), self.oracle.closed);
                    place.position = self.oracle.tail;
                }
                (given, expected) => panic!("{given:?} given, {expected:?}"),
            }
        }
        if release {
            assert!(!reader.release());
            *released = place.position;
        }
    }

    pub(crate) fn batch(&mut self, index: usize, limit: usize) {
        let Some(Sub { attached: Some((reader, _, place)), released, .. }) = &mut self.subs[index]
        else {
            return;
        };
        let (oracle, mut expected) = (&self.oracle, *place);
        let mut count = 0;
        let taken = reader.batch(&mut [0; 1024], limit, |record, bytes| {
            let (item, data) = oracle.first_from(expected.position).expect("a record is there");
            compare(record, bytes, item, data);
            expected = Place { position: item.end, expected: Some(data.seq + 1) };
            count += 1;
        });
        assert_eq!(taken, Ok((count, false)));
        if count < limit {
            assert!(oracle.first_from(expected.position).is_none());
            expected.position = oracle.tail;
        }
        (*place, *released) = (expected, expected.position);
        SEEN.note("batch", count > 1);
    }

    /// Where a search from a place ends.
    fn sought(oracle: &Oracle, place: &mut Place, seq: u64) -> Seek {
        while let Some((item, data)) = oracle.first_from(place.position) {
            *place = Place { position: item.start, expected: Some(data.seq) };
            if data.seq >= seq {
                return if data.seq == seq { Seek::Found } else { Seek::Gone { oldest: data.seq } };
            }
            *place = Place { position: item.end, expected: Some(data.seq + 1) };
        }
        place.position = oracle.tail;
        place
            .expected
            .filter(|&expected| seq < expected)
            .map_or(Seek::Ahead, |oldest| Seek::Gone { oldest })
    }

    fn some_seq(&self, raw: u32) -> u64 {
        let live = 2 * self.oracle.capacity;
        self.oracle.published.saturating_sub(live) + u64::from(raw) % (live + 3)
    }

    pub(crate) fn seek(&mut self, index: usize, raw: u32) {
        let seq = self.some_seq(raw);
        let Some(Sub { attached: Some((reader, _, place)), .. }) = &mut self.subs[index] else {
            return;
        };
        assert!(reader.seek(EPOCH + 1, seq).is_err());
        let expected = Self::sought(&self.oracle, place, seq);
        assert_eq!(reader.seek(EPOCH, seq), Ok(expected));
        SEEN.note("found", expected == Seek::Found);
        SEEN.note("gone", matches!(expected, Seek::Gone { .. }));
    }

    pub(crate) fn skip(&mut self, index: usize) {
        let Some(Sub { attached: Some((reader, _, place)), .. }) = &mut self.subs[index] else {
            return;
        };
        reader.skip_to_latest().unwrap();
        // Where nothing is skipped, the number that comes next is still known.
        if place.position != self.oracle.tail {
            *place = Place { position: self.oracle.tail, expected: None };
        }
    }

    pub(crate) fn lag(&mut self, index: usize) {
        let Some(Sub { attached: Some((reader, _, place)), .. }) = &mut self.subs[index] else {
            return;
        };
        let (lag, now) = (reader.lag(u64::MAX).unwrap(), u64::MAX);
        let first = self.oracle.first_from(place.position).map(|(_, data)| data);
        let number = first.map(|data| data.seq).or(place.expected);
        assert_eq!(lag.records, number.map_or(0, |number| self.oracle.published - number));
        assert_eq!(lag.bytes, (self.oracle.tail - place.position) * 32);
        assert_eq!(lag.nanoseconds, first.map_or(0, |data| now - meta(data.nonce).timestamp_ns));
    }

    // ---- observers

    pub(crate) fn join(&mut self, which: usize, oldest: bool) {
        let ring = self.ring.clone();
        let (observer, position) = if oldest {
            (Observer::oldest(ring), self.oldest)
        } else {
            (Observer::latest(ring), self.oracle.tail)
        };
        self.watchers[which] = Some(Watcher {
            observer: observer.unwrap(),
            place: Place { position, expected: None },
            lost: 0,
        });
    }

    pub(crate) fn observe(&mut self, which: usize, looks: usize) {
        let Some(Watcher { observer, place, lost }) = &mut self.watchers[which] else { return };
        let mut buf = [0; 1024];
        for _ in 0..looks {
            let given = observer.next(&mut buf);
            place.position = place.position.max(self.oldest);
            let Some((item, data)) = self.oracle.first_from(place.position) else {
                assert_eq!(given, Ok(if self.oracle.closed { Next::Closed } else { Next::Empty }));
                place.position = self.oracle.tail;
                continue;
            };
            if place.expected.is_some_and(|expected| expected != data.seq) {
                assert_eq!(
                    given,
                    Err(ReadError::Overrun { expected: place.expected, found: Some(data.seq) })
                );
                *lost += data.seq - place.expected.unwrap();
                *place = Place { position: item.start, expected: Some(data.seq) };
                SEEN.add("overrun", 1);
                continue;
            }
            let Ok(Next::Record(record)) = given else { panic!("{given:?} instead of {data:?}") };
            compare(record, &buf, item, data);
            *place = Place { position: item.end, expected: Some(data.seq + 1) };
            SEEN.add("observed", 1);
        }
        assert_eq!((u64::from(observer.lost()), observer.corrupt()), (*lost, 0));
    }

    pub(crate) fn observer_seek(&mut self, which: usize, raw: u32) {
        let seq = self.some_seq(raw);
        let Some(Watcher { observer, place, .. }) = &mut self.watchers[which] else { return };
        *place = Place { position: self.oldest, expected: None };
        let expected = Self::sought(&self.oracle, place, seq);
        assert_eq!(observer.seek(EPOCH, seq), Ok(expected));
        SEEN.note("observer found", expected == Seek::Found);
    }

    pub(crate) fn observer_lag(&mut self, which: usize) {
        let Some(Watcher { observer, place, .. }) = &mut self.watchers[which] else { return };
        let lag = observer.lag(0).unwrap();
        // Overrun: what is left to be read counts.
        let position = place.position.max(self.oldest);
        assert_eq!(lag.bytes, (self.oracle.tail - position) * 32);
        let first = self.oracle.first_from(position).map(|(_, data)| data.seq).or(place.expected);
        assert_eq!(lag.records, first.map_or(0, |seq| self.oracle.published - seq), "{place:?}");
    }

    // ---- many producers

    /// Shares the producer for a while. True: the process ends in the middle of it.
    pub(crate) fn session(&mut self, turns: &[Turn], dies: bool) {
        let shared_producer = Many::new(self.producer.take().expect("it is here")).unwrap();
        self.oracle.publish();
        self.claimed = self.oracle.head;
        let mut flight = VecDeque::new();
        let mut grants: Vec<(u64, _)> = Vec::new();
        let mut published = 0;
        for turn in turns {
            match *turn {
                Turn::Claim(raw) => {
                    let len = self.len(raw);
                    let expected = match self.fits(self.claimed, len) {
                        Err(error @ (ClaimError::TooLarge { .. } | ClaimError::Closed)) => {
                            Err(error)
                        }
                        _ if flight.len() == CLAIMS => {
                            Err(ClaimError::Busy { in_flight: u32::try_from(CLAIMS).unwrap() })
                        }
                        other => other,
                    };
                    match (shared_producer.claim(len), expected) {
                        (Ok(grant), Ok((pad, granules))) => {
                            self.claimed += pad + granules;
                            grants.push((published + flight.len() as u64, grant));
                            flight.push_back(Claim { pad, granules, state: State::Open });
                        }
                        (
                            Err(ClaimError::Full { needed, free }),
                            Err(ClaimError::Full { needed: expected, .. }),
                        ) => {
                            assert!(needed == expected && free < needed);
                        }
                        (given, expected) => assert_eq!(given.err(), expected.err()),
                    }
                }
                Turn::Commit { which, less } if !grants.is_empty() => {
                    let (ticket, mut grant) = grants.swap_remove(which % grants.len());
                    let (nonce, len) = (self.nonce(), grant.remaining().saturating_sub(less));
                    grant.write(&payload(nonce, len)).unwrap();
                    let at = usize::try_from(ticket - published).unwrap();
                    flight[at].state = State::Committed { nonce, len };
                    let commit = grant.commit(meta(nonce));
                    let seqs = self.collect(&mut flight, &mut published);
                    assert_eq!(commit.seq, (at == 0).then(|| seqs[0]).flatten());
                    SEEN.note("committed after another", at > 0);
                }
                Turn::Drop { which } if !grants.is_empty() => {
                    let (ticket, grant) = grants.swap_remove(which % grants.len());
                    flight[usize::try_from(ticket - published).unwrap()].state = State::Dropped;
                    if which % 2 == 0 {
                        drop(grant);
                    } else {
                        assert!(grant.abandon().is_none(), "nobody sleeps");
                    }
                    self.collect(&mut flight, &mut published);
                    SEEN.add("given up", 1);
                }
                Turn::Read { sub } => self.read(sub, 3, true),
                Turn::Observe { which } => self.observe(which, 3),
                Turn::Commit { .. } | Turn::Drop { .. } => {}
            }
            self.check();
        }
        if dies {
            SEEN.add("killed with claims in flight", grants.len() as u64);
            for (_, grant) in grants {
                std::mem::forget(grant);
            }
            std::mem::forget(shared_producer);
            self.claimed = self.oracle.head;
            return;
        }
        flight
            .iter_mut()
            .filter(|claim| matches!(claim.state, State::Open))
            .for_each(|claim| claim.state = State::Dropped);
        drop(grants);
        self.collect(&mut flight, &mut published);
        self.claimed = self.oracle.head;
        self.producer = Some(shared_producer.into_producer().0);
        SEEN.add("shared", 1);
    }

    /// Finished claims become records up to the first that is not; their numbers.
    fn collect(&mut self, flight: &mut VecDeque<Claim>, published: &mut u64) -> Vec<Option<u64>> {
        let mut seqs = Vec::new();
        while flight.front().is_some_and(|claim| !matches!(claim.state, State::Open)) {
            let claim = flight.pop_front().unwrap();
            self.oracle.padding(claim.pad);
            seqs.push(if let State::Committed { nonce, len } = claim.state {
                let seq = self.oracle.data(nonce, len);
                self.oracle.padding(claim.granules - 1 - len.div_ceil(32) as u64);
                Some(seq)
            } else {
                self.oracle.padding(claim.granules);
                None
            });
            *published += 1;
        }
        self.oracle.publish();
        seqs
    }

    // ---- the end of the process

    /// Everything but the shared bytes and the stored cursors is gone; a new process recovers and
    /// goes on.
    pub(crate) fn crash(&mut self, longest: bool, from: From) {
        self.producer = None;
        self.watchers = [const { None }; OBSERVERS];
        let kept: Vec<u64> = self
            .subs
            .iter_mut()
            .filter_map(Option::take)
            .map(|sub| {
                if let Some((_, page, _)) = &sub.attached {
                    assert_eq!(
                        page.load(cursor_word::CURSOR, Ordering::Relaxed),
                        low32(sub.released)
                    );
                }
                sub.released
            })
            .collect();
        let (bound, end) = if longest {
            (Bound::Longest, self.oracle.head)
        } else {
            (Bound::Tail, self.oracle.tail)
        };
        let start = match from {
            From::Oldest => self.oldest,
            From::Slowest => kept.iter().copied().fold(self.oldest, u64::min),
            From::Cursor(which) => kept.get(which % SUBSCRIPTIONS).copied().unwrap_or(self.oldest),
        };
        let seq = (from != From::Oldest).then(|| self.oracle.seq_at(start, self.oracle.head));
        let mut found =
            recover(&self.ring, Checkpoint { position: low32(start), seq }, bound).unwrap();
        let prefix: Vec<_> = self
            .oracle
            .items
            .iter()
            .filter(|item| item.start >= start && item.end <= end)
            .collect();
        assert_eq!((found.start, found.end, found.cut_granules), (low32(start), low32(end), 0));
        assert_eq!(found.records, prefix.iter().filter(|item| item.data.is_some()).count() as u64);
        if !longest {
            assert_eq!((found.cut, found.survivor), (Cut::None, None));
        }
        let next = self.oracle.seq_before(end);
        assert_eq!(found.next_seq, (seq.is_some() || !prefix.is_empty()).then_some(next));
        if found.next_seq.is_none() {
            assert_eq!(
                Single::resume(self.ring.clone(), &found).err(),
                Some(RecoverError::UnknownSeq)
            );
            found.next_seq = Some(next);
            SEEN.add("number unknown", 1);
        }
        SEEN.note("more than published", end > self.oracle.tail);
        SEEN.note("cut", end < self.oracle.head);
        self.producer = Some(Single::resume(self.ring.clone(), &found).unwrap());
        self.oracle.resume(end);
        (self.oldest, self.claimed) = (start, end);
        assert_eq!(self.producer().next_seq(), next);
        for cursor in kept {
            match self.producer().subscribe(Start::At(low32(cursor))) {
                Ok(id) => {
                    assert!(cursor >= start);
                    self.subs[id.index()] = Some(Sub { id, released: cursor, attached: None });
                    self.attach(id.index());
                    SEEN.add("cursor kept", 1);
                }
                Err(error) => {
                    assert!(
                        cursor < start && matches!(error, SubscribeError::Position { .. }),
                        "{error}"
                    );
                    SEEN.add("cursor refused", 1);
                }
            }
        }
        SEEN.add("crash", 1);
    }

    /// What every process may read, after every operation.
    pub(crate) fn check(&mut self) {
        let load = |at| self.ring.load(at, Ordering::Relaxed);
        assert_eq!(load(ring_word::TAIL), low32(self.oracle.tail));
        assert_eq!(load(ring_word::STATE), u32::from(self.oracle.closed));
        let moved = u64::from(distance(low32(self.oldest), load(ring_word::OLDEST)));
        assert!(moved <= self.oracle.tail - self.oldest, "oldest goes back, or past the tail");
        self.oldest += moved;
        assert!(
            self.oracle.head.max(self.claimed) - self.oldest <= self.oracle.capacity,
            "oldest is overwritten"
        );
        // `oldest` goes by sectors, so it may pass a cursor; what the cursor holds is whole all the
        // same.
        assert!(
            self.subs.iter().flatten().all(
                |sub| self.claimed.max(self.oracle.head) - sub.released <= self.oracle.capacity
            )
        );
        SEEN.note(
            "cursor before oldest",
            self.subs.iter().flatten().any(|sub| sub.released < self.oldest),
        );
        let framing = Framing::new(EPOCH);
        let mut at = self.oldest;
        for item in self
            .oracle
            .items
            .iter()
            .filter(|item| item.start >= self.oldest && item.end <= self.oracle.tail)
        {
            assert_eq!(item.start, at, "oldest is no boundary");
            let mut bytes = [0; 32];
            self.ring
                .read(256 + usize::try_from(at % self.oracle.capacity).unwrap() * 32, &mut bytes);
            let header = framing.decode(low32(at), &bytes).expect("a valid header");
            assert_eq!(
                item.data.map(|data| (data.seq, data.len)),
                header.is_data().then_some((header.seq, header.len as usize))
            );
            at = item.end;
        }
        assert_eq!(at, self.oracle.tail);
        self.oracle.forget_before(self.oldest);
    }
}
