//! The Rust and the C client answer common scripts of a listener alike: line by line, with the same
//! evidence, and the same bytes sent.

mod common;

#[path = "alike/rust.rs"]
mod rust;
#[path = "alike/stage.rs"]
mod stage;

use std::thread;
use std::time::Duration;

use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, KIND_ATTRIBUTES, KIND_DATA, ring_word};
use aqueduct_core::{Memory, MemoryMut, payload_crc};
use common::fake::{CURSOR_BYTES, EPOCH, Fake, GRANULES, Manner, RING_BYTES};
use common::segment::{SEALS, Segment};
use rustix::fs::SealFlags;
use stage::{Stage, alike};
use std::sync::atomic::Ordering;

/// What a client is to do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    ring: &'static str,
    subscription: &'static str,
    start: usize,
    observe: bool,
    timeout_ms: i32,
    reconnect_ms: i32,
    open_retry_ms: i32,
    standby: bool,
    seek: Option<(u64, u64)>,
    /// Pauses after so many records; 0: never.
    pause_after: u64,
}

const GATING: Plan = Plan {
    ring: "demo",
    subscription: "tail",
    start: 0,
    observe: false,
    timeout_ms: 0,
    reconnect_ms: 0,
    open_retry_ms: 0,
    standby: false,
    seek: None,
    pause_after: 0,
};
const OBSERVER: Plan = Plan { observe: true, ..GATING };
/// Reconnects, and tells the end of the last listener only after this time.
const LASTING: Plan = Plan { reconnect_ms: 1000, timeout_ms: 1000, ..GATING };

impl Plan {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("r={}", self.ring),
            format!("s={}", self.subscription),
            format!("S={}", self.start),
            format!("o={}", u32::from(self.observe)),
            format!("t={}", self.timeout_ms),
            format!("R={}", self.reconnect_ms),
            format!("O={}", self.open_retry_ms),
            format!("b={}", u32::from(self.standby)),
            format!("p={}", self.pause_after),
        ];
        if let Some((epoch, seq)) = self.seek {
            arguments.extend([format!("e={epoch}"), format!("n={seq}")]);
        }
        arguments
    }
}

fn publish_texts(fake: &mut Fake, texts: &[&str]) {
    for text in texts {
        fake.publish(text.as_bytes());
    }
}

/// Overwrites bytes of the data area, from the start of a granule.
fn write(fake: &Fake, granule: usize, bytes: &[u8]) {
    fake.ring.region.write(DATA_OFFSET_MAPPED as usize + granule * 32, bytes);
}

/// Closes the ring and takes the client: in this order, so that what follows damage is always the
/// same.
fn take_and_close(stage: &mut Stage) {
    stage.fake.close();
    stage.fake.take_one();
}

fn take_and_die(stage: &mut Stage) {
    stage.fake.take_one();
    stage.fake.hang_up();
}

fn end_for_good(stage: &mut Stage) {
    stage.fake.stop_listening();
    stage.fake.hang_up();
}

fn only_take(stage: &mut Stage) {
    stage.fake.take_one();
}

fn starts(lines: &[String], expected: &[&str]) {
    let found: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap_or("")).collect();
    assert_eq!(found, expected, "{lines:#?}");
}

#[test]
fn every_refusal_reads_alike() {
    for status in 1..=9 {
        let refuse = |fake: &mut Fake| fake.refuse(status, b"busy since\n\x1b[31m noon\x7f");
        let lines = alike(GATING, refuse, only_take);
        assert_eq!(lines, [format!("open refused {status} busy since??[31m noon?")]);
    }
    let lines = alike(OBSERVER, |fake| fake.refuse(6, &[b'm'; 96]), only_take);
    assert_eq!(lines, [format!("open refused 6 {}", "m".repeat(96))]);
    let unheard = |fake: &mut Fake| {
        fake.refuse(6, b"not you");
        fake.manner = Manner::AnswersUnheard;
    };
    assert_eq!(alike(GATING, unheard, only_take), ["open refused 6 not you"]);
}

