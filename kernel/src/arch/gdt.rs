//! Segments and interrupt stacks of one CPU.
//!
//! Long mode needs code and data segments for the kernel and for programs, a task-state segment for its stacks, and
//! little else. The selectors are the same on every CPU, and the code selector is the boot stub's, so that the interrupt
//! table serves from the first instruction on. They lie as SYSCALL and SYSRET take them: see [`STAR`].
//!
//! The descriptors and the segment of a CPU share one page of memory. The CPU has it at addresses where it is read-only
//! (`layout::entry`), and reads all that it needs there: the addresses that SGDT and STR would tell are none to write to.
//! The kernel changes the stack pointers in the segment through the direct map. The CPU itself writes there once, as the
//! segment is loaded, and gets the descriptors at their writable place for that instruction.
//!
//! Why not the x86_64 crate's table: its addresses are 48 bits wide, and with 5-level paging the page is in a direct map
//! that needs 57.

use core::arch::asm;
use core::cell::UnsafeCell;

use rhumb_machine::{IrqOff, VirtAddr};
use x86_64::PrivilegeLevel::{Ring0, Ring3};
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
    Debug,
}

impl InterruptStack {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DoubleFault, Self::Nmi, Self::MachineCheck, Self::Debug];

    /// Returns its index in the task-state segment, 0 to 6.
    pub const fn index(self) -> u16 {
        self as u16
    }
}

/// Null; ring-0 64-bit code and data; the two halves of the task-state segment's descriptor; ring-3 data and 64-bit
/// code.
type Table = [u64; 7];

const CODE: SegmentSelector = SegmentSelector::new(1, Ring0);
const DATA: SegmentSelector = SegmentSelector::new(2, Ring0);
const TASK: SegmentSelector = SegmentSelector::new(3, Ring0);
/// The data segment of programs.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(5, Ring3);
/// The code segment of programs.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(6, Ring3);

/// The segments of SYSCALL and SYSRET in IA32_STAR: SYSCALL loads the first selector for code, and the next one for
/// data; SYSRET loads the third behind the second selector's for code, and the one between for data (SDM volume 2,
/// SYSCALL, SYSRET).
pub const STAR: u64 = (CODE.0 as u64) << 32 | (USER_DATA.0 as u64 - 8) << 48;

const _: () = assert!(STAR == 0x0023_0008_0000_0000);
const _: () = assert!(DATA.0 == CODE.0 + 8 && USER_CODE.0 == USER_DATA.0 + 8);

// Each has its accessed bit set already, because the CPU could not set it.
/// Present, 64-bit, execute and read, accessed.
const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
/// Present, read and write, accessed.
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// The same for ring 3.
const USER_DATA_DESCRIPTOR: u64 = DATA_DESCRIPTOR | RING_3;
const USER_CODE_DESCRIPTOR: u64 = CODE_DESCRIPTOR | RING_3;
const RING_3: u64 = 3 << 45;
/// Present, available 64-bit task-state segment.
const TASK_TYPE: u64 = 0x89 << 40;

/// Bytes at the top of each interrupt stack: the address of the CPU's area, and that of the word that has the stack of
/// entries from programs. An entry on the stack reads them: see [`super::idt`].
const TOP_BYTES: u64 = 16;

/// The operand of `lgdt`.
#[repr(C, packed)]
struct TablePointer {
    last_byte: u16,
    base: u64,
}

/// One CPU's descriptor table and task-state segment: all of a page. They stay where they are, because the CPU holds
/// their addresses.
#[repr(C, align(4096))]
pub struct Descriptors {
    table: UnsafeCell<Table>,
    task: UnsafeCell<TaskStateSegment>,
}

const _: () = assert!(size_of::<Descriptors>() == 4096);

// SAFETY: the CPU that has loaded them alone writes there, with interrupts off.
unsafe impl Sync for Descriptors {}

impl Descriptors {
    /// Returns empty descriptors, to be loaded by their CPU.
    pub const fn new() -> Self {
        Self { table: UnsafeCell::new([0; 7]), task: UnsafeCell::new(TaskStateSegment::new()) }
    }

