//! A ring that changes under the reader: between any two accesses of one call, as the input says.
//!
//! There is no oracle for the course of such a call. What must hold whatever happens: a record that
//! is handed out was checked after it was copied, so the last header read at its place carries a
//! right CRC and describes exactly the bytes in the buffer; and the call ends.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use aqueduct_core::memory::{Memory, Region, Span};
use aqueduct_core::{Next, Observer, Reader, Record};

use crate::image::Image;
use crate::input::Input;
use crate::wire::{self, Head};

/// The ring of an image, with the rest of the input as the script of its changes.
pub struct Torn<'i, 's> {
    image: &'i Image,
    region: Region<'i>,
    script: RefCell<Input<'s>>,
    accesses: Cell<u64>,
    reads: RefCell<Vec<(usize, Vec<u8>)>>,
    oldest: Cell<u32>,
}

impl<'i, 's> Torn<'i, 's> {
    #[must_use]
    pub fn new(image: &'i Image, script: Input<'s>) -> Self {
        let region = image.ring.region_of(image.ring_bytes);
        let (accesses, reads, oldest) = (Cell::new(0), RefCell::default(), Cell::new(0));
        Self { image, region, script: RefCell::new(script), accesses, reads, oldest }
    }

    fn turn(&self) {
        self.accesses.set(self.accesses.get() + 1);
        let script = &mut *self.script.borrow_mut();
        // The identity of the ring stays; all else may change.
        match script.u8() {
            224.. => self.image.set_word(script),
            192..224 => self.image.forge(script),
            160..192 => {
                let at = self.image.data_offset + script.index(self.image.capacity as usize * 32);
                self.image.ring.write(at, &[script.u8()]);
            }
            _ => {}
        }
    }

    fn begin(&self) {
        self.accesses.set(0);
        self.reads.borrow_mut().clear();
    }

    fn done(&self) -> bool {
        self.script.borrow().is_empty()
    }

    /// What must hold after every call that takes one record.
    fn check(&self, record: Option<(Record, &[u8])>) {
        let bound = 64 * (u64::from(self.image.capacity) + 8);
        assert!(
            self.accesses.get() <= bound,
            "{} accesses in a ring of {} granules",
            self.accesses.get(),
            self.image.capacity
        );
        let Some((record, payload)) = record else { return };
        let at = self.image.data_offset + (record.position % self.image.capacity) as usize * 32;
        let reads = self.reads.borrow();
        let (_, wire) = reads
            .iter()
            .rfind(|(from, bytes)| *from == at && bytes.len() == 32)
            .expect("the header was read");
        assert_eq!(wire::u32_at(wire, 28), wire::head_crc(self.image.epoch, record.position, wire));
        let head = Head::parse(wire);
        assert_eq!(
            (head.is_data(), head.seq, head.len as usize),
            (true, record.seq, payload.len())
        );
        assert_eq!(
            (head.timestamp_ns, head.type_tag, head.flags),
            (record.timestamp_ns, record.type_tag, record.flags | record.attribute_units)
        );
        assert_eq!(wire::crc(payload), head.payload_crc, "handed out unchecked");
        assert!(head.len <= self.image.max_payload);
    }
}

impl Memory for Torn<'_, '_> {
    fn size(&self) -> usize {
        self.region.size()
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.turn();
        let value = self.region.load(at, order);
        if at == wire::OLDEST {
            self.oldest.set(value);
        }
        value
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        // A long copy can be cut in two by a change.
        let half = into.len() / 64 * 32;
        let (first, second) = into.split_at_mut(half);
        if half > 0 {
            self.turn();
            self.region.read(at, first);
        }
        self.turn();
        self.region.read(at + half, second);
        self.reads.borrow_mut().push((at, into.to_vec()));
    }

    /// Every read may be torn.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

/// A gating reader of a ring that changes meanwhile.
pub fn reader(image: &Image, script: Input<'_>) {
    let torn = Torn::new(image, script);
    let Ok(mut reader) = Reader::attach(&torn, image.page.region_of(image.page_bytes)) else {
        return;
    };
    let mut buffer = vec![0; image.max_payload as usize];
    for _ in 0..64 {
        torn.begin();
        let result = reader.next(&mut buffer);
        match result {
            Ok(Next::Record(record)) => torn.check(Some((record, &buffer[..record.bytes()]))),
            _ => torn.check(None),
        }
        let _ = reader.release();
        if torn.done() {
            break;
        }
    }
}

/// An observer of a ring that changes meanwhile.
pub fn observer(image: &Image, script: Input<'_>) {
    let torn = Torn::new(image, script);
    let Ok(mut observer) = Observer::oldest(&torn) else { return };
    let mut buffer = vec![0; image.max_payload as usize];
    for _ in 0..64 {
        torn.begin();
        let result = observer.next(&mut buffer);
        match result {
            Ok(Next::Record(record)) => {
                torn.check(Some((record, &buffer[..record.bytes()])));
                let behind = torn.oldest.get().wrapping_sub(record.position);
                assert!(!(1..=1 << 31).contains(&behind), "handed out although it was overwritten");
            }
            _ => torn.check(None),
        }
        if torn.done() {
            break;
        }
    }
}
