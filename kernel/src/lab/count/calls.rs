//! Cross-calls and interrupts.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::Ordering::Relaxed;

use rhumb_machine::{CpuMask, Machine, PinGuard};
use rhumb_mark::RegionId;

use super::{Interrupts, Operation, Region, number};
use crate::arch::apic;
use crate::arch::idt::vector;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::cpu::{self, area, call};
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};

pub const REGIONS: &[Region] = &[
    Region::of::<Round<1>>(),
    Region::of::<Round<2>>(),
    Region::of::<Round<3>>(),
    Region::of::<Round<4>>(),
    Region::of::<Round<5>>(),
    Region::of::<Round<6>>(),
    Region::of::<Round<7>>(),
    Region::of::<Round<8>>(),
    Region::of::<ToSelf>(),
];

/// The rounds' names, by CPUs from 1 on.
const ROUNDS: [&str; 8] =
    ["calls/1", "calls/2", "calls/3", "calls/4", "calls/5", "calls/6", "calls/7", "calls/8"];

/// A function that does nothing, run on the other CPUs of the first so many; until all have answered.
struct Round<const CPUS: usize> {
    guard: PinGuard<'static, KernelMachine>,
    targets: CpuMask,
}

impl<const CPUS: usize> Operation for Round<CPUS> {
    const ID: RegionId = number(48 + CPUS as u16);
    const NAME: &'static str = ROUNDS[CPUS - 1];
    const SUMMARY: &'static str = "call an empty function on the first so many CPUs and wait for all";

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let online = cpu::online().len();
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
    const ID: RegionId = number(64);
    const NAME: &'static str = "interrupt/self";
    const SUMMARY: &'static str = "send this CPU an interrupt with nothing to do, until it was handled";
    const INTERRUPTS: Interrupts = Interrupts::On;

    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { _guard: MACHINE.pin(), here: area::here() })
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
