//! The layout of the kernel's address space.
//!
//! ```text
//! 4 levels                                        5 levels, where it differs
//! ffff_8000_0000_0000 .. ffff_bfff_ffff_ffff      ff00_0000_0000_0000 .. ff7f_ffff_ffff_ffff   direct map (64 TiB; 32 PiB)
//! ffff_c000_0000_0000 .. ffff_dfff_ffff_ffff      kernel map, of which now:
//!   ffff_c100_0000_0000   4 KiB per CPU             descriptors and task-state segments, read-only
//!   ffff_c200_0000_0000   4 KiB                     scratch, mapped only while mapping is measured
//!   ffff_c300_0000_0000   2 MiB                     long mappings of RAM past the direct map's end
//!   ffff_c400_0000_0000   up to 8 TiB each          areas: below 2 MiB, below 1 GiB, larger. Stacks and devices first
//! ffff_e000_0000_0000 .. ffff_efff_ffff_ffff      frame descriptors, by frame number; memory where there is RAM
//! ffff_f000_0000_0000 .. 2 MiB per CPU            windows: each CPU's own, written by it alone (see `windows`)
//! ffff_ffff_8000_0000 .. ffff_ffff_bfff_ffff      kernel image
//! ffff_ffff_c000_0000 .. ffff_ffff_dfff_ffff      executable memory, and the data beside it: whole 2-MiB pages
//! ```
//!
//! Only the direct map moves with five levels: every other place is canonical in both.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rhumb_machine::{CpuId, PageSize, PhysAddr, PhysRange, VirtAddr, VirtRange, impossible};
use rhumb_pagetable::Levels;
use rhumb_windows::{SLOTS, WINDOW_BASE, slot_address};

use crate::arch::gdt::InterruptStack;

/// The distance of the kernel image's addresses from its physical ones. The linker script has the number, too.
pub const IMAGE_OFFSET: u64 = 0xffff_ffff_8000_0000;

/// The direct map's base and size with four levels.
pub const DIRECT_MAP_4: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);
/// The direct map's base with five levels.
pub const DIRECT_MAP_5: VirtAddr = VirtAddr::new(0xff00_0000_0000_0000);

static DIRECT_MAP_BASE: AtomicU64 = AtomicU64::new(0);

/// Fixes the direct map's base. Once, at boot.
pub fn set_direct_map_base(base: VirtAddr) {
    DIRECT_MAP_BASE.store(base.get(), Relaxed);
}

/// Returns the direct map's base; zero before boot has chosen it.
#[inline(always)]
pub fn direct_map_base() -> VirtAddr {
    VirtAddr::new(DIRECT_MAP_BASE.load(Relaxed))
}

/// Returns the direct map's addresses on this machine.
pub fn direct_map() -> VirtRange {
    rhumb_directmap::address_range(levels())
}

/// Returns the lower half.
pub fn user() -> VirtRange {
    range(VirtAddr::ZERO, 1 << (levels().virt_bits() - 1))
}

fn levels() -> Levels {
    if DIRECT_MAP_5 == direct_map_base() { Levels::Five } else { Levels::Four }
}

/// The kernel map: what is truly virtual.
pub const KERNEL_MAP: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);
/// Bytes in the kernel map.
pub const KERNEL_MAP_BYTES: u64 = 32 << 40;

const PAGE: u64 = 4096;
/// 128 KiB. The largest frames are those of the bring-up and of tests, which hold lists of some tens of KiB (a memory
/// map is 18 KiB); an interrupt and a report come on top. A checker's red zones around variables double it.
const MAIN_STACK_PAGES: u64 = 32 * RED_ZONES;
/// 16 KiB, as on Linux.
const THREAD_STACK_PAGES: u64 = 4 * RED_ZONES;
/// A report with its backtrace.
const INTERRUPT_STACK_PAGES: u64 = 4 * RED_ZONES;
const RED_ZONES: u64 = if cfg!(feature = "kasan") { 2 } else { 1 };

