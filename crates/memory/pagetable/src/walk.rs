//! The walk that a CPU makes to translate one address, kept step by step.
//!
//! Each step is one read of memory: 2 for a 1-GiB page under 4-level paging, 3 for 2 MiB, 4 for 4 KiB; one more under
//! 5-level paging. Permissions combine on the way: writable and user where every level says so, executable where no
//! level says NX.

use core::fmt;

use rhumb_machine::{PageSize, Pfn, PhysAddr, VirtAddr};

use crate::attributes::{Attributes, CacheMode, Permissions, Privilege, Scope};
use crate::entry::{Entry, bits};
use crate::levels::{Levels, Root};
use crate::memory::TableMemory;

/// A page that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Where the page begins.
    pub virt: VirtAddr,
    /// The frames that are mapped there.
    pub phys: PhysAddr,
    /// Its size.
    pub size: PageSize,
    /// The permissions of all levels together.
    pub permissions: Permissions,
    /// Its cache mode.
    pub cache: CacheMode,
    /// One address space or all.
    pub scope: Scope,
    /// The entry itself.
    pub entry: Entry,
}

impl Leaf {
    /// Returns the leaf that `entry` is, below tables that allow `above`.
    pub(crate) const fn of(entry: Entry, virt: VirtAddr, size: PageSize, above: Permissions) -> Self {
        Self {
            virt,
            phys: entry.phys(size),
            size,
            permissions: above.and(entry.permissions()),
            cache: entry.cache_mode(size),
            scope: entry.scope(),
            entry,
        }
    }

    /// Returns the attributes that it amounts to, or `None` where it is writable and executable.
    pub fn attributes(&self) -> Option<Attributes> {
        Some(Attributes {
            access: self.permissions.access()?,
            cache: self.cache,
            privilege: if self.permissions.user { Privilege::User } else { Privilege::Supervisor },
            scope: self.scope,
            key: self.entry.key(),
        })
    }
}

/// One read of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The level of the table: 5 or 4 down to 1.
    pub level: u8,
    /// The table.
    pub table: Pfn,
    /// Which of its entries.
    pub index: usize,
    /// Returns the leaf that was found.
    pub entry: Entry,
}

impl Step {
    /// Returns the physical address that was read.
    pub const fn entry_addr(&self) -> PhysAddr {
        self.table.addr().plus(self.index as u64 * 8)
    }
}

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// At a page.
    Mapped(Leaf),
    /// At an absent entry.
    NotPresent {
        /// The level of that entry.
        level: u8,
    },
    /// At an entry with reserved bits set: the CPU faults, whatever the access.
    Reserved {
        /// The level of that entry.
        level: u8,
        /// Those bits.
        reserved: u64,
    },
    /// Before it began: the address is not canonical.
    NotCanonical,
}

/// A walk and how it ended. Its `Display` is for people, a line for each level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    virt: VirtAddr,
    levels: Levels,
    steps: [Step; 5],
    reads: usize,
    outcome: Outcome,
}

impl Walk {
    /// Returns the address that was looked up.
    pub const fn virt(&self) -> VirtAddr {
        self.virt
    }

