use super::*;

#[test]
fn a_position_of_32_bits_is_the_one_near_another() {
    for near in [0, 5, (1 << 32) - 1, 1 << 32, (7 << 32) + 3] {
        for ahead in [0, 1, 1 << 20, (1 << 31) - 1] {
            #[allow(clippy::cast_possible_truncation, reason = "as the ring has it")]
            let low = (near + ahead) as u32;
            assert_eq!(wide(near, low), near + ahead, "{near} {ahead}");
        }
    }
    // A cursor lies before what was written.
    assert_eq!(wide((1 << 32) + 2, u32::MAX), (1 << 32) - 1);
    assert_eq!(wide(9, 3), 3);
}

#[test]
fn a_bell_that_rang_before_anyone_waits_is_heard_and_the_last_one_is_known() {
    let bell = Bell::default();
    bell.ring(false);
    assert!(!bell.wait(None));
    assert!(!bell.wait(Some(Duration::from_millis(1))), "nobody rang: the time is over");
    bell.ring(false);
    bell.ring(true);
    assert!(bell.wait(None));
    assert!(!bell.ended(Duration::from_millis(1)));
    bell.end();
    assert!(bell.ended(Duration::from_secs(10)));
}
