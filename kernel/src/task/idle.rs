//! The idle thread: what a CPU does that has nothing else to run.

use rhumb_machine::Machine;
use rhumb_sched::Idle;
use x86_64::instructions::interrupts;

use super::scheduler;
use crate::arch::halt;
use crate::cpu::machine::{self, MACHINE};
use crate::cpu::tlb;
use crate::mm;
use crate::platform::{logging, screen};

/// Runs the idle thread: tidies up, and halts until there is work.
pub fn run() -> ! {
    loop {
        tidy_up();
        wait_for_interrupt(|| {
            let guard = MACHINE.irq_off();
            scheduler().begin_idle(guard.irq_off()) == Idle::Work
        });
        scheduler().reschedule();
    }
}

/// Tidies up before the CPU halts: lets the screen show all that was written, gives back the frames, objects and
/// addresses that other CPUs asked it for, and fills up the direct map's reserve.
///
/// Each step is pinned: an idle thread that was preempted would keep what it holds until nothing else runs.
pub fn tidy_up() {
    {
        let _pin = MACHINE.pin();
        logging::show_waiting();
    }
    {
        let _pin = MACHINE.pin();
        screen::draw();
    }
    if let Some(frames) = mm::frames::frames() {
        let guard = MACHINE.pin();
        frames.tick(guard.pinned());
        if let Some(slabs) = mm::objects::slabs() {
            slabs.tick(guard.pinned());
        }
        mm::kernel_map::tick(guard.pinned());
    }
    let _pin = MACHINE.pin();
    mm::direct_map::table_supply::fill_if_wanted();
}

/// Halts until an interrupt comes, unless `ready` says that what is waited for is there already. Meanwhile the CPU is
/// lazy: flushes do not wake it. Under a guard that keeps interrupts off there is nothing to wait for: it returns.
pub fn wait_for_interrupt(ready: impl FnOnce() -> bool) {
    if machine::holds_irqs_off() {
        core::hint::spin_loop();
        return;
    }
    interrupts::disable();
    if ready() {
        interrupts::enable();
    } else {
        enter_laziness();
        // Interrupts come on with the halt itself: one that comes between check and halt ends the halt.
        halt::until_interrupt();
        // The interrupt has left laziness already. A halt that ends without such an interrupt must not
        // leave the CPU lazy.
        leave_after_halt();
    }
}

/// Interrupts are off, and stay off behind it.
fn enter_laziness() {
    let guard = MACHINE.irq_off();
    tlb::enter_laziness(guard.irq_off());
}

fn leave_after_halt() {
    let guard = MACHINE.irq_off();
    tlb::leave_laziness(guard.irq_off());
}