    /// Returns the reads, from the root down.
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.reads).unwrap_or(&self.steps)
    }

    /// Returns how many reads of memory the walk takes on a CPU that has nothing of it cached.
    pub const fn memory_reads(&self) -> usize {
        self.reads
    }

    /// Returns how it ended.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the page, if the address is mapped.
    pub const fn leaf(&self) -> Option<Leaf> {
        match self.outcome {
            Outcome::Mapped(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// Returns the physical address of the byte looked up, if it is mapped.
    pub fn phys(&self) -> Option<PhysAddr> {
        self.leaf().map(|leaf| leaf.phys.plus(self.virt.offset_in(leaf.size)))
    }
}

/// Walks as a CPU does. At most five reads.
pub fn walk<M: TableMemory + ?Sized>(memory: &M, root: Root, virt: VirtAddr) -> Walk {
    let start = Step { level: root.levels.top(), table: root.table, index: 0, entry: Entry::EMPTY };
    let mut walk =
        Walk { virt, levels: root.levels, steps: [start; 5], reads: 0, outcome: Outcome::NotCanonical };
    if !root.levels.is_canonical(virt) {
        return walk;
    }
    let (mut table, mut permissions) = (root.table, Permissions::ALL);
    for (step, level) in walk.steps.iter_mut().zip((1..=root.levels.top()).rev()) {
        let index = root.levels.index(virt, level);
        let entry = memory.read(table, index);
        *step = Step { level, table, index, entry };
        walk.reads += 1;
        walk.outcome = Outcome::NotPresent { level };
        let reserved = entry.reserved_bits(level, root.phys_bits());
        if reserved != 0 {
            walk.outcome = Outcome::Reserved { level, reserved };
            break;
        }
        if let Some(size) = entry.page_size(level) {
            walk.outcome = Outcome::Mapped(Leaf::of(entry, virt.align_down(size), size, permissions));
            break;
        }
        let Some(child) = entry.child(level) else { break };
        permissions = permissions.and(entry.permissions());
        table = child;
    }
    walk
}

/// Returns the read at which a walk ends, or the one at `level` where the walk comes so far: a step of [`Walk::steps`],
/// for callers that need no others. `None` where the address is not canonical.
pub fn descend<M: TableMemory + ?Sized>(memory: &M, root: Root, virt: VirtAddr, level: u8) -> Option<Step> {
    if !root.levels.is_canonical(virt) {
        return None;
    }
    let mut at = root.levels.top();
    let mut table = root.table;
    loop {
        let index = root.levels.index(virt, at);
        let entry = memory.read(table, index);
        match entry.child(at) {
            Some(child) if at > level && entry.reserved_bits(at, root.phys_bits()) == 0 => table = child,
            _ => return Some(Step { level: at, table, index, entry }),
        }
        at -= 1;
    }
}

/// Returns the entry at `level` on the way to `virt`, or the level above it at which the walk ends.
pub fn entry_at<M: TableMemory + ?Sized>(
    memory: &M,
    root: Root,
    virt: VirtAddr,
    level: u8,
) -> Result<Step, u8> {
    match descend(memory, root, virt, level) {
        Some(step) if step.level == level => Ok(step),
        other => Err(other.map_or(level, |step| step.level)),
    }
}

impl fmt::Display for Walk {
    /// ```text
    /// walk of 0xffff800040000123, 4 levels
    ///   level 4  entry 256 at 0x1800: 0x0000000000002023  table 0x2000  rwxk
    ///   level 3  entry   1 at 0x2008: 0x80000000400001e3  page 1G at 0x40000000  rw-k WB global accessed dirty
    /// mapped to 0x40000123: 1G page, rw-k WB global, 2 memory reads
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "walk of {}, {} levels", self.virt, self.levels.top())?;
        for step in self.steps() {
            let (level, entry) = (step.level, step.entry);
            write!(f, "  level {level}  entry {:3} at {}: {entry}  ", step.index, step.entry_addr())?;
            if let Some(size) = entry.page_size(level) {
                write!(f, "page {size} at {}  {}", entry.phys(size), entry.permissions())?;
                write!(f, " {}{}", entry.cache_mode(size), scope_word(entry.scope()))?;
                write_marks(f, entry)?;
            } else if let Some(child) = entry.child(level) {
                write!(f, "table {}  {}", child.addr(), entry.permissions())?;
            } else {
                f.write_str("not present")?;
            }
            writeln!(f)?;
        }
        match self.outcome {
            Outcome::Mapped(leaf) => {
                let phys = leaf.phys.plus(self.virt.offset_in(leaf.size));
                write!(f, "mapped to {phys}: {} page, {}", leaf.size, leaf.permissions)?;
                write!(f, " {}{}", leaf.cache, scope_word(leaf.scope))?;
            }
            Outcome::NotPresent { level } => {
                write!(f, "not mapped: the level-{level} entry is not present")?;
            }
            Outcome::Reserved { level, reserved } => {
                write!(f, "not mapped: the level-{level} entry has reserved bits {reserved:#x} set")?;
            }
            Outcome::NotCanonical => return f.write_str("not mapped: the address is not canonical"),
        }
        write!(f, ", {} memory read{}", self.reads, if self.reads == 1 { "" } else { "s" })
    }
}

/// Returns the word that follows the cache mode: ` global` or nothing.
pub(crate) const fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => " global",
        Scope::AddressSpace => "",
    }
}

fn write_marks(f: &mut fmt::Formatter<'_>, entry: Entry) -> fmt::Result {
    if entry.bits() & bits::ACCESSED != 0 {
        f.write_str(" accessed")?;
    }
    if entry.bits() & bits::DIRTY != 0 {
        f.write_str(" dirty")?;
    }
    if let Some(key) = entry.key() {
        write!(f, " {key}")?;
    }
    Ok(())
}
