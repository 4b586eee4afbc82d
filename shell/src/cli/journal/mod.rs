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
use serde_json::{Value, json};

#[cfg(feature = "look")]
use self::record::RecordArgs;
use self::replay::ReplayArgs;
use super::print;
use super::text::{DAMAGE_MAX, FormatArgs, time_of, written};
use crate::journal::Failure;
use crate::journal::history::{Ended, History, Piece};
use crate::journal::walk::Cut;
use crate::log;

/// Flags of `aqueduct journal`.
#[derive(Clone, Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Print what is there: segments, places of subscriptions, damage; ends with 1 if there is any
    Inspect {
        /// Directory of one ring's journal
        directory: PathBuf,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Check every record; ends with 1 if one is missing or damaged
    Verify {
        /// Directory of one ring's journal
        directory: PathBuf,
        #[command(flatten)]
        format: FormatArgs,
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
        #[command(flatten)]
        format: FormatArgs,
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
        What::Inspect { directory, format } => {
            History::open(directory).map(|history| inspect(&history, *format))
        }
        What::Verify { directory, format } => {
            History::open(directory).map(|history| verify(&history, *format))
        }
        What::Replay(args) => {
            History::open(&args.directory).and_then(|history| replay::run(&history, args))
        }
        #[cfg(feature = "look")]
        What::Record(args) => return record::run(args),
        What::Trim { directory, before, format } => {
            History::open(directory).and_then(|history| trim(&history, *before, *format))
        }
    };
    result.unwrap_or_else(|failure| {
        if failure.error.kind() == io::ErrorKind::BrokenPipe {
            return ExitCode::SUCCESS;
        }
        say!("aqueduct: {failure}");
        ExitCode::FAILURE
    })
}

/// What is in one segment.
struct Looked<'h> {
    piece: &'h Piece,
    records: u64,
    bytes: u64,
    /// Where the walk was interrupted; why it could not be done.
    ends: Result<Vec<Ended>, Failure>,
}

impl<'h> Looked<'h> {
    fn at(history: &History, piece: &'h Piece) -> Self {
        let (mut records, mut bytes) = (0, 0);
        let ends = history.walk(piece, |_, found| {
            records += u64::from(found.header.is_data());
            bytes += found.bytes.len() as u64;
            Ok(true)
        });
        Self { piece, records, bytes, ends }
    }
}

/// A damaged place: file, position, what.
type Place<'h> = (Option<&'h str>, Option<u64>, String);

/// Lists what is damaged or missing.
fn damages<'h>(history: &'h History, looked: &[Looked<'h>]) -> Vec<Place<'h>> {
    let mut found: Vec<Place<'_>> = Vec::new();
    for Looked { piece, ends, .. } in looked {
        let name = Some(piece.name.as_str());
        if let Err(why) = &piece.header {
            found.push((name, None, why.to_string()));
        }
        match ends {
            Ok(ends) => found.extend(
                ends.iter()
                    .filter(|end| end.is_damage(piece))
                    .map(|end| (name, Some(end.position), end.text(piece))),
            ),
            Err(failure) => found.push((None, None, failure.to_string())),
        }
    }
    found.extend(history.gone().map(|gone| (None, None, gone.to_string())));
    let bad_copies = history.cursors.iter().flatten().filter(|copy| copy.is_err()).count();
    if !history.pieces.is_empty() && history.cursors.as_ref().is_none_or(|_| bad_copies == 2) {
        found.push((None, None, "no copy of the cursors is intact".to_owned()));
    }
    found
}

fn inspect(history: &History, format: FormatArgs) -> ExitCode {
    let looked: Vec<_> = history.pieces.iter().map(|piece| Looked::at(history, piece)).collect();
    let damages = damages(history, &looked);
    let printed = if format.is_json() {
        print(&format!("{}\n", object(history, &looked, damages.len())))
    } else {
        print(&lines(history, &looked, &damages))
    };
    if damages.is_empty() { printed } else { ExitCode::FAILURE }
}

/// What `inspect` says, as lines.
fn lines(history: &History, looked: &[Looked<'_>], damages: &[Place<'_>]) -> String {
    let mut text = String::new();
    for each in looked {
        // Writing to a string cannot fail.
        let _ = describe(&mut text, each);
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
                cursors.all().try_for_each(|(name, at)| writeln!(text, "  {name}: position {at}"))
            }
            Err(why) => writeln!(text, "cursors {place}: {why}"),
        };
    }
    for (_, _, what) in damages.iter().filter(|(file, ..)| file.is_none()) {
        let _ = writeln!(text, "damage: {what}");
    }
    for name in &history.foreign {
        let _ = writeln!(text, "{name}: not a file of a journal");
    }
    text
}

