//! Interrupts that a test makes strike.
//!
//! A handler is armed on a CPU for the length of a closure. It runs at an *interrupt point* at which the CPU takes
//! interrupts: right after [`Machine::pin`] began, right before it ends, right before [`Machine::irq_off`] begins,
//! right after it ended, and where the code says so ([`Cpu::interrupt_point`](crate::Cpu::interrupt_point)).
//! The points are counted, so that a test can try each of them in turn:
//!
//! ```
//! # use rhumb_hosted::{HostedMachine, Machine, interrupt::Strike};
//! # use rhumb_machine::CpuId;
//! # let machine = HostedMachine::builder().cpus(1).ram_bytes(1 << 20).build().unwrap();
//! machine.enter(CpuId::BOOT, |cpu| {
//!     for point in 0.. {
//!         let mut handler = |_irq_off: rhumb_machine::IrqOff<'_>| { /* use what the body uses */ };
//!         let ((), struck) = cpu.with_interrupts(Strike::Once { after: point }, &mut handler, || {
//!             drop(machine.pin()); /* the work under test */
//!         });
//!         if struck == 0 { break } // past the last point
//!     }
//! }).unwrap();
//! ```
//!
//! The handler runs with interrupts off and is not entered again while it runs.
//!
//! Without the crate's feature `interrupts` there are no such points, and a pin is a comparison.
//!
//! [`crate::storm`] strikes between any two instructions, but not in the same place twice.

use core::ptr::NonNull;

#[cfg(doc)]
use rhumb_machine::Machine;
use rhumb_machine::{CpuId, IrqOff, IrqState, Pinned};

use crate::thread::{OnStack, THIS, ThisThread};

/// When an armed handler runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strike {
    /// Once, after letting this many points pass.
    Once {
        /// Points that pass first.
        after: u64,
    },
    /// At every n-th point; 0 is taken as 1.
    Every {
        /// The distance between two strikes, in points.
        points: u64,
    },
}

/// An armed handler, on the stack of [`armed`].
struct Interrupt<'body> {
    cpu: CpuId,
    machine: u32,
    handler: &'body mut dyn FnMut(IrqOff<'_>),
    /// Points to pass before the next strike; `None` when it is spent.
    until: Option<u64>,
    again: Option<u64>,
    struck: u64,
}

/// The address of an [`Interrupt`], its lifetime erased: it is reachable only while [`armed`] has not returned.
type Armed = NonNull<Interrupt<'static>>;

/// Marks a point where an interrupt may strike.
#[inline(always)]
pub(crate) fn point(this: &ThisThread) {
    if cfg!(feature = "interrupts")
        && let Some(armed) = this.armed.get()
    {
        reached(this, armed.cast());
    }
}

#[cold]
#[inline(never)]
fn reached(this: &ThisThread, mut armed: Armed) {
    if this.irq() == IrqState::Off {
        return;
    }
    this.armed.set(None);
    let _rearm = Rearm { this, armed };
    // SAFETY: `armed` keeps the interrupt alive while it is in the thread's cell, where it was just now; it has been
    // taken out of the cell, so that no other code reaches it until `_rearm` puts it back.
    let interrupt = unsafe { armed.as_mut() };
    match interrupt.until {
        None => {}
        Some(0) => {
            interrupt.until = interrupt.again;
            interrupt.struck += 1;
            let _held = this.held();
            // SAFETY: interrupts are off until `_held` is dropped, which is after the handler has returned, and the
            // thread is this CPU throughout.
            (interrupt.handler)(unsafe { IrqOff::assume_on(interrupt.cpu, interrupt.machine) });
        }
        Some(left) => interrupt.until = Some(left - 1),
    }
}

/// Puts the interrupt back into the thread's cell.
struct Rearm<'this> {
    this: &'this ThisThread,
    armed: Armed,
}

impl Drop for Rearm<'_> {
    fn drop(&mut self) {
        self.this.armed.set(Some(self.armed.cast()));
    }
}

/// Takes the handler off the CPU and puts the one before it back, also when the body panics.
struct Disarm(Option<OnStack>);

impl Drop for Disarm {
    fn drop(&mut self) {
        THIS.with(|this| this.armed.set(self.0));
    }
}

/// Runs `body` with `handler` armed on this thread, which is the CPU that `pinned` names.
pub(crate) fn armed<T>(
    pinned: Pinned<'_>,
    strike: Strike,
    handler: &mut dyn FnMut(IrqOff<'_>),
    body: impl FnOnce() -> T,
) -> (T, u64) {
    let (until, again) = match strike {
        Strike::Once { after } => (after, None),
        Strike::Every { points } => (points.saturating_sub(1), Some(points.saturating_sub(1))),
    };
    let (cpu, machine) = (pinned.cpu(), pinned.machine());
    let mut interrupt = Interrupt { cpu, machine, handler, until: Some(until), again, struck: 0 };
    let pointer: Armed = NonNull::from(&mut interrupt).cast();
    let result = {
        let _disarm = Disarm(THIS.with(|this| this.armed.replace(Some(pointer.cast()))));
        body()
    };
    // SAFETY: the pointer is that of the local above; it is in no cell any more.
    (result, unsafe { pointer.as_ref() }.struck)
}