#[test]
fn a_listener_that_is_not_there_silent_or_rude_reads_alike() {
    let gone = |fake: &mut Fake| std::fs::remove_file(&fake.path).expect("it was there");
    assert_eq!(alike(GATING, gone, |_| {}), ["open system 2"]);
    let dead = |fake: &mut Fake| {
        gone(fake);
        fake.path = Fake::new().die();
    };
    assert_eq!(alike(GATING, dead, |_| {}), ["open system 111"]);
    let plan = Plan { timeout_ms: 200, ..GATING };
    for (manner, line) in [
        (Manner::Silent, "open timeout"),
        (Manner::HangsUpBeforeHello, "open hangup"),
        (Manner::HangsUpAfterHello, "open hangup"),
    ] {
        assert_eq!(alike(plan, |fake| fake.manner = manner, only_take), [line]);
    }
    let long = Plan {
        ring: "0123456789012345678901234567890123456789012345678901234567890123x",
        ..GATING
    };
    assert_eq!(alike(long, |_| {}, |_| {}), ["open argument"]);
}

#[test]
fn a_listener_that_comes_later_is_waited_for_alike() {
    for plan in [Plan { open_retry_ms: -1, ..GATING }, Plan { open_retry_ms: 20_000, ..OBSERVER }] {
        let lines = alike(
            plan,
            |fake| std::fs::remove_file(&fake.path).expect("it was there"),
            |stage| {
                thread::sleep(Duration::from_millis(50));
                stage.restart(EPOCH, 0);
                stage.fake.publish(b"hello");
                take_and_close(stage);
            },
        );
        starts(&lines, &["open", "record", "closed", "stats", "totals", "attached=1"]);
    }
    let standby = Plan { open_retry_ms: -1, standby: true, ..GATING };
    let lines = alike(
        standby,
        |fake| fake.refuse(5, b"it has a reader"),
        |stage| {
            stage.fake.take_one();
            stage.restart(EPOCH, 0);
            stage.fake.descriptors = vec![true, false];
            take_and_close(stage);
        },
    );
    starts(&lines, &["open", "closed", "stats", "totals", "attached=1"]);
    for (plan, words) in [(OBSERVER, &b"too many observers"[..]), (GATING, b"no memory")] {
        let lines = alike(
            Plan { open_retry_ms: -1, ..plan },
            |fake| fake.refuse(8, words),
            |stage| {
                stage.fake.take_one();
                stage.restart(EPOCH, 0);
                stage.fake.descriptors = if plan.observe { vec![true] } else { vec![true, false] };
                take_and_close(stage);
            },
        );
        starts(&lines, &["open", "closed", "stats", "totals", "attached=1"]);
    }
    let gives_up = Plan { open_retry_ms: 40, ..GATING };
    let gone = |fake: &mut Fake| std::fs::remove_file(&fake.path).expect("it was there");
    assert_eq!(alike(gives_up, gone, |_| {}), ["open system 2"]);
}

#[test]
fn every_wrong_welcome_reads_alike() {
    type Spoil = fn(&mut Fake);
    let spoils: [(Spoil, &str); 14] = [
        (|fake| fake.packet[3] ^= 1, "open protocol"),
        (|fake| fake.packet.truncate(127), "open protocol"),
        (|fake| fake.packet.resize(129, 0), "open protocol"),
        (|fake| fake.packet[8] = 2, "open version"),
        (|fake| fake.descriptors.clear(), "open protocol"),
        (|fake| fake.descriptors.truncate(1), "open protocol"),
        (|fake| fake.descriptors.push(true), "open protocol"),
        (|fake| fake.descriptors = vec![true, true], "open cursor"),
        (|fake| fake.packet[16..24].fill(0), "open size"),
        (|fake| fake.packet[16..24].fill(0xff), "open size"),
        (|fake| fake.packet[16] = 1, "open size"),
        (|fake| fake.packet[24..28].copy_from_slice(&255_u32.to_le_bytes()), "open size"),
        (|fake| fake.ring = Segment::new("ring", RING_BYTES, SealFlags::GROW), "open not sealed"),
        (
            |fake| fake.cursor = Segment::new("cursor", CURSOR_BYTES, SealFlags::empty()),
            "open not sealed",
        ),
    ];
    for (index, (spoil, line)) in spoils.into_iter().enumerate() {
        assert_eq!(alike(GATING, spoil, only_take), [line], "{index}");
    }
    let minor: Spoil = |fake| fake.packet[10] = 9;
    let lines = alike(GATING, minor, take_and_close);
    starts(&lines, &["open", "closed", "stats", "totals", "attached=1"]);
}

