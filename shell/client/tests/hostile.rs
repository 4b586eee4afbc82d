//! A listener that is an enemy: whatever bytes are in the ring, however they change, whatever it
//! sends, every call returns, soon, and nothing is read outside of the ring.

mod common;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Event, Options, ReadError, Waited};
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, ring_word};
use aqueduct_core::{MemoryMut, Meta};
use common::fake::{EPOCH, Fake, GRANULES};

/// Longer than any call of an observer or reader takes on a ring this small.
const SOON: Duration = Duration::from_secs(5);

/// xorshift64*, for bytes that are the same in every run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits")
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }
}

fn attach(fake: &mut Fake, observe: bool) -> Client {
    if observe {
        fake.descriptors.truncate(1);
    }
    fake.meet(|path| {
        let options = Options::new(path);
        if observe { options.observe() } else { options.attach() }
    })
    .expect("attached")
}

/// Every call that looks at the ring, each of which must return soon.
fn look(client: &mut Client, rng: &mut Rng) {
    let began = Instant::now();
    let longest = client.info().max_payload_bytes as usize;
    match rng.below(8) {
        0 => drop(client.peek()),
        1 => drop(client.skip()),
        2 => drop(client.seek(EPOCH, rng.next() % 100)),
        3 => drop(client.lag()),
        4 => drop(client.skip_to_latest()),
        5 => drop(client.wait(Some(Duration::ZERO))),
        6 => client.release(),
        _ => {
            if let Ok(Event::Record((record, payload))) = client.next() {
                assert!(record.len == payload.len() && payload.len() <= longest);
            }
        }
    }
    assert!(began.elapsed() < SOON);
}

#[test]
fn random_bytes_never_mislead_a_client() {
    for seed in 1..200 {
        let mut rng = Rng(seed);
        let mut fake = Fake::new();
        let mut client = attach(&mut fake, seed % 2 == 0);
        for _ in 0..10 {
            fake.publish(&[7; 40]);
        }
        for _ in 0..rng.below(30) {
            let at = DATA_OFFSET_MAPPED as usize + rng.below(GRANULES) * 32;
            fake.ring.region.write(at, &rng.next().to_le_bytes());
        }
        let tail = rng.word() >> rng.below(32);
        fake.ring.region.store(ring_word::TAIL, tail, Ordering::Release);
        for _ in 0..100 {
            look(&mut client, &mut rng);
        }
        // It ends, too: with nothing new, there is a call that finds nothing, or cannot go on.
        fake.hang_up();
        let over = |client: &mut Client| match client.next() {
            Ok(Event::Closed | Event::Lost) | Err(ReadError::TailOutOfRange { .. }) => true,
            _ => client.wait(Some(Duration::ZERO)).is_err(),
        };
        assert!((0..10_000).any(|_| over(&mut client)), "seed {seed}");
    }
}

#[test]
fn bytes_that_change_while_they_are_read_never_mislead_a_client() {
    for observe in [false, true] {
        let mut fake = Fake::new();
        let mut client = attach(&mut fake, observe);
        thread::scope(|scope| {
            let (stop, stopped) = mpsc::channel::<()>();
            let (ring, segment) = (fake.ring.region, fake.cursor.region);
            let producer = &mut fake.producer;
            scope.spawn(move || {
                let mut dice = Rng(77);
                while stopped.try_recv() == Err(TryRecvError::Empty) {
                    let _ = producer.push(Meta::default(), &[3; 100]);
                    let at = DATA_OFFSET_MAPPED as usize + dice.below(GRANULES) * 32;
                    ring.write(at, &dice.next().to_le_bytes());
                    let words = [
                        ring_word::TAIL,
                        ring_word::OLDEST,
                        ring_word::STATE,
                        ring_word::NEXT_SEQ,
                        ring_word::SPACE_WANTED,
                    ];
                    let word = dice.word() >> dice.below(32);
                    ring.store(words[dice.below(words.len())], word, Ordering::Relaxed);
                    segment.store(64 + dice.below(40) * 4, dice.word(), Ordering::Relaxed);
                }
            });
            let (mut dice, until) = (Rng(78), Instant::now() + Duration::from_millis(400));
            while Instant::now() < until {
                look(&mut client, &mut dice);
            }
            drop(stop);
        });
    }
}

#[test]
fn a_flood_of_packets_does_not_hold_a_wait() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake, false);
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let fake = &fake;
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                fake.send(b"W");
            }
        });
        let (began, time) = (Instant::now(), Duration::from_millis(50));
        for _ in 0..4 {
            assert_eq!(client.wait(Some(time)).expect("polled"), Waited::Elapsed);
        }
        assert!(began.elapsed() < SOON);
        client.interrupter().interrupt();
        assert_eq!(client.wait(None).expect("polled"), Waited::Interrupted);
        drop(stop);
    });
}

#[test]
fn the_same_epoch_with_another_geometry_is_read_as_it_is() {
    for observe in [false, true] {
        let mut fake = Fake::new();
        if observe {
            fake.descriptors.truncate(1);
        }
        let mut client = fake
            .meet(|path| {
                let options = Options::new(path).reconnect_for(Duration::from_secs(20));
                if observe { options.observe() } else { options.attach() }
            })
            .expect("attached");
        for _ in 0..20 {
            fake.publish(b"x");
            assert!(matches!(client.next(), Ok(Event::Record(_))));
            client.release();
        }
        let descriptors = fake.descriptors.clone();
        let mut liar = Fake::of_granules(&fake.die(), EPOCH, 0, 16);
        liar.descriptors = descriptors;
        liar.meet(|_| {
            while client.totals().attachments < 2 {
                assert!(matches!(client.next(), Ok(Event::Empty)));
                client.wait(Some(Duration::from_millis(10))).expect("polled");
            }
        });
        liar.publish(b"first");
        let Ok(Event::Record((record, b"first"))) = client.next() else {
            panic!("the record is there");
        };
        assert_eq!(record.seq, 0, "observing: {observe}");
        assert_eq!(client.info().capacity_granules, 16);
    }
}
