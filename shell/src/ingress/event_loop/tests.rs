//! Rings and readers during a turn, without sockets.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use aqueduct_core::AttributeBlock;
use aqueduct_core::layout::{WAITING_SOCKET, cursor_word};

use super::batch::Batch;
use super::*;
use crate::codec::{Outcome, Page, Persistence, Record, Resource, RingId};
use crate::journal::Durability;
use crate::limits::{ByteLimit, Limit};
use crate::metrics::Metrics;
use crate::ring::{Attached, ClockName, Doorbell, Ring, RingSettings};
use crate::shutdown::Shutdown;
use crate::sync::lock;

/// Counts how often its reader is woken.
#[derive(Default)]
struct Bell(Mutex<usize>);

impl Doorbell for Bell {
    fn ring(&self) -> bool {
        *lock(&self.0) += 1;
        true
    }

    fn disconnect(&self) {}

    fn is_gone(&self) -> bool {
        false
    }
}

fn shared() -> Shared {
    let metrics = Arc::new(Metrics::new().expect("distinct names"));
    let settings = |name: &str| RingSettings {
        name: name.to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        full_wait: Duration::ZERO,
        clock: ClockName::Monotonic,
        subscriptions: vec!["default".to_owned()],
        durability: Durability::Memory,
        has_attributes: false,
    };
    let ring = |name| Arc::new(Ring::create(&settings(name), &metrics).expect("shared memory"));
    Shared {
        rings: ["first", "second"].map(ring).into(),
        metrics,
        addresses: Addresses::new(Vec::new()),
        wake_interval: Duration::ZERO,
        shutdown: Arc::new(Shutdown::default()),
        connections: Limit::new(1),
        buffered: ByteLimit::new(1 << 20),
        overflow: Box::new(drop),
        refusals: Limit::new(1),
        windows: Vec::new(),
        workers: crate::ingress::workers::Workers::new(1),
        #[cfg(feature = "otel")]
        tracer: None,
        page: Box::new(|_| None),
        hand_over: Box::new(|_| ()),
    }
}

/// A reader of the ring of this number that sleeps on its socket.
fn sleeper(shared: &Shared, ring: usize) -> (Attached, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let doorbell: Arc<dyn Doorbell> = bell.clone();
    let attached = shared.rings[ring].attach("default", None, doorbell).expect("free");
    sleep(&attached.cursor);
    (attached, bell)
}

fn sleep(cursor: &OwnedFd) {
    let waiting = WAITING_SOCKET | 1 << 8;
    let written = rustix::io::pwrite(cursor, &waiting.to_le_bytes(), cursor_word::WAITING as u64);
    assert_eq!(written, Ok(4));
}

fn append(batch: &mut Batch<'_>, ring: u16) {
    let ring = RingId(ring);
    let record = Record { ring, type_tag: 0, payload: b"x", attributes: AttributeBlock::NONE };
    assert!(matches!(batch.record(record), Outcome::Accepted(_)));
}

#[test]
fn wake_ups_that_are_due_are_made_when_a_turn_begins_and_no_ring_is_locked() {
    let shared = shared();
    let (_reader, bell) = sleeper(&shared, 0);
    let mailbox = Mailbox::new().expect("a descriptor");
    let mut work = Work::new(&shared, mailbox, Buffers::default(), true);
    work.begin();
    append(&mut work.batch, 0);
    work.batch.publish();
    work.end();
    assert_eq!(*lock(&bell.0), 0, "the answers come first");
    work.begin();
    assert_eq!(*lock(&bell.0), 1);
}

#[test]
fn a_ring_that_is_published_early_wakes_its_readers_no_earlier_than_the_others() {
    let shared = shared();
    let (_reader, bell) = sleeper(&shared, 1);
    let mut batch = Batch::new(&shared, false);
    append(&mut batch, 1);
    // Rings are locked in their order, so the later one is published and unlocked first.
    append(&mut batch, 0);
    assert_eq!(batch.next_seq(RingId(1)), 1, "it is published");
    assert_eq!(*lock(&bell.0), 0, "nobody is woken while the first ring is locked");
    batch.publish();
    batch.wakeups.make_if_due();
    assert_eq!(*lock(&bell.0), 1);
}

#[test]
fn one_client_is_alone_after_some_turns_with_a_record_each_until_another_comes() {
    let mut single_client = super::batch::SingleClient::default();
    let mut turns = |turns: &[(u64, bool)]| {
        turns.iter().map(|&(records, one)| single_client.note(records, one)).collect::<Vec<_>>()
    };
    assert_eq!(
        turns(&[(1, true), (1, true), (1, true), (1, true), (1, true)])[2..],
        [false, true, true]
    );
    assert_eq!(turns(&[(0, false), (1, true)]), [false, true], "turns without records say nothing");
    assert_eq!(turns(&[(2, true), (1, true)]), [false, false], "two records are not one");
    assert_eq!(turns(&[(1, true), (1, true), (1, true)]), [false, false, true]);
    assert_eq!(turns(&[(1, false), (1, true)]), [false, false], "somebody else waited");
}

#[test]
fn a_page_is_made_once_for_all_who_ask_in_a_turn_and_many_bytes_of_them_take_several() {
    let made = Arc::new(Mutex::new(0));
    let mut shared = shared();
    shared.page = Box::new({
        let made = Arc::clone(&made);
        move |_| {
            *lock(&made) += 1;
            Some((200, "text/plain", "", vec![b'p'; 400 << 10]))
        }
    });
    let timeouts = Arc::new(Timeouts {
        first: None,
        head: Duration::from_secs(9),
        body: Duration::from_secs(9),
        idle: None,
    });
    let mailbox = Mailbox::new().expect("a descriptor");
    let mut work = Work::new(&shared, mailbox, Buffers::default(), true);
    let places = Limit::new(10);
    for id in 0..10 {
        let (timeouts, input) = (Arc::clone(&timeouts), Input::new(&shared.buffered));
        let permit = places.acquire().expect("a place");
        let mut connection = Connection::new(0, Speaker::Refused, timeouts, permit, input);
        let (resource, then) = (Resource::Metrics, Persistence::Stay);
        connection.phase = Phase::Paging(Page { resource, head_only: false, then });
        work.slots.push(Slot::Taken(Box::new(connection)));
        work.paging.push(id);
    }
    work.begin();
    let mut left = Vec::new();
    for _ in 0..4 {
        work.make_pages();
        left.push(work.paging.len());
    }
    assert_eq!((left, *lock(&made)), (vec![7, 4, 1, 0], 4));
    for id in 0..10 {
        let connection = work.connection(id).expect("it is there");
        assert!(connection.out.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(connection.out.len() > 400 << 10 && matches!(connection.phase, Phase::Open));
    }
}