/// Pages of addresses that one CPU's stacks take, each with its guard: those of [`Stack::ALL`] and its idle thread's.
pub const STACK_PAGES_PER_CPU: u64 = (MAIN_STACK_PAGES + 1)
    + InterruptStack::ALL.len() as u64 * (INTERRUPT_STACK_PAGES + 1)
    + (THREAD_STACK_PAGES + 1);

/// Returns the page of `cpu`'s descriptors and task-state segment, where it is read-only.
pub const fn entry(cpu: CpuId) -> VirtAddr {
    ENTRIES.plus(cpu.index() as u64 * PAGE)
}

const ENTRIES: VirtAddr = KERNEL_MAP.plus(1 << 40);

/// Returns the CPU whose descriptors have `address`.
pub fn entry_at(address: VirtAddr) -> Option<CpuId> {
    if address < ENTRIES {
        return None;
    }
    CpuId::new((address.since(ENTRIES) / PAGE) as usize)
}

/// A page for measuring the cost of mapping one; nothing else is ever mapped in its 512 GiB.
#[cfg_attr(not(feature = "lab"), expect(dead_code, reason = "only `count` maps it"))]
pub const SCRATCH: VirtAddr = KERNEL_MAP.plus(2 << 40);
/// Long mappings: one table of small pages.
pub const LONG_MAPPINGS: VirtAddr = KERNEL_MAP.plus(3 << 40);
/// Bytes for long mappings.
pub const LONG_MAPPINGS_BYTES: u64 = rhumb_longmap::SLOTS as u64 * PAGE;

/// The areas of the kernel map: a third of these addresses for each size of unit.
pub const AREAS: VirtAddr = KERNEL_MAP.plus(4 << 40);
/// The addresses for areas of one size of unit, at most.
pub const MOST_AREAS_BYTES: u64 = 8 << 40;

const _: () = assert!((4 << 40) + 3 * MOST_AREAS_BYTES <= KERNEL_MAP_BYTES);

/// Returns the addresses for areas whose units are pages of `unit`, the largest possible range. The map takes a part of
/// it, from its beginning on, which grows with the RAM.
pub const fn areas(unit: PageSize) -> VirtRange {
    let number = unit.level() as u64 - 1;
    range(AREAS.plus(number * MOST_AREAS_BYTES), MOST_AREAS_BYTES)
}

/// The array of frame descriptors, one for each frame number.
pub const DESCRIPTORS: VirtAddr = VirtAddr::new(0xffff_e000_0000_0000);
/// Bytes for frame descriptors: 16 for each frame below 2^52, where physical addresses end.
pub const DESCRIPTORS_BYTES: u64 = 16 << 40;

/// Returns the windows of `cpu`: one table of small pages.
pub const fn windows(cpu: CpuId) -> VirtRange {
    range(slot_address(cpu, 0), WINDOWS_BYTES)
}

const WINDOWS_BYTES: u64 = SLOTS as u64 * PAGE;

/// The pool of executable memory: above the image, so that its code reaches the image, and the image it, by distances of
/// 32 bits, and so that its addresses are those that 32 bits with their sign name, which is what the kernel's code model
/// asks for. In a GiB of its own, so that one table of large pages maps it.
pub const CODE: VirtAddr = VirtAddr::new(0xffff_ffff_c000_0000);
/// Bytes for the pool: 256 blocks. The end of addresses lies far behind it.
pub const CODE_BYTES: u64 = 512 << 20;

const _: () = assert!(CODE.get() + CODE_BYTES - IMAGE_OFFSET <= i32::MAX as u64);

/// Returns the CPU whose windows have `address`.
pub fn window_at(address: VirtAddr) -> Option<CpuId> {
    if address < WINDOW_BASE {
        return None;
    }
    CpuId::new((address.since(WINDOW_BASE) / WINDOWS_BYTES) as usize)
}

