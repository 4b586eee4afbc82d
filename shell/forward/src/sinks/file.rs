//! A file, or stdout: lines, NUL-terminated or counted frames.
//!
//! Delivered means `fdatasync`, for a file that has it. What a crash left of a frame is cut off
//! before the first batch: its record was not released and comes again. Only what begins a frame of
//! that batch is cut; everything else may be somebody's data, and is kept beside the file. A file
//! knows no (epoch, seq), so whole records of an unfinished batch come twice.

use std::fmt;
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};
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
/// More bytes than this that are no whole frame are taken for another kind of file. As lengths, the
/// first bytes of any text are more, so lines are never taken for counted frames.
const MOST_TORN_BYTES: u64 = 64 << 20;
/// How many counted frames are looked at between two looks at the deadline.
const LOOK_FRAMES: usize = 65_536;

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
    /// The frames of a batch, and where each begins; used again for each.
    buffer: Vec<u8>,
    begins: Vec<usize>,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    /// Where whole frames ended before the last write; `None`: it is no file that can be cut.
    end: Option<u64>,
    /// Whether there may be something after it.
    is_torn: bool,
    /// Whether it is opened anew before the next write: another file may have its path now.
    is_doubted: bool,
}

impl File {
    /// Takes the settings. The file is opened by the first delivery or probe.
    ///
    /// # Errors
    /// None; as other sinks.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let envelope = context.envelope.clone();
        Ok(Self { table, envelope, open: None, buffer: Vec::new(), begins: Vec::new() })
    }

    /// Opens the file as it is; also returns how long it is, unless it is none that can be cut.
    fn open_as_it_is(&self) -> io::Result<(fs::File, Option<u64>)> {
        let path = &self.table.path;
        if path.as_os_str() == "-" {
            return Ok((fs::File::from(rustix::io::dup(io::stdout())?), None));
        }
        let file = fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        debug_assert!(!kind.is_dir() && !kind.is_socket(), "it could be opened for writing");
        Ok((file, kind.is_file().then_some(metadata.len())))
    }

    /// Opens the file for the frames in `buffer`, which are written next. If it is the one that was
    /// open before, nobody looks into it again.
    fn open_now(&self, before: Option<&Open>, stop: &Stop) -> Result<Open, Failure> {
        let told = |error: io::Error| failure(&error);
        let path = &self.table.path;
        let (mut file, len) = self.open_as_it_is().map_err(told)?;
        let of = |file, end, is_torn| Open { file, end, is_torn, is_doubted: false };
        let Some(len) = len else { return Ok(of(file, None, false)) };
        if let Some(before) = before.filter(|before| before.is_of(&file)) {
            return Ok(of(file, before.end, before.is_torn));
        }
        let end = match self.table.frames.whole(&mut file, len, stop).map_err(told)? {
            Whole::To(end) => end,
            Whole::Unlike => return Err(self.unlike(len)),
        };
        if end < len {
            self.cut(&mut file, (end, len))?;
        }
        if self.table.sync {
            // The name of a new file, too.
            file.sync_all().map_err(told)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::File::open(parent.unwrap_or_else(|| ".".as_ref()));
            parent.and_then(|parent| parent.sync_all()).map_err(told)?;
        }
        Ok(of(file, Some(end), false))
    }

    /// Cuts off what comes after the last whole frame, if it is what a crash left of a frame.
    fn cut(&self, file: &mut fs::File, (end, len): (u64, u64)) -> Result<(), Failure> {
        let told = |error: io::Error| failure(&error);
        if len - end > MOST_TORN_BYTES {
            return Err(self.unlike(len - end));
        }
        let mut torn = Vec::new();
        file.seek(SeekFrom::Start(end)).map_err(told)?;
        file.read_to_end(&mut torn).map_err(told)?;
        let comes_again = |&at: &usize| self.buffer[at..].starts_with(&torn);
        let path = &self.table.path;
        if self.begins.iter().any(comes_again) {
            let bytes = torn.len();
            tracing::warn!(path = %path.display(), bytes, "cut off what a crash left of a record");
        } else if end > 0 {
            let mut name = path.clone().into_os_string();
            name.push(".torn");
            let kept = fs::OpenOptions::new().append(true).create(true).open(&name);
            let kept = kept.and_then(|mut kept| {
                kept.write_all(&torn)?;
                kept.sync_all()
            });
            kept.map_err(told)?;
            tracing::error!(
                path = %path.display(),
                bytes = torn.len(),
                kept = %name.display(),
                "the last bytes are no whole record, and none that comes again: kept beside it"
            );
        } else {
            return Err(self.unlike(len));
        }
        file.set_len(end).map_err(told)
    }

    fn unlike(&self, bytes: u64) -> Failure {
        let (path, frames) = (self.table.path.display(), self.table.frames);
        Failure::stop(format!(
            "{path}: {bytes} bytes are no records with frames = \"{frames}\"; nothing was written"
        ))
    }

    /// Writes the frames in `buffer`. Without one there is nothing to know by what a torn one was.
    fn write(&mut self, stop: &Stop) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.open.as_ref().is_none_or(|open| open.is_doubted) {
            self.open = Some(self.open_now(self.open.as_ref(), stop)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let written = open.write(&self.buffer, self.table.sync);
        open.is_doubted = written.is_err();
        written.map_err(|error| failure(&error))
    }
}

