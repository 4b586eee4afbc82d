//! Reading the configuration again while the process runs: what can change does, all at once, or
//! nothing does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ingest::{self, SetLimits};
use super::{Config, Loaded};
use crate::config::{Change, ConfigError, Entry, Origin, Section};
use crate::control::Control;
use crate::ingress::event_loop::{Loops, Shared};
use crate::ingress::http::Http;
use crate::log;
use crate::sync::{Condvar, Mutex, PoisonError, lock};
use crate::tls::TlsSettings;

/// Reads flags, environment and file as at the start.
pub type Load = Arc<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>;

/// What a reload changes.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) loops: Arc<Loops>,
    pub(super) control: Arc<Control>,
    /// Who serves HTTP connections beyond the limit, and the pages of operators.
    pub(super) overflow: Arc<Http>,
    pub(super) pages: Option<Arc<Http>>,
    pub(super) set_http2_limits: SetLimits,
}

/// How long one who asks for a reload waits for another one to end.
const TURN_WAIT: Duration = Duration::from_secs(2);

/// The configuration in effect, and how it is replaced.
///
/// Reading files and resolving names may take for ever (a pipe, a file server that is gone), so
/// whoever looks after signals does neither, and waits for nothing that is held meanwhile.
pub(super) struct Reloader {
    load: Load,
    parts: Parts,
    /// INVARIANT: locked for a moment, never while anything is read.
    current: Mutex<Arc<Loaded>>,
    turns: Mutex<Turns>,
    /// Notified when a reload has ended.
    ended: Condvar,
}

/// Who reloads.
#[derive(Default)]
struct Turns {
    /// Since when one is under way.
    busy_since: Option<Instant>,
    /// A thread waits to make another one, for a signal that came meanwhile.
    again: bool,
}

/// The right to reload; dropping it lets the next one.
struct Turn<'a>(&'a Reloader);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.turns).busy_since = None;
        self.0.ended.notify_all();
    }
}

impl Reloader {
    pub(super) fn new(load: Load, current: Arc<Loaded>, parts: Parts) -> Self {
        for outcome in ["applied", "refused"] {
            parts.shared.metrics.reloads.with_label_values(&[outcome]);
        }
        let (turns, ended) = (Mutex::default(), Condvar::new());
        Self { load, parts, current: Mutex::new(current), turns, ended }
    }

    /// How long a shutdown may wait for requests and readers. Does not wait for a reload.
    pub(super) fn drain_timeout(&self) -> Duration {
        lock(&self.current).config.drain_timeout
    }

    /// Reloads in a thread of its own, whose outcome is logged, and returns at once. Signals that
    /// come during a reload cause one more after it.
    pub(super) fn reload_apart(self: &Arc<Self>) {
        {
            let mut turns = lock(&self.turns);
            if turns.again {
                return;
            }
            turns.again = true;
        }
        let reloader = Arc::clone(self);
        let thread = std::thread::Builder::new().name("aqueduct-reload".to_owned());
        let started = thread.spawn(move || {
            let turn = reloader.turn(None);
            // From here on a signal asks for what this one may not see.
            lock(&reloader.turns).again = false;
            let _ = reloader.reload_in(turn);
        });
        if let Err(error) = started {
            lock(&self.turns).again = false;
            let _ = self.reload_in(Err(format!("starting a thread: {error}")));
        }
    }

    /// Reads the configuration again, and puts it into effect if everything in it can be. Returns
    /// what has changed, or why nothing has. May take as long as reading files does.
    pub(super) fn reload(&self) -> Result<String, String> {
        self.reload_in(self.turn(Some(TURN_WAIT)))
    }

    /// Waits until no reload is under way, at most for so long.
    fn turn(&self, most: Option<Duration>) -> Result<Turn<'_>, String> {
        let is_busy = |turns: &mut Turns| turns.busy_since.is_some();
        let turns = lock(&self.turns);
        let mut turns = match most {
            None => self.ended.wait_while(turns, is_busy).unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                let waited = self.ended.wait_timeout_while(turns, most, is_busy);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if let Some(since) = turns.busy_since {
            let seconds = since.elapsed().as_secs();
            return Err(format!("another reload has been reading its files for {seconds} s"));
        }
        turns.busy_since = Some(Instant::now());
        Ok(Turn(self))
    }

