//! One process: both ends of every queue, as two small traits.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use aqueduct_benches::machine::Mapping;
use aqueduct_benches::ring::{PAGE_BYTES, RING_BYTES, attach, create_gated};
use aqueduct_benches::rounds::Series;
use aqueduct_benches::threads::{duet, prepared_duet};
use aqueduct_benches::work::{Backoff, CAPACITY_BYTES, Payload, RELEASE_EVERY, check, spin};
use aqueduct_core::{ClaimError, Meta, Next, Producer, ReadRegion, Reader, Region};
use bbqueue::nicknames::YakiNiku;
use bbqueue::prod_cons::framed::{FramedConsumer, FramedProducer};
use bbqueue::traits::bbqhdl::BbqHandle;
use bbqueue::traits::storage::BoxedSlice;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, Node, NodeBuilder, local};
use thingbuf::ThingBuf;

use crate::bare::{BareReceiver, BareSender, bare};

/// The end that records go into.
pub trait Tx {
    /// Sends one record; false if there is no room.
    fn try_send(&mut self, payload: &[u8]) -> bool;
    /// Nothing more will come for now.
    fn flush(&mut self) {}
}

/// The end that they come out of.
pub trait Rx {
    /// Receives one record, in place or as a copy; false if there is none.
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool;
    /// There was nothing to receive.
    fn idle(&mut self) {}
}

/// Sends and receives numbered records; how long it took.
pub fn pass(records: u64, bytes: usize, tx: impl Tx + Send, rx: impl Rx + Send) -> Duration {
    let (mut tx, mut rx) = (tx, rx);
    duet(|| send_all(records, bytes, &mut tx), || receive_all(records, bytes, &mut rx))
}

fn send_all(records: u64, bytes: usize, tx: &mut impl Tx) {
    let mut payload = Payload::new(bytes);
    let mut wait = Backoff::default();
    for seq in 0..records {
        let payload = payload.numbered(seq);
        wait.reset();
        while !tx.try_send(payload) {
            tx.flush();
            wait.pause();
        }
    }
    tx.flush();
}

fn receive_all(records: u64, bytes: usize, rx: &mut impl Rx) {
    let mut wait = Backoff::default();
    for seq in 0..records {
        wait.reset();
        while !rx.try_receive(|payload| check(payload, seq, bytes)) {
            rx.idle();
            wait.pause();
        }
    }
    rx.idle();
}

/// Median of so many round trips, ns, clock reading included.
pub fn trips(
    count: u64,
    bytes: usize,
    there: (impl Tx + Send, impl Rx + Send),
    back: (impl Tx + Send, impl Rx + Send),
) -> f64 {
    let ((mut out, mut far), (mut answer, mut near)) = (there, back);
    let mut samples = Vec::new();
    let here = || {
        let mut payload = Payload::new(bytes);
        for seq in 0..count {
            let message = payload.numbered(seq);
            let began = Instant::now();
            assert!(out.try_send(message), "room for one");
            out.flush();
            receive_one(&mut near, |payload| check(payload, seq, bytes));
            samples.push(began.elapsed().as_secs_f64() * 1e9);
        }
    };
    let echo = || {
        let mut message = vec![0; bytes];
        for _ in 0..count {
            receive_one(&mut far, |payload| message.copy_from_slice(payload));
            assert!(answer.try_send(&message), "room for one");
            answer.flush();
        }
    };
    duet(here, echo);
    Series::of(samples).median()
}

fn receive_one(rx: &mut impl Rx, mut found: impl FnMut(&[u8])) {
    spin(|| rx.try_receive(&mut found).then_some(()));
    rx.idle();
}

/// Records for which other queues have room: as many as the ring.
pub fn room_for(bytes: usize) -> usize {
    (CAPACITY_BYTES / (bytes + 32)).max(2)
}

// ---- the ring, and the ring without checks

/// Memory of one ring of one process.
pub struct Segments {
    ring: Mapping,
    page: Mapping,
}

impl Default for Segments {
    fn default() -> Self {
        let map = |bytes| Mapping::anonymous(bytes).expect("memory");
        Self { ring: map(RING_BYTES), page: map(PAGE_BYTES) }
    }
}

/// Publishes every so many records.
pub struct RingTx<'a> {
    producer: Producer<Region<'a>>,
    batch: u32,
    pending: u32,
}

/// Copies out, and releases every so many records and before it waits.
pub struct CopyingRx<T> {
    from: T,
    buf: Vec<u8>,
    unreleased: u32,
}

