use super::*;

fn pace(building_ms: u64, time_s: u64, samples: usize) -> Pace {
    let mut pace = Pace { batches: BTreeMap::new(), sample: SAMPLE.0, repeats: 1 };
    pace.set(Duration::from_millis(building_ms), Duration::from_secs(time_s), samples);
    pace
}

#[test]
fn memory_that_is_quick_to_get_serves_one_round() {
    let quick = pace(3_000, 120, 80);
    assert_eq!((quick.repeats, quick.sample), (1, Duration::from_millis(45)));
    let round = Duration::from_secs(3) + quick.sample * 80 * 7 / 6;
    assert!(round * ROUNDS_WANTED < Duration::from_secs(120));
}

#[test]
fn memory_that_is_slow_to_get_serves_several() {
    let slow = pace(10_000, 120, 80);
    assert_eq!(slow.repeats, 3);
    assert!(slow.sample < Duration::from_millis(45));
    assert_eq!(pace(600_000, 120, 80).repeats, REPEATS_AT_MOST);
    assert_eq!(pace(600_000, 120, 80).sample, SAMPLE.0);
}

#[test]
fn the_rest_of_the_time_is_divided_among_memories() {
    let ms = Duration::from_millis;
    let next = |building, round, left, missing| next_repeats(ms(building), ms(round), ms(left), missing);
    // 10 rounds of 1 s and 10 memories of 1 s fit in 20 s.
    assert_eq!(next(1_000, 1_000, 20_000, 10), Some(1));
    // Two memories of 5 s fit beside them.
    assert_eq!(next(5_000, 1_000, 20_000, 10), Some(5));
    // No more than one does, and not all rounds.
    assert_eq!(next(10_000, 2_000, 20_000, 10), Some(5));
    // Enough rounds were had: each further one has a memory of its own.
    assert_eq!(next(1_000, 1_000, 20_000, 0), Some(1));
    assert_eq!(next(1_000, 1_000, 1_500, 3), None);
    assert_eq!(next(3_000, 1_000, 2_000, 3), None);
}
