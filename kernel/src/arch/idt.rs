//! The interrupt table and its stubs.
//!
//! All 256 vectors have a stub of 16 bytes that pushes an error code where the CPU pushes none, then the vector, then
//! all registers, and calls `crate::trap` with the frame in place (no copy: a handler may change where the
//! code goes on). The frame is 176 bytes, a multiple of 16, so the stack is aligned as the ABI wants it.
//!
//! # The GS base
//! In the kernel it leads to the area of the CPU, in a program to whatever the program likes. So an entry from a program,
//! by the privilege level in the frame, swaps it with that of the kernel, and the return to the program swaps it back.
//!
//! Debug exception, NMI, double fault and machine check run on stacks of their own, because they come anywhere: also
//! when the kernel has no stack yet, or the GS base of a program still. They trust neither. The address of the CPU's
//! area lies at the top of each of these stacks ([`super::gdt`]); they make it the GS base if it is not, and put the old
//! one back as they return. (A debug exception and a machine check of a program move to the stack of entries from
//! programs, which is free then, so that their handlers may end the program.) Why there: the CPU switches to the stack by itself, so the word is found by an offset from
//! the stack pointer, and needs no instruction that some CPUs lack (RDPID, RDGSBASE) nor a table by CPU number.
//!
//! Everything else stays on the stack it met, or comes to the one that `set_kernel_stack` names.
//!
//! # Tables
//! One table serves all CPUs that run. Boot writes it and two more into the image's read-only data, while its own tables
//! show the image writable; from then on no mapping of them is writable. Source: Intel SDM volume 3, 7.12 to 7.14.

use core::arch::global_asm;

use rhumb_machine::VirtAddr;
use x86_64::PrivilegeLevel;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::gdt::InterruptStack;
use super::patch::{clac, clear_buffers, fence};

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
    /// Another CPU has found a thread for this one.
    pub const RESCHEDULE: u8 = 0xf2;
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

impl TrapFrame {
    /// Tells whether the CPU ran a program, and not the kernel.
    pub fn is_of_a_program(&self) -> bool {
        self.cs & 3 != 0
    }
}

const _: () = assert!(size_of::<TrapFrame>() == 176 && size_of::<TrapFrame>().is_multiple_of(16));

