//! [`Space`]: the tables, the frames and the flushes below a map. A task's space and the kernel's differ in this alone.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use rhumb_frames::{AllocError, Frame, Frames, Request};
use rhumb_machine::{Machine, Pinned, VirtRange};
use rhumb_pagetable::flush::{Flushed, Unflushed};
use rhumb_pagetable::{Access, Attributes, Root, TableMemory};

use crate::gone::Gone;

/// The owner of the tables from the root down to the range of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpperTables {
    /// The map: it makes and frees all tables below the root. Its range is a multiple of what an entry of the root
    /// spans, but for its ends, and no other code uses those entries of the root.
    OfMap,
    /// The space: each level-3 table of the range is there, and stays. For a part of the kernel's half, whose root
    /// entries every task's root has copies of.
    OfSpace,
}

/// The right to reach the tables of a space. Only this crate has it, because [`TableMemory::write`] is safe, and the tables
/// are those of running CPUs: code that has a map, and by that its space, does not write them.
///
/// ```compile_fail,E0423
/// # use rhumb_vm::{Map, Space, TablesKey};
/// fn tables_of<S: Space>(map: &Map<S>) -> S::Tables {
///     map.space().tables(TablesKey(()))
/// }
/// ```
#[derive(Debug)]
pub struct TablesKey(pub(crate) ());

/// The surroundings of a map.
///
/// # Safety
/// The map writes the page tables of running CPUs, and frees frames by what its space says, so an implementation
/// promises:
/// - All methods lead to the same things for as long as the value lives: one allocator of frames with descriptors, and
///   one tree of tables.
/// - [`Space::tables`] reads and writes entries as [`rhumb_pagetable::TableEntry`]s, of the tables of that tree. Several
///   CPUs have such a value at the same time: each writes entries that are its own then.
/// - One map at a time has the tree: code that has a map of it, or a value of this type, makes no second map before the
///   first one has ended, by a clone or otherwise.
/// - No entry for [`Space::range`] refers to anything when [`Map::new`](crate::Map::new) is called, which looks at those
///   that are the map's own: of the root, or of the level-3 tables that the space has ([`UpperTables`]).
/// - Nothing but the map writes an entry for [`Space::range`], and nothing else uses these addresses.
/// - [`Space::attributes`] returns nothing but the attributes of the access that it is asked for: no page is writable or
///   executable that was asked for without that, and all are of one privilege.
/// - [`Space::alloc`] returns a frame of [`Space::frames`] that is the caller's alone.
/// - No other safe code reaches entries of these tables to write them. A value that [`Space::tables`] returns goes to the
///   caller alone, and the key with it.
/// - [`Space::flush`] returns what [`Unflushed::flush`] or [`Unflushed::flush_in`] did, on the CPUs that may have cached
///   an entry of the tree.
/// - A CPU that runs a program has no way to the frames of the map but the tables of the tree.
pub unsafe trait Space: Send + Sync {
    /// The machine of the allocator.
    type Machine: Machine + 'static;
    /// This CPU's way to the tables.
    type Tables: TableMemory;

    /// Returns the allocator of the frames that the map uses, for pages and for tables.
    fn frames(&self) -> &'static Frames<Self::Machine>;

    /// Returns the tree.
    fn root(&self) -> Root;

    /// Returns the addresses of the map: whole GiB, all in one half.
    fn range(&self) -> VirtRange;

    /// Returns the owner of the tables above the map's range.
    fn upper_tables(&self) -> UpperTables {
        UpperTables::OfMap
    }

    /// Returns this CPU's way to the tables, for the map alone: [`TablesKey`].
    fn tables(&self, key: TablesKey) -> Self::Tables;

    /// Returns the attributes of pages with this access: [`Attributes::user`] or [`Attributes::kernel`].
    fn attributes(&self, access: Access) -> Attributes;

    /// Returns how many pages stay empty behind each allocation whose address the map chooses.
    fn guard_pages(&self) -> u64 {
        0
    }

    /// Takes a frame of the direct map, with any contents.
    ///
    /// # Errors
    /// Those of [`Frames::alloc`].
    fn alloc(&self, pinned: Pinned<'_>, request: Request) -> Result<Frame, AllocError> {
        self.frames().alloc(pinned, request)
    }

    /// Drops the translations of `unflushed` on every CPU that may have them cached. Called with no lock of the map held
    /// but the right to change a part of its addresses ([`crate::Map`]).
    fn flush(&self, pinned: Pinned<'_>, unflushed: &mut Unflushed<Gone>) -> Flushed<Gone>;

    /// Waits for another CPU, for one turn of a loop. In a kernel it answers calls, and lets other threads run.
    fn relax(&self) {
        rhumb_sync::atomic::relax();
    }

    /// Returns the machine.
    fn machine(&self) -> &'static Self::Machine {
        self.frames().machine()
    }
}
