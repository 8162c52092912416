//! Kernel stacks: code runs on them at once, guards fault, each CPU is on its own, and all comes back.

use core::arch::naked_asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_kernelmap::AreaError;
use rhumb_machine::{Counted, Machine, PageSize, VirtAddr, VirtRange};

use super::Test;
use crate::cpu::area::{self, stack_at};
use crate::cpu::machine::MACHINE;
use crate::cpu::stacks::Part;
use crate::cpu::{online, work};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::probe;
use crate::layout::Stack;
use crate::mm::stacks::KernelStack;
use crate::mm::{kernel_map, owners, tables};

pub const TESTS: &[Test] = &[
    Test { name: "stacks::code_runs_on_a_stack_at_once", run: code_runs_at_once },
    Test { name: "stacks::guards_of_stacks_of_all_sizes_fault", run: guards_fault },
    Test { name: "stacks::each_cpu_is_on_its_own", run: each_cpu_is_on_its_own },
    Test { name: "stacks::i12_a_limit_is_an_error", run: i12_a_limit_is_an_error },
];

const PAGE: u64 = PageSize::Size4K.bytes();

fn make(pages: u64) -> Result<KernelStack, Failure> {
    KernelStack::new(pages, MACHINE.node_of(area::cpu_now())).map_err(|error| match error {
        AreaError::NoFrame(_) | AreaError::NoTable | AreaError::NoRecord(_) => Failure::skipped(error),
        _ => Failure::because(error),
    })
}

/// Gives a stack back, and checks that nothing is left of it.
fn end(stack: KernelStack) -> Result<(), Failure> {
    let range = stack.range();
    stack.free();
    kernel_map::reclaim();
    for address in [range.start(), VirtAddr::new(range.end().get() - 1)] {
        ensure!(probe::read_byte(address).is_err(), "{address} of a stack that was freed can be read");
    }
    Ok(())
}

/// Calls `run` with `argument` on the stack that ends at `top`, and returns what it returns.
///
/// # Safety
/// The stack is mapped and the caller's alone, and `run` has room there. Interrupts are off.
#[unsafe(naked)]
unsafe extern "sysv64" fn call_on(top: VirtAddr, run: extern "sysv64" fn(u64) -> u64, argument: u64) -> u64 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        "ret"
    )
}

/// Writes most of a stack of 128 KiB, reads it again, and returns an address in it; 0 if a byte was another.
extern "sysv64" fn use_much(seed: u64) -> u64 {
    let mut bytes = [0u8; 96 << 10];
    black_box(&mut bytes).iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u64 ^ seed) as u8);
    let is_same = black_box(&bytes).iter().enumerate().all(|(at, &byte)| byte == (at as u64 ^ seed) as u8);
    if is_same { core::ptr::from_ref(&bytes).addr() as u64 } else { 0 }
}

fn code_runs_at_once(_: &'static Boot) -> Result<(), Failure> {
    let stack = make(Stack::Main.bytes() / PAGE)?;
    let range = stack.range();
    let at = {
        let _off = MACHINE.irq_off();
        // SAFETY: the stack is fresh, and large enough for the array and a call; interrupts are off.
        unsafe { call_on(range.end(), use_much, 0x5a) }
    };
    let is_there = range.contains(VirtAddr::new(at));
    end(stack)?;
    ensure!(is_there, "the variable of a call on {range} was at {at:#x}");
    Ok(())
}

/// Checks that all of a stack is mapped, each page writable and not executable, and that neither neighbour is.
fn check(range: VirtRange) -> Result<(), Failure> {
    for page in 0..range.bytes() / PAGE {
        let walk = tables::walk(range.start().plus(page * PAGE));
        let access = walk.leaf().map(|leaf| leaf.permissions);
        let is_right = access.is_some_and(|may| may.writable && !may.executable);
        ensure!(is_right, "page {page} of the stack {range} is {access:?}");
    }
    for address in [range.start(), VirtAddr::new(range.end().get() - 1)] {
        // SAFETY: the stack is the test's own, or where it is not mapped nothing is written.
        ensure!(unsafe { probe::rewrite_byte(address) }.is_ok(), "{address} of a stack cannot be written");
    }
    let below = range.start().get();
    for address in [VirtAddr::new(below - 1), VirtAddr::new(below - PAGE), range.end()] {
        ensure!(probe::read_byte(address).is_err(), "{address} beside the stack {range} can be read");
    }
    Ok(())
}

fn guards_fault(_: &'static Boot) -> Result<(), Failure> {
    // The last two have large units, with a table below them and without one.
    for pages in [1, 4, 15, 32, 600, 512] {
        let stack = make(pages)?;
        ensure!(stack.range().bytes() == pages * PAGE, "{pages} pages were asked for");
        let checked = check(stack.range());
        end(stack)?;
        checked?;
    }
    Ok(())
}

fn each_cpu_is_on_its_own(_: &'static Boot) -> Result<(), Failure> {
    let elsewhere = AtomicU64::new(0);
    work::on_every_cpu(&|| {
        let guard = MACHINE.pin();
        let variable = VirtAddr::from(&raw const guard);
        let is_own = stack_at(variable) == Some((guard.pinned().cpu(), Stack::Main, Part::Pages));
        elsewhere.fetch_add(u64::from(!is_own), Relaxed);
    });
    let elsewhere = elsewhere.into_inner();
    ensure!(elsewhere == 0, "{} run on no stack of their own", Counted(elsewhere, "CPU"));
    for cpu in online().iter() {
        for stack in Stack::ALL {
            let range = area::of(cpu).and_then(|area| area.stacks.range(stack)).unwrap_or_default();
            let (start, last) = (range.start(), VirtAddr::new(range.end().get().wrapping_sub(1)));
            for (address, part) in [
                (start, Some(Part::Pages)),
                (last, Some(Part::Pages)),
                (VirtAddr::new(start.get().wrapping_sub(1)), Some(Part::Guard)),
                (VirtAddr::new(start.get().wrapping_sub(PAGE)), Some(Part::Guard)),
                (VirtAddr::new(start.get().wrapping_sub(PAGE + 1)), None),
            ] {
                let found = stack_at(address);
                let own = found.filter(|&(other, kind, _)| (other, kind) == (cpu, stack));
                let is_right = own.map(|(_, _, part)| part) == part;
                ensure!(is_right, "{address} near CPU {cpu}'s {} is of {found:?}", stack.name());
            }
        }
    }
    Ok(())
}

fn i12_a_limit_is_an_error(_: &'static Boot) -> Result<(), Failure> {
    let map = kernel_map::map().ok_or_else(|| Failure::because("there is no kernel map"))?;
    let owner = owners::STACKS.in_frames();
    map.set_limit(owner, Some(4)).map_err(Failure::because)?;
    let (past, within) = (make(5), make(4));
    map.set_limit(owner, None).map_err(Failure::because)?;
    ensure!(past.map(KernelStack::free).is_err(), "a stack past the limit was not refused");
    end(within?)
}