    /// Fills both in and makes them the calling CPU's, at `read_only`. `stack_top` gives the top of each interrupt stack,
    /// which gets the address of the CPU's area.
    ///
    /// # Safety
    /// Called once, by the CPU that is to own this structure, with tops of mapped, otherwise unused stacks, and the
    /// address of its area. `read_only` is another address of this structure, mapped permanently.
    pub unsafe fn load(
        &'static self,
        read_only: VirtAddr,
        area: VirtAddr,
        stack_top: impl Fn(InterruptStack) -> VirtAddr,
    ) {
        // SAFETY: the stacks are unused, by the caller's promise.
        unsafe { self.name_stacks(area, stack_top) };
        let offset = (self.task.get() as u64) - core::ptr::from_ref(self) as u64;
        let (low, high) = task_descriptor(read_only.plus(offset).get());
        let table =
            [0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, low, high, USER_DATA_DESCRIPTOR, USER_CODE_DESCRIPTOR];
        // SAFETY: one call, one CPU: no other code looks at the table.
        unsafe { self.table.get().write(table) };
        let pointer = |base| TablePointer { last_byte: (size_of::<Table>() - 1) as u16, base };
        // SAFETY: the table lives permanently at both addresses, and the selectors name the descriptors just made. The
        // GS base is an MSR and is left alone: its selector is not reloaded, and null since the CPU's first
        // instructions.
        unsafe {
            load_table(&pointer(self.table.get() as u64));
            CS::set_reg(CODE);
            SS::set_reg(DATA);
            DS::set_reg(SegmentSelector::NULL);
            ES::set_reg(SegmentSelector::NULL);
            // The CPU marks the segment as busy.
            load_tss(TASK);
            load_table(&pointer(read_only.get()));
            // No local descriptors: what the firmware left there would be a table like any other.
            asm!("lldt {0:x}", in(reg) 0u32, options(nostack, preserves_flags));
        }
    }

    /// Names the stack on which the CPU enters the kernel from a program.
    ///
    /// # Safety
    /// Called by the CPU that owns this structure. The stack ends at `top`, is mapped, and no code uses the part that an
    /// entry takes, as long as the CPU may run a program.
    #[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "there are no programs yet"))]
    pub unsafe fn set_kernel_stack(&self, _: IrqOff<'_>, top: VirtAddr) {
        let task = self.task.get();
        // SAFETY: the CPU reads the segment before or after this write; the structure is packed, so no reference to the
        // place is made.
        unsafe {
            (&raw mut (*task).privilege_stack_table[0]).write_unaligned(x86_64::VirtAddr::new(top.get()));
        }
    }

    /// Splits the interrupt stacks of the calling CPU: those that come from now on use the lower halves. A report may
    /// run on any of these stacks, and whatever comes meanwhile must not write over it.
    ///
    /// # Safety
    /// Called by the CPU that owns this structure, which has `area` and does not go back to what it did before.
    pub unsafe fn split_stacks(&self, area: VirtAddr, middle: impl Fn(InterruptStack) -> VirtAddr) {
        // SAFETY: the lower halves are unused, by the caller's promise.
        unsafe { self.name_stacks(area, middle) };
    }

    /// Names the interrupt stacks, which end at `top`, and writes the two words there.
    ///
    /// # Safety
    /// Called by the CPU that owns this structure; nothing uses the stacks below their tops.
    unsafe fn name_stacks(&self, area: VirtAddr, top: impl Fn(InterruptStack) -> VirtAddr) {
        let task = self.task.get();
        for stack in InterruptStack::ALL {
            let below = VirtAddr::new(top(stack).get() - TOP_BYTES);
            // SAFETY: the words are the stack's highest, and unused. The CPU reads the segment before or after this write;
            // the structure is packed, so no reference to the place is made.
            unsafe {
                let entries = (&raw const (*task).privilege_stack_table[0]) as u64;
                below.as_mut_ptr::<[u64; 2]>().write([area.get(), entries]);
                (&raw mut (*task).interrupt_stack_table[stack.index() as usize])
                    .write_unaligned(x86_64::VirtAddr::new(below.get()));
            }
        }
    }
}

/// Loads the descriptor table.
///
/// # Safety
/// The table has all descriptors whose selectors are loaded, and lives permanently.
unsafe fn load_table(pointer: &TablePointer) {
    // SAFETY: by the caller's promise.
    unsafe {
        asm!("lgdt [{}]", in(reg) core::ptr::from_ref(pointer), options(readonly, nostack, preserves_flags));
    }
}

/// Returns the 16-byte descriptor of the task-state segment at `base` (Intel SDM volume 3, 9.2.3).
const fn task_descriptor(base: u64) -> (u64, u64) {
    let limit = size_of::<TaskStateSegment>() as u64 - 1;
    let low = limit | (base & 0x00ff_ffff) << 16 | TASK_TYPE | (base >> 24 & 0xff) << 56;
    (low, base >> 32)
}
