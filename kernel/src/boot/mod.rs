//! From the loader's hand-over to the kernel's own address space.
//!
//! ```text
//! entry      32-bit stub: boot tables, long mode                       (assembly)
//! start      console, traps, loader's information, command line, memory map, ACPI      on the boot tables
//! la57       a fifth level, where it is wanted
//! paging     direct map, image, stacks, devices, frame descriptors, trampoline: the kernel's own tables
//! enter      those tables and the main stack; the boot tables and their identity mapping are gone
//! ```
//!
//! A machine on which the kernel cannot run ends the boot in one sentence on the console: see [`refuse`].

pub mod areas;
pub mod descriptors;
mod devices;
pub mod entry;
pub mod la57;
pub mod paging;
mod places;
mod ram_disk;
pub mod scratch;
mod tables;

use core::fmt::Display;

use rhumb_bootinfo::firmware::Topology;
use rhumb_bootinfo::loader::{Framebuffer, multiboot2, pvh};
use rhumb_bootinfo::memory_map::Capped;
use rhumb_bootinfo::{BootFrames, BootInfo, Findings, MemoryMap, Options, Reservation};
use rhumb_machine::{MAX_CPUS, PageSize, PhysAddr, PhysRange, VirtAddr};
use rhumb_pagetable::Levels;
use rhumb_screen::{Channel, Description};
use rhumb_speculation::Mode;

use crate::arch::features::features;
use crate::arch::patch::Reason;
use crate::arch::{apic, fixup, idt, patch, speculation};
use crate::cpu::lock::IrqMutex;
use crate::cpu::{area, clock, kasan, root, trampoline};
use crate::facts::{self, Boot, FIRST_MEBIBYTE};
use crate::layout::{self, Stack, image};
use crate::mm::{self, protection};
use crate::platform::{console, logging, power, screen};
use devices::{DEVICE_PAGE_BYTES, LOCAL_APIC};
use paging::Wanted;
use places::Places;
use scratch::{LowMemory, Scratch};

/// Below this, real mode can begin.
const REAL_MODE_END: PhysAddr = PhysAddr::new(0xa_0000);
/// Free RAM that `mem=` must leave: boot takes 2 MiB or so, and the rest is for the prompt and its commands.
const LEAST_FREE_BYTES: u64 = 8 << 20;
/// Memory that boot takes in the direct map for each CPU: its area, its caches, tables. Some 200 KiB, rounded up.
const MAPPED_BYTES_PER_CPU: u64 = 512 << 10;
/// RAM of which the frame allocator's records take one byte: 0.157 byte for each frame, rounded up to a quarter.
const RAM_PER_MAPPED_RECORD: u64 = 4 * PageSize::Size4K.bytes();
/// Bytes of the direct map that take at most one byte of tables: entries of 8 bytes for pages of 4 KiB.
const MAPPED_PER_TABLE_BYTE: u64 = PageSize::Size4K.bytes() / 8;

/// Says in one sentence why Rhumb cannot run here, and stops.
fn refuse(why: impl Display) -> ! {
    use core::fmt::Write;
    let _ = writeln!(console::Writer, "Rhumb cannot start: {why}");
    power::off(power::Outcome::Refused)
}

/// Continues from the stub: in 64-bit mode, on the boot stack, with the boot tables loaded.
#[unsafe(no_mangle)]
extern "sysv64" fn boot_start(loader: u32, information: u32) -> ! {
    area::install_boot();
    // SAFETY: the boot tables are loaded, which show the image writable, and this CPU alone runs.
    unsafe {
        idt::write_tables(&trampoline::parked_handlers());
        fixup::sort();
    }
    idt::load_for_boot();
    console::init();
    clock::start();
    logging::init();
    // SAFETY: the boot tables stay loaded until `enter`, after the last use of either.
    let (low, scratch) = unsafe { (LowMemory::new(), Scratch::new()) };
    let boot = facts::keep(|| prepare(loader, PhysAddr::new(u64::from(information)), &low, scratch));
    enter(boot)
}

