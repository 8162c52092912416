//! The command `fault`: CPU exceptions on purpose, to see their reports.

mod code;
mod provoke;

use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rhumb_machine::{CpuMask, Machine, VirtAddr};
use rhumb_monitor::{Arguments, Command, CommandError, Complete, Output};
use rhumb_sched::Policy;

use crate::cpu::machine::MACHINE;
use crate::cpu::{area, call, online, work};
use crate::debug::Kernel;
use crate::layout::image;
use crate::mm::{owners, pageable, tables};
use crate::platform::screen;
use crate::task::scheduler;
use crate::task::thread::spawn;
use code::CodeFault;

const FAULTS: &[&str] = &[
    "read",
    "write",
    "table",
    "exec",
    "code",
    "codewrite",
    "codeud",
    "stack",
    "threadstack",
    "ud",
    "gp",
    "de",
    "df",
    "nmi",
    "report",
    "screen",
    "silent",
    "pageable",
];

/// An address that no page can have, however far an access goes from there.
const NOWHERE: VirtAddr = VirtAddr::new(0x8000_0000_0000_0000);

pub const COMMAND: Command<Kernel> = Command {
    name: "fault",
    usage: "read|write|table|exec|code|codewrite|codeud|stack|threadstack|ud|gp|de|df|nmi|report|screen|silent|pageable",
    summary: "provoke a CPU exception and see its report",
    help: "read   of an address that is not mapped\n\
           write  to the kernel's text\n\
           table  a write to a page table through the direct map, which passes where tables are not protected\n\
           exec   of the kernel's data\n\
           code   executable memory that was freed\n\
           codewrite  a write to executable memory\n\
           codeud an invalid instruction in executable memory\n\
           stack  overflow into the guard page\n\
           threadstack  the same in a thread of its own\n\
           ud     an invalid instruction\n\
           gp     a non-canonical address\n\
           de     a division by zero\n\
           df     a fault with no stack left for it\n\
           nmi    a non-maskable interrupt that was not announced\n\
           report a fault in the middle of a report\n\
           screen drawing where no video memory is, if there is a screen\n\
           silent a call to a CPU that does not answer: it is given 20 s\n\
           pageable  a touch of pageable memory with interrupts off",
    complete: Complete::Words(FAULTS),
    run: fault,
};

/// Cannot be shown.
struct FaultsWhenShown;

impl core::fmt::Display for FaultsWhenShown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a message that")?;
        provoke::invalid_opcode();
        Ok(())
    }
}

/// Calls the last CPU, which has turned its interrupts off and does not look.
fn call_a_silent_cpu() {
    let guard = MACHINE.pin();
    let last = online().without(guard.pinned().cpu()).iter().last();
    let Some(last) = last else { return };
    let is_silent = AtomicBool::new(false);
    let fall_silent = || {
        if area::cpu_now() == last {
            x86_64::instructions::interrupts::disable();
            is_silent.store(true, Release);
            loop {
                core::hint::spin_loop();
            }
        }
    };
    work::on_others(&fall_silent, || {
        while !is_silent.load(Acquire) {
            core::hint::spin_loop();
        }
        call::run_on(guard.pinned(), &CpuMask::only(last), &|| (), || ());
    });
}

/// Touches a page of pageable memory that is not in memory, where no fault may wait for it.
fn touch_with_interrupts_off() -> Result<(), CommandError> {
    let may_fault = pageable::may_fault().map_err(CommandError::failed)?;
    let area = pageable::alloc(may_fault, owners::MONITOR, 1).map_err(CommandError::failed)?;
    let guard = MACHINE.irq_off();
    provoke::read(area.start());
    drop(guard);
    area.free(may_fault).map_err(|(error, _)| CommandError::failed(error))
}

/// Overflows the stack of a thread that is made for it.
fn overflow_in_a_thread() -> Result<(), CommandError> {
    let body = || {
        provoke::overflow_stack();
        0
    };
    let thread = spawn(format_args!("overflow"), Policy::default(), &online(), body);
    let thread = thread.map_err(CommandError::failed)?;
    let _ = scheduler().join(&thread, None);
    Ok(())
}

fn fault(_: &mut Kernel, mut arguments: Arguments<'_>, _: &mut dyn Output) -> Result<(), CommandError> {
    let kind = arguments.one_of("kind", FAULTS)?;
    arguments.end()?;
    match kind {
        "read" => provoke::read(VirtAddr::new(0xffff_bfff_ffff_f000)),
        "write" => provoke::write(image::text().start()),
        "table" => provoke::write(MACHINE.direct(tables::root().table.addr())),
        "exec" => provoke::execute(image::data().start()),
        "code" => code::provoke(CodeFault::Freed)?,
        "codewrite" => code::provoke(CodeFault::Written)?,
        "codeud" => code::provoke(CodeFault::Invalid)?,
        "stack" => provoke::overflow_stack(),
        "threadstack" => overflow_in_a_thread()?,
        "ud" => provoke::invalid_opcode(),
        "gp" => provoke::read(NOWHERE),
        "de" => provoke::divide_by_zero(),
        "df" => provoke::double_fault(),
        "report" => panic!("{}", FaultsWhenShown),
        "screen" => screen::draw_at(NOWHERE),
        "silent" => call_a_silent_cpu(),
        "pageable" => touch_with_interrupts_off()?,
        _ => provoke::nmi(),
    }
    Err(CommandError::failed(format_args!("the CPU let '{kind}' pass")))
}
