//! Loss of power, at every step, on a simulated file system; every call that fails once.

mod parts;
mod sim;
mod story;

use self::sim::{All, Choice, Fault, Random, Sim, State};
use self::story::{BOOT, Life, Oracle, facts};
use super::format::{Durability, segment_name};
use super::recover::{Damage, OpenError, Opened};
use super::seeded::{self, Bug};

/// Images of one state that are looked at one by one; of more, so many are drawn.
const IMAGES_OF_A_STATE: usize = 600;

/// What a story was at each change of the disk.
struct Told {
    states: Vec<State>,
    /// What was known when so many states had been.
    known: Vec<(usize, Oracle)>,
}

impl Told {
    /// What was known at a state, at the latest.
    fn oracle(&self, state: usize) -> &Oracle {
        let upto = self.known.partition_point(|(states, _)| *states <= state + 1);
        &self.known[upto - 1].1
    }
}

/// How images are counted.
#[derive(Default)]
struct Tally {
    images: usize,
    /// States of which every image was looked at.
    exhausted: usize,
    states: usize,
    sizes: (usize, usize),
}

/// Lives on, at random, for so many steps, from a state that was left by others.
fn tell(from: State, oracle: Oracle, epoch: u64, steps: usize, random: &mut Random) -> Told {
    let (sim, mut oracle) = (Sim::of(from), oracle);
    sim.record();
    let mut known = vec![(0, oracle.clone())];
    let mut life = match Life::start(&sim, Durability::Disk, BOOT, epoch, &mut oracle) {
        Ok(life) => life,
        Err(error) => panic!("it does not start: {error}"),
    };
    known.push((sim.trail_len(), oracle.clone()));
    for _ in 0..steps {
        match random.choose(8) {
            0..=3 => {
                let sizes: Vec<usize> =
                    (0..=random.choose(3)).map(|_| random.choose(200)).collect();
                let batch = life.append(&sizes, random, &mut oracle);
                known.push((sim.trail_len(), oracle.clone()));
                life.commit(&batch, &mut oracle).expect("a file system without faults");
            }
            4 if random.choose(4) == 0 => life.release_far(1 + random.choose(6), &mut oracle),
            4 => life.release(random.choose(2), 1 + random.choose(3), &mut oracle),
            5 => life.save(random.choose(2) == 0, &oracle).expect("no faults"),
            6 => {
                for which in 0..2 {
                    life.release(which, 9, &mut oracle);
                }
                known.push((sim.trail_len(), oracle.clone()));
                life.save(random.choose(2) == 0, &oracle).expect("no faults");
                life.tidy().expect("no faults");
            }
            _ => life.prepare().expect("no faults"),
        }
        known.push((sim.trail_len(), oracle.clone()));
    }
    drop(life);
    Told { states: sim.take_trail(), known }
}

/// Recovers from an image and compares; the image after a start and an end, for more.
fn recover(image: State, oracle: &Oracle, numbers_hold: bool) -> Result<Sim, String> {
    let sim = Sim::of(image);
    let opened = Opened::open(sim.clone(), facts(Durability::Disk))
        .map_err(|error| format!("it does not open: {error}"))?;
    let found = story::records(&opened).map_err(|error| format!("it is not read: {error}"))?;
    oracle.check(opened.past.as_ref(), &found, numbers_hold)?;
    oracle.check_fed(&opened)?;
    Ok(sim)
}

/// Looks at the images of every state. Returns the first complaint.
fn look(told: &Told, tally: &mut Tally, random: &mut Random) -> Result<(), String> {
    for (index, state) in told.states.iter().enumerate() {
        let oracle = told.oracle(index);
        tally.states += 1;
        let mut all = All::default();
        let mut looked = 0;
        let exhausted = loop {
            recover(state.image(&mut all), oracle, true)
                .map_err(|error| format!("state {index}, image {looked}: {error}"))?;
            looked += 1;
            if !all.advance() {
                break true;
            }
            if looked == IMAGES_OF_A_STATE {
                break false;
            }
        };
        tally.exhausted += usize::from(exhausted);
        if !exhausted {
            for drawn in 0..IMAGES_OF_A_STATE {
                recover(state.image(random), oracle, true)
                    .map_err(|error| format!("state {index}, drawn {drawn}: {error}"))?;
            }
            looked += IMAGES_OF_A_STATE;
        }
        tally.images += looked;
        let (files, bytes) = state.size();
        tally.sizes = (tally.sizes.0.max(files), tally.sizes.1.max(bytes));
    }
    Ok(())
}

