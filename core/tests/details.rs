//! What no larger test depends on: found by changing it, one detail at a time, and seeing nothing
//! fail (`verify/mutants`).

mod common;

use core::fmt::{Debug, Write};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aqueduct_core::handshake::Status;
use aqueduct_core::memory::Span;
use aqueduct_core::shared::Native;
use aqueduct_core::{
    Attributes, Lag, Memory, Meta, Next, Observer, Producer, Region, RingConfig, Seek,
    SharedProducer, Start, SubscribeError, TrustedRegion,
};
use common::{EPOCH, Page, Ring, checked, create, pair, push};

type Shared<'a> = SharedProducer<Region<'a>, Region<'a>, Native, 4>;

#[test]
fn a_block_whose_head_is_not_whole_or_too_long_is_not_whole() {
    assert!(Attributes::of(&[]).are_whole());
    assert!(!Attributes::of(&[4, 0, 0]).are_whole());
    assert!(Attributes::of(&[4, 0, 0, 0]).are_whole());
    assert!(!Attributes::of(&[5, 0, 0, 0]).are_whole());
}

#[test]
fn each_status_has_a_name_of_its_own() {
    let mut labels: Vec<_> = (0..64).filter_map(Status::from_number).map(Status::label).collect();
    assert!(labels.contains(&"attached") && labels.contains(&"no_subscription"));
    assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    let all = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!((labels.len(), all), (9, 9));
}

/// A backend that forwards nothing that it need not.
struct Own<'a>(Region<'a>);

impl Memory for Own<'_> {
    fn size(&self) -> usize {
        self.0.size()
    }
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.0.load(at, order)
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        self.0.read(at, into);
    }
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.0.span(at, len)
    }
    fn fence(&self, order: Ordering) {
        self.0.fence(order);
    }
}

#[test]
fn regions_of_one_segment_are_the_same_and_those_of_two_are_not() {
    fn judged<M: Memory>(one: &M, again: &M, other: &M) {
        assert!(one.is_same(again) && !one.is_same(other));
    }
    let (one, other) = (Page::new(), Page::new());
    let [a, b, c] = [one.region(), one.region(), other.region()];
    judged(&a, &b, &c);
    judged(&a.read_only(), &b.read_only(), &c.read_only());
    judged(&&a, &&a, &&c);
    let trusted = |page: &Page| {
        // SAFETY: the page outlives the region, is aligned, and nobody writes to it.
        unsafe { TrustedRegion::from_raw(NonNull::from(page).cast(), size_of::<Page>()) }
    };
    judged(&trusted(&one), &trusted(&one), &trusted(&other));
    assert!(!Own(a).is_same(&Own(b)), "nothing is known of another backend");
}

#[test]
fn a_page_of_the_other_of_two_readers_is_refused() {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer: Producer<Region<'_>, Region<'_>, 2> =
        Producer::create(ring.region(), &RingConfig::new("two", EPOCH, 1024)).unwrap();
    let [one, two] = [(); 2].map(|()| producer.subscribe(Start::Latest).unwrap());
    producer.attach(one, "one", page.region()).unwrap();
    let refused = producer.attach(two, "two", page.region());
    assert_eq!(refused, Err(SubscribeError::CursorSegmentInUse { by: one }));
}

#[test]
fn half_of_a_ring_does_what_its_producer_does() {
    let ring = aqueduct_core::Ring::<512>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    for seq in 0..3 {
        assert_eq!(producer.next_seq(), seq);
        assert_eq!(producer.append(Meta::default(), &[1]), Ok(seq));
    }
    assert_eq!(producer.backlog(), 0, "nothing is published");
    let _ = producer.publish();
    assert_eq!(producer.backlog(), 6);
    assert!(matches!(reader.next(&mut [0]), Ok(Next::Record(record)) if record.seq == 0));
}

#[test]
fn text_is_written_into_a_shared_claim() {
    let ring = Ring::new();
    let producer = Shared::new(create(&ring, 16, 0)).unwrap();
    let mut observer = Observer::latest(ring.region()).unwrap();
    let mut grant = producer.claim(8).unwrap();
    let unit = "ab";
    write!(grant, "{:>3} {unit}", 7).unwrap();
    assert_eq!(grant.write_str("too long"), Err(core::fmt::Error));
    let _ = grant.commit(Meta::default());
    let mut buf = [0; 8];
    let Ok(Next::Record(record)) = observer.next(&mut buf) else { panic!("it was committed") };
    assert_eq!(&buf[..record.len], b"  7 ab");
}

#[test]
fn an_observer_that_skipped_expects_no_number() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    let mut observer = Observer::oldest(ring.region()).unwrap();
    let mut buf = [0; 8];
    for _ in 0..4 {
        push(&mut producer, 0).unwrap();
    }
    assert_eq!(checked(observer.next(&mut buf), &buf), Ok(Next::Record((0, 0))));
    observer.skip_to_latest();
    push(&mut producer, 0).unwrap();
    assert_eq!(checked(observer.next(&mut buf), &buf), Ok(Next::Record((4, 0))));
}

#[test]
fn a_ring_that_is_full_to_the_last_granule_is_measured_and_searched() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    while push(&mut producer, 0).is_ok() {}
    let _ = producer.close();
    assert_eq!(producer.backlog(), 8);
    assert!(matches!(reader.lag(0), Ok(Lag { records: 7, .. })), "{:?}", reader.lag(0));
    assert_eq!(reader.seek(EPOCH, 3), Ok(Seek::Found));
}

