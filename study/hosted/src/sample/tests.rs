use super::*;
use crate::backing::{Backing, Pages};
use crate::data::world::Placement;
use crate::rival::UserSpace;

#[test]
fn batches_that_were_interrupted_are_left_out() {
    let mut times: Vec<u64> = (0..100).map(|batch| 1_000 + batch % 3).collect();
    let undisturbed = undisturbed_mean(&mut times.clone());
    assert!((1_000.0..1_003.0).contains(&undisturbed));
    // The CPU was away in every tenth batch: a mean of all would be 300 times as long.
    times.iter_mut().step_by(10).for_each(|time| *time += 3_000_000);
    assert!((undisturbed_mean(&mut times) - undisturbed).abs() < 0.1);
    // Slow batches that belong to the work stay.
    times.iter_mut().skip(50).for_each(|time| *time = 2_000);
    assert!(undisturbed_mean(&mut times) > 1_400.0);
    assert_eq!(undisturbed_mean(&mut []), 0.0);
    assert_eq!(undisturbed_mean(&mut [0, 0, 0]), 1.0);
}

#[test]
fn samples_every_workload_beside_every_user_space() {
    let backing = Backing::new(Pages::Kib, 64 << 20, 1).unwrap();
    let mut world = World::new(backing, Placement::Dense, 1).unwrap();
    for user_space in UserSpace::ALL {
        let mut rival = Rival::new(user_space).unwrap();
        for workload in Workload::ALL {
            let ns = sample(&mut world, workload, &mut rival, &mut Chain::new(1), 20).unwrap();
            assert!(ns.is_finite() && ns > 0.0, "{} {ns}", workload.id());
        }
    }
    let batches = calibrate(&mut world, Workload::Page64, &mut None, Duration::from_millis(2)).unwrap();
    assert!(batches >= 16);
    assert!(operations(batches) > batches * 64);
}
