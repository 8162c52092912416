//! Running out of memory is an error, and the map is as it was (I7, I12).

use rhumb_vm::VmError;

use crate::model::Pair;
use crate::world::{Ground, KINDS, Random, on_ground};

/// Each allocation of a history fails in turn, once, and so that all later ones fail: the operation that meets it is an
/// error, the map is as the model was before, and the same operation succeeds afterwards.
#[test]
fn i12_each_allocation_fails_in_turn() {
    for kind in KINDS {
        for nth in 1.. {
            let has_failed = on_ground(|ground| {
                let mut pair = Pair::new(ground.map(kind));
                let mut random = Random(0x5eed_0001);
                let mut has_failed = false;
                ground.fail_after(nth, nth % 2 == 0);
                for _ in 0..200 {
                    has_failed |= pair.step_or_fail(&mut random, ground);
                }
                ground.end_failure();
                pair.check();
                has_failed
            });
            if !has_failed {
                assert!(nth > 20, "only {nth} allocations were made to fail");
                break;
            }
        }
    }
}

impl Pair {
    /// Does one operation. Where it fails for lack of memory, checks that nothing has changed, does it again with memory,
    /// and says so.
    pub(crate) fn step_or_fail(&mut self, random: &mut Random, ground: &Ground) -> bool {
        let at_first = random.0;
        let Err(error) = self.step(random) else { return false };
        assert!(matches!(error, VmError::NoFrame(_)), "{error}");
        assert!(ground.end_failure());
        self.check();
        random.0 = at_first;
        assert_eq!(self.step(random), Ok(()));
        true
    }
}
