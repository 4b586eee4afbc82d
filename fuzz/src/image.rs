//! A ring and a cursor segment as an input describes them: laid down by the real producer, then
//! changed by the input.
//!
//! Changes come in four sorts. A *forged* record has a header whose CRC is right for its place and
//! whose content is free, which no bit flip would ever reach. A control *word* gets any value. A
//! *flip* changes any byte. A *header* change repairs its CRC or not.

use aqueduct_core::memory::Region;
use aqueduct_core::{Meta, Producer, RingConfig, Start};

use crate::input::Input;
use crate::memory::Shared;
use crate::wire::{self, Head};

/// What the input made.
pub struct Image {
    pub ring: Shared,
    /// Bytes of `ring` that are the segment; fewer than there are if the input cut it short.
    pub ring_bytes: usize,
    pub page: Shared,
    pub page_bytes: usize,
    pub epoch: u64,
    pub capacity: u32,
    pub max_payload: u32,
    pub data_offset: usize,
    /// Where records were laid down.
    pub positions: Vec<u32>,
}

/// The payload that a record of this number has everywhere in these targets.
#[must_use]
pub fn payload_of(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(7) ^ (seq as u8)).collect()
}

/// A payload length: usually small, sometimes the largest, sometimes too large by one.
pub fn length(input: &mut Input<'_>, max: u32) -> usize {
    match input.u8() {
        255 => max as usize,
        254 => max as usize + 1,
        253 => max as usize / 2,
        n => (usize::from(n) * 3 / 2).min(max as usize),
    }
}

/// The geometry of a ring, the first bytes of most inputs.
pub struct Shape {
    pub capacity: u32,
    pub max_payload: u32,
    pub data_offset: u32,
    pub epoch: u64,
    pub first_position: u32,
}

impl Shape {
    pub fn take(input: &mut Input<'_>) -> Self {
        let capacity = 4 << input.below(6);
        let most = (capacity / 2 - 1) * 32;
        let max_payload = match input.u8() {
            0 => most,
            n => (u32::from(n) * 8).min(most),
        };
        let data_offset = 256 + 64 * input.below(3);
        let epoch = (u64::from(input.u8()) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first_position = match input.u8() {
            n @ 0..128 => u32::from(n),
            n @ 128..224 => u32::MAX - (u32::from(n) - 128),
            n => u32::from(n) << 24,
        };
        Self { capacity, max_payload, data_offset, epoch, first_position }
    }

    #[must_use]
    pub fn config(&self) -> RingConfig<'static> {
        let mut config = RingConfig::new("fuzz", self.epoch, self.capacity as usize * 32);
        config.max_payload_bytes = Some(self.max_payload);
        config.data_offset_bytes = self.data_offset;
        config.first_position = self.first_position;
        config
    }

    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.data_offset as usize + self.capacity as usize * 32
    }
}

