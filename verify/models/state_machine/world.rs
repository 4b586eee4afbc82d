//! One ring and its oracle: every operation is done to both, and what they say is compared.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use aqueduct_core::SubscribeError;
use aqueduct_core::geometry::{distance, granules_for, low32, max_payload_for};
use aqueduct_core::internals::Framing;
use aqueduct_core::layout::{KIND_DATA, cursor_word, ring_word};
use aqueduct_core::{
    ClaimError, Memory, MemoryMut, Meta, Next, Producer, ReadError, Reader, RingConfig, Sleep,
    Start, SubscriptionId, WaitMode, Wake,
};
use aqueduct_verify::explore::Events;
use aqueduct_verify::heap::Heap;

use crate::oracle::{Asleep, Oracle, Sub};
use crate::{Buffer, Notice, Shape};

const EPOCH: u64 = 0x0123_4567_89ab_cdef;
pub(crate) const SUBSCRIPTIONS: usize = 3;
type Ring = Heap<{ 256 + 64 * 32 }>;
type Page = Heap<256>;

/// Over all cases of a run: it is worth nothing if these never happened.
pub(crate) static SEEN: LazyLock<Events> = LazyLock::new(Events::default);

/// One reader with its page.
pub(crate) struct Attached {
    reader: Reader<Ring, Page>,
    page: Page,
}

pub(crate) struct World {
    ring: Ring,
    pub(crate) producer: Producer<Ring, Page, SUBSCRIPTIONS>,
    ids: [Option<SubscriptionId>; SUBSCRIPTIONS],
    readers: [Option<Attached>; SUBSCRIPTIONS],
    oracle: Oracle,
    oldest: u32,
    /// Number after the last one that a subscription was given.
    delivered: [u64; SUBSCRIPTIONS],
}

fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (seq.wrapping_mul(31) + at.wrapping_mul(7) + 1).to_le_bytes()[0])
        .collect()
}

fn meta(seq: u64) -> Meta {
    Meta { type_tag: (seq % 65_536).try_into().unwrap(), timestamp_ns: seq << 20 }
}

impl World {
    pub(crate) fn new(shape: &Shape) -> Self {
        let ring = Ring::new();
        let mut config = RingConfig::new("random", EPOCH, shape.capacity as usize * 32);
        config.first_position = shape.first_position;
        let max_payload = max_payload_for(shape.capacity).saturating_sub(shape.smaller);
        config.max_payload_bytes = Some(max_payload);
        let producer = Producer::create(ring.clone(), &config).unwrap();
        let oracle =
            Oracle::new(shape.capacity, shape.first_position, max_payload as usize, SUBSCRIPTIONS);
        let (ids, readers) = ([None; SUBSCRIPTIONS], [const { None }; SUBSCRIPTIONS]);
        let mut world = Self {
            ring,
            producer,
            ids,
            readers,
            oracle,
            oldest: shape.first_position,
            delivered: [0; SUBSCRIPTIONS],
        };
        for index in 0..shape.readers {
            world.subscribe(Start::Latest);
            world.attach(index, false);
        }
        world
    }

    /// One of the subscriptions, or one of the attached readers, if there are any.
    fn pick(&self, raw: usize, attached: bool) -> Option<usize> {
        let there: Vec<_> = (0..SUBSCRIPTIONS)
            .filter(|&index| {
                if attached { self.readers[index].is_some() } else { self.ids[index].is_some() }
            })
            .collect();
        (!there.is_empty()).then(|| there[raw % there.len()])
    }

    /// What the oracle says, counted.
    fn fits(&self, len: usize) -> Result<(u64, u64), ClaimError> {
        let fits = self.oracle.fits(len);
        SEEN.note("full", matches!(fits, Err(ClaimError::Full { .. })));
        fits
    }

    /// Up to one byte more than is allowed.
    pub(crate) fn len(&self, raw: usize) -> usize {
        raw % (self.oracle.max_payload + 2)
    }

