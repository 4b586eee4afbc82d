//! `differential_observer`: the Rust observer and the C observer, each on a ring of its own with
//! the same bytes, call by call: the same status, record, payload, evidence and counters. Between
//! calls both rings change, and the producer goes on and overruns; during a look it goes on before
//! the loads of control words that the input names, the same ones for both.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use aqueduct_core::JoinError;
use aqueduct_core::Observer;
use aqueduct_core::memory::{Memory, ReadRegion, Span};

use super::reader::{buffer_size, some_seq};
use super::{compare, outcome};
use crate::c_library::{self, CRecord, CSide};
use crate::image::Image;
use crate::input::Input;
use crate::oracle::Outcome;
use crate::paths;
use crate::wire;

/// A ring and what its producer does during the next look.
struct Busy {
    image: Image,
    loads: Cell<u32>,
    /// Before which load, by what decisions.
    plan: RefCell<VecDeque<(u32, Vec<u8>)>>,
}

impl Busy {
    fn new(image: Image) -> Self {
        Self { image, loads: Cell::new(0), plan: RefCell::default() }
    }

    /// Before each load of a control word.
    fn turn(&self) {
        self.loads.set(self.loads.get().saturating_add(1));
        while let Some((_, decisions)) =
            self.plan.borrow_mut().pop_front_if(|(at, _)| *at <= self.loads.get())
        {
            self.image.go_on(&mut Input::new(&decisions));
        }
    }

    fn begin(&self, plan: &VecDeque<(u32, Vec<u8>)>) {
        self.loads.set(0);
        self.plan.replace(plan.clone());
    }

    /// Does what no load came for, so that both rings are the same again; gives the loads.
    fn end(&self) -> u32 {
        let loads = self.loads.replace(u32::MAX);
        self.turn();
        loads
    }
}

/// What the Rust observer sees of it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    busy: &'a Busy,
    region: ReadRegion<'a>,
}

impl Memory for Seen<'_> {
    fn size(&self) -> usize {
        self.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.busy.turn();
        self.region.load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

/// Both observers.
struct Pair<'a> {
    busy: &'a Busy,
    c_busy: &'a Rc<Busy>,
    seen: Seen<'a>,
    ours: Observer<Seen<'a>>,
    c: CSide<'a>,
    /// Counted by Rust observers before this one: one that goes to the latest is a new one.
    before: (u32, u32),
    last_seq: Option<u64>,
}

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let latest = input.u8() & 4 != 0;
    let c_busy = Rc::new(Busy::new(Image::take(&mut input.twin())));
    let busy = Busy::new(Image::take(&mut input));
    let seen =
        Seen { busy: &busy, region: busy.image.ring.region_of(busy.image.ring_bytes).read_only() };
    let ours = if latest { Observer::latest(seen) } else { Observer::oldest(seen) };
    let (status, mut c) = CSide::observe(&c_busy.image.ring, c_busy.image.ring_bytes);
    let ours = match ours {
        Ok(ours) => ours,
        Err(JoinError::Geometry(error)) => return compare::refusal_of_ring(error, status),
        Err(JoinError::Read(error)) => return assert_eq!(status, c_library::TAIL, "{error}"),
        Err(error) => compare::unknown(&error),
    };
    // C joins at the oldest first; where that makes no sense, it is an observer all the same.
    assert!(status == c_library::OK || latest && status == c_library::TAIL, "{status}");
    if latest {
        assert_eq!(c.skip_to_latest(), c_library::OK);
    }
    let mut pair =
        Pair { busy: &busy, c_busy: &c_busy, seen, ours, c, before: (0, 0), last_seq: None };
    for _ in 0..96 {
        pair.step(&mut input);
        pair.compare_state();
        if input.is_empty() {
            break;
        }
    }
}

