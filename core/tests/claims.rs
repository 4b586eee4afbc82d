//! The claim table by itself, one party after the other: what was seen free long ago is never taken
//! for what is there now.

use aqueduct_core::internals::claims::{Claim, Claims, Held, POSITION, Token};
use aqueduct_core::shared::Native;

type Table = Claims<Native, u32, 2>;

fn leave(token: Token<'_, Native, u32, 2>) {
    assert!(token.leave().is_none(), "nobody else is there");
}

/// One claim of so many granules, passed by its own exchange.
fn push(table: &Table, granules: u32) {
    let free = table.find().expect("a free slot");
    let end = free.head().wrapping_add(granules);
    let Some(Held::Ahead(ahead)) = free.take(end, true) else { panic!("nothing is in flight") };
    let ((), token) = ahead.pass(|count| *count += 1);
    leave(token);
}

fn claim(table: &Table, granules: u32) -> Claim<'_, Native, u32, 2> {
    let free = table.find().expect("a free slot");
    let end = free.head().wrapping_add(granules);
    let Some(Held::Claim(claim)) = free.take(end, false) else { panic!("nobody else is there") };
    claim
}

#[test]
fn slot_seen_free_before_any_lap_is_not_taken_from_a_claim_of_the_next() {
    // Positions around every multiple of 2^29, where an end of 0 comes up.
    for from in (POSITION - 6..=POSITION).chain(0..3) {
        for granules in 1..3 {
            let table = Table::new(0, from);
            let old = table.find().expect("a free slot");
            push(&table, granules);
            push(&table, granules);
            let held = claim(&table, granules);
            assert!(
                old.take(from.wrapping_add(granules), false).is_none(),
                "from {from:#x} by {granules}"
            );
            let mut token = held.finish().expect("the token waited for it");
            assert_eq!(token.pass_finished(|count, ticket, _| (*count, ticket)), Some((2, 2)));
            leave(token);
        }
    }
}

#[test]
fn there_is_one_turn_even_if_positions_lie() {
    // Claims of no length come back to the same word after two laps, which those of a ring never
    // do.
    let table = Table::new(0, 0);
    let old = table.find().expect("a free slot");
    for _ in 0..2 {
        let mut token = claim(&table, 0).finish().expect("the token waited for it");
        assert_eq!(token.pass_finished(|count, _, _| *count += 1), Some(()));
        leave(token);
    }
    let held = claim(&table, 0);
    let Some(Held::Claim(twice)) = old.take(0, false) else { panic!("it looks the same") };
    let claims = [twice.finish(), held.finish()];
    assert_eq!(claims.iter().flatten().count(), 1);
}

#[test]
fn turn_is_picked_up_once_and_found_again_where_it_was_left() {
    let table = Table::new(7, 5);
    let mut token = table.pick_up().expect("nobody has it");
    assert!(table.is_token_held() && table.pick_up().is_none());
    assert_eq!(token.with(|value| *value), 7);
    let open = claim(&table, 1);
    assert_eq!((token.pass_finished(|_, _, _| ()), table.unfinished()), (None, Some((0, 1))));
    let next = table.find().expect("a free slot");
    assert_eq!((next.in_flight(), next.head()), (1, 6));
    leave(token);
    assert!(!table.is_token_held());
    let finished = open.finish();
    assert!(
        table.is_token_held() && table.pick_up().is_none(),
        "behind a finished claim it is had by its claimant"
    );
    let mut token = finished.expect("it was waiting");
    assert_eq!(token.pass_finished(|value, ticket, end| (*value, ticket, end)), Some((7, 0, 6)));
    leave(token);
    assert_eq!(table.into_inner(), 7);
}
