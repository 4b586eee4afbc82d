//! `shared`: a schedule of claims, writes, commits, drops, publications, subscriptions and hostile
//! cursors on a `SharedProducer`, by one thread, against a list: records appear in the order of
//! their claims, all of them, up to the first that is not finished.

use std::collections::BTreeMap;

use aqueduct_core::memory::{ReadRegion, Region};
use aqueduct_core::producer::Wake;
use aqueduct_core::recovery::{Bound, Checkpoint, Cut, recover};
use aqueduct_core::shared::Native;
use aqueduct_core::shared::{Contended, Outcome, SharedGrant};
use aqueduct_core::{ClaimError, ReadError, SubscribeError};
use aqueduct_core::{
    Meta, Next, Observer, Producer, Reader, SharedProducer, Sleep, Start, SubscriptionId, WaitMode,
};

use crate::image::{Shape, length, payload_of};
use crate::input::Input;
use crate::memory::Shared;
use crate::paths;
use crate::wire::{self, u32_at};

const CLAIMS: usize = 8;
const READERS: usize = 4;
const PAGES: usize = 24;

/// What a call of the owner gave. One thread: nobody else is inside, and whatever was finished is
/// published and told of already.
fn quiet<T>(outcome: Result<Outcome<T>, Contended>) -> T {
    let Outcome { value, wake } = outcome.expect("one thread");
    assert!(wake.is_none(), "{wake:?} was kept back");
    value
}

type Many<'m> = SharedProducer<Region<'m>, Region<'m>, Native, CLAIMS, READERS>;

/// One claim as the list has it.
struct Claim {
    /// What was written; the metadata once it is committed; whether it was given up.
    payload: Vec<u8>,
    meta: Option<Meta>,
    dropped: bool,
}

/// One subscription.
struct Subscriber<'m> {
    id: SubscriptionId,
    reader: Option<Reader<ReadRegion<'m>, Region<'m>>>,
    page: usize,
    /// Number of the next record that its reader must give.
    next: u64,
    /// It stored a cursor of its own making: nothing about its records is promised any more.
    lied: bool,
    /// Asleep on this tail, in this mode.
    asleep: Option<(u32, WaitMode)>,
}

/// What should be.
#[derive(Default)]
struct List {
    claims: Vec<Claim>,
    /// Claims that are published, in front of all others.
    published: usize,
    records: BTreeMap<u64, (Meta, Vec<u8>)>,
}

