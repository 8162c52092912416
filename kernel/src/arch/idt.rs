//! The interrupt table and its stubs.
//!
//! All 256 vectors have a stub of 16 bytes that pushes an error code where the CPU pushes none, then the vector, then
//! all registers, and calls `crate::trap` with the frame in place (no copy: a handler may change where the
//! code goes on). The frame is 176 bytes, a multiple of 16, so the stack is aligned as the ABI wants it.
//!
//! Double fault, NMI and machine check run on stacks of their own; everything else stays on the stack it met.
//! One table serves all CPUs. Source: Intel SDM volume 3, 7.12 to 7.14.

use core::arch::global_asm;

use rhumb_machine::VirtAddr;
use spin::Once;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::gdt::InterruptStack;

/// Vectors that the kernel assigns. Higher vectors have higher priority.
pub mod vector {
    /// Console input (COM1).
    pub const CONSOLE: u8 = 0x30;
    /// A key.
    pub const KEYBOARD: u8 = 0x31;
    /// Local APIC timer.
    pub const TIMER: u8 = 0xf0;
    /// Cross-call.
    pub const CALL: u8 = 0xf1;
    /// Local APIC error.
    pub const APIC_ERROR: u8 = 0xfe;
    /// Spurious interrupt: no end-of-interrupt.
    pub const SPURIOUS: u8 = 0xff;
}

/// All registers at a trap, as the stubs push them.
#[repr(C)]
#[derive(Clone, Default, Debug)]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<TrapFrame>() == 176 && size_of::<TrapFrame>().is_multiple_of(16));

global_asm!(
    r#"
    .section .text.trap, "ax", @progbits
    .code64
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    // Vectors whose error code the CPU pushes itself: 8, 10 to 14, 17, 21, 29, 30.
    .if (vector != 8) && (vector < 10 || vector > 14) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    callq trap_dispatch
    .globl trap_return
trap_return:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trap_stubs: u8;
}

/// Returns where the dispatcher returns to: above its frame lies a [`TrapFrame`].
pub fn trap_return() -> VirtAddr {
    unsafe extern "C" {
        static trap_return: u8;
    }
    VirtAddr::from(&raw const trap_return)
}

static TABLE: Once<InterruptDescriptorTable> = Once::new();

/// Loads the table without interrupt stacks: there are none before the kernel's own tables.
pub fn load_for_boot() {
    static BOOT_TABLE: Once<InterruptDescriptorTable> = Once::new();
    BOOT_TABLE.call_once(|| build(Stacks::Shared)).load();
}

/// Loads the table on this CPU, whose task-state segment names its interrupt stacks.
pub fn load() {
    TABLE.call_once(|| build(Stacks::Own)).load();
}

/// Resets the CPU, as a last resort: an exception without a table to look it up in.
pub fn triple_fault() -> ! {
    static EMPTY: InterruptDescriptorTable = InterruptDescriptorTable::new();
    EMPTY.load();
    // SAFETY: nothing comes back: the fault finds no handler, neither does the next, and the CPU resets.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// Returns a table for CPUs that are parked: a handler for machine checks, and one for whatever else may come.
///
/// # Safety
/// The handlers do not return.
pub unsafe fn build_parked(machine_check: VirtAddr, other: VirtAddr) -> InterruptDescriptorTable {
    let mut table = build(Stacks::Shared);
    let (machine_check, other) =
        (x86_64::VirtAddr::new(machine_check.get()), x86_64::VirtAddr::new(other.get()));
    // SAFETY: the handlers do not return, by the caller's promise, so they need not restore anything.
    unsafe {
        table.machine_check.set_handler_addr(machine_check);
        table.non_maskable_interrupt.set_handler_addr(other);
        table.double_fault.set_handler_addr(other);
        table.general_protection_fault.set_handler_addr(other);
        table.page_fault.set_handler_addr(other);
    }
    table
}

#[derive(PartialEq, Eq)]
enum Stacks {
    Shared,
    Own,
}

fn build(stacks: Stacks) -> InterruptDescriptorTable {
    let mut table = InterruptDescriptorTable::new();
    let stub = |vector: u64| x86_64::VirtAddr::from_ptr(&raw const trap_stubs) + vector * 16;
    let own = stacks == Stacks::Own;
    // SAFETY: each stub is a valid handler for its vector, with or without the CPU's error code, and never returns
    // wrongly: it restores every register and ends in `iretq`. The stack indices are those that `gdt` fills in.
    unsafe {
        table.divide_error.set_handler_addr(stub(0));
        table.debug.set_handler_addr(stub(1));
        let nmi = table.non_maskable_interrupt.set_handler_addr(stub(2));
        if own {
            nmi.set_stack_index(InterruptStack::Nmi.index());
        }
        table.breakpoint.set_handler_addr(stub(3));
        table.overflow.set_handler_addr(stub(4));
        table.bound_range_exceeded.set_handler_addr(stub(5));
        table.invalid_opcode.set_handler_addr(stub(6));
        table.device_not_available.set_handler_addr(stub(7));
        let double_fault = table.double_fault.set_handler_addr(stub(8));
        if own {
            double_fault.set_stack_index(InterruptStack::DoubleFault.index());
        }
        table.invalid_tss.set_handler_addr(stub(10));
        table.segment_not_present.set_handler_addr(stub(11));
        table.stack_segment_fault.set_handler_addr(stub(12));
        table.general_protection_fault.set_handler_addr(stub(13));
        table.page_fault.set_handler_addr(stub(14));
        table.x87_floating_point.set_handler_addr(stub(16));
        table.alignment_check.set_handler_addr(stub(17));
        let machine_check = table.machine_check.set_handler_addr(stub(18));
        if own {
            machine_check.set_stack_index(InterruptStack::MachineCheck.index());
        }
        table.simd_floating_point.set_handler_addr(stub(19));
        table.virtualization.set_handler_addr(stub(20));
        table.cp_protection_exception.set_handler_addr(stub(21));
        table.hv_injection_exception.set_handler_addr(stub(28));
        table.vmm_communication_exception.set_handler_addr(stub(29));
        table.security_exception.set_handler_addr(stub(30));
        for vector in 32..=255u8 {
            table[vector].set_handler_addr(stub(u64::from(vector)));
        }
    }
    table
}
