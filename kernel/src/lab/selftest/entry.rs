//! Entries to the kernel: the tables that the CPU reads cannot be written, and programs come in by every kind of trap
//! with the kernel's state in place, and by nothing that is not offered.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuMask, Machine, VirtAddr};
use x86_64::instructions::tables::{sgdt, sidt};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::segmentation::{DS, ES, FS, GS, Segment};

use super::Test;
use crate::arch::features::features;
use crate::arch::gdt::{USER_CODE, USER_DATA};
use crate::cpu::area::PerCpu;
use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, call, clock, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::program::{End, First, Program};
use crate::lab::{nmi, owners, probe};
use crate::layout::{self, image};
use crate::mm::pageable;

pub const TESTS: &[Test] = &[
    Test { name: "entry::tables_cannot_be_written", run: tables_cannot_be_written },
    Test { name: "entry::segments_are_null", run: segments_are_null },
    Test { name: "entry::a_lost_gs_base_is_found", run: a_lost_gs_base_is_found },
    Test { name: "entry::a_program_enters_cleanly", run: a_program_enters_cleanly },
    Test { name: "entry::a_program_has_no_privileges", run: a_program_has_no_privileges },
    Test { name: "entry::a_program_cannot_touch_the_kernel", run: a_program_cannot_touch_the_kernel },
    Test { name: "entry::a_program_is_stepped", run: a_program_is_stepped },
    Test { name: "entry::a_return_that_faults_is_the_programs", run: a_return_that_faults },
    Test { name: "entry::a_program_is_interrupted", run: a_program_is_interrupted },
];

const DEBUG: u64 = 1;
const BREAKPOINT: u64 = 3;
const INVALID_OPCODE: u64 = 6;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;

/// `int3`.
const INT3: u8 = 0xcc;
/// Interrupts of a program of each kind.
const INTERRUPTS: u64 = 20;
/// How long they may take: the host may have other things to do.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How long a CPU has no GS base.
const LOST_NS: u64 = 2_000_000;

fn tables_cannot_be_written(_: &'static Boot) -> Result<(), Failure> {
    let writable = AtomicU64::new(0);
    let check = |address: VirtAddr| {
        // SAFETY: no code writes there; where it can be written after all, the same byte goes back.
        let is_read_only =
            probe::read_byte(address).is_ok() && unsafe { probe::rewrite_byte(address) }.is_err();
        if !is_read_only {
            writable.store(address.get(), Relaxed);
        }
    };
    work::on_every_cpu(&|| {
        let (traps, segments) = (sidt(), sgdt());
        let table = VirtAddr::new(traps.base.as_u64());
        check(table);
        check(table.plus(u64::from(traps.limit)));
        check(MACHINE.direct(image::physical(layout::range(table, 1)).start()));
        // The CPU's own table holds its task-state segment, too: they share the page.
        let own = layout::entry(area::cpu_now());
        if segments.base.as_u64() == own.get() {
            check(own);
            check(own.plus(4095));
        } else {
            writable.store(segments.base.as_u64(), Relaxed);
        }
    });
    let writable = writable.into_inner();
    ensure!(
        writable == 0,
        "a table of descriptors at {writable:#x} can be written, or is not where it belongs"
    );
    Ok(())
}

fn segments_are_null(_: &'static Boot) -> Result<(), Failure> {
    let wrong = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let local: u16;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!("sldt {0:x}", out(reg) local, options(nomem, nostack, preserves_flags)) };
        let segments = [DS::get_reg().0, ES::get_reg().0, FS::get_reg().0, GS::get_reg().0, local];
        wrong.fetch_add(u64::from(segments != [0; 5]), Relaxed);
    });
    ensure!(wrong.load(Relaxed) == 0, "{} CPUs have segments that are not null", wrong.load(Relaxed));
    Ok(())
}

/// Returns the area of this CPU, on which a test stays.
fn this_area() -> Result<&'static PerCpu, Failure> {
    area::of(area::cpu_now()).ok_or_else(|| Failure::because("this CPU has no area"))
}

/// Interrupts come while the GS base leads nowhere, as before the first `swapgs` of an entry.
fn a_lost_gs_base_is_found(_: &'static Boot) -> Result<(), Failure> {
    let me = this_area()?;
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = me.counters.nmis.get();
    let mut kept = true;
    let other = cpu::online().without(me.id()).iter().next();
    if other.is_none() {
        return Ok(());
    }
    work::on_others(
        &|| {
            while Some(area::cpu_now()) == other && !is_over.load(Relaxed) {
                sent.fetch_add(u64::from(nmi::send(me).is_ok()), Relaxed);
                core::hint::spin_loop();
            }
        },
        || {
            let end = clock::now_ns() + PATIENCE_NS;
            while me.counters.nmis.get() - before < INTERRUPTS && clock::now_ns() < end {
                let _off = MACHINE.irq_off();
                let until = clock::ticks() + LOST_NS * clock::tsc_hz() / 1_000_000_000;
                // SAFETY: interrupts are off, and until the base is back no code runs here that needs it but the
                // handlers of interrupts that cannot be masked.
                kept &= unsafe { without_gs_base(until) } == 0;
            }
            is_over.store(true, Relaxed);
        },
    );
    let end = clock::now_ns() + PATIENCE_NS;
    while !nmi::of(me).are_handled() && clock::now_ns() < end {
        core::hint::spin_loop();
    }
    let handled = me.counters.nmis.get() - before;
    ensure!(kept, "a handler left another GS base than it found");
    ensure!(handled >= INTERRUPTS, "{handled} of {} interrupts were handled", sent.into_inner());
    Ok(())
}

