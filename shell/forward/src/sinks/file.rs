//! A file, or stdout: lines, NUL-terminated or counted frames.
//!
//! Delivered means `fdatasync`, for a file that has it. What a crash left of a frame is cut off
//! when the file is opened: its record was not released and comes again. A file knows no (epoch,
//! seq), so whole records of an unfinished batch come twice.

use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use serde::Deserialize;

use super::Context;
use crate::batch::{Records, View};
use crate::envelope::Envelope;
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;

/// How records are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frames {
    /// Each ends with LF and has none in it.
    #[default]
    Lines,
    /// Each ends with NUL and has none in it.
    Nul,
    /// Length (u32) and type (u16), both little-endian, before each: the body of
    /// `application/vnd.aqueduct.records`.
    Counted,
}

/// Bytes before a counted frame.
const HEAD_BYTES: usize = 6;

/// `[sink]` with `kind = "file"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its path; `-` is stdout. It is appended to, and made if it is not there.
    path: PathBuf,
    /// How records are told apart.
    #[serde(default)]
    frames: Frames,
    /// Whether a batch is delivered when it is on disk, instead of when the kernel has it.
    #[serde(default = "super::yes")]
    sync: bool,
}

/// The sink.
#[derive(Debug)]
pub struct File {
    table: Table,
    envelope: Envelope,
    open: Option<Open>,
    /// Used again for each batch.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    /// Where the last whole frame ends; `None`: it is no file that can be cut.
    end: Option<u64>,
}

impl File {
    /// Takes the settings. The file is opened by the first delivery or probe.
    ///
    /// # Errors
    /// None; as other sinks.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        Ok(Self { table, envelope: context.envelope.clone(), open: None, buffer: Vec::new() })
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            self.open = Some(self.open_now()?);
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_now(&self) -> io::Result<Open> {
        let path = &self.table.path;
        if path.as_os_str() == "-" {
            let file = fs::File::from(rustix::io::dup(io::stdout())?);
            return Ok(Open { file, end: None });
        }
        let mut file = fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let kind = metadata.file_type();
            debug_assert!(!kind.is_dir() && !kind.is_socket(), "it could be opened for writing");
            return Ok(Open { file, end: None });
        }
        let end = self.table.frames.whole(&mut file, metadata.len())?;
        if end < metadata.len() {
            tracing::warn!(
                path = %path.display(),
                bytes = metadata.len() - end,
                "cut off what a crash left of a record"
            );
            file.set_len(end)?;
        }
        if self.table.sync {
            // The name of a new file, too.
            file.sync_all()?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs::File::open(parent.unwrap_or_else(|| ".".as_ref()))?.sync_all()?;
        }
        Ok(Open { file, end: Some(end) })
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let sync = self.table.sync;
        let open = self.opened();
        let written = open.and_then(|open| {
            open.file.write_all(&bytes)?;
            if let Some(end) = &mut open.end {
                if sync {
                    open.file.sync_data()?;
                }
                *end += bytes.len() as u64;
            }
            Ok(())
        });
        self.buffer = bytes;
        if written.is_err()
            && let Some(open) = self.open.take()
            && let Some(end) = open.end
        {
            // What was written of the batch comes again. If even this fails, opening cuts the frame
            // that is not whole.
            let _ = open.file.set_len(end);
        }
        written
    }
}

impl Frames {
    /// Appends a record to a batch.
    fn append(
        self,
        envelope: &Envelope,
        record: &View<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), String> {
        let begin = into.len();
        if self == Self::Counted {
            into.extend_from_slice(&[0; HEAD_BYTES]);
        }
        let body = into.len();
        envelope.encode(record, into)?;
        let (ending, name) = match self {
            Self::Lines => (b'\n', "a line break"),
            Self::Nul => (0, "NUL"),
            Self::Counted => {
                let len = u32::try_from(into.len() - body).map_err(|error| error.to_string())?;
                into[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
                into[begin + 4..body].copy_from_slice(&record.type_tag.to_le_bytes());
                return Ok(());
            }
        };
        if into[body..].contains(&ending) {
            return Err(format!("the record has {name} in it, which ends a frame"));
        }
        into.push(ending);
        Ok(())
    }

