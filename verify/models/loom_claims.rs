//! The table of claims and its token by itself: claims follow one another without a gap, each is
//! passed once, and one party at a time has the token.
//!
//! Bounds: 2 parties with 1 or 2 claims each, or 3 with 1; a table of 2 or 4 slots; 1 to 3
//! pre-emptions as said. A claim's note is a plain cell, written by its claimant and read by
//! the party that passes it, and so is the value: loom reports every access that no ordering of
//! [`Claims`] covers. Not vacuous: each test asserts that what it is about was seen, and each
//! spoilt ordering is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use aqueduct_core::internals::claims::{self, Claims, Held, POSITION, Token};
use aqueduct_verify::explore::{Bound, Events, UNORDERED, explore, refuse, refuse_for_any};
use aqueduct_verify::loom_backend::{Access, Loom, Role, Spoilt, with_roles_of_claims};
use loom::cell::UnsafeCell;
use loom::thread;

const ONE: Bound = Bound::preemptions(1);
const TWO: Bound = Bound::preemptions(2);
/// Debug builds are ten times slower.
const USUAL: Bound = if cfg!(debug_assertions) { ONE } else { TWO };
const THREE: Bound = Bound::preemptions(3);

/// Where the first claim begins: before the positions come round.
const FROM: u32 = POSITION - 2;

/// What was passed: who claimed it and where it ends.
type Log = Vec<(u32, u32)>;

struct Table<const CLAIMS: usize> {
    claims: Claims<Loom, Log, CLAIMS>,
    /// Who claimed the slot.
    notes: [UnsafeCell<u32>; CLAIMS],
}

// SAFETY: loom runs one thread at a time and reports unordered accesses of a note before it makes
// them.
unsafe impl<const CLAIMS: usize> Sync for Table<CLAIMS> {}

impl<const CLAIMS: usize> Table<CLAIMS> {
    fn new(spoilt: &'static [Spoilt]) -> Arc<Self> {
        let notes = std::array::from_fn(|_| UnsafeCell::new(0));
        Arc::new(with_roles_of_claims(CLAIMS, spoilt, || Self {
            claims: Claims::new(Log::new(), FROM),
            notes,
        }))
    }

    fn note(&self, ticket: u32) -> &UnsafeCell<u32> {
        &self.notes[ticket as usize % CLAIMS]
    }

    /// One claim of `granules`. How it went: refused, passed by itself with the slot's exchange or
    /// after its finish, or left to another.
    fn claim(&self, who: u32, granules: u32, with_turn: bool) -> Way {
        loop {
            let Ok(free) = self.claims.find() else { return Way::Refused };
            let end = free.head() + granules;
            match free.take(end, with_turn) {
                None => {}
                Some(Held::Ahead(ahead)) => {
                    let ((), token) = ahead.pass(|log| log.push((who, end & POSITION)));
                    self.leave(token);
                    return Way::Direct;
                }
                Some(Held::Claim(claim)) => {
                    self.note(claim.ticket()).with_mut(|note| {
                        // SAFETY: loom has just checked that no other access is under way or
                        // unordered with this one.
                        unsafe { *note = who }
                    });
                    let Some(mut token) = claim.finish() else { return Way::Left };
                    // A token is ordered by itself, whatever is looked at next.
                    token.with(|log| assert!(log.len() < 100));
                    self.go_on(token);
                    return Way::Finished;
                }
            }
        }
    }

    /// Passes what is finished, and leaves the token.
    fn go_on(&self, mut token: Token<'_, Loom, Log, CLAIMS>) {
        let pass = |log: &mut Log, ticket, end| {
            let who = self.note(ticket).with(|note| {
                // SAFETY: as above.
                unsafe { *note }
            });
            log.push((who, end));
        };
        while token.pass_finished(pass).is_some() {}
        self.leave(token);
    }

    fn leave(&self, token: Token<'_, Loom, Log, CLAIMS>) {
        if let Some(again) = token.leave() {
            self.go_on(again);
        }
    }

