//! The kernel's memory: the allocators of frames and objects, page tables, and the direct map.
//!
//! | module | owns |
//! |---|---|
//! | [`frames`] | the page-frame allocator, taken over from boot's memory map |
//! | [`recall`] | the interrupt that empties other CPUs' caches before a request fails |
//! | [`objects`] | object caches, and the heap of `Box` and `Vec` |
//! | [`owners`] | the registry of owners |
//! | [`tables`] | the kernel's tree of page tables |
//! | [`kernel_half`] | the root's entries that all trees share, and never change |
//! | [`direct_map`] | changes of the direct map, and where page tables for them come from |
//! | [`rules`] | the changes that frames may not have |
//! | [`unmapped`] | the pool of frames out of the direct map |
//! | [`long_map`] | mappings of RAM past the direct map's end that last |
//! | [`windows`], [`window_tables`] | each CPU's short mappings of frames that the direct map does not show |
//! | [`code`] | executable memory, and the data beside it |
//! | [`movable`] | compaction, and the owners whose frames it moves |
//! | [`protection`], [`protect`] | page tables that only their writer can write: boot's choice, and what comes of it |
//! | [`kernel_map`] | memory and devices at addresses of the kernel map |
//! | [`pageable`] | kernel memory that is paged out under pressure |
//! | [`stacks`] | kernel stacks, with guards, at addresses of the kernel map |
//! | [`known`], [`place`] | what is known of a frame, and of an address |
//!
//! `main::bring_up` calls their `start` and `take_over` in this order, with one CPU running ([`unmapped`] starts
//! [`windows`]): frames first, because all others allocate. The order of the locks is in `docs/locks.md`.

pub mod code;
pub mod direct_map;
pub mod frames;
pub mod kernel_half;
pub mod kernel_map;
pub mod known;
pub mod long_map;
pub mod movable;
pub mod objects;
pub mod owners;
pub mod pageable;
pub mod place;
pub mod protect;
pub mod protection;
pub mod recall;
pub mod rules;
pub mod stacks;
pub mod tables;
pub mod unmapped;
pub mod window_tables;
pub mod windows;

use core::fmt::{self, Write};

use rhumb_machine::{Counted, PhysAddr, VirtAddr};
use rhumb_monitor::Human;

use crate::cpu::clock;
use crate::facts::Boot;
use crate::layout::{self, image};
use place::{Place, place_of};

/// Returns one line about what belongs at `address`, mapped or not.
pub fn describe(address: VirtAddr) -> Place {
    place_of(address)
}

/// Writes one line about what belongs at `address`, and one about the part of executable memory there, if one is.
pub fn write_place(out: &mut dyn Write, address: VirtAddr) -> fmt::Result {
    let place = describe(address);
    writeln!(out, "{place}")?;
    if pageable::contains(address) {
        writeln!(out, "the address is a page of pageable memory")?;
    }
    if place == Place::Code { writeln!(out, "{}", code::At(address)) } else { Ok(()) }
}

/// Writes the page walk for `address`, level by level, if there are tables to walk.
pub fn write_walk(out: &mut dyn Write, address: VirtAddr) -> fmt::Result {
    if crate::facts::boot().is_none() {
        return writeln!(out, "(the kernel's own page tables are not built yet)");
    }
    writeln!(out, "{}", tables::walk(address))
}

/// Logs what was found, and how it is mapped.
pub fn report(boot: &Boot) {
    let (total, free) = {
        let map = boot.memory.lock();
        (map.ram_bytes(), map.usable_bytes())
    };
    log::info!("loaded by {}; {} of RAM, {} taken by boot", boot.loader, Human(total), Human(total - free));
    if let Some(disk) = boot.initial_ram_disk {
        log::info!("initial RAM disk: {} at {}", Human(disk.bytes()), disk.start());
    }
    let figures = &boot.direct_map;
    let levels = tables::root().levels.top();
    log::info!(
        "direct map at {}: {} in {} page tables, {levels} levels, built in {} us",
        figures.base,
        figures.pages,
        figures.tables,
        clock::ticks_to_ns(figures.build_ticks) / 1000
    );
    let array = &boot.descriptors;
    log::info!("frame descriptors at {}: {}", layout::DESCRIPTORS, array.pages);
    if array.far_bytes > 0 {
        log::warn!("{} of frame descriptors lie on another node than their frames", Human(array.far_bytes));
    }
    if let (true, Some(end)) = (figures.high_bytes > 0, boot.options.direct_map_limit_bytes) {
        log::info!(
            "high memory: {} past the direct map's end at {}, shown by windows and long mappings",
            Human(figures.high_bytes),
            PhysAddr::new(end)
        );
    }
    for (what, segment) in
        [("text", image::text()), ("read-only data", image::rodata()), ("data", image::data())]
    {
        log::debug!("image {what} at {segment}");
    }
}

/// Logs what the frame allocator took over, after giving back what the loader left.
pub fn report_frames(boot: &Boot) {
    let given = frames::give_back_boot_data(boot);
    if let Some(frames) = frames::frames() {
        let totals = frames.totals();
        log::info!(
            "frames: {} in {}; {} in use, {} given back by boot",
            totals.present,
            Counted(frames.zones().count(), "zone"),
            Human((totals.present - totals.free) * 4096),
            Human(given * 4096)
        );
    }
}
