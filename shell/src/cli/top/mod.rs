//! `aqueduct top`: what every ring, reader, address and forwarder does, now.

mod fit;
mod look;
mod view;

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use smol::future;
use smol::stream::StreamExt;

use self::look::{KINDS, Looker, Snapshot};
use self::view::{Next, View};
use super::listener::ListenerArgs;
use super::text::Format;
use super::{EXIT_USAGE, print};
use crate::config::Millis;
use crate::server::endings;

#[allow(clippy::disallowed_types, reason = "a flag of this process alone")]
type Flag = std::sync::atomic::AtomicBool;

/// Between the two looks of `--once`, which rates come from.
const ONCE: Duration = Duration::from_secs(1);
/// The longest sleep: so long after a signal, the terminal is as it was.
const SLICE: Duration = Duration::from_millis(250);

/// Flags of `aqueduct top`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct TopArgs {
    #[command(flatten)]
    listener: ListenerArgs,
    /// Where the listener serves its pages for operators [default: as in the settings]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Where a forwarder serves its metrics; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    forwarder: Vec<String>,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Millis,
    /// Looks twice within a second, prints what there is, and ends
    #[arg(long)]
    once: bool,
    /// Shape of what --once prints
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text", requires = "once")]
    format: Format,
}

/// Shows it until it is told to end.
pub(super) fn run(args: &TopArgs) -> ExitCode {
    if !args.once && !io::stdout().is_terminal() {
        say!("aqueduct: stdout is not a terminal; --once prints what there is");
        return ExitCode::from(EXIT_USAGE);
    }
    let host = match &args.admin {
        Some(host) => host.clone(),
        None => match args.listener.settings() {
            Ok(settings) => {
                let own = settings.admin.listen.or_else(|| settings.http.listen.socket_addr());
                own.map(|address| address.to_string()).unwrap_or_default()
            }
            Err(error) => {
                say!("aqueduct: {error}");
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let mut looker = Looker::new(&host, &args.forwarder);
    let first = match looker.look() {
        Ok(first) => first,
        Err(error) => {
            let is_there = error.kind() == io::ErrorKind::ResourceBusy;
            let hint = if is_there { "" } else { "; it must be the address in [admin] (--admin)" };
            say!("aqueduct: {host}: {error}{hint}");
            return ExitCode::FAILURE;
        }
    };
    if args.once {
        std::thread::sleep(ONCE);
        return match looker.look() {
            Ok(snapshot) => print(&match args.format {
                Format::Json => format!("{}\n", snapshot.json()),
                Format::Text => text(&snapshot),
            }),
            Err(error) => {
                say!("aqueduct: {host}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let Millis(interval) = args.interval;
    let interval = Duration::from_millis(interval.max(100));
    // The terminal is restored however this ends, also where setting it up fails halfway.
    let result = watched_signals().and_then(|is_over| {
        let shown = ratatui::try_init()
            .and_then(|mut terminal| show(&mut terminal, &mut looker, first, interval, &is_over));
        ratatui::restore();
        shown
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("aqueduct: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what becomes true when a signal says that it is over.
fn watched_signals() -> io::Result<Arc<Flag>> {
    let mut signals = endings()?;
    let is_over = Arc::new(Flag::new(false));
    let told = Arc::clone(&is_over);
    std::thread::Builder::new().spawn(move || {
        future::block_on(signals.next());
        // ORDER(none): nothing else is read because of it.
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(is_over)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    looker: &mut Looker,
    first: Snapshot,
    interval: Duration,
    is_over: &Flag,
) -> io::Result<()> {
    let mut view = View::new();
    view.snapshot = first;
    let mut due = Instant::now() + interval;
    terminal.draw(|frame| view.draw(frame))?;
    // ORDER(none): as in `watched_signals`.
    while !is_over.load(Ordering::Relaxed) {
        let wait = due.saturating_duration_since(Instant::now());
        if event::poll(wait.min(SLICE))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && view.key(key) == Next::Quit
            {
                return Ok(());
            }
            terminal.draw(|frame| view.draw(frame))?;
            continue;
        }
        if wait > SLICE {
            continue;
        }
        due = Instant::now() + interval;
        if view.is_paused {
            continue;
        }
        // One that is started again is there with the next look.
        match looker.look() {
            Ok(snapshot) => (view.snapshot, view.error) = (snapshot, None),
            Err(error) => view.error = Some(error.to_string()),
        }
        terminal.draw(|frame| view.draw(frame))?;
    }
    Ok(())
}

/// All tables, one after the other.
fn text(snapshot: &Snapshot) -> String {
    let mut lines = Vec::new();
    for (kind, rows) in KINDS.iter().zip(&snapshot.rows) {
        if rows.is_empty() {
            continue;
        }
        let heading = kind.columns.iter().map(|column| column.heading.to_owned()).collect();
        let mut table: Vec<Vec<String>> = vec![heading];
        for row in rows {
            let cells = kind.columns.iter().map(|column| view::shown(row.get(column.key)));
            table.push(cells.collect());
        }
        for row in &table {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = table.iter().map(|row| row[column].chars().count()).max();
                let width = width.unwrap_or(0);
                // Writing to a string cannot fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            lines.push(line.trim_end().to_owned());
        }
        lines.push(String::new());
    }
    lines.join("\n")
}