/// Tells stories, one life after the other, each begun on what a loss of power left of the one
/// before, until so many images were looked at.
fn campaign(images: usize, seed: u64) -> Result<Tally, String> {
    let (mut tally, mut story) = (Tally::default(), 0);
    while tally.images < images {
        story += 1;
        let mut random = Random(seed.wrapping_mul(0x1000) + story);
        let (mut state, mut oracle) = (State::default(), Oracle::default());
        for life in 0..3 {
            let (epoch, steps) = (story * 8 + life + 1, 2 + random.choose(8));
            let told = tell(state, oracle, epoch, steps, &mut random);
            look(&told, &mut tally, &mut random)
                .map_err(|error| format!("seed {seed}, story {story}, life {life}: {error}"))?;
            let at = random.choose(told.states.len());
            // The power goes, or only the process.
            state = if random.choose(3) == 0 {
                told.states[at].killed()
            } else {
                told.states[at].image(&mut random)
            };
            oracle = told.oracle(at).clone();
        }
    }
    Ok(tally)
}

fn images_wanted() -> usize {
    std::env::var("JOURNAL_IMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

#[test]
fn no_loss_of_power_loses_or_repeats_or_invents_a_record() {
    let seed = std::env::var("JOURNAL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let tally = campaign(images_wanted(), seed).unwrap_or_else(|error| panic!("{error}"));
    println!(
        "images={} states={} exhausted={} files={} bytes={}",
        tally.images, tally.states, tally.exhausted, tally.sizes.0, tally.sizes.1
    );
    assert!(tally.exhausted * 2 > tally.states, "most states are enumerated");
    // Two epochs' segments, one to spare, cursors and the lock: nothing grows.
    assert!(tally.sizes.0 <= 24, "{} files", tally.sizes.0);
}

#[test]
fn every_mistake_that_is_made_on_purpose_is_noticed() {
    for bug in [
        Bug::PublishBeforeSync,
        Bug::NoDirectorySync,
        Bug::HeaderTrusted,
        Bug::CursorAfterUnlink,
        Bug::CopyTrusted,
    ] {
        seeded::make(Some(bug));
        let noticed = std::panic::catch_unwind(|| campaign(60_000, 1));
        seeded::make(None);
        // A complaint, or a start that fails.
        assert!(!matches!(noticed, Ok(Ok(_))), "{bug:?} was not noticed");
    }
}

/// Errors that a call may have; 0 is a short read or write.
fn errnos(call: &str) -> &'static [i32] {
    use libc::{EACCES, EBADF, EDQUOT, EFBIG, EINTR, EIO, EMFILE, ENOENT, ENOSPC, EROFS, ESTALE};
    match call {
        "pwrite" => &[0, EIO, ENOSPC, EDQUOT, EFBIG, EINTR, EROFS, ESTALE],
        "pread" => &[0, EIO, EINTR, ESTALE],
        "fdatasync" => &[EIO, ENOSPC, EDQUOT, EINTR, EROFS],
        "fallocate" => &[ENOSPC, EIO, EFBIG, EINTR, EDQUOT],
        "open" | "create" => &[EMFILE, ENOENT, EACCES, EROFS, EIO, ENOSPC],
        "lock" => &[EBADF, EINTR, EIO],
        _ => &[EIO, ENOSPC, ENOENT, EROFS, EACCES],
    }
}

/// A life in which every call of the journal happens at least once, with a start on what another
/// left. Returns whether nothing failed.
fn eventful(sim: &Sim, oracle: &mut Oracle) -> bool {
    let mut random = Random(5);
    let mut is_whole = true;
    for epoch in 1..=2 {
        let Ok(mut life) = Life::start(sim, Durability::Disk, BOOT, epoch, oracle) else {
            return false;
        };
        let mut has_failed = false;
        for step in 0..6 {
            let batch = life.append(&[40, 10, 90], &mut random, oracle);
            let result = life.commit(&batch, oracle);
            assert!(!(has_failed && result.is_ok()), "it goes on after a failure");
            has_failed |= result.is_err();
            life.release(0, 2 + step, oracle);
            life.release(1, 3, oracle);
            let seen_to = life.prepare().is_ok() & life.save(step % 2 == 0, oracle).is_ok();
            is_whole &= !has_failed & seen_to & life.tidy().is_ok();
        }
    }
    is_whole
}

#[test]
fn every_call_fails_once_at_every_place_with_each_errno() {
    let sim = Sim::default();
    assert!(eventful(&sim, &mut Oracle::default()));
    let calls = sim.calls();
    for call in ["pwrite", "pread", "fdatasync", "fallocate", "create", "open", "rename", "unlink"]
    {
        assert!(calls.contains(&call), "{call} never happens");
    }
    let mut runs = 0;
    for (call, name) in calls.iter().enumerate() {
        for &errno in errnos(name) {
            let (sim, mut oracle) = (Sim::default(), Oracle::default());
            sim.fail(Fault { call, errno, short: errno == 0 });
            let is_whole = eventful(&sim, &mut oracle);
            if errno == 0 || (errno == libc::EINTR && name.starts_with('p')) {
                assert!(is_whole, "call {call}, {name}: {errno} is no failure");
            }
            let at = |error| format!("call {call}, {name}, errno {errno}: {error}");
            let mut random = Random(call as u64);
            for image in 0..8 {
                let image =
                    if image == 0 { sim.state().killed() } else { sim.state().image(&mut random) };
                recover(image, &oracle, true).map_err(at).unwrap_or_else(|at| panic!("{at}"));
            }
            runs += 1;
        }
    }
    assert!(runs > 300, "{runs}");
}

#[test]
fn a_sync_that_is_tried_again_would_lose_records() {
    let lost = |bug| {
        seeded::make(bug);
        let noticed = std::panic::catch_unwind(|| {
            let (sim, mut oracle) = (Sim::default(), Oracle::default());
            let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
                .unwrap_or_else(|error| panic!("{error}"));
            let batch = life.append(&[190, 190, 190], &mut Random(1), &mut oracle);
            // Records are written first, then the blocks after them.
            sim.fail(Fault { call: sim.calls().len() + 2, errno: libc::EIO, short: false });
            assert!(life.commit(&batch, &mut oracle).is_err());
            let again = life.journal.log.sync().is_ok();
            let later = life.append(&[10], &mut Random(1), &mut oracle);
            let _ = life.commit(&later, &mut oracle);
            (again, recover(sim.state().image(&mut Oldest), &oracle, true).is_err())
        });
        seeded::make(None);
        noticed.unwrap_or((true, true))
    };
    assert_eq!(lost(None), (false, false));
    assert_eq!(lost(Some(Bug::RetryAfterFailedSync)), (true, true));
}

#[test]
fn blocks_are_written_ahead_of_the_first_small_batch_that_is_synced_and_of_no_other() {
    for (durability, first) in [
        (Durability::Disk, &["pwrite", "pwrite", "fdatasync"][..]),
        (Durability::Process, &["pwrite"]),
    ] {
        let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(6));
        let mut life = Life::start(&sim, durability, BOOT, 1, &mut oracle)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut calls = || {
            let before = sim.calls().len();
            let batch = life.append(&[40], &mut random, &mut oracle);
            life.commit(&batch, &mut oracle).expect("no faults");
            sim.calls().split_off(before)
        };
        assert_eq!(calls(), first);
        assert_eq!(calls(), [&first[..1], &first[first.len().min(2)..]].concat(), "{durability:?}");
    }
}

#[test]
fn a_start_without_space_gives_what_is_there_and_begins_when_there_is_room() {
    for goes_on in [true, false] {
        let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(4));
        let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
            .unwrap_or_else(|error| panic!("{error}"));
        let batch = life.append(&[40, 90], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
        life.save(true, &oracle).expect("no faults");
        drop(life);
        let sim = Sim::of(sim.state().killed());
        let opened = Opened::open(sim.clone(), facts(Durability::Disk));
        let opened = opened.unwrap_or_else(|error| panic!("{error}"));
        let before = story::records(&opened).expect("no faults");
        // Creating the file of a segment comes first, then its space.
        sim.fail(Fault { call: sim.calls().len() + 1, errno: libc::ENOSPC, short: false });
        let (records, next_seq) = story::renumbered(&before, 2);
        let journal = if goes_on {
            opened.go_on(0)
        } else {
            let positions = vec![("a".to_owned(), 0), ("b".to_owned(), 0)];
            opened.begin_epoch(2, None, (&records, next_seq), (positions, Vec::new()), 0)
        };
        let mut journal = journal.unwrap_or_else(|error| panic!("{error}"));
        assert!(journal.log.waits_for().is_some_and(super::Failure::is_out_of_space));
        assert_eq!(journal.log.limit(), journal.log.written(), "nothing may be appended");
        assert_eq!(journal.first_cursors.is_none(), goes_on);
        assert_eq!(journal.log.retain(&journal.cursors, |_, _| true).ok(), Some(0));
        // Whatever happens meanwhile, nothing is lost.
        recover(sim.state().killed(), &oracle, true).unwrap_or_else(|error| panic!("{error}"));
        if let Some(cursors) = &journal.first_cursors {
            journal.cursors.write(cursors).expect("no more faults");
            journal.cursors.sync().expect("no more faults");
        }
        recover(sim.state().image(&mut Oldest), &oracle, true)
            .unwrap_or_else(|error| panic!("{error}"));
        let prepared = super::log::prepare(&sim, journal.log.facts()).expect("no more faults");
        journal.log.begin_late(prepared, 0).expect("no more faults");
        assert!(journal.log.waits_for().is_none());
        assert_eq!(journal.log.segments().len(), 2);
        let after = Opened::open(Sim::of(sim.state().killed()), facts(Durability::Disk));
        let after = after.unwrap_or_else(|error| panic!("{error}"));
        let past = after.past.as_ref().expect("two records");
        assert_eq!((past.epoch, past.may_go_on), (if goes_on { 1 } else { 2 }, true));
        let after = story::records(&after).expect("no faults");
        let payloads = |all: Vec<_>| all.into_iter().map(|(_, _, it)| it).collect::<Vec<_>>();
        assert_eq!((after.len(), payloads(after)), (2, payloads(before)));
    }
}

/// A segment in which every granule begins a record that reaches far, damaged, and one intact
/// record at its end.
#[test]
fn damage_that_was_made_to_take_long_is_given_up_in_time() {
    for (granules, is_found) in [(32_u64, true), (4096, false)] {
        let segment = story::reaching_far(granules);
        let sim = Sim::default();
        let mut state = sim.state();
        state.put("x", segment);
        let sim = Sim::of(state);
        let file = super::files::Files::open(&sim, "x").expect("it is there");
        let mut walk = super::walk::Walk::new(&file, 1, 0, (0, granules), None);
        assert!(matches!(
            walk.step(),
            Ok(super::walk::Step::Cut(super::walk::Cut::Payload { .. }))
        ));
        assert_eq!(walk.skip_damage().expect("no faults"), is_found, "{granules} granules");
    }
}

/// A sync fails, the process is killed and starts again, and then the power is lost. Whether what
/// it published in between is still there.
fn survives_a_start_after_a_failed_sync() -> bool {
    let (sim, mut oracle) = (Sim::default(), Oracle::default());
    let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
        .unwrap_or_else(|error| panic!("{error}"));
    let batch = life.append(&[190, 190, 190], &mut Random(1), &mut oracle);
    // Records are written first, then the blocks after them.
    sim.fail(Fault { call: sim.calls().len() + 2, errno: libc::EIO, short: false });
    assert!(life.commit(&batch, &mut oracle).is_err());
    drop(life);
    let sim = Sim::of(sim.state().killed());
    let again = Life::start(&sim, Durability::Disk, BOOT, 2, &mut oracle);
    drop(again.unwrap_or_else(|error| panic!("{error}")));
    recover(sim.state().image(&mut Oldest), &oracle, true).is_ok()
}

#[test]
fn a_start_after_a_failed_sync_publishes_only_what_is_on_the_disk() {
    assert!(survives_a_start_after_a_failed_sync());
    seeded::make(Some(Bug::CacheTrusted));
    let survives = std::panic::catch_unwind(survives_a_start_after_a_failed_sync);
    seeded::make(None);
    assert_eq!(survives.ok(), Some(false), "the mistake is not noticed");
}

/// Nothing that was not synced is there, but names are.
struct Oldest;

impl Choice for Oldest {
    fn choose(&mut self, _: usize) -> usize {
        0
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_and_its_numbers_go_on() {
    for durability in [Durability::Process, Durability::Disk] {
        for seed in 0..60 {
            let (mut state, mut random) = (State::default(), Random(seed));
            let mut oracle = Oracle::default();
            for epoch in 1..=3 {
                let sim = Sim::of(state);
                let mut life = Life::start(&sim, durability, BOOT, epoch, &mut oracle)
                    .unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(life.journal.log.epoch(), 1, "the first epoch goes on");
                for _ in 0..6 {
                    let batch = life.append(&[random.choose(90), 7], &mut random, &mut oracle);
                    life.commit(&batch, &mut oracle).expect("no faults");
                    life.release(random.choose(2), 1, &mut oracle);
                    life.save(false, &oracle).expect("no faults");
                }
                state = sim.state().killed();
                recover(state.clone(), &oracle, true).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

#[test]
fn after_another_boot_a_ring_that_was_not_synced_begins_an_epoch() {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(3));
    let mut life = Life::start(&sim, Durability::Process, BOOT, 1, &mut oracle)
        .unwrap_or_else(|error| panic!("{error}"));
    let batch = life.append(&[40, 90], &mut random, &mut oracle);
    life.commit(&batch, &mut oracle).expect("no faults");
    drop(life);
    for _ in 0..50 {
        let sim = Sim::of(sim.state().image(&mut random));
        let other = super::Facts { boot: [8; 16], ..facts(Durability::Process) };
        let opened = Opened::open(sim.clone(), other).unwrap_or_else(|error| panic!("{error}"));
        assert!(opened.past.is_none_or(|past| !past.may_go_on));
    }
}

/// A ring that is not synced ends in order, goes on in the same boot and publishes; then the power
/// is lost. Whether another boot may go on in its epoch.
fn goes_on_after_an_end_and_a_loss_of_power() -> bool {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(3));
    let mut may = false;
    for life in 1..=2 {
        let start = Life::start(&sim, Durability::Process, BOOT, life, &mut oracle);
        let mut life = start.unwrap_or_else(|error| panic!("{error}"));
        let batch = life.append(&[40, 20], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
        if life.journal.log.segments().len() == 1 {
            life.end(&oracle).expect("no faults");
        }
    }
    for _ in 0..200 {
        let sim = Sim::of(sim.state().image(&mut random));
        let other = super::Facts { boot: [8; 16], ..facts(Durability::Process) };
        let opened = Opened::open(sim, other).unwrap_or_else(|error| panic!("{error}"));
        may |= opened.past.is_some_and(|past| past.may_go_on);
    }
    may
}

#[test]
fn an_end_in_order_counts_only_until_another_process_goes_on() {
    assert!(!goes_on_after_an_end_and_a_loss_of_power());
    seeded::make(Some(Bug::EndKept));
    let may = std::panic::catch_unwind(goes_on_after_an_end_and_a_loss_of_power);
    seeded::make(None);
    assert_eq!(may.ok(), Some(true), "the mistake is not noticed");
}

#[test]
fn a_second_process_a_foreign_ring_and_a_newer_format_are_refused_and_nothing_is_changed() {
    let (sim, mut oracle) = (Sim::default(), Oracle::default());
    let life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle);
    let second = Opened::open(sim.clone(), facts(Durability::Disk));
    assert!(matches!(second.err(), Some(OpenError::Locked)));
    drop(life);
    let other = super::Facts { ring: "other".to_owned(), ..facts(Durability::Disk) };
    let refused = Opened::open(sim.clone(), other).err();
    assert!(matches!(refused, Some(OpenError::OtherRing { ring }) if ring == "ring"));
}

#[test]
fn one_bad_bit_anywhere_is_survived_and_what_it_cost_is_said() {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(9));
    let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
        .unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..3 {
        let batch = life.append(&[40, 90], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
    }
    life.save(true, &oracle).expect("no faults");
    drop(life);
    let (first, whole) = (segment_name(1), sim.state());
    let used = 4096 + 6 * 4 * 32;
    for bit in (0..192 * 8).chain(4096 * 8..used * 8).step_by(3) {
        let mut state = whole.clone();
        state.damage(&first, bit);
        let opened = Opened::open(Sim::of(state), facts(Durability::Disk));
        let opened = opened.unwrap_or_else(|error| panic!("{error}"));
        let past = opened.past.as_ref().expect("there was something");
        if past.stretches.is_empty() {
            assert!(bit < 192 * 8, "bit {bit}: everything is gone");
            let gone = |each: &Damage| matches!(each, Damage::Gone { next_seq: 6, .. });
            assert!(past.damage.iter().any(gone), "bit {bit}: {:?}", past.damage);
            continue;
        }
        let found = story::records(&opened).expect("no faults");
        if found.len() < 6 {
            assert!(!past.may_go_on, "bit {bit}: a number would be given twice");
            assert!(
                past.damage
                    .iter()
                    .any(|each| matches!(each, Damage::Records { .. } | Damage::End { .. })),
                "bit {bit}: {:?}",
                past.damage
            );
            assert_eq!(past.missing_records(), 1, "bit {bit}: {:?}", past.damage);
            assert!(found.len() >= 5, "bit {bit}: the record and no other is lost");
        }
    }
}

/// Three lives of two records each, in a segment each, nothing released; the cursors say that all
/// six were published.
fn three_segments() -> State {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(9));
    for _ in 0..3 {
        let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
            .unwrap_or_else(|error| panic!("{error}"));
        let batch = life.append(&[40, 90], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
        life.save(true, &oracle).expect("no faults");
    }
    sim.state()
}

#[test]
fn what_is_missing_of_what_was_published_is_said_with_its_numbers() {
    let whole = three_segments();
    let gone = |names: &[u64]| {
        let mut state = whole.clone();
        for serial in names {
            state.remove(&segment_name(*serial));
        }
        state
    };
    let cut = |serial: u64, granules: usize| {
        let mut state = whole.clone();
        let name = segment_name(serial);
        let mut bytes = state.get(&name);
        bytes.truncate(super::format::HEADER_BYTES + granules * 32);
        state.put(&name, bytes);
        state
    };
    // Records of three and of four granules.
    let cases = [
        ("nothing", whole.clone(), 6, 0, ""),
        (
            "the last segment",
            gone(&[3]),
            4,
            2,
            "at position 14: nothing was written there; records 4 to 5 are missing, which the \
             cursors say were published",
        ),
        ("the segment in the middle", gone(&[2]), 4, 2, "missing from record 2 on; record 4 is"),
        (
            "all segments",
            gone(&[1, 2, 3]),
            0,
            6,
            "no segment can be read; records 0 to 5 are missing, which the cursors say were \
             published, up to position 21",
        ),
        ("the last record", cut(3, 3), 5, 1, "at position 17: nothing was written there; record 5"),
        ("half of the last record", cut(3, 5), 5, 1, "leads out of the segment; record 5 is"),
        ("the records of the last segment", cut(3, 0), 4, 2, "records 4 to 5 are missing"),
        ("a record in the middle", cut(2, 3), 5, 1, "missing from record 3 on; record 4 is"),
    ];
    for (what, state, left, missing, text) in cases {
        let sim = Sim::of(state);
        let opened = Opened::open(sim.clone(), facts(Durability::Disk));
        let opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        let past = opened.past.as_ref().unwrap_or_else(|| panic!("{what}: without a word"));
        assert_eq!(story::records(&opened).expect("no faults").len(), left, "{what}");
        assert_eq!(past.missing_records(), missing, "{what}: {:?}", past.damage);
        assert_eq!((past.may_go_on, past.damage.len()), (missing == 0, missing.min(1) as usize));
        let said: String = past.damage.iter().map(ToString::to_string).collect();
        assert!(said.contains(text), "{what}: {said}");
        // The next start finds what this one has left, and nothing to say.
        if missing > 0 {
            let (records, next_seq) =
                story::renumbered(&story::records(&opened).expect("no faults"), 2);
            let positions = vec![("a".to_owned(), 0), ("b".to_owned(), 0)];
            let places = (positions, Vec::new());
            let begun = opened.begin_epoch(2, None, (&records, next_seq), places, 0);
            drop(begun.unwrap_or_else(|error| panic!("{what}: {error}")));
            let again = Opened::open(Sim::of(sim.state().killed()), facts(Durability::Disk));
            let past = again.unwrap_or_else(|error| panic!("{what}: {error}")).past;
            let past = past.expect("a segment");
            assert_eq!((past.epoch, past.may_go_on, past.damage.len()), (2, true, 0), "{what}");
        }
    }
}

/// A number near those that matter, or any.
fn some_number(random: &mut Random) -> u64 {
    match random.choose(4) {
        0 => random.next(),
        1 => random.next() % (1 << 52),
        _ => random.next() % 70,
    }
}

/// A header that is whole and may say anything.
fn some_header(random: &mut Random) -> Vec<u8> {
    let header = super::format::SegmentHeader {
        serial: 1 + random.next() % 4,
        epoch: 1 + random.next() % 2,
        first_position: some_number(random),
        first_seq: some_number(random),
        created_ns: some_number(random),
        boot: BOOT,
        durability: Durability::Disk,
        capacity: u32::try_from(some_number(random) % (1 << 32)).unwrap_or(0),
        clock_id: 0,
        ring: "ring".to_owned(),
    };
    header.encode()
}

#[test]
fn any_bytes_as_a_directory_are_survived_and_nothing_foreign_is_found() {
    let (sim, mut oracle) = (Sim::default(), Oracle::default());
    assert!(eventful(&sim, &mut oracle));
    let whole = sim.state().killed();
    let files = whole.names();
    let (mut opened, mut found) = (0, 0);
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let mut state = whole.clone();
        for _ in 0..=random.choose(4) {
            let name = files[random.choose(files.len())].clone();
            let mut bytes = state.get(&name);
            match random.choose(6) {
                0 => bytes.truncate(random.choose(bytes.len() + 1)),
                1 => {
                    let any = |random: &mut Random| random.next().to_le_bytes()[0];
                    bytes = (0..random.choose(9000)).map(|_| any(&mut random)).collect();
                }
                2 if bytes.len() > 4096 => {
                    let header = some_header(&mut random);
                    bytes[..header.len()].copy_from_slice(&header);
                }
                3 => {
                    let cursors = super::Cursors {
                        epoch: 1,
                        published: some_number(&mut random),
                        next_seq: some_number(&mut random),
                        is_end: random.choose(2) == 0,
                        positions: vec![("a".to_owned(), some_number(&mut random))],
                        lagging: vec![("b".to_owned(), some_number(&mut random))],
                    };
                    let block = cursors.encode(random.next() % 50);
                    let at = 4096 * random.choose(2);
                    if bytes.len() >= at + block.len() {
                        bytes[at..at + block.len()].copy_from_slice(&block);
                    }
                }
                4 => bytes = state.get(&files[random.choose(files.len())]),
                _ => {
                    for _ in 0..=random.choose(8) {
                        let at = random.choose(bytes.len().max(1));
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = random.next().to_le_bytes()[0];
                        }
                    }
                }
            }
            let name = match random.choose(8) {
                0 => segment_name(random.next() % 6),
                _ => name,
            };
            state.put(&name, bytes);
        }
        let Ok(open) = Opened::open(Sim::of(state), facts(Durability::Disk)) else { continue };
        opened += 1;
        let Some(past) = &open.past else { continue };
        for (seq, _, payload) in story::records(&open).expect("no faults") {
            found += 1;
            assert!(oracle.was_sent(past.epoch, seq, &payload), "seed {seed}: record {seq}");
        }
    }
    assert!(opened > 1000 && found > 1000, "{opened} opened, {found} found");
}

#[test]
fn what_one_needs_that_lags_is_kept_and_a_start_does_not_walk_it() {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(9));
    let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut kept = 0;
    for round in 0..40 {
        let batch = life.append(&[100, 30, 60], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
        for which in 0..2 {
            life.release(which, 9, &mut oracle);
        }
        if round >= 20 {
            life.release_far(6, &mut oracle);
        }
        life.save(true, &oracle).expect("no faults");
        life.prepare().expect("no faults");
        life.tidy().expect("no faults");
        kept = kept.max(life.journal.log.segments().len());
        let opened = Opened::open(Sim::of(sim.state().killed()), facts(Durability::Disk));
        let opened = opened.unwrap_or_else(|error| panic!("{error}"));
        oracle.check_fed(&opened).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let past = opened.past.as_ref().expect("records");
        // Everyone else has released everything.
        let walked: u64 = past.stretches.iter().map(super::Stretch::bytes).sum();
        assert!(walked <= u64::from(story::CAPACITY) * 32, "{walked}");
    }
    // Three records are 10 granules, of 32 in a segment.
    assert!((6..=9).contains(&kept), "{kept}");
    assert!(life.journal.log.segments().len() <= 2, "what nobody needs is removed");
}

#[test]
fn a_reader_that_is_fed_goes_on_past_damage_and_reaches_back_over_it() {
    let (sim, mut oracle, mut random) = (Sim::default(), Oracle::default(), Random(11));
    let mut life = Life::start(&sim, Durability::Disk, BOOT, 1, &mut oracle)
        .unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..12 {
        let batch = life.append(&[100, 30, 60], &mut random, &mut oracle);
        life.commit(&batch, &mut oracle).expect("no faults");
        for which in 0..2 {
            life.release(which, 9, &mut oracle);
        }
        life.save(true, &oracle).expect("no faults");
        life.prepare().expect("no faults");
    }
    let mut state = sim.state().killed();
    // The payload of the second record, whose header is the fifth granule of the second segment
    // at most.
    let header = super::format::HEADER_BYTES;
    state.damage(&segment_name(2), (header + 4 * 32 + 40) * 8);
    let opened = Opened::open(Sim::of(state), facts(Durability::Disk));
    let mut opened = opened.unwrap_or_else(|error| panic!("{error}"));
    let (past, chain) = (opened.past.clone().expect("records"), opened.chain().to_vec());
    assert!(past.may_go_on, "what is fed is not looked at by a start");
    let mut follow = super::Follow::new(std::sync::Arc::clone(opened.files()), past.epoch);
    let (mut seqs, mut at, mut damaged) = (Vec::new(), 0, 0);
    while at < past.end {
        let stop = follow.read(&chain, (at, past.end), None, 64, |found| {
            if found.header.is_data() {
                seqs.push(found.header.seq);
            }
            std::ops::ControlFlow::Continue(())
        });
        at = match stop.expect("no faults") {
            super::Stop::Done => past.end,
            super::Stop::Damage { next, .. } => {
                damaged += 1;
                next
            }
        };
    }
    let all: Vec<u64> = (0..past.next_seq).collect();
    let missing: Vec<u64> = all.iter().copied().filter(|seq| !seqs.contains(seq)).collect();
    assert_eq!((damaged, missing.len()), (1, 1), "{seqs:?}");
    assert!(seqs.is_sorted());
    opened.reach_back(0).expect("no faults");
    let past = opened.past.as_ref().expect("records");
    let next = missing[0] + 1;
    assert!(
        matches!(past.damage[..], [Damage::Records { next: Some(found), .. }] if found == next),
        "{:?}",
        past.damage
    );
    let reached = story::records(&opened).expect("no faults");
    assert_eq!(reached.iter().map(|record| record.0).collect::<Vec<_>>(), seqs);
}
