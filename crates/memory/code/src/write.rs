//! Parts that are written: any number at once.

use rhumb_machine::impossible;

use crate::error::CodeError;
use crate::home::Home;
use crate::kind::Kind;
use crate::part::{Contents, Part};
use crate::pool::CodePool;
use crate::rewrite::{Edit, NewContents};

/// The bytes of a part, to be written.
#[derive(Debug)]
pub struct Write<'a> {
    /// The part.
    pub part: &'a mut Part,
    /// The bytes from its beginning on. The rest of the part stays as it is.
    pub bytes: &'a [u8],
}

impl<H: Home> CodePool<H> {
    /// Writes parts, each for the first time: all of them or none. When it returns, every CPU finds the new bytes, and
    /// has serialised, so that code may be called. Not from an interrupt.
    ///
    /// # Errors
    /// A part is another pool's, was written before, or has fewer bytes. Nothing has changed then.
    ///
    /// Cost: for each block of code or read-only data with such parts one switch of frames: the pages that are written,
    /// and those of the block's last change, are copied (all 512 where another block was changed last), then a round of
    /// flushes and one of serialising instructions on all CPUs. For data a copy.
    pub fn write(&self, writes: &mut [Write<'_>]) -> Result<(), CodeError> {
        for write in writes.iter() {
            let (bytes, part_bytes) = (write.bytes.len() as u64, write.part.bytes);
            if write.part.pool != self.id {
                return Err(CodeError::OtherPool);
            }
            if write.part.is_written() {
                return Err(CodeError::AlreadyWritten);
            }
            if bytes > part_bytes {
                return Err(CodeError::TooLong { bytes, part_bytes });
            }
        }
        self.home.with_changes(|changes| {
            for (position, write) in writes.iter().enumerate() {
                let Some((slot, _)) = self.slot_of(write.part.start) else {
                    impossible!("a part of the pool lies outside of it");
                    continue;
                };
                if write.part.kind == Kind::Data {
                    self.home.write_data(&self.data_at(write.part.start, write.part.bytes), write.bytes);
                    continue;
                }
                // A block is changed once, with the first of its parts.
                let is_of_block =
                    |other: &Write<'_>| self.slot_of(other.part.start).is_some_and(|it| it.0 == slot);
                if writes.iter().take(position).any(is_of_block) {
                    continue;
                }
                let edits = writes.iter().filter(|other| is_of_block(other)).filter_map(|other| {
                    let (_, offset) = self.slot_of(other.part.start)?;
                    Some(Edit { offset: offset as usize, contents: NewContents::Bytes(other.bytes) })
                });
                self.rewrite(changes, slot, write.part.kind, edits);
            }
            for write in writes.iter_mut() {
                write.part.contents = Contents::Written;
                if let Some((slot, offset)) = self.slot_of(write.part.start) {
                    self.home.with_index(|index| index.note(slot, offset, Contents::Written));
                }
            }
        });
        Ok(())
    }
}