    fn reload_in(&self, turn: Result<Turn<'_>, String>) -> Result<String, String> {
        let outcome = match &turn {
            Ok(_) => self.try_reload(),
            Err(reason) => Err(reason.clone()),
        };
        drop(turn);
        let label = match &outcome {
            Ok(changes) => {
                tracing::info!(changes, "configuration reloaded");
                "applied"
            }
            Err(reason) => {
                tracing::error!(reason, "reload refused: nothing has changed");
                "refused"
            }
        };
        self.parts.shared.metrics.reloads.with_label_values(&[label]).inc();
        outcome
    }

    fn try_reload(&self) -> Result<String, String> {
        let mut loaded = (self.load)().map_err(|error| error.to_string())?;
        // Nobody else replaces it: this is the only reload.
        let current = Arc::clone(&lock(&self.current));
        let changes = compare(&current, &loaded)?;
        // What a ring's readers were told stays true when no route brings attributes any more.
        for (ring, old) in loaded.config.rings.iter_mut().zip(&current.config.rings) {
            ring.has_attributes |= old.has_attributes;
        }
        loaded.config.routes.keep_counts(&current.config.routes);
        if self.parts.shared.shutdown.has_begun() {
            return Err("shutting down".to_owned());
        }
        self.apply(&loaded.config)?;
        let mut said = changes;
        if said.is_empty() {
            said.push("no setting has changed".to_owned());
        }
        // What is in them may have changed all the same.
        if loaded.config.credentials.is_some() {
            said.push("the file of credentials was read again".to_owned());
        }
        if matches!(loaded.config.tls, Some(TlsSettings::Files(_))) {
            said.push("the files of TLS were read again".to_owned());
        }
        *lock(&self.current) = Arc::new(loaded);
        Ok(said.join("; "))
    }

    /// Puts a configuration into effect. What may fail comes first.
    fn apply(&self, config: &Config) -> Result<(), String> {
        let Parts { shared, loops, control, overflow, pages, set_http2_limits } = &self.parts;
        let addresses =
            ingest::addresses(config, &shared.rings).map_err(|error| error.to_string())?;
        let of_pages = ingest::of_pages(config).map_err(|error| error.to_string())?;
        log::set_level(config.log.level);
        for (ring, settings) in shared.rings.iter().zip(&config.rings) {
            ring.set_full_wait(settings.full_wait);
        }
        control.set_rules(&config.control);
        overflow.set_rules(config.http.limits.clone(), config.http.origins.clone());
        if let Some(pages) = pages {
            pages.set_rules(config.http.limits.clone(), Vec::new());
            pages.set_tls(of_pages);
        }
        set_http2_limits(&config.http.limits);
        ingest::tell_expiry(config, &addresses, &shared.metrics);
        shared.addresses.replace(addresses);
        loops.wake();
        Ok(())
    }
}

/// Says what differs, if all of it can change while the process runs; else why not.
fn compare(old: &Loaded, new: &Loaded) -> Result<Vec<String>, String> {
    let is_route = |section: &Section| section.header == "[[route]]";
    let (routes_before, before): (Vec<_>, Vec<_>) =
        old.config.describe(&old.tables).into_iter().partition(is_route);
    let (routes_after, after): (Vec<_>, Vec<_>) =
        new.config.describe(&new.tables).into_iter().partition(is_route);
    let names = |sections: &[Section]| sections.iter().map(Section::name).collect::<Vec<_>>();
    let (names_before, names_after) = (names(&before), names(&after));
    if names_before != names_after {
        return Err(refused_sections(new, &names_before, &after));
    }
    let mut changes = Vec::new();
    for (before, after) in before.iter().zip(&after) {
        if let Some(entry) = compare_entries(new, before, after, &mut changes)? {
            let place = place(new, Origin::Default, after);
            let key = format!("{}: {}", after.name(), entry.key);
            return Err(format!("{place}: {key} cannot be removed while the process runs"));
        }
    }
    compare_routes(new, &routes_before, &routes_after, &mut changes)?;
    // All else that brings attributes to a ring was compared above.
    let told = old.config.rings.iter().zip(&new.config.rings);
    for (index, (before, after)) in told.enumerate() {
        if after.has_attributes && !before.has_attributes {
            let of_ring = new.config.routes.brings_attributes_to_by(index);
            let section = of_ring.and_then(|route| routes_after.get(route));
            let place = section.map_or_else(String::new, |of| {
                let attributes = of.entries.iter().find(|entry| entry.key == "attributes");
                place(new, attributes.map_or(Origin::Default, |entry| entry.origin), of)
            });
            return Err(format!(
                "{place}: ring {} cannot get attributes while the process runs: readers are told \
                 when they attach whether records have attributes",
                after.name
            ));
        }
    }
    Ok(changes)
}

