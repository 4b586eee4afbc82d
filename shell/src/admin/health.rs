//! Liveness and readiness.

use super::{Admin, Page};

/// Says that the process runs.
pub(super) fn live() -> Page {
    Page::Content("text/plain; charset=utf-8", b"ok\n".to_vec())
}

/// Returns whether all places for connections are taken.
pub(super) fn is_crowded(admin: &Admin) -> bool {
    admin.http_connections.used() >= admin.http_connections.most()
}

/// Says whether a record that is sent now has a chance.
pub(super) fn ready(admin: &Admin) -> Page {
    let missing = obstacles(admin);
    if missing.is_empty() {
        return Page::Content("application/json", br#"{"ready":true}"#.to_vec());
    }
    Page::Unavailable(missing.join("; "))
}

/// Lists why it has none.
pub(super) fn obstacles(admin: &Admin) -> Vec<String> {
    let mut missing = Vec::new();
    if admin.shutdown.has_begun() {
        missing.push("shutting down".to_owned());
    }
    if is_crowded(admin) {
        missing.push("all places for connections are taken".to_owned());
    }
    let largest = admin.rings.iter().map(|ring| u64::from(ring.max_payload_bytes())).max();
    if admin.buffered.left() < largest.unwrap_or(0) {
        missing.push("no memory is left for a large record".to_owned());
    }
    missing.extend(
        admin
            .rings
            .iter()
            .filter(|ring| ring.refresh().full)
            .map(|ring| format!("ring {} is full", ring.name())),
    );
    missing.extend(admin.rings.iter().filter_map(|ring| ring.journal_trouble()));
    missing
}
