//! The first instructions: from a 32-bit loader to 64-bit Rust at the kernel's own addresses.
//!
//! Two loaders come here in 32-bit protected mode with paging off: PVH (`qemu -kernel`, Firecracker, Cloud Hypervisor)
//! with its `hvm_start_info` in `ebx`, and multiboot2 (GRUB, BIOS and UEFI) with its magic in `eax` and its information
//! in `ebx`.
//!
//! The stub builds the *boot tables*, which live until the kernel's own are loaded:
//!
//! ```text
//! 0000_0000_0000_0000 .. +4 GiB   physical 0..4 GiB   so that this code survives the switch, and firmware tables can be read
//! ffff_ff80_0000_0000 .. +1 GiB   scratch slots       512 slots of 2 MiB, moved by `boot::scratch` to reach any frame
//! ffff_ffff_8000_0000 .. +2 GiB   physical 0..2 GiB   the kernel image where it is linked
//! ```
//!
//! It checks what it cannot do without (CPUID, long mode, no-execute; the rest comes with them) and says on COM1 what
//! is missing. All else is left to [`super`]. Sources: Xen's `start_info.h` and PVH boot ABI; Multiboot2 specification
//! 2.0, 3.1 to 3.3; AMD64 APM volume 2, 14.6 (long-mode initialisation).

use core::arch::global_asm;

/// Where the boot tables show the scratch slots: entry 0 of the highest page-directory-pointer table.
pub const SCRATCH_BASE: u64 = 0xffff_ff80_0000_0000;
/// How much physical memory the boot tables show at address 0.
pub const IDENTITY_BYTES: u64 = 4 << 30;

/// The number that the stub passes to Rust where a PVH loader loaded the kernel; else it was multiboot2.
pub const LOADER_PVH: u32 = 0;

