//! Commands about memory: `meminfo`, `memmap`, `maps`, `walk`.

use core::fmt;

use rhumb_machine::{Machine, PageSize, VirtAddr};
use rhumb_monitor::{
    Address, Arguments, Column, Command, CommandError, Complete, Human, Output, Table, meminfo_line,
};
use rhumb_pagetable::{Join, Leaves, Span, Spans};

use super::Kernel;
use crate::arch::gdt::Descriptors;
use crate::cpu::area::PerCpu;
use crate::cpu::machine::MACHINE;
use crate::layout;
use crate::mm::place::place_of;
use crate::mm::{direct_map, frames, kernel_map, objects, pageable, stacks, tables};

pub const COMMANDS: &[Command<Kernel>] = &[
    Command {
        name: "meminfo",
        usage: "",
        summary: "memory in use, as /proc/meminfo shows it",
        help: "MemTotal is all RAM in whole frames; MemFree is free RAM. HighTotal and HighFree are the RAM past the end\n\
               of the direct map, LowTotal and LowFree the RAM before it. VmallocUsed is addresses of the kernel map, with\n\
               guards, and with those that wait for a flush. Pageable is pageable memory that is in memory, Zswapped what\n\
               of it was paged out, and Zswap the memory that its compressed contents take. DirectMap4k, 2M and 1G say\n\
               how much of the direct map is in pages of each size.",
        complete: Complete::Nothing,
        run: meminfo,
    },
    Command {
        name: "memmap",
        usage: "",
        summary: "physical memory: the firmware's map, and what is taken for what",
        help: "",
        complete: Complete::Nothing,
        run: memmap,
    },
    Command {
        name: "maps",
        usage: "[audit]",
        summary: "what is mapped in the kernel's address space",
        help: "One line a range: addresses, permissions (r, w, x, and k for the kernel alone or u for users), cache mode (WB\n\
               write-back, WC write-combining, UC uncached), pages by size, what it is. The figures come from the\n\
               page tables themselves.\n\
               'maps audit' goes through all tables and fails if any frame is writable and executable by whatever\n\
               mappings, if the direct map is off its offset, if what is not RAM is cached, if mappings overlap, if an\n\
               entry of the root for the kernel's half has changed since boot, or if a CPU has other control registers.",
        complete: Complete::Words(&["audit"]),
        run: maps,
    },
    Command {
        name: "walk",
        usage: "ADDRESS",
        summary: "the page walk for an address, level by level",
        help: "ADDRESS is virtual, in hexadecimal; phys:ADDRESS is looked up where the direct map shows it. Memory reads\n\
               are those of a CPU that has no translation cached: 2 for a 1-GiB page, 3 for 2 MiB, 4 for 4 KiB; one more\n\
               with five levels.",
        complete: Complete::Nothing,
        run: walk,
    },
];

/// Bytes of what belongs to each CPU.
const PER_CPU_BYTES: u64 = (size_of::<PerCpu>() + size_of::<Descriptors>()) as u64;

