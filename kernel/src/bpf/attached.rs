//! The programs that run at each event. A leaf where `unsafe` lives.
//!
//! ```text
//!   event:  | slot 0 | slot 1 | ... |      a slot: 0, or the address of a `Loaded` and the number of its program
//! ```
//! A CPU that tells of an event reads the slots and runs the programs, with interrupts off from before the first read
//! until after the last run. A detached program's slot is emptied, and then every other CPU answers a call: a CPU with
//! interrupts off answers after its run, so none runs the program any more, and none has its address.
//!
//! A program does nothing that is traced, but a handler (of a fault, of a non-maskable interrupt) may come while one
//! runs. Its events are counted as missed.

use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

use rhumb_bpf::{Context, Environment, Field};
use rhumb_machine::Machine;
use rhumb_sync::atomic::handler_fence;

use super::loaded::Loaded;
use crate::cpu::area::COUNT;
use crate::cpu::machine::MACHINE;
use crate::cpu::trace::{EVENTS, Event};
use crate::cpu::{self, area, backtrace, call, clock};

/// Programs of one event, at most.
pub const SLOTS: usize = 4;
/// The number of a program is in the lower bits of an address.
pub const PROGRAM_MASK: usize = rhumb_bpf::limits::MAX_PROGRAMS - 1;
const _: () =
    assert!(rhumb_bpf::limits::MAX_PROGRAMS.is_power_of_two() && align_of::<Loaded>() > PROGRAM_MASK);

type Slot = AtomicPtr<Loaded>;

static ATTACHED: [[Slot; SLOTS]; EVENTS] =
    [const { [const { AtomicPtr::new(core::ptr::null_mut()) }; SLOTS] }; EVENTS];

/// The kernel as a program asks for it.
struct Kernel;

impl Environment for Kernel {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn call_site(&self) -> u64 {
        let mut site = 0;
        backtrace::for_each_caller(|caller| {
            site = caller.get();
            backtrace::name_of(caller).is_some_and(is_on_the_way)
        });
        site
    }
}

/// Tells whether a function belongs to the way from the code that allocates to the program.
fn is_on_the_way(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "rhumb_slab::",
        "rhumb_frames::",
        "rhumb_bpf::",
        "rhumb_machine::",
        "alloc::",
        "__rust_",
        "__rustc",
        "mm::objects::",
        "::bpf::",
        "cpu::trace::",
        "cpu::machine::",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Runs the programs of an event.
pub fn run(event: Event, context: &Context) {
    let guard = MACHINE.irq_off();
    let irq_off = guard.irq_off();
    let here = area::here(irq_off.pinned());
    let runs_program = &here.own().runs_program;
    if runs_program.load(Relaxed) {
        COUNT.events_missed.increment();
        return;
    }
    runs_program.store(true, Relaxed);
    handler_fence();
    let cpu = irq_off.cpu();
    let context = context.with(Field::Event, event as u64).with(Field::Cpu, cpu.index() as u64);
    for slot in &ATTACHED[event as usize] {
        let pointer = slot.load(Acquire);
        let program = pointer.addr() & PROGRAM_MASK;
        // SAFETY: a slot has 0 or the address of a `Loaded` that `detach` frees only after this CPU has answered a call,
        // which it does with interrupts on: after this loop. Its contents change by atomics only.
        let loaded = unsafe { pointer.map_addr(|address| address & !PROGRAM_MASK).as_ref() };
        if let Some(loaded) = loaded {
            loaded.run(program, &context, &Kernel, irq_off);
        }
    }
    handler_fence();
    runs_program.store(false, Relaxed);
}

/// Puts a program into a free slot of an event. The caller keeps `loaded` in place until [`clear`] has returned.
/// Returns whether there was a slot.
pub(super) fn put(event: Event, loaded: *mut Loaded, program: usize) -> bool {
    let tagged = loaded.map_addr(|address| address | program & PROGRAM_MASK);
    let free = ATTACHED[event as usize].iter().find(|slot| slot.load(Relaxed).is_null());
    if let Some(slot) = free {
        slot.store(tagged, Release);
    }
    free.is_some()
}

/// Takes a program out of an event, and waits until no CPU runs it. Returns whether it was there.
pub(super) fn clear(event: Event, loaded: *mut Loaded, program: usize) -> bool {
    let tagged = loaded.map_addr(|address| address | program & PROGRAM_MASK);
    let slot = ATTACHED[event as usize].iter().find(|slot| slot.load(Relaxed) == tagged);
    let Some(slot) = slot else { return false };
    slot.store(core::ptr::null_mut(), Release);
    // Not from within an event, so this CPU runs none.
    let guard = MACHINE.pin();
    call::run_on(guard.pinned(), &cpu::online(), &|| (), || ());
    true
}

/// Tells whether an event has programs.
pub(super) fn is_used(event: Event) -> bool {
    ATTACHED[event as usize].iter().any(|slot| !slot.load(Relaxed).is_null())
}

/// Returns the events that a program is attached to.
pub fn attachments(loaded: &Loaded, program: usize) -> impl Iterator<Item = Event> {
    let tagged = core::ptr::from_ref(loaded).addr() | program;
    let has =
        move |event: &Event| ATTACHED[*event as usize].iter().any(|slot| slot.load(Relaxed).addr() == tagged);
    Event::ALL.into_iter().filter(has)
}

/// Returns how many events no program saw, because they happened while a program ran on the same CPU.
pub fn missed() -> u64 {
    area::all().map(|area| area.counters.events_missed.get()).sum()
}
