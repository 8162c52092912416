//! Cross-calls and interrupts.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{CpuMask, Machine, PinGuard};

use super::{Interrupts, Operation};
use crate::arch::apic;
use crate::arch::idt::vector;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, call};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

regions! {
    49: Round<1>, "calls/1", "call an empty function on the first so many CPUs and wait for all";
    50: Round<2>, "calls/2", "call an empty function on the first so many CPUs and wait for all";
    51: Round<3>, "calls/3", "call an empty function on the first so many CPUs and wait for all";
    52: Round<4>, "calls/4", "call an empty function on the first so many CPUs and wait for all";
    53: Round<5>, "calls/5", "call an empty function on the first so many CPUs and wait for all";
    54: Round<6>, "calls/6", "call an empty function on the first so many CPUs and wait for all";
    55: Round<7>, "calls/7", "call an empty function on the first so many CPUs and wait for all";
    56: Round<8>, "calls/8", "call an empty function on the first so many CPUs and wait for all";
    64: ToSelf, "interrupt/self", "send this CPU an interrupt with nothing to do, until it was handled";
}

/// A function that does nothing, run on the other CPUs of the first so many; until all have answered.
struct Round<const CPUS: usize> {
    guard: PinGuard<'static, KernelMachine>,
    targets: CpuMask,
}

impl<const CPUS: usize> Operation for Round<CPUS> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let online = cpu::online_count();
        ensure!(online >= CPUS, "{CPUS} CPUs are needed, {online} run");
        Ok(Self { guard: MACHINE.pin(), targets: CpuMask::first(CPUS) })
    }

    #[inline(always)]
    fn run(&mut self) {
        call::run_on(self.guard.pinned(), &self.targets, &|| (), || ());
    }
}

/// An interrupt to this CPU that finds nothing to do.
struct ToSelf {
    /// Interrupts go by the CPU's number on the bus: the code must stay.
    _guard: PinGuard<'static, KernelMachine>,
    here: &'static area::PerCpu,
}

impl Operation for ToSelf {
    const INTERRUPTS: Interrupts = Interrupts::On;

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let guard = MACHINE.pin();
        let here = area::here(guard.pinned()).area();
        Ok(Self { _guard: guard, here })
    }

    #[inline(always)]
    fn run(&mut self) {
        let handled = &self.here.counters.call_interrupts;
        let before = handled.get();
        apic::send(self.here.apic_id.load(Relaxed), vector::CALL);
        while black_box(handled.get()) == before {
            spin_loop();
        }
    }
}
