//! Random lives of a ring, held against a queue: observers with exact losses, rings that overwrite,
//! crashes and recovery, many producers.
//!
//! 256 cases of up to 200 operations, capacity 4 to 64 granules, all payload sizes, positions from
//! 0 and around 2^32, up to 3 subscriptions, 2 observers, 4 claims in flight in any order; one
//! thread, production memory. `PROPTEST_CASES` enlarges it. After every operation the shared words
//! and every header from `oldest` to `tail` are checked. What `state_machine.rs` does (sleeping,
//! waking, asking for space) is left out.

#[path = "state_machine_recovery/oracle.rs"]
mod oracle;

#[path = "state_machine_recovery/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use world::{SEEN, World};

const SUBSCRIPTIONS: usize = 3;
const OBSERVERS: usize = 2;

/// What a ring starts from. Operations are valid in every state (indices and sizes are taken
/// modulo), so this is all the generator knows.
#[derive(Clone, Debug)]
struct Shape {
    capacity: u32,
    first_position: u32,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug)]
enum Where {
    Oldest,
    Latest,
    /// At a boundary.
    At,
    /// Outside.
    Beyond,
}

/// Where a recovery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Oldest,
    /// At whatever is farthest back, so that every stored cursor is kept.
    Slowest,
    /// At a stored cursor, with its number.
    Cursor(usize),
}

/// What happens while the producer is shared.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Claim(usize),
    Commit { which: usize, less: usize },
    Drop { which: usize },
    Read { sub: usize },
    Observe { which: usize },
}

#[derive(Clone, Debug)]
enum Op {
    Append { len: usize, publish: bool },
    Publish,
    Grant { len: usize, less: usize, commit: bool },
    Subscribe { place: Where, raw: u32 },
    Unsubscribe { sub: usize },
    Attach { sub: usize },
    Lie { sub: usize, raw: u32 },
    Read { sub: usize, records: usize, release: bool },
    Batch { sub: usize, limit: usize },
    Seek { sub: usize, raw: u32 },
    Skip { sub: usize },
    Lag { sub: usize },
    Join { which: usize, oldest: bool },
    Observe { which: usize, looks: usize },
    ObserverSeek { which: usize, raw: u32 },
    ObserverLag { which: usize },
    Session { turns: Vec<Turn> },
    Crash { longest: bool, from: From, sharing: Option<Vec<Turn>> },
    Close,
}

struct Machine;

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        6 => len().prop_map(Turn::Claim),
        4 => (0..4_usize, prop_oneof![2 => Just(0), 1 => 0..90_usize]).prop_map(|(which, less)| Turn::Commit { which, less }),
        1 => (0..4_usize).prop_map(|which| Turn::Drop { which }),
        2 => (0..SUBSCRIPTIONS).prop_map(|sub| Turn::Read { sub }),
        1 => (0..OBSERVERS).prop_map(|which| Turn::Observe { which }),
    ];
    prop::collection::vec(turn, 1..14)
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..20_usize, 2 => 0..100_usize, 1 => 0..4096_usize]
}

impl ReferenceStateMachine for Machine {
    type State = Shape;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Shape> {
        let first = prop_oneof![
            Just(0),
            0..256_u32,
            (0..400_u32).prop_map(|below| u32::MAX - below),
            any::<u32>()
        ];
        (2..=6_u32, first)
            .prop_map(|(log2, first_position)| Shape { capacity: 1 << log2, first_position })
            .boxed()
    }

