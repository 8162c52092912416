//! The tree against a plain list of units.

use super::*;

#[test]
fn the_lowest_place_is_taken_and_neighbours_merge() {
    const UNITS: usize = 300;
    let (mut tree, mut used, mut random) = (Tree::new(0, UNITS as u64), [false; UNITS], Random::new(3));
    let mut held = Vec::<(u64, u64)>::new();
    for _ in 0..20_000 {
        if random.below(2) == 0 {
            let (units, align) = (1 + random.below(12), 1 << random.below(4));
            // The lowest free range that has room wherever it begins.
            let mut at = 0;
            let place = loop {
                let Some(start) = (at..UNITS).find(|&unit| !used[unit]) else { break None };
                let end = (start..UNITS).find(|&unit| used[unit]).unwrap_or(UNITS);
                if end - start >= units + align - 1 {
                    break Some(start.next_multiple_of(align) as u64);
                }
                at = end;
            };
            assert_eq!(tree.take(units as u64, align as u64), place);
            if let Some(place) = place {
                used[place as usize..place as usize + units].fill(true);
                held.push((place, units as u64));
            }
        } else if !held.is_empty() {
            let (start, units) = held.swap_remove(random.below(held.len()));
            used[start as usize..(start + units) as usize].fill(false);
            tree.give(start, units);
        }
        let ranges = tree.ranges();
        let free: u64 = ranges.iter().map(|&(_, units)| units).sum();
        assert_eq!(free, used.iter().filter(|&&is_used| !is_used).count() as u64);
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "{ranges:?}");
    }
}
