//! The cost of a reading, and the resolution, of readings that are made up.

use super::*;

#[test]
fn the_resolution_is_what_readings_vary_by() {
    let nothing = |usual: u64, late: u64, late_ones: usize| -> Vec<u64> {
        (0..1000).map(|index| if index < late_ones { late } else { usual }).collect()
    };
    // Fewer than one in a hundred does not count, except for the step that they show.
    for (readings, overhead, resolution) in [
        (nothing(50, 54, 20), 50, 4),
        (nothing(50, 90, 20), 50, 40),
        (nothing(26, 52, 5), 26, 26),
        (nothing(25, 25, 0), 25, 25),
        (nothing(0, 0, 0), 0, 1),
        (Vec::new(), 0, 1),
    ] {
        assert_eq!(Reading::of(readings), Reading { overhead, resolution });
    }
}

#[test]
fn a_span_of_nothing_is_below_the_resolution_or_near_it() {
    let clock = Clock { ns_per_tick: 0.5, reading: Reading { overhead: 40, resolution: 6 } };
    assert_eq!([30, 40, 45, 100].map(|end| clock.span(0, end)), [0, 0, 5, 60]);
    assert_eq!(clock.resolution_ns(), 3.0);
    assert!(clock.ns(clock.span(0, 45).into()) < clock.resolution_ns());
    assert!(Clock::calibrate().here().resolution_ns() > 0.0);
}
