//! The core that produces: boots late, makes ring and pages where the map says, streams, closes.

use core::cell::Cell;
use core::ptr::NonNull;

use aqueduct_core::SubscriptionStatus;
use aqueduct_core::{ClaimError, Producer, Region, RingConfig, Start, SubscriptionId, Wake};
use aqueduct_firmware::Random;
use aqueduct_firmware::content::{self, MAX_BYTES};
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use critical_section::Mutex;

use crate::{Map, Place, RECORDS, SOURCE};

/// Ticks until there is a ring, and until there are pages: the reader must wait for both.
const RING_AT_TICK: u32 = 20;
const PAGES_AT_TICK: u32 = 40;

/// What the core says at its end; the only thing besides the shared bytes that leaves it.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    /// By subscription.
    pub(crate) status: [SubscriptionStatus; 2],
    /// How often the ring was full and readers were asked to tell.
    pub(crate) asked_for_space: u32,
    /// Sleeping readers woken.
    pub(crate) wakes: u32,
}

static BOOT: Mutex<Cell<Option<Map>>> = Mutex::new(Cell::new(None));
static SUMMARY: Mutex<Cell<Option<Summary>>> = Mutex::new(Cell::new(None));

pub(crate) fn power_on(map: Map) {
    critical_section::with(|section| BOOT.borrow(section).set(Some(map)));
    let mut timer = timer();
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(2000);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}

pub(crate) fn summary() -> Option<Summary> {
    critical_section::with(|section| SUMMARY.borrow(section).get())
}

fn timer() -> SYST {
    // SAFETY: the timer is only used by `power_on` before it is started, and by its own handler
    // from then on.
    unsafe { Peripherals::steal() }.SYST
}

/// The place as a producer uses it: to read and to write.
fn region(place: Place) -> Region<'static> {
    let base = NonNull::with_exposed_provenance(place.address);
    // SAFETY: (1) the memory map keeps these bytes free of everything else, for ever; (2) it
    // asserts their alignment; (3) this program touches them through regions only.
    unsafe { Region::from_raw(base, place.bytes) }
}

struct Core {
    map: Map,
    ticks: u32,
    random: Random,
    producer: Option<Producer<Region<'static>, Region<'static>, 2>>,
    subscriptions: Option<[SubscriptionId; 2]>,
    /// The next record to make.
    number: u32,
    asked_for_space: u32,
    wakes: u32,
}

#[exception]
fn SysTick() {
    static mut CORE: Option<Core> = None;
    if CORE.is_none() {
        let boot = critical_section::with(|section| BOOT.borrow(section).take());
        *CORE = boot.map(|map| Core {
            map,
            ticks: 0,
            random: Random::new(0xC0FE),
            producer: None,
            subscriptions: None,
            number: 0,
            asked_for_space: 0,
            wakes: 0,
        });
    }
    if let Some(core) = CORE {
        core.tick();
    }
    timer().set_reload(500 + CORE.as_mut().map_or(0, |core| core.random.below(4000)));
}

impl Core {
    fn tick(&mut self) {
        self.ticks += 1;
        match (&mut self.producer, self.subscriptions) {
            (None, _) if self.ticks == RING_AT_TICK => {
                let ring = region(self.map.ring);
                let mut config = RingConfig::new("dual", 0xD0A1_0000_0000_0001, 4096);
                config.first_position = u32::MAX - 3000;
                self.producer =
                    Some(Producer::create(ring, &config).expect("the map leaves room for it"));
            }
            (Some(producer), None) if self.ticks == PAGES_AT_TICK => {
                self.subscriptions = Some(self.map.pages.map(|page| {
                    let subscription =
                        producer.subscribe(Start::Oldest).expect("there is room for two");
                    producer
                        .attach(subscription, "other core", region(page))
                        .expect("the map leaves room for it");
                    subscription
                }));
            }
            (Some(_), Some(subscriptions)) => self.produce(subscriptions),
            _ => {}
        }
    }

    fn produce(&mut self, subscriptions: [SubscriptionId; 2]) {
        let Some(producer) = &mut self.producer else { return };
        let mut wake = Wake::NONE;
        for _ in 0..=self.random.below(3) {
            if self.number == RECORDS {
                wake = wake.and(producer.close());
                let status =
                    subscriptions.map(|id| producer.subscription(id).expect("it was subscribed"));
                if status.iter().all(|status| status.lag_granules == 0) {
                    let summary = Summary {
                        status,
                        asked_for_space: self.asked_for_space,
                        wakes: self.wakes,
                    };
                    critical_section::with(|section| SUMMARY.borrow(section).set(Some(summary)));
                }
                break;
            }
            let mut buf = [0; MAX_BYTES];
            let payload = content::fill(SOURCE, self.number, &mut buf);
            match producer.append(content::meta(SOURCE, self.number), payload) {
                Ok(seq) => {
                    assert_eq!(seq, u64::from(self.number));
                    self.number += 1;
                }
                Err(ClaimError::Full { .. }) => {
                    wake = wake.and(producer.publish());
                    if !producer.want_space(payload.len()).expect("the payload is not too large") {
                        self.asked_for_space += 1;
                        break;
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        wake = wake.and(producer.publish());
        if wake.futex {
            // Where a process would call the kernel, a core raises the other's event.
            self.wakes += 1;
            cortex_m::asm::sev();
        }
        assert_eq!(wake.sockets, 0);
        assert_eq!(producer.take_violation(), None);
    }
}