fn describe(text: &mut String, looked: &Looked<'_>) -> std::fmt::Result {
    let Looked { piece, records, bytes, ends } = looked;
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
    writeln!(text, "  {records} records, {bytes} bytes with their headers")?;
    match ends {
        Err(_) => Ok(()),
        Ok(ends) => ends.iter().try_for_each(|end| {
            let what = match kind(end, piece) {
                "torn" => "torn end, never answered",
                other => other,
            };
            let next = end.next_seq.map_or("?".to_owned(), |seq| seq.to_string());
            let why = end.text(piece);
            writeln!(text, "  {what} at position {} (record {next}): {why}", end.position)
        }),
    }
}

/// Says what an end of the records is: `end`, `torn` (never answered), `damage`.
fn kind(end: &Ended, piece: &Piece) -> &'static str {
    if end.is_damage(piece) {
        "damage"
    } else if matches!(end.cut, Cut::None | Cut::Blank) {
        "end"
    } else {
        "torn"
    }
}

/// What `inspect` says, as an object.
fn object(history: &History, looked: &[Looked<'_>], damaged: usize) -> Value {
    let segments: Vec<Value> = looked.iter().map(segment).collect();
    let cursors = history.cursors.iter().flatten().map(|copy| match copy {
        Err(why) => json!({ "error": why.to_string() }),
        Ok((cursors, counter)) => {
            let position = |(name, at): &(String, u64)| json!({ "name": name, "position": at });
            let subscriptions: Vec<Value> = cursors.all().map(position).collect();
            json!({
                "number": counter,
                "epoch": format!("{:016x}", cursors.epoch),
                "published": cursors.published,
                "next_seq": cursors.next_seq,
                "is_end": cursors.is_end,
                "subscriptions": subscriptions,
                "error": null,
            })
        }
    });
    let cursors: Vec<Value> = cursors.collect();
    let foreign = &history.foreign;
    json!({ "segments": segments, "cursors": cursors, "damaged": damaged, "foreign": foreign })
}

fn segment(looked: &Looked<'_>) -> Value {
    let Looked { piece, records, bytes, ends } = looked;
    let header = match &piece.header {
        Ok(header) => header,
        Err(why) => return json!({ "file": piece.name, "error": why.to_string() }),
    };
    let error = ends.as_ref().err().map(ToString::to_string);
    let end = |end: &Ended| {
        json!({
            "kind": kind(end, piece),
            "position": end.position,
            "next_seq": end.next_seq,
            "why": end.text(piece),
        })
    };
    json!({
        "file": piece.name,
        "ring": header.ring,
        "durability": header.durability.as_str(),
        "epoch": format!("{:016x}", header.epoch),
        "first_position": header.first_position,
        "first_seq": header.first_seq,
        "created": written(header.created_ns),
        "records": records,
        "bytes": bytes,
        "ends": ends.iter().flatten().map(end).collect::<Vec<_>>(),
        "error": error,
    })
}

fn verify(history: &History, format: FormatArgs) -> ExitCode {
    let looked: Vec<_> = history.pieces.iter().map(|piece| Looked::at(history, piece)).collect();
    let records: u64 = looked.iter().map(|each| each.records).sum();
    let found = damages(history, &looked);
    let lines = found.iter().map(|(file, position, what)| match (file, position) {
        (Some(file), Some(position)) => format!("{file}: at position {position}: {what}\n"),
        (Some(file), None) => format!("{file}: {what}\n"),
        (None, _) => format!("{what}\n"),
    });
    // What was asked for, however much it is. The exit status says it to who takes no lines.
    let _ = log::write_stderr(&lines.collect::<String>());
    let (places, damages) = (found.len(), found.iter().take(DAMAGE_MAX));
    let damages: Vec<Value> = damages
        .map(|(file, at, what)| json!({ "file": file, "position": at, "what": what }))
        .collect();
    let segments = history.pieces.len();
    let printed = print(&format.choose(
        || format!("{segments} segments, {records} records, {places} damaged places\n"),
        &json!({
            "segments": segments,
            "records": records,
            "damaged": places,
            "damages": damages,
        }),
    ));
    if places > 0 { ExitCode::FAILURE } else { printed }
}

fn trim(history: &History, before: Option<Bound>, format: FormatArgs) -> Result<ExitCode, Failure> {
    let Some(_lock) = history.lock()? else {
        say!("aqueduct: another process uses this journal");
        return Ok(ExitCode::FAILURE);
    };
    let newest = history.pieces.iter().rev().find_map(|piece| piece.header.as_ref().ok());
    let epoch = newest.map_or(0, |header| header.epoch);
    let needed = history.saved().and_then(|saved| saved.all().map(|(_, at)| *at).min());
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
    Ok(print(&format.choose(
        || format!("{removed} segments removed, {kept} kept\n"),
        &json!({ "removed": removed, "kept": kept }),
    )))
}
