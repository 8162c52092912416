//! Places that cannot be reached, reached on purpose.

extern crate std;

use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::string::ToString;

use super::{Handler, Reports};

#[test]
#[should_panic(expected = "this cannot be: 3 of 2 frames are free")]
#[cfg(debug_assertions)]
fn a_test_fails_where_the_place_is_reached() {
    let total = 2;
    impossible!("{} of {total} frames are free", 3);
}

#[test]
fn a_place_that_is_not_reached_costs_no_value() {
    let number = "1".parse().unwrap_or_else(|_| impossible!("it is a number" => 0));
    assert_eq!(number, 1);
}

/// As in the kernel: each place is told once, with its line, and the caller goes on.
#[test]
fn a_handler_is_told_once_for_each_time_and_the_caller_goes_on() {
    static REPORTS: Reports = Reports::new();
    static TOLD: AtomicU64 = AtomicU64::new(0);
    static LINE: AtomicU64 = AtomicU64::new(0);
    fn tell(why: fmt::Arguments<'_>, place: &'static Location<'static>) {
        assert_eq!(why.to_string(), "a list of 3 ends");
        assert!(place.file().ends_with("tests.rs"));
        TOLD.fetch_add(1, Relaxed);
        LINE.store(place.line().into(), Relaxed);
    }
    REPORTS.set_handler(&(tell as Handler));
    for times in 1..=3 {
        REPORTS.reached(format_args!("a list of {} ends", 3));
        assert_eq!(LINE.load(Relaxed), u64::from(line!()) - 1);
        assert_eq!((TOLD.load(Relaxed), REPORTS.count.load(Relaxed)), (times, times));
    }
}
