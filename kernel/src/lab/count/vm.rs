//! Maps of tasks: the paths below a page fault or a system call, on a tree of tables that no CPU walks.
//!
//! Entry, exit and the CPU's own walk are not in the figures. Flushes are: they go to the CPUs that run, as those of a
//! task go to the CPUs that run it.

use core::hint::black_box;

use rhumb_frames::{Frames, Request};
use rhumb_machine::{Machine, Order, PageSize, Pfn, Pinned, VirtAddr, VirtRange};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Access, Attributes, ENTRIES, Entry, Levels, Root, TableEntry, TableMemory};
use rhumb_vm::{Allocation, Gone, Limits, Map, MapCopy, Protection, Resolved, Space, TablesKey, Use};

use super::Operation;
use super::refusals::Refusals;
use crate::cpu::machine::{KernelMachine, MACHINE};
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::mm;

regions! {
    240: Pairs<0, 1>, "vm/pair/1", "map 1 page of a task and unmap it, untouched";
    241: Pairs<1, 1>, "vm/touch/1", "the same, used once in between";
    242: Pairs<1, 16>, "vm/touch/16", "the same with 16 pages, each used once";
    243: Fault, "vm/fault/zero", "resolve a fault on a page that was never used: a frame of zeroes";
    244: Write<COPIED>, "vm/fault/copy", "resolve a write to a page that a copy has, too";
    245: Write<TAKEN_OVER>, "vm/fault/take-over", "resolve a write to a page that no copy has any more";
    246: Protect<1>, "vm/protect/1", "make a page that was used read-only, and writable again";
    247: Protect<256>, "vm/protect/256", "the same with 256 pages";
    248: Fork, "vm/fork", "fork a map with 64 used pages in three places, and end the new one";
    249: Move, "vm/move/16", "take 16 used pages out of a map, and put them into it again";
}

const PAGE: u64 = PageSize::Size4K.bytes();

/// A tree that no CPU walks.
struct LabSpace {
    frames: &'static Frames<KernelMachine>,
    root: Root,
}

impl LabSpace {
    fn new(frames: &'static Frames<KernelMachine>) -> Option<Self> {
        let root = frames.alloc(MACHINE.pin().pinned(), Request::FRAME.zeroed()).ok()?;
        Some(Self { frames, root: Root::new(root.into_pfn(), Levels::Four) })
    }
}

impl Drop for LabSpace {
    fn drop(&mut self) {
        // SAFETY: `new` took the frame, and no CPU walks the tree.
        if let Ok(root) = unsafe { self.frames.from_pfn(self.root.table, Order::BASE) } {
            self.frames.free(MACHINE.pin().pinned(), root);
        }
    }
}

/// The tables of such a tree, in the direct map.
struct LabTables;

impl LabTables {
    #[inline(always)]
    fn entry(table: Pfn, index: usize) -> &'static TableEntry {
        // SAFETY: the map has the table while it names it, and reaches it by atomics; a frame of the allocator is in the
        // direct map (I1). No reference outlives the load or the store.
        unsafe { TableEntry::at(MACHINE.direct(table.addr()).plus(Entry::offset(index))) }
    }
}

impl TableMemory for LabTables {
    #[inline(always)]
    fn in_place(&self, table: Pfn) -> Option<&[TableEntry; ENTRIES]> {
        // SAFETY: as for `entry`; the caller names the table no longer when the map gives it back.
        Some(unsafe { TableEntry::all_at(MACHINE.direct(table.addr())) })
    }

    #[inline(always)]
    fn read(&self, table: Pfn, index: usize) -> Entry {
        Self::entry(table, index).load()
    }

    #[inline(always)]
    fn write(&mut self, table: Pfn, index: usize, entry: Entry) {
        Self::entry(table, index).store(entry);
    }
}

// SAFETY: the kernel's one allocator, and a tree of the space's own, which no CPU walks: each flush is more than is
// needed.
unsafe impl Space for LabSpace {
    type Machine = KernelMachine;
    type Tables = LabTables;

    fn frames(&self) -> &'static Frames<KernelMachine> {
        self.frames
    }
    fn root(&self) -> Root {
        self.root
    }
    fn range(&self) -> VirtRange {
        let start = VirtAddr::new(PageSize::Size1G.bytes());
        VirtRange::new(start, VirtAddr::new((1 << 47) - start.get())).unwrap_or_default()
    }
    fn tables(&self, _: TablesKey) -> LabTables {
        LabTables
    }
    fn attributes(&self, access: Access) -> Attributes {
        Attributes::user(access)
    }
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<Gone>) -> Flushed<Gone> {
        unflushed.flush(&MACHINE, pinned)
    }
}

type LabMap = Map<LabSpace>;

fn space() -> Result<LabSpace, Failure> {
    let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
    LabSpace::new(frames).ok_or_else(|| Failure::because("there is no frame for a root"))
}

