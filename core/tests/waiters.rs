//! Awaiting records and space: by hand, and in threads that park.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aqueduct_core::waiters::Waiters;
use aqueduct_core::{ClaimError, Meta, Next, Ring};

/// Sends something whenever it is woken.
struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn bell() -> (Waker, mpsc::Receiver<()>) {
    let (sender, called) = mpsc::channel();
    (Waker::from(Arc::new(Bell(sender))), called)
}

#[test]
fn a_task_is_woken_by_the_publication_and_by_the_close_and_not_before() {
    let (ring, waiters) = (Ring::<512>::new(), Waiters::<1>::new());
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let (waker, called) = bell();
    let mut context = Context::from_waker(&waker);
    let mut buf = [0; 8];
    for (payload, expected) in [(Some(b"one"), Some(3)), (None, None)] {
        let mut next = pin!(waiters.next(0, &mut reader, &mut buf));
        assert!(next.as_mut().poll(&mut context).is_pending());
        assert!(next.as_mut().poll(&mut context).is_pending(), "asked twice is asked once");
        assert!(called.try_recv().is_err());
        waiters.wake(match payload {
            Some(payload) => producer.push(Meta::default(), payload).expect("room").1,
            None => producer.close(),
        });
        called.try_recv().expect("it was woken");
        let Poll::Ready(Ok(next)) = next.poll(&mut context) else { panic!("it was woken") };
        let len = if let Next::Record(record) = next { Some(record.len) } else { None };
        assert_eq!((len, next == Next::Closed), (expected, payload.is_none()));
    }
}

#[test]
fn a_future_that_is_dropped_while_it_waits_loses_no_record() {
    let (ring, waiters) = (Ring::<512>::new(), Waiters::<1>::new());
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let (waker, called) = bell();
    let mut context = Context::from_waker(&waker);
    let mut buf = [0; 8];
    for seq in 0..5 {
        assert!(pin!(waiters.next(0, &mut reader, &mut buf)).poll(&mut context).is_pending());
        let mut again = pin!(waiters.next(0, &mut reader, &mut buf));
        assert!(again.as_mut().poll(&mut context).is_pending());
        waiters.wake(producer.push(Meta::default(), b"x").expect("room").1);
        called.try_recv().expect("the second one was woken");
        let Poll::Ready(Ok(Next::Record(record))) = again.poll(&mut context) else { panic!() };
        assert_eq!(record.seq, seq);
    }
}

#[test]
fn a_producer_without_space_is_woken_by_the_release() {
    let (ring, waiters) = (Ring::<128>::new(), Waiters::<1>::new());
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    while producer.push(Meta::default(), &[]).is_ok() {}
    let (waker, called) = bell();
    let mut context = Context::from_waker(&waker);
    {
        let mut space = pin!(waiters.space_in_ring(&mut producer, 0));
        assert!(space.as_mut().poll(&mut context).is_pending());
        assert!(matches!(reader.next(&mut []), Ok(Next::Record(_))));
        assert!(called.try_recv().is_err(), "nothing was released");
        waiters.released(reader.release());
        called.try_recv().expect("it was woken");
        assert_eq!(space.poll(&mut context), Poll::Ready(Ok(())));
    }
    let _ = producer.push(Meta::default(), &[]).expect("it was promised");
    let _ = producer.close();
    let closed = pin!(waiters.space_in_ring(&mut producer, 0)).poll(&mut context);
    assert_eq!(closed, Poll::Ready(Err(ClaimError::Closed)));
}

#[test]
fn a_task_among_many_producers_is_woken_by_the_release() {
    let (ring, waiters) = (Ring::<256>::new(), Waiters::<1>::new());
    let (shared, [mut reader]) = ring.split_shared::<16>().expect("the first");
    let claim = shared.claim(0).expect("room");
    let mut committed = 0;
    while shared.push(Meta::default(), &[]).is_ok() {
        committed += 1; // after the claim, so not published yet
    }
    let ((reading, read), (producing, released)) = (bell(), bell());
    let (mut reading, mut producing) =
        (Context::from_waker(&reading), Context::from_waker(&producing));
    let mut space = pin!(waiters.space_in_shared(&shared, 96));
    {
        let mut buf = [0; 8];
        let mut next = pin!(waiters.next(0, &mut reader, &mut buf));
        assert!(next.as_mut().poll(&mut reading).is_pending());
        drop(claim); // publishes the others; a drop can name nobody
        assert!(read.try_recv().is_err());
        assert!(space.as_mut().poll(&mut producing).is_pending());
        read.try_recv().expect("the request for space names whom the drop could not");
        assert!(matches!(next.poll(&mut reading), Poll::Ready(Ok(Next::Record(_)))));
    }
    assert!(released.try_recv().is_err(), "nothing was released");
    waiters.released(reader.release());
    released.try_recv().expect("it was woken");
    assert!(space.as_mut().poll(&mut producing).is_pending(), "that is not enough");
    while let Ok(Next::Record(_)) = reader.next(&mut []) {}
    waiters.released(reader.release());
    released.try_recv().expect("it was woken again");
    assert_eq!(space.poll(&mut producing), Poll::Ready(Ok(())));
    let commit = shared.push(Meta::default(), &[0; 96]).expect("it was promised");
    assert_eq!(commit.seq, Some(committed));
}

