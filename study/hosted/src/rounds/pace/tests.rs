use super::*;
use crate::rival::UserSpace;
use crate::workload::Workload;

/// Returns the pace of a study of so many workloads in five direct maps, each of which takes so long to build.
fn pace(building_ms: u64, time_s: u64, workloads: usize) -> Pace {
    let case = |workload| {
        let case = |user_space| Case { placement: Placement::Spread, workload, user_space };
        [case(UserSpace::Idle), case(UserSpace::Large)]
    };
    let cases = Workload::ALL[..workloads].iter().flat_map(|&workload| case(workload)).collect();
    let arms = vec![Pages::Gib, Pages::Mib, Pages::Aged(8), Pages::Kib];
    let scope = Scope { cases, arms, left_out: Vec::new() };
    let mut pace = Pace { batches: BTreeMap::new(), sample: SAMPLE.0, repeats: 1, scope };
    pace.set(Duration::from_millis(building_ms), Duration::from_secs(time_s), 5);
    pace
}

#[test]
fn samples_fill_the_time_that_memories_leave() {
    let quick = pace(800, 110, 6);
    assert_eq!((quick.repeats, quick.scope.pairs_wanted()), (1, 14));
    assert!(quick.sample > Duration::from_millis(45) && quick.sample < SAMPLE.1, "{:?}", quick.sample);
    let memory = Duration::from_millis(5 * 800) + quick.sample * 60 * 7 / 6;
    assert!(memory * 14 < Duration::from_secs(110));
    assert_eq!(pace(60_000, 110, 6).sample, SAMPLE.0);
}

#[test]
fn few_samples_are_repeated_while_building_takes_longer() {
    let few = pace(800, 110, 1);
    assert_eq!((few.sample, few.repeats), (SAMPLE.1, 5));
    assert_eq!(pace(8_000, 1_000, 1).repeats, REPEATS_AT_MOST);
    assert_eq!(pace(20, 110, 1).repeats, 1, "another memory is as quick");
}

#[test]
fn the_rest_of_the_time_is_divided_among_memories() {
    let ms = Duration::from_millis;
    let next = |building, round, left, missing| next_repeats(ms(building), ms(round), ms(left), missing);
    assert_eq!(next(1_000, 1_000, 20_000, 10), Some(1));
    assert_eq!(next(5_000, 1_000, 20_000, 2), Some(5));
    assert_eq!(next(3_000, 1_000, 20_000, 4), Some(2));
    // Short samples, because memory seemed slower than it is: they are repeated.
    assert_eq!(next(6_000, 300, 110_000, 9), Some(20));
    // Not all memories fit, but some do.
    assert_eq!(next(3_000, 1_000, 20_000, 10), Some(1));
    // Enough memories were had.
    assert_eq!(next(1_000, 1_000, 20_000, 0), Some(1));
    assert_eq!(next(1_000, 1_000, 1_500, 3), None);
    assert_eq!(next(3_000, 1_000, 2_000, 3), None);
}
