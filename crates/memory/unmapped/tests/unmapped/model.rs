//! The pool against a plain list of what is out, step by step.

use proptest::prelude::*;
use rhumb_frames::{Frame, Unmapped};
use rhumb_hosted::mmu::Fault;
use rhumb_machine::{Order, Pinned};

use crate::world::*;

#[derive(Clone, Copy, Debug)]
enum Turn {
    Take(u8, bool),
    Give(usize),
    Shrink(u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        10 => (prop_oneof![4 => 0u8..4, 2 => 4u8..10], any::<bool>()).prop_map(|(order, bob)| Turn::Take(order, bob)),
        9 => any::<usize>().prop_map(Turn::Give),
        1 => (0u64..3).prop_map(Turn::Shrink),
    ];
    prop::collection::vec(turn, 1..120)
}

/// A frame that is out: the handle, its owner, and the mark that was written into it.
struct Known {
    frame: Frame<Unmapped>,
    bob: bool,
    mark: [u8; 8],
}

struct Both {
    world: &'static World,
    pool: Pool,
    out: Vec<Known>,
    next: u64,
}

impl Both {
    fn play(&mut self, pinned: Pinned<'_>, turn: Turn) {
        match turn {
            Turn::Take(order, bob) => {
                let owner = if bob { BOB } else { ALICE };
                let mut frame = self.pool.take(pinned, owner, Order::new(order).unwrap()).unwrap();
                let overlap = self.out.iter().any(|known| known.frame.frames().overlaps(frame.frames()));
                assert!(!overlap && frame.pfn().get().is_multiple_of(1 << order));
                let last = frame.order().bytes() - 8;
                let mut read = [1; 8];
                for offset in [0, last] {
                    self.world.windows.copy_from(&frame, offset, &mut read).unwrap();
                    assert_eq!(read, [0; 8], "not clean");
                }
                self.next += 1;
                let mark = self.next.to_le_bytes();
                self.world.windows.copy_to(&mut frame, last, &mark).unwrap();
                self.out.push(Known { frame, bob, mark });
            }
            Turn::Give(which) if !self.out.is_empty() => {
                let known = self.out.swap_remove(which % self.out.len());
                self.give(pinned, known);
            }
            Turn::Give(_) => {}
            Turn::Shrink(keep) => {
                self.pool.shrink(pinned, keep);
            }
        }
        self.check();
    }

    fn give(&mut self, pinned: Pinned<'_>, known: Known) {
        let (pfn, last) = (known.frame.pfn(), known.frame.order().bytes() - 8);
        let mut read = [0; 8];
        self.world.windows.copy_from(&known.frame, last, &mut read).unwrap();
        assert_eq!(read, known.mark, "another owner wrote into it");
        assert_eq!(self.pool.owner_of(pfn), Some(if known.bob { BOB } else { ALICE }));
        self.pool.give(pinned, known.frame).unwrap();
        assert_eq!(self.pool.owner_of(pfn), None);
        assert!((0..8).all(|byte| self.world.peek(pfn, last + byte) == 0), "not zeroed");
    }

    fn check(&self) {
        self.pool.validate().unwrap();
        self.world.windows.validate().unwrap();
        let frames = |bob| {
            let of = self.out.iter().filter(|known| known.bob == bob);
            of.map(|known| known.frame.order().frames()).sum::<u64>()
        };
        let has = |owner| self.pool.account(owner).unwrap().frames();
        assert_eq!((has(ALICE), has(BOB)), (frames(false), frames(true)));
        // No more blocks are out than hold something, but for those that are kept or were taken in advance.
        for known in &self.out {
            for cpu in 0..2 {
                assert_eq!(self.world.read_mapped(cpu, known.frame.pfn()), Err(Fault::NotPresent));
            }
        }
        assert_eq!(self.world.mmu().take_reports(), []);
        let map = self.world.map.lock().unwrap();
        assert_eq!(map.holds().count() as u64, self.pool.counters().blocks());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn i5_i6_any_history_does_what_the_list_does(turns in turns(), keep in 0u64..3) {
        in_world(2, GIB, 16, |world, cpu| {
            world.pool().keep_blocks(keep);
            let mut both = Both { world, pool: world.pool(), out: Vec::new(), next: 0 };
            turns.iter().for_each(|&turn| both.play(cpu.pinned(), turn));
            while let Some(known) = both.out.pop() {
                both.give(cpu.pinned(), known);
            }
            both.pool.shrink(cpu.pinned(), 0);
            both.check();
            world.assert_healed();
        });
    }
}
