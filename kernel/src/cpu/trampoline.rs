//! How another CPU gets from real mode to the kernel.
//!
//! A CPU starts in real mode at a page below 1 MiB. That page holds the code below and, behind it, the few numbers it
//! needs; it is written while the boot tables are loaded, and is read-only ever after (invariant I4: the trampoline's
//! tables show it executable at its physical address, so no mapping may be writable). Those tables are the kernel's
//! upper half plus this one page; once all CPUs run, the page is taken out of them again, and no identity mapping is
//! left.
//!
//! ```text
//! real mode ── GDT, protected mode ── CR4, CR3, EFER, paging ── long mode ── `trampoline_arrived` at the kernel's addresses
//! ```
//!
//! The [`Mailbox`] hands over the new CPU's area. It holds one letter, taken by an atomic exchange: a CPU that comes
//! too late, or that is not to take part, finds it empty and parks. Source: Intel SDM volume 3, 10.4.

use core::arch::global_asm;
use core::sync::atomic::{
    AtomicPtr, AtomicU16, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rhumb_machine::{PhysAddr, PhysRange, VirtAddr};
use x86_64::registers::control::Cr4Flags;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::area::PerCpu;
use crate::arch::features::features;
use crate::arch::idt::{self, ParkedHandlers};
use crate::layout::Stack;

global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .balign 16
    .code16
trampoline_start:
    cli
    cld
    xorl %ebx, %ebx
    movw %cs, %bx
    movw %bx, %ds
    shll $4, %ebx
    lgdtl trampoline_gdt_pointer - trampoline_start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl *(trampoline_to_32 - trampoline_start)

    .code32
trampoline_32:
    movw $0x10, %ax
    movw %ax, %ds
    movl (trampoline_cr4 - trampoline_start)(%ebx), %eax
    movl %eax, %cr4
    movl (trampoline_cr3 - trampoline_start)(%ebx), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    // Caches on (INIT leaves them off), write protection and paging on.
    andl $0x9fffffff, %eax
    orl $0x80010001, %eax
    movl %eax, %cr0
    ljmpl *(trampoline_to_64 - trampoline_start)(%ebx)

    .code64
trampoline_64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movabsq $trampoline_arrive, %rax
    jmpq *%rax

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
trampoline_gdt_pointer:
    .short trampoline_gdt_pointer - trampoline_gdt - 1
trampoline_gdt_base:
    .long 0
    .balign 4
trampoline_to_32:
    .long trampoline_32 - trampoline_start
    .short 0x18
    .balign 4
trampoline_to_64:
    .long trampoline_64 - trampoline_start
    .short 0x08
    .balign 4
trampoline_cr3:
    .long 0
trampoline_cr4:
    .long 0
trampoline_end:

    .section .text.trampoline_arrive, "ax", @progbits
    // In the kernel's upper half, without a stack: take the letter, or park.
trampoline_arrive:
    xorl %edi, %edi
    xchgq %rdi, {letter}(%rip)
    testq %rdi, %rdi
    jz trampoline_park
    // The trampoline's root is a copy from before the kernel map, in which the CPU's stack lies.
    movq {root}(%rip), %rax
    movq %rax, %cr3
    movq {stack}(%rip), %rsp
    xorl %ebp, %ebp
    callq trampoline_arrived

    // Descriptors and tables that stay, a table of traps that needs nothing, machine checks on. Several CPUs may be on
    // this stack: none of them reads what it pushes.
    .globl trampoline_park
trampoline_park:
    cli
    lgdtq boot_gdt_high_pointer(%rip)
    lidtq {traps}+6(%rip)
    movq {root}(%rip), %rax
    movq %rax, %cr3
    movq %cr4, %rax
    orq {cr4}(%rip), %rax
    movq %rax, %cr4
    lock incl {parked}(%rip)
1:  cli
    leaq trampoline_park_stack_top(%rip), %rsp
    hlt
    jmp 1b

    // A machine check: another one while this one counts as under way would reset the machine.
    .globl trampoline_park_machine_check
trampoline_park_machine_check:
    xorl %eax, %eax
    xorl %edx, %edx
    movl $0x17a, %ecx
    wrmsr
    // Whatever else comes: nothing is done about it.
    .globl trampoline_park_trap
trampoline_park_trap:
    jmp 1b

    .section .bss.trampoline_park, "aw", @nobits
    .balign 16
    .skip 1024
trampoline_park_stack_top:
    .text
    "#,
    letter = sym LETTER,
    stack = sym LETTER_STACK,
    traps = sym PARK_TRAPS,
    root = sym ROOT,
    cr4 = sym PARK_CR4,
    parked = sym PARKED,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_gdt: u8;
    static trampoline_gdt_base: u8;
    static trampoline_to_32: u8;
    static trampoline_to_64: u8;
    static trampoline_cr3: u8;
    static trampoline_cr4: u8;
    static trampoline_end: u8;
    static trampoline_park_machine_check: u8;
    static trampoline_park_trap: u8;
    fn trampoline_park() -> !;
}