impl Image {
    /// Takes a whole image from an input.
    pub fn take(input: &mut Input<'_>) -> Self {
        let flags = input.u8();
        let flag = |bit: u8| flags & (1 << bit) != 0;
        let shape = Shape::take(input);
        let ring = Shared::new(shape.segment_bytes());
        let page = Shared::new(256 + 64 * usize::from(flag(0)));
        if flag(1) {
            ring.write(0, &vec![0xA5; ring.size()]);
        }
        let mut positions = vec![shape.first_position];
        {
            let mut producer: Producer<Region<'_>> =
                Producer::create(ring.region(), &shape.config()).expect("a shape is a ring");
            if flag(2) {
                let _ = producer.subscribe(Start::Latest);
            }
            for _ in 0..input.below(32) {
                let (len, what) = (length(input, shape.max_payload), input.u8());
                let meta =
                    Meta { type_tag: u16::from(what), timestamp_ns: u64::from(what) * 1_000_003 };
                let seq = producer.next_seq();
                if what % 8 == 7 {
                    drop(producer.claim(len));
                } else if producer.append(meta, &payload_of(seq, len)).is_err() {
                    let _ = producer.publish();
                }
                if what % 4 != 3 {
                    let _ = producer.publish();
                }
                positions.push(wire::u32_at(&ring.bytes(), wire::TAIL));
            }
            if flag(3) {
                let _ = producer.close();
                positions.push(wire::u32_at(&ring.bytes(), wire::TAIL));
            }
        }
        let mut image = Self {
            ring_bytes: ring.size(),
            page_bytes: page.size(),
            ring,
            page,
            epoch: shape.epoch,
            capacity: shape.capacity,
            max_payload: shape.max_payload,
            data_offset: shape.data_offset as usize,
            positions,
        };
        image.lay_page(input);
        if flag(4) {
            for _ in 0..=input.below(16) {
                image.change(input);
            }
        }
        if flag(5) {
            image.change_header(input);
        }
        if flag(6) {
            image.ring_bytes = image.ring.size() - (usize::from(input.u16()) % image.ring.size());
        }
        if flag(7) {
            image.change_page(input);
        }
        image
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.ring.array(at))
    }

    /// §6.1, with the cursor at one of the known positions, which may have been overwritten, or
    /// beside it.
    fn lay_page(&self, input: &mut Input<'_>) {
        let (which, beside) = (input.u8(), input.u8());
        let mut identity = [0; 64];
        identity[..8].copy_from_slice(b"AQDCURSR");
        identity[8] = 1;
        identity[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        identity[24..28].copy_from_slice(b"fuzz");
        let crc = wire::crc(&identity[..60]);
        identity[60..].copy_from_slice(&crc.to_le_bytes());
        self.page.write(0, &identity);
        let known = match which {
            0 => self.word(wire::OLDEST),
            n => self.positions[usize::from(n) % self.positions.len()],
        };
        let cursor = if beside < 224 { known } else { known.wrapping_add(u32::from(beside) % 16) };
        self.page.write(wire::CURSOR, &cursor.to_le_bytes());
        // Also `waiting`: a predecessor on this page may have died asleep.
        for at in [wire::WAITING, wire::CORRUPT, wire::LOST, wire::MISSED_WAKES] {
            self.page.write(at, &u32::from(which).wrapping_sub(u32::from(beside)).to_le_bytes());
        }
    }

    /// One forged record, word or flip.
    pub fn change(&self, input: &mut Input<'_>) {
        match input.below(4) {
            0 | 1 => self.forge(input),
            2 => self.set_word(input),
            _ => self.flip(input),
        }
    }

    /// §4.1: the producer goes on from what the control words say, by up to 8 records, over
    /// whatever is there. It publishes them or stops before it does.
    pub fn go_on(&self, input: &mut Input<'_>) {
        let (how, len) =
            (input.u8(), length(input, self.max_payload).min(self.max_payload as usize));
        let (mut tail, mut seq) = (self.word(wire::TAIL), self.word(wire::NEXT_SEQ));
        for record in 0..=how % 8 {
            let Some(end) = self.make_room(tail, len) else { break };
            let granules = 1 + len.div_ceil(32) as u32;
            let start = end.wrapping_sub(granules);
            let head = Head {
                len: 0,
                kind: 2,
                flags: 0,
                type_tag: 0,
                seq: u64::from(seq),
                timestamp_ns: 0,
                payload_crc: 0,
            };
            if start != tail {
                let pad = Head { len: (start.wrapping_sub(tail) - 1) * 32, ..head };
                self.ring.write(self.offset_of(tail), &pad.encode(self.epoch, tail));
            }
            let payload = payload_of(u64::from(seq), len);
            let timestamp_ns = u64::from(how) << 18 | u64::from(record);
            let head = Head {
                len: len as u32,
                kind: wire::DATA,
                timestamp_ns,
                payload_crc: wire::crc(&payload),
                ..head
            };
            self.ring.write(self.offset_of(start), &head.encode(self.epoch, start));
            self.ring.write(self.offset_of(start) + 32, &payload);
            (tail, seq) = (end, seq.wrapping_add(1));
        }
        if how < 224 {
            self.ring.write(wire::NEXT_SEQ, &seq.to_le_bytes());
            self.ring.write(wire::TAIL, &tail.to_le_bytes());
        }
    }

    /// §4.1, 2: moves `oldest` out of the way of a record at this tail, and gives its end. `None`:
    /// the words make no sense, or it is too long.
    fn make_room(&self, tail: u32, len: usize) -> Option<u32> {
        let granules = 1 + len.div_ceil(32) as u32;
        let room = self.capacity - tail % self.capacity;
        let end = tail.wrapping_add(granules + if granules > room { room } else { 0 });
        let (mut oldest, published) = (self.word(wire::OLDEST), self.word(wire::TAIL));
        if published.wrapping_sub(oldest) > self.capacity
            || end.wrapping_sub(published) >= self.capacity
        {
            return None;
        }
        while end.wrapping_sub(oldest) >= self.capacity && oldest != published {
            let (bytes, left) =
                (self.ring.array::<32>(self.offset_of(oldest)), published.wrapping_sub(oldest));
            let (head, crc) = (Head::parse(&bytes), wire::u32_at(&bytes, 28));
            let valid = crc == wire::head_crc(self.epoch, oldest, &bytes)
                && head.granules() <= u64::from(left);
            oldest = oldest.wrapping_add(if valid { head.granules() as u32 } else { 1 });
        }
        self.ring.write(wire::OLDEST, &oldest.to_le_bytes());
        Some(end)
    }

    fn offset_of(&self, position: u32) -> usize {
        self.data_offset + (position % self.capacity) as usize * 32
    }

    /// Lays down a record with a header that checks.
    pub fn forge(&self, input: &mut Input<'_>) {
        let (place, shape) = (input.u8(), input.u8());
        let base = match place >> 6 {
            0 | 1 => self.word(wire::OLDEST),
            2 => self.word(wire::TAIL),
            _ => self.word(wire::TAIL).wrapping_sub(self.capacity),
        };
        let position = base.wrapping_add(u32::from(place % 64) % self.capacity.max(1));
        let at = self.offset_of(position);
        let len = match shape & 3 {
            0 | 1 => length(input, self.max_payload) as u32,
            2 => (u32::from(input.u8()) % (self.capacity + 2)) * 32,
            _ => input.u32(),
        };
        let kind =
            [1, 1, 1, 2, 3, 3, input.u8(), wire::DATA_ATTRIBUTES][usize::from(shape >> 2) % 8];
        let seq = match shape >> 5 {
            0..6 => u64::from(self.word(wire::NEXT_SEQ).wrapping_add(input.step())),
            6 => u64::MAX - u64::from(input.u8()),
            _ => input.u64(),
        };
        let extra = input.u8();
        let payload = payload_of(seq, (len as usize).min(self.capacity as usize * 32));
        let is_data = kind == wire::DATA || kind == wire::DATA_ATTRIBUTES;
        let payload_crc = if is_data { wire::crc(&payload) } else { 0 };
        let head = Head {
            len,
            kind,
            flags: extra & if kind == wire::DATA_ATTRIBUTES { 3 } else { 1 },
            type_tag: u16::from(extra),
            seq,
            timestamp_ns: u64::from(extra) << 8,
            payload_crc: payload_crc ^ u32::from(extra == 7),
        };
        self.ring.write(at, &head.encode(self.epoch, position));
        if is_data {
            let room = (self.data_offset + self.capacity as usize * 32).saturating_sub(at + 32);
            self.ring.write(at + 32, &payload[..payload.len().min(room)]);
        }
    }

    /// Sets a control word, near what it is or anywhere.
    pub fn set_word(&self, input: &mut Input<'_>) {
        let which = input.u8();
        let at = [wire::TAIL, wire::OLDEST, wire::STATE, wire::SPACE_WANTED, wire::NEXT_SEQ]
            [usize::from(which % 5)];
        let value = match which / 5 % 4 {
            0 | 1 => self.word(at).wrapping_add(input.step()),
            2 => self.word(wire::OLDEST).wrapping_add(u32::from(input.u8())),
            _ => input.u32(),
        };
        self.ring.write(at, &value.to_le_bytes());
    }

    /// Changes a byte of the data area, or now and then of the rest.
    pub fn flip(&self, input: &mut Input<'_>) {
        let (at, mask) = (input.index(self.ring.size()), input.u8());
        let at = if at >= 128 { at } else { at + self.data_offset };
        self.ring.write(at, &[self.ring.bytes()[at] ^ mask]);
    }

    fn change_header(&self, input: &mut Input<'_>) {
        let (at, value, repair) = (input.below(124) as usize, input.u8(), input.u8());
        let mut header = self.ring.bytes()[..128].to_vec();
        match repair % 8 {
            0..3 => header[at] = value,
            3 => header[32 + at % 8] = value,
            4 => header[12 + at % 4] = value,
            5 => header[32..36].copy_from_slice(&(1_u32 << (value % 32)).to_le_bytes()),
            6 => header[16..24].copy_from_slice(&u64::from(value % 2).to_le_bytes()),
            _ => header[at % 12] ^= value,
        }
        if repair < 192 {
            let crc = wire::crc(&header[..124]);
            header[124..].copy_from_slice(&crc.to_le_bytes());
        }
        self.ring.write(0, &header);
    }

    fn change_page(&mut self, input: &mut Input<'_>) {
        let (at, mask, repair) = (input.below(60) as usize, input.u8(), input.u8());
        let mut identity = self.page.bytes()[..64].to_vec();
        identity[at] ^= mask;
        if repair % 2 == 0 {
            let crc = wire::crc(&identity[..60]);
            identity[60..].copy_from_slice(&crc.to_le_bytes());
        }
        self.page.write(0, &identity);
        if repair % 4 == 3 {
            self.page_bytes = usize::from(mask);
        }
    }
}
