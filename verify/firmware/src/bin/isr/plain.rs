//! The handler owns the producer, the main loop the reader; nothing else is shared.

use core::cell::Cell;

use aqueduct_core::{ClaimError, Next, Producer, Reader, Region, RingConfig, Segment, Start};
use aqueduct_firmware::content::{self, MAX_BYTES, Source};
use aqueduct_firmware::{Random, seeded};
use cortex_m_semihosting::hprintln;
use critical_section::Mutex;

use crate::{DATA_BYTES, FIRST_POSITION, RECORDS, Work, hand_over};

static RING: Segment<{ 256 + DATA_BYTES }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

const SOURCE: Source = 1;

/// How often the handler found the ring full; for the main loop, which makes it so.
static FULL: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

fn full() -> u32 {
    critical_section::with(|section| FULL.borrow(section).get())
}

/// What the handler owns.
pub(crate) struct Interrupt {
    producer: Producer<Region<'static>, Region<'static>, 1>,
    /// The next record to make.
    number: u32,
    random: Random,
    content_fault: bool,
    lost_fault: bool,
}

impl Interrupt {
    /// Appends a few records and publishes them together. A record that finds no room is tried
    /// again at the next tick.
    pub(crate) fn tick(&mut self) {
        for _ in 0..=self.random.below(4) {
            if self.number == RECORDS {
                assert!(self.producer.close().is_none(), "nobody sleeps");
                return;
            }
            match self.record() {
                Ok(()) => self.number += 1,
                Err(ClaimError::Full { needed, free }) => {
                    assert!(free < needed);
                    critical_section::with(|section| {
                        FULL.borrow(section).update(|count| count + 1);
                    });
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(self.producer.publish().is_none(), "nobody sleeps");
    }

    fn record(&mut self) -> Result<(), ClaimError> {
        let mut buf = [0; MAX_BYTES];
        let mut meta = content::meta(SOURCE, self.number);
        let payload = content::fill(SOURCE, self.number, &mut buf);
        if self.content_fault && self.number == 500 {
            payload[0] ^= 1;
        }
        if self.lost_fault && self.number == 500 {
            self.number += 1;
            meta = content::meta(SOURCE, self.number);
        }
        match self.random.below(4) {
            0 => {
                // Given up: it must leave no record.
                let mut grant = self.producer.claim(payload.len() + 8)?;
                grant.write(b"given up").expect("room was claimed for it");
                self.producer.append(meta, payload)?;
            }
            1 => {
                // More is claimed than written, and it is written in two pieces.
                let mut grant = self.producer.claim(MAX_BYTES)?;
                let (first, second) = payload.split_at(payload.len() / 3);
                grant.write(first).expect("room was claimed for it");
                grant.write(second).expect("room was claimed for it");
                grant.commit(meta);
            }
            _ => {
                self.producer.append(meta, payload)?;
            }
        }
        Ok(())
    }
}

/// Reads every record the handler makes.
pub(crate) fn run() {
    let mut config = RingConfig::new("plain", 0x0A0B_0C0D_0102_0304, DATA_BYTES);
    config.first_position = FIRST_POSITION;
    let mut producer =
        Producer::create(RING.region(), &config).expect("the configuration is right");
    let subscription = producer.subscribe(Start::Oldest).expect("there is room for one");
    producer.attach(subscription, "main loop", PAGE.region()).expect("the subscription exists");
    let mut reader =
        Reader::attach(RING.region().read_only(), PAGE.region()).expect("the ring was just made");
    hand_over(Work::Plain(Interrupt {
        producer,
        number: 0,
        random: Random::new(0xFACE),
        content_fault: seeded("content"),
        lost_fault: seeded("lost"),
    }));

    let mut buf = [0; MAX_BYTES];
    let (mut number, mut empty) = (0, 0_u32);
    loop {
        match reader.next(&mut buf).expect("nothing is damaged") {
            Next::Record(record) => {
                assert_eq!(record.seq, u64::from(number));
                content::check(&record, &buf[..record.len], SOURCE, number);
                number += 1;
                if number.is_multiple_of(500) && number < RECORDS {
                    let before = full();
                    while full() == before {
                        cortex_m::asm::wfi();
                    }
                }
                if number.is_multiple_of(3) {
                    assert!(!reader.release(), "the producer did not ask for space");
                }
            }
            Next::Empty => {
                assert!(!reader.release(), "the producer did not ask for space");
                empty += 1;
                cortex_m::asm::wfi();
            }
            Next::Closed => break,
        }
    }
    assert_eq!(number, RECORDS);
    assert_eq!(reader.stats(), aqueduct_core::ReaderStats::default());
    let full = full();
    assert!(
        full >= RECORDS / 500 - 1 && empty > 0,
        "full {full} times, empty {empty} times: one of them hardly happened"
    );
    hprintln!(
        "ok: plain: {} records from an interrupt handler; ring full {} times, empty {} times",
        number,
        full,
        empty
    );
}