/// Waits until the time-stamp counter says `until`, with a GS base of 0, and returns the base after that.
///
/// # Safety
/// Interrupts are off, and their handlers do without the GS base.
#[unsafe(naked)]
unsafe extern "sysv64" fn without_gs_base(until: u64) -> u64 {
    naked_asm!(
        "mov ecx, 0xc0000101",
        "rdmsr",
        "mov r8d, eax",
        "mov r9d, edx",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "2: pause",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "cmp rax, rdi",
        "jb 2b",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "mov r10, rax",
        "mov eax, r8d",
        "mov edx, r9d",
        "wrmsr",
        "mov rax, r10",
        "ret"
    )
}

/// Checks that the kernel was entered with all of its own state in place.
fn is_clean(end: &End) -> Result<(), Failure> {
    ensure!(end.has_area, "the kernel was entered with a GS base that is not its own");
    ensure!(!end.has_flags, "the kernel was entered with flags of the program");
    ensure!(end.entry_stack.contains(end.stack), "the kernel was entered on a stack at {}", end.stack);
    let (cs, ss) = (u64::from(USER_CODE.0), u64::from(USER_DATA.0));
    ensure!(end.frame.cs == cs && end.frame.ss == ss, "cs {:#x}, ss {:#x}", end.frame.cs, end.frame.ss);
    Ok(())
}

/// Runs `code`, and checks that it ends cleanly by the exception `vector`.
fn ends_by(code: &[u8], vector: u64, first: First) -> Result<End, Failure> {
    let end = Program::of(code)?.run(first)?;
    ensure!(end.frame.vector == vector, "{code:02x?} ended by vector {}, not {vector}", end.frame.vector);
    is_clean(&end)?;
    Ok(end)
}

/// A program that has set the flags that would open user memory to the kernel, and have it copy backwards.
fn a_program_enters_cleanly(_: &'static Boot) -> Result<(), Failure> {
    // pushfq; or dword ptr [rsp], AC | DF; popfq; mov ebx, 0x12345; int3
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 4, 4, 0, 0x9d, 0xbb, 0x45, 0x23, 1, 0, INT3];
    let end = ends_by(&code, BREAKPOINT, First::Ends)?;
    let flags = RFlags::from_bits_truncate(end.frame.rflags);
    let set = RFlags::ALIGNMENT_CHECK | RFlags::DIRECTION_FLAG | RFlags::INTERRUPT_FLAG;
    ensure!(flags.contains(set), "the program's flags are {flags:?}");
    ensure!(end.frame.rbx == 0x1_2345, "rbx was {:#x}", end.frame.rbx);
    ensure!(end.frame.rip == 0x40_0000 + code.len() as u64, "it ended at {:#x}", end.frame.rip);
    Ok(())
}

fn a_program_has_no_privileges(_: &'static Boot) -> Result<(), Failure> {
    let refused: [(&[u8], &str); 8] = [
        (&[0xf4], "hlt"),
        (&[0xfa], "cli"),
        (&[0xe4, 0x80], "in al, 0x80"),
        (&[0x0f, 0x20, 0xc0], "mov rax, cr0"),
        (&[0x0f, 0x32], "rdmsr"),
        (&[0x0f, 0x01, 0xf8], "swapgs"),
        (&[0xcd, 0x02], "int 2"),
        (&[0xcd, 0xf1], "int 0xf1"),
    ];
    for (code, name) in refused {
        let end = Program::of(code)?.run(First::Ends)?;
        ensure!(end.frame.vector == GENERAL_PROTECTION, "'{name}' ended by vector {}", end.frame.vector);
        is_clean(&end)?;
    }
    // Neither way of system calls is offered.
    for code in [&[0x0f, 0x05], &[0x0f, 0x34]] {
        let end = Program::of(code)?.run(First::Ends)?;
        let vector = end.frame.vector;
        ensure!(
            matches!(vector, INVALID_OPCODE | GENERAL_PROTECTION),
            "{code:02x?} ended by vector {vector}"
        );
        is_clean(&end)?;
    }
    if features().umip {
        // sgdt, sidt, sldt, str: where the kernel's tables are is no program's affair.
        let stores: [&[u8]; 4] =
            [&[0x0f, 0x01, 0x07], &[0x0f, 0x01, 0x0f], &[0x0f, 0, 0xc0], &[0x0f, 0, 0xc8]];
        for code in stores {
            ends_by(code, GENERAL_PROTECTION, First::Ends)?;
        }
    }
    Ok(())
}