global_asm!(
    r#"
    .set OFFSET, 0xffffffff80000000
    .set STACK_BYTES, 0x80000
    // A byte takes 87 us at 115,200 baud, and a full FIFO 16 times that; a read of the port takes a microsecond or so.
    .set READS_FOR_A_BYTE, 100000

    // ELF note that names the PVH entry point.
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .balign 4
    .quad pvh_entry - OFFSET

    .section .multiboot2, "a", @progbits
    .balign 8
multiboot2_header:
    .long 0xe85250d6, 0, multiboot2_end - multiboot2_header
    .long 0x100000000 - (0xe85250d6 + 0 + (multiboot2_end - multiboot2_header))
    // Information request: command line, modules, memory map, old and new RSDP; the last two need not be there.
    .balign 8
    .short 1, 0
    .long 20
    .long 1, 3, 6
    .balign 8
    .short 1, 1
    .long 16
    .long 14, 15
    // Entry point of an ELF image whose e_entry is for another loader.
    .balign 8
    .short 3, 0
    .long 12
    .long multiboot_entry - OFFSET
    // A screen with pixels, of any size and depth: the loader chooses. It need not be there.
    .balign 8
    .short 5, 1
    .long 20
    .long 0, 0, 0
    // Modules on page boundaries.
    .balign 8
    .short 6, 0
    .long 8
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

    .section .boot.text, "ax", @progbits
    .code32
    .global pvh_entry
    .global multiboot_entry
pvh_entry:
    xorl %ebp, %ebp
    jmp 1f
multiboot_entry:
    movl $1, %ebp
    cmpl $0x36d76289, %eax
    movl $(message_loader - OFFSET), %esi
    jne fatal
1:
    cli
    cld
    movl $(boot_stack + STACK_BYTES - OFFSET), %esp
    // The information pointer stays in edi: CPUID writes ebx.
    movl %ebx, %edi

    // CPUID is there if bit 21 of the flags can be changed.
    pushfl
    popl %eax
    movl %eax, %ecx
    xorl $0x200000, %eax
    pushl %eax
    popfl
    pushfl
    popl %eax
    xorl %ecx, %eax
    testl $0x200000, %eax
    movl $(message_cpuid - OFFSET), %esi
    jz fatal

    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    movl $(message_long_mode - OFFSET), %esi
    jb fatal
    movl $0x80000001, %eax
    cpuid
    testl $(1 << 29), %edx
    movl $(message_long_mode - OFFSET), %esi
    jz fatal
    testl $(1 << 20), %edx
    movl $(message_nx - OFFSET), %esi
    jz fatal

    // Four page directories of 2-MiB pages: physical 0..4 GiB, present, writable, large.
    xorl %ecx, %ecx
    movl $0x83, %eax
2:  movl %eax, (boot_directories - OFFSET)(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 2b

    // The low pointer table holds all four, the high one the scratch slots and the first two.
    movl $(boot_directories - OFFSET + 3), %eax
    movl %eax, (boot_low_pointers - OFFSET)
    movl %eax, (boot_high_pointers - OFFSET + 510 * 8)
    addl $0x1000, %eax
    movl %eax, (boot_low_pointers - OFFSET + 8)
    movl %eax, (boot_high_pointers - OFFSET + 511 * 8)
    addl $0x1000, %eax
    movl %eax, (boot_low_pointers - OFFSET + 16)
    addl $0x1000, %eax
    movl %eax, (boot_low_pointers - OFFSET + 24)
    movl $(boot_scratch - OFFSET + 3), %eax
    movl %eax, (boot_high_pointers - OFFSET)
    movl $(boot_low_pointers - OFFSET + 3), %eax
    movl %eax, (boot_root - OFFSET)
    movl $(boot_high_pointers - OFFSET + 3), %eax
    movl %eax, (boot_root - OFFSET + 511 * 8)

    // PAE; root; long mode and no-execute; paging and write protection. Of what the firmware left in CR4 only MCE
    // stays: with LA57, which UEFI may have turned on, the CPU would take these four levels for five.
    movl %cr4, %eax
    andl $0x40, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $(boot_root - OFFSET), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax
    movl %eax, %cr0
    lgdtl (boot_gdt_pointer - OFFSET)
    ljmpl $0x08, $(boot_long_mode - OFFSET)

    // Prints the text at esi on COM1 and halts. `exit_port=0xf4` on a PVH command line asks for an exit instead. A port
    // that does not take a byte for so many reads never will, whatever it is: the rest of the text is left out.
fatal:
3:  lodsb
    testb %al, %al
    jz 5f
    movb %al, %bl
    movl $READS_FOR_A_BYTE, %ecx
    movw $0x3fd, %dx
4:  inb %dx, %al
    testb $0x20, %al
    loopz 4b
    jz 5f
    movb %bl, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 3b
5:  testl %ebp, %ebp
    jnz 8f
    // hvm_start_info.cmdline_paddr, whose high half must be zero.
    movl 24(%edi), %edi
    testl %edi, %edi
    jz 8f
6:  cmpb $0, (%edi)
    je 8f
    movl $(exit_word - OFFSET), %esi
    movl $14, %ecx
    pushl %edi
    repe cmpsb
    popl %edi
    je 7f
    incl %edi
    jmp 6b
7:  movl $0x13, %eax
    outl %eax, $0xf4
8:  hlt
    jmp 8b

    .code64
boot_long_mode:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movabsq $boot_stack + STACK_BYTES, %rsp
    movl %edi, %esi
    movl %ebp, %edi
    xorl %ebp, %ebp
    movabsq $boot_start, %rax
    callq *%rax
    ud2

    .section .boot.data, "a", @progbits
message_loader:
    .asciz "Rhumb: the loader left an unknown magic number; Rhumb needs a PVH or a multiboot2 loader.\r\n"
message_cpuid:
    .asciz "Rhumb: this CPU has no CPUID instruction; Rhumb needs a 64-bit x86 CPU.\r\n"
message_long_mode:
    .asciz "Rhumb: this CPU has no long mode; Rhumb needs a 64-bit x86 CPU.\r\n"
message_nx:
    .asciz "Rhumb: this CPU has no no-execute pages (NX), or the firmware turned them off; Rhumb needs them.\r\n"
exit_word:
    .ascii "exit_port=0xf4"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
boot_gdt_end:
boot_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt - OFFSET
    .global boot_gdt_high_pointer
boot_gdt_high_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .section .bss.boot_tables, "aw", @nobits
    .balign 4096
    .global boot_root
    .global boot_scratch
boot_root: .skip 4096
boot_low_pointers: .skip 4096
boot_high_pointers: .skip 4096
boot_directories: .skip 4 * 4096
boot_scratch: .skip 4096
    .section .bss.boot, "aw", @nobits
    .balign 16
boot_stack: .skip STACK_BYTES
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static boot_gdt_high_pointer: u8;
    static mut __boot_code_start: u8;
    static mut __boot_code_end: u8;
    static mut __boot_tables_start: u8;
    static mut __boot_tables_end: u8;
}

/// A breakpoint, which ends in a report.
const INT3: u8 = 0xcc;

fn fill(start: *mut u8, end: *mut u8, byte: u8) {
    // SAFETY: by the callers' contract; the linker script defines the end behind the start.
    unsafe { start.write_bytes(byte, end as usize - start as usize) };
}

/// Overwrites the code above with breakpoints: it turns paging and protections off and on, and no one may jump there.
///
/// # Safety
/// The boot tables are loaded (they show the image writable), and the code is not needed any more.
pub unsafe fn erase_code() {
    fill(&raw mut __boot_code_start, &raw mut __boot_code_end, INT3);
}

/// Empties the boot tables: loaded by mistake or by an attacker, they would show 4 GiB writable and executable.
///
/// # Safety
/// Other tables are loaded, which show the image's data writable, and no CPU uses the boot tables any more.
pub unsafe fn erase_tables() {
    fill(&raw mut __boot_tables_start, &raw mut __boot_tables_end, 0);
}

/// Loads the boot descriptors at their linked address: the low one goes with the boot tables. After [`super::la57`],
/// which needs it.
pub fn raise_descriptors() {
    // SAFETY: the same descriptors at another address, which every tree maps.
    unsafe {
        core::arch::asm!("lgdt [{}]", in(reg) &raw const boot_gdt_high_pointer, options(readonly, nostack, preserves_flags))
    };
}
