//! Mappings beside the direct map, in the same tree: their tables come and go with them.

use rhumb_hosted::Cpu;
use rhumb_hosted::mmu::{Fault, Use};
use rhumb_machine::{CpuId, PageSize, PfnRange, VirtAddr, VirtRange};
use rhumb_pagetable::{Access, Attributes, EmptyTables, Mapper, Mapping};

use crate::world::{Random, World};

const SIDE_AT: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);
const SLOTS: usize = 4;

/// The slots, 2 MiB apart, and the frames that they show.
#[derive(Default)]
pub(crate) struct Side {
    slots: [Option<PfnRange>; SLOTS],
}

fn slot_at(slot: usize) -> VirtAddr {
    SIDE_AT.plus(slot as u64 * PageSize::Size2M.bytes())
}

impl Side {
    /// Maps a slot, or unmaps it, flushes it and gives its tables back.
    pub(crate) fn turn(
        &mut self,
        world: &mut World<'_>,
        cpu: &Cpu<'_>,
        random: &mut Random,
    ) -> Result<(), String> {
        let slot = random.below(SLOTS as u64) as usize;
        let root = world.mmu.root();
        if let Some(frames) = self.slots[slot].take() {
            let range = VirtRange::of_length(slot_at(slot), frames.addrs().bytes()).unwrap();
            let unmapped = Mapper::new(root, &mut world.tables).unmap(range, EmptyTables::DetachBelowRoot);
            let flushed = unmapped.unwrap().tables.flush(world.machine, cpu.pinned());
            world.mmu.promised(range, &world.machine.cpus()).map_err(|stale| stale.to_string())?;
            // The tables' source asks the detector of each.
            // SAFETY: the world has one tree, one source and one machine.
            unsafe { flushed.release(&mut world.tables, &mut world.source) };
            return Ok(());
        }
        let all = World::side_frames();
        let start = all.start().plus(random.below(all.frames() - 8));
        let frames = PfnRange::of_length(start, 1 + random.below(8)).unwrap();
        let mapping = Mapping {
            virt: slot_at(slot),
            phys: frames.addrs(),
            attributes: Attributes::kernel(Access::ReadWrite),
            largest: PageSize::Size4K,
        };
        Mapper::new(root, &mut world.tables).map(&mapping, &mut world.source).unwrap();
        self.slots[slot] = Some(frames);
        Ok(())
    }

    /// Lets `cpu` use a page of a slot.
    pub(crate) fn look(&self, world: &World<'_>, cpu: CpuId, random: &mut Random) -> Result<(), String> {
        let slot = random.below(SLOTS as u64) as usize;
        let page = random.below(8);
        let right = match self.slots[slot] {
            Some(frames) if page < frames.frames() => Ok(frames.start().plus(page).addr()),
            _ => Err(Fault::NotPresent),
        };
        let virt = slot_at(slot).plus(page * PageSize::Size4K.bytes());
        let seen = world.mmu.access(cpu, virt, Use::Write);
        if seen == right {
            Ok(())
        } else {
            Err(format!("CPU {cpu} at {virt}: {seen:?} in place of {right:?}"))
        }
    }
}
