//! The processes that are killed: a producer that never ends, and a reader that ends when it is
//! told to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::layout::{DATA_OFFSET_MAPPED, cursor_word, ring_word};
use aqueduct_core::recovery::{Bound, Checkpoint, Cut, recover};
use aqueduct_core::{
    ClaimError, Memory, Next, Producer, Reader, Region, RingConfig, SharedProducer, Sleep, Start,
    WaitMode, Wake,
};
use aqueduct_verify::rng::Rng;
use rustix::thread::futex;

use crate::journal::{Journal, Made, THREADS};
use crate::mapping::Mapping;

/// Granules of the ring: 64 KiB, so that it is full and wraps all the time.
const CAPACITY: usize = 2048;
pub(crate) const RING_BYTES: usize = DATA_OFFSET_MAPPED as usize + CAPACITY * 32;
pub(crate) const PAGE_BYTES: usize = 4096;
/// The positions go round soon.
const FIRST_POSITION: u32 = u32::MAX - 20_000;

/// What every role is given.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) ring: Mapping,
    /// One page per round.
    pub(crate) pages: Mapping,
    pub(crate) journal: Journal,
}

impl Shared {
    pub(crate) fn page(self, round: u16) -> Region<'static> {
        self.pages.region(usize::from(round) * PAGE_BYTES, PAGE_BYTES)
    }

    #[allow(clippy::disallowed_types, reason = "the futex call wants one")]
    fn tail(self) -> &'static std::sync::atomic::AtomicU32 {
        let word = self.ring.whole().base().as_ptr().wrapping_add(ring_word::TAIL);
        // SAFETY: inside the mapping, aligned to 4, only accessed atomically, mapped until the
        // process ends.
        unsafe { &*word.cast() }
    }

    fn wake(self, wake: Wake) {
        if wake.futex {
            let _woken = futex::wake(self.tail(), futex::Flags::empty(), i32::MAX.unsigned_abs());
        }
    }
}

/// Begins the ring, or recovers it from the cursor on the page of round `last` and goes on; then
/// publishes until it is killed.
pub(crate) fn produce(shared: Shared, round: u16, last: Option<u16>) {
    let ring = shared.ring.whole();
    let mut producer: Producer<Region<'static>> = match last {
        None => {
            let mut config = RingConfig::new("kill", 0x0123_4567_89ab_cdef, CAPACITY * 32);
            (config.data_offset_bytes, config.first_position) =
                (DATA_OFFSET_MAPPED, FIRST_POSITION);
            Producer::create(ring, &config).expect("create")
        }
        Some(last) => {
            // ORDER(none): its reader is dead.
            let cursor = shared.page(last).load(cursor_word::CURSOR, Ordering::Relaxed);
            let found = recover(&ring, Checkpoint { position: cursor, seq: None }, Bound::Tail)
                .expect("recover");
            assert_eq!(
                (found.cut, found.cut_granules),
                (Cut::None, 0),
                "what was published is whole"
            );
            // Nothing past the cursor: everything was processed, and the reader's journal has the
            // number.
            let next_seq = found.next_seq.unwrap_or(shared.journal.next());
            assert!(
                next_seq >= shared.journal.next(),
                "{found:?}: {} records were processed",
                shared.journal.next()
            );
            let recovery = aqueduct_core::recovery::Recovery { next_seq: Some(next_seq), ..found };
            Producer::resume(ring, &recovery).expect("resume")
        }
    };
    // ORDER(none): as above.
    let start = last.map_or(Start::Latest, |last| {
        Start::At(shared.page(last).load(cursor_word::CURSOR, Ordering::Relaxed))
    });
    let id = producer.subscribe(start).expect("a kept cursor is accepted");
    producer.attach(id, "kill", shared.page(round)).expect("attach");
    shared.journal.set_ready(u64::from(round) + 1);
    match round % 3 {
        0 => one_by_one(shared, producer, round),
        1 => in_batches(shared, producer, round),
        _ => by_threads(shared, producer, round),
    }
}