impl Open {
    /// Whether it is this file. While it is open, no other one has its number.
    fn is_of(&self, file: &fs::File) -> bool {
        let number = |file: &fs::File| file.metadata().map(|it| (it.dev(), it.ino()));
        matches!((number(&self.file), number(file)), (Ok(ours), Ok(theirs)) if ours == theirs)
    }

    /// Writes all of it. What a failure leaves of it is cut off, now or before the next attempt:
    /// that needs no look into the file.
    fn write(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let Some(end) = &mut self.end else { return self.file.write_all(bytes) };
        if self.is_torn {
            // Nothing is there to be cut off if the file was emptied meanwhile.
            if self.file.metadata()?.len() > *end {
                self.file.set_len(*end)?;
            }
            self.is_torn = false;
        }
        // Another one than after the last write if the file was emptied meanwhile.
        *end = self.file.metadata()?.len();
        let written = self.file.write_all(bytes);
        let written = written.and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        self.is_torn = written.is_err() && self.file.set_len(*end).is_err();
        written
    }
}

/// Where the whole frames of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// There.
    To(u64),
    /// It has no such frames.
    Unlike,
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Nul => "nul",
            Self::Counted => "counted",
        })
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
    fn whole(self, file: &mut fs::File, len: u64, stop: &Stop) -> io::Result<Whole> {
        match self {
            Self::Lines => last_of(b'\n', file, len),
            Self::Nul => last_of(0, file, len),
            Self::Counted => {
                file.seek(SeekFrom::Start(0))?;
                let mut reader = BufReader::new(file);
                let mut end = 0;
                let mut head = [0; HEAD_BYTES];
                for frame in 1_usize.. {
                    if len - end < HEAD_BYTES as u64 {
                        break;
                    }
                    if frame.is_multiple_of(LOOK_FRAMES) && stop.is_over() {
                        return Err(io::Error::other("the time for reading it is over"));
                    }
                    reader.read_exact(&mut head)?;
                    let body = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
                    let next = end + HEAD_BYTES as u64 + u64::from(body);
                    if next > len {
                        let may_be = u64::from(body) <= MOST_TORN_BYTES;
                        return Ok(if may_be { Whole::To(end) } else { Whole::Unlike });
                    }
                    reader.seek_relative(i64::from(body))?;
                    end = next;
                }
                Ok(Whole::To(end))
            }
        }
    }
}

/// Returns where the last frame with this ending ends.
fn last_of(ending: u8, file: &mut fs::File, len: u64) -> io::Result<Whole> {
    const PIECE_BYTES: u64 = 64 << 10;
    let mut piece = Vec::new();
    let mut end = len;
    while end > 0 && len - end <= MOST_TORN_BYTES {
        let begin = end.saturating_sub(PIECE_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        piece.clear();
        Read::by_ref(file).take(end - begin).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|&byte| byte == ending) {
            return Ok(Whole::To(begin + at as u64 + 1));
        }
        end = begin;
    }
    // The rest is not looked at: it is too long for a frame.
    Ok(if end == 0 { Whole::To(0) } else { Whole::Unlike })
}

