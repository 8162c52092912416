//! The plain model: memory is a set of frame numbers, each free or in use. Slow, and obviously right.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_machine::{Order, Pfn};

use crate::moving::relocate::Extent;
use crate::request::{Mobility, Preference, Request, Zone};
use crate::zones::layout::MemoryRange;

/// The facts that the allocator should know.
pub(crate) struct Model {
    memory: Vec<MemoryRange>,
    direct_limit: Pfn,
    free: BTreeSet<u64>,
    /// Blocks in use, by first frame.
    pub(crate) used: BTreeMap<u64, (Order, Mobility)>,
}

use std::vec::Vec;

impl Model {
    /// Returns a model with all of `memory` free.
    pub(crate) fn new(memory: &[MemoryRange], direct_limit: Pfn) -> Self {
        let free = memory.iter().flat_map(|range| range.frames.iter()).map(Pfn::get).collect();
        Self { memory: memory.to_vec(), direct_limit, free, used: BTreeMap::new() }
    }

    pub(crate) fn free_frames(&self) -> u64 {
        self.free.len() as u64
    }

    /// Whether the block may be given out for `request`, and gives it out.
    pub(crate) fn alloc(&mut self, pfn: Pfn, request: &Request) -> Result<(), &'static str> {
        let frames = request.order.frames();
        if !pfn.get().is_multiple_of(frames) {
            return Err("not aligned");
        }
        if !self.serves(pfn.get(), request) {
            return Err("outside the request's zones and nodes");
        }
        if !(pfn.get()..pfn.get() + frames).all(|frame| self.free.remove(&frame)) {
            return Err("not free");
        }
        self.used.insert(pfn.get(), (request.order, request.kind));
        Ok(())
    }

    /// Takes a block back.
    pub(crate) fn free(&mut self, pfn: Pfn) {
        let (order, _) = self.used.remove(&pfn.get()).unwrap();
        self.free.extend(pfn.get()..pfn.get() + order.frames());
    }

    /// Tells whether a block for `request` exists, in whichever way the free frames lie. A block never spans two zones
    /// or nodes, whose limits are not aligned to every order.
    pub(crate) fn can_serve(&self, request: &Request) -> bool {
        let frames = request.order.frames();
        let starts = self.free.iter().copied().filter(|start| start.is_multiple_of(frames));
        starts.into_iter().any(|start| {
            self.serves(start, request)
                && self.place(start) == self.place(start + frames - 1)
                && (start..start + frames).all(|frame| self.free.contains(&frame))
        })
    }

    fn place(&self, frame: u64) -> Option<(usize, Zone)> {
        let range = self.memory.iter().find(|range| range.frames.contains(Pfn::new(frame)))?;
        let zone = Zone::ALL.into_iter().find(|zone| Pfn::new(frame) < zone.end(self.direct_limit))?;
        Some((range.node.index(), zone))
    }

    fn serves(&self, frame: u64, request: &Request) -> bool {
        let Some((node, zone)) = self.place(frame) else { return false };
        let bound = match request.node() {
            Preference::Bind(wanted) => wanted.index() == node,
            _ => true,
        };
        bound && zone <= request.ceiling
    }

    /// Returns the movable block that `pfn` is part of.
    pub(crate) fn movable_extent(&self, pfn: Pfn) -> Option<Extent> {
        let (&start, &(order, kind)) = self.used.range(..=pfn.get()).next_back()?;
        let inside = pfn.get() < start + order.frames();
        (inside && kind == Mobility::Movable).then_some(Extent { start: Pfn::new(start), order })
    }

    /// The block at `from` is at `to` now.
    pub(crate) fn moved(&mut self, from: Pfn, to: Pfn) {
        let (order, kind) = self.used[&from.get()];
        self.free(from);
        assert!(
            (to.get()..to.get() + order.frames()).all(|frame| self.free.remove(&frame)),
            "moved onto a used frame"
        );
        self.used.insert(to.get(), (order, kind));
    }
}
