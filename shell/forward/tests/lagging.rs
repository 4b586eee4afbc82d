//! A subscription that may lag: the journal has what its ring does not hold.
#![cfg(feature = "http")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/service.rs"]
mod service;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::{Forward, Listener, Poster, Scratch, eventually, get, lines, metric};
use service::{Answer, Service};

/// Bytes of the ring.
const RING_BYTES: u64 = 128 << 10;
/// How long all of it may take after the return of the other side.
const RECOVERY: Duration = Duration::from_secs(5);

/// A listener whose subscription `s` may lag.
fn lagging(scratch: &Scratch) -> Listener {
    let file = scratch.join("listener.toml");
    let text = format!(
        "[journal]\ndirectory = '{}'\n[[ring]]\nname = 'r'\ncapacity_bytes = {RING_BYTES}\n\
         full_wait_ms = 20\ndurability = 'process'\nsubscriptions = ['s']\nlagging = ['s']\n\
         lag_bytes = '256MiB'\n",
        scratch.join("journal").display()
    );
    fs::write(&file, text).expect("written");
    Listener::start_with(scratch, &["--config", &file.display().to_string()])
}

/// Posts a hundred lines, 64 bytes each in the ring, with the numbers from `next`.
#[track_caller]
fn post(client: &mut Poster, next: &mut u64) {
    let all: Vec<_> = (*next..*next + 100).map(|n| format!("{n:020}")).collect();
    assert!(client.lines(&all.join("\n")), "{next}: refused");
    *next += 100;
}

fn numbers(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn once_delivers_what_is_in_the_journal_and_not_in_the_ring() {
    let scratch = Scratch::new("once");
    let listener = lagging(&scratch);
    let mut client = listener.client();
    let out = scratch.join("out");
    let config = format!("[sink]\nkind = 'file'\npath = '{}'\n", out.display());
    let mut posted = 0;
    for rings in [3, 5] {
        while posted * 64 < rings * RING_BYTES {
            post(&mut client, &mut posted);
        }
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        assert_eq!(numbers(&out), (0..posted).collect::<Vec<_>>());
    }
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "nothing is there");
}

/// `DOWN_SECONDS=60` is how long; 1 by default.
#[test]
fn while_the_other_side_is_gone_the_journal_takes_it_and_nobody_is_refused() {
    let seconds = std::env::var("DOWN_SECONDS").ok().and_then(|text| text.parse().ok());
    let down_for = Duration::from_secs(seconds.unwrap_or(1));
    let scratch = Scratch::new("down");
    let listener = lagging(&scratch);
    let arrived = Arc::new(Mutex::new(Vec::<u64>::new()));
    let is_gone = Arc::new(AtomicBool::new(false));
    let handle = {
        let (arrived, is_gone) = (Arc::clone(&arrived), Arc::clone(&is_gone));
        move |request: &service::Request| {
            if is_gone.load(Ordering::SeqCst) {
                return Answer::HangUp;
            }
            let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.extend(request.lines().iter().map(|n| n.parse::<u64>().expect("a number")));
            Answer::Status(200, "")
        }
    };
    let service = Service::start(handle);
    let count = || arrived.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    let config = format!(
        "[sink]\nkind = 'http'\nurl = 'http://{}/'\n[admin]\nready_age_ms = 3000\n",
        service.address
    );
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &flags);
    let admin = forward.admin();
    let (mut client, mut posted) = (listener.client(), 0);
    post(&mut client, &mut posted);
    eventually("the first records", || (count() == posted).then_some(()));
    is_gone.store(true, Ordering::SeqCst);
    let began = Instant::now();
    // Three rings at once, and then more, slowly: each of them is taken.
    while posted * 64 < 3 * RING_BYTES {
        post(&mut client, &mut posted);
    }
    while began.elapsed() < down_for {
        post(&mut client, &mut posted);
        thread::sleep(Duration::from_millis(100));
    }
    eventually("not ready", || (get(admin, "/readyz").0 == 503).then_some(()));
    assert_eq!(count(), 100, "it is gone");
    is_gone.store(false, Ordering::SeqCst);
    let back = Instant::now();
    eventually("all of it", || (count() >= posted).then_some(()));
    let took = back.elapsed();
    assert!(took < RECOVERY, "{took:?}: {}", forward.process.log());
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    let page = get(admin, "/metrics").1;
    assert!(metric(&page, "damaged_total") < 0.5, "{page}");
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*arrived, (0..posted).collect::<Vec<u64>>(), "in order, each once");
    println!(
        "journal: gone for {} s, {posted} records taken, none refused, all there {} ms after its \
         return",
        began.elapsed().as_secs(),
        took.as_millis()
    );
}