// The stubs push what the CPU has not pushed, and the rest is common to them.
global_asm!(
    r#"
    // Pushes an error code where the CPU pushes none (it does for 8, 10 to 14, 17, 21, 29, 30), then the vector.
    .macro trap_stub vector, common
    .balign 16
    .if (\vector != 8) && (\vector < 10 || \vector > 14) && (\vector != 17) && (\vector != 21) && (\vector != 29) && (\vector != 30)
    pushq $0
    .endif
    pushq $\vector
    jmp \common
    .endm

    .macro push_registers
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
    .endm

    // And drops the vector and the error code.
    .macro pop_registers
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
    .endm

    // The kernel must not run ahead with values that a program has left in registers, nor follow them as a frame.
    .macro clear_registers
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %ebp, %ebp
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    .endm

    // Offsets in the frame, once it is whole, and what lies above the frame of a trap with a stack of its own.
    .set FRAME_VECTOR, 120
    .set FRAME_RIP, 136
    .set FRAME_CS, 144
    .set FRAME_BYTES, 176
    .set IA32_GS_BASE, 0xc0000101

    .section .text.trap, "ax", @progbits
    .code64
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .if (vector == 1) || (vector == 2) || (vector == 8) || (vector == 18)
    trap_stub vector, trap_with_own_stack
    .else
    trap_stub vector, trap_common
    .endif
    .set vector, vector + 1
    .endr
    // The four for CPUs that have no stacks for them yet.
    .balign 16
    .globl trap_shared_stubs
trap_shared_stubs:
    .irp vector, 1, 2, 8, 18
    trap_stub \vector, trap_common
    .endr

trap_common:
    push_registers
    cld
    "#,
    clac!(),
    r#"
    testb $3, FRAME_CS(%rsp)
    jz 2f
    swapgs
    "#,
    fence!(),
    r#"
    clear_registers
    jmp 3f
    // The one instruction of the kernel that may fault with the GS base of a program.
2:  cmpq $trap_return_to_program, FRAME_RIP(%rsp)
    jne 4f
    swapgs
4:
    "#,
    fence!(),
    r#"
3:  movq %rsp, %rdi
    callq trap_dispatch
    .globl trap_return
trap_return:
    testb $3, FRAME_CS(%rsp)
    jnz 5f
    pop_registers
    iretq
5:  pop_registers
    "#,
    clear_buffers!(),
    r#"
    swapgs
    .globl trap_return_to_program
trap_return_to_program:
    iretq

    // May have interrupted anything, also between the first instruction of an entry and its swapgs: the GS base is
    // whatever it is. The top of the stack has the right one.
trap_with_own_stack:
    push_registers
    cld
    "#,
    clac!(),
    r#"
    testb $3, FRAME_CS(%rsp)
    jz 8f
    // A debug exception or a machine check of a program: its handler may end the program, so it has the stack of entries
    // from programs, as if the CPU had taken that.
    cmpq $1, FRAME_VECTOR(%rsp)
    je 9f
    cmpq $18, FRAME_VECTOR(%rsp)
    je 9f
8:
    movl $IA32_GS_BASE, %ecx
    rdmsr
    shlq $32, %rdx
    leaq (%rax, %rdx), %rbx
    movq FRAME_BYTES(%rsp), %r12
    cmpq %r12, %rbx
    je 6f
    movq %r12, %rax
    movq %r12, %rdx
    shrq $32, %rdx
    wrmsr
6:
    "#,
    fence!(),
    r#"
    movq %rsp, %rdi
    callq trap_dispatch
    .globl trap_return_own_stack
trap_return_own_stack:
    cmpq %r12, %rbx
    je 7f
    movl $IA32_GS_BASE, %ecx
    movq %rbx, %rax
    movq %rbx, %rdx
    shrq $32, %rdx
    wrmsr
7:  pop_registers
    iretq

9:  swapgs
    "#,
    fence!(),
    r#"
    movq FRAME_BYTES + 8(%rsp), %rdi
    movq (%rdi), %rdi
    subq $FRAME_BYTES, %rdi
    movq %rdi, %rdx
    movq %rsp, %rsi
    movl $FRAME_BYTES / 8, %ecx
    rep movsq
    movq %rdx, %rsp
    clear_registers
    jmp 3b

    // A segment of the kernel, for `verw`.
    .section .rodata.trap, "a", @progbits
    .globl trap_segment
    .balign 2
trap_segment: .short 0x10

    // Written by boot, and never again.
    .section .rodata.idt, "a", @progbits
    .balign 4096
    .globl trap_tables
trap_tables: .skip 3 * 4096
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trap_stubs: u8;
    static trap_shared_stubs: u8;
    static trap_return: u8;
    static trap_return_own_stack: u8;
    static trap_return_to_program: u8;
    static mut trap_tables: [InterruptDescriptorTable; 3];
}

/// Tells whether the dispatcher returns to `address`: above its frame lies a [`TrapFrame`] then.
pub fn is_trap_return(address: VirtAddr) -> bool {
    [&raw const trap_return, &raw const trap_return_own_stack]
        .into_iter()
        .any(|label| VirtAddr::from(label) == address)
}

/// Returns the address of the instruction that returns to a program. If it faults, the kernel has the frame of the
/// program on its stack, and the program's registers.
pub fn return_to_program() -> VirtAddr {
    VirtAddr::from(&raw const trap_return_to_program)
}

/// The tables, in the image's read-only data.
#[derive(Clone, Copy)]
enum Table {
    /// Without interrupt stacks.
    Boot,
    /// Of each CPU that has its task-state segment.
    Running,
    /// Of CPUs that are parked.
    Parked,
}

impl Table {
    /// Returns it.
    fn get(self) -> &'static InterruptDescriptorTable {
        // SAFETY: boot has written each table before a CPU loads one, and none is written after that.
        unsafe { &*(&raw const trap_tables).cast::<InterruptDescriptorTable>().add(self as usize) }
    }

    /// Writes it.
    ///
    /// # Safety
    /// The tables that are loaded show the image writable, and no CPU has loaded this one.
    unsafe fn write(self, table: InterruptDescriptorTable) {
        // SAFETY: the place is large enough and aligned, and the caller's alone, by its promise.
        unsafe { (&raw mut trap_tables).cast::<InterruptDescriptorTable>().add(self as usize).write(table) }
    }
}