impl Sink for File {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        self.buffer.clear();
        self.begins.clear();
        for (at, record) in records.iter().enumerate() {
            let before = self.buffer.len();
            let appended = self.table.frames.append(&self.envelope, &record, &mut self.buffer);
            if let Err(reason) = appended {
                self.buffer.truncate(before);
                self.write(stop)?;
                return Err(Failure::poison(at, reason));
            }
            self.begins.push(before);
        }
        self.write(stop)?;
        Ok(Delivered::default())
    }

    fn probe(&mut self, _: &Stop) -> Result<(), Failure> {
        // What is in it is looked at when there is something to write.
        let (file, _) = self.open_as_it_is().map_err(|error| failure(&error))?;
        if let Some(open) = &mut self.open {
            open.is_doubted |= !open.is_of(&file);
        }
        Ok(())
    }
}

/// A full disk may get room again; a directory that is missing or forbidden is for a person, and so
/// is a file that may not grow.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Failure::stop(match getrlimit(Resource::Fsize).current {
            Some(limit) => {
                format!("{error}; the limit of file sizes (RLIMIT_FSIZE) is {limit} bytes")
            }
            None => error.to_string(),
        }),
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

    /// "one" and "two", whole.
    const WHOLE: [(Frames, &[u8]); 3] = [
        (Frames::Lines, b"one\ntwo\n"),
        (Frames::Nul, b"one\0two\0"),
        (Frames::Counted, b"\x03\0\0\0\x07\0one\x03\0\0\0\x07\0two"),
    ];

    #[test]
    fn a_torn_frame_is_cut_off_and_whole_ones_stay() {
        let stop = Stop::default();
        for (frames, first) in WHOLE {
            let path = scratch(&format!("torn-{frames}"));
            let beside = scratch(&format!("torn-{frames}.torn"));
            for file in [&path, &beside] {
                let _ = fs::remove_file(file);
            }
            let two = batch(&[b"one", b"two"]);
            sink(&path, frames).deliver(&two.records(), &stop).expect("delivered");
            assert_eq!(fs::read(&path).expect("it is there"), first, "{frames}");
            let three = &mut Vec::new();
            frames
                .append(&Envelope::default(), &batch(&[b"three"]).records().get(0), three)
                .expect("fits");
            // Nothing was before it, whole frames were, the record after the first of a batch.
            for (before, torn) in
                [(&b""[..], &three[..2]), (first, &three[..1]), (first, &three[..4])]
            {
                fs::write(&path, [before, torn].concat()).expect("written");
                let more = batch(&[b"again", b"three"]);
                sink(&path, frames).deliver(&more.records(), &stop).expect("delivered");
                let read = fs::read(&path).expect("it is there");
                let rest = read.strip_prefix(before).expect("whole frames stay");
                assert!(rest.ends_with(three) && rest.len() == 2 * three.len(), "{frames}");
                assert!(!beside.exists());
            }
            // Of a record that does not come again.
            fs::write(&path, [first, b"fou"].concat()).expect("written");
            let four = batch(&[b"three"]);
            sink(&path, frames).deliver(&four.records(), &stop).expect("delivered");
            assert_eq!(fs::read(&path).expect("it is there"), [first, three].concat());
            assert_eq!(fs::read(&beside).expect("it is there"), b"fou", "{frames}");
            for file in [&path, &beside] {
                fs::remove_file(file).expect("removed");
            }
        }
    }

    #[test]
    fn a_file_with_other_frames_keeps_every_byte() {
        let stop = Stop::default();
        let more = batch(&[b"three"]);
        for (written, content) in WHOLE {
            for (frames, _) in WHOLE.into_iter().filter(|(frames, _)| *frames != written) {
                let path = scratch(&format!("{written}-as-{frames}"));
                let beside = scratch(&format!("{written}-as-{frames}.torn"));
                let _ = fs::remove_file(&beside);
                fs::write(&path, content).expect("written");
                let done = sink(&path, frames).deliver(&more.records(), &stop);
                let read = fs::read(&path).expect("it is there");
                if (written, frames) == (Frames::Counted, Frames::Nul) {
                    // Lengths have bytes that are NUL: only the last record is unlike.
                    done.expect("delivered");
                    assert!(read.starts_with(content.strip_suffix(b"two").expect("the last")));
                    assert_eq!(fs::read(&beside).expect("it is there"), b"two");
                } else {
                    let failure = done.expect_err("other frames");
                    assert_eq!(failure.remedy, Remedy::Stop, "{written} as {frames}");
                    assert_eq!(read, content, "{written} as {frames}");
                    assert!(!beside.exists());
                }
                fs::remove_file(&path).expect("removed");
                let _ = fs::remove_file(&beside);
            }
        }
        // What is too long for a frame, though there is one before it.
        let path = scratch("long");
        let mut file = fs::File::create(&path).expect("made");
        file.write_all(b"one\n").expect("written");
        file.set_len(MOST_TORN_BYTES + 100).expect("made larger");
        let done = sink(&path, Frames::Lines).deliver(&more.records(), &stop);
        assert_eq!(done.expect_err("no lines").remedy, Remedy::Stop);
        assert_eq!(file.metadata().expect("it is there").len(), MOST_TORN_BYTES + 100);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_disk_that_was_full_is_gone_on_with_without_a_look_into_the_file() {
        let path = scratch("full");
        let _ = fs::remove_file(&path);
        let mut sink = sink(&path, Frames::Counted);
        let (one, two) = (batch(&[b"one"]), batch(&[b"two"]));
        sink.deliver(&one.records(), &Stop::default()).expect("delivered");
        let whole = fs::metadata(&path).expect("it is there").len();
        // As a write leaves it that failed in the middle.
        let open = sink.open.as_mut().expect("it is open");
        open.file.write_all(b"\x03\0\0\0\x07\0xx").expect("written");
        (open.end, open.is_torn, open.is_doubted) = (Some(whole), true, true);
        sink.deliver(&two.records(), &Stop::default()).expect("delivered");
        assert_eq!(fs::read(&path).expect("it is there"), WHOLE[2].1);
        // A look would have kept what is no part of this batch.
        assert!(!scratch("full.torn").exists());
        // Emptied meanwhile: there is nothing to be cut off.
        fs::write(&path, b"").expect("emptied");
        let open = sink.open.as_mut().expect("it is open");
        (open.is_torn, open.is_doubted) = (true, true);
        sink.deliver(&one.records(), &Stop::default()).expect("delivered");
        assert_eq!(fs::read(&path).expect("it is there"), &WHOLE[2].1[..9]);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn after_a_failure_or_a_probe_the_file_is_the_one_that_has_the_path() {
        let path = scratch("moved");
        let moved = scratch("moved-away");
        let _ = fs::remove_file(&path);
        let mut sink = sink(&path, Frames::Lines);
        let stop = Stop::default();
        let (one, two) = (batch(&[b"one"]), batch(&[b"two"]));
        for is_probed in [false, true] {
            sink.deliver(&one.records(), &stop).expect("delivered");
            fs::rename(&path, &moved).expect("renamed");
            if is_probed {
                sink.probe(&stop).expect("it can be made");
            } else {
                sink.open.as_mut().expect("it is open").is_doubted = true;
            }
            sink.deliver(&two.records(), &stop).expect("delivered");
            assert_eq!(fs::read(&path).expect("a new one"), b"two\n", "{is_probed}");
            assert!(fs::read(&moved).expect("it is there").ends_with(b"one\n"));
        }
        for file in [&path, &moved] {
            fs::remove_file(file).expect("removed");
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
        // Before it there is none, and what a crash left of the one after it stays for the next.
        fs::write(&path, b"thr").expect("written");
        let mut sink = self::sink(&path, Frames::Lines);
        let (first, next) = (self::batch(&[b"t\nwo", b"three"]), self::batch(&[b"three"]));
        let failure = sink.deliver(&first.records(), &Stop::default()).expect_err("a line break");
        assert_eq!((failure.done, failure.remedy), (0, Remedy::Poison));
        assert_eq!(fs::read(&path).expect("it is there"), b"thr");
        sink.deliver(&next.records(), &Stop::default()).expect("delivered");
        assert_eq!(fs::read(&path).expect("it is there"), b"three\n");
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
