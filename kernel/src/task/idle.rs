//! The idle loop.

use rhumb_machine::Machine;
use x86_64::instructions::interrupts;

use crate::arch::halt;
use crate::cpu::machine::{self, MACHINE};
use crate::cpu::{tlb, work};
use crate::mm;
use crate::platform::{logging, screen};

/// Runs the idle loop: tidies up, and halts until an interrupt.
pub fn idle() -> ! {
    loop {
        tidy_up();
        wait_for_interrupt(work::is_waiting);
        work::do_waiting();
    }
}

/// Tidies up before the CPU halts: lets the screen show all that was written, gives back the frames, objects and
/// addresses that other CPUs asked it for, and fills up the direct map's reserve.
pub fn tidy_up() {
    logging::show_waiting();
    screen::draw();
    if let Some(frames) = mm::frames::frames() {
        let guard = MACHINE.pin();
        frames.tick(guard.pinned());
        if let Some(slabs) = mm::objects::slabs() {
            slabs.tick(guard.pinned());
        }
        mm::kernel_map::tick(guard.pinned());
    }
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
