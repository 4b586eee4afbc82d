//! A ring between two processes: the first makes the memory and produces, the second, which it
//! starts, maps the ring read-only, reads, and sleeps on the futex. A byte through a pipe tells the
//! producer of space when it asks for some. Linux.
//!
//! Run: `cargo run -p aqueduct-core --example processes`. Expect: `10000 records from another
//! process`.

#![expect(clippy::disallowed_types, reason = "a futex call takes the word as what it is")]

use std::env;
use std::error::Error;
use std::ffi::c_void;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::{Command, Stdio};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU32;

use aqueduct_core::{
    ClaimError, Meta, Next, Producer, ReadRegion, Reader, Region, RingConfig, Sleep, Start,
    WaitMode, Wake,
};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::thread::futex::{Flags, Timespec, wait, wake};

const CAPACITY_BYTES: usize = 4096;
const RING_BYTES: usize = 256 + CAPACITY_BYTES;
const CURSOR_BYTES: usize = 256;
const RECORDS: u64 = 10_000;
/// Every sleeper: the kernel counts in an `int`.
const ALL: u32 = i32::MAX as u32;

/// Maps a segment for as long as the process lives.
fn map(segment: BorrowedFd<'_>, bytes: usize, rights: ProtFlags) -> Result<NonNull<u8>, Errno> {
    // SAFETY: at an address of the kernel's choice, so over nothing that is there.
    let base: *mut c_void =
        unsafe { mmap(null_mut(), bytes, rights, MapFlags::SHARED, segment, 0) }?;
    NonNull::new(base.cast()).ok_or(Errno::FAULT)
}

/// A descriptor that the process which started this one has left open.
fn inherited(descriptor: RawFd) -> BorrowedFd<'static> {
    // SAFETY: that process says that it is open, and nobody closes it.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

/// The word that changes with each publication.
fn futex(tail: NonNull<u32>) -> &'static AtomicU32 {
    // SAFETY: an aligned word of a segment that stays mapped, which everyone accesses atomically.
    unsafe { tail.cast().as_ref() }
}

fn produce() -> Result<(), Box<dyn Error>> {
    // Not closed when the other program begins, which is how it comes by them.
    let ring = memfd_create("ring", MemfdFlags::empty())?;
    let cursor = memfd_create("cursor", MemfdFlags::empty())?;
    ftruncate(&ring, RING_BYTES as u64)?;
    ftruncate(&cursor, CURSOR_BYTES as u64)?;
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let (ring_at, cursor_at) =
        (map(ring.as_fd(), RING_BYTES, both)?, map(cursor.as_fd(), CURSOR_BYTES, both)?);
    // SAFETY: (1) so many bytes, which stay mapped, and nobody shortens the file; (2) pages are
    // aligned; (3) this is the only way that this process reaches them.
    let region = unsafe { Region::from_raw(ring_at, RING_BYTES) };
    // SAFETY: as above.
    let cursor_region = unsafe { Region::from_raw(cursor_at, CURSOR_BYTES) };

    let epoch = RandomState::new().build_hasher().finish() | 1; // random, and not 0
    let config = RingConfig::new("between", epoch, CAPACITY_BYTES);
    let mut producer: Producer<Region> = Producer::create(region, &config)?;
    let subscription = producer.subscribe(Start::Oldest)?;
    producer.attach(subscription, "other", cursor_region)?;

    let mut reader = Command::new(env::current_exe()?)
        .args([ring.as_raw_fd().to_string(), cursor.as_raw_fd().to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut space_pipe = reader.stdout.take().ok_or("it was piped")?;
    let notify = |published: Wake| {
        if published.futex {
            let _ = wake(futex(region.tail_word()), Flags::empty(), ALL);
        }
    };
    for number in 0..RECORDS {
        loop {
            match producer.push(Meta::default(), &number.to_le_bytes()) {
                Ok((_, published)) => break notify(published),
                // An end of the pipe instead of a byte: the other process is gone.
                Err(ClaimError::Full { .. }) if !producer.want_space(8)? => {
                    space_pipe.read_exact(&mut [0])?;
                }
                Err(ClaimError::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    notify(producer.close());
    if !reader.wait()?.success() {
        return Err("the other process failed".into());
    }
    println!("{RECORDS} records from another process");
    Ok(())
}

fn read(ring: RawFd, cursor: RawFd) -> Result<(), Box<dyn Error>> {
    let ring = map(inherited(ring), RING_BYTES, ProtFlags::READ)?;
    let cursor = map(inherited(cursor), CURSOR_BYTES, ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: (1) so many bytes, which stay mapped, and nobody shortens the file; (2) pages are
    // aligned; (3) this is the only way that this process reaches them.
    let ring = unsafe { ReadRegion::from_raw(ring, RING_BYTES) };
    // SAFETY: as above.
    let mut reader = Reader::attach(ring, unsafe { Region::from_raw(cursor, CURSOR_BYTES) })?;

    let (mut buf, mut records, mut out) = ([0; 8], 0_u64, std::io::stdout());
    loop {
        match reader.next(&mut buf)? {
            Next::Record(_) => {
                assert_eq!(u64::from_le_bytes(buf), records);
                records += 1;
                continue;
            }
            Next::Empty => {}
            Next::Closed => break,
        }
        // Before sleeping, because a producer without space publishes nothing.
        if reader.release() {
            out.write_all(&[1])?;
            out.flush()?;
        }
        let mut timed_out = false;
        if let Sleep::Wait { tail } = reader.prepare_sleep(WaitMode::Futex)? {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let slept = wait(futex(ring.tail_word()), Flags::empty(), tail, Some(&second));
            timed_out = slept == Err(Errno::TIMEDOUT);
        }
        reader.finish_sleep(timed_out)?;
    }
    if records == RECORDS { Ok(()) } else { Err(format!("{records} records").into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(ring), Some(cursor)) => read(ring.parse()?, cursor.parse()?),
        _ => produce(),
    }
}
