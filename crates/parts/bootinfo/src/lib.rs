//! The boot loader's and the firmware's information, parsed into plain data.
//!
//! ```text
//!   EBX at entry                      physical memory (trait PhysMemory)
//!       │                                        │
//!   loader::pvh::parse / loader::multiboot2::parse
//!       └── BootInfo: memory entries, command line, RAM disk, RSDP, what the loader occupies
//!              ├── Options::parse          the command line's words
//!              ├── MemoryMap               which addresses are RAM, which of it is free
//!              │      └── BootFrames       frames before there is an allocator
//!              └── firmware::Topology          CPUs, nodes, interrupts, timers, power-off
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`loader`] | PVH and multiboot2, giving one [`BootInfo`] |
//! | [`memory_map`] | [`MemoryMap`]: sorted, disjoint, with reservations |
//! | [`boot_frames`] | [`BootFrames`]: single frames and runs out of the map |
//! | [`frame_array`] | [`FrameArray`]: which pages an array over all frames needs, where memory is sparse |
//! | [`command_line`] | [`Options`] and the table of words |
//! | [`firmware`] | [`Topology`] from the ACPI tables |
//! | [`serial`] | [`SerialPort`]: where a console is, as either of them names it |
//! | [`phys`] | [`PhysMemory`], through which everything is read |
//! | [`findings`] | [`Findings`]: what was odd but not fatal |
//!
//! Principles:
//! 1. Nothing that was read is believed: not a length, not a count, not a pointer. Wrong input gives a finding or a
//!    typed error, never a panic and never a loop without end.
//! 2. A finding is one sentence for the log, and the boot goes on with the rest. An error means that it cannot.
//! 3. Nothing is allocated: each list has a fixed capacity, with the reason for its size beside it.
//! 4. Nothing is written: memory is only read, and only through the trait.
#![no_std]
// One leaf module is excepted: `firmware::layout`, which copies checked bytes into the ACPI crate's structures.
#![deny(unsafe_code)]

pub mod boot_frames;
pub mod command_line;
pub mod findings;
pub mod firmware;
pub mod frame_array;
pub mod loader;
pub mod memory_map;
pub mod phys;
pub mod serial;

pub use boot_frames::{BootFrames, OutOfBootFrames};
pub use command_line::Options;
pub use findings::Findings;
pub use firmware::{FirmwareFinding, Topology};
pub use frame_array::FrameArray;
pub use loader::{BootInfo, LoaderError, LoaderFinding, Protocol, RsdpSource};
pub use memory_map::{
    FirmwareEntry, MapEndFinding, MapFinding, MemoryMap, MemoryMapError, Region, RegionKind, Reservation,
    Reserved,
};
pub use phys::{PhysMemory, Unreadable};
pub use serial::{SerialInterrupt, SerialPort, SerialRegisters};

#[cfg(test)]
mod fake;