fn prepare(loader: u32, information: PhysAddr, low: &LowMemory, mut scratch: Scratch) -> Boot {
    let parsed = if loader == entry::LOADER_PVH {
        pvh::parse(low, information)
    } else {
        multiboot2::parse(low, information)
    };
    let (info, findings) = parsed.unwrap_or_else(|error| refuse(error));
    take_screen(&info);
    let mut options = read_options(&info);
    warn_of(&findings);

    let mut map = read_memory_map(&info);
    let (topology, findings) =
        Topology::discover(&scratch.firmware(low, &map), info.rsdp, apic::id_by_cpuid());
    warn_of(&findings);
    options.unlisted_cpu = options.unlisted_cpu.filter(|&apic_id| is_unlisted(&topology, apic_id));
    choose_apic_mode(&topology, &options);
    move_console(&topology, &options);
    let mut places = Places::new();
    let stacks = Stack::ALL.map(|stack| places.take_for_stack(stack));
    let devices = devices::list(&topology, &mut map, &mut places);
    let (cpus, trampoline_page) = plan_cpus(&mut map, &topology, &options);
    reserve(&mut map, FIRST_MEBIBYTE, Reservation::FirstMebibyte);
    limit_memory(&mut map, &options);
    limit_direct_map(&map, &mut options, cpus);
    let levels = choose_levels(&options, &map);

    let largest_page = choose_page_size(&options);
    let limit = options.direct_map_limit_bytes.map(PhysAddr::new);
    let disk = ram_disk::into_direct_map(&mut map, &mut scratch, limit, info.initial_ram_disk);
    let mut first_block = None;
    protection::decide(&options, || {
        first_block = tables::take_first_block(&mut map, limit, &topology).ok();
        first_block.is_some()
    });
    let wanted = Wanted {
        levels,
        largest: largest_page,
        limit,
        cpus,
        trampoline: trampoline_page,
        stacks,
        devices: &devices,
        first_block,
        topology: &topology,
        largest_for_text: options.text_pages.unwrap_or(PageSize::Size2M),
        largest_for_descriptors: largest_possible(&options),
    };
    let built = paging::build(&mut map, &scratch, &wanted)
        .unwrap_or_else(|error| refuse(format_args!("the kernel's page tables cannot be built: {error}")));
    let own = &area::boot().stacks;
    for (stack, start) in Stack::ALL.into_iter().zip(stacks) {
        // SAFETY: the tables just built map the stack there, with its guard, for this CPU alone, and nothing unmaps it.
        unsafe { own.set(stack, start) };
    }
    if let Some(device) = devices.iter().find(|device| device.name == LOCAL_APIC) {
        apic::set_page(device.virt);
    }
    let cr4 = CR4_PAE | if levels == Levels::Five { CR4_LA57 } else { 0 };
    if let (Some(page), Some(root)) = (trampoline_page, built.trampoline_root) {
        let root = root.table.addr().get() as u32;
        trampoline::write(page.start(), scratch.frame(page.start().pfn()), root, cr4);
    }
    let areas = areas::reserve(&mut map, built.direct_map.base, &wanted);
    kasan::reserve(&mut map, built.direct_map.base, wanted.limit, cpus);

    layout::set_direct_map_base(built.direct_map.base);
    // SAFETY: `build` has made the trees and the store, once; boot writes none of their tables from here on.
    unsafe { mm::tables::adopt(built.root, built.trampoline_root, built.store) };
    mm::kernel_half::keep(&built.kernel_half);
    Boot {
        loader: info.protocol,
        options,
        topology,
        initial_ram_disk: disk,
        memory: IrqMutex::new(map),
        direct_map: built.direct_map,
        descriptors: built.descriptors,
        largest_page,
        table_frames: built.table_frames,
        cpus,
        areas,
        devices,
    }
}

/// Takes the screen that the loader set up, so that all that is written from now on is seen there, too.
fn take_screen(info: &BootInfo) {
    let Some(framebuffer) = info.framebuffer else { return };
    let Framebuffer { address, pitch_bytes, width, height, bits_per_pixel, channels } = framebuffer;
    let channels = channels.map(|(shift, bits)| Channel { shift, bits });
    let description = Description { address, pitch_bytes, width, height, bits_per_pixel, channels };
    let ram = info.claimed_ram().chain([image::physical(image::all())]);
    match rhumb_screen::Mode::new(&description, ram) {
        Ok(mode) => {
            let at = VirtAddr::new(address.get());
            let is_shown = mode.memory().end().get() <= entry::IDENTITY_BYTES;
            // SAFETY: the boot tables show memory below 4 GiB where it is; `enter` remaps the screen when they go.
            unsafe { screen::take(mode, is_shown.then_some(at)) };
            log::info!("screen: {mode}");
        }
        Err(error) => log::warn!("the screen is not used: {error}"),
    }
}

const CR4_PAE: u32 = 1 << 5;
const CR4_LA57: u32 = 1 << 12;
fn read_options(info: &BootInfo) -> Options {
    let (options, warnings) = Options::parse(&info.command_line);
    logging::show(options.log_level);
    if let Some(port) = options.exit_port {
        power::set_exit_port(port);
    }
    warn_of(&warnings);
    options
}

