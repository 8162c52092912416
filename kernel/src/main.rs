//! The Rhumb microkernel for x86-64.
//!
//! | module | owns |
//! |---|---|
//! | [`boot`] | from the loader to the kernel's own address space |
//! | [`arch`] | registers: features, descriptors, interrupt table, APIC, clock, per-CPU area |
//! | [`mm`] | the kernel's address space: layout, page tables, reports of them |
//! | [`smp`] | other CPUs: starting, idling, cross-calls |
//! | [`trap`] | exceptions and interrupts, reports, backtraces |
//! | [`monitor`] | the prompt and its commands |
//! | [`machine`], [`sync`] | this hardware as the memory crates see it; the kernel's lock |
//! | [`console`], [`logging`], [`power`], [`acpi`] | serial line, log, turning off, firmware tables |
#![no_std]
#![no_main]
// A kernel's modules are its own: nothing is exported, and the names of registers document themselves.
#![allow(missing_docs, unreachable_pub)]

mod acpi;
mod arch;
mod boot;
mod console;
mod logging;
mod machine;
mod mm;
mod monitor;
mod power;
mod selftest;
mod smp;
mod sync;
mod trap;

use core::sync::atomic::Ordering::Relaxed;

use arch::{clock, cpu, percpu, pic};
use smp::Candidate;

/// On the kernel's own tables and the boot CPU's main stack.
pub extern "sysv64" fn main() -> ! {
    let Some(boot) = boot::boot() else { cpu::halt_for_ever() };
    let here = percpu::here();
    pic::disable();
    smp::settle(here);
    mm::report_layout(boot);

    let reference = clock::calibrate(boot.topology.pm_timer);
    log::info!(
        "clock: TSC {} MHz (by {reference}), timer {} MHz",
        clock::tsc_hz() / 1_000_000,
        clock::timer_hz() / 1_000_000
    );
    acpi::set_power(&boot.topology);
    x86_64::instructions::interrupts::enable();

    boot.make_areas();
    let boot_apic_id = here.apic_id.load(Relaxed);
    here.set_node(boot.topology.node_of_apic(boot_apic_id));
    let candidates = boot
        .topology
        .startable(boot_apic_id)
        .map(|apic_id| Candidate { apic_id, node: boot.topology.node_of_apic(apic_id) });
    let running = smp::start_others(candidates);
    log::info!("{running} CPUs, {} nodes, protections: {}", boot.topology.node_count(), cpu::ProtectionNames);
    log::info!("up after {}.{:03} s", clock::now_ns() / 1_000_000_000, clock::now_ns() / 1_000_000 % 1000);
    monitor::run(boot)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    trap::report::panic(info)
}
