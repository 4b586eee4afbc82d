//! `differential`: the Rust reader and the C reader on the same bytes, call by call: the same
//! status, record, payload, evidence, counters and page. Every call of a reader, copied (`next`) or
//! in place (`next_in_place`, `aqd_reader_view`). Between calls the ring changes for both, and the
//! producer goes on.

use aqueduct_core::memory::Region;
use aqueduct_core::{Next, Reader, Sleep, TrustedRegion, WaitMode};

use super::reader::{buffer_size, some_seq};
use super::{compare, outcome};
use crate::c_library::{self, CRecord, CSide};
use crate::image::Image;
use crate::input::Input;
use crate::memory::Shared;
use crate::oracle::Outcome;
use crate::paths;

type Ours<'a> = Reader<TrustedRegion<'a>, Region<'a>>;

/// Both readers, and a buffer for each.
struct Pair<'a> {
    image: &'a Image,
    in_place: bool,
    ours: Ours<'a>,
    c: CSide<'a>,
    c_page: &'a Shared,
    buffer: Vec<u8>,
    c_buffer: Vec<u8>,
    last_seq: Option<u64>,
}

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let in_place = input.u8() % 2 == 1;
    let image = Image::take(&mut input);
    let c_page = Shared::new(image.page.size());
    c_page.write(0, &image.page.bytes());

    let trusted = image.ring.trusted_of(image.ring_bytes);
    let ours = Reader::attach(trusted, image.page.region_of(image.page_bytes));
    let (status, c) = CSide::attach(&image.ring, image.ring_bytes, &c_page, image.page_bytes);
    let ours = match ours {
        Ok(ours) => ours,
        Err(error) => return compare::refusal(error, status),
    };
    assert_eq!(status, c_library::OK);
    let (buffer, c_buffer) = (vec![0; image.ring.size()], vec![0; image.ring.size()]);
    let mut pair = Pair {
        image: &image,
        in_place,
        ours,
        c,
        c_page: &c_page,
        buffer,
        c_buffer,
        last_seq: None,
    };
    for _ in 0..96 {
        pair.step(&mut input);
        pair.compare_state();
        if input.is_empty() {
            break;
        }
    }
    pair.release();
    pair.compare_state();
}

