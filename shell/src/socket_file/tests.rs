//! Which files a listener replaces, leaves alone and removes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;

use super::*;

const STREAM: SocketType = SocketType::STREAM;

fn bound(path: &Path) -> Result<(OwnedFd, SocketFile), BindError> {
    SocketFile::bind(path, STREAM, None, 8)
}

/// Why it was not bound.
fn refused(path: &Path) -> BindError {
    bound(path).map(|_| ()).expect_err("it is not to be bound")
}

fn lock_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.lock", path.display()))
}

#[test]
fn a_socket_has_its_name_and_its_lock_as_long_as_it_lives() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let (socket, file) = bound(&path).expect("bound");
    assert_eq!(file.path(), path);
    assert!(UnixStream::connect(&path).is_ok());
    let text = std::fs::read_to_string(lock_of(&path)).expect("a lock");
    assert_eq!(text, format!("aqueduct lock {}\n", std::process::id()));
    assert_eq!(refused(&path), BindError::Live { path: path.clone() });
    // Also while nothing is there but the lock.
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(refused(&path), BindError::Live { path: path.clone() });
    drop(file);
    assert!(!lock_of(&path).exists());
    drop(socket);
    let (_socket, again) = bound(&path).expect("nobody has it");
    drop(again);
    assert!(!path.exists() && !lock_of(&path).exists());
}

#[test]
fn the_mode_of_the_file_is_what_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let mask = Mode::from_raw_mode(0o077);
    let (_socket, _file) = SocketFile::bind(&path, STREAM, Some(mask), 8).expect("bound");
    let mode = path.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}

#[test]
fn a_dead_socket_is_replaced_and_everything_else_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "nobody removes it");
    let (_socket, file) = bound(&path).expect("it is replaced");
    assert!(UnixStream::connect(&path).is_ok());
    drop(file);

    let live = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    assert_eq!(refused(&path), BindError::Live { path: path.clone() });
    // One of another type is alive, too.
    let packets = SocketFile::bind(&path, SocketType::SEQPACKET, None, 8).map(|_| ());
    assert_eq!(packets, Err(BindError::Live { path: path.clone() }));
    drop(live);
    std::fs::remove_file(&path).expect("it is there");

    std::fs::write(&path, "mine").expect("written");
    assert_eq!(refused(&path), BindError::NotASocket { path: path.clone() });
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "mine");
    assert!(!lock_of(&path).exists(), "whoever gives up leaves nothing");
}

#[test]
fn a_file_that_is_not_its_own_any_more_is_not_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let (_socket, file) = bound(&path).expect("bound");
    std::fs::remove_file(&path).expect("it is there");
    std::fs::remove_file(lock_of(&path)).expect("it is there");
    std::fs::write(&path, "another's").expect("written");
    std::fs::write(lock_of(&path), "another's").expect("written");
    drop(file);
    assert!(path.exists() && lock_of(&path).exists());
    drop(SocketFile::of_manager(&path));
    assert!(path.exists(), "a manager removes its own");
}

#[test]
fn what_is_no_lock_is_not_taken_for_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let lock = lock_of(&path);
    let not_a_lock = BindError::NotALock { path: lock.clone() };
    std::fs::write(&lock, "aqueduct lcok 1\n").expect("written");
    assert_eq!(refused(&path), not_a_lock);
    assert_eq!(std::fs::read_to_string(&lock).expect("it is there"), "aqueduct lcok 1\n");
    std::fs::remove_file(&lock).expect("it is there");
    std::fs::create_dir(&lock).expect("made");
    assert_eq!(refused(&path), not_a_lock);
    std::fs::remove_dir(&lock).expect("it is there");
    symlink("elsewhere", &lock).expect("made");
    assert_eq!(refused(&path), not_a_lock);
    std::fs::remove_file(&lock).expect("it is there");
    let made =
        rustix::fs::mknodat(rustix::fs::CWD, &lock, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
    made.expect("a FIFO");
    assert_eq!(refused(&path), not_a_lock);
    std::fs::remove_file(&lock).expect("it is there");
    // An empty file, and what a process that was killed has left.
    std::fs::write(&lock, "").expect("written");
    assert_eq!(refused(&path), not_a_lock, "an empty one is not ours");
    assert_eq!(std::fs::read_to_string(&lock).expect("it is there"), "");
    for left in ["aqueduct lock ", "aqueduct lock 4711 and more\n"] {
        std::fs::write(&lock, left).expect("written");
        let (_socket, _file) = bound(&path).expect("it is one");
        let text = std::fs::read_to_string(&lock).expect("it is there");
        assert_eq!(text, format!("aqueduct lock {}\n", std::process::id()));
    }
}

#[test]
fn errors_name_the_path_and_have_the_kind_of_their_cause() {
    let missing = Path::new("/no/such/directory/s");
    let error = refused(missing);
    assert!(matches!(error, BindError::System { errno: Errno::NOENT, .. }), "{error:?}");
    let long = PathBuf::from(format!("/tmp/{}", "s".repeat(200)));
    assert!(matches!(refused(&long), BindError::System { step: "address", .. }));
    let path = || PathBuf::from("/p");
    for (error, text, kind) in [
        (
            BindError::Live { path: path() },
            "socket /p: another process listens there",
            io::ErrorKind::AddrInUse,
        ),
        (
            BindError::NotASocket { path: path() },
            "socket /p: a file of another kind is there; it is left alone",
            io::ErrorKind::AlreadyExists,
        ),
        (
            BindError::NotALock { path: path() },
            "lock file /p: something else is there; it is left alone",
            io::ErrorKind::AlreadyExists,
        ),
        (
            BindError::System { path: path(), step: "bind", errno: Errno::ACCESS },
            "socket /p: bind: Permission denied (os error 13)",
            io::ErrorKind::PermissionDenied,
        ),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!(io::Error::from(error).kind(), kind);
    }
}