fn meminfo(kernel: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let boot = kernel.boot;
    let page = PageSize::Size4K.bytes();
    let (total, free, high, high_free) = match frames::frames() {
        Some(frames) => {
            let totals = frames.totals();
            (totals.present * page, totals.free * page, totals.high * page, totals.high_free * page)
        }
        None => {
            let map = boot.memory.lock();
            (map.ram_bytes(), map.usable_bytes(), boot.direct_map.high_bytes, 0)
        }
    };
    let pages = direct_map::with(|map| map.pages()).unwrap_or(boot.direct_map.pages);
    meminfo_line(out, "MemTotal", total);
    meminfo_line(out, "MemFree", free);
    meminfo_line(out, "HighTotal", high);
    meminfo_line(out, "HighFree", high_free);
    meminfo_line(out, "LowTotal", total - high);
    meminfo_line(out, "LowFree", free.saturating_sub(high_free));
    meminfo_line(out, "Slab", objects::slabs().map_or(0, |slabs| slabs.totals().held_bytes));
    meminfo_line(out, "KernelStack", stacks::bytes());
    let map = kernel_map::map().map(|map| map.report()).unwrap_or_default();
    meminfo_line(out, "PageTables", (boot.table_frames + map.upper_tables) * page);
    meminfo_line(out, "VmallocTotal", map.total_bytes);
    meminfo_line(out, "VmallocUsed", map.total_bytes - map.free_bytes);
    if let Some(all) = pageable::pageable() {
        let (pages, store) = (all.report(), all.store().report());
        meminfo_line(out, "Pageable", pages.resident * page);
        meminfo_line(out, "Zswap", store.frames * page);
        meminfo_line(out, "Zswapped", store.pages * page);
    }
    meminfo_line(out, "Percpu", boot.cpus as u64 * PER_CPU_BYTES);
    meminfo_line(out, "FrameDescriptors", boot.descriptors.pages.bytes());
    meminfo_line(out, "DirectMap4k", pages.size_4k * page);
    meminfo_line(out, "DirectMap2M", pages.size_2m * PageSize::Size2M.bytes());
    meminfo_line(out, "DirectMap1G", pages.size_1g * PageSize::Size1G.bytes());
    Ok(())
}

fn memmap(kernel: &mut Kernel, _: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    // A copy: the console is slow, and the lock keeps interrupts off.
    let map = kernel.boot.memory.lock().clone();
    writeln!(out, "from the firmware:");
    map.regions().iter().for_each(|region| writeln!(out, "  {region}"));
    writeln!(out, "taken of usable RAM by boot:");
    map.reservations().iter().for_each(|taken| writeln!(out, "  {taken}"));
    writeln!(out, "{} of RAM, {} left by boot", Human(map.ram_bytes()), Human(map.usable_bytes()));
    Ok(())
}

const MAP_COLUMNS: &[Column] = &[
    Column::left("range", 35),
    Column::right("size", 10),
    Column::left("perm", 4),
    Column::left("mode", 9),
    Column::left("pages", 16),
    Column::left("what", 0),
];

fn maps(kernel: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    if arguments.optional(|words| words.one_of("what", &["audit"]))?.is_some() {
        arguments.end()?;
        return super::audit::run(kernel, out);
    }
    let mut table = Table::new(out, MAP_COLUMNS);
    for span in Spans::new(Leaves::kernel_half(tables::reader(), tables::root()), Join::Virtual) {
        if table.interrupted() {
            return Err(CommandError::Interrupted);
        }
        row(&mut table, &span);
    }
    Ok(())
}

fn row(table: &mut Table<'_>, span: &Span) {
    table.row(&[
        &format_args!("{:016x}-{:016x}", span.virt.get(), span.last().get()),
        &Human(span.bytes),
        &span.permissions,
        &Mode(span),
        &format_args!("{:16}", span.pages),
        &place_of(span.virt).name(),
    ]);
}

/// `WB global`, `WB key 1`: keyed pages are global.
struct Mode<'a>(&'a Span);

impl fmt::Display for Mode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.0.cache)?;
        match (self.0.key, self.0.scope) {
            (Some(key), _) => write!(f, "{key} "),
            (None, rhumb_pagetable::Scope::Global) => f.write_str("global"),
            (None, rhumb_pagetable::Scope::AddressSpace) => f.write_str("      "),
        }
    }
}

fn walk(_: &mut Kernel, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let address = arguments.address("address")?;
    arguments.end()?;
    let virt = match address {
        Address::Virtual(virt) => virt,
        Address::Physical(phys) => phys_in_direct_map(phys.get())?,
    };
    writeln!(out, "{}", tables::walk(virt));
    Ok(())
}

/// Returns where the direct map shows a physical address.
pub(super) fn phys_in_direct_map(phys: u64) -> Result<VirtAddr, CommandError> {
    let range = layout::direct_map();
    if phys >= range.bytes() {
        return Err(CommandError::failed(format_args!(
            "physical {phys:#x} is past the direct map's {}",
            Human(range.bytes())
        )));
    }
    Ok(MACHINE.direct(rhumb_machine::PhysAddr::new(phys)))
}
