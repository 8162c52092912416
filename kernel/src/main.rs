//! The Rhumb microkernel for x86-64.
//!
//! Each module uses only modules below it; `cargo xtask check` enforces this.
//!
//! | module | owns |
//! |---|---|
//! | `main` | the order of start-up, the routes of interrupts, the panic handler |
//! | [`lab`] | tests, stress, counting, faults on purpose; in kernels built with it |
//! | [`debug`] | the prompt and its commands |
//! | [`modules`] | loadable modules |
//! | [`bpf`] | BPF programs at the trace points |
//! | [`trap`] | exceptions and interrupts, reports |
//! | [`task`] | threads |
//! | [`boot`] | from the loader to the kernel's own address space |
//! | [`mm`] | memory: frames, objects, page tables, the direct map |
//! | [`platform`] | serial line, screen, keyboard, log, turning off |
//! | [`facts`] | memory map, CPUs and options as boot found them |
//! | [`cpu`] | CPUs: their areas, starting them, calls, flushes, the lock, time |
//! | [`layout`] | the plan of the kernel's address space |
//! | [`arch`] | registers |
#![no_std]
#![no_main]
// A kernel's modules are its own: nothing is exported, and the names of registers document themselves.
#![allow(missing_docs, unreachable_pub)]

extern crate alloc;

mod arch;
mod boot;
mod bpf;
mod cpu;
mod debug;
mod facts;
#[cfg(feature = "lab")]
mod lab;
mod layout;
mod mm;
mod modules;
mod platform;
mod task;
mod trap;

use core::sync::atomic::Ordering::Relaxed;

use rhumb_bootinfo::SerialInterrupt;
use rhumb_bootinfo::firmware::{Cpu, Polarity, Trigger};
use rhumb_frames::Frames;
use rhumb_machine::{Counted, NodeId, PhysRange};
use rhumb_slab::Space;
use rhumb_smp::apic::Input;

use arch::features::features;
use arch::idt::vector;
use arch::ioapic::{IoApic, Line};
use arch::{control, halt, mtrr, pic};
use cpu::machine::KernelMachine;
use cpu::start::Candidate;
use cpu::{area, backtrace, clock};
use facts::Boot;
use platform::{console, keyboard, logging, power, ram_disk};

/// Commands at the prompt beside those of [`debug`].
#[cfg(feature = "lab")]
const MORE: debug::More = debug::More { commands: lab::COMMANDS, aliases: lab::ALIASES };
#[cfg(not(feature = "lab"))]
const MORE: debug::More = debug::More { commands: &[], aliases: &[] };

/// Continues from boot, on the kernel's own tables and the boot CPU's main stack.
#[unsafe(no_mangle)]
extern "sysv64" fn rhumb_main() -> ! {
    let Some(boot) = facts::boot() else { halt::permanently() };
    bring_up(boot);
    task::start::enter(prompt)
}

/// Runs the prompt, as a thread of the boot CPU.
fn prompt() -> ! {
    let Some(boot) = facts::boot() else { halt::permanently() };
    debug::run(boot, MORE)
}