impl Segments {
    /// Both ends of the ring.
    pub fn ring(
        &self,
        bytes: usize,
        batch: u32,
    ) -> (RingTx<'_>, CopyingRx<Reader<ReadRegion<'_>, Region<'_>>>) {
        let producer = create_gated(&self.ring, &self.page);
        let from = attach(&self.ring, &self.page);
        (
            RingTx { producer, batch, pending: 0 },
            CopyingRx { from, buf: vec![0; bytes], unreleased: 0 },
        )
    }

    /// Both ends of the ring without checks.
    pub fn bare(&self, bytes: usize) -> (BareSender<'_>, CopyingRx<BareReceiver<'_>>) {
        let (sender, from) = bare(&self.ring, &self.page);
        (sender, CopyingRx { from, buf: vec![0; bytes], unreleased: 0 })
    }
}

impl Tx for RingTx<'_> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        match self.producer.append(Meta { type_tag: 7, timestamp_ns: 1 }, payload) {
            Ok(_) => {
                self.pending += 1;
                if self.pending == self.batch {
                    self.flush();
                }
                true
            }
            Err(ClaimError::Full { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[inline]
    fn flush(&mut self) {
        self.pending = 0;
        assert!(self.producer.publish().is_none(), "nobody sleeps");
    }
}

impl Rx for CopyingRx<Reader<ReadRegion<'_>, Region<'_>>> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        match self.from.next(&mut self.buf).expect("an undamaged ring") {
            Next::Record(record) => {
                found(&self.buf[..record.len]);
                self.unreleased += 1;
                if self.unreleased == RELEASE_EVERY {
                    self.idle();
                }
                true
            }
            Next::Empty => false,
            Next::Closed => panic!("closed"),
        }
    }

    #[inline]
    fn idle(&mut self) {
        if self.unreleased > 0 {
            self.unreleased = 0;
            assert!(!self.from.release(), "nobody asks for space");
        }
    }
}

impl Tx for BareSender<'_> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        BareSender::try_send(self, payload)
    }
}

impl Rx for CopyingRx<BareReceiver<'_>> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        let Some(len) = self.from.try_receive(&mut self.buf) else { return false };
        found(&self.buf[..len]);
        self.unreleased += 1;
        if self.unreleased == RELEASE_EVERY {
            self.idle();
        }
        true
    }

    #[inline]
    fn idle(&mut self) {
        if self.unreleased > 0 {
            self.unreleased = 0;
            self.from.release();
        }
    }
}

// ---- rtrb: whole chunks of bytes

impl Tx for rtrb::Producer<u8> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        self.push_entire_slice(payload).is_ok()
    }
}

/// Takes chunks of one length; copies those that go round the end.
pub struct ChunkRx {
    from: rtrb::Consumer<u8>,
    buf: Vec<u8>,
}

impl Rx for ChunkRx {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        let Ok(chunk) = self.from.read_chunk(self.buf.len()) else { return false };
        let (first, second) = chunk.as_slices();
        if second.is_empty() {
            found(first);
        } else {
            self.buf[..first.len()].copy_from_slice(first);
            self.buf[first.len()..].copy_from_slice(second);
            found(&self.buf);
        }
        chunk.commit_all();
        true
    }
}

/// Both ends of an rtrb of bytes.
pub fn rtrb_chunks(bytes: usize) -> (rtrb::Producer<u8>, ChunkRx) {
    let (producer, from) = rtrb::RingBuffer::new((room_for(bytes) * bytes).max(CAPACITY_BYTES));
    (producer, ChunkRx { from, buf: vec![0; bytes] })
}

// ---- bbqueue: frames

type Frames = std::sync::Arc<YakiNiku>;

/// A framed producer with lengths of a machine word: a `u16` cannot say 65536.
pub struct FrameTx(FramedProducer<Frames, usize>);
/// Its consumer.
pub struct FrameRx(FramedConsumer<Frames, usize>);

/// Both ends of a framed bbqueue on the heap.
pub fn bbqueue_frames() -> (FrameTx, FrameRx) {
    let queue: Frames =
        std::sync::Arc::new(YakiNiku::new_with_storage(BoxedSlice::new(CAPACITY_BYTES)));
    (FrameTx(BbqHandle::framed_producer(&queue)), FrameRx(BbqHandle::framed_consumer(&queue)))
}

impl Tx for FrameTx {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        let Ok(mut grant) = self.0.grant(payload.len()) else { return false };
        grant.copy_from_slice(payload);
        grant.commit(payload.len());
        true
    }
}

impl Rx for FrameRx {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        let Ok(grant) = self.0.read() else { return false };
        found(&grant);
        grant.release();
        true
    }
}

// ---- queues of values: arrays of one length

impl<const N: usize> Tx for heapless::spsc::Producer<'_, [u8; N]> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        self.ready() && self.enqueue(payload.try_into().expect("N bytes")).is_ok()
    }
}

