//! The change of a block that no CPU can write: other frames take the place of its own. See the picture in the crate's
//! header.
//!
//! The spare frames are, as a rule, those that the same block had before its last change. Then they differ from the
//! block in the pages of that change alone, and a change writes these and its own: a page or two for a small program,
//! not 2 MiB.

use core::mem;
use core::ops::Range;

use rhumb_machine::impossible;

use crate::block::Slot;
use crate::changes::Changes;
use crate::home::Home;
use crate::kind::Kind;
use crate::pages::PageSet;
use crate::planted::{self, Fault};
use crate::pool::CodePool;
use crate::size::{PAGE_BYTES, PageBytes};

/// New contents of a stretch of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit<'bytes> {
    /// From the block's first byte.
    pub(crate) offset: usize,
    pub(crate) contents: NewContents<'bytes>,
}

/// New bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewContents<'bytes> {
    Bytes(&'bytes [u8]),
    /// So many bytes become free.
    Free(usize),
}

impl Edit<'_> {
    fn bytes(&self) -> Range<usize> {
        let length = match self.contents {
            NewContents::Bytes(bytes) => bytes.len(),
            NewContents::Free(length) => length,
        };
        self.offset..self.offset + length
    }

    /// Makes its part of the change in one page.
    fn apply(&self, page: usize, image: &mut PageBytes, fill: u8) {
        let (bytes, first) = (self.bytes(), page * PAGE_BYTES);
        let (start, end) = (bytes.start.max(first), bytes.end.min(first + PAGE_BYTES));
        if start >= end {
            return;
        }
        let Some(target) = image.get_mut(start - first..end - first) else { return };
        match self.contents {
            NewContents::Bytes(source) => match source.get(start - bytes.start..end - bytes.start) {
                Some(source) => target.copy_from_slice(source),
                None => impossible!("an edit's bytes are as long as it is"),
            },
            NewContents::Free(_) => target.fill(fill),
        }
    }
}

impl<H: Home> CodePool<H> {
    /// Makes all edits of a block at once. When it returns, every CPU sees all of them, and runs nothing older.
    pub(crate) fn rewrite<'bytes>(
        &self,
        changes: &mut Changes<H::Frames>,
        slot: Slot,
        kind: Kind,
        edits: impl Iterator<Item = Edit<'bytes>> + Clone,
    ) {
        let Changes { frames, spare, switches, pages_written } = changes;
        let (Some(Some(frames)), Some(spare)) = (frames.get_mut(slot.index()), spare) else {
            return impossible!("block {} has frames, and there are spare ones", slot.index());
        };
        let mut touched = PageSet::EMPTY;
        edits.clone().for_each(|edit| touched.add_bytes(edit.bytes()));
        let behind = match spare.twin {
            Some(twin) if twin == slot && planted::is(Fault::SpareNotCaughtUp) => PageSet::EMPTY,
            Some(twin) if twin == slot => spare.stale,
            _ => PageSet::ALL,
        };
        let place = self.place(slot);
        let mut image: PageBytes = [0; PAGE_BYTES];
        for page in touched.union(behind).iter() {
            self.home.read_page(place, page, &mut image);
            edits.clone().for_each(|edit| edit.apply(page, &mut image, kind.fill()));
            self.home.write_page(&mut spare.frames, page, &image);
            *pages_written += 1;
        }
        if !planted::is(Fault::WindowLeft) {
            self.home.end_writing();
        }
        self.home.map(place, &spare.frames, kind.access());
        // Until its flush a CPU uses the old frames or the new ones, which agree in every part that stays.
        if !planted::is(Fault::SwitchUnflushed) {
            self.home.flush(place);
        }
        mem::swap(&mut spare.frames, frames);
        (spare.twin, spare.stale) = (Some(slot), touched);
        *switches += 1;
    }
}