    pub(crate) fn append(&mut self, len: usize, push: bool) {
        let seq = self.oracle.data.len() as u64;
        let bytes = payload(seq, len);
        let expected = self.fits(len);
        if push {
            match (self.producer.push(meta(seq), &bytes), expected) {
                (Ok((given, wake)), Ok((pad, _))) => {
                    assert_eq!(given, seq);
                    self.commit(pad, bytes);
                    self.published(wake);
                }
                (given, expected) => assert_eq!(given.err(), expected.err()),
            }
        } else {
            match (self.producer.append(meta(seq), &bytes), expected) {
                (Ok(given), Ok((pad, _))) => {
                    assert_eq!(given, seq);
                    self.commit(pad, bytes);
                }
                (given, expected) => assert_eq!(given.err(), expected.err()),
            }
        }
    }

    fn commit(&mut self, pad: u64, bytes: Vec<u8>) {
        let meta = meta(self.oracle.data.len() as u64);
        self.oracle.claimed(pad);
        self.oracle.committed(meta.type_tag, meta.timestamp_ns, bytes);
    }

    pub(crate) fn grant(&mut self, len: usize, pieces: &[usize], commit: bool) {
        let seq = self.oracle.data.len() as u64;
        let expected = self.fits(len);
        let mut grant = match (self.producer.claim(len), &expected) {
            (Ok(grant), Ok(_)) => grant,
            (given, expected) => {
                assert_eq!(given.err(), expected.err());
                return;
            }
        };
        let bytes = payload(seq, len);
        let mut written = 0;
        for &piece in pieces {
            assert_eq!(grant.remaining(), len - written);
            if piece > len - written {
                assert!(grant.write(&vec![0xEE; piece]).is_err());
            } else {
                grant.write(&bytes[written..written + piece]).unwrap();
                written += piece;
            }
        }
        let (pad, _) = expected.unwrap();
        if commit {
            assert_eq!(grant.commit(meta(seq)), seq);
            self.commit(pad, bytes[..written].to_vec());
        } else {
            // The grant ends here, uncommitted.
            self.oracle.claimed(pad);
        }
    }

    /// The oracle publishes too; every sleeper must be named at the first publication, nobody else
    /// ever, and nobody for ever.
    pub(crate) fn published(&mut self, wake: Wake) {
        let moved = self.oracle.publish();
        self.woken(moved, wake);
    }

    fn woken(&mut self, moved: bool, wake: Wake) {
        assert!(moved || wake.is_none());
        let mut futex = false;
        for (index, sub) in self.oracle.subs.iter_mut().enumerate() {
            let socket = wake.sockets >> index & 1 == 1;
            let Some(asleep) = sub.as_mut().and_then(|sub| sub.asleep.as_mut()) else {
                assert!(!socket, "subscription {index} does not sleep");
                continue;
            };
            let named = match asleep.mode {
                WaitMode::Futex => wake.futex,
                WaitMode::Socket => socket,
            };
            futex |= asleep.mode == WaitMode::Futex;
            assert!(!moved || asleep.woken > 0 || named, "subscription {index} sleeps on");
            asleep.woken += u32::from(named);
            SEEN.note("woken", named);
            assert!(
                asleep.mode == WaitMode::Futex || asleep.woken <= 1,
                "subscription {index} is woken twice for one sleep"
            );
        }
        assert!(futex || !wake.futex, "nobody sleeps on the futex");
    }

    /// A sleeping reader must end its sleep before it does anything else.
    pub(crate) fn wake_up(&mut self, index: usize, timed_out: bool) {
        let Some(sub) = self.oracle.subs[index].as_mut().filter(|sub| sub.asleep.is_some()) else {
            return;
        };
        sub.asleep = None;
        SEEN.note("slept in vain", sub.position == self.oracle.tail);
        sub.missed_wakes += u32::from(timed_out && sub.position != self.oracle.tail);
        let reader = &mut self.readers[index].as_mut().unwrap().reader;
        reader.finish_sleep(timed_out).unwrap();
        assert_eq!(reader.stats().missed_wakes, sub.missed_wakes);
    }

