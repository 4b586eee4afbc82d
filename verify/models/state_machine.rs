//! Random lives of a ring, held against a naive one: producer, up to three subscriptions, readers
//! that come, go, sleep and lie.
//!
//! 256 cases of up to 200 operations, capacity 4 to 64 granules, all payload sizes, positions from
//! 0 and around 2^32, one thread, production memory. `PROPTEST_CASES` enlarges it. After every
//! operation the shared words and all bytes from `oldest` to `tail` are checked.

#[path = "state_machine/oracle.rs"]
mod oracle;

#[path = "state_machine/world.rs"]
mod world;

use aqueduct_core::{Start, WaitMode};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use world::{SEEN, SUBSCRIPTIONS, World};

/// What a ring starts from. Operations are valid in every state (indices and sizes are taken
/// modulo), so this is all the generator knows; the oracle runs beside the ring, because where
/// `Start::Oldest` begins is the ring's choice within limits.
#[derive(Clone, Debug)]
struct Shape {
    capacity: u32,
    first_position: u32,
    /// Subtracted from the largest payload.
    smaller: u32,
    /// Readers attached from the start.
    readers: usize,
}

#[derive(Clone, Copy, Debug)]
enum Buffer {
    Ample,
    Exact,
    Short,
}

#[derive(Clone, Copy, Debug)]
enum Notice {
    Backlog,
    Subscription,
    Detach,
}

#[derive(Clone, Debug)]
enum Op {
    Append {
        len: usize,
    },
    Push {
        len: usize,
    },
    Grant {
        len: usize,
        pieces: Vec<usize>,
        commit: bool,
    },
    Publish,
    WantSpace {
        len: usize,
    },
    Read {
        sub: usize,
        buffer: Buffer,
    },
    /// Reads everything and releases it: one reader, or all.
    Drain {
        sub: usize,
        all: bool,
    },
    Release {
        sub: usize,
    },
    Subscribe {
        start: bool,
    },
    Unsubscribe {
        sub: usize,
    },
    Attach {
        sub: usize,
        detach_first: bool,
    },
    Detach {
        sub: usize,
    },
    Reopen {
        sub: usize,
    },
    Lie {
        sub: usize,
        raw: u32,
        notice: Notice,
    },
    Inspect {
        sub: usize,
    },
    FallAsleep {
        sub: usize,
        futex: bool,
        drain: bool,
    },
    WakeUp {
        sub: usize,
        timed_out: bool,
    },
    Close,
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Shape;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Shape> {
        let first = prop_oneof![
            Just(0),
            0..256_u32,
            (0..256_u32).prop_map(|below| u32::MAX - below),
            any::<u32>()
        ];
        let smaller = prop_oneof![3 => Just(0), 1 => 0..64_u32];
        (2..=6_u32, first, smaller, prop_oneof![1 => Just(0), 3 => Just(1), 2 => Just(2)])
            .prop_map(|(log2, first_position, smaller, readers)| Shape {
                capacity: 1 << log2,
                first_position,
                smaller,
                readers,
            })
            .boxed()
    }