/// A stack of some CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stack {
    /// The stack on which the CPU came up, and then of its thread for jobs, or of the prompt.
    Main,
    /// The stack of any other thread, while the CPU runs it.
    Thread,
    /// One of those that exceptions switch to.
    Interrupt(InterruptStack),
}

impl Stack {
    /// All stacks that a CPU has of its own.
    pub const ALL: [Self; 5] = [
        Self::Main,
        Self::Interrupt(InterruptStack::DoubleFault),
        Self::Interrupt(InterruptStack::Nmi),
        Self::Interrupt(InterruptStack::MachineCheck),
        Self::Interrupt(InterruptStack::Debug),
    ];

    /// Returns how many bytes it has, without its guard.
    pub const fn bytes(self) -> u64 {
        let pages = match self {
            Self::Main => MAIN_STACK_PAGES,
            Self::Thread => THREAD_STACK_PAGES,
            Self::Interrupt(_) => INTERRUPT_STACK_PAGES,
        };
        pages * PAGE
    }

    /// Returns its name in `maps`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main stack",
            Self::Thread => "thread stack",
            Self::Interrupt(InterruptStack::DoubleFault) => "double-fault stack",
            Self::Interrupt(InterruptStack::Nmi) => "NMI stack",
            Self::Interrupt(InterruptStack::MachineCheck) => "machine-check stack",
            Self::Interrupt(InterruptStack::Debug) => "debug stack",
        }
    }
}

/// Returns a range that is known not to wrap: every caller adds a length that fits to a place of this layout.
pub const fn range(start: VirtAddr, bytes: u64) -> VirtRange {
    match VirtRange::of_length(start, bytes) {
        Some(range) => range,
        None => panic!("a constant range wraps"),
    }
}

/// The kernel image's segments, from the linker script.
pub mod image {
    use super::*;

    unsafe extern "C" {
        static __text_start: u8;
        static __text_segment_end: u8;
        static __rodata_start: u8;
        static __rodata_segment_end: u8;
        static __data_start: u8;
        static __data_segment_end: u8;
        static __symbols_start: u8;
        static __symbols_end: u8;
    }

    fn between(start: *const u8, end: *const u8) -> VirtRange {
        let (start, end) = (VirtAddr::from(start), VirtAddr::from(end));
        VirtRange::new(start, end).unwrap_or_else(
            || impossible!("the linker script defines the end of a segment behind its start" => VirtRange::default()),
        )
    }

    /// Returns all of the image.
    pub fn all() -> VirtRange {
        between(&raw const __text_start, &raw const __data_segment_end)
    }

    /// Returns the text: read-only and executable, on 2-MiB boundaries.
    pub fn text() -> VirtRange {
        between(&raw const __text_start, &raw const __text_segment_end)
    }

    /// Returns the read-only data, on 2-MiB boundaries; the symbols are at its end.
    pub fn rodata() -> VirtRange {
        between(&raw const __rodata_start, &raw const __rodata_segment_end)
    }

    /// Returns the writable data, on 2-MiB boundaries; the zeroed data is at its end.
    pub fn data() -> VirtRange {
        between(&raw const __data_start, &raw const __data_segment_end)
    }

    /// Returns where the segment at `range` was loaded.
    pub fn physical(range: VirtRange) -> PhysRange {
        let start = PhysAddr::new(range.start().get() - IMAGE_OFFSET);
        PhysRange::of_length(start, range.bytes())
            .unwrap_or_else(|| impossible!("the image lies low in memory" => PhysRange::default()))
    }

    /// Returns the room for symbols: a table written after linking, or zeros.
    pub fn symbols() -> &'static [u8] {
        let range = between(&raw const __symbols_start, &raw const __symbols_end);
        // SAFETY: the linker script reserves this room inside the read-only data, which is mapped permanently and never
        // written.
        unsafe { core::slice::from_raw_parts(range.start().as_ptr(), range.bytes() as usize) }
    }
}
