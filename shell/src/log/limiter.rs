//! Rate limits for log lines: of each kind the first ones of a period, then a summary.
//!
//! A kind is a place in the source. Every line of `info` and above is limited, so that one that a
//! peer can cause needs no thought of its own; `debug` and `trace` were asked for.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::queue::Queue;
use crate::sync::lock;

/// Lines of one kind that are written in one period.
pub(super) const BURST: u64 = 50;
/// Length of a period.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// Target of the summaries, which are not limited themselves.
pub(super) const SUMMARY: &str = "aqueduct::log::summary";
/// Target of lines that a configuration asked for, one for each request: they are not limited.
pub const ACCESS: &str = "aqueduct::access";

/// Counts lines by their kind.
pub(super) struct Limiter {
    kinds: Mutex<Kinds>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Kinds {
    by_place: HashMap<Identifier, Kind>,
    suppressed: u64,
}

/// The present period of one kind.
struct Kind {
    begun: Instant,
    lines: u64,
    /// The message of the lines that were not written, and how many there are.
    suppressed: Option<(String, u64)>,
}

impl Limiter {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { kinds: Mutex::default(), queue }
    }

    /// Returns how many lines were not written because there were too many of their kind.
    pub(super) fn suppressed(&self) -> u64 {
        lock(&self.kinds).suppressed
    }

    /// Counts a line. Returns whether it is to be written.
    fn admit(&self, place: Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut kinds = lock(&self.kinds);
        let kind =
            kinds.by_place.entry(place).or_insert(Kind { begun: now, lines: 0, suppressed: None });
        // A period with lines to summarize ends when they are.
        if kind.suppressed.is_none() && now - kind.begun >= PERIOD {
            (kind.begun, kind.lines) = (now, 0);
        }
        kind.lines += 1;
        if kind.lines <= BURST {
            return true;
        }
        if let Some((_, count)) = &mut kind.suppressed {
            *count += 1;
        } else {
            kind.suppressed = Some((message(), 1));
            self.queue.look_at(kind.begun + PERIOD);
        }
        kinds.suppressed += 1;
        false
    }

    /// Ends the periods that are over, and returns what was not written in them.
    fn over(&self, now: Instant) -> Vec<(String, u64)> {
        let mut kinds = lock(&self.kinds);
        let over = |kind: &&mut Kind| now - kind.begun >= PERIOD && kind.suppressed.is_some();
        let ended = kinds.by_place.values_mut().filter(over).filter_map(|kind| {
            (kind.begun, kind.lines) = (now, 0);
            kind.suppressed.take()
        });
        let ended = ended.collect();
        if let Some(next) = kinds
            .by_place
            .values()
            .filter(|kind| kind.suppressed.is_some())
            .map(|kind| kind.begun + PERIOD)
            .min()
        {
            self.queue.look_at(next);
        }
        ended
    }

    /// Writes the summaries that are due.
    pub(super) fn summarize(&self) {
        for (message, lines) in self.over(Instant::now()) {
            tracing::warn!(
                target: SUMMARY,
                lines,
                of = message,
                seconds = PERIOD.as_secs(),
                "more log lines of one kind were not written"
            );
        }
    }
}

/// The limiter as a filter.
pub(super) struct Limited(pub(super) Arc<Limiter>);

impl<S: Subscriber> Filter<S> for Limited {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || [SUMMARY, ACCESS].contains(&metadata.target()) {
            return true;
        }
        self.0.admit(metadata.callsite(), Instant::now(), || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        })
    }
}

