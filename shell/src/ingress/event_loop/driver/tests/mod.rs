//! Both drivers under one suite, with an echo for a protocol.
//!
//! `io_uring` is tried where it works; a machine without it says so and tests epoll alone.

mod echo;
mod suite;

use super::{Choice, Kind, select};

/// Runs a test with each driver that works here.
fn with_each(test: impl Fn(Kind)) {
    test(Kind::Epoll);
    match select(Choice::IoUring) {
        Ok(kind) => test(kind),
        Err(error) => eprintln!("io_uring does not work here ({error}): not tested"),
    }
}

#[test]
fn a_forced_driver_is_the_one_chosen_and_a_forbidden_one_is_not() {
    assert_eq!(select(Choice::Epoll).expect("epoll works everywhere"), Kind::Epoll);
    let automatic = select(Choice::Auto).expect("one of them works");
    match select(Choice::IoUring) {
        Ok(kind) => assert_eq!((kind, automatic), (Kind::IoUring, Kind::IoUring)),
        Err(_) => assert_eq!(automatic, Kind::Epoll),
    }
}
