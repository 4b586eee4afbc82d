//! Rings as they are written: what is in effect, and what is refused and why.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ring: Vec<RingTable>,
}

fn tables(text: &str) -> Vec<RingTable> {
    toml::from_str::<File>(text).expect("tables of rings").ring
}

fn check(text: &str) -> Result<Vec<RingSettings>, String> {
    RingSettings::check(&tables(text)).map_err(|error| error.to_string())
}

fn ring(lines: &str) -> String {
    format!("[[ring]]\nname = \"r\"\n{lines}\n")
}

/// The settings in effect, a line for each, and whether a reload changes it.
fn described(ring: &RingSettings, table: &RingTable) -> String {
    let lines = ring.describe(table).entries.into_iter().map(|entry| {
        let given = if entry.origin == Origin::Default { " by default" } else { "" };
        let live = if entry.change == Change::Live { ", live" } else { "" };
        format!("{} = {}{given}{live}", entry.key, entry.value)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_ring_that_only_has_a_name_gets_the_rest() {
    let tables = tables(&ring(""));
    let rings = RingSettings::check(&tables).expect("good");
    assert_eq!(
        described(&rings[0], &tables[0]),
        "name = \"r\"\ncapacity_bytes = \"16MiB\" by default\n\
         max_payload_bytes = \"1MiB\" by default\nfull_wait_ms = \"1s\" by default, live\n\
         clock = \"realtime\" by default\ndurability = \"memory\" by default\n\
         subscriptions = [\"default\"] by default\nlagging = [] by default\n\
         lag_bytes = \"1GiB\" by default"
    );
    assert_eq!(rings[0].segment_bytes(), (16 << 20) + u64::from(DATA_OFFSET_MAPPED));
    assert!(!rings[0].has_attributes);
    let none = RingSettings::check(&[]).expect("one by default");
    assert_eq!((none.len(), &*none[0].name), (1, "default"));
}

#[test]
fn what_a_ring_says_is_in_effect() {
    let text = ring(
        "capacity_bytes = \"64KiB\"\nmax_payload_bytes = 1000\nfull_wait_ms = 0\n\
         clock = \"monotonic\"\ndurability = \"disk\"\nsubscriptions = [\"x\", \"y\"]",
    );
    let tables = tables(&text);
    let rings = RingSettings::check(&tables).expect("good");
    assert_eq!(
        described(&rings[0], &tables[0]),
        "name = \"r\"\ncapacity_bytes = \"64KiB\"\nmax_payload_bytes = 1000\n\
         full_wait_ms = \"0ms\", live\nclock = \"monotonic\"\ndurability = \"disk\"\n\
         subscriptions = [\"x\", \"y\"]\nlagging = [] by default\n\
         lag_bytes = \"1GiB\" by default"
    );
    assert_eq!(ClockName::Monotonic.id(), CLOCK_MONOTONIC);
    assert_eq!(ClockName::Realtime.id(), CLOCK_REALTIME);
}

#[test]
fn a_payload_may_be_as_large_as_the_capacity_allows_and_is_so_in_a_small_ring() {
    let least = u64::from(MIN_CAPACITY) * GRANULE_BYTES as u64;
    let limit = max_payload_for(MIN_CAPACITY);
    let small = check(&ring(&format!("capacity_bytes = {least}"))).expect("the least");
    assert_eq!((small[0].capacity_bytes, small[0].max_payload_bytes), (least, limit));
    let lines = |most: u32| ring(&format!("capacity_bytes = {least}\nmax_payload_bytes = {most}"));
    assert_eq!(check(&lines(limit)).expect("the most")[0].max_payload_bytes, limit);
    let error = check(&lines(limit + 1)).expect_err("too much");
    assert!(error.contains(&format!("1 to {limit}")), "{error}");
    assert!(check(&lines(0)).is_err());
    let most = u64::from(MAX_CAPACITY) * GRANULE_BYTES as u64;
    assert_eq!(
        check(&ring(&format!("capacity_bytes = {most}"))).expect("the most")[0].capacity_bytes,
        most
    );
    for wrong in [0, least / 2, least + 32, most * 2] {
        let error = check(&ring(&format!("capacity_bytes = {wrong}"))).expect_err("no capacity");
        assert!(error.contains(&format!("ring r: capacity_bytes: `{wrong}`")), "{error}");
        assert!(error.contains(&format!("{least} to {most}")), "{error}");
    }
}

#[test]
fn names_are_distinct_and_of_few_characters_and_not_too_long() {
    let named = |name: &str| check(&format!("[[ring]]\nname = \"{name}\"\n"));
    for good in ["a", "A-z.0_9", &"n".repeat(RING_NAME_BYTES)] {
        assert_eq!(named(good).expect(good)[0].name, good);
    }
    for bad in ["", "a b", "a/b", "\u{e4}", &"n".repeat(RING_NAME_BYTES + 1)] {
        let error = named(bad).expect_err(bad);
        assert!(error.contains(&format!("1 to {RING_NAME_BYTES} of A-Z")), "{error}");
    }
    let error = check(&(ring("") + &ring(""))).expect_err("the same name");
    assert!(error.contains("`r` is not allowed; allowed: names that differ"), "{error}");
}

#[test]
fn subscriptions_are_distinct_at_least_one_and_at_most_64_with_the_journal() {
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("\"s{n}\"")).collect();
        format!("subscriptions = [{}]", names.join(", "))
    };
    assert_eq!(check(&ring(&names(64))).expect("64")[0].subscriptions.len(), 64);
    for (lines, allowed) in [
        (names(0), "`0 names` is not allowed; allowed: 1 to 64 names"),
        (names(65), "`65 names` is not allowed; allowed: 1 to 64 names"),
        (names(64) + "\ndurability = \"process\"", "1 to 63 names"),
        ("subscriptions = [\"x\", \"y\", \"x\"]".to_owned(), "`x` is not allowed; allowed: names"),
        ("subscriptions = [\"a b\"]".to_owned(), "of A-Z a-z 0-9"),
    ] {
        let error = check(&ring(&lines)).expect_err(&lines);
        assert!(error.contains(allowed), "{lines}: {error}");
    }
    let kept = check(&ring(&(names(63) + "\ndurability = \"process\""))).expect("63");
    assert_eq!(kept[0].subscriptions.len(), 63);
}

#[test]
fn who_may_lag_is_a_subscription_of_a_ring_with_a_journal_and_how_far_is_bounded() {
    let kept = "durability = \"disk\"\ncapacity_bytes = \"1MiB\"\nsubscriptions = [\"a\", \"b\"]";
    let with = |lines: &str| check(&ring(&format!("{kept}\n{lines}")));
    let none = &with("").expect("good")[0];
    assert_eq!((none.lagging.len(), none.memory_bytes()), (0, none.segment_bytes()));
    let one = &with("lagging = [\"b\"]\nlag_bytes = \"2MiB\"").expect("good")[0];
    assert_eq!((&one.lagging[..], one.lag_bytes), (&["b".to_owned()][..], 2 << 20));
    assert_eq!(one.memory_bytes(), 2 * one.segment_bytes());
    assert_eq!(with("lagging = [\"b\"]").expect("good")[0].lag_bytes, LAG_BYTES_DEFAULT);
    for (lines, said) in [
        (
            "lagging = [\"c\"]",
            "lagging: `c` is not allowed; allowed: subscriptions of the ring: a, b",
        ),
        ("lagging = [\"b\", \"b\"]", "`b` is not allowed; allowed: names that differ"),
        (
            "lagging = [\"b\"]\nlag_bytes = \"2047KiB\"",
            "twice the capacity of the ring, \"2MiB\", to \"64GiB\"",
        ),
        (
            "lagging = [\"b\"]\nlag_bytes = \"65GiB\"",
            "twice the capacity of the ring, \"2MiB\", to \"64GiB\"",
        ),
    ] {
        let error = with(lines).expect_err(lines);
        assert!(error.contains(said), "{lines}: {error}");
    }
    let error = check(&ring("subscriptions = [\"a\"]\nlagging = [\"a\"]")).expect_err("memory");
    assert!(error.contains("durability = \"process\" or \"disk\""), "{error}");
}

#[test]
fn flags_replace_the_rings_of_the_file_and_what_all_of_them_say() {
    let flag = |value: u64| Some(Given { value: Size(value), origin: Origin::Flag("--x") });
    let mut file = tables(&(ring("full_wait_ms = 5\ncapacity_bytes = \"32KiB\"")));
    RingFlags::default().put_over(&mut file);
    let rings = RingSettings::check(&file).expect("good");
    assert_eq!((rings.len(), rings[0].capacity_bytes), (1, 32 << 10));

    let flags = RingFlags {
        names: None,
        capacity_bytes: flag(1 << 20),
        max_payload_bytes: flag(77),
        full_wait_ms: Some(Given { value: Millis(9), origin: Origin::Flag("--y") }),
        subscriptions: Some(Given { value: vec!["s".to_owned()], origin: Origin::Flag("--z") }),
    };
    flags.put_over(&mut file);
    let ring = &RingSettings::check(&file).expect("good")[0];
    assert_eq!((ring.capacity_bytes, ring.max_payload_bytes), (1 << 20, 77));
    assert_eq!(
        (ring.full_wait, &ring.subscriptions[..]),
        (Duration::from_millis(9), &["s".to_owned()][..])
    );

    let names = vec!["one".to_owned(), "two".to_owned()];
    let names = Some(Given { value: names, origin: Origin::Flag("--ring") });
    RingFlags { names, ..RingFlags::default() }.put_over(&mut file);
    let found = RingSettings::check(&file).expect("good");
    assert_eq!(found.iter().map(|ring| &*ring.name).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(found[0].capacity_bytes, CAPACITY_BYTES_DEFAULT);

    let mut empty = Vec::new();
    RingFlags::default().put_over(&mut empty);
    assert_eq!(RingSettings::check(&empty).expect("good")[0].name, "default");
}
