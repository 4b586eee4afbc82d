//! Disks without space, directories that vanish, other processes, and other settings.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal};

use crate::common::reader::Attached;
use crate::common::{Ends, Scratch, command};
use crate::{journal, kill, place, start, strs};

#[test]
fn a_journal_that_vanishes_is_noticed_and_told_and_readers_keep_what_they_have() {
    let (mut server, flags) = start("disk", "");
    assert_eq!(server.post("default", b"safe").status, 202);
    assert_eq!(server.get("/readyz").status, 200);
    std::fs::remove_dir_all(journal(&server)).expect("it was there");
    server.eventually("it is noticed", || server.get("/readyz").status == 503);
    let ready = server.get("/readyz");
    let detail = &ready.body;
    assert!(detail.contains("the journal of ring default failed"), "{detail}");
    let refused = server.post("default", b"lost");
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());
    assert!(server.metric("aqueduct_journal_failed{ring=\"default\"}") > 0.5);
    let rejected = "aqueduct_records_rejected_total{reason=\"journal\",ring=\"default\"}";
    assert!((server.metric(rejected) - 1.0).abs() < 0.1);
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next().map(|record| record.2), Some(b"safe".to_vec()));
    reader.release();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.start_again(&strs(&flags));
    assert_eq!(place(&server.post("default", b"anew")).0, 0);
}

#[test]
fn a_second_process_is_refused() {
    let (server, flags) = start("disk", "");
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(server.scratch.path("other.sock"))
        .args(&flags)
        .ended()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ring default: journal: another process uses this journal"), "{said}");
    assert_eq!(server.post("default", b"x").status, 202);
}

#[test]
fn a_durability_without_a_directory_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.path("aqueduct.toml");
    std::fs::write(&file, "[[ring]]\nname = \"a\"\ndurability = \"disk\"\n").expect("written");
    let output = command().args(["serve", "--config"]).arg(&file).ended().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ring a: durability") && said.contains("[journal]"), "{said}");
}

#[test]
fn another_size_of_the_ring_begins_an_epoch_with_what_is_unread() {
    let (mut server, flags) = start("disk", "");
    let (_, epoch) = place(&server.post("default", b"zero"));
    assert_eq!(place(&server.post("default", b"one")).0, 1);
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("64KiB", "128KiB")).expect("written");
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    for (seq, payload) in [(0, "zero"), (1, "one")] {
        let found = reader.next().map(|record| (record.0, record.2));
        assert_eq!(found, Some((seq, payload.as_bytes().to_vec())), "{}", server.log());
    }
    let (seq, other) = place(&server.post("default", b"two"));
    assert_eq!(seq, 2);
    assert_ne!(epoch, other);
    reader.release();
    kill(&mut server, &flags);
    let mut reader = Attached::attach(&server.socket, "", "");
    let last = std::iter::from_fn(|| reader.next()).last();
    assert_eq!(last.map(|record| (record.0, record.2)), Some((2, b"two".to_vec())));
    assert_eq!(place(&server.post("default", b"three")), (3, other), "{}", server.log());
}

/// Has the process write no file beyond 1 MiB.
fn without_space(command: &mut Command) {
    without_files_beyond(command, 1 << 20);
}

/// Has the process write no file beyond so many bytes.
pub(crate) fn without_files_beyond(command: &mut Command, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: None };
    let limit_files = move || Ok(rustix::process::setrlimit(Resource::Fsize, limit)?);
    // SAFETY: only one system call, which is safe after a fork.
    unsafe { command.pre_exec(limit_files) };
}

#[test]
fn a_start_without_space_serves_what_is_there_and_goes_on_when_there_is_room() {
    // In the same epoch, and in a new one, because the ring has another size.
    for capacity in ["64KiB", "128KiB"] {
        let (mut server, flags) = start("disk", "segment_bytes = \"2MiB\"");
        let (_, before) = place(&server.post("default", b"record 0"));
        assert_eq!(place(&server.post("default", b"record 1")).0, 1);
        let file = server.scratch.path("aqueduct.toml");
        let text = std::fs::read_to_string(&file).expect("it is there");
        std::fs::write(&file, text.replace("64KiB", capacity)).expect("written");
        server.signal(Signal::KILL);
        let _ = server.wait();
        server.start_again_under(&strs(&flags), without_space);

        let mut reader = Attached::attach(&server.socket, "", "");
        for seq in 0..2 {
            let found = reader.next().map(|record| (record.0, record.2));
            assert_eq!(found, Some((seq, format!("record {seq}").into_bytes())), "{capacity}");
        }
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 503, "{capacity}: {}", server.log());
        assert!(ready.body.contains("no space for the journal of ring default"), "{}", ready.body);
        let refused = server.post("default", b"no");
        refused.assert_problem(503);
        assert!(refused.body.contains("there is no space for its journal"), "{}", refused.body);
        assert!(refused.header("retry-after").is_some());
        assert!(server.metric("aqueduct_journal_out_of_space{ring=\"default\"}") > 0.5);
        drop(reader);
        if capacity == "64KiB" {
            // Nothing was begun that another start could not begin with.
            server.signal(Signal::KILL);
            let _ = server.wait();
            server.start_again_under(&strs(&flags), without_space);
        }

        let all = Rlimit { current: None, maximum: None };
        let pid = rustix::process::Pid::from_raw(server.pid().cast_signed());
        rustix::process::prlimit(pid, Resource::Fsize, all).expect("our child");
        server.eventually("there is room", || server.get("/readyz").status == 200);
        let (seq, epoch) = place(&server.post("default", b"record 2"));
        assert_eq!((seq, epoch == before), (2, capacity == "64KiB"), "{}", server.log());
        kill(&mut server, &flags);
        let mut reader = Attached::attach(&server.socket, "", "");
        let found: Vec<_> = std::iter::from_fn(|| reader.next().map(|it| it.0)).collect();
        assert_eq!(found, [0, 1, 2], "{capacity}: {}", server.log());
        assert_eq!(place(&server.post("default", b"record 3")), (3, epoch));
    }
}