/// Logs what a parser found odd, and how much of it is not shown.
fn warn_of<F: Display>(findings: &Findings<F>) {
    findings.iter().for_each(|finding| log::warn!("{finding}"));
    if findings.omitted() > 0 {
        log::warn!("and {} more of these", findings.omitted());
    }
}

/// Tells whether the firmware does not list the CPU that `startcpu=` names. A CPU that is listed is started anyway, and
/// must not be started twice: the second time would reset it.
fn is_unlisted(topology: &Topology, apic_id: u32) -> bool {
    let is_listed = topology.startable().any(|cpu| cpu.apic_id == apic_id);
    if is_listed {
        log::warn!("startcpu={apic_id} is ignored: the firmware lists that CPU");
    }
    !is_listed
}

fn reserve(map: &mut MemoryMap, range: PhysRange, why: Reservation) {
    map.reserve(range, why).unwrap_or_else(|error| refuse(error));
}

/// Returns the firmware's memory map, with everything that is in use already reserved.
fn read_memory_map(info: &BootInfo) -> MemoryMap {
    let (mut map, findings) =
        MemoryMap::from_firmware(info.memory.iter().copied()).unwrap_or_else(|error| refuse(error));
    warn_of(&findings);
    let image = image::physical(image::all());
    if map.include(image).unwrap_or_else(|error| refuse(error)) {
        log::warn!(
            "memory map: the kernel runs at {image}, so that is RAM, though the firmware says otherwise"
        );
    }
    reserve(&mut map, image, Reservation::KernelImage);
    // Not even a trampoline: an address of 0 looks like none.
    let first_page = PhysRange::below(PhysAddr::new(PageSize::Size4K.bytes()));
    reserve(&mut map, first_page, Reservation::FirstMebibyte);
    info.reserve_occupied(&mut map).unwrap_or_else(|error| refuse(error));
    map
}

/// Chooses the mode in which the local APICs run.
fn choose_apic_mode(topology: &Topology, options: &Options) {
    let listed = topology.startable().map(|cpu| cpu.apic_id);
    let highest_id = listed.chain(options.unlisted_cpu).max().unwrap_or(0);
    let opts_out = topology.remapping.is_some_and(|remapping| remapping.x2apic_opt_out);
    apic::choose_mode(highest_id, opts_out, options.x2apic);
}

/// Moves the console to the port that the command line names, else to the one that the firmware talks on.
fn move_console(topology: &Topology, options: &Options) {
    let Some(port) = options.console.or(topology.console) else { return };
    // SAFETY: the boot tables show all memory below 4 GiB where it is; the command line or the firmware says that there
    // is a serial port.
    if !unsafe { console::take(port, VirtAddr::new) } {
        log::warn!("the console stays where it is: there is no serial port at {:x?}", port.registers);
    }
}

/// Limits RAM as `mem=` says. If that leaves too little to start with, the word is ignored, and the log says so.
fn limit_memory(map: &mut MemoryMap, options: &Options) {
    let Some(bytes) = options.memory_limit_bytes else { return };
    match map.cap(bytes, LEAST_FREE_BYTES) {
        Err(error) => log::warn!("mem=: {error}; using all RAM"),
        Ok(Capped { kept_bytes: 0, .. }) => {}
        Ok(Capped { kept_bytes, .. }) => log::warn!(
            "mem=: {} KiB of RAM above that address stay in use: they hold the kernel or what the loader placed",
            kept_bytes >> 10
        ),
    }
}

/// Ends the direct map where `directmap_limit=` says, if the kernel's own needs fit below. The log says why the map ends
/// elsewhere; `options` say where it ends.
fn limit_direct_map(map: &MemoryMap, options: &mut Options, cpus: usize) {
    let Some(bytes) = options.direct_map_limit_bytes else { return };
    let needed = LEAST_FREE_BYTES
        + cpus as u64 * MAPPED_BYTES_PER_CPU
        + map.ram_bytes() / RAM_PER_MAPPED_RECORD
        + bytes.min(map.ram_end().get()) / MAPPED_PER_TABLE_BYTE;
    let image_end = image::physical(image::all()).end();
    let (end, finding) = map.map_end(PhysAddr::new(bytes), image_end, needed);
    if let Some(finding) = finding {
        log::warn!("directmap_limit=: {finding}");
    }
    options.direct_map_limit_bytes = end.map(PhysAddr::get);
}