/// Picks the message out of an event's fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Identifier {
        static CALLSITE: tracing::callsite::DefaultCallsite =
            tracing::callsite::DefaultCallsite::new(&META);
        static META: Metadata<'static> = tracing::metadata! {
            name: "test",
            target: "test",
            level: Level::WARN,
            fields: &[],
            callsite: &CALLSITE,
            kind: tracing::metadata::Kind::EVENT,
        };
        META.callsite()
    }

    #[test]
    fn the_first_lines_of_a_period_are_written_and_the_rest_is_summarized_once() {
        let limiter = Limiter::new(Queue::new());
        let begun = Instant::now();
        let mut admitted = 0;
        for _ in 0..1000 {
            admitted += u64::from(limiter.admit(place(), begun, || "too many".to_owned()));
        }
        assert_eq!((admitted, limiter.suppressed()), (BURST, 1000 - BURST));
        assert!(limiter.over(begun).is_empty(), "the period goes on");
        let end = begun + PERIOD;
        assert_eq!(limiter.over(end), [("too many".to_owned(), 1000 - BURST)]);
        assert!(limiter.over(end + PERIOD).is_empty());
        assert!(limiter.admit(place(), end, String::new), "a new period");
    }

    #[test]
    fn lines_that_are_rare_are_all_written() {
        let limiter = Limiter::new(Queue::new());
        let begun = Instant::now();
        for n in 0..10 * u32::try_from(BURST).expect("small") {
            assert!(limiter.admit(place(), begun + n * PERIOD / 50, String::new));
        }
    }

    #[test]
    fn a_period_with_lines_to_summarize_goes_on_until_they_are() {
        let limiter = Limiter::new(Queue::new());
        let begun = Instant::now();
        for _ in 0..=BURST {
            limiter.admit(place(), begun, || "first".to_owned());
        }
        // Later than the period, and nobody has looked yet: it is still the same.
        let late = begun + 2 * PERIOD;
        assert!(!limiter.admit(place(), late, || "second".to_owned()));
        assert!(limiter.over(begun + PERIOD.saturating_sub(Duration::from_millis(1))).is_empty());
        assert_eq!(limiter.over(late), [("first".to_owned(), 2)]);
        assert_eq!(limiter.suppressed(), 2);
        // The next one begins when they were told.
        for _ in 0..BURST {
            assert!(limiter.admit(place(), late + PERIOD / 2, String::new));
        }
        assert!(!limiter.admit(place(), late + PERIOD / 2, String::new));
        assert!(limiter.over(late + PERIOD / 2).is_empty());
        assert_eq!(limiter.over(late + PERIOD).len(), 1);
    }

    /// Lines that a filter lets through, by their message.
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            lock(&self.0).push(message.0);
        }
    }

    #[test]
    fn lines_that_were_asked_for_and_summaries_are_not_limited() {
        use tracing_subscriber::Layer;
        use tracing_subscriber::layer::SubscriberExt;

        let limiter = Arc::new(Limiter::new(Queue::new()));
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let layer = Seen(Arc::clone(&seen)).with_filter(Limited(Arc::clone(&limiter)));
        let logged = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(logged, || {
            for n in 0..2 * BURST {
                tracing::info!(n, "limited");
                tracing::error!("limited, too");
                tracing::debug!("asked for");
                tracing::info!(target: ACCESS, "of a request");
                tracing::warn!(target: SUMMARY, "of lines");
            }
            assert_eq!(limiter.suppressed(), 2 * BURST);
            let told = limiter.over(Instant::now() + PERIOD);
            assert_eq!(told.len(), 2);
            assert!(told.contains(&("limited".to_owned(), BURST)), "{told:?}");
        });
        let count = |message: &str| {
            u64::try_from(lock(&seen).iter().filter(|seen| *seen == message).count()).expect("few")
        };
        assert_eq!((count("limited"), count("limited, too")), (BURST, BURST));
        for all in ["asked for", "of a request", "of lines"] {
            assert_eq!(count(all), 2 * BURST, "{all}");
        }
    }

    #[test]
    fn summaries_are_lines_themselves() {
        use tracing_subscriber::layer::SubscriberExt;

        let limiter = Limiter::new(Queue::new());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let long_ago = Instant::now().checked_sub(PERIOD).expect("it runs longer");
        for _ in 0..=BURST {
            limiter.admit(place(), long_ago, || "too many".to_owned());
        }
        let logged = tracing_subscriber::registry().with(Seen(Arc::clone(&seen)));
        tracing::subscriber::with_default(logged, || {
            limiter.summarize();
            limiter.summarize();
        });
        assert_eq!(*lock(&seen), ["more log lines of one kind were not written"]);
    }

    #[test]
    fn a_summary_is_looked_for_when_its_period_ends() {
        let queue = Queue::new();
        let limiter = Limiter::new(Arc::clone(&queue));
        let begun = Instant::now();
        for _ in 0..BURST {
            limiter.admit(place(), begun, String::new);
        }
        assert_eq!(queue.looks_at(), None);
        limiter.admit(place(), begun, String::new);
        assert_eq!(queue.looks_at(), Some(begun + PERIOD));
        // Who looks too early is sent back for the same.
        let queue = Queue::new();
        let limiter = Limiter { queue: Arc::clone(&queue), ..limiter };
        assert!(limiter.over(begun).is_empty());
        assert_eq!(queue.looks_at(), Some(begun + PERIOD));
    }
}