impl Pair<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            144..=255 => {
                let size = if self.in_place {
                    usize::MAX
                } else {
                    buffer_size(input, self.image.max_payload)
                };
                self.next(size);
            }
            0..48 => self.image.change(input),
            48..64 => self.image.go_on(input),
            64..76 => self.release(),
            76..92 => self.sleep(input),
            92..100 => compare::on_peek(&self.take(0), &mut self.c),
            100..108 => {
                let ours = self.take(usize::MAX);
                compare::on_skip(&ours, &mut self.c, &mut self.c_buffer);
            }
            108..120 => {
                let (epoch, seq) = (
                    self.image.epoch ^ u64::from(input.u8() == 255),
                    some_seq(input, self.last_seq),
                );
                compare::on_seek(
                    self.ours.seek(epoch, seq),
                    &mut self.c,
                    &self.image.ring,
                    epoch,
                    seq,
                );
            }
            120..124 => match self.ours.skip_to_latest() {
                Ok(()) => assert_eq!(self.c.skip_to_latest(), c_library::OK),
                Err(error) => {
                    let status = self.c.skip_to_latest();
                    compare::on_error(error, &self.c, status, &CRecord::default());
                }
            },
            124..132 => {
                let now = compare::some_time(input);
                compare::on_lag(self.ours.lag(now), &self.c, &self.image.ring, now, false);
            }
            132..138 => {
                let (max, size) =
                    (1 + input.below(12) as usize, buffer_size(input, self.image.max_payload * 2));
                let ours = &mut self.ours;
                compare::on_batch(&mut self.c, size.min(self.c_buffer.len()), max, |rest| {
                    let found = ours.next(rest);
                    outcome(found, rest)
                });
            }
            138..144 => self.batch(input),
        }
    }

    /// What Rust gives to a buffer of this size.
    fn take(&mut self, size: usize) -> Outcome {
        let buffer = &mut self.buffer[..size.min(self.image.ring.size())];
        let found = self.ours.next(buffer);
        outcome(found, buffer)
    }

    /// One record or whatever there is.
    fn next(&mut self, size: usize) {
        let size = size.min(self.c_buffer.len());
        let ours = if self.in_place {
            match self.ours.next_in_place_with_attributes() {
                Ok(Next::Record((record, bytes))) => Outcome::Record(record, bytes.to_vec()),
                Ok(Next::Empty) => Outcome::Empty,
                Ok(Next::Closed) => Outcome::Closed,
                Err(error) => Outcome::Error(error),
            }
        } else {
            self.take(size)
        };
        let mut record = CRecord::default();
        let ready = self.c.ready();
        let (status, payload) = if self.in_place {
            self.c.view(&mut record)
        } else {
            let status = self.c.next(&mut self.c_buffer[..size], &mut record);
            (
                status,
                self.c_buffer[..if status == c_library::OK { record.bytes() } else { 0 }].to_vec(),
            )
        };
        assert!(ready || status == c_library::EMPTY, "not ready, but {status}");
        compare::on_next(&ours, &self.c, status, &record, &payload);
        if let Outcome::Record(record, _) = ours {
            self.last_seq = Some(record.seq);
        }
    }

    /// A whole batch of Rust, which releases it; C releases by another call. Each has room for
    /// every record.
    fn batch(&mut self, input: &mut Input<'_>) {
        let max = 1 + input.below(12) as usize;
        let mut found = Vec::new();
        let ended = self
            .ours
            .batch(&mut self.buffer, max, |record, payload| found.push((record, payload.to_vec())));
        let mut room = vec![0; max * self.c_buffer.len()];
        let (status, taken) = self.c.batch(&mut room, max);
        let found: Vec<_> =
            found.iter().map(|(record, payload)| (compare::described(record), payload)).collect();
        assert_eq!(
            found,
            taken.iter().map(|(record, payload, _)| (*record, payload)).collect::<Vec<_>>()
        );
        let (told, ends_well) = match ended {
            Ok((n, tell)) => (
                tell,
                status == c_library::OK
                    || n == 0 && (status == c_library::EMPTY || status == c_library::CLOSED),
            ),
            Err((_, tell)) => (tell, (c_library::HEADER..=c_library::TAIL).contains(&status)),
        };
        assert!(ends_well, "{ended:?}: C says {status}");
        assert_eq!(self.c.release(), told);
    }

    fn release(&mut self) {
        assert_eq!(self.ours.release(), self.c.release());
        assert_eq!(self.c.position(), self.c.released());
    }

    fn compare_state(&self) {
        let (ours, theirs) = (self.ours.stats(), self.c.stats());
        assert_eq!(
            (ours.corrupt, ours.lost, ours.missed_wakes),
            (theirs.corrupt, theirs.lost, theirs.missed_wakes)
        );
        assert_eq!(self.image.page.bytes(), self.c_page.bytes(), "the pages");
    }

    /// Announces a sleep and ends it; what was announced to both must be taken up by both before
    /// the ring changes again.
    fn sleep(&mut self, input: &mut Input<'_>) {
        let how = input.u8();
        let (mode, number) =
            if how & 1 == 0 { (WaitMode::Futex, 1) } else { (WaitMode::Socket, 2) };
        let theirs = self.c.prepare_sleep(number);
        match self.ours.prepare_sleep(mode) {
            Ok(Sleep::Wait { tail }) => {
                assert_eq!(theirs, Some(tail));
                match how & 6 {
                    2 => self.image.set_word(input),
                    4 => self.image.go_on(input),
                    _ => {}
                }
                let ended = self.ours.finish_sleep(how & 8 != 0);
                self.c.finish_sleep(how & 8 != 0 && ended.is_ok());
            }
            Ok(Sleep::Ready) | Err(_) => assert_eq!(theirs, None),
        }
        self.next(usize::MAX);
    }
}
