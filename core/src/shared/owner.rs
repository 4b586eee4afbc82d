//! What only one party at a time can do with a shared producer: subscriptions, readers, requests
//! for space.

use core::fmt;

use super::SharedProducer;
use super::backend::Backend;
use super::publishing::Audience;
use crate::memory::MemoryMut;
use crate::producer::Producer;
use crate::producer::{ClaimError, SubscribeError};
use crate::producer::{Start, SubscriptionStatus};
use crate::producer::{SubscriptionId, Violation, Wake};

/// The result of such a call. It has published what others committed, so there may be readers to
/// wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "sleeping readers are woken only by the caller"]
pub struct Outcome<T> {
    /// What the single producer's call of the same name returns.
    pub value: T,
    /// The readers to wake.
    pub wake: Wake,
}

/// Another party is publishing just now. Try again; in an interrupt handler, next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Contended;

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another producer is publishing")
    }
}

impl core::error::Error for Contended {}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Does what [`Producer::subscribe`] does.
    ///
    /// # Errors
    /// [`Contended`]; inside, as there.
    pub fn subscribe(
        &self,
        start: Start,
    ) -> Result<Outcome<Result<SubscriptionId, SubscribeError>>, Contended> {
        // Claims in flight may be overwriting anything before `oldest`.
        self.owner(|producer| producer.subscribe_from_oldest(start))
    }

    /// Does what [`Producer::unsubscribe`] does.
    ///
    /// # Errors
    /// [`Contended`].
    pub fn unsubscribe(&self, id: SubscriptionId) -> Result<Outcome<bool>, Contended> {
        self.owner(|producer| producer.unsubscribe(id))
    }

    /// Does what [`Producer::attach`] does; takes the cursor segment out of `segment` if the token
    /// was free.
    ///
    /// # Errors
    /// [`Contended`]; inside, as there, and [`SubscribeError::NoCursorSegment`] if `segment` is
    /// empty.
    pub fn attach(
        &self,
        id: SubscriptionId,
        name: &str,
        segment: &mut Option<C>,
    ) -> Result<Outcome<Result<(), SubscribeError>>, Contended> {
        self.owner(|producer| {
            producer.attach(id, name, segment.take().ok_or(SubscribeError::NoCursorSegment)?)
        })
    }

    /// Does what [`Producer::detach`] does.
    ///
    /// # Errors
    /// [`Contended`].
    pub fn detach(&self, id: SubscriptionId) -> Result<Outcome<Option<C>>, Contended> {
        self.owner(|producer| producer.detach(id))
    }

    /// Does what [`Producer::subscription`] does.
    ///
    /// # Errors
    /// [`Contended`].
    pub fn subscription(
        &self,
        id: SubscriptionId,
    ) -> Result<Outcome<Option<SubscriptionStatus>>, Contended> {
        self.owner(|producer| producer.subscription(id))
    }

    /// Does what [`Producer::take_violation`] does.
    ///
    /// # Errors
    /// [`Contended`].
    pub fn take_violation(&self) -> Result<Outcome<Option<Violation>>, Contended> {
        self.owner(Producer::take_violation)
    }

    /// Does what [`Producer::want_space`] does. Claims in flight are not counted, because no reader
    /// frees what they hold, and only readers notify: a claim may fail although this call said that
    /// there is room. Ask again when they are committed.
    ///
    /// # Errors
    /// [`Contended`]; inside, as there.
    pub fn want_space(
        &self,
        payload_bytes: usize,
    ) -> Result<Outcome<Result<bool, ClaimError>>, Contended> {
        self.owner(|producer| producer.want_space(payload_bytes))
    }

    /// Does something with the producer other than publishing.
    fn owner<T>(
        &self,
        work: impl FnOnce(&mut Producer<M, C, READERS>) -> T,
    ) -> Result<Outcome<T>, Contended> {
        let mut token = self.claims.pick_up().ok_or(Contended)?;
        let (value, wake) =
            token.with(|inner| (work(&mut inner.producer), self.take_pending_wake(inner)));
        Ok(Outcome { value, wake: wake.and(self.leave(token, Audience::Caller).wake) })
    }
}