/// Chooses five levels where RAM does not fit under four, or where the command line wants them, and gives the boot
/// tables theirs then.
fn choose_levels(options: &Options, map: &MemoryMap) -> Levels {
    let needed = rhumb_directmap::needs_five_levels(map.ram_end());
    if !needed && !options.five_levels {
        entry::raise_descriptors();
        return Levels::Four;
    }
    if !features().five_levels {
        if needed {
            refuse(format_args!(
                "RAM ends at {}, past the 64 TiB that four levels of page tables map, and this CPU has no fifth (LA57); \
                 mem=64T would use less",
                map.ram_end()
            ));
        }
        log::warn!("la57: this CPU has no 5-level paging; going on with four levels");
        entry::raise_descriptors();
        return Levels::Four;
    }
    // SAFETY: the CPU has it, the boot tables are loaded, and this is the boot CPU on the image's boot stack.
    unsafe { la57::enter() };
    entry::raise_descriptors();
    Levels::Five
}

/// Returns the largest page for the direct map: what the CPU has, within what the command line allows.
fn choose_page_size(options: &Options) -> PageSize {
    let allowed = options.direct_map_pages.unwrap_or(PageSize::Size1G);
    let huge = largest_possible(options) == PageSize::Size1G;
    if !huge && allowed == PageSize::Size1G {
        if options.direct_map_pages.is_some() && !features().huge_pages {
            log::warn!("directmap=1g: this CPU has no 1-GiB pages; using 2-MiB pages");
        }
        return PageSize::Size2M;
    }
    allowed
}

/// Returns the largest page that the CPU has, unless the command line says no.
fn largest_possible(options: &Options) -> PageSize {
    if features().huge_pages && options.gigabyte_pages { PageSize::Size1G } else { PageSize::Size2M }
}

/// Returns how many CPUs to be ready for, and the page that the others start in; one CPU where no page is free for it.
fn plan_cpus(map: &mut MemoryMap, topology: &Topology, options: &Options) -> (usize, Option<PhysRange>) {
    let cpus = (topology.startable().count() + usize::from(options.unlisted_cpu.is_some()))
        .min(options.max_cpus.unwrap_or(MAX_CPUS))
        .clamp(1, MAX_CPUS);
    // CPUs past those of the command line start, too, and park.
    if topology.startable().count().max(cpus) == 1 {
        return (1, None);
    }
    match BootFrames::within(map, PhysRange::below(REAL_MODE_END)).take(Reservation::Trampoline) {
        Ok(frame) => (cpus, PhysRange::of_length(frame.addr(), DEVICE_PAGE_BYTES)),
        Err(error) => {
            log::warn!(
                "other CPUs start below 640 KiB, and no page is free there ({error}): going on with one CPU"
            );
            (1, None)
        }
    }
}

unsafe extern "sysv64" {
    /// Continues in the crate's root, which boot does not know.
    fn rhumb_main() -> !;
}

/// Puts the instructions into the kernel's code that this CPU has, and those that it needs because it runs ahead.
fn complete_code(boot: &Boot) {
    let mode = if boot.options.mitigations == Some("off") { Mode::Off } else { Mode::Auto };
    let measures = speculation::choose(mode);
    // SAFETY: the boot tables are loaded, which show the image writable, and this CPU alone runs: its features decide, and
    // another one that has less does not take part.
    unsafe {
        patch::apply(|reason| match reason {
            Reason::Smap => features().smap,
            Reason::Swapgs => measures.fence_swapgs,
            Reason::Buffers => measures.clear_buffers,
        });
    }
}

/// Leaves the boot tables and the boot stack for the kernel's own.
fn enter(boot: &'static Boot) -> ! {
    let top = area::boot().stacks.top(Stack::Main);
    complete_code(boot);
    // SAFETY: the boot tables are loaded, and no CPU runs the boot code again: others start in the trampoline.
    unsafe { entry::erase_code() };
    root::load();
    // SAFETY: the tables show the registers there, uncached and permanently.
    unsafe { console::remap(|at| boot.mapped(at)) };
    // SAFETY: the tables show the framebuffer there, in whole and permanently.
    unsafe { screen::remap(|at| boot.mapped(at)) };
    // SAFETY: the kernel's own tables have just taken their place, on the only CPU that runs.
    unsafe { entry::erase_tables() };
    // SAFETY: the stack is mapped in the tree just loaded, and unused; nothing on the old one is needed any more. The
    // call leaves the stack aligned as the ABI wants it.
    unsafe {
        core::arch::asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {main}",
            "ud2",
            top = in(reg) top.get(),
            main = sym rhumb_main,
            options(noreturn)
        )
    }
}
