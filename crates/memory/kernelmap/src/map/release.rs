//! Giving back the frames of areas, and the tables below the entries of their units. A leaf where `unsafe` lives.
//!
//! The entry of a table that took the place of a large page has a mark ([`bits::SOFTWARE`]): the frames under it are one
//! block of the allocator.

use rhumb_machine::{PageSize, Pfn, Pinned, impossible};
use rhumb_pagetable::{ENTRIES, Entry, TableMemory, bits};

use super::area::AreaKind;
use super::home::{Home, NotCopied};

/// Gives back the frames that `entry` at `level` maps, and the tables below it. No CPU reaches them any more. Returns
/// how many frames of areas they were.
///
/// A recursion at most three deep.
pub(super) fn release<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    tables: &mut H::Tables,
    kind: AreaKind,
    level: u8,
    entry: Entry,
) -> u64 {
    if let Some(size) = entry.page_size(level) {
        if kind == AreaKind::Device {
            return 0;
        }
        return free_frames(home, pinned, entry.phys(size).pfn(), size);
    }
    let Some(table) = entry.child(level) else { return 0 };
    if entry.bits() & bits::SOFTWARE != 0 {
        // The pages under a split are one block of the allocator.
        let first = first_page(tables, table, level - 1);
        clear_split(home, pinned, tables, table, level - 1);
        return match PageSize::from_level(level) {
            Some(size) => free_frames(home, pinned, first, size),
            None => impossible!("no page has level {level}" => 0),
        };
    }
    let mut frames = 0;
    for index in 0..ENTRIES {
        let below = tables.read(table, index);
        if below != Entry::EMPTY {
            frames += release(home, pinned, tables, kind, level - 1, below);
            tables.write(table, index, Entry::EMPTY);
        }
    }
    give_back(home, pinned, table);
    frames
}

/// Returns the first frame that a table at `level` maps, where none of its entries is absent.
pub(super) fn first_page<T: TableMemory>(tables: &T, table: Pfn, level: u8) -> Pfn {
    let entry = tables.read(table, 0);
    match entry.child(level) {
        Some(below) => first_page(tables, below, level - 1),
        None => entry.phys(PageSize::from_level(level).unwrap_or(PageSize::Size4K)).pfn(),
    }
}

/// Gives back a block of frames that no entry maps any more.
#[expect(unsafe_code, reason = "frames are numbers while they are mapped")]
pub(super) fn free_frames<H: Home>(home: &H, pinned: Pinned<'_>, pfn: Pfn, size: PageSize) -> u64 {
    // SAFETY: an area's leaf names frames of `Home::alloc` of this order, whose handle was given up as the leaf was
    // written, and the leaf is erased now; no CPU has a translation of it left (I6): the callers have flushed, or the
    // leaf was in a table that no CPU reached.
    match unsafe { home.frame_of(pfn, size.order()) } {
        Ok(frame) => home.frames().free(pinned, frame),
        Err(fault) => impossible!("an area maps frames that are allocated: {fault}"),
    }
    size.frames()
}

/// Copies the page of frame `from` into frame `to`: the same page of two blocks of `block`. No CPU writes the first one,
/// and none reaches the second one.
#[expect(unsafe_code, reason = "frames are numbers while they are mapped")]
pub(super) fn copy_page<H: Home>(home: &H, from: Pfn, to: Pfn, block: PageSize) -> Result<(), NotCopied> {
    let page = from.get() % block.frames();
    let start = |pfn: Pfn| Pfn::new(pfn.get() - pfn.get() % block.frames());
    // SAFETY: both are blocks of `Home::alloc` of this order, whose handles were given up as numbers: of the area that
    // moves, and of the frames that are to take their place. These handles serve for the copy, under the lock of moves,
    // and are given up again.
    let blocks =
        unsafe { (home.frame_of(start(from), block.order()), home.frame_of(start(to), block.order())) };
    let (Ok(from), Ok(mut to)) = blocks else {
        return impossible!("a move copies frames that are allocated" => Err(NotCopied));
    };
    let copied = home.copy_page(&from, &mut to, page);
    let _ = (from.into_pfn(), to.into_pfn());
    copied
}

/// Gives back a table that is clear.
#[expect(unsafe_code, reason = "the home trusts what comes back")]
pub(super) fn give_back<H: Home>(home: &H, pinned: Pinned<'_>, table: Pfn) {
    // SAFETY: the table came from this home, all its entries are clear again, and no CPU reaches it: it was never in
    // the tree, or the callers have flushed the entry that led to it, on lazy CPUs, too.
    unsafe { home.give_back_table(pinned, table) }
}

/// Clears a table at `level` that was put in place of a large page, and those below it, and gives them back. The frames
/// stay.
pub(super) fn clear_split<H: Home>(
    home: &H,
    pinned: Pinned<'_>,
    tables: &mut H::Tables,
    table: Pfn,
    level: u8,
) {
    for index in 0..ENTRIES {
        let entry = tables.read(table, index);
        tables.write(table, index, Entry::EMPTY);
        if let Some(below) = entry.child(level) {
            clear_split(home, pinned, tables, below, level - 1);
        }
    }
    give_back(home, pinned, table);
}
