//! What follows a turn: answers are sent, sockets paused, resumed and closed, deadlines set.

use super::batch::Batch;
use super::clock::NEVER;
use super::connection::Linger;
use super::connection::{Connection, Phase};
use super::driver::{Driver, Id};
use super::held::Unanswerable;
use super::shared::PageContent;
use super::work::{LINGER_OPEN_MS, LINGER_QUIET_MS, LINGER_SHORT_MS, Slot, Work};
use crate::codec::http1;
use crate::codec::{OUTPUT_BYTES_MAX, Page, Persistence, Resource, Sink};

/// Unsent bytes beyond which a connection is not read.
const UNSENT_BYTES: usize = OUTPUT_BYTES_MAX;
/// Input that waits for its turn, beyond which a connection is not read, bytes. A page is made in
/// each turn, and a turn may bring thousands of requests for one.
const WAITING_INPUT_BYTES: usize = 64 << 10;

/// Bytes of pages in one turn: with many rings a page is large, and the loop has other clients.
const PAGES_BYTES: usize = 1 << 20;

/// How often cursors are looked at while answers wait for readers, ms.
const LOOK_MS: u64 = 1;

impl Work<'_> {
    /// Makes the pages that were asked for, each once for all who ask for it in this turn.
    /// Everything before them is published. Those beyond `PAGES_BYTES` wait for the next turn.
    pub(super) fn make_pages(&mut self) {
        let mut asked = std::mem::take(&mut self.paging).into_iter();
        let mut made: Vec<(Resource, Option<PageContent>)> = Vec::new();
        let mut bytes = 0;
        for id in asked.by_ref() {
            let Some(connection) = self.connection(id) else { continue };
            let Phase::Paging(page) = connection.phase else { continue };
            let date = self.batch.clock.date();
            let known = made.iter().position(|(resource, _)| *resource == page.resource);
            let at = known.unwrap_or_else(|| {
                made.push((page.resource, (self.shared.page)(page.resource)));
                made.len() - 1
            });
            let Some(connection) = self.connection(id) else { continue };
            let before = connection.out.len();
            let status = write_page(&mut connection.out, &date, page, made[at].1.as_ref());
            bytes += connection.out.len() - before;
            connection.phase = Phase::Open;
            self.batch.count(status);
            if page.then == Persistence::Close {
                self.close_after_answers(id);
            } else {
                self.decode_again(id);
            }
            self.touch(id);
            if bytes >= PAGES_BYTES {
                break;
            }
        }
        self.paging.extend(asked);
    }

    /// Sends and settles what was touched, and closes what is lost.
    pub(super) fn attend(&mut self, driver: &mut impl Driver) {
        for id in std::mem::take(&mut self.lost) {
            self.close(id, driver);
        }
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.settle(id, driver);
        }
        if self.touched.is_empty() {
            // Keeps the allocation.
            self.touched = touched;
        }
    }

    /// Gives a connection up.
    fn close(&mut self, id: Id, driver: &mut impl Driver) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        if !matches!(slot, Slot::Taken(_)) {
            return;
        }
        if let Slot::Taken(mut connection) = std::mem::replace(slot, Slot::Free) {
            self.deadlines.cancel(id, &mut connection.armed);
            self.slots[id as usize] = Slot::Leaving { _permit: connection.permit };
            connection.input.discard(&self.buffers);
            self.buffers.give(connection.out);
            driver.close(id);
            tracing::trace!(id, "connection closed");
        }
    }

    fn settle(&mut self, id: Id, driver: &mut impl Driver) {
        let (now, ending) = (self.batch.clock.now(), self.batch.is_ending());
        let Self { slots, batch, buffers, deadlines, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        connection.touched = false;
        let Ok(out) = connection.take_sendable(now, batch) else {
            tracing::debug!(id, "connection closed: nothing true can be said of its record");
            self.close(id, driver);
            return;
        };
        for status in connection.answers.take_statuses() {
            batch.count(status);
        }
        let out = connection.sealed(out, buffers);
        if out.is_empty() {
            buffers.give(out);
        } else {
            driver.send(id, out);
        }
        let unsent = driver.unsent(id);
        if connection.stuck_ms <= now && unsent >= connection.unsent {
            tracing::debug!(unsent, "connection closed: its peer takes no bytes");
            batch.come_by(connection.address);
            connection.speaker.broken(connection.input.bytes(), batch);
            // A will of its peer: no ring may be locked when another connection asks for one.
            batch.publish();
            self.close(id, driver);
            return;
        }
        connection.note_unsent(unsent, batch.clock.after(connection.timeouts.body));
        let held = !connection.answers.is_empty();
        if ending && !held && !connection.again && connection.is_idle() {
            // It was owed an answer when the others were ended.
            connection.close_after_answers(now, buffers);
        }
        if held {
            if connection.answers.waits_for_readers() {
                // Nobody calls when a reader releases something.
                self.look_at_ms = self.look_at_ms.min(now + LOOK_MS);
            } else {
                self.unwatched.push(id);
            }
            if !std::mem::replace(&mut connection.holding, true) {
                self.holding.push(id);
            }
        }
        let mut paused = unsent.max(connection.out.len()) > UNSENT_BYTES;
        let (mut again, mut close) = (false, false);
        let waits = connection.again || matches!(connection.phase, Phase::Paging(_));
        match &mut connection.phase {
            Phase::Open | Phase::Paging(_) => {
                paused |= waits && connection.input.len() > WAITING_INPUT_BYTES;
            }
            Phase::Flushing if unsent == 0 && !held => {
                connection.phase = Phase::Open;
                again = true;
                // Read on now, it would send more in each turn than is answered in one.
                paused |= connection.input.len() > WAITING_INPUT_BYTES;
            }
            Phase::Parked(_) | Phase::Away { .. } | Phase::Flushing => paused = true,
            Phase::HandingOver if unsent == 0 && !held => {
                connection.phase = Phase::Releasing;
                driver.release(id);
                return;
            }
            Phase::HandingOver => paused = connection.input.len() > WAITING_INPUT_BYTES,
            Phase::Releasing => paused = connection.paused,
            Phase::Closing(_) if held => paused = false,
            &mut Phase::Closing(linger) => {
                let is_open = connection.speaker.take_interrupted() && !connection.ended;
                let quiet = if is_open {
                    LINGER_OPEN_MS
                } else {
                    if let Some(tls) = &mut connection.tls {
                        let mut goodbye = buffers.take();
                        tls.finish(&mut goodbye);
                        driver.send(id, goodbye);
                    }
                    driver.finish(id);
                    let short = ending || connection.is_refused();
                    if short { LINGER_SHORT_MS } else { LINGER_QUIET_MS }
                };
                connection.deadline_ms = (now + quiet).min(linger.until_ms);
                connection.phase = Phase::Lingering(Linger { is_open, ..linger });
                // The goodbye of TLS counts, too.
                close = connection.ended && driver.unsent(id) == 0;
                paused = false;
            }
            Phase::Lingering(_) => {
                close = connection.ended && unsent == 0;
                paused = false;
            }
        }
        if paused != connection.paused {
            connection.paused = paused;
            if paused {
                driver.pause(id);
            } else {
                driver.resume(id);
            }
        }
        let by = connection.deadline_ms.min(connection.stuck_ms);
        let by = by.min(connection.answers.deadline_ms());
        if by != NEVER {
            deadlines.by(by, id, &mut connection.armed);
        }
        if again {
            self.decode_again(id);
        }
        if close {
            self.close(id, driver);
        }
    }
}

