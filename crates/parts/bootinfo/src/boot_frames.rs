//! Frames before there is an allocator.
//!
//! Page tables, stacks and frame descriptors are needed before the frame allocator can run. [`BootFrames`] takes them
//! from the [`MemoryMap`] and notes each in it, so there is nothing to hand over later: the frames that the
//! map still calls usable are left.
//!
//! Frames come **from the top down**, below a ceiling. The ceiling is what the caller can write to at this point of the
//! boot (the boot page tables' reach). From the top, since low memory is the scarce kind: the first MiB holds the
//! trampoline, the first 16 MiB are the DMA zone, and a device that cannot reach past them can use nothing else.
//!
//! Where it matters which node a frame is of, [`BootFrames::take_run_near`] looks at that node's own memory first.
//! Memory that may be unplugged comes last, because nothing that boot takes can be moved out of it.
//!
//! A frame is *not* zeroed: this crate touches no memory. The caller zeroes it through its own mapping.
//!
//! Why no free: whatever is taken at boot stays, or is given to the frame allocator by address later.

use core::fmt;

use rhumb_machine::{NodeId, Pfn, PfnRange, PhysAddr, PhysRange, impossible};

use crate::{MemoryMap, MemoryMapError, Reservation, Topology};

/// A source of frames at boot.
#[derive(Debug)]
pub struct BootFrames<'map> {
    map: &'map mut MemoryMap,
    window: PhysRange,
}

impl<'map> BootFrames<'map> {
    /// Frames of `map` below `ceiling`.
    pub fn below(map: &'map mut MemoryMap, ceiling: PhysAddr) -> Self {
        let window = PhysRange::new(PhysAddr::ZERO, ceiling)
            .unwrap_or_else(|| impossible!("{ceiling} is below zero" => PhysRange::default()));
        Self { map, window }
    }

    /// Frames of `map` within `window`: memory of one node, or below 1 MiB for the trampoline.
    pub fn within(map: &'map mut MemoryMap, window: PhysRange) -> Self {
        Self { map, window }
    }

    /// Frames of the same map, but within `window`.
    pub fn elsewhere(&mut self, window: PhysRange) -> BootFrames<'_> {
        BootFrames { map: self.map, window }
    }

    /// Returns the map from which the frames come.
    pub fn map(&self) -> &MemoryMap {
        self.map
    }

    /// Takes one frame: the highest that is free.
    ///
    /// Cost: a look at the topmost free range and at the reservations beside it.
    ///
    /// # Errors
    /// [`OutOfBootFrames`]; nothing has changed then.
    pub fn take(&mut self, why: Reservation) -> Result<Pfn, OutOfBootFrames> {
        self.take_run(1, 1, why).map(PfnRange::start)
    }

    /// Takes `frames` frames in a row, the first one a multiple of `align_frames` (a power of two): the highest such
    /// run.
    ///
    /// # Errors
    /// [`OutOfBootFrames`]; nothing has changed then. A run of no frames or an alignment that is no power of two is
    /// refused in the same way.
    pub fn take_run(
        &mut self,
        frames: u64,
        align_frames: u64,
        why: Reservation,
    ) -> Result<PfnRange, OutOfBootFrames> {
        let refused =
            OutOfBootFrames { frames, align_frames, why, window: self.window, cause: Cause::NoRoom };
        if frames == 0 || !align_frames.is_power_of_two() {
            return Err(refused);
        }
        let fit = |free: PhysRange| {
            let free = free.whole_frames();
            let start = free.end().get().checked_sub(frames)? & !(align_frames - 1);
            let start = Some(Pfn::new(start)).filter(|&start| start >= free.start())?;
            PfnRange::of_length(start, frames)
        };
        let run = self.map.free_down_in(self.window).find_map(fit).ok_or(refused)?;
        match self.map.reserve(run.addrs(), why) {
            Ok(()) => Ok(run),
            Err(cause) => Err(OutOfBootFrames { cause: Cause::Map(cause), ..refused }),
        }
    }
}

impl BootFrames<'_> {
    /// Takes frames as [`Self::take_run`] does, of the memory that is best for `node`: the node's own, then that of
    /// other nodes, and only then memory that may be unplugged.
    ///
    /// # Errors
    /// [`OutOfBootFrames`]; nothing has changed then.
    pub fn take_run_near(
        &mut self,
        topology: &Topology,
        node: NodeId,
        frames: u64,
        align_frames: u64,
        why: Reservation,
    ) -> Result<PfnRange, OutOfBootFrames> {
        let window = self.window;
        let stays =
            topology.memory.iter().rev().filter(|memory| memory.node == node && !memory.hot_pluggable);
        let own = stays.map(|memory| memory.range).chain(topology.fixed_memory_down());
        for near in own.map(|range| range.intersection(window)).filter(|near| !near.is_empty()) {
            if let Ok(run) = self.elsewhere(near).take_run(frames, align_frames, why) {
                return Ok(run);
            }
        }
        self.take_run(frames, align_frames, why)
    }
}

/// No such frames can be had at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBootFrames {
    /// How many frames in a row were asked for.
    pub frames: u64,
    /// The alignment asked for, in frames.
    pub align_frames: u64,
    /// Their purpose.
    pub why: Reservation,
    /// Where they were looked for.
    pub window: PhysRange,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoRoom,
    Map(MemoryMapError),
}

impl fmt::Display for OutOfBootFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::NoRoom if self.frames == 1 => {
                write!(f, "out of memory at boot: no free frame in {} for: {}", self.window, self.why)
            }
            Cause::NoRoom => write!(
                f,
                "out of memory at boot: no {} free frames in a row (aligned to {}) in {} for: {}",
                self.frames, self.align_frames, self.window, self.why
            ),
            Cause::Map(error) => write!(f, "out of memory at boot: {error}"),
        }
    }
}

impl core::error::Error for OutOfBootFrames {}

#[cfg(test)]
mod tests;
