//! The cost of a reading, and the resolution, of readings that are made up.

use super::*;

#[test]
fn the_resolution_is_a_step_or_what_readings_vary_by() {
    let nothing = |usual: u64, late: u64, late_ones: usize| -> Vec<u64> {
        (0..1000).map(|index| if index < late_ones { late } else { usual }).collect()
    };
    // Late readings count from one in a hundred on.
    for (readings, overhead, resolution) in [
        (nothing(50, 54, 20), 50, 50),
        (nothing(10, 90, 20), 10, 80),
        (nothing(10, 90, 5), 10, 10),
        // A counter in steps of 24.5 ticks: the distance of 24 and 25 is none.
        (nothing(25, 24, 300), 25, 24),
        (nothing(0, 24, 5), 0, 24),
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