static LETTER: AtomicPtr<PerCpu> = AtomicPtr::new(core::ptr::null_mut());
static LETTER_STACK: AtomicU64 = AtomicU64::new(0);
static PAGE: AtomicU64 = AtomicU64::new(0);

/// The operand of `lidt`, behind six bytes that align it.
#[repr(C)]
struct TrapsPointer {
    _unused: [u16; 3],
    last_byte: AtomicU16,
    base: AtomicU64,
}

static PARK_TRAPS: TrapsPointer =
    TrapsPointer { _unused: [0; 3], last_byte: AtomicU16::new(0), base: AtomicU64::new(0) };
/// The root of the kernel's tables.
static ROOT: AtomicU64 = AtomicU64::new(0);
/// The bit of CR4 that lets machine checks raise their exception, where CPUs have it.
static PARK_CR4: AtomicU64 = AtomicU64::new(0);
/// How many CPUs have parked.
static PARKED: AtomicU32 = AtomicU32::new(0);

/// Returns how often a CPU has parked.
pub fn parked() -> u32 {
    PARKED.load(Acquire)
}

/// Halts this CPU permanently, where neither a machine check nor anything else on it hurts: one that waits for its
/// start-up with machine checks off resets the machine when one is told to all CPUs.
pub fn park() -> ! {
    // SAFETY: the code leaves the stack, and needs only what `prepare` has set up, which is before any CPU
    // starts.
    unsafe { trampoline_park() }
}

/// Returns the handlers of CPUs that are parked. None returns, or needs anything of what is pushed.
pub fn parked_handlers() -> ParkedHandlers {
    let other = VirtAddr::from(&raw const trampoline_park_trap);
    let machine_check = VirtAddr::from(&raw const trampoline_park_machine_check);
    let has_banks = features().machine_check_banks;
    ParkedHandlers { machine_check: if has_banks { machine_check } else { other }, other }
}

/// Sets up what CPUs need that start or park. Before the first is started. `root` is the root of the kernel's tables.
pub fn prepare(root: u64) {
    let traps = idt::parked();
    PARK_TRAPS.last_byte.store((size_of::<InterruptDescriptorTable>() - 1) as u16, Relaxed);
    PARK_TRAPS.base.store(core::ptr::from_ref(traps) as u64, Relaxed);
    ROOT.store(root, Relaxed);
    let machine_check = if features().machine_check { Cr4Flags::MACHINE_CHECK_EXCEPTION.bits() } else { 0 };
    PARK_CR4.store(machine_check, Release);
}

/// Returns the trampoline page's number: what a start-up interrupt carries.
pub fn page_number() -> u8 {
    (PAGE.load(Relaxed) >> 12) as u8
}

/// Returns the trampoline's page; `None` where no CPU starts in one.
pub fn page() -> Option<PhysRange> {
    let at = Some(PAGE.load(Relaxed)).filter(|&at| at != 0)?;
    PhysRange::of_length(PhysAddr::new(at), 4096)
}

/// Writes the code and its numbers into `page`, a frame below 1 MiB, through `bytes`, its 4,096 bytes.
/// `root` is the trampoline's top table, below 4 GiB; `cr4` holds PAE and, with five levels, LA57.
pub fn write(page: PhysAddr, bytes: &mut [u8; 4096], root: u32, cr4: u32) {
    let offset = |symbol: *const u8| symbol as usize - (&raw const trampoline_start) as usize;
    let length = offset(&raw const trampoline_end);
    // SAFETY: the linker keeps the code between its two symbols, in read-only data.
    let code = unsafe { core::slice::from_raw_parts(&raw const trampoline_start, length) };
    bytes[..length].copy_from_slice(code);
    let base = page.get() as u32;
    let mut patch = |symbol: *const u8, value: u32| {
        let at = offset(symbol);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    let linked = |symbol: *const u8| {
        let at = offset(symbol);
        u32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]])
    };
    patch(&raw const trampoline_gdt_base, base + offset(&raw const trampoline_gdt) as u32);
    patch(&raw const trampoline_to_32, base + linked(&raw const trampoline_to_32));
    patch(&raw const trampoline_to_64, base + linked(&raw const trampoline_to_64));
    patch(&raw const trampoline_cr3, root);
    patch(&raw const trampoline_cr4, cr4);
    PAGE.store(page.get(), Relaxed);
}

/// A letter for one starting CPU.
pub struct Mailbox(*mut PerCpu);

impl Mailbox {
    /// Posts `area`. One CPU starts at a time.
    pub fn post(area: &'static PerCpu) -> Self {
        let pointer = core::ptr::from_ref(area).cast_mut();
        LETTER_STACK.store(area.stacks.top(Stack::Main).get(), Relaxed);
        LETTER.store(pointer, Release);
        Self(pointer)
    }

    /// Tells whether the CPU has come.
    pub fn is_taken(&self) -> bool {
        LETTER.load(Acquire).is_null()
    }

    /// Takes the letter back; `false` if the CPU has come after all.
    pub fn take_back(&self) -> bool {
        LETTER.compare_exchange(self.0, core::ptr::null_mut(), AcqRel, Acquire).is_ok()
    }
}
