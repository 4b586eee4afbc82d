//! What the programs share: the device's one interrupt, and the work that the executors' tasks do
//! with a handler of the timer.
//!
//! Two rings of one program. In `DOWN` the handler produces and a task awaits the records; in `UP`
//! a task produces, awaits space, and the handler reads. Both sides know what must arrive.

#![no_std]

pub mod device;

use core::cell::Cell;

use aqueduct_core::ring::{RingProducer, RingReader};
use aqueduct_core::waiters::Waiters;
use aqueduct_core::{ClaimError, Meta, Next, Ring};
use aqueduct_firmware::{Random, pass, seeded};
use cortex_m_semihosting::hprintln;
use critical_section::Mutex;

static DOWN: Ring<512> = Ring::new();
static UP: Ring<256> = Ring::new();
static DOWN_WAITERS: Waiters = Waiters::new();
static UP_WAITERS: Waiters = Waiters::new();

/// Records each way.
const RECORDS: u32 = 2000;
/// Ticks after which somebody was not woken.
const PATIENCE: u32 = 20_000;
/// Bytes of a payload.
const BYTES: usize = 20;

/// Records that the task has read.
static ARRIVED: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));
/// Whether wake-ups are lost, which the run must notice.
static DEAF: Mutex<Cell<bool>> = Mutex::new(Cell::new(false));

fn payload(number: u32) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for chunk in bytes.chunks_exact_mut(4) {
        chunk.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn deaf() -> bool {
    critical_section::with(|section| DEAF.borrow(section).get())
}

/// The handler's part.
pub struct Handler {
    producer: RingProducer<'static>,
    reader: RingReader<'static>,
    random: Random,
    ticks: u32,
    sent: u32,
    received: u32,
    /// Publications that named the sleeping task.
    woke: u32,
    /// Releases that the producing task had asked for.
    freed: u32,
    /// The task has ended its stream.
    closed: bool,
}

/// The task's parts: the reader of `DOWN`, the producer of `UP`.
pub type TaskHalves = (RingReader<'static>, RingProducer<'static>);

/// Splits both rings, once.
pub fn begin() -> (Handler, TaskHalves) {
    let (producer, [task_reader]) = DOWN.split().expect("nobody has split it");
    let (task_producer, [reader]) = UP.split().expect("nobody has split it");
    let lost = seeded("deaf");
    critical_section::with(|section| DEAF.borrow(section).set(lost));
    let handler = Handler {
        producer,
        reader,
        random: Random::new(0x5EED),
        ticks: 0,
        sent: 0,
        received: 0,
        woke: 0,
        freed: 0,
        closed: false,
    };
    (handler, (task_reader, task_producer))
}

impl Handler {
    /// What one interrupt of the timer does: some records down, now and then some from above. Ends
    /// the run when all have arrived.
    pub fn tick(&mut self) {
        self.ticks += 1;
        assert!(
            self.ticks < PATIENCE,
            "nobody woke a task: {} sent, {} received",
            self.sent,
            self.received
        );
        for _ in 0..self.random.below(3) {
            if self.sent == RECORDS {
                break;
            }
            let meta = Meta { type_tag: 1, timestamp_ns: u64::from(self.sent) };
            // A full ring: again at the next tick.
            let Ok((_, wake)) = self.producer.push(meta, &payload(self.sent)) else { break };
            self.sent += 1;
            self.woke += u32::from(!wake.is_none());
            if !deaf() {
                DOWN_WAITERS.wake(wake);
            }
        }
        // Seldom, so that the task meets a full ring.
        if self.random.below(4) == 0 {
            self.receive();
        }
        let arrived = critical_section::with(|section| ARRIVED.borrow(section).get());
        if self.closed && arrived == RECORDS {
            assert_eq!((self.sent, self.received), (RECORDS, RECORDS));
            assert!(self.woke > RECORDS / 10, "the task was awaited {} times", self.woke);
            assert!(self.freed > RECORDS / 20, "space was awaited {} times", self.freed);
            hprintln!(
                "ok: {} records down, the task woken {} times; {} up, after {} waits for space",
                self.sent,
                self.woke,
                self.received,
                self.freed
            );
            pass();
        }
    }

    fn receive(&mut self) {
        loop {
            match self.reader.next_in_place().expect("nothing is damaged") {
                Next::Record((record, bytes)) => {
                    assert_eq!(record.timestamp_ns, u64::from(self.received), "{record:?}");
                    assert!(bytes == payload(self.received), "content of {record:?}");
                    self.received += 1;
                }
                Next::Empty => break,
                Next::Closed => {
                    self.closed = true;
                    break;
                }
            }
        }
        let asked = self.reader.release();
        self.freed += u32::from(asked);
        UP_WAITERS.released(asked && !deaf());
    }
}

/// The task that awaits the handler's records.
pub async fn read(mut reader: RingReader<'static>) {
    let mut buf = [0; BYTES];
    for number in 0..RECORDS {
        let next = DOWN_WAITERS.next(0, &mut reader, &mut buf).await.expect("nothing is damaged");
        let Next::Record(record) = next else { panic!("nobody closed it") };
        assert_eq!(record.timestamp_ns, u64::from(number), "{record:?}");
        assert!(buf == payload(number), "content of {record:?}");
        DOWN_WAITERS.released(reader.release());
        critical_section::with(|section| ARRIVED.borrow(section).set(number + 1));
    }
}

/// The task that produces, and awaits space.
pub async fn produce(mut producer: RingProducer<'static>) {
    for number in 0..RECORDS {
        let meta = Meta { type_tag: 2, timestamp_ns: u64::from(number) };
        loop {
            match producer.push(meta, &payload(number)) {
                // The handler polls.
                Ok((_, wake)) => break assert!(wake.is_none()),
                Err(ClaimError::Full { .. }) => {
                    UP_WAITERS.space_in_ring(&mut producer, BYTES).await.expect("it is open");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(producer.close().is_none());
}

/// Starts the timer that calls the handler.
pub fn start(mut timer: cortex_m::peripheral::SYST) {
    timer.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
    timer.set_reload(3000);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}
