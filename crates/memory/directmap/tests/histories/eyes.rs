//! CPUs that use the map, in the middle of a change too.

use rhumb_hosted::mmu::{SoftMmu, Use};
use rhumb_machine::{CpuId, CpuMask, Pfn, PfnRange};
use rhumb_pagetable::{Key, Rights};

use crate::model::Model;
use crate::world::{CPUS, Random, virt};

/// The CPUs' uses of the map, in the middle of a change too.
pub(crate) struct Eyes<'world> {
    pub(crate) mmu: &'world SoftMmu,
    pub(crate) random: Random,
    pub(crate) lazy: CpuMask,
}

impl Eyes<'_> {
    /// Returns the register of protection keys of `cpu`: see `World::new`.
    fn keys(cpu: CpuId) -> u32 {
        if cpu.index() == 1 { Key::new(1).unwrap().with_rights(0, Rights::ReadOnly) } else { 0 }
    }

    /// Lets a CPU use a frame near `focus`, or speculate where it is lazy.
    pub(crate) fn look(&mut self, model: &Model, ram: PfnRange, focus: PfnRange) -> Result<(), String> {
        let cpu = CpuId::new(self.random.below(CPUS as u64) as usize).unwrap();
        let pfn = self.frame_near(ram, focus);
        if self.lazy.contains(cpu) {
            self.mmu.speculate(cpu, virt(pfn));
            return Ok(());
        }
        let access = self.random.one_of(&[Use::Read, Use::Write, Use::Execute]);
        let seen = self.mmu.access(cpu, virt(pfn), access);
        model.judge(pfn, access, Self::keys(cpu), seen).map_err(|wrong| format!("CPU {cpu}: {wrong}"))
    }

    /// Returns a frame of `focus`, one beside its ends, or one of the large pages around these. There are few of each,
    /// so that CPUs come back to what they have cached.
    fn frame_near(&mut self, ram: PfnRange, focus: PfnRange) -> Pfn {
        let end = self.random.one_of(&[focus.start().get(), focus.end().get()]);
        let pfn = match self.random.below(8) {
            0 | 1 => focus.start().get() + self.random.below(8) * focus.frames() / 8,
            2 | 3 => end.saturating_sub(1) + self.random.below(2),
            4 | 5 => (end & !511) + self.random.below(8) * 73,
            6 => (end & !((1 << 18) - 1)) + 512 * self.random.below(4) + self.random.below(2),
            _ => ram.start().get() + self.random.below(ram.frames()),
        };
        Pfn::new(pfn.clamp(ram.start().get(), ram.end().get() - 1))
    }
}
