//! Room for another part or block in the index.
//!
//! Memory is asked for and given back with the index's lock released; records are moved under it. The caller has its
//! turn to change, so that no other change comes between.

use alloc::vec::Vec;
use core::mem;

use crate::block::{Block, Record, Slot};
use crate::error::CodeError;
use crate::failing::list;
use crate::home::Home;

/// Makes room for one more part in a block.
pub(crate) fn for_part<H: Home>(home: &H, slot: Slot) -> Result<(), CodeError> {
    let count = home.with_index(|index| {
        index.block(slot).filter(|block| block.parts.len() == block.parts.capacity()).map(|it| it.parts.len())
    });
    let Some(count) = count else { return Ok(()) };
    let mut larger = list::<Record>(2 * count.max(4))?;
    let _smaller = home.with_index(|index| {
        let block = index.block_mut(slot)?;
        larger.append(&mut block.parts);
        Some(mem::replace(&mut block.parts, larger))
    });
    Ok(())
}

/// Makes room for a block in `slot`.
pub(crate) fn for_block<H: Home>(home: &H, slot: Slot) -> Result<(), CodeError> {
    let slots = home.with_index(|index| index.slots());
    if slot.index() < slots {
        return Ok(());
    }
    let mut larger = list::<Option<Block>>(2 * (slot.index() + 1))?;
    // The list has room for them: no memory is asked for under the lock.
    let _smaller = home.with_index(|index| {
        larger.append(&mut index.blocks);
        larger.resize_with(slot.index() + 1, || None);
        mem::replace(&mut index.blocks, larger)
    });
    Ok(())
}

/// Returns a list with room for the first parts of a block.
pub(crate) fn first_parts() -> Result<Vec<Record>, CodeError> {
    list(8)
}