    pub(crate) fn read(&mut self, index: usize, buffer: Buffer) {
        self.wake_up(index, false);
        let Some(attached) = self.readers[index].as_mut() else { return };
        let tail = self.oracle.tail;
        let position = self.oracle.subs[index].as_ref().unwrap().position;
        let expected = self.oracle.next_data(position);
        let len = expected.map_or(0, |(_, data)| data.payload.len());
        let given = match buffer {
            Buffer::Ample => len + 5,
            Buffer::Exact => len,
            Buffer::Short => len.saturating_sub(1),
        };
        let mut buf = vec![0xAA; given];
        let position = match (attached.reader.next(&mut buf), expected) {
            (Ok(Next::Record(record)), Some((seq, data))) => {
                assert!(given >= len);
                assert_eq!(
                    (record.seq, record.position, record.len),
                    (seq, low32(data.start), len)
                );
                assert_eq!(
                    (record.type_tag, record.timestamp_ns, record.flags),
                    (data.type_tag, data.timestamp_ns, 0)
                );
                assert_eq!(buf[..len], data.payload);
                SEEN.add("read", 1);
                SEEN.note(
                    "read after a lap",
                    data.start >= self.oracle.data[0].start + self.oracle.capacity,
                );
                SEEN.note("read again", self.delivered[index] > seq);
                self.delivered[index] = seq + 1;
                assert!(
                    buf[len..].iter().all(|&byte| byte == 0xAA),
                    "bytes after the payload were touched"
                );
                data.end
            }
            (Err(ReadError::BufferTooSmall { needed, given: size }), Some((_, data))) => {
                assert!(given < len);
                SEEN.add("short buffer", 1);
                assert_eq!((needed, size), (len, given));
                data.start
            }
            (Ok(Next::Empty), None) if !self.oracle.closed => tail,
            (Ok(Next::Closed), None) if self.oracle.closed => {
                SEEN.add("closed", 1);
                tail
            }
            (seen, expected) => {
                panic!("{seen:?} where {expected:?} was due, closed: {}", self.oracle.closed)
            }
        };
        self.oracle.subs[index].as_mut().unwrap().position = position;
    }

    pub(crate) fn release(&mut self, index: usize) {
        self.wake_up(index, false);
        let Some(attached) = self.readers[index].as_mut() else { return };
        let sub = self.oracle.subs[index].as_mut().unwrap();
        let tell = attached.reader.release();
        SEEN.note("told", tell);
        if self.oracle.request != 0 {
            assert_eq!(tell, self.oracle.request != sub.answered, "each request is answered once");
            sub.answered = self.oracle.request;
        }
        sub.released = sub.position;
    }

    pub(crate) fn drain(&mut self, index: usize) {
        if self.readers[index].is_none() {
            return;
        }
        self.wake_up(index, false);
        while self.oracle.subs[index].as_ref().unwrap().position != self.oracle.tail {
            self.read(index, Buffer::Exact);
        }
        self.release(index);
    }

    pub(crate) fn want_space(&mut self, len: usize) {
        let expected = self.fits(len);
        match self.producer.want_space(len) {
            Ok(true) => assert!(expected.is_ok()),
            Ok(false) => assert!(matches!(expected, Err(ClaimError::Full { .. }))),
            Err(error) => assert_eq!(Some(error), expected.err()),
        }
        // A request for what can never fit, or is there, may be answered or not; one that was
        // refused must be.
        let word = self.ring.load(ring_word::SPACE_WANTED, Ordering::Relaxed);
        self.oracle.request =
            if matches!(expected, Err(ClaimError::Full { .. })) { word } else { 0 };
        assert!(word != 0 || expected.is_ok());
    }