/// `mov rax, ADDRESS`, and an instruction that uses it.
fn with_address(address: VirtAddr, instruction: [u8; 2]) -> [u8; 12] {
    let mut code = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, instruction[0], instruction[1]];
    code[2..10].copy_from_slice(&address.get().to_le_bytes());
    code
}

fn a_program_cannot_touch_the_kernel(_: &'static Boot) -> Result<(), Failure> {
    const READ: [u8; 2] = [0x8a, 0x00];
    const WRITE: [u8; 2] = [0x88, 0x00];
    const JUMP: [u8; 2] = [0xff, 0xe0];
    let text = image::text().start();
    // Present; a write; a program's; an instruction fetch.
    for (address, instruction, error) in [
        (text, READ, 0b101),
        (image::data().start(), WRITE, 0b111),
        (MACHINE.direct(image::physical(image::data()).start()), WRITE, 0b111),
        (layout::entry(area::cpu_now()), READ, 0b101),
        (text, JUMP, 0b10101),
    ] {
        let end = ends_by(&with_address(address, instruction), PAGE_FAULT, First::Ends)?;
        ensure!(
            end.frame.error == error && end.address == address.get(),
            "{address}: error {:#x} at {:#x}",
            end.frame.error,
            end.address
        );
    }
    let Ok(may_fault) = pageable::may_fault() else { return Ok(()) };
    let Ok(memory) = pageable::alloc(may_fault, owners::SELF_TEST, 1) else { return Ok(()) };
    let start = memory.start();
    let ended = ends_by(&with_address(start, READ), PAGE_FAULT, First::Ends);
    let freed = memory.free(may_fault).map_err(|(error, _)| Failure::because(error));
    let end = ended?;
    freed?;
    ensure!(end.frame.error == 0b100, "a page was brought in for a program: error {:#x}", end.frame.error);
    Ok(())
}

/// A debug exception has a stack of its own, and its handler runs where a program's others do.
fn a_program_is_stepped(_: &'static Boot) -> Result<(), Failure> {
    // pushfq; or dword ptr [rsp], TF; popfq; nop; hlt
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0xf4];
    let end = ends_by(&code, DEBUG, First::Ends)?;
    ensure!(end.frame.rip == 0x40_0000 + 10, "it ended at {:#x}", end.frame.rip);
    Ok(())
}

/// The kernel returns to a program whose stack segment is none, with the GS base of the program already.
fn a_return_that_faults(_: &'static Boot) -> Result<(), Failure> {
    let end = Program::of(&[0xbb, 0x45, 0x23, 1, 0, INT3])?.run(First::ReturnsWrongly)?;
    let frame = &end.frame;
    ensure!(frame.vector == GENERAL_PROTECTION, "it ended by vector {}", frame.vector);
    ensure!(frame.rbx == 0x1_2345, "rbx was {:#x}", frame.rbx);
    is_clean(&End {
        frame: crate::arch::idt::TrapFrame { ss: u64::from(USER_DATA.0), ..frame.clone() },
        ..end
    })
}

/// A program that waits, while other CPUs call its CPU and send it interrupts that cannot be masked.
fn a_program_is_interrupted(_: &'static Boot) -> Result<(), Failure> {
    // mov ebx, 0x12345; 2: cmp qword ptr [rdi], 0; je 2b; int3
    let program = Program::of(&[0xbb, 0x45, 0x23, 1, 0, 0x48, 0x83, 0x3f, 0, 0x74, 0xfa, INT3])?;
    let word = program.data_word()?;
    let me = this_area()?;
    let Some(other) = cpu::online().without(me.id()).iter().next() else { return Ok(()) };
    let (calls, nmis) = (AtomicU64::new(0), me.counters.nmis.get());
    let mut ended = None;
    work::on_others(
        &|| {
            if area::cpu_now() != other {
                return;
            }
            let end = clock::now_ns() + PATIENCE_NS;
            while (calls.load(Relaxed) < INTERRUPTS || me.counters.nmis.get() - nmis < INTERRUPTS)
                && clock::now_ns() < end
            {
                // One that is under way already is as good.
                let _ = nmi::send(me);
                let guard = MACHINE.pin();
                let note = || _ = calls.fetch_add(u64::from(area::cpu_now() == me.id()), Relaxed);
                call::run_on(guard.pinned(), &CpuMask::only(me.id()), &note, || ());
            }
            word.store(1, Relaxed);
        },
        || ended = Some(program.run(First::Ends)),
    );
    let end = ended.unwrap_or_else(|| Err(Failure::because("the program did not run")))?;
    is_clean(&end)?;
    ensure!(end.frame.vector == BREAKPOINT, "it ended by vector {}", end.frame.vector);
    ensure!(end.frame.rbx == 0x1_2345, "rbx was {:#x}", end.frame.rbx);
    let (calls, nmis) = (calls.into_inner(), me.counters.nmis.get() - nmis);
    ensure!(calls >= INTERRUPTS && nmis >= INTERRUPTS, "{calls} calls and {nmis} NMIs came in time");
    Ok(())
}