/// Handlers of a CPU that is parked, which do not return.
pub struct ParkedHandlers {
    /// Of machine checks.
    pub machine_check: VirtAddr,
    /// Of whatever else may come.
    pub other: VirtAddr,
}

/// Writes all tables. Once, before the first is loaded.
///
/// # Safety
/// The tables that are loaded show the image writable, no other CPU runs, and the handlers are such as they say.
pub unsafe fn write_tables(parked: &ParkedHandlers) {
    // SAFETY: by the caller's promise.
    unsafe {
        Table::Boot.write(build(Stacks::Shared));
        Table::Running.write(build(Stacks::Own));
        Table::Parked.write(build_parked(parked));
    }
}

/// Loads the table without interrupt stacks: there are none before the kernel's own tables.
pub fn load_for_boot() {
    Table::Boot.get().load();
}

/// Loads the table on this CPU, whose task-state segment names its interrupt stacks.
pub fn load() {
    Table::Running.get().load();
}

/// Returns the table of CPUs that are parked.
pub fn parked() -> &'static InterruptDescriptorTable {
    Table::Parked.get()
}

/// Resets the CPU, as a last resort: an exception without a table to look it up in.
pub fn triple_fault() -> ! {
    static EMPTY: InterruptDescriptorTable = InterruptDescriptorTable::new();
    EMPTY.load();
    // SAFETY: nothing comes back: the fault finds no handler, neither does the next, and the CPU resets.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// Returns the table for CPUs that are parked.
///
/// # Safety
/// The handlers do not return.
unsafe fn build_parked(handlers: &ParkedHandlers) -> InterruptDescriptorTable {
    let mut table = build(Stacks::Shared);
    let machine_check = x86_64::VirtAddr::new(handlers.machine_check.get());
    let other = x86_64::VirtAddr::new(handlers.other.get());
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

/// Which of the shared stubs is for the trap of an interrupt stack, in the order of [`InterruptStack::ALL`].
const SHARED_STUBS: [u64; InterruptStack::ALL.len()] = [2, 1, 3, 0];

#[derive(PartialEq, Eq)]
enum Stacks {
    Shared,
    Own,
}

fn build(stacks: Stacks) -> InterruptDescriptorTable {
    let mut table = InterruptDescriptorTable::new();
    let stub = |vector: u64| x86_64::VirtAddr::from_ptr(&raw const trap_stubs) + vector * 16;
    let own = stacks == Stacks::Own;
    // The stubs of the four that run on a stack of their own look at its top.
    let own_stub = |stack: InterruptStack, vector: u64| {
        let shared = x86_64::VirtAddr::from_ptr(&raw const trap_shared_stubs);
        if own { stub(vector) } else { shared + SHARED_STUBS[stack.index() as usize] * 16 }
    };
    // SAFETY: each stub is a valid handler for its vector, with or without the CPU's error code, and never returns
    // wrongly: it restores every register and ends in `iretq`. The stack indices are those that `gdt` fills in.
    unsafe {
        table.divide_error.set_handler_addr(stub(0));
        let debug = table.debug.set_handler_addr(own_stub(InterruptStack::Debug, 1));
        if own {
            debug.set_stack_index(InterruptStack::Debug.index());
        }
        let nmi = table.non_maskable_interrupt.set_handler_addr(own_stub(InterruptStack::Nmi, 2));
        if own {
            nmi.set_stack_index(InterruptStack::Nmi.index());
        }
        // Programs may raise these two by instructions of their own.
        table.breakpoint.set_handler_addr(stub(3)).set_privilege_level(PrivilegeLevel::Ring3);
        table.overflow.set_handler_addr(stub(4)).set_privilege_level(PrivilegeLevel::Ring3);
        table.bound_range_exceeded.set_handler_addr(stub(5));
        table.invalid_opcode.set_handler_addr(stub(6));
        table.device_not_available.set_handler_addr(stub(7));
        let double_fault = table.double_fault.set_handler_addr(own_stub(InterruptStack::DoubleFault, 8));
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
        let machine_check = table.machine_check.set_handler_addr(own_stub(InterruptStack::MachineCheck, 18));
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
