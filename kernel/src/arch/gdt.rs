//! Segments and interrupt stacks of one CPU.
//!
//! Long mode needs a code segment, a task-state segment for its interrupt stacks, and little else. The selectors are
//! the same on every CPU, and the code selector is the boot stub's, so that the interrupt table serves from the first
//! instruction on.
//!
//! Why not the x86_64 crate's table: its addresses are 48 bits wide, and with 5-level paging the areas that hold these
//! tables are in a direct map that needs 57.

use core::arch::asm;
use core::cell::UnsafeCell;

use rhumb_machine::VirtAddr;
use x86_64::PrivilegeLevel::Ring0;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::structures::tss::TaskStateSegment;

/// Interrupt stacks by their place in the task-state segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptStack {
    DoubleFault,
    Nmi,
    MachineCheck,
}

impl InterruptStack {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DoubleFault, Self::Nmi, Self::MachineCheck];

    /// Returns its index in the task-state segment, 0 to 6.
    pub const fn index(self) -> u16 {
        self as u16
    }
}

/// Null, ring-0 64-bit code, ring-0 data, and the two halves of the task-state segment's descriptor.
type Table = [u64; 5];

const CODE: SegmentSelector = SegmentSelector::new(1, Ring0);
const DATA: SegmentSelector = SegmentSelector::new(2, Ring0);
const TASK: SegmentSelector = SegmentSelector::new(3, Ring0);
/// Present, 64-bit, execute and read, accessed.
const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
/// Present, read and write, accessed.
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// Present, available 64-bit task-state segment.
const TASK_TYPE: u64 = 0x89 << 40;

/// The operand of `lgdt`.
#[repr(C, packed)]
struct TablePointer {
    last_byte: u16,
    base: u64,
}

/// One CPU's descriptor table and task-state segment. They stay where they are: the CPU holds their addresses.
pub struct Descriptors {
    table: UnsafeCell<Table>,
    task: UnsafeCell<TaskStateSegment>,
}

impl Descriptors {
    /// Returns empty descriptors, to be loaded by their CPU.
    pub const fn new() -> Self {
        Self { table: UnsafeCell::new([0; 5]), task: UnsafeCell::new(TaskStateSegment::new()) }
    }

    /// Fills both in and makes them the calling CPU's. `stack_top` gives the top of each interrupt stack.
    ///
    /// # Safety
    /// Called once, by the CPU that owns this structure, with tops of mapped, otherwise unused stacks.
    pub unsafe fn load(&'static self, stack_top: impl Fn(InterruptStack) -> VirtAddr) {
        // SAFETY: one call, one CPU: no other code looks at the cells, and after this only the CPU does.
        let (table, task) = unsafe { (&mut *self.table.get(), &mut *self.task.get()) };
        for stack in InterruptStack::ALL {
            task.interrupt_stack_table[stack.index() as usize] =
                x86_64::VirtAddr::new(stack_top(stack).get());
        }
        let (low, high) = task_descriptor(self.task.get() as u64);
        *table = [0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, low, high];
        let pointer =
            TablePointer { last_byte: (size_of::<Table>() - 1) as u16, base: self.table.get() as u64 };
        // SAFETY: the table lives permanently, and the selectors name the descriptors just made. The GS base is an MSR
        // and is left alone: its selector is not reloaded.
        unsafe {
            asm!("lgdt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags));
            CS::set_reg(CODE);
            SS::set_reg(DATA);
            DS::set_reg(SegmentSelector::NULL);
            ES::set_reg(SegmentSelector::NULL);
            load_tss(TASK);
            // No local descriptors: what the firmware left there would be a table like any other.
            asm!("lldt {0:x}", in(reg) 0u32, options(nostack, preserves_flags));
        }
    }

    /// Splits the interrupt stacks of the calling CPU: those that come from now on use the lower halves. A report may
    /// run on any of these stacks, and whatever comes meanwhile must not write over it.
    ///
    /// # Safety
    /// Called by the CPU that owns this structure, which does not go back to what it did before.
    pub unsafe fn split_stacks(&'static self, middle: impl Fn(InterruptStack) -> VirtAddr) {
        // SAFETY: the CPU reads the segment as it takes an interrupt, which is before or after these writes.
        let task = self.task.get();
        for stack in InterruptStack::ALL {
            // SAFETY: the CPU reads the segment before or after this write; the structure is packed, so no reference to
            // the place is made.
            unsafe {
                (&raw mut (*task).interrupt_stack_table[stack.index() as usize])
                    .write_unaligned(x86_64::VirtAddr::new(middle(stack).get()));
            }
        }
    }
}

/// Returns the 16-byte descriptor of the task-state segment at `base` (Intel SDM volume 3, 9.2.3).
const fn task_descriptor(base: u64) -> (u64, u64) {
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    let low = limit | (base & 0x00ff_ffff) << 16 | TASK_TYPE | (base >> 24 & 0xff) << 56;
    (low, base >> 32)
}