#[test]
fn every_wrong_segment_reads_alike() {
    type Spoil = fn(&mut Fake);
    fn spoil_header(fake: &Fake, at: usize, byte: u8, honest_crc: bool) {
        let mut header = [0; 128];
        fake.ring.region.read(0, &mut header);
        header[at] = byte;
        if honest_crc {
            let crc = payload_crc(&header[..124]);
            header[124..].copy_from_slice(&crc.to_le_bytes());
        }
        fake.ring.region.write(0, &header);
    }
    let rings: [(Spoil, &str); 9] = [
        (|fake| fake.ring = Segment::new("ring", RING_BYTES, SEALS), "open magic"),
        (|fake| spoil_header(fake, 0, b'X', true), "open magic"),
        (|fake| spoil_header(fake, 8, 2, true), "open version"),
        (|fake| spoil_header(fake, 60, 1, false), "open checksum"),
        (|fake| spoil_header(fake, 32, 63, true), "open geometry"), // capacity
        (|fake| spoil_header(fake, 32, 128, true), "open size"),
        (|fake| spoil_header(fake, 37, 0xff, true), "open geometry"), // max_payload
        (|fake| spoil_header(fake, 12, 1, true), "open geometry"),    // data_offset
        (|fake| fake.ring.region.store(ring_word::TAIL, 1000, Ordering::Relaxed), "open tail"),
    ];
    for (index, (spoil, line)) in rings.into_iter().enumerate() {
        assert_eq!(alike(GATING, spoil, only_take), [line], "{index}, gating");
        if line != "open tail" {
            // An observer goes on at `oldest`.
            assert_eq!(alike(OBSERVER, spoil, only_take), [line], "{index}, observing");
        }
    }
    let cursors: [Spoil; 3] = [
        |fake| fake.cursor = Segment::new("cursor", CURSOR_BYTES, SEALS),
        |fake| fake.cursor.region.write(24, b"12345678"),
        |fake| {
            let mut other = Fake::at(&common::fresh_path(), EPOCH + 1, 0);
            std::mem::swap(&mut fake.cursor, &mut other.cursor);
        },
    ];
    for (index, spoil) in cursors.into_iter().enumerate() {
        assert_eq!(alike(GATING, spoil, only_take), ["open cursor"], "{index}");
    }
}

#[test]
fn records_and_both_ends_read_alike() {
    for plan in [GATING, OBSERVER, Plan { start: 1, ..GATING }, Plan { start: 2, ..GATING }] {
        for (play, end, attached) in [
            (take_and_close as fn(&mut Stage), "closed", "attached=1"),
            (take_and_die, "lost", "attached=0"),
        ] {
            let prepare = |fake: &mut Fake| publish_texts(fake, &["", "one", &"x".repeat(900)]);
            let lines = alike(plan, prepare, play);
            let expected = ["open", "record", "record", "record", end, "stats", "totals", attached];
            starts(&lines, &expected);
        }
    }
    let lines = alike(
        Plan { start: 2, ..OBSERVER },
        |fake| fake.publish(b"old"),
        |stage| {
            stage.fake.take_one();
            stage.fake.hang_up();
        },
    );
    starts(&lines, &["open", "lost", "stats", "totals", "attached=0"]);
    let empty = alike(GATING, |_| {}, take_and_die);
    starts(&empty, &["open", "lost", "stats", "totals", "attached=0"]);
}

