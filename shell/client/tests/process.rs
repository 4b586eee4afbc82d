//! What a client does to its process and takes from it: descriptors that run out, and a fork.
//!
//! Each changes the process, so they take turns, in a program of their own.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_client::{Event, OpenError, Options};
use common::fake::Fake;
use common::{descriptors, mappings};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number that the next descriptor gets.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open("/dev/null").expect("there is one left");
    u64::try_from(file.as_raw_fd()).expect("not negative")
}

#[test]
fn running_out_of_descriptors_is_told_at_every_step_and_leaves_nothing() {
    let _turn = alone();
    let honest = getrlimit(Resource::Nofile);
    let mut seen = Vec::new();
    // Interrupter, set, socket; the listener's end of the connection, without which there is no
    // answer; ring, cursor.
    for spare in [0, 1, 2, 4, 5, 6, 7] {
        let mut fake = Fake::new();
        let before = (descriptors(), mappings());
        let limit = next_descriptor() + spare;
        let opened = fake.meet(|path| {
            let options = Options::new(path);
            setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..honest })
                .expect("lowered");
            let opened = options.attach();
            setrlimit(Resource::Nofile, honest).expect("restored");
            // The listener waits for somebody.
            if opened.is_err() && spare < 3 {
                drop(options.attach());
            }
            opened
        });
        fake.hang_up();
        match opened {
            Ok(client) => {
                drop(client);
                seen.push("attached");
            }
            Err(OpenError::System { call, errno }) => {
                assert_eq!(errno, Errno::MFILE.raw_os_error(), "{call}");
                seen.push(call);
            }
            Err(error) => panic!("{spare} spare descriptors: {error}"),
        }
        assert_eq!((descriptors(), mappings()), before, "{spare} spare descriptors");
    }
    let cut = "recvmsg: not every descriptor arrived";
    seen.dedup();
    assert_eq!(seen, ["eventfd", "epoll_create1", "socket", cut, "attached"]);
}

/// Runs this in a forked child, which ends after it.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child does what it is given and ends, by calls that need no lock of another
    // thread but the allocator's, which survives a fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "forked");
    if pid == 0 {
        child();
        // SAFETY: ends this process, and nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    pid
}

/// Waits for a child, and gives its status.
fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: our own child, and a place for its status.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn a_child_that_drops_its_copy_leaves_the_connection_to_its_parent() {
    let _turn = alone();
    let mut fake = Fake::new();
    let client = fake.meet(|path| Options::new(path).attach()).expect("attached");
    let mut client = Some(client);
    let child = fork(|| drop(client.take()));
    assert_eq!(wait_for(child), 0);
    assert!(!fake.is_told(Duration::from_millis(30)), "the connection goes on");
    let mut client = client.expect("the parent's own");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            fake.publish(b"still here");
        });
        assert!(matches!(client.next_wait(None), Ok(Event::Record((_, b"still here")))));
    });
    assert_eq!(client.stats().missed_wakes, 0, "it is still woken");
    drop(client);
    assert!(fake.receive().is_empty(), "and ends with the parent's");
}

#[test]
fn the_connection_ends_with_its_client_even_if_a_child_holds_copies() {
    let _turn = alone();
    let mut fake = Fake::new();
    let client = fake.meet(|path| Options::new(path).attach()).expect("attached");
    let child = fork(|| std::thread::sleep(Duration::from_secs(60)));
    drop(client);
    let ended = fake.is_told(Duration::from_secs(10)) && fake.receive().is_empty();
    // SAFETY: our own child, not waited for yet.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert_ne!(wait_for(child), 0);
    assert!(ended);
}
