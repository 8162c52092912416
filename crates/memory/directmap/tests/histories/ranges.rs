//! The frames that a history changes.

use rhumb_machine::Block;
use rhumb_machine::{PageSize, PfnRange};

use crate::play::Play;
use crate::world::{Kind, Random};

impl Play<'_, '_> {
    /// Returns ranges that like to meet: edges at, just before and just after borders of large pages, in few places.
    pub(crate) fn frames(&mut self) -> PfnRange {
        let ram = self.world.ram;
        let edge = |random: &mut Random| {
            let (huge, large) = match self.world.kind {
                Kind::Large => (random.below(3), random.one_of(&[0, 1, 2, 3, 510, 511])),
                Kind::Small => (0, random.below(13)),
            };
            let near = match random.below(4) {
                0 => random.below(512),
                1 => random.one_of(&[1, 2, 511]),
                _ => 0,
            };
            (huge << 18) + large * 512 + near
        };
        let (one, other) = match self.random.below(8) {
            0..3 => {
                let start = edge(&mut self.random);
                (start, start + 1 + self.random.below(5))
            }
            3 => {
                let start = edge(&mut self.random) & !511;
                (start, start + 512)
            }
            4 => {
                let start = self.random.below(3) << 18;
                (start, start + ((1 + self.random.below(2)) << 18))
            }
            // Over the border of two tables.
            5 => {
                let border = edge(&mut self.random).next_multiple_of(512);
                (border.saturating_sub(1 + self.random.below(9)), border + 1 + self.random.below(9))
            }
            _ => (edge(&mut self.random), edge(&mut self.random)),
        };
        if self.random.below(3) == 0 {
            return self.around_last();
        }
        let (start, end) = (one.min(other).min(ram.frames() - 1), one.max(other).min(ram.frames()));
        PfnRange::new(ram.start().plus(start), ram.start().plus(end.max(start + 1))).unwrap()
    }

    /// Returns the frames that were given back last, or a large page that they were a part of.
    pub(crate) fn around_last(&mut self) -> PfnRange {
        let size = self.random.one_of(&PageSize::DESCENDING);
        if size == PageSize::Size4K {
            return self.last;
        }
        Block::around(self.last.start(), size).frames().intersection(self.world.ram)
    }
}