/// Makes a map, and an area of so many pages in it that are all used.
fn map_with(pages: u64) -> Result<(LabMap, VirtRange), Failure> {
    let map = Map::new(space()?, Limits::default()).map_err(Failure::because)?;
    let area = map.allocate(&Allocation::pages(pages)).map_err(Failure::because)?;
    touch(&map, area).map_err(Failure::because)?;
    Ok((map, area))
}

#[inline(always)]
fn touch(map: &LabMap, area: VirtRange) -> Result<(), rhumb_vm::FaultError> {
    let mut at = area.start();
    while at < area.end() {
        map.fault(black_box(at), Use::Write)?;
        at = at.plus(PAGE);
    }
    Ok(())
}

/// Maps so many pages, uses them so many times, and unmaps them.
struct Pairs<const USES: u32, const PAGES: u64> {
    map: LabMap,
    refusals: Refusals,
}

impl<const USES: u32, const PAGES: u64> Operation for Pairs<USES, PAGES> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        Ok(Self { map: map_with(1)?.0, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let Ok(area) = self.map.allocate(&Allocation::pages(black_box(PAGES))) else {
            return self.refusals.add(1);
        };
        if USES > 0 {
            self.refusals.note(&touch(&self.map, area));
        }
        self.refusals.note(&self.map.unmap(area));
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Uses a page for the first time.
struct Fault {
    map: LabMap,
    area: VirtRange,
    refusals: Refusals,
}

impl Operation for Fault {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let (map, _) = map_with(1)?;
        let area = map.allocate(&Allocation::pages(1)).map_err(Failure::because)?;
        Ok(Self { map, area, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let resolved = self.map.fault(black_box(self.area.start()), Use::Write);
        self.refusals.add(u32::from(resolved != Ok(Resolved::Zeroed)));
    }

    fn after(&mut self) {
        self.refusals.note(&self.map.unmap(self.area));
        self.refusals.note(&self.map.allocate(&Allocation::pages(1).at(self.area.start())));
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

const COPIED: u8 = 0;
const TAKEN_OVER: u8 = 1;

/// Writes a page that was copied.
struct Write<const KIND: u8> {
    map: LabMap,
    area: VirtRange,
    copy: Option<MapCopy<KernelMachine>>,
    refusals: Refusals,
}

impl<const KIND: u8> Operation for Write<KIND> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let (map, area) = map_with(1)?;
        Ok(Self { map, area, copy: None, refusals: Refusals::NONE })
    }

    fn before(&mut self) {
        self.copy = self.map.copy(self.area).ok();
        self.refusals.add(u32::from(self.copy.is_none()));
        if KIND == TAKEN_OVER {
            self.copy = None;
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        let wanted = if KIND == COPIED { Resolved::Copied } else { Resolved::TakenOver };
        let resolved = self.map.fault(black_box(self.area.start()), Use::Write);
        self.refusals.add(u32::from(resolved != Ok(wanted)));
    }

    fn after(&mut self) {
        self.copy = None;
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Takes the right to write away from used pages, and gives it back.
struct Protect<const PAGES: u64> {
    map: LabMap,
    area: VirtRange,
    refusals: Refusals,
}

impl<const PAGES: u64> Operation for Protect<PAGES> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let (map, area) = map_with(PAGES)?;
        Ok(Self { map, area, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        self.refusals.note(&self.map.protect(black_box(self.area), Protection::Read));
        self.refusals.note(&self.map.protect(black_box(self.area), Protection::ReadWrite));
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Forks a map, and ends the new one.
struct Fork {
    map: LabMap,
    refusals: Refusals,
}

impl Operation for Fork {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        // As the code, the heap and the stack of a small program.
        let (map, _) = map_with(30)?;
        for (place, pages) in [(3u64 << 30, 24), (5u64 << 39, 10)] {
            let request = Allocation::pages(pages).at(VirtAddr::new(place));
            let area = map.allocate(&request).map_err(Failure::because)?;
            touch(&map, area).map_err(Failure::because)?;
        }
        Ok(Self { map, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let Ok(space) = space() else { return self.refusals.add(1) };
        let forked = self.map.fork(space, Limits::default());
        self.refusals.give_back(forked, drop);
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}

/// Takes pages out of a map, and puts them into it again: what a message does with its memory.
struct Move {
    map: LabMap,
    area: VirtRange,
    refusals: Refusals,
}

impl Operation for Move {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let (map, area) = map_with(16)?;
        Ok(Self { map, area, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        let Ok(copy) = self.map.take(black_box(self.area)) else { return self.refusals.add(1) };
        match self.map.put(&Allocation::pages(0).at(self.area.start()), copy) {
            Ok(area) => self.area = area,
            Err(_) => self.refusals.add(1),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.refusals.must_be_none()
    }
}