impl Pair<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        let image = &self.busy.image;
        match input.u8() {
            144..=255 => {
                let size = buffer_size(input, image.max_payload).min(image.ring.size());
                self.next(size, &plan(input));
            }
            0..24 => {
                self.c_busy.image.change(&mut input.twin());
                image.change(input);
            }
            24..64 => {
                self.c_busy.image.go_on(&mut input.twin());
                image.go_on(input);
            }
            64..80 => compare::on_peek(&self.take(0), &mut self.c),
            80..92 => {
                let (ours, mut buffer) = (self.take(usize::MAX), vec![0; image.ring.size()]);
                compare::on_skip(&ours, &mut self.c, &mut buffer);
            }
            92..108 => {
                let (epoch, seq) =
                    (image.epoch ^ u64::from(input.u8() == 255), some_seq(input, self.last_seq));
                compare::on_seek(self.ours.seek(epoch, seq), &mut self.c, &image.ring, epoch, seq);
            }
            108..116 => self.skip_to_latest(),
            116..132 => {
                let now = compare::some_time(input);
                compare::on_lag(self.ours.lag(now), &self.c, &image.ring, now, true);
            }
            132..144 => {
                let (max, size) =
                    (1 + input.below(12) as usize, buffer_size(input, image.max_payload * 2));
                let ours = &mut self.ours;
                compare::on_batch(&mut self.c, size.min(image.ring.size()), max, |rest| {
                    let found = ours.next(rest);
                    outcome(found, rest)
                });
            }
        }
    }

    /// What Rust gives to a buffer of this size.
    fn take(&mut self, size: usize) -> Outcome {
        let mut buffer = vec![0; size.min(self.busy.image.ring.size())];
        let found = self.ours.next(&mut buffer);
        outcome(found, &buffer)
    }

    /// One record or whatever there is, while the producer keeps to the plan.
    fn next(&mut self, size: usize, plan: &VecDeque<(u32, Vec<u8>)>) {
        self.busy.begin(plan);
        let ours = self.take(size);
        let loads = self.busy.end();
        self.c_busy.begin(plan);
        let (mut buffer, mut record) = (vec![0; size], CRecord::default());
        let ready = self.c.ready();
        let c_busy = Rc::clone(self.c_busy);
        let status = c_library::meanwhile(Rc::new(move || c_busy.turn()), || {
            self.c.next(&mut buffer, &mut record)
        });
        let c_loads = self.c_busy.end();
        assert!(ready || status == c_library::EMPTY || !plan.is_empty(), "not ready, but {status}");
        let payload = &buffer[..if status == c_library::OK { record.bytes() } else { 0 }];
        compare::on_next(&ours, &self.c, status, &record, payload);
        // Rust looks whether it was overrun also when it has found nothing after damage.
        assert!(
            c_loads > 0 && (c_loads..=c_loads + 1).contains(&loads),
            "{loads} loads, C {c_loads}"
        );
        if let Outcome::Record(record, _) = ours {
            self.last_seq = Some(record.seq);
        }
    }

    /// A Rust observer has no such call: another one joins at the latest, unless this one is
    /// there. It cannot learn that the tail went back to where it is.
    fn skip_to_latest(&mut self) {
        let tail = u32::from_le_bytes(self.c_busy.image.ring.array(wire::TAIL));
        if self.c.position() == tail && !self.c.used_up() {
            return;
        }
        if self.c.position() != tail {
            self.before = self.counts();
            self.ours = Observer::latest(self.seen).expect("it was joined");
        }
        assert_eq!((self.c.skip_to_latest(), self.c.position()), (c_library::OK, tail));
    }

    fn counts(&self) -> (u32, u32) {
        (
            self.before.0.wrapping_add(self.ours.corrupt()),
            self.before.1.wrapping_add(self.ours.lost()),
        )
    }

    fn compare_state(&self) {
        let stats = self.c.stats();
        assert_eq!((self.counts(), 0), ((stats.corrupt, stats.lost), stats.missed_wakes));
        assert!(self.busy.image.ring.bytes() == self.c_busy.image.ring.bytes(), "the rings");
    }
}

/// What the producer does during a look: mostly nothing, at most four times something.
fn plan(input: &mut Input<'_>) -> VecDeque<(u32, Vec<u8>)> {
    let times = match input.u8() {
        n @ 192.. => 1 + n % 4,
        _ => 0,
    };
    let mut at = 0;
    let turns = (0..times).map(|_| {
        at += 1 + input.below(4);
        (at, input.take(2).to_vec())
    });
    turns.collect()
}
