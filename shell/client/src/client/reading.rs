//! Reading, and what the end of a ring leads to.

use aqueduct_core::{Attributes, Next, ReadError, Record};

use super::{Client, Phase};
use crate::info::{Change, End};
use crate::source::{Looked, Source};

/// A reader that polls without waiting looks at the socket once per so many calls that find
/// nothing.
const EMPTY_CALLS_PER_LOOK: u32 = 1024;
/// Room for payloads before the first one that needs more.
const BUFFER_BYTES_MIN: usize = 4096;

/// What one look at the stream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T = Record> {
    /// The oldest unread record.
    Record(T),
    /// There is nothing now; more may come. Also returned while the client reconnects.
    Empty,
    /// The producer closed the ring, and everything was delivered. With
    /// [`Options::reconnect_for`](crate::Options::reconnect_for), returned only when that time is
    /// over.
    Closed,
    /// The listener ended without closing the ring; everything published was delivered. Noticed
    /// while waiting, or within 1024 calls that find nothing. With
    /// [`Options::reconnect_for`](crate::Options::reconnect_for), returned only when that time is
    /// over.
    Lost,
    /// The client is attached again, to another ring. Returned once, before its first record.
    ///
    /// Records read before but not released were delivered and will not come again: process and
    /// commit them, and [`release`](Client::release), before reading on. A reconnection to the same
    /// ring is not reported: reading continues after the last record read, none lost, none twice.
    EpochChanged(Change),
}

impl<T> Event<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Event<U> {
        match self {
            Self::Record(record) => Event::Record(convert(record)),
            Self::Empty => Event::Empty,
            Self::Closed => Event::Closed,
            Self::Lost => Event::Lost,
            Self::EpochChanged(change) => Event::EpochChanged(change),
        }
    }
}

impl Client {
    /// Takes the oldest unread record and lends it with a checked copy of its payload. Never
    /// blocks.
    ///
    /// # Errors
    /// A [`ReadError`] says what is damaged or missing, with the evidence, and whether the reader
    /// moved past it. Reading may go on after every error. [`ReadError::TailOutOfRange`] is final
    /// for a ring; [`ReadError::BufferTooSmall`] means that no memory was left for the payload.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "it lends, which no iterator can")]
    pub fn next(&mut self) -> Result<Event<(Record, &[u8])>, ReadError> {
        let looked = match self.take_now() {
            Ok(record) => return Ok(Event::Record((record, &self.buffer[..record.len]))),
            Err(looked) => looked,
        };
        let event = self.take_after(looked)?;
        Ok(self.lend(event))
    }

    /// Does what [`next`](Self::next) does, and lends the record's attributes too.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[allow(clippy::type_complexity, reason = "the three things that a record has")]
    pub fn next_with_attributes(
        &mut self,
    ) -> Result<Event<(Record, &[u8], Attributes<'_>)>, ReadError> {
        let event = self.take()?;
        let bytes = &self.buffer;
        Ok(event.map(|record| (record, record.payload(bytes), record.attributes(bytes))))
    }

    /// Takes the oldest unread record and copies its payload into the start of `buf`, and its
    /// attributes after it ([`Record::attributes`]); a buffer of
    /// [`RingInfo::max_payload_bytes`](crate::RingInfo::max_payload_bytes) holds every record. The
    /// content of `buf` is unspecified unless a record is returned. Never blocks.
    ///
    /// # Errors
    /// As [`next`](Self::next). [`ReadError::BufferTooSmall`]: nothing was taken.
    #[inline]
    pub fn next_into(&mut self, buf: &mut [u8]) -> Result<Event, ReadError> {
        let event = self.look(None, &mut |source, _| source.next(buf))?;
        if let Event::Record(record) = event {
            self.count(record);
        }
        Ok(event)
    }

