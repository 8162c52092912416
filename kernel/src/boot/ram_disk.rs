//! Bringing the initial RAM disk into the direct map: the kernel reads its files there, and a loader puts it anywhere.

use rhumb_bootinfo::{BootFrames, MemoryMap, Reservation};
use rhumb_machine::{PageSize, PhysAddr, PhysRange};

use super::scratch::Scratch;

/// Copies the RAM disk to below the direct map's end, if it lies past it, and returns where it lies then. The loader's copy
/// is left with the loader's other data, which is given back. Where there is no room, the disk stays where it is.
pub(super) fn into_direct_map(
    map: &mut MemoryMap,
    scratch: &mut Scratch,
    end: Option<PhysAddr>,
    disk: Option<PhysRange>,
) -> Option<PhysRange> {
    let (Some(end), Some(old)) = (end, disk) else { return disk };
    let Some(frames) = old.align_outward(PageSize::Size4K).filter(|_| old.end() > end) else { return disk };
    let count = frames.whole_frames().frames();
    let Ok(new) = BootFrames::below(map, end).take_run(count, 1, Reservation::InitialRamDisk) else {
        log::warn!("the initial RAM disk does not fit below the direct map's end at {end}");
        return disk;
    };
    for (from, to) in frames.whole_frames().iter().zip(new.iter()) {
        let bytes = *scratch.frame(from);
        *scratch.frame(to) = bytes;
    }
    map.set_reason(old, Reservation::BootLoaderData);
    let start = new.start().addr().plus(old.start().since(frames.start()));
    PhysRange::of_length(start, old.bytes())
}
