//! Another side that is gone for a while: the ring fills, clients are told so, and after its return
//! all of it arrives within five seconds.
//!
//! `DOWN_SECONDS=60` is how long; 1 by default.
#![allow(unreachable_pub, reason = "as in `common`")]

use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Forward, Listener, Scratch, eventually, get, metric};

/// How long the first record after its return may take, and all that was held.
const RECOVERY: Duration = Duration::from_secs(5);

/// Arguments of a listener whose ring is full soon, which is told at once.
pub const LISTENER: [&str; 4] = ["--capacity-bytes", "128KiB", "--full-wait-ms", "20"];

/// Takes the other side away by `down`, brings it back by `up`, and returns how many records were
/// taken: each is a line `{"n": N, "key": "k"}` with numbers from 0.
///
/// `up` returns when the other side can take records again.
#[track_caller]
pub fn outlasts(
    name: &str,
    (scratch, listener): (&Scratch, &Listener),
    config: &str,
    down: impl FnOnce(),
    up: impl FnOnce(),
) -> u64 {
    let seconds = std::env::var("DOWN_SECONDS").ok().and_then(|text| text.parse().ok());
    let down_for = Duration::from_secs(seconds.unwrap_or(1));
    let config = format!("{config}\n[admin]\nready_age_ms = 3000\n");
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(scratch, &listener.socket, &config, &flags);
    let admin = forward.admin();
    let mut client = listener.client();
    let mut taken = 0_u64;
    let line = |n: u64| format!("{{\"n\": {n}, \"key\": \"k\"}}");
    for _ in 0..3 {
        client.record(1, line(taken).as_bytes());
        taken += 1;
    }
    let delivered = || {
        let page = get(admin, "/metrics").1;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let (delivered, retries) = (
            metric(&page, "delivered_records_total") as u64,
            metric(&page, "retries_total") as u64,
        );
        (delivered, retries)
    };
    eventually("the first records", || (delivered().0 == taken).then_some(()));
    down();
    let began = Instant::now();
    let mut refused = 0_u64;
    while began.elapsed() < down_for || refused == 0 {
        match client.post("", line(taken).as_bytes()).expect("an answer").0 {
            202 => taken += 1,
            503 => {
                refused += 1;
                thread::sleep(Duration::from_millis(20));
            }
            other => panic!("answered {other}"),
        }
    }
    eventually("not ready", || (get(admin, "/readyz").0 == 503).then_some(()));
    assert!(delivered().0 < taken, "it is gone");
    up();
    let back = Instant::now();
    eventually("all of it", || (delivered().0 >= taken).then_some(()));
    let took = back.elapsed();
    assert!(took < RECOVERY, "{took:?}: {}", forward.process.log());
    client.record(1, line(taken).as_bytes());
    taken += 1;
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    println!(
        "{name}: gone for {} s, {taken} records taken and {refused} answered 503, all there {} ms \
         after its return",
        began.elapsed().as_secs().min(down_for.as_secs().max(1)),
        took.as_millis()
    );
    taken
}
