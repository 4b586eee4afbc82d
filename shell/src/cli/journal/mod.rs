//! `aqueduct journal`: looks at the records of a ring that are in files, records those of a ring
//! that has none, and plays them back.

#[cfg(feature = "look")]
mod record;
mod replay;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand};

#[cfg(feature = "look")]
use self::record::RecordArgs;
use self::replay::ReplayArgs;
use super::print;
use super::text::{time_of, written};
use crate::journal::Failure;
use crate::journal::history::{History, Piece};
use crate::journal::walk::Cut;

/// Flags of `aqueduct journal`.
#[derive(Clone, Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Print what is there: segments, places of subscriptions, damage
    Inspect {
        /// Directory of one ring's journal
        directory: PathBuf,
    },
    /// Check every record; ends with 1 if one is missing or damaged
    Verify {
        /// Directory of one ring's journal
        directory: PathBuf,
    },
    /// Write records to stdout, or send them to a ring
    Replay(ReplayArgs),
    /// Read a ring, with or without a journal of its own, and write its records to a directory
    #[cfg(feature = "look")]
    Record(Box<RecordArgs>),
    /// Remove the segments that every subscription has read
    Trim {
        /// Directory of one ring's journal, which no process uses
        directory: PathBuf,
        /// Only those that end before this record or time
        #[arg(long, value_name = "SEQ|TIME")]
        before: Option<Bound>,
    },
}

/// A record by its number or by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Seq(u64),
    /// Nanoseconds since the Unix epoch.
    Time(u64),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        time_of(text)
            .map(Self::Time)
            .ok_or_else(|| "a sequence number, or a time as 2026-11-29T10:00:00Z".to_owned())
    }
}

impl Bound {
    /// Whether a record with this number and time is at or past it.
    fn is_reached(self, seq: u64, timestamp_ns: u64) -> bool {
        match self {
            Self::Seq(bound) => seq >= bound,
            Self::Time(bound) => timestamp_ns >= bound,
        }
    }
}

/// Does it.
pub(super) fn run(args: &JournalArgs) -> ExitCode {
    let result = match &args.what {
        What::Inspect { directory } => History::open(directory).map(|history| inspect(&history)),
        What::Verify { directory } => History::open(directory).map(|history| verify(&history)),
        What::Replay(args) => History::open(&args.directory)
            .and_then(|history| replay::run(&history, args).map(|()| ExitCode::SUCCESS)),
        #[cfg(feature = "look")]
        What::Record(args) => return record::run(args),
        What::Trim { directory, before } => {
            History::open(directory).and_then(|history| trim(&history, *before))
        }
    };
    result.unwrap_or_else(|failure| {
        if failure.error.kind() == io::ErrorKind::BrokenPipe {
            return ExitCode::SUCCESS;
        }
        eprintln!("aqueduct: {failure}");
        ExitCode::FAILURE
    })
}

fn inspect(history: &History) -> ExitCode {
    let mut text = String::new();
    for piece in &history.pieces {
        // Writing to a string cannot fail.
        let _ = describe(&mut text, history, piece);
    }
    if history.pieces.is_empty() {
        text.push_str("no segments\n");
    }
    for (place, copy) in history.cursors.iter().flatten().enumerate() {
        let _ = match copy {
            Ok((cursors, counter)) => {
                let _ = writeln!(
                    text,
                    "cursors {place}: number {counter}, epoch {:016x}, published to {} (record {}){}",
                    cursors.epoch,
                    cursors.published,
                    cursors.next_seq,
                    if cursors.is_end { ", ended in order" } else { "" }
                );
                cursors
                    .positions
                    .iter()
                    .try_for_each(|(name, at)| writeln!(text, "  {name}: position {at}"))
            }
            Err(why) => writeln!(text, "cursors {place}: {why}"),
        };
    }
    for name in &history.foreign {
        let _ = writeln!(text, "{name}: not a file of a journal");
    }
    print(&text)
}

