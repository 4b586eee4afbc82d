//! The table of claims: who may write where, and who publishes.
//!
//! Nothing here is in shared memory.

use core::sync::atomic::Ordering;

use super::backend::{Backend, Cell, Word};

/// Set in a claim of an even lap through the table, clear in one of an odd lap, so that a slot says
/// for which lap it is taken.
const LAP: u32 = 1 << 31;
/// The publisher's token rests here. On one slot at most, that of the oldest unpublished claim; on
/// none while a party holds it.
const TOKEN: u32 = 1 << 30;
/// The claimant is done with it.
const FINISHED: u32 = 1 << 29;
/// Where the claim ends: the low bits of a position.
pub const POSITION: u32 = FINISHED - 1;

/// Returns whether the token rests on a slot. Past a finished claim, the party that passes the
/// claim holds it.
const fn rests(word: u32) -> bool {
    word & (TOKEN | FINISHED) == TOKEN
}

/// A table of claims, and a value that one party at a time may enter: the holder of the publisher's
/// token. Nobody waits for the token.
///
/// Slot `t % CLAIMS` is free for ticket `t` once `t - CLAIMS` is published, and is taken by one
/// exchange, which names the end of the claim. The token moves along the table: it rests on the
/// oldest claim that is not published, or on the free slot where the next one will be. It goes to
///
/// 1. the party that takes that free slot, by the same exchange, if it wants it;
/// 2. the claimant of that slot when it finishes: it sets one bit, and sees whether the token was
///    there;
/// 3. a party that picks it up.
///
/// The holder passes the finished claims and leaves the token on the first that is not, again by
/// setting one bit of that slot: either the claimant finds the token when it finishes, or the
/// holder finds the claim finished and continues.
pub struct Claims<B: Backend, T, const CLAIMS: usize> {
    /// Ticket of the oldest claim that is not published. INVARIANT: only the holder of the token
    /// changes it.
    published: B::Word,
    /// [`LAP`] | [`TOKEN`] | [`FINISHED`] | [`POSITION`].
    slots: [B::Word; CLAIMS],
    /// INVARIANT: entered only through a [`Token`]. There is one, or one slot where it rests:
    /// [`TOKEN`] without [`FINISHED`]. Each way to make one clears the first or sets the second,
    /// and only `leave`, which consumes it, undoes that. This needs nothing of tickets and ends.
    value: B::Cell<T>,
}

/// A slot that was free when a party looked.
pub struct Free<'t, B: Backend, T, const CLAIMS: usize> {
    claims: &'t Claims<B, T, CLAIMS>,
    ticket: u32,
    word: u32,
    head: u32,
    in_flight: u32,
}

/// A slot that was taken.
pub enum Held<'t, B: Backend, T, const CLAIMS: usize> {
    /// Without the token.
    Claim(Claim<'t, B, T, CLAIMS>),
    /// With the token: nothing before it is unpublished.
    Ahead(Ahead<'t, B, T, CLAIMS>),
}

/// A claim that its claimant has not finished.
pub struct Claim<'t, B: Backend, T, const CLAIMS: usize> {
    claims: &'t Claims<B, T, CLAIMS>,
    ticket: u32,
}

/// A claim that was taken with the token.
#[must_use = "nothing is published any more if it is lost"]
pub struct Ahead<'t, B: Backend, T, const CLAIMS: usize>(Token<'t, B, T, CLAIMS>);

/// The publisher's token: its holder publishes, and owns the value meanwhile. It must be left; if
/// it is dropped, it is gone for good.
#[must_use = "nothing is published any more if it is lost"]
pub struct Token<'t, B: Backend, T, const CLAIMS: usize> {
    claims: &'t Claims<B, T, CLAIMS>,
    /// The oldest claim that is not published.
    ticket: u32,
}

impl<B: Backend, T, const CLAIMS: usize> Claims<B, T, CLAIMS> {
    #[allow(clippy::cast_possible_truncation, reason = "at most 256")]
    const CLAIMS: u32 = CLAIMS as u32;

    /// Creates a table whose claims begin at `head`, with the token at rest.
    pub fn new(value: T, head: u32) -> Self {
        const { assert!(CLAIMS.is_power_of_two() && CLAIMS >= 2 && CLAIMS <= 256) };
        // Free for lap 0. All end where claims begin: so none of them looks as if a claim of the
        // next lap were there. The last one is in place of the claim before the first.
        let slot = |index| B::Word::new(head & POSITION | if index == 0 { TOKEN } else { 0 });
        Self {
            published: B::Word::new(0),
            slots: core::array::from_fn(slot),
            value: B::Cell::new(value),
        }
    }

    const fn slot(&self, ticket: u32) -> &B::Word {
        &self.slots[ticket as usize % CLAIMS]
    }

    /// Returns what [`LAP`] is in a claim of this ticket.
    const fn lap(ticket: u32) -> u32 {
        if (ticket / Self::CLAIMS).is_multiple_of(2) { LAP } else { 0 }
    }

