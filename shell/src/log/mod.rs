//! The log: what is written, in which shape, and that writing it never holds anything up.
//!
//! Threads that work only queue their lines. One thread writes them to stderr; while nobody takes
//! them, or after the other end is gone, lines are lost and counted, and nothing else changes.

mod limiter;
mod queue;

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::Resource;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Change, Given, Section, quoted};

pub use limiter::ACCESS;
use limiter::{Limited, Limiter};
use queue::Queue;

/// How long the end of the process waits for a reader of the log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// A peer misbehaved, or something was lost.
    Warn,
    /// Life of the process and of its readers.
    Info,
    /// Each connection.
    Debug,
    /// Everything.
    Trace,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTable {
    /// Least severe level that is logged.
    pub level: Option<Given<LogLevel>>,
    /// Shape of the log.
    pub format: Option<Given<LogFormat>>,
}

/// The log, checked.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Least severe level that is logged.
    pub level: LogLevel,
    /// Shape of the log.
    pub format: LogFormat,
}

impl LogSettings {
    /// Fills in what the table leaves out.
    pub fn check(table: &LogTable) -> Self {
        Self {
            level: table.level.as_ref().map_or(LogLevel::Info, |given| given.value),
            format: table.format.as_ref().map_or(LogFormat::Text, |given| given.value),
        }
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &LogTable) -> Section {
        let mut section = Section::new("[log]");
        let level = match self.level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        };
        section.put("level", quoted(level), table.level.as_ref(), Change::Live);
        let format = match self.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let once = Change::Fixed("whoever reads the log expects one shape");
        section.put("format", quoted(format), table.format.as_ref(), once);
        section
    }
}

/// The log of this process.
struct Log {
    queue: Arc<Queue>,
    limiter: Arc<Limiter>,
    /// Whether there is a thread that writes.
    has_writer: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();
/// The filter by levels, for changing it.
static LEVELS: OnceLock<Box<dyn Fn(Targets) + Send + Sync>> = OnceLock::new();

/// The log, and the thread that writes it, from the first line on.
fn log() -> &'static Log {
    LOG.get_or_init(|| {
        let queue = Queue::new();
        let limiter = Arc::new(Limiter::new(Arc::clone(&queue)));
        let (lines, summaries) = (Arc::clone(&queue), Arc::clone(&limiter));
        let writer = move || lines.write(Descriptor(io::stderr()), || summaries.summarize());
        // Without a thread, lines are dropped once the queue is full: nobody is held up.
        let thread = std::thread::Builder::new().name("aqueduct-log".to_owned()).spawn(writer);
        Log { queue, limiter, has_writer: thread.is_ok() }
    })
}

/// Takes every line that the log has, too.
pub type Further = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the log of this process, on stderr. A panic is logged, too.
pub fn start(settings: LogSettings) {
    start_with(settings, None);
}

/// Starts the log of this process, on stderr and wherever else its lines go.
pub fn start_with(settings: LogSettings, further: Option<Further>) {
    let lines =
        tracing_subscriber::fmt::layer::<Registry>().with_writer(Lines).log_internal_errors(false);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // One filter for both: what is counted as not written is sent nowhere.
    let lines: Further = match further {
        Some(further) => lines.and_then(further).boxed(),
        None => lines,
    };
    let limited = lines.with_filter(Limited(Arc::clone(&log().limiter)));
    let (levels, handle) = reload::Layer::new(targets(settings.level));
    // Fails only where there is no log any more.
    let change = move |levels| drop(handle.reload(levels));
    // A process has one log.
    let _ = LEVELS.set(Box::new(change));
    tracing_subscriber::registry().with(limited).with(levels).init();
    on_panic(|place, message| tracing::error!(place, "panic: {message}"));
    tell_file_size_limit();
}

/// Has panics told in this way, from their place and their message.
fn on_panic(tell: impl Fn(&str, &str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
        tell(&place, message.unwrap_or("without a message"));
    }));
}

/// Does the work of a program of this name, and waits for the last of what it said, as far as
/// somebody takes it. A panic, as where the system refuses the runtime a thread or a descriptor, is
/// a line like others, and a failure.
pub fn guarded(name: &'static str, work: impl FnOnce() -> ExitCode) -> ExitCode {
    on_panic(move |place, message| say(format_args!("{name}: panic: {message} ({place})")));
    // What the work had is gone with it.
    let ended = catch_unwind(AssertUnwindSafe(work));
    flush();
    ended.unwrap_or(ExitCode::FAILURE)
}

/// Which lines a level is for.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What the HTTP/2 layer says of each frame is of the level `trace` here.
    let frames = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    Targets::new().with_default(level).with_target("h2", frames)
}

/// Logs from this level on.
pub fn set_level(level: LogLevel) {
    if let Some(change) = LEVELS.get() {
        change(targets(level));
    }
}

/// Says how far the log can grow, if it is a file and there is a limit.
fn tell_file_size_limit() {
    let is_file = rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if let Some(limit_bytes) = rustix::process::getrlimit(Resource::Fsize).current
        && is_file
    {
        tracing::warn!(
            limit_bytes,
            "the log is a file, and the limit of file sizes (RLIMIT_FSIZE) ends it; lines beyond are lost and counted"
        );
    }
}

/// Writes a last line without decoration, and everything before it, as far as somebody takes it.
pub fn last_words(line: &str) {
    say(format_args!("{line}"));
    flush();
}

/// Says a line on stderr, without decoration, as soon as somebody takes it. Never waits and never
/// fails: while nobody takes them, or after the other end is gone, lines are lost.
pub fn say(line: fmt::Arguments<'_>) {
    log().queue.push(format!("{line}\n").into_bytes());
}