/// Room comes when the reader releases; a reader that is dead or stopped never does, and that is no
/// error.
fn wait_for_room(error: ClaimError) {
    assert!(matches!(error, ClaimError::Full { .. } | ClaimError::Busy { .. }), "{error}");
    std::thread::sleep(Duration::from_micros(50));
}

fn one_by_one(shared: Shared, mut producer: Producer<Region<'static>>, round: u16) {
    for number in 0.. {
        let made = Made { round, thread: 0, number };
        let bytes = made.payload();
        loop {
            match producer.push(made.meta(), &bytes) {
                Ok((_, wake)) => break shared.wake(wake),
                Err(error) => wait_for_room(error),
            }
        }
        assert_eq!(producer.take_violation(), None);
    }
}

fn in_batches(shared: Shared, mut producer: Producer<Region<'static>>, round: u16) {
    let mut rng = Rng::new(round.into());
    for number in 0.. {
        let made = Made { round, thread: 0, number };
        let bytes = made.payload();
        if rng.once_in(9)
            && let Ok(mut grant) = producer.claim(bytes.len())
        {
            // Given up half-way.
            grant.write(&bytes[..bytes.len() / 2]).expect("it was claimed");
        }
        loop {
            match producer.claim(bytes.len()) {
                Ok(mut grant) => {
                    bytes.chunks(61).for_each(|piece| grant.write(piece).expect("it was claimed"));
                    let _seq = grant.commit(made.meta());
                    break;
                }
                Err(error) => {
                    shared.wake(producer.publish());
                    wait_for_room(error);
                }
            }
        }
        if rng.once_in(5) {
            shared.wake(producer.publish());
        }
    }
}

fn by_threads(shared: Shared, producer: Producer<Region<'static>>, round: u16) {
    let producer = SharedProducer::<Region<'static>>::new(producer).expect("the ring is small");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let producer = &producer;
            scope.spawn(move || {
                let mut rng = Rng::new(thread.into());
                for number in 0.. {
                    let made = Made { round, thread, number };
                    let bytes = made.payload();
                    loop {
                        match producer.claim(bytes.len()) {
                            Ok(grant) if rng.once_in(9) => shared.wake(grant.abandon()),
                            Ok(mut grant) => {
                                grant.write(&bytes).expect("it was claimed");
                                break shared.wake(grant.commit(made.meta()).wake);
                            }
                            Err(error) => {
                                shared.wake(producer.publish());
                                wait_for_room(error);
                            }
                        }
                    }
                }
            });
        }
    });
}

/// Reads from the page of `round` until it is told to stop and nothing is left.
pub(crate) fn consume(shared: Shared, round: u16, seed: u64) {
    let mut reader = Reader::attach(shared.ring.whole(), shared.page(round)).expect("attach");
    let missed = reader.stats().missed_wakes;
    let (mut buf, mut rng) = (vec![0; 1 << 16], Rng::new(seed));
    loop {
        // Looked at before the ring: nothing comes after it was set.
        let stop = shared.journal.stop();
        match reader.next(&mut buf).expect("nothing is damaged") {
            Next::Record(record) => {
                shared.journal.process(&record, &buf[..record.len]);
                if rng.once_in(6) {
                    let _tell = reader.release();
                }
            }
            Next::Closed => panic!("nobody closed it"),
            Next::Empty if stop => break,
            Next::Empty => {
                let _tell = reader.release();
                if let Sleep::Wait { tail } =
                    reader.prepare_sleep(WaitMode::Futex).expect("nothing is damaged")
                {
                    let timeout = futex::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
                    let slept =
                        futex::wait(shared.tail(), futex::Flags::empty(), tail, Some(&timeout));
                    reader
                        .finish_sleep(slept == Err(rustix::io::Errno::TIMEDOUT))
                        .expect("nothing is damaged");
                }
            }
        }
    }
    let _tell = reader.release();
    assert_eq!(reader.stats().corrupt, 0);
    shared.journal.add_missed_wakes(reader.stats().missed_wakes.wrapping_sub(missed));
}