    /// Returns where the last whole frame of a file ends.
    fn whole(self, file: &mut fs::File, len: u64) -> io::Result<u64> {
        match self {
            Self::Lines => last_of(b'\n', file, len),
            Self::Nul => last_of(0, file, len),
            Self::Counted => {
                file.seek(SeekFrom::Start(0))?;
                let mut reader = BufReader::new(file);
                let mut end = 0;
                let mut head = [0; HEAD_BYTES];
                while len - end >= HEAD_BYTES as u64 {
                    reader.read_exact(&mut head)?;
                    let body = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
                    let next = end + HEAD_BYTES as u64 + u64::from(body);
                    if next > len {
                        break;
                    }
                    reader.seek_relative(i64::from(body))?;
                    end = next;
                }
                Ok(end)
            }
        }
    }
}

/// Returns where the last frame with this ending ends.
fn last_of(ending: u8, file: &mut fs::File, len: u64) -> io::Result<u64> {
    const PIECE_BYTES: u64 = 64 << 10;
    let mut piece = Vec::new();
    let mut end = len;
    while end > 0 {
        let begin = end.saturating_sub(PIECE_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        piece.clear();
        Read::by_ref(file).take(end - begin).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|&byte| byte == ending) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

impl Sink for File {
    fn deliver(&mut self, records: &Records<'_>, _: &Stop) -> Result<Delivered, Failure> {
        self.buffer.clear();
        for (at, record) in records.iter().enumerate() {
            let before = self.buffer.len();
            let appended = self.table.frames.append(&self.envelope, &record, &mut self.buffer);
            if let Err(reason) = appended {
                self.buffer.truncate(before);
                self.write().map_err(|error| failure(&error))?;
                return Err(Failure::poison(at, reason));
            }
        }
        self.write().map_err(|error| failure(&error))?;
        Ok(Delivered::default())
    }

    fn probe(&mut self, _: &Stop) -> Result<(), Failure> {
        self.opened().map(|_| ()).map_err(|error| failure(&error))
    }
}

/// A full disk may get room again; a directory that is missing or forbidden is for a person.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound
        | io::ErrorKind::IsADirectory => Failure::stop(error),
        _ => Failure::retry(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::sink::Remedy;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("aqueduct-forward-{}-{name}", std::process::id()))
    }

    fn sink(path: &std::path::Path, frames: Frames) -> File {
        let table = Table { path: path.to_owned(), frames, sync: true };
        File::open(table, &Context::default()).expect("settings")
    }

    fn batch(payloads: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        batch.clear(1);
        for (seq, payload) in payloads.iter().enumerate() {
            batch.push(seq as u64, 7, 0, payload, b"");
        }
        batch
    }

    #[test]
    fn a_torn_frame_is_cut_off_and_whole_ones_stay() {
        let stop = Stop::default();
        let long = vec![b'x'; 100_000];
        for (frames, first) in [
            (Frames::Lines, &b"one\ntwo\n"[..]),
            (Frames::Nul, b"one\0two\0"),
            (Frames::Counted, b"\x03\0\0\0\x07\0one\x03\0\0\0\x07\0two"),
        ] {
            let path = scratch(&format!("torn-{frames:?}"));
            let _ = fs::remove_file(&path);
            let two = batch(&[b"one", b"two"]);
            sink(&path, frames).deliver(&two.records(), &stop).expect("delivered");
            assert_eq!(fs::read(&path).expect("it is there"), first, "{frames:?}");
            for torn in [&first[..1], &first[..first.len() / 2 - 1], &long[..]] {
                let mut bytes = first.to_vec();
                bytes.extend_from_slice(torn);
                fs::write(&path, bytes).expect("written");
                let more = batch(&[b"three"]);
                sink(&path, frames).deliver(&more.records(), &stop).expect("delivered");
                let read = fs::read(&path).expect("it is there");
                assert!(read.starts_with(first), "{frames:?}");
                let rest = &read[first.len()..];
                assert!(rest.len() <= 11 && rest.windows(5).any(|five| five == b"three"));
            }
            fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn a_record_that_would_end_its_frame_is_poison_and_those_before_it_are_delivered() {
        let path = scratch("poison");
        let _ = fs::remove_file(&path);
        let mut sink = sink(&path, Frames::Lines);
        let batch = batch(&[b"one", b"t\nwo", b"three"]);
        let failure = sink.deliver(&batch.records(), &Stop::default()).expect_err("a line break");
        assert_eq!((failure.done, failure.remedy), (1, Remedy::Poison));
        assert_eq!(fs::read(&path).expect("it is there"), b"one\n");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_disk_without_room_is_for_later_and_a_missing_directory_for_a_person() {
        let stop = Stop::default();
        let batch = batch(&[b"one"]);
        let full = sink("/dev/full".as_ref(), Frames::Lines).deliver(&batch.records(), &stop);
        assert_eq!(full.expect_err("no room").remedy, Remedy::Retry(None));
        let nowhere = sink("/nonexistent/file".as_ref(), Frames::Lines).probe(&stop);
        assert_eq!(nowhere.expect_err("no directory").remedy, Remedy::Stop);
    }
}