    const fn is_taken(word: u32, ticket: u32) -> bool {
        word & LAP == Self::lap(ticket)
    }

    const fn is_finished(word: u32, ticket: u32) -> bool {
        Self::is_taken(word, ticket) && word & FINISHED != 0
    }

    /// Finds the slot of the next claim.
    ///
    /// # Errors
    /// All slots are taken, as far as this party has heard; how many claims that is.
    #[inline]
    pub fn find(&self) -> Result<Free<'_, B, T, CLAIMS>, u32> {
        loop {
            // ORDER(slot): Acquire. Seeing a slot published, we see it emptied, and that others are
            // done with its note. Pairs with `pass`.
            let first = self.published.load(Ordering::Acquire);
            let mut in_flight = 0;
            while in_flight < Self::CLAIMS {
                let ticket = first.wrapping_add(in_flight);
                // ORDER(slot): Acquire. Seeing a slot taken, or emptied again, we see a `published`
                // that allowed it. Pairs with `take` and `pass`.
                let word = self.slot(ticket).load(Ordering::Acquire);
                if Self::is_taken(word, ticket) {
                    in_flight += 1;
                    continue;
                }
                // ORDER(slot): Relaxed, after the Acquire of `word`: only while the ticket is not
                // published is `word` of its lap. Others may have gone more than a lap on since,
                // and one of theirs looks free for us; the party that took it had seen the ticket
                // published.
                if self.published.load(Ordering::Relaxed).wrapping_sub(first) > in_flight {
                    break;
                }
                // ORDER(slot): Relaxed; the Acquire of that slot before, or of `published`, orders
                // it. It belongs to ticket - 1 as long as this slot is free, which the exchange
                // confirms.
                let head = self.slot(ticket.wrapping_sub(1)).load(Ordering::Relaxed) & POSITION;
                return Ok(Free { claims: self, ticket, word, head, in_flight });
            }
            // ORDER(slot): Relaxed: it says only whether to look again.
            if in_flight == Self::CLAIMS && self.published.load(Ordering::Relaxed) == first {
                return Err(in_flight);
            }
        }
    }

    /// Takes the token, unless another party holds it.
    pub fn pick_up(&self) -> Option<Token<'_, B, T, CLAIMS>> {
        // ORDER(token): Relaxed, here and below: a look at where the token may be, which the
        // exchange confirms.
        let mut ticket = self.published.load(Ordering::Relaxed);
        loop {
            // ORDER(token): Relaxed, as above.
            let word = self.slot(ticket).load(Ordering::Relaxed);
            if !rests(word) {
                // ORDER(token): Relaxed, as above.
                let now = self.published.load(Ordering::Relaxed);
                if now == ticket {
                    return None;
                }
                ticket = now;
                continue;
            }
            // ORDER(token): Acquire: what was done in earlier claims. Pairs with `leave`.
            if self
                .slot(ticket)
                .compare_exchange(word, word & !TOKEN, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                // ORDER(none): only who has the token changes it.
                return Some(Token {
                    claims: self,
                    ticket: self.published.load(Ordering::Relaxed),
                });
            }
        }
    }

    /// Returns whether a party holds the token, as it looks from outside.
    pub fn is_token_held(&self) -> bool {
        // ORDER(none): old as soon as it is taken.
        let ticket = self.published.load(Ordering::Relaxed);
        // ORDER(none): as above.
        !rests(self.slot(ticket).load(Ordering::Relaxed))
    }

    /// Returns the ticket of the oldest claim, and the number of claims, if it holds the others
    /// back.
    pub fn unfinished(&self) -> Option<(u32, u32)> {
        // ORDER(none): a look from outside, old as soon as it is taken.
        let first = self.published.load(Ordering::Relaxed);
        // ORDER(none): as above.
        let word = |ahead| self.slot(first.wrapping_add(ahead)).load(Ordering::Relaxed);
        let in_flight = (0..Self::CLAIMS)
            .find(|&ahead| !Self::is_taken(word(ahead), first.wrapping_add(ahead)))
            .unwrap_or(Self::CLAIMS);
        (in_flight > 0 && word(0) & FINISHED == 0).then_some((first, in_flight))
    }

    /// Returns the value, which nobody shares any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<'t, B: Backend, T, const CLAIMS: usize> Free<'t, B, T, CLAIMS> {
    /// Returns where the claim before it ends.
    #[must_use]
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// Returns the number of claims before it that are not published.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Takes the slot, up to position `end`; with the token, if that rests there and is wanted.
    /// `None`: another party was faster. The ends of 2 · `CLAIMS` claims must stay within one round
    /// of the 29-bit positions: a slot that is free again two laps later is taken for the one that
    /// was seen if it holds the same word.
    #[inline]
    #[must_use = "what is taken holds up all others"]
    pub fn take(self, end: u32, with_token: bool) -> Option<Held<'t, B, T, CLAIMS>> {
        let Self { claims, ticket, .. } = self;
        if with_token && rests(self.word) {
            self.exchange(0, end).then_some(Held::Ahead(Ahead(Token { claims, ticket })))
        } else {
            self.take_claim(end).map(Held::Claim)
        }
    }

    /// Takes the slot as [`take`](Self::take) does, and leaves the token where it is.
    #[inline]
    #[must_use = "what is taken holds up all others"]
    pub fn take_claim(self, end: u32) -> Option<Claim<'t, B, T, CLAIMS>> {
        let Self { claims, ticket, .. } = self;
        let left = if rests(self.word) { TOKEN } else { 0 };
        self.exchange(left, end).then_some(Claim { claims, ticket })
    }

    /// Makes the slot taken up to `end`, with this bit of the token, if nobody was faster.
    #[inline]
    fn exchange(&self, token: u32, end: u32) -> bool {
        let claimed = Claims::<B, T, CLAIMS>::lap(self.ticket) | token | end & POSITION;
        // ORDER(slot): Release. A party that finds the slot taken sees a `published` that let us
        // take it. Pairs with `find`. ORDER(token): Acquire: what was done in earlier claims. Pairs
        // with `leave`.
        self.claims
            .slot(self.ticket)
            .compare_exchange(self.word, claimed, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl<'t, B: Backend, T, const CLAIMS: usize> Claim<'t, B, T, CLAIMS> {
    /// Returns its ticket.
    #[must_use]
    pub const fn ticket(&self) -> u32 {
        self.ticket
    }

    /// Finishes the claim. Returns the token if that was waiting for it.
    #[inline]
    #[must_use = "nothing is published any more if the token is lost"]
    pub fn finish(self) -> Option<Token<'t, B, T, CLAIMS>> {
        let Self { claims, ticket } = self;
        // ORDER(commit): Release. A party that sees it finished sees payload and note. Pairs with
        // `pass_finished`. ORDER(token): Acquire: what was done in earlier claims. Pairs with
        // `leave`.
        let before = claims.slot(ticket).fetch_or(FINISHED, Ordering::AcqRel);
        rests(before).then_some(Token { claims, ticket })
    }
}

impl<'t, B: Backend, T, const CLAIMS: usize> Ahead<'t, B, T, CLAIMS> {
    /// Does what the claim was for, and passes it.
    #[inline]
    pub fn pass<R>(mut self, work: impl FnOnce(&mut T) -> R) -> (R, Token<'t, B, T, CLAIMS>) {
        let done = self.0.with(work);
        self.0.pass();
        (done, self.0)
    }
}

impl<B: Backend, T, const CLAIMS: usize> Token<'_, B, T, CLAIMS> {
    /// Enters the value.
    #[inline]
    pub fn with<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: (1) there is one `Token`, and it is borrowed until this call ends; the token came
        // to it by an Acquire, from the Release with which it was left.
        unsafe { self.claims.value.with(work) }
    }

    /// If the oldest unpublished claim is finished: does what is to be done with it, given its
    /// ticket and its end, and passes it.
    #[inline]
    pub fn pass_finished<R>(&mut self, done: impl FnOnce(&mut T, u32, u32) -> R) -> Option<R> {
        let ticket = self.ticket;
        // ORDER(commit): Acquire. Seeing it finished, we see the payload and the note. Pairs with
        // `finish`.
        let word = self.claims.slot(ticket).load(Ordering::Acquire);
        if !Claims::<B, T, CLAIMS>::is_finished(word, ticket) {
            return None;
        }
        let outcome = self.with(|value| done(value, ticket, word & POSITION));
        self.pass();
        Some(outcome)
    }

    /// Passes the oldest claim: its slot is free for the next lap.
    #[inline]
    fn pass(&mut self) {
        let slot = self.claims.slot(self.ticket);
        // ORDER(slot): Relaxed: nobody else changes a slot that is taken, and finished or ours.
        let word = slot.load(Ordering::Relaxed) & (LAP | POSITION);
        // ORDER(slot): Release. A party of a lap before, for which this looks free, sees that the
        // ticket it wants is published. Pairs with the load in `find`.
        slot.store(word, Ordering::Release);
        self.ticket = self.ticket.wrapping_add(1);
        // ORDER(slot): Release. A party that finds the slot published finds it emptied, and its
        // note read. Pairs with the load in `find`.
        self.claims.published.store(self.ticket, Ordering::Release);
    }

    /// Leaves the token on the slot of this ticket. Returns it again if the claim there was
    /// finished meanwhile.
    #[inline]
    #[must_use = "nothing is published any more if the token is lost"]
    pub fn leave(self) -> Option<Self> {
        // ORDER(token): Release: the next one who has the token sees what we did. Pairs with
        // `take`, `finish` and `pick_up`.
        let before = self.claims.slot(self.ticket).fetch_or(TOKEN, Ordering::Release);
        Claims::<B, T, CLAIMS>::is_finished(before, self.ticket).then_some(self)
    }
}