    /// Looks at the value; whether it could.
    fn look(&self) -> bool {
        let Some(mut token) = self.claims.pick_up() else { return false };
        token.with(|log| assert!(log.len() < 100));
        self.leave(token);
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Refused,
    Direct,
    Finished,
    Left,
}

/// What each party does.
#[derive(Clone, Copy)]
enum Step {
    /// Claims so many granules, and wants the token.
    Push(u32),
    /// Claims so many, and does not.
    Claim(u32),
    /// Picks the token up.
    Look,
}

use Step::{Claim, Look, Push};

/// All parties at once, the last one on this thread.
fn all<const CLAIMS: usize>(
    spoilt: &'static [Spoilt],
    parties: &'static [&'static [Step]],
    events: &Events,
) {
    let table = Table::<CLAIMS>::new(spoilt);
    let work = |who: u32, steps: &'static [Step]| {
        let table = table.clone();
        move || {
            let mut claims = Vec::new();
            for &step in steps {
                let (granules, way) = match step {
                    Push(granules) => (granules, table.claim(who, granules, true)),
                    Claim(granules) => (granules, table.claim(who, granules, false)),
                    Look => {
                        let looked = table.look();
                        claims.push((0, if looked { Way::Finished } else { Way::Refused }));
                        continue;
                    }
                };
                claims.push((granules, way));
            }
            claims
        }
    };
    let (last, others) = parties.split_last().expect("a party");
    let threads: Vec<_> =
        (1..).zip(others).map(|(who, steps)| thread::spawn(work(who, steps))).collect();
    let mut ways = vec![work(0, last)()];
    ways.extend(threads.into_iter().map(|thread| thread.join().expect("a party")));
    assert_eq!(table.claims.unfinished(), None, "{NOT_PASSED}");
    let table = Arc::into_inner(table).expect("all are joined");
    let log = table.claims.into_inner();
    let mut head = FROM;
    let mut passed = vec![Vec::new(); parties.len()];
    for (who, end) in log {
        passed[who as usize].push(end.wrapping_sub(head) & POSITION);
        head = end;
    }
    for (passed, ways) in passed.iter().zip(&ways) {
        let claimed: Vec<u32> =
            ways.iter().filter(|way| way.0 > 0 && way.1 != Way::Refused).map(|way| way.0).collect();
        assert_eq!(passed, &claimed, "{NOT_PASSED}");
        for &(granules, way) in ways {
            match (granules, way) {
                (0, Way::Refused) => events.add("contended", 1),
                (0, _) => events.add("looked", 1),
                (_, Way::Refused) => events.add("no slot", 1),
                (_, Way::Direct) => events.add("with the token", 1),
                (_, Way::Finished) => events.add("passed by its claimant", 1),
                (_, Way::Left) => events.add("passed by another", 1),
            }
        }
    }
}

/// Both push and claim, in a table that is larger than what they claim.
const MIXED: &[&[Step]] = &[&[Push(1), Claim(2)], &[Claim(3), Push(4)]];
/// More than a lap of a table of two.
const LAPS: &[&[Step]] = &[&[Push(1), Push(2), Push(3)], &[Push(4), Claim(5)]];
const LOOKING: &[&[Step]] = &[&[Push(1), Look], &[Look, Push(2)]];
const THREE_PARTIES: &[&[Step]] = &[&[Push(1)], &[Claim(2)], &[Push(3)]];

fn assert_seen(events: &Events, names: &[&str]) {
    for name in names {
        assert!(events.count(name) > 0, "{name}: {events}");
    }
}

#[test]
fn claims_are_passed_once_and_in_order() {
    let events = explore("claims, mixed", USUAL, |events| all::<4>(&[], MIXED, events));
    assert_seen(&events, &["with the token", "passed by its claimant", "passed by another"]);
}

