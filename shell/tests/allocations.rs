//! Counts what the common form of a request allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use aqueduct::codec::http1::{Config, Http1};
use aqueduct::codec::{
    BatchSize, Codec, Consumption, Event, Keep, Keyed, Outcome, Reason, Recall, Record, Ring,
    RingId, Room, Seen, Sink, State, Wait,
};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator, with what it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes every record, and keeps nothing.
struct Nowhere(u64);

impl Sink for Nowhere {
    fn ring(&self, name: &[u8]) -> Option<Ring> {
        (name == b"orders").then_some(Ring {
            id: RingId(0),
            epoch: 1,
            max_payload_bytes: 1 << 16,
            capacity_bytes: 1 << 20,
        })
    }

    fn name(&self, _: RingId) -> &'static str {
        "orders"
    }

    fn record(&mut self, record: Record<'_>) -> Outcome {
        black_box(record.payload);
        self.0 += 1;
        Outcome::Accepted(self.0 - 1)
    }

    fn room(&mut self, _: RingId, _: BatchSize) -> Room {
        Room::Refused(Reason::Full)
    }

    fn fan_out(&mut self, _: &[RingId], _: Record<'_>, _: &mut Vec<u64>) -> Outcome {
        Outcome::Refused(Reason::Full)
    }

    fn recall(&mut self, _: RingId, _: &Keyed<'_>) -> Recall {
        Recall::Off
    }

    fn remember(&mut self, _: RingId, _: &Keyed<'_>, _: Seen) {}

    fn subscription(&self, _: RingId, _: &str) -> Option<u16> {
        None
    }

    fn hold_until_consumed(&mut self, _: Range<usize>, _: Consumption) {}

    fn next_seq(&self, _: RingId) -> u64 {
        self.0
    }

    fn note(&mut self, event: Event) {
        black_box(event);
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> [u8; 29] {
        *b"Sun, 06 Nov 1994 08:49:37 GMT"
    }
}

#[test]
fn the_common_form_of_a_request_allocates_nothing() {
    let config = Arc::new(Config {
        guard: None,
        max_header_bytes: 16_384,
        max_headers: 64,
        max_batch_bytes: 1 << 20,
        origins: Vec::new(),
        http2: true,
        h2c: true,
        keep: Keep::default(),
        routes: None,
    });
    let (mut codec, mut sink) = (Http1::new(config), Nowhere(0));
    let mut out = Vec::with_capacity(1 << 12);
    let request = b"POST /v1/rings/orders/records HTTP/1.1\r\nhost: t\r\naqueduct-type: 7\r\n\
                    content-type: application/json\r\ncontent-length: 12\r\n\r\n{\"id\":12345}";
    let chunked = b"POST /v1/rings/orders/records HTTP/1.1\r\nhost: t\r\n\
                    transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for request in [&request[..], chunked] {
        let mut input = request.to_vec();
        let before = COUNT.get();
        for _ in 0..1000 {
            input.copy_from_slice(request);
            out.clear();
            let progress = codec.decode(&mut input, &mut sink, &mut out);
            assert_eq!(progress.consumed, request.len());
            assert!(matches!(progress.state, State::More { wait: Wait::Idle, .. }));
            assert!(out.starts_with(b"HTTP/1.1 202 "));
        }
        assert_eq!(COUNT.get() - before, 0, "allocations of 1,000 requests");
    }
    // That it counts at all.
    let before = COUNT.get();
    black_box(vec![1_u8; 100]);
    assert_eq!(COUNT.get() - before, 1);
}
