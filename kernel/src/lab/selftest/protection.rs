//! The accesses that the CPU lets through: the same rules, asked of the hardware instead of the tables.

use rhumb_machine::{Machine, PageSize, VirtAddr, VirtRange};

use super::Test;
use crate::cpu::machine::MACHINE;
use crate::cpu::{area, trampoline};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::layout::{Stack, image};
use crate::{cpu, layout};

pub const TESTS: &[Test] = &[
    Test { name: "protection::text_cannot_be_written", run: text_cannot_be_written },
    Test { name: "protection::rodata_cannot_be_written", run: rodata_cannot_be_written },
    Test { name: "protection::data_cannot_be_executed", run: data_cannot_be_executed },
    Test { name: "protection::trampoline_cannot_be_written", run: trampoline_cannot_be_written },
    Test { name: "protection::guards_cannot_be_touched", run: guards_cannot_be_touched },
    Test { name: "protection::null_cannot_be_touched", run: null_cannot_be_touched },
];

/// One `ret`, at an address that is mapped read-only and executable, and one that is not executable.
#[unsafe(naked)]
unsafe extern "sysv64" fn just_return() {
    core::arch::naked_asm!("ret")
}

static RETURN_IN_RODATA: [u8; 1] = [0xc3];

fn in_direct_map(segment: VirtRange) -> VirtRange {
    let phys = image::physical(segment);
    layout::range(MACHINE.direct(phys.start()), phys.bytes())
}

/// The first and the last byte of `range`, neither mapped nor alias, can be written.
fn cannot_be_written(range: VirtRange) -> Result<(), Failure> {
    for address in [range.start(), VirtAddr::new(range.end().get() - 1)] {
        ensure!(probe::read_byte(address).is_ok(), "{address} cannot even be read");
        // SAFETY: no code writes read-only memory; where it is writable after all, the same byte goes back.
        ensure!(unsafe { probe::rewrite_byte(address) }.is_err(), "{address} can be written");
    }
    Ok(())
}

fn text_cannot_be_written(_: &'static Boot) -> Result<(), Failure> {
    cannot_be_written(image::text())?;
    cannot_be_written(in_direct_map(image::text()))
}

fn rodata_cannot_be_written(_: &'static Boot) -> Result<(), Failure> {
    cannot_be_written(image::rodata())?;
    cannot_be_written(in_direct_map(image::rodata()))
}

fn trampoline_cannot_be_written(_: &'static Boot) -> Result<(), Failure> {
    let Some(page) = trampoline::page() else { return Ok(()) };
    cannot_be_written(layout::range(MACHINE.direct(page.start()), page.bytes()))
}

fn data_cannot_be_executed(_: &'static Boot) -> Result<(), Failure> {
    let text = just_return as *const ();
    // The probe itself works: a return in the text is executed.
    // SAFETY: it is a return.
    ensure!(unsafe { probe::execute(VirtAddr::from(text)) }.is_ok(), "the kernel's text cannot be executed");
    let on_stack = [0xc3u8; 16];
    let text_alias =
        in_direct_map(image::text()).start().plus(VirtAddr::from(text).since(image::text().start()));
    for (what, address) in [
        ("read-only data", VirtAddr::from(&raw const RETURN_IN_RODATA[0])),
        ("the stack", VirtAddr::from(on_stack.as_ptr())),
        ("the direct map's alias of the text", text_alias),
    ] {
        // SAFETY: the byte there is a return.
        ensure!(unsafe { probe::execute(address) }.is_err(), "{what} at {address} can be executed");
    }
    Ok(())
}

fn guards_cannot_be_touched(_: &'static Boot) -> Result<(), Failure> {
    for cpu in cpu::online().iter() {
        for stack in Stack::ALL {
            let Some(pages) = area::of(cpu).and_then(|area| area.stacks.range(stack)) else {
                return Err(Failure::because(format_args!("CPU {cpu} has no {}", stack.name())));
            };
            let guard = layout::range(
                VirtAddr::new(pages.start().get() - PageSize::Size4K.bytes()),
                PageSize::Size4K.bytes(),
            );
            for address in [guard.start(), VirtAddr::new(guard.end().get() - 1)] {
                ensure!(
                    probe::read_byte(address).is_err(),
                    "the guard below CPU {cpu}'s {} can be read",
                    stack.name()
                );
            }
            ensure!(probe::read_byte(pages.start()).is_ok(), "CPU {cpu}'s {} cannot be read", stack.name());
        }
    }
    Ok(())
}

fn null_cannot_be_touched(_: &'static Boot) -> Result<(), Failure> {
    for address in [0, 8, 0x1000, 0x10_0000, 0x100_0000] {
        ensure!(probe::read_byte(VirtAddr::new(address)).is_err(), "address {address:#x} can be read");
    }
    Ok(())
}