    fn transitions(_: &Shape) -> BoxedStrategy<Op> {
        let sub = || 0..SUBSCRIPTIONS * 2;
        let len = || prop_oneof![2 => 0..20_usize, 2 => 0..100_usize, 1 => 0..4096_usize];
        let buffer = prop_oneof![4 => Just(Buffer::Ample), 1 => Just(Buffer::Exact), 1 => Just(Buffer::Short)];
        let notice =
            prop_oneof![Just(Notice::Backlog), Just(Notice::Subscription), Just(Notice::Detach)];
        prop_oneof![
            15 => len().prop_map(|len| Op::Append { len }),
            35 => len().prop_map(|len| Op::Push { len }),
            10 => (len(), prop::collection::vec(0..50_usize, 0..6), any::<bool>())
                .prop_map(|(len, pieces, commit)| Op::Grant { len, pieces, commit }),
            8 => Just(Op::Publish),
            4 => len().prop_map(|len| Op::WantSpace { len }),
            40 => (sub(), buffer).prop_map(|(sub, buffer)| Op::Read { sub, buffer }),
            20 => sub().prop_map(|sub| Op::Release { sub }),
            15 => (sub(), any::<bool>()).prop_map(|(sub, all)| Op::Drain { sub, all }),
            2 => any::<bool>().prop_map(|start| Op::Subscribe { start }),
            3 => sub().prop_map(|sub| Op::Unsubscribe { sub }),
            12 => (sub(), any::<bool>()).prop_map(|(sub, detach_first)| Op::Attach { sub, detach_first }),
            2 => sub().prop_map(|sub| Op::Detach { sub }),
            5 => sub().prop_map(|sub| Op::Reopen { sub }),
            1 => (sub(), any::<u32>(), notice).prop_map(|(sub, raw, notice)| Op::Lie { sub, raw, notice }),
            5 => sub().prop_map(|sub| Op::Inspect { sub }),
            20 => (sub(), any::<bool>(), any::<bool>()).prop_map(|(sub, futex, drain)| Op::FallAsleep { sub, futex, drain }),
            4 => (sub(), any::<bool>()).prop_map(|(sub, timed_out)| Op::WakeUp { sub, timed_out }),
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
            Op::Append { len } => world.append(world.len(len), false),
            Op::Push { len } => world.append(world.len(len), true),
            Op::Grant { len, pieces, commit } => world.grant(world.len(len), &pieces, commit),
            Op::Publish => {
                let wake = world.producer.publish();
                world.published(wake);
            }
            Op::WantSpace { len } => world.want_space(world.len(len)),
            Op::Subscribe { start } => {
                world.subscribe(if start { Start::Oldest } else { Start::Latest });
            }
            Op::Close => world.close(),
            Op::Unsubscribe { sub } => world.on(sub, false, World::unsubscribe),
            Op::Attach { sub, detach_first } => {
                world.on(sub, false, |world, sub| world.attach(sub, detach_first));
            }
            Op::Detach { sub } => world.on(sub, false, World::detach),
            Op::Inspect { sub } => world.on(sub, false, World::inspect),
            Op::Read { sub, buffer } => world.on(sub, true, |world, sub| world.read(sub, buffer)),
            Op::Release { sub } => world.on(sub, true, World::release),
            Op::Reopen { sub } => world.on(sub, true, World::reopen),
            Op::Lie { sub, raw, notice } => {
                world.on(sub, true, |world, sub| world.lie(sub, raw, notice));
            }
            Op::Drain { sub, all: false } => world.on(sub, true, World::drain),
            Op::Drain { all: true, .. } => (0..SUBSCRIPTIONS).for_each(|sub| world.drain(sub)),
            Op::FallAsleep { sub, futex, drain } => {
                let mode = if futex { WaitMode::Futex } else { WaitMode::Socket };
                world.on(sub, true, |world, sub| {
                    if drain {
                        world.drain(sub);
                    }
                    world.fall_asleep(sub, mode);
                });
            }
            Op::WakeUp { sub, timed_out } => {
                world.on(sub, true, |world, sub| world.wake_up(sub, timed_out));
            }
        }
        world.check();
        world
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("models/proptest-regressions/state_machine.txt"))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    fn lives(sequential 1..200 => Machine);
}

#[test]
fn a_ring_behaves_like_a_list() {
    lives();
    println!("state machine: {}", *SEEN);
    let enough = ProptestConfig::default().cases >= 64;
    for name in [
        "read",
        "read after a lap",
        "full",
        "closed",
        "short buffer",
        "lie",
        "told",
        "woken",
        "slept in vain",
        "read again",
    ] {
        assert!(!enough || SEEN.count(name) > 0, "{name} never happened: {}", *SEEN);
    }
}