    pub(crate) fn subscribe(&mut self, start: Start) {
        let free = self.oracle.subs.iter().position(Option::is_none);
        let id = match (self.producer.subscribe(start), free) {
            (Ok(id), Some(index)) => {
                assert_eq!(id.index(), index);
                id
            }
            (Err(error), None) => {
                return assert_eq!(error, SubscribeError::TableFull { limit: SUBSCRIPTIONS });
            }
            (given, free) => panic!("{given:?} with {free:?} free"),
        };
        let lag = u64::from(self.producer.subscription(id).unwrap().lag_granules);
        let at = self.oracle.tail - lag;
        match start {
            Start::Latest => assert_eq!(lag, 0),
            Start::At(position) => assert_eq!(aqueduct_core::geometry::low32(at), position),
            Start::Oldest => {
                assert!(self.oracle.is_boundary(at), "a subscription begins inside a record");
                assert!(
                    self.oracle.closed || at + self.oracle.capacity > self.oracle.head,
                    "no granule is left for close"
                );
            }
        }
        self.ids[id.index()] = Some(id);
        self.delivered[id.index()] = 0;
        self.oracle.subs[id.index()] = Some(Sub {
            attached: false,
            position: at,
            released: at,
            asleep: None,
            missed_wakes: 0,
            answered: 0,
        });
    }

    /// The reader is gone; what it did not release will be delivered again.
    fn forget(&mut self, index: usize) {
        self.readers[index] = None;
        if let Some(sub) = &mut self.oracle.subs[index] {
            (sub.attached, sub.asleep, sub.missed_wakes, sub.answered) = (false, None, 0, 0);
            sub.position = sub.released;
        }
    }

    pub(crate) fn detach(&mut self, index: usize) {
        let Some(id) = self.ids[index] else { return };
        let attached = self.readers[index].is_some();
        assert_eq!(self.producer.detach(id).is_some(), attached);
        self.forget(index);
    }

    pub(crate) fn attach(&mut self, index: usize, detach_first: bool) {
        let Some(id) = self.ids[index] else { return };
        if detach_first {
            self.detach(index);
        } else {
            // A page that is replaced is forgotten, so the producer must have looked at its cursor
            // if that shall count.
            let _ = self.producer.backlog();
            self.forget(index);
        }
        let page = Page::new();
        self.producer.attach(id, "reader", page.clone()).unwrap();
        let reader = Reader::attach(self.ring.clone(), page.clone()).unwrap();
        self.readers[index] = Some(Attached { reader, page });
        self.oracle.subs[index].as_mut().unwrap().attached = true;
    }

    /// A reader ends and another one begins on the same page: the producer learns nothing of it.
    pub(crate) fn reopen(&mut self, index: usize) {
        let Some(attached) = self.readers[index].take() else { return };
        drop(attached.reader);
        let reader = Reader::attach(self.ring.clone(), attached.page.clone()).unwrap();
        let sub = self.oracle.subs[index].as_mut().unwrap();
        assert_eq!(reader.stats().missed_wakes, sub.missed_wakes);
        (sub.position, sub.asleep, sub.answered) = (sub.released, None, 0);
        self.readers[index] = Some(Attached { reader, page: attached.page });
    }

    /// A reader stores a cursor outside [last seen, tail].
    pub(crate) fn lie(&mut self, index: usize, raw: u32, notice: Notice) {
        let (Some(id), Some(attached)) = (self.ids[index], &self.readers[index]) else { return };
        let _ = self.producer.backlog();
        let seen = low32(self.oracle.subs[index].as_ref().unwrap().released);
        let tail = low32(self.oracle.tail);
        let stored = tail.wrapping_add(1).wrapping_add(raw % (u32::MAX - distance(seen, tail)));
        attached.page.store(cursor_word::CURSOR, stored, Ordering::Release);
        match notice {
            Notice::Backlog => drop(self.producer.backlog()),
            Notice::Subscription => assert!(!self.producer.subscription(id).unwrap().attached),
            Notice::Detach => assert!(self.producer.detach(id).is_none()),
        }
        let violation = self.producer.take_violation().expect("the lie is noticed");
        assert_eq!((violation.subscription, violation.stored), (id, stored));
        assert_eq!((violation.last_seen, violation.tail), (seen, tail));
        assert_eq!(self.producer.take_violation(), None);
        SEEN.add("lie", 1);
        self.forget(index);
    }

