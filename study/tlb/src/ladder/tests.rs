use super::*;
use crate::cache::Replacement;
use crate::published;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reach is entries times page size: 64 x 4 KiB and 1,536 x 4 KiB, 32 x 2 MiB and 1,536 x 2 MiB.
#[test]
fn the_steps_are_at_the_published_reach() {
    let geometry = published::skylake_sp();
    let small = ladder(&geometry, PageSize::Size4K, &[256 * KIB, 320 * KIB, 6 * MIB, 7 * MIB]).unwrap();
    assert_eq!((small[0].first_level_misses, small[1].first_level_misses), (0.0, 1.0));
    assert_eq!((small[2].walks, small[3].walks), (0.0, 1.0));
    let large = ladder(&geometry, PageSize::Size2M, &[64 * MIB, 128 * MIB, 3 * GIB]).unwrap();
    assert_eq!(large[0].first_level_misses, 0.0);
    // 64 large pages for 32 entries, each accessed 512 times a lap at random.
    assert!((large[1].first_level_misses - 0.5).abs() < 0.05, "{large:?}");
    assert_eq!(large[2].walks, 0.0);
    let largest = ladder(&geometry, PageSize::Size1G, &[GIB, 4 * GIB]).unwrap();
    assert_eq!((largest[0].first_level_misses, largest[1].first_level_misses), (0.0, 0.0));
}

#[test]
fn other_replacement_than_lru_misses_in_part() {
    let geometry = published::skylake_sp().with_replacement(Replacement::TreePlru);
    let steps = ladder(&geometry, PageSize::Size4K, &[6 * MIB, 7 * MIB, 64 * MIB]).unwrap();
    assert_eq!(steps[0].walks, 0.0);
    assert!(steps[1].walks > 0.1 && steps[1].walks < 1.0, "{steps:?}");
    assert_eq!(steps[2].walks, 1.0);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let once = || ladder(&published::zen3(), PageSize::Size4K, &[16 * MIB]).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn a_ladder_only_climbs() {
    let sizes: Vec<u64> = (14..32).step_by(2).map(|power| 1 << power).collect();
    for geometry in published::all() {
        for page in PageSize::ALL {
            let steps = ladder(&geometry, page, &sizes).unwrap();
            for pair in steps.windows(2) {
                let name = format!("{} {page} {pair:?}", geometry.id);
                assert!(pair[1].walks >= pair[0].walks - 0.02, "{name}");
                assert!(pair[1].first_level_misses >= pair[0].first_level_misses - 0.02, "{name}");
            }
            assert!(steps.iter().all(|step| step.walks <= step.first_level_misses));
            assert!(
                steps.iter().all(|step| step.references >= step.walks && step.references <= 4.0 * step.walks)
            );
        }
    }
}