#[test]
fn a_limit_of_file_sizes_that_a_journal_does_not_fit_into_is_named() {
    let (mut server, flags) = start("disk", "segment_bytes = \"2MiB\"");
    server.signal(Signal::KILL);
    let _ = server.wait();
    server.start_again_under(&strs(&flags), without_space);
    let limit = "the limit of file sizes (RLIMIT_FSIZE) is 1048576 bytes";
    let ready = server.get("/readyz");
    assert!(ready.status == 503 && ready.body.contains(limit), "{ready:?}");
    assert!(server.log().contains(limit), "{}", server.log());
}

#[test]
fn a_ring_too_small_for_what_is_unread_is_refused_and_nothing_is_lost() {
    let (mut server, flags) = start("disk", "");
    let payload = [7; 1000];
    let (_, epoch) = place(&server.post("default", &payload));
    for seq in 1..50 {
        assert_eq!(place(&server.post("default", &payload)).0, seq);
    }
    server.signal(Signal::KILL);
    let _ = server.wait();
    let file = server.scratch.path("aqueduct.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("64KiB", "16KiB")).expect("written");
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(&server.socket)
        .args(&flags)
        .ended()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ring default: what nobody has read does not fit"), "{said}");
    assert!(said.contains("capacity_bytes"), "{said}");
    // As it was, and with more room, it goes on.
    std::fs::write(&file, text).expect("written");
    server.start_again(&strs(&flags));
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(std::iter::from_fn(|| reader.next()).count(), 50, "{}", server.log());
    reader.release();
    server.eventually("there is room", || server.post("default", b"x").status == 202);
    assert_eq!(place(&server.post("default", b"y")), (51, epoch));
}

/// Of fcntl(2), which the crate does not name.
const F_SETSIG: libc::c_int = 10;

/// Holds up whoever opens this file to write, for as long as it lives: the kernel asks the holder
/// of a lease to give it up, and waits.
struct HeldUp(std::fs::File);

impl HeldUp {
    fn new(path: &std::path::Path) -> Self {
        let file = std::fs::File::open(path).expect("it is there");
        // SAFETY: system calls on a descriptor that is open. The signal that asks for the lease is
        // one that is ignored by default.
        let held = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
        assert_eq!(held, 0);
        // SAFETY: as above.
        let held = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
        assert_eq!(held, 0, "{}", std::io::Error::last_os_error());
        Self(file)
    }

    /// Whether somebody waits.
    fn is_asked_for(&self) -> bool {
        // SAFETY: a system call on a descriptor that is open.
        let becomes = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) };
        becomes == libc::F_UNLCK
    }
}

#[test]
fn a_signal_while_a_journal_is_read_ends_the_process_at_once() {
    let (mut server, flags) = start("process", "");
    assert_eq!(server.post("default", b"kept").status, 202);
    server.signal(Signal::KILL);
    let _ = server.wait();
    let files = std::fs::read_dir(journal(&server)).expect("a directory").flatten();
    let segment =
        files.map(|file| file.path()).find(|path| path.extension() == Some("segment".as_ref()));
    let held = HeldUp::new(&segment.expect("a segment"));
    let mut starting = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
        .arg(&server.socket)
        .args(&flags)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    server.eventually("it reads", || held.is_asked_for());
    let pid = rustix::process::Pid::from_child(&starting);
    rustix::process::kill_process(pid, Signal::TERM).expect("it lives");
    let mut code = None;
    server.eventually("it has ended", || {
        code = starting.try_wait().expect("our child");
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(0));
    drop(held);
    server.start_again(&strs(&flags));
    let mut reader = Attached::attach(&server.socket, "", "");
    assert_eq!(reader.next().map(|record| record.2), Some(b"kept".to_vec()));
}
