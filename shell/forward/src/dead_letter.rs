//! Records that the other side will never take: a line of JSON each, on disk before the record is
//! released.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::IgnoredAny;

use crate::batch::View;
use crate::envelope::{Envelope, Form};

/// How a line begins; what is cut off an unfinished one is known by it.
const BEGIN: &str = r#"{"reason":"#;

/// How long another process may have the file locked, and how long to wait between two attempts.
const LOCK_TIME: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The file, opened when there is something for it.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
}

impl DeadLetters {
    /// Takes its path. It is appended to, and made if it is not there.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Appends a record: `{"reason":…,"sink":…,"time_ns":…,"record":{…}}`, the record as the
    /// envelope `json` has it. Returns when it is on disk. A record is there again if the process
    /// ends, however it does, before its batch is through; a part of a line is not.
    ///
    /// # Errors
    /// The file cannot be opened or written: nothing of the record is there. The next call opens it
    /// again.
    pub fn add(&mut self, record: &View<'_>, sink: &str, reason: &str) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!(
            r#"{BEGIN}{},"sink":{},"time_ns":{},"record":"#,
            serde_json::Value::from(reason),
            serde_json::Value::from(sink),
            now.as_nanos()
        )
        .into_bytes();
        let envelope = Envelope { form: Form::Json, ..Envelope::default() };
        envelope.encode(record, &mut line).map_err(io::Error::other)?;
        line.extend_from_slice(b"}\n");
        let written = self.write(&line);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path)?),
        };
        if !file.metadata()?.is_file() {
            return file.write_all(line).and_then(|()| file.sync_data());
        }
        lock(file)?;
        let written = write_locked(file, line, &self.path);
        unlock(file);
        written
    }
}

/// Appends a line to a file that nobody else changes meanwhile.
fn write_locked(file: &mut File, line: &[u8], path: &Path) -> io::Result<()> {
    // Another flow's may be torn.
    finish_last_line(file, path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(line).and_then(|()| file.sync_data());
    if written.is_err() {
        // If even this fails, the next line does it.
        let _ = file.set_len(before);
    }
    written
}

/// Locks a file against other flows with the same one. Where the file system has no locks, none is
/// had.
fn lock(file: &File) -> io::Result<()> {
    let until = Instant::now() + LOCK_TIME;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let reason = "another process has had it locked for too long";
                return Err(io::Error::new(ErrorKind::WouldBlock, reason));
            }
            _ => return Ok(()),
        }
    }
}

fn unlock(file: &File) {
    // Whatever cannot be unlocked was not locked.
    let _ = flock(file, FlockOperation::Unlock);
}

/// Says whether a failure to add a record may pass by itself: there is no room, or another process
/// has the file locked.
pub fn may_pass(error: &io::Error) -> bool {
    use ErrorKind::{QuotaExceeded, StorageFull, WouldBlock};
    matches!(error.kind(), StorageFull | QuotaExceeded | WouldBlock)
}

/// Opens the file, makes it if it is not there, and sees to it that the next line begins a line.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if file.metadata()?.is_file() {
        lock(&file)?;
        let finished = finish_last_line(&mut file, path).and_then(|()| file.sync_all());
        unlock(&file);
        finished?;
        // The name of a new file, too.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| ".".as_ref()))?.sync_all()?;
    }
    Ok(file)
}

