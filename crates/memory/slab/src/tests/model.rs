//! The plain model: which bytes are whose.

use core::alloc::Layout;
use std::collections::BTreeMap;

/// Objects by address.
#[derive(Default)]
pub(crate) struct Model {
    objects: BTreeMap<usize, usize>,
}

impl Model {
    /// An owner was given memory: aligned, and its own alone. An object of no bytes has an address of its own.
    pub(crate) fn alloc(&mut self, at: usize, layout: Layout) {
        let bytes = layout.size().max(1);
        assert!(at.is_multiple_of(layout.align()), "{at:#x} for {layout:?}");
        let below = self.objects.range(..at + bytes).next_back();
        if let Some((&other, &length)) = below {
            assert!(other + length <= at, "{at:#x} of {bytes} bytes overlaps {other:#x} of {length}");
        }
        self.objects.insert(at, bytes);
    }

    /// An owner gave memory back.
    pub(crate) fn free(&mut self, at: usize) {
        assert!(self.objects.remove(&at).is_some(), "{at:#x} has no owner");
    }
}