impl Connection {
    /// Takes the answers that may be sent.
    fn take_sendable(&mut self, now: u64, batch: &Batch<'_>) -> Result<Vec<u8>, Unanswerable> {
        if self.answers.is_empty() {
            return Ok(std::mem::take(&mut self.out));
        }
        self.answers.take(&mut self.out, now, |hold| batch.verdict(hold))
    }

    /// Starts, restarts or stops the clock of a peer that does not take its answers.
    fn note_unsent(&mut self, unsent: usize, stuck_after_ms: u64) {
        if unsent == 0 {
            self.stuck_ms = NEVER;
        } else if self.stuck_ms == NEVER || unsent < self.unsent {
            self.stuck_ms = stuck_after_ms;
        }
        self.unsent = unsent;
    }
}

const NO_PAGES: &[u8] =
    br#"{"title":"Not Found","status":404,"detail":"this address serves no pages"}"#;

/// Appends a page, or that there is none; returns the status.
pub(in crate::ingress) fn write_page(
    out: &mut Vec<u8>,
    date: &[u8; 29],
    page: Page,
    made: Option<&PageContent>,
) -> u16 {
    let (status, media_type, headers, body) = match made {
        Some((status, media_type, headers, body)) => (*status, *media_type, *headers, &body[..]),
        None => (404, "application/problem+json", "", NO_PAGES),
    };
    http1::page(out, date, &page, status, media_type, headers, body);
    status
}