    pub(crate) fn inspect(&mut self, index: usize) {
        let Some(id) = self.ids[index] else { return };
        let status = self.producer.subscription(id).unwrap();
        let sub = self.oracle.subs[index].as_ref().unwrap();
        assert_eq!(u64::from(status.lag_granules), self.oracle.tail - sub.released);
        assert_eq!(status.attached, sub.attached);
        assert_eq!((status.corrupt, status.lost, status.missed_wakes), (0, 0, sub.missed_wakes));
        let slowest = self
            .oracle
            .subs
            .iter()
            .flatten()
            .map(|sub| sub.released)
            .min()
            .unwrap_or(self.oracle.tail);
        assert_eq!(u64::from(self.producer.backlog()), self.oracle.tail - slowest);
    }

    pub(crate) fn fall_asleep(&mut self, index: usize, mode: WaitMode) {
        self.wake_up(index, false);
        let Some(attached) = self.readers[index].as_mut() else { return };
        let sub = self.oracle.subs[index].as_mut().unwrap();
        match attached.reader.prepare_sleep(mode).unwrap() {
            Sleep::Ready => assert_ne!(sub.position, self.oracle.tail),
            Sleep::Wait { tail } => {
                assert_eq!((sub.position, tail), (self.oracle.tail, low32(self.oracle.tail)));
                sub.asleep = Some(Asleep { mode, woken: 0 });
            }
        }
    }

    pub(crate) fn unsubscribe(&mut self, index: usize) {
        let id = self.ids[index].take().unwrap();
        assert!(self.producer.unsubscribe(id));
        assert!(!self.producer.unsubscribe(id));
        self.forget(index);
        self.oracle.subs[index] = None;
    }

    pub(crate) fn on(&mut self, raw: usize, attached: bool, act: impl FnOnce(&mut Self, usize)) {
        if let Some(index) = self.pick(raw, attached) {
            act(self, index);
        }
    }

    pub(crate) fn close(&mut self) {
        let wake = self.producer.close();
        if self.oracle.closed {
            assert!(wake.is_none());
        } else {
            self.oracle.close();
            self.woken(true, wake);
        }
    }

    /// What every process may read, after every operation.
    pub(crate) fn check(&mut self) {
        let load = |at| self.ring.load(at, Ordering::Relaxed);
        let oracle = &self.oracle;
        assert_eq!(load(ring_word::TAIL), low32(oracle.tail));
        assert_eq!(load(ring_word::NEXT_SEQ), low32(oracle.published as u64));
        assert_eq!(load(ring_word::STATE), u32::from(oracle.closed));
        assert_eq!(self.producer.next_seq(), oracle.data.len() as u64);

        let oldest = load(ring_word::OLDEST);
        let kept = u64::from(distance(oldest, low32(oracle.tail)));
        assert!(
            kept <= oracle.capacity && oracle.head - (oracle.tail - kept) <= oracle.capacity,
            "oldest is overwritten"
        );
        assert!(
            distance(self.oldest, oldest) <= distance(self.oldest, low32(oracle.tail)),
            "oldest goes back"
        );
        self.oldest = oldest;

        let (framing, geometry) = (Framing::new(EPOCH), self.producer.geometry());
        let mut at = oracle.tail - kept;
        let first = oracle.items.partition_point(|item| item.start < at);
        for item in oracle.items[first..].iter().take_while(|item| item.end <= oracle.tail) {
            assert_eq!(item.start, at);
            let mut bytes = [0; 32];
            self.ring.read(geometry.offset_of(at), &mut bytes);
            let header = framing.decode(low32(at), &bytes).expect("a valid header");
            assert_eq!(header.kind == KIND_DATA, item.seq.is_some());
            assert!(item.seq.is_none_or(|seq| seq == header.seq));
            at += u64::from(granules_for(header.len));
            assert_eq!(at, item.end);
        }
        assert_eq!(at, oracle.tail, "whole records from oldest to tail");
    }
}
