//! Trace points: where the memory system tells that something has happened, if anything listens.
//!
//! A trace point costs one load and one branch while nothing listens; those of frames and objects cost nothing, because
//! the allocators leave their common path only while they are traced ([`rhumb_machine::MemoryEvent`]). The listener is
//! [`crate::bpf`], which is further up and gives its function here.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rhumb_bpf::{Context, Field};
use rhumb_machine::{MemoryEvent, impossible};
use spin::Once;

use super::once;

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    PageFault,
    Split,
    Merge,
    Flush,
    FrameAlloc,
    FrameFree,
    ObjectAlloc,
    ObjectFree,
}

/// How many events there are.
pub const EVENTS: usize = 8;

impl Event {
    /// All, in the order of their numbers.
    pub const ALL: [Self; EVENTS] = [
        Self::PageFault,
        Self::Split,
        Self::Merge,
        Self::Flush,
        Self::FrameAlloc,
        Self::FrameFree,
        Self::ObjectAlloc,
        Self::ObjectFree,
    ];
    /// The names of all.
    pub const NAMES: [&'static str; EVENTS] =
        ["page-fault", "split", "merge", "flush", "frame-alloc", "frame-free", "slab-alloc", "slab-free"];

    /// Returns its name at the prompt and in programs' sections.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Returns the event of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Whether anything listens, by event. Written when a program is attached or detached, so that all CPUs keep the line.
static HEARD: Heard = Heard([const { AtomicBool::new(false) }; EVENTS]);

#[repr(align(64))]
struct Heard([AtomicBool; EVENTS]);

static LISTENER: Once<fn(Event, &Context)> = Once::new();

/// Gives the function that hears of events: with interrupts on or off, in a lock's stretch, in a fault's handler. Once.
pub fn set_listener(listener: fn(Event, &Context)) {
    once::fill(&LISTENER, listener);
}

/// Says whether an event is heard from now on. A CPU that has found it heard just now may still tell of one.
pub fn set_heard(event: Event, is_heard: bool) {
    HEARD.0[event as usize].store(is_heard, Relaxed);
}

/// Tells whether an event is heard.
#[inline(always)]
pub fn is_heard(event: Event) -> bool {
    HEARD.0[event as usize].load(Relaxed)
}

/// Tells of an event, if it is heard; `context` is made only then.
#[inline(always)]
pub fn tell(event: Event, context: impl FnOnce() -> Context) {
    if is_heard(event) {
        tell_listener(event, context);
    }
}

/// A call of its own, so that the trace point's code saves no registers.
#[cold]
#[inline(never)]
fn tell_listener(event: Event, context: impl FnOnce() -> Context) {
    match LISTENER.get() {
        Some(listener) => listener(event, &context()),
        None => impossible!("nothing is heard before there is a listener"),
    }
}

/// Tells of what an allocator did.
pub fn tell_of_memory(event: &MemoryEvent) {
    match *event {
        MemoryEvent::FramesAllocated { first, frames, owner } => {
            tell(Event::FrameAlloc, || frames_context(first.get(), frames, owner));
        }
        MemoryEvent::FramesFreed { first, frames, owner } => {
            tell(Event::FrameFree, || frames_context(first.get(), frames, owner));
        }
        MemoryEvent::ObjectAllocated { address, bytes, cache } => {
            tell(Event::ObjectAlloc, || object_context(address.get(), bytes, cache));
        }
        MemoryEvent::ObjectFreed { address, bytes, cache } => {
            tell(Event::ObjectFree, || object_context(address.get(), bytes, cache));
        }
    }
}

fn frames_context(first: u64, frames: u64, owner: u16) -> Context {
    let order = u64::from(frames.max(1).ilog2());
    Context::EMPTY
        .with(Field::Address, first)
        .with(Field::Size, frames)
        .with(Field::Owner, owner.into())
        .with(Field::First, order)
}

fn object_context(address: u64, bytes: u64, cache: Option<u16>) -> Context {
    Context::EMPTY
        .with(Field::Address, address)
        .with(Field::Size, bytes)
        .with(Field::First, cache.map_or(NO_CACHE, u64::from))
}

/// The number of the cache of an object that is whole frames.
pub const NO_CACHE: u64 = u16::MAX as u64;
