use super::*;
use crate::layout::CONTROL_BYTES;

const WORD_BYTES: usize = size_of::<usize>();

#[test]
fn spans_are_data_inside_the_segment_to_the_byte_and_begin_at_words() {
    let segment = Segment::<{ 256 + 128 }>::new();
    let region = segment.region();
    let (read_only, reference) = (region.read_only(), &region);
    for (at, len, inside) in [
        (256, 128, true),
        (256, 129, false),
        (384, 0, true),
        (384, 1, false),
        (376, 8, true),
        (376, 9, false),
        (384 + WORD_BYTES, 0, false),
        (257, 8, false),
        (258, 4, false),
        (256 - WORD_BYTES, 8, false),
        (0, 0, false),
        (usize::MAX - 7, 4, false),
        (256, usize::MAX, false),
    ] {
        let spans = [
            Memory::span(&region, at, len),
            Memory::span(&read_only, at, len),
            Memory::span(&reference, at, len),
        ];
        for (kind, span) in spans.into_iter().enumerate() {
            assert_eq!(span.is_some(), inside, "{len} bytes at {at}, kind {kind}");
            let Some(span) = span else { continue };
            let address = region.base().as_ptr().wrapping_add(at);
            assert_eq!(span.readable(len), Some(address.cast_const()));
            assert_eq!(span.readable(len + 1), None);
            assert_eq!(span.writable(len), (kind != 1).then_some(address), "{kind}");
            assert_eq!(span.writable(len + 1), None);
        }
    }
}

#[test]
fn writing_fills_up_to_eight_bytes_whatever_the_word_is_and_wherever_it_begins() {
    // In the control bytes, over their end, and after it.
    for at in (8..=272).step_by(8) {
        for len in 0..=16_usize {
            let segment = Segment::<320>::new();
            let region = segment.region();
            region.write(0, &[0xff; 320]);
            region.write(at, &[1; 16][..len]);
            let mut copy = [0; 320];
            region.read(0, &mut copy);
            let filled = at + len.next_multiple_of(8);
            assert!(copy[..at].iter().all(|&byte| byte == 0xff), "{len} at {at}");
            assert!(copy[at..at + len].iter().all(|&byte| byte == 1), "{len} at {at}");
            assert!(copy[at + len..filled].iter().all(|&byte| byte == 0), "{len} at {at}");
            assert!(copy[filled..].iter().all(|&byte| byte == 0xff), "{len} at {at}");
        }
    }
}

#[test]
fn reading_over_the_end_of_the_control_bytes_reads_both_parts() {
    let segment = Segment::<320>::new();
    let region = segment.region();
    let mut written = [0; 320];
    for (at, byte) in (0..=u8::MAX).cycle().enumerate().take(320) {
        written[at] = byte.wrapping_mul(7);
    }
    region.write(0, &written);
    for at in (0..320).step_by(32) {
        for len in 0..=320 - at {
            let mut copy = [0x55; 322];
            region.read(at, &mut copy[1..=len]);
            assert_eq!(copy[1..=len], written[at..at + len], "{len} at {at}");
            assert_eq!((copy[0], copy[len + 1]), (0x55, 0x55));
        }
    }
}

#[test]
fn references_and_other_views_reach_the_same_bytes() {
    let segment = Segment::<320>::new();
    let region = segment.region();
    let through: &dyn MemoryMut = &region;
    // ORDER(none): one thread, here and in the tests below.
    (&through).store(8, 0x0102_0304, Ordering::Relaxed);
    (&through).write(256, b"payload!x");
    let mut copy = [0xff; 9];
    (&through).read(256, &mut copy);
    assert_eq!((&copy, (&through).size()), (b"payload!x", 320));
    assert_eq!(
        (region.load(8, Ordering::Relaxed), (&through).load(8, Ordering::Relaxed)),
        (0x0102_0304, 0x0102_0304)
    );
    assert_eq!(region.read_only().load(8, Ordering::Relaxed), 0x0102_0304);
    let mut word = [0xff; 4];
    region.read(0, &mut word);
    assert_eq!(word, [0; 4]);
    region.read(256, &mut copy[..3]);
    assert_eq!(&copy, b"payload!x");
    let mut word = [0xff; 16];
    region.read(256, &mut word);
    assert_eq!(&word, b"payload!x\0\0\0\0\0\0\0", "the last word is filled up with zeros");
}

#[test]
fn fence_through_a_reference_is_the_fence_of_the_segment() {
    struct Fences(core::cell::Cell<Option<Ordering>>);

    impl Memory for Fences {
        fn size(&self) -> usize {
            0
        }
        fn load(&self, _: usize, _: Ordering) -> u32 {
            0
        }
        fn read(&self, _: usize, _: &mut [u8]) {}
        fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
            None
        }
        fn fence(&self, order: Ordering) {
            self.0.set(Some(order));
        }
    }

    let fences = Fences(core::cell::Cell::new(None));
    // ORDER(none): it fences nothing here; it has to arrive as it was asked for.
    Memory::fence(&&fences, Ordering::SeqCst);
    assert_eq!(fences.0.get(), Some(Ordering::SeqCst));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "72 bytes at 320 of 384"))]
fn data_beyond_the_segment_is_refused_loudly_in_debug_builds_and_is_nothing_in_release_builds() {
    let mut copy = [0x55; 72];
    Segment::<384>::new().region().read(320, &mut copy);
    assert_eq!(copy, [0x55; 72]);
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "control word at 256 of 384"))]
fn data_is_never_reached_as_a_control_word() {
    let segment = Segment::<384>::new();
    segment.region().write(CONTROL_BYTES, &[1; 8]);
    // ORDER(none): one thread.
    assert_eq!(segment.region().load(CONTROL_BYTES, Ordering::Relaxed), 0);
}
