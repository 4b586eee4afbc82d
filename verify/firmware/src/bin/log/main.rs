//! A log that survives resets: a ring in RAM that the startup code leaves alone.
//!
//! Each boot recovers what the last ones wrote, goes on in the same epoch, writes some lines, the
//! last of them damaged now and then, and resets the processor. The fourth boot reads everything,
//! damages the ring's header and resets. The fifth finds no ring, creates one in the next epoch,
//! and ends the run if nothing of the first one comes back. What is in RAM after power-on is no
//! ring; the first boot creates one.
//!
//! Run: `cargo run --release --bin log`. Expect a line for each boot, `ok`, and exit code 0. With
//! the argument `seed=twice` a boot writes a line too many, and with `seed=epoch` the second ring
//! has the first one's epoch; each must be noticed.

#![no_std]
#![no_main]

use core::fmt::Write;
use core::sync::atomic::Ordering;

use aqueduct_core::recovery::{Bound, Checkpoint, Cut, recover};
use aqueduct_core::{
    Memory, MemoryMut, Meta, Next, Observer, Producer, Region, RingConfig, Segment,
};
use aqueduct_firmware::{pass, seeded};
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;

/// Not cleared and not initialised by the startup code, whatever its initial value says.
#[unsafe(link_section = ".uninit.LOG")]
static LOG: Segment<{ 256 + 2048 }> = Segment::new();

/// How many rings were created, and the complement: what power-on leaves is hardly such a pair.
#[unsafe(link_section = ".uninit.CREATED")]
static CREATED: Segment<64> = Segment::new();

/// Where there is no randomness: a number of the device, to which the count of rings is added.
const EPOCHS: u64 = 0x10C0_0000;

/// What a boot writes first, by which boots are counted; and its lines.
const BOOT: u16 = 1;
const LINE: u16 = 2;
const BOOTS: u64 = 4;
const LINES: u64 = 3;

type Log = Producer<Region<'static>, Region<'static>, 0>;

/// Continues what an earlier boot wrote, or creates the log. Returns how many boots wrote to it.
fn open() -> (Log, u64) {
    let ring = LOG.region();
    if let Ok(recovery) = recover(&ring, Checkpoint::oldest(&ring), Bound::Tail)
        && let Ok(log) = Producer::resume(ring, &recovery)
    {
        if let Cut::Payload { seq, .. } = recovery.cut {
            hprintln!("line {} and what came after it is damaged, and cut off", seq);
        }
        let mut boots = 0;
        let mut observer = Observer::oldest(ring.read_only()).expect("it was just recovered");
        while let Ok(Next::Record(record)) = observer.skip() {
            boots += u64::from(record.type_tag == BOOT);
        }
        return (log, boots);
    }
    // Another epoch than that of any ring whose bytes may still be there.
    let number = if seeded("epoch") { 1 } else { created() + 1 };
    CREATED.region().store(0, number, Ordering::Relaxed);
    CREATED.region().store(4, !number, Ordering::Relaxed);
    let config = RingConfig::new("log", EPOCHS + u64::from(number), 2048);
    (Producer::create(ring, &config).expect("a right configuration"), 0)
}

/// Returns how many rings there were since power came on.
fn created() -> u32 {
    let word = |at| CREATED.region().load(at, Ordering::Relaxed);
    if word(0) == !word(4) { word(0) } else { 0 }
}

fn line(log: &mut Log, type_tag: u16, boot: u64, number: u64) {
    let mut grant = log.claim(40).expect("nobody holds it back");
    write!(grant, "boot {boot}, line {number}").expect("it was claimed");
    grant.commit(Meta { type_tag, timestamp_ns: 0 });
    assert!(log.publish().is_none(), "nobody sleeps");
}

#[entry]
fn main() -> ! {
    let again = created() > 0;
    let (mut log, boot) = open();
    let (epoch, from) = (log.geometry().epoch(), log.next_seq());
    hprintln!("boot {}: epoch {:#x}, from line {}", boot, epoch, from);
    if boot + 1 == BOOTS {
        check(&log);
        flip(&log, 16); // the epoch in its header
        cortex_m::peripheral::SCB::sys_reset();
    }
    if again && boot == 0 {
        check_anew(&mut log);
    }
    line(&mut log, BOOT, boot, 0);
    for number in 0..LINES {
        line(&mut log, LINE, boot, number);
    }
    if boot == 1 {
        damage(&log);
    }
    if boot == 2 && seeded("twice") {
        line(&mut log, LINE, boot, LINES - 1);
    }
    cortex_m::peripheral::SCB::sys_reset();
}

/// Flips a bit in the last line, as a reset in the middle of a store may.
fn damage(log: &Log) {
    let mut observer = Observer::oldest(log.ring().read_only()).expect("a ring");
    let mut last = 0;
    while let Ok(Next::Record(record)) = observer.skip() {
        last = log.geometry().offset_of(u64::from(record.position));
    }
    flip(log, last + 32);
}

fn flip(log: &Log, at: usize) {
    let mut bytes = [0; 8];
    log.ring().read(at, &mut bytes);
    bytes[0] ^= 4;
    log.ring().write(at, &bytes);
}

/// Reads all that three boots wrote: one line was cut off, every other one is there, in order.
fn check(log: &Log) {
    let mut observer = Observer::oldest(log.ring().read_only()).expect("a ring");
    let mut buf = [0; 40];
    let (mut boots, mut lines) = (0, 0);
    while let Next::Record(record) = observer.next(&mut buf).expect("nothing is damaged") {
        assert_eq!(record.seq, boots + lines);
        if record.type_tag == BOOT {
            boots += 1;
        } else {
            lines += 1;
        }
        let text = core::str::from_utf8(&buf[..record.len]).expect("it was written so");
        let number = text.strip_prefix("boot ").and_then(|text| text.split(',').next());
        assert_eq!(number.and_then(|number| number.parse().ok()), Some(boots - 1), "{text}");
    }
    assert_eq!((boots, lines), (BOOTS - 1, (BOOTS - 1) * LINES - 1));
    hprintln!("{} lines of {} boots came through", lines, boots);
}

/// Writes a line where the first ring had its first one, and looks past the end for more: the bytes
/// of the first ring are all there, one line after the other.
fn check_anew(log: &mut Log) -> ! {
    line(log, BOOT, 0, 0);
    let ring = log.ring();
    let found = recover(ring, Checkpoint::oldest(ring), Bound::Longest).expect("a ring");
    assert_eq!(found.records, 1, "lines of the ring before came back");
    assert_eq!(log.geometry().epoch(), EPOCHS + 2);
    hprintln!("ok: and none of them into the next ring");
    pass()
}