fn describe(text: &mut String, history: &History, piece: &Piece) -> std::fmt::Result {
    let name = &piece.name;
    let header = match &piece.header {
        Ok(header) => header,
        Err(why) => return writeln!(text, "{name}: {why}"),
    };
    writeln!(
        text,
        "{name}: ring {}, {}, epoch {:016x}, from position {} (record {}), begun {}",
        header.ring,
        header.durability.as_str(),
        header.epoch,
        header.first_position,
        header.first_seq,
        written(header.created_ns)
    )?;
    let (mut records, mut bytes) = (0_u64, 0_u64);
    let walked = history.walk(piece, |_, found| {
        records += u64::from(found.header.is_data());
        bytes += found.bytes.len() as u64;
        Ok(true)
    });
    writeln!(text, "  {records} records, {bytes} bytes with their headers")?;
    match walked {
        Err(failure) => writeln!(text, "  {failure}"),
        Ok(ends) => ends.iter().try_for_each(|end| {
            let what = if end.is_damage(piece) {
                "damage"
            } else if matches!(end.cut, Cut::None | Cut::Blank) {
                "end"
            } else {
                "torn end, never answered"
            };
            let next = end.next_seq.map_or("?".to_owned(), |seq| seq.to_string());
            writeln!(text, "  {what} at position {} (record {next}): {}", end.position, end.cut)
        }),
    }
}

fn verify(history: &History) -> ExitCode {
    let (mut records, mut damages) = (0_u64, 0_u64);
    for piece in &history.pieces {
        if let Err(why) = &piece.header {
            eprintln!("{}: {why}", piece.name);
            damages += 1;
        }
        let walked = history.walk(piece, |_, found| {
            records += u64::from(found.header.is_data());
            Ok(true)
        });
        match walked {
            Ok(ends) => {
                for end in ends.iter().filter(|end| end.is_damage(piece)) {
                    let Piece { name, .. } = piece;
                    eprintln!("{name}: at position {}: {}", end.position, end.cut);
                    damages += 1;
                }
            }
            Err(failure) => {
                eprintln!("{failure}");
                damages += 1;
            }
        }
    }
    let bad_copies = history.cursors.iter().flatten().filter(|copy| copy.is_err()).count();
    if !history.pieces.is_empty() && history.cursors.as_ref().is_none_or(|_| bad_copies == 2) {
        eprintln!("no copy of the cursors is intact");
        damages += 1;
    }
    let segments = history.pieces.len();
    let printed =
        print(&format!("{segments} segments, {records} records, {damages} damaged places\n"));
    if damages > 0 { ExitCode::FAILURE } else { printed }
}

fn trim(history: &History, before: Option<Bound>) -> Result<ExitCode, Failure> {
    let Some(_lock) = history.lock()? else {
        eprintln!("aqueduct: another process uses this journal");
        return Ok(ExitCode::FAILURE);
    };
    let newest = history.pieces.iter().rev().find_map(|piece| piece.header.as_ref().ok());
    let epoch = newest.map_or(0, |header| header.epoch);
    let saved = history.cursors.iter().flatten().flatten();
    let saved = saved.filter(|(cursors, _)| cursors.epoch == epoch);
    let saved = saved.max_by_key(|(_, counter)| *counter).map(|(cursors, _)| cursors);
    let needed = saved.and_then(|saved| saved.positions.iter().map(|(_, at)| *at).min());
    let (mut removed, mut kept) = (0, 0);
    for (index, piece) in history.pieces.iter().enumerate() {
        let next = history.pieces.get(index + 1).and_then(|next| next.header.as_ref().ok());
        let is_read = match (&piece.header, piece.limit) {
            (Ok(header), _) if header.epoch != epoch => true,
            (Ok(_), Some(limit)) => needed.is_some_and(|needed| limit <= needed),
            _ => false,
        };
        let is_old = before.is_none_or(|before| {
            next.is_some_and(|next| match before {
                Bound::Seq(seq) => next.epoch == epoch && next.first_seq <= seq,
                Bound::Time(time) => next.created_ns <= time,
            })
        });
        // Only from the front, so that there is never a hole.
        if kept > 0 || !is_read || !is_old {
            kept += 1;
            continue;
        }
        history.remove(piece)?;
        removed += 1;
    }
    Ok(print(&format!("{removed} segments removed, {kept} kept\n")))
}
