//! `aqueduct inspect`: says what something is, whether it is damaged, which record, and where.
//!
//! It only reads, trusts nothing that it reads, and needs no process that is still alive.

mod cursor;
mod header;
mod image;
mod journal;
mod live;
mod memory;
mod records;
mod report;
mod ring;
mod why;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::image::Image;
use super::listener::ListenerArgs;
use super::text::Format;
use super::{EXIT_USAGE, print};

pub use self::image::Source;
pub use self::report::{Damage, Fact, Report};

/// Exit status if nothing of ours was found, or it cannot be read.
const EXIT_UNKNOWN: u8 = 3;

/// Flags of `aqueduct inspect`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// A control socket, a ring or cursor segment as /proc/PID/fd/N, a journal's directory or file,
    /// a core dump, or any file [default: the control socket, as `serve` finds it]
    path: Option<PathBuf>,
    #[command(flatten)]
    listener: ListenerArgs,
    /// Which ring of the listener [default: the only one]
    #[arg(long, value_name = "NAME")]
    ring: Option<String>,
    /// Looks at all rings and cursor segments that this process has open
    #[arg(long, value_name = "PID", conflicts_with_all = ["path", "socket", "config", "ring"])]
    pid: Option<u32>,
    /// Shape of the output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Looks, and says what was found.
pub(super) fn run(args: &InspectArgs) -> ExitCode {
    let looked = match (args.pid, &args.path) {
        (Some(pid), _) => process(pid),
        (None, Some(path)) => at(path, args.ring.as_deref()),
        (None, None) => match args.listener.socket() {
            Ok(socket) => at(&socket, args.ring.as_deref()),
            Err(error) => {
                say!("aqueduct: {error}");
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let report = match looked {
        Ok(report) => report,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_UNKNOWN);
        }
    };
    let text = match args.format {
        Format::Text => report.text(),
        Format::Json => report.json() + "\n",
    };
    let printed = print(&text);
    match (report.damages(), report.is_known()) {
        _ if printed != ExitCode::SUCCESS => printed,
        (1.., _) => ExitCode::FAILURE,
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(EXIT_UNKNOWN),
    }
}

/// Says what these bytes are, and what in them is damaged. Whatever they are, it ends and does not
/// panic.
#[must_use]
pub fn examine(source: &dyn Source, place: &str) -> Report {
    let image = match Image::whole(source) {
        Ok(image) => image,
        Err(error) => {
            let mut report = Report::new("unknown", place);
            report.damaged(Damage::new("unreadable", error.to_string()));
            return report;
        }
    };
    if let Some((report, _)) = ring::examine(&image, place, false) {
        return report;
    }
    if let Some((report, ..)) = cursor::examine(&image, place, false) {
        return report;
    }
    if let Some(report) = journal::file(&image, place) {
        return report;
    }
    if let Some(report) = memory::core_dump(source, &image, place) {
        return report;
    }
    memory::anything(source, &image, place)
}

/// Looks at whatever has this path.
fn at(path: &Path, ring: Option<&str>) -> io::Result<Report> {
    let place = path.display().to_string();
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{place}: {error}"));
    let metadata = path.metadata().map_err(failed)?;
    if metadata.file_type().is_socket() {
        let live = live::attach(path, ring.unwrap_or_default()).map_err(failed)?;
        return Ok(examine(&live.ring, &place));
    }
    if metadata.is_dir() {
        return journal::directory(path).map_err(|failure| io::Error::other(failure.to_string()));
    }
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        return Err(io::Error::other(format!("{place}: neither a file nor a socket")));
    }
    Ok(examine(&open(path).map_err(failed)?, &place))
}

fn open(path: &Path) -> io::Result<File> {
    // Something else may have taken the name meanwhile: never wait for it.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    File::options().read(true).custom_flags(flags).open(path)
}

/// Looks at everything of ours that a process has open or mapped.
fn process(pid: u32) -> io::Result<Report> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let place = directory.display().to_string();
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{place}: {error}"));
    let mut numbers: Vec<u32> = Vec::new();
    for entry in std::fs::read_dir(directory.join("fd")).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let mut found = Found { report: Report::new("process", place.clone()), ..Found::default() };
    for number in numbers {
        let path = directory.join("fd").join(number.to_string());
        let is_memory = std::fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"));
        // One that is closed meanwhile, or that this user may not open, is left out.
        let Ok(file) = (if is_memory { open(&path) } else { continue }) else { continue };
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata()?);
        if !found.inodes.contains(&inode) {
            found.inodes.push(inode);
            found.look(&Image::whole(&file)?, &path.display().to_string());
        }
    }
    // What is mapped needs no descriptor: a listener keeps none of cursor segments.
    let maps = std::fs::read_to_string(directory.join("maps")).map_err(failed)?;
    match open(&directory.join("mem")) {
        Ok(memory) => {
            for (from, to, inode) in maps.lines().filter_map(mapping) {
                if !found.inodes.contains(&inode) {
                    found.inodes.push(inode);
                    let image = Image::part(&memory, from, to - from);
                    found.look(&image, &format!("address {from:#x}"));
                }
            }
        }
        Err(error) => found.report.notes.push(format!("{place}/mem: {error}")),
    }
    Ok(found.report())
}

/// Address, end and inode of a mapping of a memfd from its beginning.
fn mapping(line: &str) -> Option<(u64, u64, u64)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = words.nth(1)?;
    let inode = words.nth(1)?.parse().ok()?;
    let is_memory = words.next()?.starts_with("/memfd:") && number(offset)? == 0;
    let (from, to) = (number(from)?, number(to)?);
    (is_memory && from < to).then_some((from, to, inode))
}

/// What a process has.
#[derive(Default)]
struct Found {
    report: Report,
    rings: Vec<ring::Words>,
    /// Place in the report, offset, epoch, cursor.
    cursors: Vec<(usize, u64, u64, u32)>,
    inodes: Vec<u64>,
}

impl Found {
    fn look(&mut self, image: &Image<'_>, place: &str) {
        if let Some((part, words)) = ring::examine(image, place, false) {
            self.report.parts.push(part);
            self.rings.extend(words);
        } else if let Some((part, epoch, cursor)) = cursor::examine(image, place, false) {
            self.cursors.push((self.report.parts.len(), image.offset(0), epoch, cursor));
            self.report.parts.push(part);
        }
    }

    /// Compares cursors with rings.
    fn report(mut self) -> Report {
        for (part, offset, epoch, cursor) in self.cursors {
            if let Some(part) = self.report.parts.get_mut(part) {
                cursor::compare(part, offset, epoch, cursor, &self.rings);
            }
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::mapping;

    #[test]
    fn mappings_of_memfds_are_told_apart() {
        let line =
            "7f00-8f00 rw-s 00000000 00:01 4711                       /memfd:cursor (deleted)";
        assert_eq!(mapping(line), Some((0x7f00, 0x8f00, 4711)));
        for line in [
            "7f00-8f00 rw-s 00001000 00:01 4711 /memfd:cursor (deleted)",
            "7f00-8f00 r--p 00000000 08:01 12 /usr/lib/libc.so",
            "7f00-8f00 rw-p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(mapping(line), None, "{line}");
        }
    }
}
