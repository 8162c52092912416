//! A stand-in for the parts of OSTD (the framework of the Asterinas kernel) on which `osdk-frame-allocator` rests, so
//! that this allocator can be measured in a process. Interface as in ostd 0.19; the code is the benchmark's own.
//!
//! It does what the original does where that costs time: 64-byte descriptors, claimed by compare-and-swap; intrusive
//! lists through them; a test-and-set spin lock; per-CPU variables. Interrupts are not turned off, which favours the
//! allocator; a generation is compared on each access to a per-CPU variable, which costs it half a nanosecond.
//!
//! The allocator's state is in statics. A new *generation* ([`stand_in::begin`]) gives each of them its initial value
//! again, so that each round of the benchmark begins with a fresh allocator.
#![no_std]

pub mod cpu;
pub mod irq;
pub mod mm;
pub mod stand_in;
pub mod sync;
