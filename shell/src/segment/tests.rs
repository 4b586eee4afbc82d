//! What peers can do to segments, and what errors say.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use aqueduct_core::{Memory, MemoryMut};
use rustix::fs::{Mode, OFlags, SealFlags};

use super::*;

/// Opens the same file anew.
fn reopened(fd: &impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::open(path, flags, Mode::empty())
}

#[test]
fn a_ring_is_written_by_nobody_else_and_keeps_its_size() {
    let segment = RingSegment::create("r", 8192).expect("made");
    assert_eq!(segment.region().size(), 8192);
    segment.region().store(4, 0xabcd, Ordering::Relaxed);
    let handout = segment.handout();
    assert!(rustix::io::pwrite(handout, &[1], 0).is_err());
    let mut word = [0; 4];
    rustix::io::pread(handout, &mut word[..], 4).expect("it may be read");
    assert_eq!(u32::from_le_bytes(word), 0xabcd);
    // Not by way of /proc, either.
    if let Ok(writable) = reopened(&handout, OFlags::RDWR) {
        assert!(rustix::io::pwrite(&writable, &[1], 0).is_err());
        assert!(rustix::fs::ftruncate(&writable, 4096).is_err());
        assert!(rustix::fs::ftruncate(&writable, 16_384).is_err());
    }
    let seals = rustix::fs::fcntl_get_seals(handout).expect("a memfd");
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    assert!(seals.contains(all), "{seals:?}");
    segment.wake_sleepers();
}

#[test]
fn a_cursor_segment_is_written_by_its_reader_and_keeps_its_size() {
    let (segment, fd) = CursorSegment::create("s").expect("made");
    assert_eq!(segment.size(), CURSOR_BYTES);
    rustix::io::pwrite(&fd, &7_u32.to_le_bytes(), 128).expect("the reader may write");
    assert_eq!(segment.load(128, Ordering::Relaxed), 7);
    segment.store(192, 9, Ordering::Relaxed);
    segment.write(1024, b"bytes");
    let mut there = [0; 4];
    rustix::io::pread(&fd, &mut there[..], 192).expect("read");
    assert_eq!(u32::from_le_bytes(there), 9);
    let mut bytes = [0; 5];
    segment.read(1024, &mut bytes);
    assert_eq!(&bytes, b"bytes");
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::ftruncate(&fd, 8192).is_err());
    // A clone is the same memory, and outlives the first.
    let clone = segment.clone();
    drop(segment);
    assert_eq!(clone.load(128, Ordering::Relaxed), 7);
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("a link");
    assert!(name.display().to_string().contains("memfd:aqueduct-cursor-s"), "{name:?}");
}

#[test]
fn a_segment_of_an_earlier_process_is_read_and_one_that_could_shrink_refused() {
    let (segment, fd) = CursorSegment::with_name("kept").expect("made");
    segment.write(512, b"before");
    let kept = KeptSegment::open(fd.as_fd()).expect("sealed");
    assert_eq!(kept.size(), CURSOR_BYTES);
    let mut bytes = [0; 6];
    kept.read(512, &mut bytes);
    assert_eq!(&bytes, b"before");
    segment.store(0, 3, Ordering::Relaxed);
    assert_eq!(kept.load(0, Ordering::Relaxed), 3);

    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let open = rustix::fs::memfd_create("open", flags).expect("made");
    rustix::fs::ftruncate(&open, 4096).expect("resized");
    let error = KeptSegment::open(open.as_fd()).map(|_| ()).expect_err("it could shrink");
    assert_eq!(error, SegmentError::Foreign { errno: Errno::PERM });
    let file = tempfile::tempfile().expect("a file");
    assert!(KeptSegment::open(file.as_fd()).is_err(), "it is no memfd");
}

#[test]
fn errors_say_what_failed_and_with_how_much() {
    let errno = Errno::NOMEM;
    for (error, begins) in [
        (SegmentError::Create { errno }, "memfd_create: "),
        (SegmentError::Allocate { bytes: 7, errno }, "allocating 7 bytes of shared memory: "),
        (SegmentError::Map { bytes: 7, errno }, "mapping 7 bytes of shared memory: "),
        (SegmentError::Seal { errno }, "sealing shared memory (FUTURE_WRITE needs Linux 5.1): "),
        (SegmentError::Foreign { errno }, "no sealed segment: "),
        (SegmentError::Reopen { errno }, "reopening shared memory read-only through /proc/sel"),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(begins), "{text}");
        assert!(text.ends_with("Cannot allocate memory (os error 12)"), "{text}");
    }
}
