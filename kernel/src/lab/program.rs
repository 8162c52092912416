//! Programs of a few instructions in ring 3, each of which runs until its first exception.
//!
//! A program has a page of code and a page of data, and runs on the CPU that asks, with its own stack for entries to the
//! kernel. Interrupts that come meanwhile are served, also those that cannot be masked.

use core::arch::naked_asm;
use core::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use rhumb_machine::{Machine, NodeId, VirtAddr};
use rhumb_pagetable::Access;
use spin::Mutex;
use x86_64::registers::control::Cr2;
use x86_64::registers::rflags::{self, RFlags};

use super::failure::Failure;
use super::user_pages::UserPages;
use crate::arch::features::features;
use crate::arch::gdt::{USER_CODE, USER_DATA};
use crate::arch::idt::TrapFrame;
use crate::cpu::area;
use crate::cpu::machine::MACHINE;
use crate::mm::stacks::KernelStack;
use crate::trap;

/// Where programs lie.
const AT: VirtAddr = VirtAddr::new(0x40_0000);
const PAGE: u64 = 4096;
/// Pages of the stack on which the kernel is entered.
const STACK_PAGES: u64 = 8;
/// The flag that is always set.
const RESERVED_FLAG: u64 = 1 << 1;

/// A program, in memory.
pub struct Program(UserPages);

/// The state that the kernel finds as a program ends.
#[derive(Clone)]
pub struct End {
    /// All registers of the program.
    pub frame: TrapFrame,
    /// The address of a page fault.
    pub address: u64,
    /// Whether the GS base led to the CPU's area.
    pub has_area: bool,
    /// Whether the handler could touch user memory, or copied backwards.
    pub has_flags: bool,
    /// A place on the handler's stack.
    pub stack: VirtAddr,
    /// The stack of entries to the kernel.
    pub entry_stack: rhumb_machine::VirtRange,
}

/// The answer to the first exception of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// It ends.
    Ends,
    /// The kernel returns to it with a stack segment that it may not have, and the exception that this raises ends it.
    ReturnsWrongly,
}

/// A CPU that runs a program, plus 1.
static RUNNER: AtomicUsize = AtomicUsize::new(0);
/// The stack pointer of the code that runs it.
static SAVED_STACK: AtomicU64 = AtomicU64::new(0);
static FIRST: Mutex<First> = Mutex::new(First::Ends);
static END: Mutex<Option<End>> = Mutex::new(None);

/// Registers the handler of exceptions. Once.
pub fn start() {
    trap::on_program_exception(on_exception);
}

fn on_exception(frame: &mut TrapFrame) -> bool {
    let guard = MACHINE.irq_off();
    let here = area::here(guard.irq_off().pinned());
    if RUNNER.load(SeqCst) != here.id().index() + 1 {
        return false;
    }
    let mut first = FIRST.lock();
    if *first == First::ReturnsWrongly {
        *first = First::Ends;
        frame.ss = 0xfff3;
        return true;
    }
    let flags = rflags::read();
    *END.lock() = Some(End {
        frame: frame.clone(),
        address: Cr2::read_raw(),
        has_area: area::gs_base() == core::ptr::from_ref(here.area()) as u64,
        has_flags: flags.contains(RFlags::DIRECTION_FLAG)
            || features().smap && flags.contains(RFlags::ALIGNMENT_CHECK),
        stack: VirtAddr::from(&raw const first),
        entry_stack: rhumb_machine::VirtRange::default(),
    });
    // The CPU goes on in the kernel, where the program was started.
    *frame = TrapFrame {
        rip: program_has_ended as *const () as u64,
        cs: 8,
        ss: 16,
        rflags: RESERVED_FLAG,
        rsp: SAVED_STACK.load(Relaxed),
        ..TrapFrame::default()
    };
    true
}

impl Program {
    /// Returns the program of these instructions, at most a page of them.
    pub fn of(code: &[u8]) -> Result<Self, Failure> {
        let pages = UserPages::map(AT, &[Access::ReadExecute, Access::ReadWrite])?;
        let place = pages.direct(0).ok_or_else(|| Failure::because("there is no page of code"))?;
        for (offset, &byte) in (0..PAGE).zip(code) {
            // SAFETY: the page is the program's, in the direct map, and no CPU runs it yet.
            unsafe { place.plus(offset).as_mut_ptr::<u8>().write_volatile(byte) };
        }
        Ok(Self(pages))
    }

    /// Returns where its data begin, which is also what RDI has as it starts.
    pub fn data(&self) -> VirtAddr {
        AT.plus(PAGE)
    }

    /// Returns where the kernel finds its data.
    pub fn data_word(&self) -> Result<&AtomicU64, Failure> {
        let place = self.0.direct(1).ok_or_else(|| Failure::because("there is no page of data"))?;
        // SAFETY: the page is the program's as long as it lives, aligned, and every bit pattern is a number.
        Ok(unsafe { AtomicU64::from_ptr(place.as_mut_ptr()) })
    }

    /// Runs it on this CPU until its first exception, with interrupts on.
    pub fn run(&self, first: First) -> Result<End, Failure> {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        let stack = KernelStack::new(STACK_PAGES, NodeId::FIRST).map_err(Failure::skipped)?;
        let entry_stack = stack.range();
        let outcome = (|| {
            let guard = MACHINE.irq_off();
            let here = area::here(guard.irq_off().pinned());
            let descriptors =
                here.descriptors.get().ok_or_else(|| Failure::because("the CPU has no descriptors"))?;
            *FIRST.lock() = first;
            RUNNER.store(here.id().index() + 1, SeqCst);
            let frame = [
                AT.get(),
                u64::from(USER_CODE.0),
                RESERVED_FLAG | RFlags::INTERRUPT_FLAG.bits(),
                AT.get() + 2 * PAGE,
                u64::from(USER_DATA.0),
            ];
            // SAFETY: the stack is fresh and this value's until the program has ended, and so are the pages; the frame
            // is that of a program in ring 3. Its first exception comes back here: `on_exception`.
            unsafe {
                descriptors.set_kernel_stack(guard.irq_off(), entry_stack.end());
                raw_run(&frame, SAVED_STACK.as_ptr(), self.data().get());
                descriptors.set_kernel_stack(guard.irq_off(), VirtAddr::ZERO);
            }
            RUNNER.store(0, SeqCst);
            let end = END.lock().take().ok_or_else(|| Failure::because("the program did not end"))?;
            Ok(End { entry_stack, ..end })
        })();
        stack.free();
        outcome
    }
}

/// Goes to a program, and returns when it has ended.
///
/// # Safety
/// `frame` is that of a program (RIP, CS, RFLAGS, RSP, SS), interrupts are off, and the program's first exception goes on
/// at [`program_has_ended`], with the stack pointer that was written to `saved`.
#[unsafe(naked)]
unsafe extern "sysv64" fn raw_run(frame: &[u64; 5], saved: *mut u64, argument: u64) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rsi], rsp",
        "push [rdi + 32]",
        "push [rdi + 24]",
        "push [rdi + 16]",
        "push [rdi + 8]",
        "push [rdi]",
        "mov rdi, rdx",
        "swapgs",
        "iretq"
    )
}

/// Returns from [`raw_run`].
#[unsafe(naked)]
unsafe extern "sysv64" fn program_has_ended() {
    naked_asm!("pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx", "ret")
}