#[test]
fn a_slot_is_used_again_only_when_it_is_passed() {
    let events = explore("claims, laps", ONE, |events| all::<2>(&[], LAPS, events));
    assert_seen(&events, &["with the token", "passed by its claimant", "passed by another"]);
}

/// Takes the next slot of a table in which nothing is wanted but that.
fn claim_next(table: &Table<2>) -> Option<claims::Claim<'_, Loom, Log, 2>> {
    let free = table.claims.find().ok()?;
    let end = free.head() + 1;
    match free.take(end, false)? {
        Held::Claim(claim) => Some(claim),
        Held::Ahead(_) => panic!("not wanted"),
    }
}

/// All slots are taken. One party passes the first; of two others, one may take it for the next lap
/// and stop. For the other it may look free for this lap then.
fn lapped(spoilt: &'static [Spoilt], events: &Events) {
    let table = Table::<2>::new(spoilt);
    let [first, _second] = [(); 2].map(|()| claim_next(&table).expect("a free table"));
    let others = [(); 2].map(|()| {
        let table = table.clone();
        // Never finished, and so never passed.
        thread::spawn(move || claim_next(&table).is_some())
    });
    table.go_on(first.finish().expect("the token waited for it"));
    let taken = others
        .map(|other| other.join().expect("a party"))
        .into_iter()
        .filter(|&taken| taken)
        .count();
    assert!(taken < 2, "one slot for two");
    events.note("taken", taken == 1);
    events.note("no slot", taken == 0);
}

#[test]
fn a_slot_of_the_next_lap_is_not_free_for_a_party_of_this_one() {
    let events = explore("claims, lapped", USUAL, |events| lapped(&[], events));
    assert_seen(&events, &["taken", "no slot"]);
}

#[test]
fn taking_a_slot_without_release_is_refused() {
    const SPOILT: &[Spoilt] = &[(Role::Slot, Access::Take, Acquire)];
    refuse("claims, lapped, spoilt", "one slot for two", TWO, |events| lapped(SPOILT, events));
}

#[test]
fn the_turn_is_picked_up_by_one_party_at_a_time() {
    let events = explore("claims, looking", THREE, |events| all::<2>(&[], LOOKING, events));
    assert_seen(&events, &["with the token", "looked", "contended", "passed by another"]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn three_parties_pass_each_other_on() {
    let events = explore("claims, three", ONE, |events| all::<4>(&[], THREE_PARTIES, events));
    assert_seen(&events, &["with the token", "passed by its claimant", "passed by another"]);
}

const NOT_PASSED: &str = "not passed once and in order";

macro_rules! refused {
    ($($name:ident: $role:ident $access:ident made $order:ident, in $parties:ident of $claims:literal, within $bound:ident;)*) => {$(
        #[test]
        fn $name() {
            const SPOILT: &[Spoilt] = &[(Role::$role, Access::$access, $order)];
            refuse_for_any("claims, spoilt", &[UNORDERED, NOT_PASSED], $bound, |events| all::<$claims>(SPOILT, $parties, events));
        }
    )*};
}

refused! {
    passing_a_slot_without_release_is_refused: Slot Store made Relaxed, in LAPS of 2, within ONE;
    taking_the_turn_without_acquire_is_refused: Slot Take made Release, in LOOKING of 2, within TWO;
    finishing_without_release_is_refused: Slot Finish made Acquire, in MIXED of 4, within ONE;
    finishing_without_acquire_is_refused: Slot Finish made Release, in MIXED of 4, within TWO;
    picking_up_without_acquire_is_refused: Slot PickUp made Relaxed, in LOOKING of 2, within ONE;
    leaving_without_release_is_refused: Slot Leave made Relaxed, in LOOKING of 2, within ONE;
    looking_for_slots_without_acquire_is_refused: Slot Load made Relaxed, in MIXED of 4, within ONE;
    publishing_without_release_is_refused: Published Store made Relaxed, in LAPS of 2, within ONE;
    looking_for_the_published_without_acquire_is_refused: Published Load made Relaxed, in LAPS of 2, within ONE;
}