/// Says which settings of a table differ, unless one of them cannot change. Returns one that is
/// gone, if there is one.
fn compare_entries<'a>(
    new: &Loaded,
    before: &'a Section,
    after: &Section,
    changes: &mut Vec<String>,
) -> Result<Option<&'a Entry>, String> {
    let old_entries: HashMap<&str, &Entry> =
        before.entries.iter().map(|entry| (entry.key, entry)).collect();
    for entry in &after.entries {
        let old_value = old_entries.get(entry.key).map(|old| old.value.as_str());
        if old_value == Some(&entry.value) {
            continue;
        }
        let key = format!("{}: {}", after.name(), entry.key);
        let old_value = old_value.unwrap_or("none");
        if let Change::Fixed(reason) = entry.change {
            let place = place(new, entry.origin, after);
            let value = &entry.value;
            return Err(format!(
                "{place}: {key} cannot change from {old_value} to {value} while the process \
                 runs: {reason}"
            ));
        }
        changes.push(format!("{key} = {} (was {old_value})", entry.value));
    }
    let gone = |entry: &&Entry| after.entries.iter().all(|other| other.key != entry.key);
    Ok(before.entries.iter().find(gone))
}

/// Says which routes come, go and differ.
fn compare_routes(
    new: &Loaded,
    before: &[Section],
    after: &[Section],
    changes: &mut Vec<String>,
) -> Result<(), String> {
    let in_before: HashMap<String, &Section> =
        before.iter().map(|section| (section.name(), section)).collect();
    let mut stay = HashSet::new();
    for section in after {
        let name = section.name();
        if let Some(old) = in_before.get(&name) {
            if let Some(gone) = compare_entries(new, old, section, changes)? {
                changes.push(format!("{name}: {} = none (was {})", gone.key, gone.value));
            }
            stay.insert(name);
        } else {
            changes.push(format!("{name} added"));
        }
    }
    let gone = before.iter().map(Section::name).filter(|name| !stay.contains(name));
    changes.extend(gone.map(|name| format!("{name} removed")));
    Ok(())
}

/// Where to look for what is refused: the value, its table, or the file.
fn place(loaded: &Loaded, origin: Origin, section: &Section) -> String {
    match [origin, section.origin].into_iter().find(|origin| *origin != Origin::Default) {
        Some(origin) => loaded.source.place(origin),
        None => loaded
            .path
            .as_ref()
            .map_or_else(|| "configuration".to_owned(), |path| path.display().to_string()),
    }
}

/// Why the tables themselves cannot change.
fn refused_sections(new: &Loaded, before: &[String], after: &[Section]) -> String {
    let added = after.iter().find(|section| !before.contains(&section.name()));
    if let Some(section) = added {
        let place = place(new, Origin::Default, section);
        let name = section.name();
        return format!("{place}: {name} cannot be added while the process runs");
    }
    let names: Vec<String> = after.iter().map(Section::name).collect();
    let section = Section::new("");
    let place = place(new, Origin::Default, &section);
    match before.iter().find(|name| !names.contains(name)) {
        Some(name) => format!("{place}: {name} cannot be removed while the process runs"),
        None => format!("{place}: rings keep their order while the process runs"),
    }
}