#[test]
fn many_records_over_many_laps_read_alike() {
    let lines = alike(
        GATING,
        |_| {},
        |stage| {
            stage.fake.take_one();
            for number in 0..500_u32 {
                let payload =
                    vec![b'a' + u8::try_from(number % 26).expect("small"); number as usize % 400];
                while stage.fake.try_publish(&payload).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            stage.fake.close();
        },
    );
    assert_eq!(lines.len(), 505);
}

#[test]
fn attributes_read_alike_whole_and_hostile() {
    for plan in [GATING, OBSERVER] {
        let prepare = |fake: &mut Fake| {
            fake.publish_with(b"zero", &[(":path", b"/v1"), ("a", b""), (":path", b"again")]);
            fake.publish_with(b"", &[("only", b"attributes")]);
            fake.publish(b"two");
            fake.publish_with(b"three", &[("a", b"b")]);
            // Whole by its checksum, but its second entry ends past what is in use.
            let block = b"\x0c\0\x02\0\x01\x01\0ab\x01\x09\0c\0\0\0";
            let bytes = [&b"three"[..], block].concat();
            let header = Header {
                len: 21,
                kind: KIND_DATA | KIND_ATTRIBUTES,
                flags: 1,
                type_tag: 7,
                seq: 3,
                timestamp_ns: 5,
                payload_crc: payload_crc(&bytes),
            };
            write(fake, 7, &[&Framing::new(EPOCH).encode(7, &header)[..], &bytes].concat());
        };
        let lines = alike(plan, prepare, take_and_close);
        assert_eq!(
            lines[1..5],
            [
                "record 0 type=7 len=4 time=5 zero :path=/v1 a= :path=again",
                "record 1 type=7 len=0 time=5  only=attributes",
                "record 2 type=7 len=3 time=5 two",
                "record 3 type=7 len=5 time=5 three a=b",
            ]
        );
    }
}

#[test]
fn damage_and_gaps_read_alike() {
    for plan in [GATING, OBSERVER] {
        let spoils: [fn(&mut Fake); 6] = [
            |fake| write(fake, 3, b"0ne"),   // a payload
            |fake| write(fake, 2, &[0; 32]), // a header
            |fake| write(fake, 0, &[7; 32]), // the first header
            |fake| write(fake, 8, &[7; 64]), // the last record
            |fake| write(fake, 2, &[9; 96]), // two headers in a row
            |fake| {
                // A valid header whose sequence number jumps, then one whose length is impossible.
                let framing = Framing::new(EPOCH);
                let header = |seq, len| Header {
                    len,
                    kind: KIND_DATA,
                    flags: 0,
                    type_tag: 1,
                    seq,
                    timestamp_ns: 2,
                    payload_crc: payload_crc(b"one"),
                };
                write(fake, 2, &framing.encode(2, &header(5, 3)));
                write(fake, 6, &framing.encode(6, &header(6, 5000)));
            },
        ];
        for (index, spoil) in spoils.into_iter().enumerate() {
            let prepare = |fake: &mut Fake| {
                publish_texts(fake, &["zero", "one", "two", "three", "four"]);
                spoil(fake);
            };
            let lines = alike(plan, prepare, take_and_close);
            let damage = ["payload", "header", "gap"];
            assert!(
                lines.iter().any(|line| damage.iter().any(|word| line.starts_with(word))),
                "{index}: {lines:#?}"
            );
            assert!(lines.contains(&"closed".to_owned()));
        }
    }
}

#[test]
fn a_stored_number_is_sought_alike() {
    let seeks = [
        ((EPOCH, 3), "seek found", 2),
        ((EPOCH, 0), "seek found", 5),
        ((EPOCH, 9), "seek ahead", 0),
        ((EPOCH - 1, 3), "seek epoch", 5),
    ];
    for plan in [GATING, OBSERVER] {
        for (seek, line, records) in seeks {
            let plan = Plan { seek: Some(seek), ..plan };
            let prepare =
                |fake: &mut Fake| publish_texts(fake, &["zero", "one", "two", "three", "four"]);
            let lines = alike(plan, prepare, take_and_close);
            assert_eq!(lines[1], line);
            let found = lines.iter().filter(|line| line.starts_with("record")).count();
            assert_eq!(found, records, "{lines:#?}");
        }
    }
    // Overwritten.
    let lines = alike(
        Plan { seek: Some((EPOCH, 1)), ..OBSERVER },
        |fake| {
            assert!(fake.producer.unsubscribe(fake.subscription), "nobody gates");
            for _ in 0..3 * GRANULES {
                fake.publish(b"");
            }
        },
        take_and_close,
    );
    assert!(lines[1].starts_with("seek gone"), "{lines:#?}");
}

#[test]
fn an_overrun_observer_reads_alike() {
    let plan = Plan { pause_after: 2, ..OBSERVER };
    let prepare = |fake: &mut Fake| {
        assert!(fake.producer.unsubscribe(fake.subscription), "nobody gates");
        publish_texts(fake, &["zero", "one", "two"]);
    };
    let lines = alike(plan, prepare, |stage| {
        stage.fake.take_one();
        stage.paused();
        for _ in 0..3 * GRANULES {
            stage.fake.publish(b"x");
        }
        stage.go();
        stage.fake.close();
    });
    assert!(lines.iter().any(|line| line.starts_with("overrun expected=2 found=")), "{lines:#?}");
}

#[test]
fn an_evicted_reader_reads_alike_and_goes_on_in_the_next_ring() {
    let evict = |stage: &mut Stage| {
        stage.fake.take_one();
        stage.paused();
        assert!(stage.fake.producer.unsubscribe(stage.fake.subscription));
        for _ in 0..2 * GRANULES {
            stage.fake.publish(b"x");
        }
    };
    let publish = |fake: &mut Fake| publish_texts(fake, &["zero", "one"]);
    let lines = alike(Plan { pause_after: 2, ..GATING }, publish, |stage| {
        evict(stage);
        stage.fake.hang_up();
        stage.go();
    });
    let expected = ["open", "record", "record", "paused", "tail", "stats", "totals", "attached=0"];
    starts(&lines, &expected);
    let lines = alike(Plan { pause_after: 2, ..LASTING }, publish, |stage| {
        evict(stage);
        stage.restart(EPOCH + 1, 0);
        stage.fake.publish(b"new");
        stage.go();
        take_and_close(stage);
        end_for_good(stage);
    });
    assert!(lines.iter().any(|line| line.ends_with("missed=1 old end: tail")), "{lines:#?}");
}

#[test]
fn a_restart_reads_alike() {
    for plan in [LASTING, Plan { observe: true, ..LASTING }] {
        let publish = |fake: &mut Fake| publish_texts(fake, &["zero", "one"]);
        let lines = alike(plan, publish, |stage| {
            take_and_die(stage); // Lost, then another ring from its beginning.
            stage.restart(EPOCH + 1, 0);
            stage.fake.publish(b"new");
            take_and_close(stage); // Closed, then one whose beginning is missed.
            stage.restart(EPOCH + 2, 4);
            stage.fake.publish(b"newer");
            stage.fake.take_one();
            end_for_good(stage);
        });
        let starting = [
            "open",
            "record",
            "record",
            "epoch",
            "record",
            "epoch",
            "record",
            "lost",
            "stats",
            "totals",
            "attached=0",
        ];
        starts(&lines, &starting);
        assert!(lines[3].ends_with("next=2 missed=0 old end: lost"), "{}", lines[3]);
        assert!(lines[5].ends_with("next=1 missed=2 old end: closed"), "{}", lines[5]);
        assert!(lines[9].ends_with("attachments=3"), "{}", lines[9]);
    }
}

#[test]
fn a_cut_connection_to_the_same_ring_reads_alike() {
    for plan in [LASTING, Plan { observe: true, ..LASTING }] {
        let plan = Plan { pause_after: 2, ..plan };
        let publish = |fake: &mut Fake| publish_texts(fake, &["zero", "one", "two"]);
        let lines = alike(plan, publish, |stage| {
            stage.fake.take_one();
            stage.paused(); // Two are read and not released.
            stage.fake.detach();
            stage.go();
            stage.fake.take_one();
            stage.fake.publish(b"three");
            end_for_good(stage);
        });
        let expected = [
            "open",
            "record",
            "record",
            "paused",
            "record",
            "record",
            "lost",
            "stats",
            "totals",
            "attached=0",
        ];
        starts(&lines, &expected);
        assert!(lines[8].ends_with("attachments=2"), "{}", lines[8]);
    }
}

#[test]
fn a_listener_that_refuses_or_is_silent_at_first_is_tried_again_alike() {
    let plan = Plan { timeout_ms: 200, ..LASTING };
    let publish = |fake: &mut Fake| publish_texts(fake, &["zero"]);
    let lines = alike(plan, publish, |stage| {
        take_and_die(stage);
        stage.restart(EPOCH + 1, 0);
        stage.fake.refuse(5, b"not yet");
        stage.fake.take_one();
        stage.restart(EPOCH + 2, 0);
        stage.fake.descriptors = vec![true, false];
        stage.fake.manner = Manner::Silent;
        stage.fake.take_one();
        stage.restart(EPOCH + 3, 0);
        stage.fake.descriptors = vec![true, false];
        stage.fake.publish(b"at last");
        stage.fake.take_one();
        end_for_good(stage);
    });
    let expected = ["open", "record", "epoch", "record", "lost", "stats", "totals", "attached=0"];
    starts(&lines, &expected);
}
