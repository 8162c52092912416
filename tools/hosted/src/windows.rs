//! Page tables of the CPU-local windows, in the machine's RAM: the software unit walks them, and a slot's page is where
//! that unit says.

use rhumb_machine::{CpuId, MAX_CPUS, Machine, PageSize, Pfn, VirtAddr, VirtRange};
use rhumb_pagetable::{Entry, Privilege, Root, TableMemory, TableSource};
use rhumb_windows::{WINDOW_BASE, WindowTables, slot_address};

use crate::machine::HostedMachine;
use crate::mmu::{HostedTables, Use};
use crate::table_frames::TableFrames;

/// See the module.
#[derive(Debug)]
pub struct HostedWindows {
    machine: &'static HostedMachine,
    tables: HostedTables,
    pages: Vec<Pfn>,
}

impl HostedWindows {
    /// Makes a table at level 1 for each CPU, under common tables above; `None` where `source` has too few.
    ///
    /// # Safety
    /// - `root` is the tree that the machine's unit walks, or will before a window opens
    ///   ([`attach_mmu`](HostedMachine::attach_mmu)), and its tables and those of `source` are the ones that `tables`
    ///   reaches.
    /// - These are the machine's only windows, and nothing else writes an entry for their [range](Self::range): the
    ///   windows of two on one tree would show the frames of each other's owners.
    ///
    /// ```compile_fail,E0133
    /// # use rhumb_hosted::{HostedMachine, HostedTables, HostedWindows, TableFrames};
    /// # use rhumb_pagetable::Root;
    /// fn second(machine: &'static HostedMachine, tables: HostedTables, source: &mut TableFrames<'static>, root: Root) {
    ///     HostedWindows::new(machine, tables, source, root);
    /// }
    /// ```
    pub unsafe fn new(
        machine: &'static HostedMachine,
        mut tables: HostedTables,
        source: &mut TableFrames<'static>,
        root: Root,
    ) -> Option<Self> {
        let mut table = |above: Pfn, index: usize| {
            let next = source.take_zeroed_table().ok()?;
            tables.write(above, index, Entry::table(next, Privilege::Supervisor));
            Some(next)
        };
        let pointers = table(root.table, index_of(WINDOW_BASE, 4))?;
        let (cpus, mut directory) = (machine.cpus(), None);
        let pages = cpus.iter().map(|cpu| {
            let windows = slot_address(cpu, 0);
            let index = index_of(windows, 2);
            if index == 0 {
                directory = Some(table(pointers, index_of(windows, 3))?);
            }
            table(directory?, index)
        });
        let pages = pages.collect::<Option<Vec<_>>>()?;
        Some(Self { machine, tables, pages })
    }

    /// Returns the addresses of all windows. The unit is told of them
    /// ([`unused_until_flushed`](crate::SoftMmu::unused_until_flushed)), since a closed window's slot is not used again
    /// before it is flushed.
    pub fn range() -> VirtRange {
        VirtRange::of_length(WINDOW_BASE, MAX_CPUS as u64 * PageSize::Size2M.bytes()).unwrap_or_default()
    }
}

/// Returns the index of the entry for `virt` in a table of this level.
const fn index_of(virt: VirtAddr, level: u32) -> usize {
    (virt.get() >> (12 + 9 * (level - 1)) & 511) as usize
}

// SAFETY: entries are written into tables that the unit walks, and a slot's page is where the unit says.
unsafe impl WindowTables for HostedWindows {
    fn write(&self, cpu: CpuId, slot: usize, entry: Entry) {
        // An interrupt comes before and after, if one may.
        drop(self.machine.pin());
        self.tables.clone().write(self.pages[cpu.index()], slot, entry);
        drop(self.machine.pin());
    }

    fn read(&self, cpu: CpuId, slot: usize) -> Entry {
        self.tables.read(self.pages[cpu.index()], slot)
    }

    /// # Panics
    /// A window that faults: the machine has no unit, or the window's entry is not there.
    fn show(&self, cpu: CpuId, slot: usize) -> VirtAddr {
        drop(self.machine.pin());
        let mmu = self.machine.mmu();
        match mmu.map(|mmu| mmu.access(cpu, slot_address(cpu, slot), Use::Write)) {
            Some(Ok(phys)) => self.machine.direct(phys),
            fault => panic!("a window faults: {fault:?}"),
        }
    }
}
