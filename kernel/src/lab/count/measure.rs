//! One operation, run again and again between its marks, with the TSC read just outside of them.
//!
//! From the read of the TSC to the mark there are always the same instructions, since both are one piece of assembly.
//! So, where a tick is an instruction (an emulator that counts), the difference to the empty region is exactly what the
//! operation executed: a second count of the same thing, by other means.

use core::arch::asm;
use core::ops::{AddAssign, Sub};

use rhumb_machine::Machine;
use rhumb_mark::Mark;

use super::{Interrupts, Operation, Others, busy, number};
use crate::cpu::area;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::platform::console;

/// Runs that fill caches, the emulator's included, before the first that counts.
const WARM_UP: u32 = 8;
/// Enough to see that an operation does not always cost the same.
const RUNS: u32 = 64;

/// The times and counts of all runs of an operation.
pub struct Measured {
    pub runs: u32,
    pub least_ticks: u64,
    pub ticks: u64,
    pub noise: Noise,
}

/// The kernel's own counters, summed over all CPUs.
#[derive(Clone, Copy, Default)]
pub struct Noise {
    pub table_writes: u64,
    /// Pages and whole flushes, each by the CPU that it happened on.
    pub flushes: u64,
    /// Rounds of flushes on other CPUs.
    pub remote_flushes: u64,
    pub interrupts: u64,
}

impl Noise {
    fn now() -> Self {
        let mut sum = Self::default();
        for area in area::all() {
            let c = &area.counters;
            sum += Self {
                table_writes: c.page_table_writes.get(),
                flushes: c.flushes_page.get() + c.flushes_all.get(),
                remote_flushes: c.flushes_remote.get(),
                interrupts: c.timer_interrupts.get()
                    + c.device_interrupts.get()
                    + c.call_interrupts.get()
                    + c.reschedule_interrupts.get()
                    + c.spurious_interrupts.get(),
            };
        }
        sum
    }
}

impl AddAssign for Noise {
    fn add_assign(&mut self, other: Self) {
        self.table_writes += other.table_writes;
        self.flushes += other.flushes;
        self.remote_flushes += other.remote_flushes;
        self.interrupts += other.interrupts;
    }
}

impl Sub for Noise {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            table_writes: self.table_writes - earlier.table_writes,
            flushes: self.flushes - earlier.flushes,
            remote_flushes: self.remote_flushes - earlier.remote_flushes,
            interrupts: self.interrupts - earlier.interrupts,
        }
    }
}

/// Prepares, warms up, measures, and clears up.
pub fn measure<O: Operation, const ID: u16>(
    boot: &'static Boot,
    others: Others,
) -> Result<Measured, Failure> {
    let mut operation = O::prepare(boot)?;
    let mut measured = Measured { runs: RUNS, least_ticks: u64::MAX, ticks: 0, noise: Noise::default() };
    let mut all_runs = || console::without_interrupts(|| run_all::<_, ID>(&mut operation, &mut measured));
    match others {
        Others::Idle => all_runs(),
        Others::Busy => busy::while_others_run(all_runs),
    }
    operation.finish().map(|()| measured)
}

fn run_all<O: Operation, const ID: u16>(operation: &mut O, measured: &mut Measured) {
    for _ in 0..WARM_UP {
        operation.before();
        operation.run();
        operation.after();
    }
    for _ in 0..RUNS {
        operation.before();
        let earlier = Noise::now();
        let ticks = run_once::<_, ID>(operation);
        measured.noise += Noise::now() - earlier;
        measured.least_ticks = measured.least_ticks.min(ticks);
        measured.ticks += ticks;
        operation.after();
    }
}

/// Returns the ticks of one run. A function of its own, so that little around the marks competes for registers with
/// the operation between them.
#[inline(never)]
fn run_once<O: Operation, const ID: u16>(operation: &mut O) -> u64 {
    let _irq_off = (O::INTERRUPTS == Interrupts::Off).then(|| MACHINE.irq_off());
    let start: u64;
    let end: u64;
    // SAFETY: reads the TSC, then a mark, which is a no-op. Without `nomem`: no access to memory moves across.
    unsafe {
        asm!(
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            // Not RAX: the second read needs it, and saving it would be measured.
            "mov {start}, rax",
            ".byte 0x0f, 0x1f, 0x80",
            ".long {mark}",
            mark = const Mark::Begin(number(ID)).displacement(),
            start = out(reg) start,
            out("rax") _,
            out("rdx") _,
            options(nostack)
        );
    }
    operation.run();
    // SAFETY: a mark, which is a no-op, then a read of the TSC. Without `nomem`: no access to memory moves across.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x80",
            ".long {mark}",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            mark = const Mark::End(number(ID)).displacement(),
            out("rax") end,
            out("rdx") _,
            options(nostack)
        );
    }
    end.saturating_sub(start)
}
