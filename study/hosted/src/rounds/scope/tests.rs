use super::*;

const ARMS: [Pages; 6] =
    [Pages::Gib, Pages::Mib, Pages::Aged(64), Pages::Aged(8), Pages::Aged(2), Pages::Kib];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for placement in [Placement::Spread, Placement::Dense] {
        for workload in Workload::ALL {
            cases.extend(UserSpace::ALL.map(|user_space| Case { placement, workload, user_space }));
        }
    }
    cases
}

fn scope(building_ms: u64, time_s: u64) -> Scope {
    let costs = Costs {
        building: Duration::from_millis(building_ms),
        sample: Duration::from_millis(4),
        time: Duration::from_secs(time_s),
    };
    Scope::fitting(&cases(), &ARMS, costs, |arms| arms.len() + 1)
}

#[test]
fn the_fewest_pairs_are_those_that_can_find_an_effect() {
    assert_eq!([1, 4, 48, 68, 69, 240].map(fewest_pairs), [6, 8, 12, 12, 13, 14]);
}

#[test]
fn comparisons_are_left_out_where_memory_is_slow() {
    let whole = scope(400, 1080);
    assert_eq!((whole.comparisons(), whole.pairs_wanted(), whole.left_out.len()), (240, 16, 0));
    let half = scope(5_000, 1080);
    assert_eq!(half.left_out, ["data side by side"]);
    assert!(half.cases.iter().all(|case| case.placement == Placement::Spread));
    // Even the least is more than there is time for.
    let least = scope(60_000, 1080);
    assert_eq!(least.left_out.len(), STEPS.len());
    assert_eq!((least.cases.len(), &least.arms[..]), (4, &[Pages::Gib, Pages::Mib, Pages::Kib][..]));
}

#[test]
fn no_step_leaves_nothing() {
    let zero = Case { placement: Placement::Dense, workload: Workload::Zero, user_space: UserSpace::Large };
    let costs = Costs { building: Duration::MAX / 1000, sample: Duration::ZERO, time: Duration::ZERO };
    let scope = Scope::fitting(&[zero], &[Pages::Mib, Pages::Aged(8)], costs, |arms| arms.len());
    assert_eq!((&scope.cases[..], scope.arms.len(), scope.left_out.len()), (&[zero][..], 2, 0));
}