    fn transitions(_: &Shape) -> BoxedStrategy<Op> {
        let sub = || 0..SUBSCRIPTIONS;
        let which = || 0..OBSERVERS;
        let place = prop_oneof![3 => Just(Where::Oldest), 2 => Just(Where::Latest), 3 => Just(Where::At), 1 => Just(Where::Beyond)];
        let from = prop_oneof![1 => Just(From::Oldest), 2 => Just(From::Slowest), 1 => sub().prop_map(From::Cursor)];
        prop_oneof![
            40 => (len(), prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(|(len, publish)| Op::Append { len, publish }),
            6 => Just(Op::Publish),
            8 => (len(), 0..40_usize, any::<bool>()).prop_map(|(len, less, commit)| Op::Grant { len, less, commit }),
            8 => (place, any::<u32>()).prop_map(|(place, raw)| Op::Subscribe { place, raw }),
            3 => sub().prop_map(|sub| Op::Unsubscribe { sub }),
            14 => sub().prop_map(|sub| Op::Attach { sub }),
            1 => (sub(), any::<u32>()).prop_map(|(sub, raw)| Op::Lie { sub, raw }),
            25 => (sub(), 1..5_usize, any::<bool>()).prop_map(|(sub, records, release)| Op::Read { sub, records, release }),
            10 => (sub(), 0..6_usize).prop_map(|(sub, limit)| Op::Batch { sub, limit }),
            4 => (sub(), any::<u32>()).prop_map(|(sub, raw)| Op::Seek { sub, raw }),
            1 => sub().prop_map(|sub| Op::Skip { sub }),
            4 => sub().prop_map(|sub| Op::Lag { sub }),
            4 => (which(), any::<bool>()).prop_map(|(which, oldest)| Op::Join { which, oldest }),
            20 => (which(), 1..6_usize).prop_map(|(which, looks)| Op::Observe { which, looks }),
            5 => (which(), any::<u32>()).prop_map(|(which, raw)| Op::ObserverSeek { which, raw }),
            5 => which().prop_map(|which| Op::ObserverLag { which }),
            8 => turns().prop_map(|turns| Op::Session { turns }),
            3 => (any::<bool>(), from, prop::option::of(turns())).prop_map(|(longest, from, sharing)| Op::Crash { longest, from, sharing }),
            1 => prop_oneof![2 => Just(Op::Publish), 1 => Just(Op::Close)],
        ]
        .boxed()
    }

    fn apply(shape: Shape, _: &Op) -> Shape {
        shape
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(shape: &Shape) -> World {
        World::new(shape)
    }

    fn apply(mut world: World, _: &Shape, op: Op) -> World {
        match op {
            Op::Append { len, publish } => world.append(len, publish),
            Op::Publish => world.publish(),
            Op::Grant { len, less, commit } => world.grant(len, less, commit),
            Op::Subscribe { place, raw } => world.subscribe(place, raw),
            Op::Unsubscribe { sub } => world.unsubscribe(sub),
            Op::Attach { sub } => world.attach(sub),
            Op::Lie { sub, raw } => world.lie(sub, raw),
            Op::Read { sub, records, release } => world.read(sub, records, release),
            Op::Batch { sub, limit } => world.batch(sub, limit),
            Op::Seek { sub, raw } => world.seek(sub, raw),
            Op::Skip { sub } => world.skip(sub),
            Op::Lag { sub } => world.lag(sub),
            Op::Join { which, oldest } => world.join(which, oldest),
            Op::Observe { which, looks } => world.observe(which, looks),
            Op::ObserverSeek { which, raw } => world.observer_seek(which, raw),
            Op::ObserverLag { which } => world.observer_lag(which),
            Op::Session { turns } => world.session(&turns, false),
            Op::Crash { longest, from, sharing } => {
                if let Some(turns) = sharing {
                    world.session(&turns, true);
                }
                world.crash(longest, from);
            }
            Op::Close => world.close(),
        }
        world.check();
        world
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("models/proptest-regressions/state_machine_recovery.txt"))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    fn lives(sequential 1..200 => Machine);
}

#[test]
fn observers_crashes_and_many_producers_agree_with_a_queue() {
    lives();
    println!("recovery state machine: {}", *SEEN);
    let enough = ProptestConfig::default().cases >= 64;
    for name in [
        "read",
        "batch",
        "full",
        "found",
        "gone",
        "observed",
        "overrun",
        "observer found",
        "evicted",
        "shared",
        "committed after another",
        "given up",
        "killed with claims in flight",
        "crash",
        "cut",
        "more than published",
        "cursor kept",
        "number unknown",
        "subscribed in the middle",
        "cursor before oldest",
    ] {
        assert!(!enough || SEEN.count(name) > 0, "{name} never happened: {}", *SEEN);
    }
}
