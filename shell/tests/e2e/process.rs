//! Child processes that never outlive their owner, waits that always end, directories that are
//! removed. Shared by the end-to-end tests and the demo; knows nothing of Aqueduct.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
};

/// Nothing that is waited for takes longer, unless something is broken.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A directory of our own under the system's directory for temporary files; removed with everything
/// in it when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes `<temp>/<prefix>-<pid>-<nanoseconds>`, for this user only. A short path: a UNIX
    /// socket's name holds 107 bytes.
    pub(crate) fn new(prefix: &str) -> io::Result<Self> {
        let nanos =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let path = std::env::temp_dir().join(format!("{prefix}-{}-{nanos}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program. Killed and reaped when dropped; killed by the kernel when the thread that
/// started it ends in any other way.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no input, a piped stdout, stderr into the file `log`, and in a process
    /// group of its own, so that Ctrl-C reaches only us. If this thread panics, dropping the
    /// process prints the end of its log.
    pub(crate) fn start(name: &str, command: &mut Command, log: PathBuf) -> io::Result<Self> {
        let parent = getpid();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .process_group(0);
        // SAFETY: between fork and exec the closure makes two system calls (prctl, getppid) and
        // allocates nothing, so it is async-signal-safe.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{name} did not start: {error}"))
        })?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its stdout; the first caller gets it.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Sends `signal`; false if the process has already ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> bool {
        // Not yet reaped, so the number is still its own.
        matches!(self.child.try_wait(), Ok(None))
            && kill_process(Pid::from_child(&self.child), signal).is_ok()
    }

    /// Waits for its end; `None` if it still runs after `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read(&self.log).unwrap_or_default();
            let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned();
            eprintln!("---- end of the log of {} (pid {})\n{tail}", self.name, self.child.id());
        }
    }
}

/// In the child: ends it with the thread that forked it, which may already have happened.
fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::BrokenPipe)) }
}
