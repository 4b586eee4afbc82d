//! What the reader processes know of each other, and what a record must look like.

use std::sync::atomic::Ordering;

use aqueduct_core::{Meta, Record};
use aqueduct_verify::rng::Rng;

use crate::mapping::Mapping;

/// Producing threads of one round, at most.
pub(crate) const THREADS: u16 = 2;
/// Records whose digests are remembered.
const WINDOW: u64 = 8192;
const NEXT: usize = 0;
const STOP: usize = 1;
const READY: usize = 2;
const MISSED: usize = 3;
const THREAD: usize = 8;
const DIGEST: usize = 64;
/// Size, bytes.
pub(crate) const JOURNAL_BYTES: usize = (DIGEST + 8192) * 8;

/// Kept by the present reader; each word is stored so that the reader may be killed before and
/// after.
#[derive(Clone, Copy)]
pub(crate) struct Journal(Mapping);

impl Journal {
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self(mapping)
    }

    fn get(self, word: usize) -> u64 {
        // ORDER(none): one process at a time writes a word; SeqCst saves the thinking.
        self.0.words()[word].load(Ordering::SeqCst)
    }

    fn set(self, word: usize, value: u64) {
        // ORDER(none): as in `get`.
        self.0.words()[word].store(value, Ordering::SeqCst);
    }

    /// Number of the first record that no reader has processed.
    pub(crate) fn next(self) -> u64 {
        self.get(NEXT)
    }

    /// Whether the reader shall end when nothing is left.
    pub(crate) fn stop(self) -> bool {
        self.get(STOP) != 0
    }

    pub(crate) fn set_stop(self, stop: bool) {
        self.set(STOP, stop.into());
    }

    /// Rounds whose producer got as far as attaching its page.
    pub(crate) fn ready(self) -> u64 {
        self.get(READY)
    }

    pub(crate) fn set_ready(self, rounds: u64) {
        self.set(READY, rounds);
    }

    pub(crate) fn missed_wakes(self) -> u64 {
        self.get(MISSED)
    }

    pub(crate) fn add_missed_wakes(self, count: u32) {
        self.set(MISSED, self.get(MISSED) + u64::from(count));
    }

    /// A reader was given this record: it is the next one, or one that a reader was given before,
    /// and it is what its producer made.
    pub(crate) fn process(self, record: &Record, bytes: &[u8]) {
        let made = Made::of(record);
        assert_eq!(bytes, made.payload(), "content of record {} ({made:?})", record.seq);
        let (next, digest) =
            (self.next(), DIGEST + usize::try_from(record.seq % WINDOW).expect("small"));
        assert!(record.seq <= next, "record {next} is lost, {} came", record.seq);
        let sum = u64::from(crc32fast::hash(bytes)) << 32 | made.packed() & 0xFFFF_FFFF;
        if record.seq < next {
            assert!(
                next - record.seq > WINDOW || self.get(digest) == sum,
                "record {} is another one than before",
                record.seq
            );
            return;
        }
        // Each thread's records of a round come in their order, none is left out: the last one's
        // round and number.
        let (thread, before) =
            (THREAD + usize::from(made.thread), self.get(THREAD + usize::from(made.thread)));
        if before != made.packed() {
            let follows = if before >> 32 == u64::from(made.round) + 1 {
                before + 1
            } else {
                Made { number: 0, ..made }.packed()
            };
            assert!(
                before >> 32 <= u64::from(made.round) + 1 && made.packed() == follows,
                "{made:?} came after {before:#x}"
            );
        }
        self.set(thread, made.packed());
        self.set(digest, sum);
        self.set(NEXT, next + 1);
    }
}

/// Who made a record; everything in it follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) round: u16,
    pub(crate) thread: u16,
    /// Counts the thread's records of this round.
    pub(crate) number: u32,
}

impl Made {
    pub(crate) fn of(record: &Record) -> Self {
        let number =
            u32::try_from(record.timestamp_ns).expect("the time of a record is its number");
        Self { round: record.type_tag / THREADS, thread: record.type_tag % THREADS, number }
    }

    pub(crate) fn meta(self) -> Meta {
        Meta { type_tag: self.round * THREADS + self.thread, timestamp_ns: self.number.into() }
    }

    /// Never 0, and rising.
    fn packed(self) -> u64 {
        (u64::from(self.round) + 1) << 32 | u64::from(self.number)
    }

    pub(crate) fn payload(self) -> Vec<u8> {
        let mut rng = Rng::new(self.packed() ^ u64::from(self.thread) << 60);
        let len = if rng.once_in(30) { rng.below(9000) } else { rng.below(300) };
        (0..len).map(|_| rng.bits().to_le_bytes()[5]).collect()
    }
}