#[test]
fn threads_park_until_there_is_a_record_or_space() {
    let (ring, waiters) = (Ring::<256>::new(), Waiters::<1>::new());
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let records = if cfg!(miri) { 10_u64 } else { 2000 };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = [0; 8];
            let mut seen = 0_u64;
            while let Next::Record(record) = waiters.recv(0, &mut reader, &mut buf).expect("whole")
            {
                assert_eq!((record.seq, buf), (seen, seen.to_le_bytes()));
                seen += 1;
                waiters.released(reader.release());
            }
            assert_eq!(seen, records);
        });
        for number in 0..records {
            let payload = number.to_le_bytes();
            waiters.wait_for_space(&mut producer, 8).expect("it is open");
            waiters.wake(producer.push(Meta::default(), &payload).expect("it was promised").1);
        }
        waiters.wake(producer.close());
    });
}

#[test]
fn a_thread_that_shares_a_full_ring_parks_until_there_is_room() {
    let (ring, waiters) = (Ring::<256>::new(), Waiters::<1>::new());
    let (shared, [mut reader]) = ring.split_shared::<8>().expect("the first");
    while shared.push(Meta::default(), &[]).is_ok() {}
    thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        let (shared, waiters) = (&shared, &waiters);
        scope.spawn(move || sender.send(waiters.wait_for_space_in_shared(shared, 0)));
        let early = ended.recv_timeout(Duration::from_millis(30));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        assert!(matches!(reader.next(&mut []), Ok(Next::Record(_))));
        waiters.released(reader.release());
        assert_eq!(ended.recv(), Ok(Ok(())));
    });
    assert!(shared.push(Meta::default(), &[]).is_ok(), "it was promised");
}

#[test]
fn threads_that_share_a_full_ring_park_one_at_a_time_and_lose_nothing() {
    let (ring, waiters, waiting) = (Ring::<256>::new(), Waiters::<1>::new(), Mutex::new(0));
    let (shared, [mut reader]) = ring.split_shared::<8>().expect("the first");
    let records = if cfg!(miri) { 5_u32 } else { 1000 };
    let push = |payload: &[u8]| loop {
        match shared.push(Meta::default(), payload) {
            Ok(commit) => return waiters.wake(commit.wake),
            Err(ClaimError::Full { .. }) => {
                let mut waited = waiting.lock().expect("nobody panics");
                *waited += 1;
                waiters.wait_for_space_in_shared(&shared, payload.len()).expect("it is open");
            }
            Err(ClaimError::Busy { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    thread::scope(|scope| {
        let push = &push;
        for name in 0..3_u32 {
            scope.spawn(move || {
                for number in 0..records {
                    let mut payload = [0; 40];
                    payload[..4].copy_from_slice(&name.to_le_bytes());
                    payload[4..8].copy_from_slice(&number.to_le_bytes());
                    push(&payload);
                }
            });
        }
        let (mut buf, mut next) = ([0; 40], [0; 3]);
        for seq in 0..u64::from(3 * records) {
            let Ok(Next::Record(record)) = waiters.recv(0, &mut reader, &mut buf) else { panic!() };
            let [name, number] = [0, 4]
                .map(|at| u32::from_le_bytes(buf[at..at + 4].try_into().expect("four bytes")));
            assert_eq!((record.seq, number), (seq, next[name as usize]));
            next[name as usize] += 1;
            waiters.released(reader.release());
        }
    });
    assert!(waiting.into_inner().is_ok_and(|waited| waited > 0), "the ring was never full");
}

#[test]
fn a_thread_waits_no_longer_than_it_was_told() {
    let (ring, waiters) = (Ring::<256>::new(), Waiters::<1>::new());
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let (mut buf, before) = ([0; 8], Instant::now());
    let timeout = Duration::from_millis(30);
    assert_eq!(waiters.recv_timeout(0, &mut reader, &mut buf, timeout), Ok(Next::Empty));
    assert!(before.elapsed() >= timeout);
    assert_eq!(reader.stats().missed_wakes, 0);
    let _ = producer.push(Meta::default(), b"x").expect("room");
    let next = waiters.recv_timeout(0, &mut reader, &mut buf, Duration::ZERO);
    assert!(matches!(next, Ok(Next::Record(_))), "what is there needs no time: {next:?}");
}