/// Draws a part of a line on stderr, in the manner of [`say`].
pub fn draw(part: String) {
    log().queue.push(part.into_bytes());
}

/// Writes to stderr what a command was asked for, after what was said; waits as for stdout.
///
/// # Errors
/// Nobody takes it any more, or there is no room.
pub fn write_stderr(text: &str) -> io::Result<()> {
    flush();
    Descriptor(io::stderr()).write_all(text.as_bytes())
}

/// Waits for the lines that are on their way, as far as somebody takes them.
pub fn flush() {
    // Without one, nothing was said yet.
    let Some(log) = LOG.get() else { return };
    if log.has_writer {
        log.queue.flush(LAST_LINES);
    } else {
        // The system refused the thread; this one says why nothing goes on.
        log.queue.write_what_is_there(Impatient(io::stderr()));
    }
}

/// Returns how many lines were lost, because nobody took them or the other end was gone.
pub fn dropped_lines() -> u64 {
    log().queue.dropped()
}

/// Returns how many lines were not written, because there were too many of their kind.
pub fn suppressed_lines() -> u64 {
    log().limiter.suppressed()
}

/// Writes a line to stdout, if somebody takes it, without waiting for that. `failed` is called if
/// nobody ever will.
pub fn tell_stdout(
    line: String,
    failed: impl FnOnce(io::Error) + Send + 'static,
) -> io::Result<()> {
    let write = move || {
        if let Err(error) = Descriptor(io::stdout()).write_all(line.as_bytes()) {
            failed(error);
        }
    };
    std::thread::Builder::new().name("aqueduct-stdout".to_owned()).spawn(write).map(|_| ())
}

/// Makes one line of each event.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// A line that is queued when it is complete.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            log().queue.push(std::mem::take(&mut self.0));
        }
    }
}

/// A descriptor that is written to only while somebody takes it soon.
struct Impatient<T>(T);

/// A pipe that is writable takes as much at once (`PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

impl<T: AsFd> Write for Impatient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut writable = [PollFd::new(&self.0, PollFlags::OUT)];
        let timeout =
            rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(LAST_LINES.subsec_nanos()) };
        if rustix::event::poll(&mut writable, Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(rustix::io::write(&self.0, &bytes[..bytes.len().min(PIECE_BYTES)])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor that is written to as long as it takes, without a buffer or a lock; also one that
/// somebody else made non-blocking.
struct Descriptor<T>(T);

impl<T: AsFd> Write for Descriptor<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Ok(written) => return Ok(written),
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&self.0, PollFlags::OUT)];
                    let _ = rustix::event::poll(&mut writable, None);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_left_out_is_info_and_text_and_what_is_given_is_in_effect() {
        let describe = |table: &LogTable| {
            let settings = LogSettings::check(table);
            let entries = settings.describe(table).entries;
            let changes = entries.iter().map(|entry| entry.change == Change::Live);
            assert_eq!(changes.collect::<Vec<_>>(), [true, false]);
            entries.iter().map(|entry| entry.value.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(describe(&LogTable::default()), "\"info\" \"text\"");
        for (level, name) in [
            (LogLevel::Error, "error"),
            (LogLevel::Warn, "warn"),
            (LogLevel::Info, "info"),
            (LogLevel::Debug, "debug"),
            (LogLevel::Trace, "trace"),
        ] {
            let (level, format) = (Given::by_default(level), Given::by_default(LogFormat::Json));
            let table = LogTable { level: Some(level), format: Some(format) };
            assert_eq!(describe(&table), format!("\"{name}\" \"json\""));
        }
    }

    #[test]
    fn http2_frames_are_logged_only_at_trace() {
        for (level, is_debug, is_frame) in [
            (LogLevel::Error, false, false),
            (LogLevel::Info, false, false),
            (LogLevel::Debug, true, false),
            (LogLevel::Trace, true, true),
        ] {
            let targets = targets(level);
            assert_eq!(targets.would_enable("aqueduct", &tracing::Level::DEBUG), is_debug);
            assert_eq!(targets.would_enable("h2::frame", &tracing::Level::DEBUG), is_frame);
            let is_warned = level != LogLevel::Error;
            assert_eq!(targets.would_enable("h2", &tracing::Level::WARN), is_warned);
        }
    }

    #[test]
    fn a_descriptor_that_takes_nothing_for_now_is_waited_for_and_in_the_end_given_up() {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        writer.set_nonblocking(true).expect("non-blocking");
        let mut filled = 0;
        while let Ok(bytes) = rustix::io::write(&writer, &[b'x'; 4096]) {
            filled += bytes;
        }
        // Who is impatient gives up after its time, and writes no more than fits at once.
        let begun = std::time::Instant::now();
        let error = Impatient(&writer).write(b"late").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= LAST_LINES / 2, "{:?}", begun.elapsed());
        let read = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            let mut all = 0;
            let mut part = vec![0; 65_536];
            while all < filled + 5000 {
                all += rustix::io::read(&reader, &mut part[..]).expect("the rest");
            }
            drop(reader);
        });
        Descriptor(&writer).write_all(&[b'y'; 5000]).expect("it is waited for");
        read.join().expect("all of it came");
        assert!(Descriptor(&writer).write_all(b"z").is_err(), "nobody is there any more");
    }

    #[test]
    fn who_is_impatient_writes_in_pieces_that_a_pipe_takes() {
        let (_reader, writer) = UnixStream::pair().expect("a pair");
        assert_eq!(Impatient(&writer).write(&[0; 5000]).expect("room"), PIECE_BYTES);
        assert_eq!(Impatient(&writer).write(&[0; 10]).expect("room"), 10);
    }
}
