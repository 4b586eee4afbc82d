//! Rings and readers during a turn, without sockets.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use aqueduct_core::AttributeBlock;
use aqueduct_core::layout::{WAITING_SOCKET, cursor_word};

use super::batch::Batch;
use super::shared::ring_facts;
use super::*;
use crate::codec::lines;
use crate::codec::{Keep, Outcome, Page, Persistence, Record, Resource, RingId};
use crate::journal::{Durability, JournalSettings};
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

fn settings(name: &str) -> RingSettings {
    RingSettings {
        name: name.to_owned(),
        capacity_bytes: 1024,
        max_payload_bytes: 480,
        full_wait: Duration::ZERO,
        clock: ClockName::Monotonic,
        subscriptions: vec!["default".to_owned()],
        durability: Durability::Memory,
        lagging: Vec::new(),
        lag_bytes: 1 << 30,
        has_attributes: false,
    }
}

fn shared() -> Shared {
    let metrics = Arc::new(Metrics::new().expect("distinct names"));
    let ring = |name| Arc::new(Ring::create(&settings(name), &metrics).expect("shared memory"));
    Shared {
        rings: ["first", "second"].map(ring).into(),
        by_address: ["a", "b"].map(|at| metrics.address("http", at)).into(),
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
    let mut work = Work::new(&shared, mailbox, Buffers::default());
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
    let mut batch = Batch::new(&shared);
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
    let mut work = Work::new(&shared, mailbox, Buffers::default());
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

#[test]
fn a_ring_is_published_while_no_later_one_is_locked() {
    let home = tempfile::tempdir().expect("a place for files");
    let journals = JournalSettings {
        directory: home.path().to_owned(),
        segment_bytes: 1 << 16,
        ..JournalSettings::default()
    };
    let mut shared = shared();
    let metrics = Arc::clone(&shared.metrics);
    let ring = |name: &str| {
        let durability = Durability::Process;
        let settings = RingSettings { durability, capacity_bytes: 1 << 16, ..settings(name) };
        Ring::open(&settings, &journals, &metrics).expect("a journal")
    };
    shared.rings = ["first", "second"].map(ring).into();
    // Told of at the end of the first ring's turn, as everything is that locks it once more then.
    let later_is_free = Arc::new(Mutex::new(None));
    let watcher =
        Watcher { ring: Arc::clone(&shared.rings[1]), is_free: Arc::clone(&later_is_free) };
    shared.rings[0].watch(0, Arc::new(watcher).into());
    let mut batch = Batch::new(&shared);
    append(&mut batch, 0);
    append(&mut batch, 1);
    batch.publish();
    assert_eq!(*lock(&later_is_free), Some(true));
}

/// Finds out whether a ring is locked.
struct Watcher {
    ring: Arc<Ring>,
    is_free: Arc<Mutex<Option<bool>>>,
}

impl std::task::Wake for Watcher {
    fn wake(self: Arc<Self>) {
        let (found, is_found) = channel();
        let ring = Arc::clone(&self.ring);
        std::thread::spawn(move || {
            let _ = ring.appended();
            let _ = found.send(());
        });
        *lock(&self.is_free) = Some(is_found.recv_timeout(Duration::from_secs(5)).is_ok());
    }
}

/// One loop of a process, as its thread has it.
fn with_a_loop(
    shared: Shared,
    look: impl FnOnce(&Shared, &mut Work<'_>, &mut dyn FnMut(&mut Work<'_>) -> bool),
) {
    let shared = Arc::new(shared);
    let mailbox = Mailbox::new().expect("a descriptor");
    let buffers = Buffers::default();
    let mut driver = Epoll::new(Arc::clone(&mailbox.waker), buffers.clone()).expect("epoll");
    let seat = Seat {
        index: 0,
        shared: Arc::clone(&shared),
        mailboxes: vec![Arc::clone(&mailbox)],
        listening: RefCell::default(),
    };
    let mut turn = Turn::new(&seat);
    let mut work = Work::new(&shared, mailbox, buffers);
    look(&shared, &mut work, &mut |work| {
        work.begin();
        turn.after(work, &mut driver);
        work.end();
        turn.ending
    });
}

#[test]
fn an_end_and_a_reload_that_come_while_a_wake_is_being_taken_are_seen() {
    with_a_loop(shared(), |shared, work, after| {
        work.event(driver::Event::Woken);
        // The flag of the wake is still set: no other is written.
        shared.addresses.replace(Vec::new());
        assert!(!after(work), "nobody ends the process");
        assert!(work.follows(&shared.addresses), "a reload was not seen");
        work.event(driver::Event::Woken);
        shared.shutdown.begin();
        assert!(after(work), "the end was not seen");
    });
}

#[test]
fn a_connection_that_is_owed_an_answer_when_the_process_ends_is_ended_after_it() {
    with_a_loop(shared(), |shared, work, after| {
        let timeouts = Arc::new(Timeouts {
            first: None,
            head: Duration::from_secs(9),
            body: Duration::from_secs(9),
            idle: None,
        });
        let places = Limit::new(1);
        let (permit, input) = (places.acquire().expect("a place"), Input::new(&shared.buffered));
        let mut connection = Connection::new(0, Speaker::Refused, timeouts, permit, input);
        connection.out = b"an answer".to_vec();
        work.slots.push(Slot::Taken(Box::new(connection)));
        work.touch(0);
        shared.shutdown.begin();
        assert!(after(work));
        let phase =
            work.connection(0).map(|connection| matches!(connection.phase, Phase::Lingering(_)));
        assert_eq!(phase, Some(true), "it stays open");
    });
}

#[test]
fn a_line_that_waits_for_a_ring_and_then_belongs_to_another_waits_there() {
    let mut shared = shared();
    shared.rings = ["first", "second"]
        .map(|name| {
            let settings = RingSettings { full_wait: Duration::from_secs(9), ..settings(name) };
            Arc::new(Ring::create(&settings, &shared.metrics).expect("shared memory"))
        })
        .into();
    let of = |ring: usize, shared: &Shared| Address {
        protocol: Protocol::Lines(Arc::new(lines::Config {
            ring: ring_facts(&shared.rings, ring).expect("it is there"),
            type_tag: 0,
            framing: lines::Framing::Lines,
            max_frame_bytes: 100,
            oversize: lines::Oversize::Skip,
            keep: Keep::default(),
            credentials: None,
        })),
        timeouts: Arc::new(Timeouts {
            first: None,
            head: Duration::from_secs(9),
            body: Duration::from_secs(9),
            idle: None,
        }),
        tls: None,
    };
    shared.addresses = Addresses::new(vec![of(0, &shared)]);
    with_a_loop(shared, |shared, work, after| {
        let [first, second] = [0, 1].map(RingId);
        let fill = |ring: RingId| {
            while shared.rings[usize::from(ring.0)].turn().append(0, b"").is_ok() {}
        };
        fill(first);
        fill(second);
        let places = Limit::new(1);
        let (permit, input) = (places.acquire().expect("a place"), Input::new(&shared.buffered));
        let address = &shared.addresses.now()[0];
        let (speaker, timeouts) = (
            address.protocol.speaker(1, work.mailbox.waker.as_fd()),
            Arc::clone(&address.timeouts),
        );
        let connection = Connection::new(0, speaker, timeouts, permit, input);
        work.slots.push(Slot::Taken(Box::new(connection)));
        work.event(driver::Event::Received { id: 0, bytes: &mut [b'x'; 99] });
        work.event(driver::Event::Received { id: 0, bytes: &mut b"\n".to_owned() });
        after(work);
        let waits_for = |work: &mut Work<'_>| match &work.connection(0).expect("open").phase {
            Phase::Parked(parked) => Some(parked.ring),
            _ => None,
        };
        assert_eq!(waits_for(work), Some(first));
        shared.addresses.replace(vec![of(1, shared)]);
        // The place in the queue is the first, and there may be space.
        std::task::Waker::from(Arc::clone(&work.mailbox)).wake();
        work.event(driver::Event::Woken);
        after(work);
        assert_eq!(waits_for(work), Some(second));
    });
}