impl<const N: usize> Rx for heapless::spsc::Consumer<'_, [u8; N]> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        self.dequeue().map(|payload| found(&payload)).is_some()
    }
}

impl<const N: usize> Tx for crossbeam_channel::Sender<[u8; N]> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        !self.is_full()
            && crossbeam_channel::Sender::try_send(self, payload.try_into().expect("N bytes"))
                .is_ok()
    }
}

impl<const N: usize> Rx for crossbeam_channel::Receiver<[u8; N]> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        self.try_recv().map(|payload| found(&payload)).is_ok()
    }
}

// ---- thingbuf: slots that keep their allocation

impl Tx for &ThingBuf<Vec<u8>> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        self.push_with(|slot| slot.extend_from_slice(payload)).is_ok()
    }
}

impl Rx for &ThingBuf<Vec<u8>> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        self.pop_ref().map(|slot| found(&slot)).is_some()
    }
}

// ---- iceoryx2 within a process

impl Tx for Publisher<local::Service, [u8], ()> {
    #[inline]
    fn try_send(&mut self, payload: &[u8]) -> bool {
        let sample = self.loan_slice_uninit(payload.len()).expect("a free sample");
        sample.write_from_slice(payload).send().expect("a subscriber that reads on");
        true
    }
}

impl Rx for Subscriber<local::Service, [u8], ()> {
    #[inline]
    fn try_receive(&mut self, found: impl FnOnce(&[u8])) -> bool {
        self.receive().expect("a publisher").map(|sample| found(sample.payload())).is_some()
    }
}

type LocalStream =
    iceoryx2::service::port_factory::publish_subscribe::PortFactory<local::Service, [u8], ()>;

/// Made on one thread: two that open or create it at the same time may miss each other. The ends
/// belong to their threads, so each makes its own.
fn local_stream(node: &Node<local::Service>, name: &str, bytes: usize) -> LocalStream {
    node.service_builder(&name.try_into().expect("a name"))
        .publish_subscribe::<[u8]>()
        .history_size(0)
        .subscriber_max_buffer_size(room_for(bytes))
        .enable_safe_overflow(false)
        .create()
        .expect("a service")
}

fn local_publisher(stream: &LocalStream, bytes: usize) -> Publisher<local::Service, [u8], ()> {
    stream
        .publisher_builder()
        .initial_max_slice_len(bytes)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .expect("a publisher")
}

fn local_subscriber(stream: &LocalStream) -> Subscriber<local::Service, [u8], ()> {
    stream.subscriber_builder().create().expect("a subscriber")
}

fn local_node() -> Node<local::Service> {
    NodeBuilder::new().create().expect("a node")
}

/// [`pass`] by iceoryx2.
pub fn pass_by_iceoryx(records: u64, bytes: usize) -> Duration {
    let node = local_node();
    let stream = local_stream(&node, "pass", bytes);
    // What a publisher has sent goes with it: neither side leaves before the other is done.
    let end = Barrier::new(2);
    let send = || {
        let (mut publisher, end) = (local_publisher(&stream, bytes), &end);
        move || {
            send_all(records, bytes, &mut publisher);
            end.wait();
        }
    };
    let receive = || {
        let (mut subscriber, end) = (local_subscriber(&stream), &end);
        move || {
            receive_all(records, bytes, &mut subscriber);
            end.wait();
        }
    };
    prepared_duet(send, receive)
}

/// [`trips`] by iceoryx2.
pub fn trips_by_iceoryx(count: u64, bytes: usize) -> f64 {
    let mut samples = Vec::new();
    let into = &mut samples;
    let node = local_node();
    let (to, fro) = (&local_stream(&node, "to", bytes), &local_stream(&node, "fro", bytes));
    let end = &Barrier::new(2);
    let here = move || {
        let (mut out, mut near) = (local_publisher(to, bytes), local_subscriber(fro));
        move || {
            let mut payload = Payload::new(bytes);
            for seq in 0..count {
                let message = payload.numbered(seq);
                let began = Instant::now();
                out.try_send(message);
                receive_one(&mut near, |payload| check(payload, seq, bytes));
                into.push(began.elapsed().as_secs_f64() * 1e9);
            }
            end.wait();
        }
    };
    let echo = || {
        let (mut answer, mut far) = (local_publisher(fro, bytes), local_subscriber(to));
        move || {
            let mut message = vec![0; bytes];
            for _ in 0..count {
                receive_one(&mut far, |payload| message.copy_from_slice(payload));
                answer.try_send(&message);
            }
            end.wait();
        }
    };
    prepared_duet(here, echo);
    Series::of(samples).median()
}
