//! The step from four to five levels of page tables.
//!
//! CR4.LA57 cannot change while paging is on, and paging cannot go off in 64-bit mode. So the CPU goes back to 32-bit
//! mode at its physical address (the boot tables show it there), turns paging off, sets the bit, loads a root one level
//! up whose first and last entries are the old root, and comes back. Nothing moves: every address means the same
//! afterwards. Source: Intel SDM volume 3, 5.1.2 and 11.8.5.4.

use core::arch::global_asm;

use crate::layout::IMAGE_OFFSET;

global_asm!(
    r#"
    .set OFFSET_5, 0xffffffff80000000
    .section .boot.text, "ax", @progbits
    .code64
    .global boot_enter_five_levels
boot_enter_five_levels:
    // 32-bit mode keeps no register whole.
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    // CR3 for later, and the way to 32-bit code at its physical address.
    movq %rdi, %rbx
    movq %rsp, %rbp
    movl $(boot_five_32 - OFFSET_5), %eax
    pushq $0x18
    pushq %rax
    lretq
    .code32
boot_five_32:
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl %cr4, %eax
    orl $0x1000, %eax
    movl %eax, %cr4
    movl %ebx, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(boot_five_low - OFFSET_5)
    .code64
boot_five_low:
    movabsq $boot_five_high, %rax
    jmpq *%rax
boot_five_high:
    // The upper half of the stack pointer was lost in 32-bit mode, as that of rbp would have been: both lie in the
    // image.
    movl %ebp, %ebp
    movq $0xffffffff00000000, %rax
    orq %rax, %rbp
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    retq

    .section .bss.boot_tables, "aw", @nobits
    .balign 4096
    .global boot_root_5
boot_root_5: .skip 4096
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static mut boot_root: [u64; 512];
    static mut boot_root_5: [u64; 512];
    fn boot_enter_five_levels(root: u64);
}

/// Present and writable.
const TABLE_BITS: u64 = 3;

/// Puts a fifth level above the boot tables.
///
/// # Safety
/// The boot tables are loaded, the CPU has 5-level paging, only the boot CPU runs, and its stack is in the image.
pub unsafe fn enter() {
    let physical = |table: *const [u64; 512]| table as u64 - IMAGE_OFFSET;
    let below = physical(&raw const boot_root) | TABLE_BITS;
    // SAFETY: no other code touches this table. Entry 0 shows the low addresses, entry 511 the image and the scratch
    // slots.
    unsafe {
        (&raw mut boot_root_5[0]).write_volatile(below);
        (&raw mut boot_root_5[511]).write_volatile(below);
        boot_enter_five_levels(physical(&raw const boot_root_5));
    }
}
