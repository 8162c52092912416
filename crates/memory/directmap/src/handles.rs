//! Handles left behind and found again.

use rhumb_machine::PfnRange;
use rhumb_pagetable::TableMemory;

use crate::map::{DirectMap, Hold};
use crate::records::{Handle, OwnerId};
use crate::rules::Rules;

impl<T: TableMemory, R: Rules> DirectMap<T, R> {
    /// Gives up a handle without giving back the frames: its owner can have it again, unless a change was dropped half
    /// way.
    ///
    /// # Panics
    /// If the handle is another map's.
    pub fn leave(&mut self, held: Hold) {
        self.journal.map.demand(held.map);
        self.edits += 1;
        if let Some(id) = held.hold {
            self.journal.update_hold(id, |hold| {
                if hold.handle != Handle::Working {
                    hold.handle = Handle::Left;
                }
            });
        }
    }

    /// Returns the handle of exactly these frames, which `owner` has left.
    ///
    /// # Safety
    /// The caller is the one that left it, or acts for it: with the handle the frames are the caller's.
    #[expect(unsafe_code, reason = "the caller takes the frames over")]
    pub unsafe fn adopt(&mut self, owner: OwnerId, frames: PfnRange) -> Option<Hold> {
        self.edits += 1;
        let id = self.journal.left_by(owner, frames)?;
        self.journal.update_hold(id, |hold| hold.handle = Handle::Out);
        Some(Hold { map: self.journal.map, frames, hold: Some(id) })
    }
}