/// Brings up all CPUs and the allocators. Never inlined, because its lists take tens of KiB of stack that the monitor
/// needs later.
#[inline(never)]
fn bring_up(boot: &'static Boot) {
    let here = area::boot();
    pic::disable();
    backtrace::check_symbols();
    here.set_inputs(inputs(boot, boot.topology.cpus.first()));
    boot::areas::give_descriptors(here);
    cpu::start::set_up_boot(here);
    let reference = clock::calibrate(clock::Counters {
        acpi_timer: boot.topology.power.pm_timer,
        hpet: boot.topology.hpet.and_then(|at| boot.mapped(at)),
        first: boot.options.clock,
    });
    log::info!(
        "clock: TSC {} MHz (by {reference}), timer {} MHz",
        clock::tsc_hz() / 1_000_000,
        clock::timer_hz() / 1_000_000
    );
    if !features().invariant_tsc {
        log::debug!("clock: the TSC need not run at one rate in all power states");
    }
    mm::report(boot);
    ram_disk::start(boot);
    let above_first_mebibyte =
        |ram: PhysRange| PhysRange::new(ram.start().max(facts::FIRST_MEBIBYTE_END), ram.end());
    mtrr::report(boot.memory.lock().ram().filter_map(above_first_mebibyte));
    power::set_firmware(boot.topology.power);
    route_interrupts(boot);
    x86_64::instructions::interrupts::enable();
    logging::leave_lines();

    // The boot CPU is the first that is listed. Its node is known before anything is allocated for it.
    if let Some(this) = boot.topology.cpus.first() {
        here.set_node(this.node);
    }
    boot::areas::make(boot);
    #[cfg(feature = "kasan")]
    cpu::kasan::report_by(trap::kasan::report);
    #[cfg(feature = "lab")]
    lab::start();
    match mm::frames::take_over(boot) {
        Ok(frames) => {
            mm::recall::start(frames);
            mm::report_frames(boot);
            start_objects(boot, frames);
            if let Err(error) = mm::direct_map::take_over(boot) {
                log::error!("the direct map cannot be changed: {error}");
            } else if let Err(error) = mm::unmapped::start(boot, frames) {
                log::error!("no frame can be had out of the direct map: {error}");
            }
            if let Err(error) = mm::code::start(frames) {
                log::error!("there is no executable memory: {error}");
            }
            if let Err(error) = mm::long_map::start(boot, frames) {
                log::error!("there are no long mappings: {error}");
            }
            modules::names::start();
            // Behind the pool, whose blocks leave merged tables as they go back.
            if let Err(error) = mm::direct_map::table_supply::start(frames) {
                log::error!("no request frees tables of the direct map: {error}");
            }
            // Behind the cheaper reclaimers.
            if let Err(error) = mm::movable::start(frames) {
                log::error!("no request leads to a compaction: {error}");
            }
            #[cfg(feature = "lab")]
            lab::register_movable();
            if let Err(error) = mm::protect::start(boot) {
                log::error!("page tables cannot be protected: {error}");
            }
            // Behind the protection, whose blocks its tables come from, and before other CPUs, whose stacks lie there.
            if mm::kernel_map::map().is_none() {
                start_kernel_map(boot, frames);
            }
            // Behind all other reclaimers: what it takes has to be brought back.
            if let Err(error) = mm::pageable::start(boot, frames) {
                log::error!("there is no pageable memory: {error}");
            }
        }
        Err(error) => log::error!("there is no frame allocator: {error}"),
    }
    bpf::start();
    // Before other CPUs, which run threads from their beginnings.
    if let Err(error) = task::start::prepare_boot(here) {
        log::error!("there are no threads: {error}");
    }
    let running = start_cpus(boot);
    mtrr::report_differences();
    mm::objects::warn_of_absent_caches();
    // More CPUs may change the direct map at once now.
    mm::direct_map::table_supply::fill();
    let nodes = boot.topology.node_count();
    log::info!(
        "{running} of {}, {}; {}",
        Counted(boot.cpus, "CPU"),
        Counted(nodes, "node"),
        control::Controls::read()
    );
    let up_us = clock::now_ns() / 1000;
    log::info!("up {}.{:03} ms after the first instruction", up_us / 1000, up_us % 1000);
}

/// Makes the object caches: in the direct map, or at addresses of the kernel map, which comes first then.
fn start_objects(boot: &'static Boot, frames: &'static Frames<KernelMachine>) {
    let is_virtual = mm::kernel_map::space::is_wanted(boot).unwrap_or_else(|refusal| {
        log::warn!("{refusal}");
        false
    });
    let mut space: Option<&'static dyn Space> = None;
    if is_virtual {
        match mm::objects::start_records(boot, frames) {
            Ok(()) => start_kernel_map(boot, frames),
            Err(error) => log::error!("there are no records for a kernel map: {error}"),
        }
        if mm::kernel_map::map().is_some() {
            space = Some(&mm::kernel_map::space::SPACE);
            log::info!("objects are at addresses of the kernel map (kmem=virtual)");
        }
    }
    if let Err(error) = mm::objects::start(boot, frames, space) {
        log::error!("there are no object caches: {error}");
    }
}