/// Cuts off what a crash left of a line of ours, whose record comes again. A whole one, which an
/// editor may have left without its end, and what is somebody else's stay, as a line.
fn finish_last_line(file: &mut File, path: &Path) -> io::Result<()> {
    const PIECE_BYTES: u64 = 64 << 10;
    let len = file.metadata()?.len();
    let mut last = [0];
    if len == 0 || (file.read_at(&mut last, len - 1)? == 1 && last == *b"\n") {
        return Ok(());
    }
    let mut begin = len;
    let mut piece = Vec::new();
    while begin > 0 {
        let from = begin.saturating_sub(PIECE_BYTES);
        file.seek(SeekFrom::Start(from))?;
        piece.clear();
        Read::by_ref(file).take(begin - from).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|&byte| byte == b'\n') {
            begin = from + at as u64 + 1;
            break;
        }
        begin = from;
    }
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    Read::by_ref(file).take(BEGIN.len() as u64).read_to_end(&mut start)?;
    if BEGIN.as_bytes().starts_with(&start) {
        file.seek(SeekFrom::Start(begin))?;
        if serde_json::from_reader::<_, IgnoredAny>(BufReader::new(&*file)).is_err() {
            let bytes = len - begin;
            tracing::warn!(path = %path.display(), bytes, "cut off what a crash left of a letter");
            return file.set_len(begin);
        }
    }
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn a_part_of_a_line_is_cut_off_and_what_is_not_ours_stays() {
        let name = format!("aqf-letters-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut batch = Batch::default();
        batch.clear(7);
        batch.push(3, 1, 10, b"one", b"");
        let long = format!("{BEGIN}\"{}", "x".repeat(100_000));
        for (before, kept) in [
            ("", 0),
            ("{}\n", 1),
            ("{}\n{\"rea", 1),
            (&*long, 0),
            (&format!("{{}}\n{{}}\n{long}"), 2),
            // Of ours, and only its end is missing.
            (&format!("{{}}\n{BEGIN}\"why\",\"record\":{{}}}}"), 2),
            ("{}", 1),
            ("{}\n{\"mine\":1}", 2),
        ] {
            std::fs::write(&path, before).expect("written");
            for letters in 1..3 {
                // As another process would.
                let mut file = DeadLetters::new(path.clone());
                file.add(&batch.records().get(0), "file", "why").expect("added");
                let text = std::fs::read_to_string(&path).expect("text");
                let lines: Vec<serde_json::Value> = text
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("a whole line"))
                    .collect();
                assert_eq!(lines.len(), kept + letters, "{text}");
                assert!(text.ends_with('\n') && lines[kept]["record"]["seq"] == 3, "{text}");
            }
        }
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn two_flows_with_one_file_wait_for_each_other_and_keep_each_others_lines() {
        let path = std::env::temp_dir().join(format!("aqf-letters-two-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut batch = Batch::default();
        batch.clear(7);
        batch.push(3, 1, 10, b"one", b"");
        let mut first = DeadLetters::new(path.clone());
        first.add(&batch.records().get(0), "file", "first").expect("added");
        // Another flow is within its write: what it has of its line is not cut off.
        let mut other = OpenOptions::new().append(true).open(&path).expect("opened");
        lock(&other).expect("free");
        other.write_all(BEGIN.as_bytes()).expect("written");
        for mut flow in [first, DeadLetters::new(path.clone())] {
            let failure = flow.add(&batch.records().get(0), "file", "second");
            let failure = failure.expect_err("it is locked");
            assert!(may_pass(&failure), "{failure}");
        }
        other.write_all(b"\"other\"}\n").expect("written");
        // The other one ends within a line, and is gone: what it left is cut off.
        other.write_all(BEGIN.as_bytes()).expect("written");
        let mut first = DeadLetters::new(path.clone());
        drop(other);
        first.add(&batch.records().get(0), "file", "third").expect("added");
        let mut other = OpenOptions::new().append(true).open(&path).expect("opened");
        other.write_all(BEGIN.as_bytes()).expect("written");
        first.add(&batch.records().get(0), "file", "fourth").expect("added");
        let text = std::fs::read_to_string(&path).expect("text");
        let reasons: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line"))
            .map(|letter| letter["reason"].as_str().map(str::to_owned).unwrap_or_default())
            .collect();
        assert_eq!(reasons, ["first", "other", "third", "fourth"]);
        std::fs::remove_file(&path).expect("removed");
    }
}