    /// Describes the oldest unread record and leaves it unread. Its payload is not checked. Never
    /// blocks.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn peek(&mut self) -> Result<Event, ReadError> {
        self.look(None, &mut |source, _| source.peek())
    }

    /// Takes the oldest unread record without copying or checking its payload. Never blocks.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn skip(&mut self) -> Result<Event, ReadError> {
        let event = self.look(None, &mut |source, _| source.skip())?;
        self.totals.skipped += u64::from(matches!(event, Event::Record(_)));
        Ok(event)
    }

    /// Takes up to `limit` records, passes each to `process`, and releases them together with one
    /// store of the cursor. Returns their count, and the event that ended the batch before `limit`,
    /// which is never [`Event::Record`].
    ///
    /// # Errors
    /// As [`next`](Self::next). The records before the error were processed and are released.
    pub fn batch(
        &mut self,
        limit: usize,
        mut process: impl FnMut(Record, &[u8]),
    ) -> Result<(usize, Option<Event>), ReadError> {
        let mut count = 0;
        let mut ended = Ok(None);
        while count < limit {
            match self.next() {
                Ok(Event::Record((record, payload))) => process(record, payload),
                Ok(other) => {
                    ended = Ok(Some(other.map(|(record, _)| record)));
                    break;
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
            count += 1;
        }
        self.release();
        ended.map(|event| (count, event))
    }

    /// Takes the oldest unread record; its payload is in the buffer.
    pub(super) fn take(&mut self) -> Result<Event, ReadError> {
        match self.take_now() {
            Ok(record) => Ok(Event::Record(record)),
            Err(looked) => self.take_after(looked),
        }
    }

    /// Takes the record, if there is one and nothing else is to be done or reported, which is what
    /// most calls find. Otherwise returns what the look found, if there was one.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see `aqueduct_core::Reader::next`")]
    fn take_now(&mut self) -> Result<Record, Option<Looked>> {
        if self.armed || self.untold.is_some() {
            return Err(None);
        }
        match self.source.next(&mut self.buffer) {
            Ok(Next::Record(record)) => {
                self.count(record);
                Ok(record)
            }
            looked => Err(Some(looked)),
        }
    }

    /// Takes the oldest unread record, after a look that found this.
    #[cold]
    fn take_after(&mut self, looked: Option<Looked>) -> Result<Event, ReadError> {
        // A look that found the buffer too small did not move: look again, and let it grow.
        let looked = looked.filter(|it| !matches!(it, Err(ReadError::BufferTooSmall { .. })));
        let event = self.look(looked, &mut |source, buffer| match source.next(buffer) {
            Err(ReadError::BufferTooSmall { needed, .. }) => {
                grow(buffer, needed);
                source.next(buffer)
            }
            looked => looked,
        })?;
        if let Event::Record(record) = event {
            self.count(record);
        }
        Ok(event)
    }

    /// Lends what `take` took.
    #[inline]
    pub(super) fn lend(&self, event: Event) -> Event<(Record, &[u8])> {
        event.map(|record| (record, &self.buffer[..record.len]))
    }

    /// Looks at the stream until there is something to return; `looked` is a look already taken.
    fn look(
        &mut self,
        mut looked: Option<Looked>,
        by: &mut dyn FnMut(&mut Source, &mut Vec<u8>) -> Looked,
    ) -> Result<Event, ReadError> {
        loop {
            if let Some(looked) = looked
                && let Some(event) = self.judge(looked)
            {
                return event;
            }
            if (self.armed || self.untold.is_some())
                && let Some(change) = self.attend()
            {
                return Ok(Event::EpochChanged(change));
            }
            looked = Some(by(&mut self.source, &mut self.buffer));
        }
    }

    /// Ends an announced sleep before a look at the ring; returns a change of epoch not reported
    /// yet.
    #[cold]
    fn attend(&mut self) -> Option<Change> {
        self.settle(false);
        self.untold.take()
    }

    /// Turns "nothing now" into "nothing any more", and that into a new beginning. `None`: look
    /// again.
    ///
    /// The hang-up is remembered before the reader looked, and what the listener published came
    /// before its end, so nothing can be missed.
    #[cold]
    fn judge(&mut self, looked: Looked) -> Option<Result<Event, ReadError>> {
        let end = match looked {
            Ok(Next::Record(record)) => return Some(Ok(Event::Record(record))),
            Ok(Next::Empty) => End::Lost,
            Ok(Next::Closed) => End::Closed,
            Err(ReadError::TailOutOfRange { position, tail }) => {
                End::TailOutOfRange { position, tail }
            }
            Err(error) => return Some(Err(error)),
        };
        if self.phase == Phase::Attached && !self.hung_up {
            match end {
                End::Closed => {}
                End::Lost => {
                    self.empty_calls = self.empty_calls.wrapping_add(1);
                    if self.empty_calls.is_multiple_of(EMPTY_CALLS_PER_LOOK) {
                        self.hung_up = self.link.drain();
                    }
                    return (!self.hung_up).then_some(Ok(Event::Empty));
                }
                End::TailOutOfRange { .. } => {
                    // Evicted, or is it the producer that is broken? The connection knows.
                    self.hung_up = self.link.drain();
                    return (!self.hung_up).then_some(looked.map(|_| Event::Empty));
                }
            }
        }
        self.go_on_after(end)
    }

    #[inline]
    const fn count(&mut self, record: Record) {
        self.totals.records += 1;
        self.totals.payload_bytes += record.len as u64;
    }
}

/// How the end of a ring is returned.
pub(super) fn told(end: End) -> Result<Event, ReadError> {
    match end {
        End::Closed => Ok(Event::Closed),
        End::Lost => Ok(Event::Lost),
        End::TailOutOfRange { position, tail } => Err(ReadError::TailOutOfRange { position, tail }),
    }
}

/// Makes room for a payload, if there is memory for it; otherwise the next look says that it does
/// not fit.
#[cold]
fn grow(buffer: &mut Vec<u8>, needed: usize) {
    let wanted = needed.next_power_of_two().max(BUFFER_BYTES_MIN);
    if buffer.try_reserve_exact(wanted.saturating_sub(buffer.len())).is_ok() {
        buffer.resize(wanted, 0);
    }
}
