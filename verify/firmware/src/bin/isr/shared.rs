//! Main loop, PendSV and, above both, SysTick use one `SharedProducer`; the main loop is the reader
//! too.
//!
//! The timer interrupts wherever it happens to; besides, handlers are made pending at chosen
//! moments: while claims are open, and until all slots are taken. Each handler tells in `PROGRESS`
//! what it met, and the run fails if something it should meet never happened.

use core::cell::Cell;

use aqueduct_core::shared::{Commit, SharedGrant};
use aqueduct_core::{
    ClaimError, Next, Producer, ReadRegion, Reader, Region, RingConfig, Segment, SharedProducer,
    Start,
};
use aqueduct_firmware::content::{self, MAX_BYTES, Source};
use aqueduct_firmware::{Random, seeded};
use cortex_m::asm;
use cortex_m::peripheral::SCB;
use cortex_m::peripheral::scb::SystemHandler;
use cortex_m_rt::exception;
use cortex_m_semihosting::hprintln;
use critical_section::Mutex;
use heapless::Vec;

#[cfg(feature = "interrupt-accesses")]
use crate::interrupting::Interrupting as Words;
#[cfg(not(feature = "interrupt-accesses"))]
use aqueduct_core::shared::Native as Words;

use crate::{DATA_BYTES, FIRST_POSITION, RECORDS, Work, hand_over};

/// Claims in flight at most. Few, so that the table of claims goes round often.
const CLAIMS: usize = 8;

type Shared = SharedProducer<Region<'static>, Region<'static>, Words, CLAIMS, 1>;
type Grant = SharedGrant<'static, Region<'static>, Region<'static>, Words, CLAIMS, 1>;

static RING: Segment<{ 256 + DATA_BYTES }> = Segment::new();
static PAGE: Segment<256> = Segment::new();

const MAIN: Source = 0;
const LOW: Source = 1;
const HIGH: Source = 2;

/// What the parties met, by source.
#[derive(Clone, Copy)]
struct Progress {
    /// Records committed.
    records: [u32; 3],
    full: [u32; 3],
    busy: [u32; 3],
    /// Claims that were given up.
    given_up: u32,
    /// SysTick came while a claim was open.
    over_claim: u32,
    /// SysTick came while a claim of PendSV was open.
    over_low_claim: u32,
    /// A record was committed while somebody below was publishing, who then published it.
    left_to_other: u32,
}

static PROGRESS: Mutex<Cell<Progress>> = Mutex::new(Cell::new(Progress {
    records: [0; 3],
    full: [0; 3],
    busy: [0; 3],
    given_up: 0,
    over_claim: 0,
    over_low_claim: 0,
    left_to_other: 0,
}));

fn progress() -> Progress {
    critical_section::with(|section| PROGRESS.borrow(section).get())
}

fn note(work: impl FnOnce(&mut Progress)) {
    critical_section::with(|section| {
        let mut progress = PROGRESS.borrow(section).get();
        work(&mut progress);
        PROGRESS.borrow(section).set(progress);
    });
}

/// Makes PendSV, SysTick, or mostly neither, happen right here if nothing of the same priority
/// runs.
fn poke(random: &mut Random) {
    match random.below(8) {
        0 => SCB::set_pendsv(),
        1 => SCB::set_pendst(),
        _ => return,
    }
    asm::dsb();
    asm::isb();
}

/// One source of records.
struct Maker {
    shared: &'static Shared,
    source: Source,
    /// The next record to make.
    number: u32,
    random: Random,
}

/// A claim that is being filled; `None` will be given up.
struct Open {
    grant: Grant,
    number: Option<u32>,
    written: usize,
}

impl Maker {
    const fn new(shared: &'static Shared, source: Source) -> Self {
        Self { shared, source, number: 0, random: Random::new(source as u32 + 77) }
    }

    /// Claims room for the next record, sometimes for more than it needs, sometimes only to give it
    /// up. `None`: no room now.
    fn open(&mut self) -> Option<Open> {
        if self.number == RECORDS {
            return None;
        }
        let surplus = if self.random.below(4) == 0 { self.random.below(40) as usize } else { 0 };
        match self.shared.claim(content::len(self.source, self.number) + surplus) {
            Ok(grant) if self.random.below(16) == 0 => {
                note(|progress| progress.given_up += 1);
                Some(Open { grant, number: None, written: 0 })
            }
            Ok(grant) => {
                self.number += 1;
                Some(Open { grant, number: Some(self.number - 1), written: 0 })
            }
            Err(error) => {
                self.refused(error);
                None
            }
        }
    }

    fn refused(&self, error: ClaimError) {
        let source = usize::from(self.source);
        match error {
            ClaimError::Full { .. } => note(|progress| progress.full[source] += 1),
            ClaimError::Busy { .. } => note(|progress| progress.busy[source] += 1),
            other => panic!("{other}"),
        }
    }

