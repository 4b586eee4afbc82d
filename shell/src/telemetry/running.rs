//! The telemetry of this process: there is one, as there is one log.

use std::sync::{Arc, OnceLock};

use tracing_subscriber::Registry;

use super::OtelSettings;
use super::exporter::{Exporter, LAST_WORDS, Source};
use super::inbox::{Counts, Inbox, Signal};
use super::lines::Lines;
use super::tracer::Tracer;

struct Running {
    settings: OtelSettings,
    inbox: Arc<Inbox>,
    tracer: Option<Arc<Tracer>>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Begins to queue what is to be sent. To be called once, before the log starts.
pub fn start(settings: &OtelSettings) {
    RUNNING.get_or_init(|| {
        let inbox = Arc::new(Inbox::default());
        let tracer = || Arc::new(Tracer::new(Arc::clone(&inbox), settings.root_ratio));
        let tracer = settings.traces.then(tracer);
        Running { settings: settings.clone(), inbox, tracer }
    });
}

/// Returns what queues lines of the log, if they are sent.
pub fn lines() -> Option<Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>> {
    let running = RUNNING.get().filter(|running| running.settings.logs)?;
    Some(Box::new(Lines(Arc::clone(&running.inbox))))
}

/// Returns what follows traces, if they are sent.
pub fn tracer() -> Option<Arc<Tracer>> {
    RUNNING.get()?.tracer.clone()
}

/// Starts the thread that sends. `source` is called by it.
pub fn send(source: Source) -> std::io::Result<()> {
    let Some(Running { settings, inbox, .. }) = RUNNING.get() else { return Ok(()) };
    let exporter = Exporter::new(settings.clone(), Arc::clone(inbox), source);
    let thread = std::thread::Builder::new().name("aqueduct-otel".to_owned());
    thread.spawn(move || exporter.run()).map(|_| ())
}

/// Has what is left be sent, and waits for that a little. To be called after [`send`].
pub fn end() {
    if let Some(running) = RUNNING.get() {
        running.inbox.end(LAST_WORDS);
    }
}

/// Returns what became of a signal; zeros if nothing is sent.
pub fn counts(signal: Signal) -> Counts {
    RUNNING.get().map_or_else(Counts::default, |running| running.inbox.counts(signal))
}