fn start_kernel_map(boot: &'static Boot, frames: &'static Frames<KernelMachine>) {
    if let Err(error) = mm::kernel_map::start(boot, frames) {
        log::error!("there is no kernel map: {error}");
    }
}

/// Starts the CPUs that the firmware lists and the command line allows.
fn start_cpus(boot: &Boot) -> usize {
    let candidate =
        |cpu: &Cpu| Candidate { apic_id: cpu.apic_id, node: cpu.node, inputs: inputs(boot, Some(cpu)) };
    let listed = boot.topology.startable().skip(1).map(candidate);
    let unlisted = boot.options.unlisted_cpu.map(|apic_id| Candidate {
        apic_id,
        node: NodeId::FIRST,
        inputs: inputs(boot, None),
    });
    let candidates = listed.chain(unlisted);
    let running = cpu::start::start_others(candidates, task::start::prepare, task::start::enter_other);
    // SAFETY: no CPU is on its way any more, and none is started later.
    unsafe { mm::tables::retire_trampoline() };
    cpu::work::on_every_cpu(&mm::objects::set_up_cpu);
    running
}

/// Returns the purpose of the inputs of a CPU's APIC, as the firmware tells it. Where it says nothing of any, the
/// second one carries non-maskable interrupts, as on every PC.
fn inputs(boot: &Boot, cpu: Option<&Cpu>) -> [Input; 2] {
    if boot.topology.nmi_lines.is_empty() {
        return [Input::Unused, Input::Nmi { active_low: false }];
    }
    let mut inputs = [Input::Unused; 2];
    for line in cpu.into_iter().flat_map(|cpu| boot.topology.nmi_lines_of(cpu)) {
        if let Some(input) = inputs.get_mut(usize::from(line.lint)) {
            *input = Input::Nmi { active_low: line.polarity == Polarity::ActiveLow };
        }
    }
    inputs
}

/// Routes the interrupts of the serial line and of the keyboard, and those that are non-maskable, to the boot CPU. Without an I/O APIC for a
/// line its device is polled.
fn route_interrupts(boot: &Boot) {
    let line = |gsi, polarity, trigger| Line {
        gsi,
        active_low: polarity == Polarity::ActiveLow,
        level_triggered: trigger == Trigger::Level,
    };
    let isa_line = |irq| {
        let route = boot.topology.isa_route(irq);
        line(route.gsi, route.polarity, route.trigger)
    };
    let keyboard = console::find_keyboard().then(|| isa_line(keyboard::IRQ));
    let console = console::interrupt().map(|interrupt| match interrupt {
        SerialInterrupt::Isa(irq) => isa_line(irq),
        // As PCI's are, which is what a port has that is on no ISA interrupt.
        SerialInterrupt::Global(gsi) => line(gsi, Polarity::ActiveLow, Trigger::Level),
    });
    let boot_apic = area::boot().apic_id.load(Relaxed);
    for mut io_apic in io_apics(boot) {
        io_apic.mask_all();
        let Ok(destination) = u8::try_from(boot_apic) else { continue };
        for source in &boot.topology.nmi_sources {
            if io_apic.serves(source.gsi) {
                io_apic.route_nmi(line(source.gsi, source.polarity, source.trigger), destination);
            }
        }
        if let Some(line) = console.filter(|line| io_apic.serves(line.gsi)) {
            io_apic.route(line, vector::CONSOLE, destination);
            console::enable_interrupts();
        }
        if let Some(line) = keyboard.filter(|line| io_apic.serves(line.gsi)) {
            io_apic.route(line, vector::KEYBOARD, destination);
            console::enable_keyboard_interrupts();
        }
    }
}

/// Returns the I/O APICs that are mapped.
fn io_apics(boot: &Boot) -> impl Iterator<Item = IoApic> {
    boot.topology.io_apics.iter().filter_map(|io_apic| {
        let registers = boot.mapped(io_apic.address)?;
        // SAFETY: boot mapped the registers uncached, permanently, and `route_interrupts` alone uses them.
        Some(unsafe { IoApic::new(registers, io_apic.gsi_base) })
    })
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    trap::report::panic(info)
}