impl List {
    /// Publishes what can be; gives the number of this claim's record if it is among them.
    fn publish(&mut self, mine: Option<usize>) -> Option<u64> {
        let mut number = None;
        while let Some(claim) = self.claims.get_mut(self.published) {
            match claim.meta {
                Some(meta) => {
                    let seq = self.records.len() as u64;
                    if mine == Some(self.published) {
                        number = Some(seq);
                    }
                    self.records.insert(seq, (meta, std::mem::take(&mut claim.payload)));
                }
                None if claim.dropped => {}
                None => break,
            }
            self.published += 1;
        }
        number
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let shape = Shape::take(&mut input);
    let ring = Shared::new(shape.segment_bytes());
    let pages: Vec<Shared> = (0..PAGES).map(|_| Shared::new(256)).collect();
    let producer: Producer<Region<'_>, Region<'_>, READERS> =
        Producer::create(ring.region(), &shape.config()).expect("a ring");
    let many: Many<'_> = SharedProducer::new(producer).expect("small");
    let mut list = List::default();
    {
        let mut grants: Vec<(
            usize,
            SharedGrant<'_, Region<'_>, Region<'_>, Native, CLAIMS, READERS>,
        )> = Vec::new();
        let mut world = World {
            ring: &ring,
            pages: &pages,
            many: &many,
            subscribers: Vec::new(),
            next_page: 0,
            shape: &shape,
        };
        let mut observer = Observer::oldest(ring.region().read_only()).expect("a ring");
        for _ in 0..160 {
            match input.u8() {
                0..64 => {
                    let len = length(&mut input, shape.max_payload);
                    let in_flight = list.claims.len() - list.published;
                    match many.claim(len) {
                        Ok(grant) => {
                            assert!(len <= shape.max_payload as usize && in_flight < CLAIMS);
                            assert_eq!(grant.remaining(), len);
                            grants.push((list.claims.len(), grant));
                            list.claims.push(Claim {
                                payload: Vec::new(),
                                meta: None,
                                dropped: false,
                            });
                        }
                        Err(error) => world.refused(error, len, in_flight),
                    }
                }
                64..112 if !grants.is_empty() => {
                    let which = input.index(grants.len());
                    let (index, grant) = &mut grants[which];
                    let bytes = payload_of(u64::from(input.u8()), usize::from(input.u8()));
                    let remaining = grant.remaining();
                    let written = grant.write(&bytes);
                    assert_eq!(written.is_ok(), bytes.len() <= remaining);
                    if written.is_ok() {
                        list.claims[*index].payload.extend_from_slice(&bytes);
                    }
                }
                112..152 if !grants.is_empty() => {
                    let (index, grant) = grants.swap_remove(input.index(grants.len()));
                    let meta = Meta { type_tag: u16::from(input.u8()), timestamp_ns: input.u64() };
                    let commit = grant.commit(meta);
                    list.claims[index].meta = Some(meta);
                    assert_eq!(commit.seq, list.publish(Some(index)));
                    world.woken(commit.wake);
                }
                152..160 if !grants.is_empty() => {
                    let (index, grant) = grants.swap_remove(input.index(grants.len()));
                    list.claims[index].dropped = true;
                    list.publish(None);
                    let wake = if index % 2 == 0 {
                        grant.abandon()
                    } else {
                        drop(grant);
                        many.publish()
                    };
                    world.woken(wake);
                }
                160..168 => world.subscribe(&mut input, &list),
                168..176 => world.attach(&mut input, &list),
                176..184 => world.detach(&mut input),
                184..232 => world.read(&mut input, &list),
                232..240 => world.sleep(&mut input),
                240..244 => world.lie(&mut input),
                244..248 => {
                    let asked = quiet(many.want_space(length(&mut input, shape.max_payload)));
                    assert!(matches!(asked, Ok(_) | Err(ClaimError::TooLarge { .. })));
                }
                _ => observe(&mut observer, &list, &shape),
            }
            let unfinished = many.unfinished();
            assert_eq!(
                unfinished.map(|claim| claim.in_flight as usize),
                Some(list.claims.len() - list.published).filter(|n| *n > 0)
            );
            assert_eq!(u32_at(&ring.bytes(), wire::NEXT_SEQ), list.records.len() as u32);
            if input.is_empty() {
                break;
            }
        }
        for (index, grant) in grants {
            drop(grant);
            list.claims[index].dropped = true;
            list.publish(None);
        }
        world.woken(many.publish());
        world.evict_liars();
        world.drain(&list);
    }
    end(many, &ring, &list);
}

/// The end: everything is whole, and the producer goes on alone.
fn end(many: Many<'_>, ring: &Shared, list: &List) {
    let (mut producer, _wake) = many.into_producer();
    assert_eq!(producer.next_seq(), list.records.len() as u64);
    let _wake = producer.close();
    let checkpoint = Checkpoint::oldest(&ring.region());
    let whole = recover(&ring.region(), checkpoint, Bound::Tail).expect("a ring");
    assert_eq!((whole.cut, whole.cut_granules), (Cut::None, 0));
    assert_eq!(whole.next_seq, Some(list.records.len() as u64));
    let mut observer = Observer::oldest(ring.region().read_only()).expect("a ring");
    let mut buffer = vec![0; ring.size()];
    let mut expected = list.records.len() as u64 - whole.records;
    loop {
        match observer.next(&mut buffer) {
            Ok(Next::Record(record)) => {
                assert_eq!(record.seq, expected);
                same(&record, &buffer, list);
                expected += 1;
            }
            Ok(Next::Closed) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(expected, list.records.len() as u64);
}

fn same(record: &aqueduct_core::Record, buffer: &[u8], list: &List) {
    let (meta, payload) = &list.records[&record.seq];
    assert_eq!((record.type_tag, record.timestamp_ns), (meta.type_tag, meta.timestamp_ns));
    assert_eq!(&buffer[..record.len], payload.as_slice());
}

fn observe(observer: &mut Observer<ReadRegion<'_>>, list: &List, shape: &Shape) {
    let mut buffer = vec![0; shape.max_payload as usize];
    match observer.next(&mut buffer) {
        Ok(Next::Record(record)) => same(&record, &buffer, list),
        Ok(Next::Empty) | Err(ReadError::Overrun { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(observer.corrupt(), 0);
}

struct World<'w, 'm> {
    ring: &'m Shared,
    pages: &'m [Shared],
    many: &'w Many<'m>,
    subscribers: Vec<Subscriber<'m>>,
    next_page: usize,
    shape: &'m Shape,
}

impl<'m> World<'_, 'm> {
    fn word(&self, at: usize) -> u32 {
        u32_at(&self.ring.bytes(), at)
    }

    /// A claim fails only for a reason.
    fn refused(&self, error: ClaimError, len: usize, in_flight: usize) {
        match error {
            ClaimError::TooLarge { .. } => assert!(len > self.shape.max_payload as usize),
            ClaimError::Busy { .. } => assert_eq!(in_flight, CLAIMS, "busy with nobody else there"),
            ClaimError::Full { needed, free } => {
                assert!(needed > free);
                let tail = self.word(wire::TAIL);
                let held = self.subscribers.iter().any(|subscriber| {
                    let status = quiet(self.many.subscription(subscriber.id)).expect("it is there");
                    status.lag_granules > 0
                });
                assert!(
                    held || in_flight > 0,
                    "full, with the tail at {tail:#x} and everything released"
                );
            }
            error => panic!("{error}"),
        }
    }

    fn subscribe(&mut self, input: &mut Input<'_>, list: &List) {
        let how = input.u8();
        if how % 4 == 3 && !self.subscribers.is_empty() {
            let gone = self.subscribers.swap_remove(usize::from(how) / 4 % self.subscribers.len());
            assert!(quiet(self.many.unsubscribe(gone.id)));
            assert!(!quiet(self.many.unsubscribe(gone.id)));
            return;
        }
        let (oldest, tail) = (self.word(wire::OLDEST), self.word(wire::TAIL));
        let (start, at) = match how % 4 {
            0 => (Start::Oldest, oldest),
            1 => (Start::Latest, tail),
            _ => {
                let at = oldest.wrapping_add(u32::from(how >> 2) % 4);
                (Start::At(at), at)
            }
        };
        let inside = at.wrapping_sub(oldest) <= tail.wrapping_sub(oldest);
        match quiet(self.many.subscribe(start)) {
            Ok(id) => {
                assert!(inside && self.subscribers.len() < READERS);
                // A position beside a boundary is the caller's mistake; its records are then not
                // compared.
                let next = self.number_at(at);
                let lied = next.is_none();
                let next = next.unwrap_or(list.records.len() as u64);
                self.subscribers.push(Subscriber {
                    id,
                    reader: None,
                    page: 0,
                    next,
                    lied,
                    asleep: None,
                });
            }
            Err(SubscribeError::TableFull { .. }) => assert_eq!(self.subscribers.len(), READERS),
            Err(SubscribeError::Position { .. }) => assert!(!inside),
            Err(error) => panic!("{error}"),
        }
    }

    /// The number of the next record at a boundary.
    fn number_at(&self, position: u32) -> Option<u64> {
        if position == self.word(wire::TAIL) {
            return Some(u64::from(self.word(wire::NEXT_SEQ)));
        }
        let ring = self.ring.bytes();
        let layout = wire::Layout::parse(&ring).ok()?;
        layout.head(&ring, position, self.word(wire::TAIL)).ok().map(|head| head.seq)
    }

    fn attach(&mut self, input: &mut Input<'_>, list: &List) {
        let index = input.index(self.subscribers.len());
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        if subscriber.reader.is_some() || self.next_page == PAGES {
            return;
        }
        let page = self.next_page;
        self.next_page += 1;
        let mut given = Some(self.pages[page].region());
        assert_eq!(quiet(self.many.attach(subscriber.id, "fuzz", &mut given)), Ok(()));
        assert!(given.is_none());
        subscriber.page = page;
        let reader = Reader::attach(self.ring.region().read_only(), self.pages[page].region())
            .expect("its subscription held the ring");
        subscriber.reader = Some(reader);
        subscriber.asleep = None;
        let cursor = u32_at(&self.pages[page].bytes(), wire::CURSOR);
        match self.number_at(cursor) {
            // Delivered again from the last release on, never from a later record.
            Some(next) => {
                let subscriber = &mut self.subscribers[index];
                assert!(subscriber.lied || next <= subscriber.next);
                (subscriber.next, subscriber.lied) = (next, false);
            }
            None => assert!(self.subscribers[index].lied, "{} records", list.records.len()),
        }
    }

    fn detach(&mut self, input: &mut Input<'_>) {
        let index = input.index(self.subscribers.len());
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        let page = quiet(self.many.detach(subscriber.id));
        assert!(page.is_some() == subscriber.reader.is_some() || subscriber.lied);
        subscriber.reader = None;
        subscriber.asleep = None;
        self.evict_liars();
    }

    fn read(&mut self, input: &mut Input<'_>, list: &List) {
        let (index, release) = (input.index(self.subscribers.len()), input.u8());
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        if subscriber.asleep.take().is_some() {
            let _ = subscriber.reader.as_mut().map(|reader| reader.finish_sleep(false));
        }
        for _ in 0..=release % 4 {
            read_one(subscriber, list, self.shape);
        }
        if let (true, Some(reader)) = (release >= 64, &mut subscriber.reader) {
            let _tell = reader.release();
        }
    }

    fn sleep(&mut self, input: &mut Input<'_>) {
        let (index, how) = (input.index(self.subscribers.len()), input.u8());
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        let (Some(reader), None, false) =
            (&mut subscriber.reader, subscriber.asleep, subscriber.lied)
        else {
            return;
        };
        let mode = if how % 2 == 0 { WaitMode::Futex } else { WaitMode::Socket };
        match reader.prepare_sleep(mode) {
            Ok(Sleep::Wait { tail }) => {
                assert_eq!(tail, u32_at(&self.ring.bytes(), wire::TAIL));
                subscriber.asleep = Some((tail, mode));
            }
            Ok(Sleep::Ready) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Every sleeper on a tail that moved must be among these.
    fn woken(&mut self, first: Wake) {
        let wake = first.and(self.many.publish());
        let tail = self.word(wire::TAIL);
        for subscriber in &mut self.subscribers {
            let Some((seen, mode)) = subscriber.asleep.filter(|(seen, _)| *seen != tail) else {
                continue;
            };
            let told = match mode {
                WaitMode::Futex => wake.futex,
                WaitMode::Socket => wake.sockets & (1 << subscriber.id.index()) != 0,
            };
            assert!(
                told || subscriber.lied,
                "asleep at {seen:#x} in mode {mode:?}, tail {tail:#x}, {wake:?}"
            );
            subscriber.asleep = None;
            let _ = subscriber.reader.as_mut().map(|reader| reader.finish_sleep(false));
        }
    }

    /// Takes the violations that are known by now. A reader that went on after a lie of its own may
    /// have stored another impossible cursor.
    fn evict_liars(&mut self) {
        for subscriber in &self.subscribers {
            let _ = quiet(self.many.subscription(subscriber.id));
        }
        while let Some(violation) = quiet(self.many.take_violation()) {
            let liar = self
                .subscribers
                .iter_mut()
                .find(|subscriber| subscriber.id == violation.subscription)
                .expect("it is there");
            assert!(liar.lied, "an honest reader was evicted: {violation}");
            liar.reader = None;
            liar.asleep = None;
        }
    }

    /// A cursor that the reader did not come to by reading.
    fn lie(&mut self, input: &mut Input<'_>) {
        let (index, how) = (input.index(self.subscribers.len()), input.u8());
        self.evict_liars();
        let Some(subscriber) = self.subscribers.get_mut(index) else { return };
        if subscriber.reader.is_none() {
            return;
        }
        let page = &self.pages[subscriber.page];
        let tail = u32_at(&self.ring.bytes(), wire::TAIL);
        let before = quiet(self.many.subscription(subscriber.id)).expect("it is there");
        if !before.attached {
            return;
        }
        let (now, seen) =
            (u32_at(&page.bytes(), wire::CURSOR), tail.wrapping_sub(before.lag_granules));
        let value = match how {
            0..128 => now.wrapping_add(input.step()),
            128..160 => tail.wrapping_add(u32::from(how) % 3).wrapping_sub(1),
            160..192 => seen.wrapping_add(u32::from(how) % 3).wrapping_sub(1),
            _ => input.u32(),
        };
        page.write(wire::CURSOR, &value.to_le_bytes());
        subscriber.lied |= value != now;
        let after = quiet(self.many.subscription(subscriber.id)).expect("it is there");
        // Believed from the last cursor seen to the tail, and nowhere else; never taken back.
        let believed = value.wrapping_sub(seen) <= tail.wrapping_sub(seen);
        assert_eq!(after.attached, believed);
        assert_eq!(
            after.lag_granules,
            if believed { tail.wrapping_sub(value) } else { before.lag_granules }
        );
        let violation = quiet(self.many.take_violation());
        assert_eq!(violation.is_some(), !believed);
        if let Some(violation) = violation {
            assert_eq!((violation.subscription, violation.stored), (subscriber.id, value));
            assert_eq!((violation.last_seen, violation.tail), (seen, tail));
            subscriber.reader = None;
            subscriber.asleep = None;
        }
    }

    /// Everything published reaches everybody.
    fn drain(&mut self, list: &List) {
        for subscriber in &mut self.subscribers {
            if subscriber.reader.is_none() || subscriber.lied {
                continue;
            }
            while subscriber.next < list.records.len() as u64 {
                let before = subscriber.next;
                read_one(subscriber, list, self.shape);
                assert_eq!(subscriber.next, before + 1, "published and not delivered");
            }
            read_one(subscriber, list, self.shape);
        }
    }
}

fn read_one(subscriber: &mut Subscriber<'_>, list: &List, shape: &Shape) {
    let mut buffer = vec![0; shape.max_payload as usize];
    let Some(reader) = &mut subscriber.reader else { return };
    let result = reader.next(&mut buffer);
    if subscriber.lied {
        return;
    }
    match result {
        Ok(Next::Record(record)) => {
            assert_eq!(record.seq, subscriber.next);
            same(&record, &buffer, list);
            subscriber.next += 1;
        }
        Ok(Next::Empty) => assert_eq!(subscriber.next, list.records.len() as u64),
        other => panic!("{other:?}"),
    }
}
