//! What the service manager is told while the process lives: that it does, and how things stand.

use std::sync::Arc;
use std::time::Duration;

use smol::{Executor, Task, Timer};

use crate::admin::Admin;
use crate::supervisor::{Supervisor, Told};

/// How often it is told how things stand, unless it wants to hear more often.
const PERIOD: Duration = Duration::from_secs(5);

/// What it is told in the end.
const ENDING: &str = "finishing requests and readers";

/// Tells the manager.
pub(super) struct Reports {
    supervisor: Arc<Supervisor>,
    admin: Arc<Admin>,
}

impl Reports {
    pub(super) fn new(supervisor: &Arc<Supervisor>, admin: &Arc<Admin>) -> Self {
        Self { supervisor: Arc::clone(supervisor), admin: Arc::clone(admin) }
    }

    /// Says that records are taken.
    pub(super) fn ready(&self) {
        self.supervisor.tell(&Told::Ready(&status(&self.admin)));
    }

    /// Says that the end has begun.
    pub(super) fn stopping(&self) {
        self.supervisor.tell(&Told::Stopping(ENDING));
    }

    /// Says how things stand, for as long as the task lives. It is one of the executor's, and looks
    /// at every ring: if the runtime or a ring hangs, no sign of life is given.
    pub(super) fn spawn(&self, executor: &Executor<'static>) -> Option<Task<()>> {
        self.supervisor.store()?;
        let wanted = self.supervisor.watchdog();
        let period = wanted.map_or(PERIOD, |wanted| (wanted / 3).min(PERIOD));
        let (supervisor, admin) = (Arc::clone(&self.supervisor), Arc::clone(&self.admin));
        Some(executor.spawn(async move {
            loop {
                Timer::after(period).await;
                // The end has its own bound, and its own words.
                let ends = admin.shutdown.has_begun();
                let text = if ends { ENDING.to_owned() } else { status(&admin) };
                supervisor.tell(&Told::Alive(&text));
            }
        }))
    }
}

/// Says in a line how things stand.
fn status(admin: &Admin) -> String {
    let count = |count: usize, one: &str| {
        let ending = match (count, one) {
            (1, _) => "",
            (_, "crash") => "es",
            _ => "s",
        };
        format!("{count} {one}{ending}")
    };
    let obstacles = admin.obstacles();
    let state = if obstacles.is_empty() {
        "takes records".to_owned()
    } else {
        format!("not ready: {}", obstacles.join("; "))
    };
    let rings = count(admin.rings.len(), "ring");
    let readers = count(admin.control_connections.used(), "reader");
    let connections = count(admin.http_connections.used(), "connection");
    let crashes = admin.rings.iter().map(|ring| ring.crashes()).max().unwrap_or(0);
    let crashes = match crashes {
        0 => String::new(),
        some => format!("; {} before this start", count(some as usize, "crash")),
    };
    format!("{state}: {rings}, {readers}, {connections}{crashes}")
}
