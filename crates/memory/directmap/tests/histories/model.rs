//! The flat model: the holds, and for each pending flush how frames were before. No page sizes, no tables.

use rhumb_directmap::{Presence, State};
use rhumb_hosted::mmu::{Fault, Use};
use rhumb_machine::{Block, PageSize, Pfn, PfnRange, PhysAddr};
use rhumb_pagetable::{Access, Rights};

/// One hold, as it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) frames: PfnRange,
    pub(crate) state: State,
    pub(crate) pinned: Option<PageSize>,
    pub(crate) owner: usize,
}

impl Known {
    /// Tells whether the hold keeps `block` from being one page.
    pub(crate) fn breaks(&self, block: Block) -> bool {
        match self.pinned {
            Some(size) => size < block.size() && self.frames.overlaps(block.frames()),
            None => block.is_split_at(self.frames.start()) || block.is_split_at(self.frames.end()),
        }
    }
}

/// Something that CPUs may see although it is not how the map is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) frames: PfnRange,
    /// How the frames may be seen, too.
    pub(crate) state: State,
    /// The batch after whose flush that is over.
    pub(crate) batch: u64,
}

/// A number that no batch has: for states that a change under way makes.
pub(crate) const UNDER_WAY: u64 = u64::MAX;

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) holds: Vec<Known>,
    pub(crate) touches: Vec<Touch>,
}

impl Model {
    /// Returns how `pfn` is in the map.
    pub(crate) fn state(&self, pfn: Pfn) -> State {
        self.holds
            .iter()
            .find(|known| known.frames.contains(pfn))
            .map_or(State::ORDINARY, |known| known.state)
    }

    pub(crate) fn is_free(&self, frames: PfnRange) -> bool {
        !self.holds.iter().any(|known| known.frames.overlaps(frames))
    }

    /// Says what is wrong with the `result` of an access to `pfn` by a CPU whose register of keys is `keys`.
    pub(crate) fn judge(
        &self,
        pfn: Pfn,
        access: Use,
        keys: u32,
        result: Result<PhysAddr, Fault>,
    ) -> Result<(), String> {
        let now = self.state(pfn);
        let before = self.touches.iter().filter(|touch| touch.frames.contains(pfn));
        let mut allowed = before.map(|touch| touch.state).chain([now]);
        if allowed.any(|state| outcome(state, pfn, access, keys) == result) {
            return Ok(());
        }
        Err(format!("{access:?} of frame {pfn} ends in {result:?}, but the map says {now}"))
    }

    /// Returns the frames of which a CPU may hold nothing old once `batch` is flushed: all that it touched and no other
    /// pending batch did.
    pub(crate) fn due(&self, batch: u64) -> Vec<PfnRange> {
        let (mine, others): (Vec<Touch>, Vec<Touch>) =
            self.touches.iter().partition(|touch| touch.batch == batch);
        let mut due = Vec::new();
        for touch in mine {
            let mut next = touch.frames.start();
            while next < touch.frames.end() {
                if let Some(other) = others.iter().find(|other| other.frames.contains(next)) {
                    next = other.frames.end();
                    continue;
                }
                let begins = others.iter().map(|other| other.frames.start()).filter(|&start| start > next);
                let end = begins.min().unwrap_or(touch.frames.end()).min(touch.frames.end());
                due.extend(PfnRange::new(next, end));
                next = end;
            }
        }
        due
    }
}

/// Returns what an access to `pfn` in `state` ends in.
fn outcome(state: State, pfn: Pfn, access: Use, keys: u32) -> Result<PhysAddr, Fault> {
    let is_allowed = match access {
        Use::Read => true,
        Use::Write => state.access == Access::ReadWrite,
        Use::Execute => state.access == Access::ReadExecute,
    };
    let rights = state.key.map_or(Rights::ReadWrite, |key| key.rights(keys));
    match (state.presence, is_allowed, access, rights) {
        (Presence::Absent, ..) => Err(Fault::NotPresent),
        (_, false, ..) => Err(Fault::Protection),
        (_, _, Use::Write, Rights::ReadOnly) | (_, _, Use::Read | Use::Write, Rights::Nothing) => {
            Err(Fault::ProtectionKey)
        }
        _ => Ok(pfn.addr()),
    }
}