#[test]
fn what_hardware_left_behind_a_payload_is_overwritten_by_zeros() {
    for len in [1, 9, 33, 47, 60, 100] {
        let ring = Ring::new();
        let mut producer = create(&ring, 16, 0);
        let mut grant = producer.claim(128).unwrap();
        grant.write(&[0xFF; 128]).unwrap();
        drop(grant);
        let grant = producer.claim(128).unwrap();
        let _ = grant.commit_filled(Meta::default(), len, None).unwrap();
        let mut stored = [0xEE; 128];
        ring.region().read(common::DATA + 32, &mut stored);
        let end = len.next_multiple_of(8);
        assert!(stored[..len].iter().all(|&byte| byte == 0xFF), "{len}: {stored:?}");
        assert!(stored[len..end].iter().all(|&byte| byte == 0), "{len}: {stored:?}");
    }
}

#[test]
fn whatever_is_shown_says_its_name() {
    fn shown(what: &dyn Debug, name: &str) {
        let text = format!("{what:?}");
        assert!(text.starts_with(name) && text.len() > name.len(), "{text}");
    }
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, reader) = pair(&ring, &page, 16, 0);
    shown(&ring, "Segment {");
    shown(&reader, "Reader {");
    shown(&Observer::latest(ring.region()).unwrap(), "Observer {");
    shown(&producer.claim(1).unwrap(), "Grant {");
    shown(&producer, "Producer {");
    let shared = Shared::new(create(&ring, 16, 0)).unwrap();
    shown(&shared, "SharedProducer {");
    shown(&shared.claim(1).unwrap(), "SharedGrant {");
    let ring = aqueduct_core::Ring::<512>::new();
    shown(&ring, "Ring {");
    let (producer, [_reader]) = ring.split().expect("the first");
    shown(&producer, "Producer {");
    #[cfg(feature = "alloc")]
    shown(&aqueduct_core::HeapSegment::new(64), "HeapSegment {");
    #[cfg(feature = "async")]
    shown(&aqueduct_core::waiters::Waiters::<2>::new(), "Waiters {");
}

#[cfg(feature = "async")]
#[test]
fn a_wake_up_reaches_those_that_it_names() {
    use core::cell::Cell;
    use core::task::Waker;

    use aqueduct_core::Wake;
    use aqueduct_core::waiters::{Waiters, WakerCell};

    #[derive(Default)]
    struct Counted(Cell<u32>);
    impl WakerCell for &Counted {
        fn register(&self, _: &Waker) {}
        fn wake(&self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let cells: [Counted; 4] = Default::default();
    let [a, b, c, space] = cells.each_ref();
    let waiters = Waiters::with([a, b, c], space);
    waiters.wake(Wake { sockets: 0b101, ..Wake::NONE });
    waiters.wake(Wake { sockets: 0b100, ..Wake::NONE });
    waiters.released(false);
    assert_eq!(cells.each_ref().map(|cell| cell.0.get()), [1, 0, 2, 0]);
}

/// Whatever its size: a debug build says so by a panic.
#[test]
fn nothing_is_read_beyond_a_small_segment() {
    let segment = aqueduct_core::Segment::<128>::new();
    let mut bytes = [7; 200];
    let read = AssertUnwindSafe(|| segment.region().read(0, &mut bytes));
    assert_eq!(catch_unwind(read).is_err(), cfg!(debug_assertions));
    assert_eq!(bytes, [7; 200]);
}

#[test]
fn a_refused_value_says_why() {
    use aqueduct_core::ReadError;
    use aqueduct_core::typed::{NextValueError, ViewError};

    let view = ViewError::Size { expected: 12, found: 11 };
    assert_eq!(NextValueError::View(view).to_string(), view.to_string());
    let read = ReadError::TailOutOfRange { position: 3, tail: 9 };
    assert_eq!(NextValueError::Read(read).to_string(), read.to_string());
    assert_ne!(view.to_string(), read.to_string());
    #[cfg(feature = "postcard")]
    {
        use aqueduct_core::postcard::ValueError;
        assert_eq!(ValueError::View(view).to_string(), view.to_string());
        assert_eq!(ValueError::Rest { bytes: 3 }.to_string(), "3 bytes after the value");
    }
}

/// A path that the processor has can be asked for, so that no test of paths passes for the want of
/// them.
#[cfg(all(feature = "std", target_arch = "x86_64", not(miri)))]
#[test]
fn each_path_is_there_if_the_processor_has_its_instructions() {
    use aqueduct_core::internals::{Crc, Path};

    let pclmul = is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse4.1");
    let avx2 = pclmul && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("vpclmulqdq");
    let avx512 = avx2 && is_x86_feature_detected!("avx512vl");
    for (path, there) in [(Path::Pclmul, pclmul), (Path::Avx2, avx2), (Path::Avx512, avx512)] {
        assert_eq!(Crc::by(path).map(|crc| crc.path()), there.then_some(path));
    }
}

/// In a process of its own, for the variable is its own.
#[cfg(all(feature = "std", not(miri)))]
#[test]
fn a_path_is_asked_for_by_its_name() {
    use std::process::Command;

    use aqueduct_core::internals::Path;

    if std::env::var_os("AQUEDUCT_TEST_ASKED").is_some() {
        assert_eq!(Path::asked(), Ok(Some(Path::Portable)));
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", "details::a_path_is_asked_for_by_its_name"]);
    child.arg("a_path_is_asked_for_by_its_name");
    child.env("AQUEDUCT_CRC_PATH", "portable").env("AQUEDUCT_TEST_ASKED", "1");
    let told = child.output().expect("it runs");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.contains("1 passed"), "{text}");
}
