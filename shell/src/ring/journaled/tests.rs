use super::*;

#[test]
fn a_position_of_32_bits_is_the_one_near_another() {
    for near in [0, 5, (1 << 32) - 1, 1 << 32, (7 << 32) + 3] {
        for ahead in [0, 1, 1 << 20, (1 << 31) - 1] {
            #[allow(clippy::cast_possible_truncation, reason = "as the ring has it")]
            let low = (near + ahead) as u32;
            assert_eq!(wide(near, low), near + ahead, "{near} {ahead}");
        }
    }
    // A cursor lies before what was written.
    assert_eq!(wide((1 << 32) + 2, u32::MAX), (1 << 32) - 1);
    assert_eq!(wide(9, 3), 3);
}

#[test]
fn a_bell_that_rang_before_anyone_waits_is_heard_and_the_last_one_is_known() {
    let bell = Bell::default();
    bell.ring(false);
    assert!(!bell.wait(None));
    assert!(!bell.wait(Some(Duration::from_millis(1))), "nobody rang: the time is over");
    bell.ring(false);
    bell.ring(true);
    assert!(bell.wait(None));
    assert!(!bell.ended(Duration::from_millis(1)));
    bell.end();
    assert!(bell.ended(Duration::from_secs(10)));
}

/// A ring that is synced, and the directory of its journal.
fn ring() -> (tempfile::TempDir, Arc<Ring>) {
    ring_with(&[])
}

/// As [`ring`], with subscriptions that may lag.
fn ring_with(lagging: &[&str]) -> (tempfile::TempDir, Arc<Ring>) {
    let lagging = lagging.iter().map(|&name| name.to_owned());
    let home = tempfile::tempdir().expect("a place for files");
    let settings = crate::ring::RingSettings {
        name: "test".to_owned(),
        capacity_bytes: 1 << 16,
        max_payload_bytes: 480,
        full_wait: Duration::ZERO,
        clock: ClockName::Realtime,
        subscriptions: std::iter::once("default".to_owned()).chain(lagging.clone()).collect(),
        durability: Durability::Disk,
        lagging: lagging.collect(),
        lag_bytes: 1 << 30,
        has_attributes: false,
    };
    let journals = JournalSettings {
        directory: home.path().to_owned(),
        segment_bytes: 1 << 16,
        cursor_sync: Duration::from_secs(1),
        ..JournalSettings::default()
    };
    let metrics = crate::metrics::Metrics::new().expect("distinct names");
    (home, Ring::open(&settings, &journals, &metrics).expect("a journal"))
}

/// Appends a record that one client waits for.
fn append_one(ring: &Ring) -> u64 {
    let mut turn = ring.turn();
    let seq = turn.append(0, b"record").expect("room");
    turn.one_waits();
    drop(turn.publish());
    seq
}

#[test]
fn what_one_client_waits_for_is_published_when_its_turn_ends_if_the_disk_is_quick() {
    let (_home, ring) = ring();
    let journal = ring.journal.as_ref().expect("it has one");
    let slowest = |time| journal.slowest_ns.store(nanoseconds(time), Ordering::Relaxed);
    for _ in 0..8 {
        slowest(Duration::ZERO);
        let seq = append_one(&ring);
        assert_eq!(ring.standing(seq), crate::ring::Standing::Published);
    }
    // While someone else commits, nobody waits for that.
    slowest(Duration::ZERO);
    let working = lock(&journal.committer.working);
    let seq = append_one(&ring);
    assert_eq!(ring.standing(seq), crate::ring::Standing::Coming);
    drop(working);
    wait_for(&ring, seq);
    // By a slow disk the thread does it.
    slowest(QUICK);
    let seq = append_one(&ring);
    wait_for(&ring, seq);
    ring.finish_journal();
    assert_eq!(lock(&journal.log).written(), 10 * 2);
}

fn wait_for(ring: &Ring, seq: u64) {
    let until = Instant::now() + Duration::from_secs(20);
    while ring.standing(seq) != crate::ring::Standing::Published {
        assert!(Instant::now() < until, "record {seq} is never published");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_disk_that_was_slow_once_is_quick_again_after_a_while() {
    let (_home, ring) = ring();
    let journal = ring.journal.as_ref().expect("it has one");
    journal.slowest_ns.store(0, Ordering::Relaxed);
    journal.note_time(QUICK * 10);
    let after = (0..100).position(|_| {
        journal.note_time(QUICK / 10);
        journal.is_quick()
    });
    assert!(after.is_some_and(|after| (10..30).contains(&after)), "{after:?}");
}

#[test]
fn a_disk_that_hangs_is_seen_and_keeps_nobody_who_looks() {
    let (_home, ring) = ring();
    wait_for(&ring, append_one(&ring));
    let journal = ring.journal.as_ref().expect("it has one");
    let before = ring.look_at_journal().expect("it has one");
    assert_eq!((before.waiting, before.commits), (Duration::ZERO, 1), "{before:?}");
    assert!(before.size_bytes > 0 && before.room_bytes > 0, "{before:?}");
    // As while a commit has the log and does not come back.
    let log = lock(&journal.log);
    let since = now_ns(ClockName::Monotonic) - 3_000_000_000;
    journal.committing_since_ns.store(since, Ordering::Relaxed);
    let begun = Instant::now();
    let look = ring.look_at_journal().expect("it has one");
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for the disk");
    assert!(look.waiting >= Duration::from_secs(3), "{look:?}");
    assert_eq!(look.size_bytes, before.size_bytes);
    drop(log);
}

/// A reader that never comes.
struct Silent;

impl crate::ring::Doorbell for Silent {
    fn ring(&self) -> bool {
        true
    }

    fn disconnect(&self) {}

    fn is_gone(&self) -> bool {
        false
    }
}

#[test]
fn while_one_attaches_to_what_may_lag_others_are_refused_before_memory_is_made() {
    let (_home, ring) = ring_with(&["far"]);
    let attach = || ring.attach("far", None, Arc::new(Silent));
    let claim = ring.feeds().expect("it has them").claim("far").expect("free");
    assert!(matches!(attach(), Err(crate::ring::AttachError::Busy)));
    drop(claim);
    let attached = attach().expect("it was given back");
    assert!(matches!(attach(), Err(crate::ring::AttachError::Busy)));
    drop(attached);
    drop(attach().expect("free again"));
}
