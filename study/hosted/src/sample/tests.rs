use super::*;
use crate::backing::{Backing, Pages};
use crate::data::world::Placement;
use crate::rival::UserSpace;

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
