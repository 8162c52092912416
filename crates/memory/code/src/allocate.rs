//! Parts that are allocated.

use crate::block::{Hole, Record, Slot};
use crate::error::CodeError;
use crate::home::Home;
use crate::kind::Kind;
use crate::part::{Contents, Part};
use crate::planted::{self, Fault};
use crate::pool::CodePool;
use crate::request::{Request, Shape};
use crate::room;

impl<H: Home> CodePool<H> {
    /// Allocates a part. A code part traps until it is written, and a part of either data is zero. Not from an interrupt.
    ///
    /// # Errors
    /// [`CodeError`]: no size, no alignment, or more than a block; no addresses, no frames, no memory for the record.
    /// Nothing has changed then.
    ///
    /// Cost: where a block has a hole, none of hardware (data are cleared); else 2 MiB of frames leave the direct map,
    /// and 2 MiB more with the first block of code or read-only data.
    pub fn allocate(&self, request: Request) -> Result<Part, CodeError> {
        let shape = request.shape()?;
        let kind = request.kind;
        self.home.with_changes(|changes| {
            let (slot, hole) = match self.find_hole(kind, shape) {
                Some((slot, hole)) => {
                    room::for_part(&self.home, slot)?;
                    (slot, hole)
                }
                None => (self.grow(changes, kind)?, Hole { offset: 0, position: 0 }),
            };
            let start = self.place(slot).start().plus(u64::from(hole.offset));
            if kind == Kind::Data && !planted::is(Fault::DataNotCleared) {
                self.home.clear(&self.data_at(start, u64::from(shape.bytes)));
            }
            let record = Record {
                offset: hole.offset,
                bytes: request.bytes as u32,
                rounded: shape.bytes,
                owner: request.owner,
                is_written: false,
                name: request.name,
            };
            self.home.with_index(|index| index.insert(slot, hole, record));
            Ok(Part { pool: self.id, kind, start, bytes: request.bytes, contents: Contents::Fill })
        })
    }

    /// Finds the first hole for a request. The lock is held for one block at a time.
    fn find_hole(&self, kind: Kind, shape: Shape) -> Option<(Slot, Hole)> {
        let slots = self.home.with_index(|index| index.slots());
        (0..slots as u16).map(Slot).find_map(|slot| {
            let hole = self.home.with_index(|index| index.hole_in(slot, kind, shape))?;
            Some((slot, hole))
        })
    }
}