    /// Writes the next piece of the payload. False: nothing was left.
    fn fill(&mut self, open: &mut Open) -> bool {
        let Some(number) = open.number else { return false };
        let mut buf = [0; MAX_BYTES];
        let rest = &content::fill(self.source, number, &mut buf)[open.written..];
        let piece = &rest[..rest.len().min(1 + self.random.below(60) as usize)];
        open.grant.write(piece).expect("room was claimed for it");
        open.written += piece.len();
        !piece.is_empty()
    }

    /// Commits a filled claim, or gives it up. Its sequence number, if it was published at once.
    fn close(&self, open: Open) -> Option<(u32, u64)> {
        let Some(number) = open.number else {
            assert!(open.grant.abandon().is_none(), "nobody sleeps");
            return None;
        };
        let committed = open.grant.commit(content::meta(self.source, number));
        self.committed(number, committed)
    }

    fn committed(&self, number: u32, commit: Commit) -> Option<(u32, u64)> {
        assert!(commit.wake.is_none(), "nobody sleeps");
        note(|progress| progress.records[usize::from(self.source)] += 1);
        commit.seq.map(|seq| (number, seq))
    }

    /// One record in one call.
    fn push(&mut self) {
        let mut buf = [0; MAX_BYTES];
        let payload = content::fill(self.source, self.number, &mut buf);
        match self.shared.push(content::meta(self.source, self.number), payload) {
            Ok(commit) => {
                // Without an open claim below us, only somebody who is publishing can be the
                // reason.
                if self.committed(self.number, commit).is_none()
                    && self.shared.unfinished().is_none()
                {
                    note(|progress| progress.left_to_other += 1);
                }
                self.number += 1;
            }
            Err(error) => self.refused(error),
        }
    }
}

/// What the SysTick handler owns. PendSV's part is `LOW_MAKER`.
pub(crate) struct Interrupt {
    maker: Maker,
}

impl Interrupt {
    pub(crate) fn tick(&mut self) {
        if self.maker.shared.unfinished().is_some() {
            note(|progress| progress.over_claim += 1);
        }
        // Now and then so many at once that the table of claims goes round once or twice while
        // the party that was interrupted does not move.
        let burst = if self.maker.random.below(8) == 0 {
            self.maker.random.below(2 * u32::try_from(CLAIMS).expect("it is small") + 2)
        } else {
            0
        };
        for _ in 0..=burst {
            if self.maker.number < RECORDS {
                self.maker.push();
            }
        }
        if self.maker.random.below(3) == 0 {
            SCB::set_pendsv();
        }
    }
}

static LOW_MAKER: Mutex<Cell<Option<Maker>>> = Mutex::new(Cell::new(None));

#[exception]
fn PendSV() {
    static mut MAKER: Option<Maker> = None;
    if MAKER.is_none() {
        *MAKER = critical_section::with(|section| LOW_MAKER.borrow(section).take());
    }
    let Some(maker) = MAKER else { return };
    let Some(mut open) = maker.open() else { return };
    let before = progress().records[usize::from(HIGH)];
    loop {
        poke(&mut maker.random);
        if !maker.fill(&mut open) {
            break;
        }
    }
    if progress().records[usize::from(HIGH)] != before {
        note(|progress| progress.over_low_claim += 1);
    }
    maker.close(open);
}

/// What the main loop checks of what it reads.
struct Checker {
    reader: Reader<ReadRegion<'static>, Region<'static>>,
    /// By source, the record that must come next.
    next: [u32; 3],
    /// Numbers of the main loop's records, as `commit` told them: (own number, sequence number). As
    /// many as the ring has granules.
    told: [Option<(u32, u64)>; DATA_BYTES / 32],
}

impl Checker {
    fn drain(&mut self, random: &mut Random) {
        let mut buf = [0; MAX_BYTES];
        while let Next::Record(record) = self.reader.next(&mut buf).expect("nothing is damaged") {
            assert_eq!(record.seq, self.next.iter().map(|&count| u64::from(count)).sum::<u64>());
            let next =
                self.next.get_mut(usize::from(record.type_tag)).expect("a source of this program");
            content::check(&record, &buf[..record.len], record.type_tag, *next);
            if record.type_tag == MAIN {
                let told = self.told[*next as usize % self.told.len()].take();
                assert!(
                    told.is_none_or(|told| told == (*next, record.seq)),
                    "{told:?} was told of record {}",
                    record.seq
                );
            }
            *next += 1;
            if random.below(4) == 0 {
                assert!(!self.reader.release(), "no producer asked for space");
            }
        }
        assert!(!self.reader.release(), "no producer asked for space");
    }
}

