//! The rings as JSON: where everything stands, how far each reader is behind, and eviction.

use std::fmt::Write;
use std::sync::Arc;

use super::{Admin, Page};
use crate::ring::{NotEvicted, Ring, RingLook, SubscriptionLook};

/// Media type of the pages.
const JSON: &str = "application/json";
pub(super) const NO_RING: Page = Page::Missing("there is no ring of that name");

/// All rings.
pub(super) fn all(admin: &Admin) -> Page {
    let rings: Vec<String> = admin.rings.iter().map(|ring| json(ring)).collect();
    Page::Content(JSON, format!(r#"{{"rings":[{}]}}"#, rings.join(",")).into_bytes())
}

/// One ring.
pub(super) fn one(admin: &Admin, name: &str) -> Page {
    find(admin, name).map_or(NO_RING, |ring| Page::Content(JSON, json(ring).into_bytes()))
}

/// Evicts the reader of a subscription.
pub(super) fn evict(admin: &Admin, ring: &str, subscription: &str) -> Page {
    let Some(ring) = find(admin, ring) else { return NO_RING };
    match ring.evict(subscription) {
        Ok(()) => Page::Done,
        Err(NotEvicted::NoSubscription) => Page::Missing("the ring has no such subscription"),
        Err(NotEvicted::NoReader) => Page::Missing("no reader is attached to the subscription"),
    }
}

fn find<'a>(admin: &'a Admin, name: &str) -> Option<&'a Arc<Ring>> {
    admin.rings.iter().find(|ring| ring.name() == name)
}

/// The state of a ring, in a word.
pub(super) fn state(look: &RingLook) -> &'static str {
    match look {
        RingLook { closed: true, .. } => "closed",
        RingLook { full: true, .. } => "full",
        _ => "open",
    }
}

/// Describes a ring. Names are made of characters that JSON takes as they are.
fn json(ring: &Ring) -> String {
    let look = ring.look();
    let RingLook { next_seq, tail, oldest, used_bytes, .. } = look;
    let state = state(&look);
    let (name, epoch) = (ring.name(), ring.epoch());
    let (capacity, largest) = (ring.capacity_bytes(), ring.max_payload_bytes());
    let mut json = format!(
        r#"{{"name":"{name}","epoch":"{epoch:016x}","state":"{state}","capacity_bytes":{capacity},"#
    );
    // Writing to a string cannot fail.
    let _ = write!(
        json,
        r#""max_payload_bytes":{largest},"used_bytes":{used_bytes},"next_seq":{next_seq},"#
    );
    let _ = write!(json, r#""tail":{tail},"oldest":{oldest},"readers":["#);
    for (index, subscription) in look.subscriptions.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        reader(&mut json, subscription);
    }
    json.push_str("]}");
    json
}

fn reader(json: &mut String, look: &SubscriptionLook) {
    let SubscriptionLook { name, cursor, lag_records, lag_bytes, lag_ns, .. } = look;
    let SubscriptionLook { corrupt, lost, missed_wakes, .. } = look;
    let (state, lagging) = (if look.attached { "attached" } else { "detached" }, look.lagging);
    let (seconds, milliseconds) = (lag_ns / 1_000_000_000, lag_ns / 1_000_000 % 1000);
    // Writing to a string cannot fail.
    let _ = write!(
        json,
        r#"{{"name":"{name}","state":"{state}","cursor":{cursor},"lag_records":{lag_records},"#
    );
    let _ = write!(
        json,
        r#""lag_bytes":{lag_bytes},"lag_seconds":{seconds}.{milliseconds:03},"corrupt":{corrupt},"#
    );
    let _ = write!(
        json,
        r#""lost_records":{lost},"missed_wakes":{missed_wakes},"lagging":{lagging}}}"#
    );
}
