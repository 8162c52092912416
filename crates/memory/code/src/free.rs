//! Parts that are freed: any number at once.

use rhumb_machine::impossible;

use crate::block::Slot;
use crate::changes::Changes;
use crate::error::{CodeError, Refused};
use crate::home::Home;
use crate::kind::Kind;
use crate::part::Part;
use crate::planted::{self, Fault};
use crate::pool::CodePool;
use crate::rewrite::{Edit, NewContents};
use crate::size::GRANULE_BYTES;

impl<H: Home> CodePool<H> {
    /// Frees parts. When it returns, code traps in their place on every CPU, and other code may be put there. Cannot
    /// fail for want of memory. Not from an interrupt.
    ///
    /// No CPU runs the parts any more, nor has one the address of data in them.
    ///
    /// # Errors
    /// A part is another pool's: all parts come back, and none was freed.
    ///
    /// Cost: for each block one switch, as for [`CodePool::write`]; none where no part was written. A block whose last
    /// part goes is unmapped instead, and its frames return to the direct map.
    pub fn free<const N: usize>(&self, parts: [Part; N]) -> Result<(), Refused<N>> {
        if parts.iter().any(|part| part.pool != self.id) {
            return Err(Refused { parts, error: CodeError::OtherPool });
        }
        self.home.with_changes(|changes| {
            for (position, part) in parts.iter().enumerate() {
                let Some((slot, _)) = self.slot_of(part.start) else {
                    impossible!("a part of the pool lies outside of it");
                    continue;
                };
                let is_of_block = |other: &&Part| self.slot_of(other.start).is_some_and(|it| it.0 == slot);
                if parts.iter().take(position).any(|other| is_of_block(&other)) {
                    continue;
                }
                self.free_of_block(changes, slot, part.kind, parts.iter().filter(is_of_block));
            }
        });
        Ok(())
    }

    /// Frees parts of one block.
    fn free_of_block<'parts>(
        &self,
        changes: &mut Changes<H::Frames>,
        slot: Slot,
        kind: Kind,
        parts: impl Iterator<Item = &'parts Part> + Clone,
    ) {
        let all = self.home.with_index(|index| index.block(slot).map_or(0, |block| block.parts.len()));
        if parts.clone().count() == all {
            return self.release(changes, slot);
        }
        let written = parts.clone().filter(|part| part.is_written());
        if kind.is_switched() && written.clone().next().is_some() && !planted::is(Fault::FreedCodeStays) {
            let edits = written.filter_map(|part| {
                let (_, offset) = self.slot_of(part.start)?;
                let length = part.bytes.next_multiple_of(GRANULE_BYTES) as usize;
                Some(Edit { offset: offset as usize, contents: NewContents::Free(length) })
            });
            self.rewrite(changes, slot, kind, edits);
        }
        for part in parts {
            if let Some((slot, offset)) = self.slot_of(part.start) {
                self.home.with_index(|index| index.remove(slot, offset));
            }
        }
    }
}