/// All three make records; the main loop reads them all.
pub(crate) fn run() {
    let mut config = RingConfig::new("shared", 0x0102_0304_0A0B_0C0D, DATA_BYTES);
    config.first_position = FIRST_POSITION;
    let mut producer =
        Producer::create(RING.region(), &config).expect("the configuration is right");
    let subscription = producer.subscribe(Start::Oldest).expect("there is room for one");
    producer.attach(subscription, "main loop", PAGE.region()).expect("the subscription exists");
    let reader =
        Reader::attach(RING.region().read_only(), PAGE.region()).expect("the ring was just made");
    let shared: &'static Shared =
        cortex_m::singleton!(: Shared = SharedProducer::new(producer).expect("it is small enough"))
            .expect("this runs once");

    // SAFETY: main is the only user of this peripheral, and no handler relies on its own priority
    // yet.
    let mut system = unsafe { cortex_m::Peripherals::steal() }.SCB;
    // SAFETY: critical sections mask all interrupts, not a priority.
    unsafe { system.set_priority(SystemHandler::PendSV, 0xFF) };
    critical_section::with(|section| LOW_MAKER.borrow(section).set(Some(Maker::new(shared, LOW))));
    hand_over(Work::Shared(Interrupt { maker: Maker::new(shared, HIGH) }));

    let mut maker = Maker::new(shared, MAIN);
    let mut checker = Checker { reader, next: [0; 3], told: [None; DATA_BYTES / 32] };
    let mut random = Random::new(0xBEEF);
    let mut twice = seeded("twice");
    let mut rounds = 0_u32;
    while progress().records != [RECORDS; 3] {
        rounds += 1;
        main_round(&mut maker, &mut checker, &mut random, &mut twice);
        match rounds % 256 {
            0 => besiege(&mut maker, &mut checker, &mut random),
            128 => flood(),
            _ => {}
        }
        if random.below(3) == 0 {
            checker.drain(&mut random);
        }
    }
    finish(shared, &mut checker, &mut random, subscription);
}

/// One to three claims open at once, filled by turns, finished in any order. `twice`: make one
/// record a second time.
fn main_round(maker: &mut Maker, checker: &mut Checker, random: &mut Random, twice: &mut bool) {
    let mut opened: Vec<Open, 3> = Vec::new();
    for _ in 0..=random.below(3) {
        let Some(open) = maker.open() else {
            checker.drain(random);
            break;
        };
        assert!(opened.push(open).is_ok(), "three at most");
        poke(random);
    }
    if *twice && maker.number > 500 {
        *twice = false;
        maker.number -= 1;
    }
    let mut more = true;
    while core::mem::take(&mut more) {
        for open in &mut opened {
            more |= maker.fill(open);
            poke(random);
        }
    }
    while !opened.is_empty() {
        let index = random.below(u32::try_from(opened.len()).expect("three at most")) as usize;
        if let Some((number, seq)) = maker.close(opened.swap_remove(index)) {
            checker.told[number as usize % checker.told.len()] = Some((number, seq));
        }
        poke(random);
    }
}

/// Holds one claim open until the handler has taken all other slots and is refused.
fn besiege(maker: &mut Maker, checker: &mut Checker, random: &mut Random) {
    checker.drain(random);
    let Some(open) = maker.open() else { return };
    let before = progress();
    for _ in 0..2 * CLAIMS {
        SCB::set_pendst();
        asm::dsb();
        asm::isb();
    }
    let after = progress();
    if after.records[usize::from(HIGH)] < RECORDS {
        assert!(
            after.busy > before.busy || after.full > before.full,
            "more claims than slots and nobody was refused"
        );
    }
    // It was not filled, so it is given up, and its record made again.
    if open.number.is_some() {
        maker.number -= 1;
        note(|progress| progress.given_up += 1);
    }
    assert!(open.grant.abandon().is_none(), "nobody sleeps");
}

/// Reads nothing until the ring is full.
fn flood() {
    for _ in 0..150 {
        SCB::set_pendst();
        asm::dsb();
        asm::isb();
    }
}

fn finish(
    shared: &'static Shared,
    checker: &mut Checker,
    random: &mut Random,
    subscription: aqueduct_core::SubscriptionId,
) {
    checker.drain(random);
    let met = progress();
    assert_eq!(checker.next, [RECORDS; 3]);
    assert_eq!(shared.unfinished(), None);
    let status = shared
        .subscription(subscription)
        .expect("nobody else is publishing")
        .value
        .expect("it was subscribed");
    assert!(
        status.attached && status.lag_granules == 0 && status.corrupt == 0 && status.lost == 0,
        "{status:?}"
    );
    for (count, what) in [
        (met.full[usize::from(MAIN)], "ring full for the main loop"),
        (met.full[usize::from(HIGH)], "ring full for SysTick"),
        (met.busy[usize::from(HIGH)], "no slot for SysTick"),
        (met.given_up, "claims given up"),
        (met.over_claim, "SysTick over an open claim"),
        (met.over_low_claim, "SysTick over an open claim of PendSV"),
        (met.left_to_other, "SysTick over somebody publishing"),
    ] {
        assert!(count > 0, "this never happened: {what}");
    }
    hprintln!(
        "ok: shared: 3 x {} records from main loop, PendSV and SysTick; full {:?}, busy {:?} times,",
        RECORDS,
        met.full,
        met.busy
    );
    hprintln!(
        "    {} claims given up; SysTick over an open claim {} times, over one of PendSV {}, over somebody publishing {}",
        met.given_up,
        met.over_claim,
        met.over_low_claim,
        met.left_to_other
    );
}
