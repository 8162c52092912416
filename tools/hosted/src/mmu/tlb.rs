//! The entries of the tables that one CPU has cached.

use std::collections::BTreeMap;

use rhumb_machine::{FlushScope, PageSize, Pfn, PfnRange, PhysAddr, VirtAddr};
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{CacheMode, Entry, Key, Leaf, Permissions, Root, Scope, TableMemory, Walk};

use crate::mmu::report::{Fault, FoundAt, Use, What};
use crate::mmu::tables::HostedTables;
use crate::mmu::{MmuConfig, TableEntries};

/// Speculative walks stay within this many pages of the access, of 4 KiB or of 2 MiB.
const NEIGHBOURHOOD: u64 = 4;

/// Part of what an entry serves: first and last address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: VirtAddr,
    pub(super) last: VirtAddr,
}

/// Whether a promise has been given that the entry is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Good,
    Condemned,
}

/// A translation: of a whole page or of one 4-KiB fragment of it.
#[derive(Clone, Copy, Debug)]
struct Translation {
    leaf: Leaf,
    fragment: PageSize,
    standing: Standing,
}

/// An entry that refers to a table, and what all levels down to it allow.
#[derive(Clone, Copy, Debug)]
struct TableEntry {
    table: Pfn,
    entry: Entry,
    permissions: Permissions,
    standing: Standing,
}

/// One CPU's caches. Keys begin with the first address that an entry serves.
#[derive(Debug)]
pub(super) struct Tlb {
    translations: BTreeMap<(VirtAddr, PageSize), Translation>,
    tables: BTreeMap<(VirtAddr, u8), TableEntry>,
    config: MmuConfig,
    random: u64,
    condemned: Vec<(What, VirtAddr)>,
}

impl Tlb {
    pub(super) fn new(config: MmuConfig, cpu: u64) -> Self {
        Self {
            translations: BTreeMap::new(),
            tables: BTreeMap::new(),
            config,
            random: config.seed.wrapping_add(cpu.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            condemned: Vec::new(),
        }
    }

    /// Returns how many translations and how many table entries there are.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.translations.len(), self.tables.len())
    }

    /// Returns the entries that were used since the last call although they should be gone.
    pub(super) fn take_condemned(&mut self) -> Vec<(What, VirtAddr)> {
        std::mem::take(&mut self.condemned)
    }

    pub(super) fn translate(
        &mut self,
        memory: &HostedTables,
        root: Root,
        virt: VirtAddr,
        access: Use,
        keys: u32,
    ) -> Result<PhysAddr, Fault> {
        self.speculate_around(memory, root, virt);
        let found = match self.lookup(virt) {
            Some(found) => found,
            None => self.walk(memory, root, virt).inspect_err(|_| self.fault(virt))?,
        };
        if found.standing == Standing::Condemned {
            let first = virt.align_down(found.fragment);
            self.condemned.push((what(&found, first), first));
        }
        match access.fault(found.leaf.permissions, found.leaf.entry.key(), keys) {
            None => Ok(found.leaf.phys.plus(virt.since(found.leaf.virt))),
            Some(fault) => {
                self.fault(virt);
                Err(fault)
            }
        }
    }

    /// Returns a cached translation of `virt`; where there are several, any of them.
    fn lookup(&mut self, virt: VirtAddr) -> Option<Translation> {
        let sizes = PageSize::DESCENDING;
        let first = self.number(sizes.len() as u64) as usize;
        (0..sizes.len()).find_map(|step| {
            let size = sizes[(first + step) % sizes.len()];
            self.translations.get(&(virt.align_down(size), size)).copied()
        })
    }

    /// Walks from the lowest cached table entry, or from a higher one, and caches the entries that it reads: condemned,
    /// if that first entry is, because the flush that should have dropped the entry would have prevented the walk.
    fn walk(&mut self, memory: &HostedTables, root: Root, virt: VirtAddr) -> Result<Translation, Fault> {
        if !root.levels.is_canonical(virt) {
            return Err(Fault::NotCanonical);
        }
        let (mut table, mut permissions) = (root.table, Permissions::ALL);
        let (mut level, mut standing) = (root.levels.top(), Standing::Good);
        for cached_level in 2..=root.levels.top() {
            let Some(cached) = self.tables.get(&(spanned(virt, cached_level), cached_level)).copied() else {
                continue;
            };
            if self.happens(128) {
                continue;
            }
            if cached.standing == Standing::Condemned {
                let place = spanned(virt, cached_level);
                self.condemned.push((table_what(&cached, cached_level), place));
            }
            (table, permissions, level) = (cached.table, cached.permissions, cached_level - 1);
            standing = cached.standing;
            break;
        }
        loop {
            let entry = memory.read(table, root.levels.index(virt, level));
            if entry.reserved_bits(level, root.phys_bits()) != 0 {
                return Err(Fault::Reserved);
            }
            if let Some(size) = entry.page_size(level) {
                return Ok(self.fill(virt, size, entry, permissions, standing));
            }
            let Some(child) = entry.child(level) else { return Err(Fault::NotPresent) };
            permissions = permissions.and(entry.permissions());
            let cached = TableEntry { table: child, entry, permissions, standing };
            self.tables.insert((spanned(virt, level), level), cached);
            table = child;
            level -= 1;
        }
    }

    /// Caches a page, whole or as a fragment.
    fn fill(
        &mut self,
        virt: VirtAddr,
        size: PageSize,
        entry: Entry,
        above: Permissions,
        standing: Standing,
    ) -> Translation {
        let leaf = leaf(virt, size, entry, above);
        let fragment = if self.happens(self.config.fragments) { PageSize::Size4K } else { size };
        let translation = Translation { leaf, fragment, standing };
        self.translations.insert((virt.align_down(fragment), fragment), translation);
        translation
    }

    /// Walks though no program asked for it, and evicts though no flush did, as often as the configuration says.
    pub(super) fn speculate_around(&mut self, memory: &HostedTables, root: Root, virt: VirtAddr) {
        if self.happens(self.config.evictions) {
            self.translations.pop_first();
            self.tables.pop_last();
        }
        if self.happens(self.config.speculation) {
            let size = if self.happens(512) { PageSize::Size4K } else { PageSize::Size2M };
            let distance = self.number(2 * NEIGHBOURHOOD + 1).wrapping_sub(NEIGHBOURHOOD);
            let there = VirtAddr::new(virt.get().wrapping_add(distance.wrapping_mul(size.bytes())));
            self.speculate(memory, root, there);
        }
    }

    /// Walks an address on speculation, where it is not cached.
    pub(super) fn speculate(&mut self, memory: &HostedTables, root: Root, virt: VirtAddr) {
        if self.lookup(virt).is_none() {
            // A walk that finds nothing leaves nothing behind but table entries.
            let _ = self.walk(memory, root, virt);
        }
    }

    /// Drops the entries in the scope of a flush.
    pub(super) fn flush(&mut self, scope: FlushScope<'_>) {
        match scope {
            FlushScope::Pages { runs, .. } => {
                runs.iter().flat_map(|run| run.addresses()).for_each(|page| self.invlpg(page));
            }
            FlushScope::NonGlobal => {
                self.translations.retain(|_, cached| cached.leaf.scope == Scope::Global);
                self.tables.clear();
            }
            FlushScope::All => {
                self.translations.clear();
                self.tables.clear();
            }
        }
    }

    /// Drops the entries of an `invlpg`: the page around the address, by the size that it was walked with, and table
    /// entries: all of them, or those that serve the address, as the configuration says.
    fn invlpg(&mut self, page: VirtAddr) {
        self.translations.retain(|_, cached| cached.leaf.virt != page.align_down(cached.leaf.size));
        match self.config.invlpg {
            TableEntries::All => self.tables.clear(),
            TableEntries::OfAddress => self.drop_table_entries(page),
        }
    }

    /// Drops the entries that a fault drops: those that would serve the address again, and nothing else.
    fn fault(&mut self, virt: VirtAddr) {
        self.translations.retain(|&(first, fragment), _| first != virt.align_down(fragment));
        self.drop_table_entries(virt);
    }

    fn drop_table_entries(&mut self, virt: VirtAddr) {
        self.tables.retain(|&(first, level), _| first != spanned(virt, level));
    }

    /// Returns, for each cached translation, the frames that it reaches, their memory type, its name and its address.
    pub(super) fn memory_types(&self) -> impl Iterator<Item = (PfnRange, CacheMode, What, VirtAddr)> {
        self.translations.iter().filter_map(|(&(virt, fragment), cached)| {
            let what = what(cached, virt);
            let frames = PfnRange::of_length(what.target(), fragment.frames())?;
            Some((frames, cached.leaf.cache, what, virt))
        })
    }

    /// Condemns each entry that differs from the tables in the part of it that `concerns` picks, and returns the
    /// entries with their addresses.
    ///
    /// When a flush is promised, an entry that refers to a table is judged by the translations that it leads to: these
    /// may be those of the tables although the tables have the entry no more. When memory is about to be reused, such
    /// an entry is stale all the same, because the table is about to be overwritten.
    pub(super) fn condemn(
        &mut self,
        memory: &HostedTables,
        root: Root,
        found: FoundAt,
        concerns: &impl Fn(What, VirtAddr, u64) -> Option<Part>,
    ) -> Vec<(What, VirtAddr)> {
        let mut condemned = Vec::new();
        for (&(virt, fragment), cached) in &mut self.translations {
            let what = what(cached, virt);
            let Some(part) = concerns(what, virt, fragment.bytes()) else { continue };
            if !agrees(memory, root, cached, part) {
                cached.standing = Standing::Condemned;
                condemned.push((what, virt));
            }
        }
        for (&(virt, level), cached) in &mut self.tables {
            let what = table_what(cached, level);
            let walk = rhumb_pagetable::walk(memory, root, virt);
            let Some(part) =
                concerns(what, virt, span_bytes(level)).filter(|_| !refers(&walk, level, cached))
            else {
                continue;
            };
            if found != FoundAt::Promise || !leads_to_the_same(memory, root, (level, cached), part) {
                cached.standing = Standing::Condemned;
                condemned.push((what, virt));
            }
        }
        condemned
    }

    /// Returns a number below `bound` (splitmix64).
    fn number(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn happens(&mut self, of_1024: u16) -> bool {
        self.number(1024) < u64::from(of_1024)
    }
}

/// Returns the first address that an entry at `level` spans.
fn spanned(virt: VirtAddr, level: u8) -> VirtAddr {
    VirtAddr::new(virt.get() & !(span_bytes(level) - 1))
}

/// Returns the result of a walk, as far as a program can tell.
fn meaning(leaf: &Leaf, virt: VirtAddr) -> (PhysAddr, Permissions, CacheMode, Scope, Option<Key>) {
    (leaf.phys.plus(virt.since(leaf.virt)), leaf.permissions, leaf.cache, leaf.scope, leaf.entry.key())
}

/// Tells whether the cached translation is that of the tables in `part`, whatever the sizes of the pages there.
fn agrees(memory: &HostedTables, root: Root, cached: &Translation, part: Part) -> bool {
    let mut virt = part.start;
    loop {
        let Some(leaf) = rhumb_pagetable::walk(memory, root, virt).leaf() else { return false };
        if meaning(&leaf, virt) != meaning(&cached.leaf, virt) {
            return false;
        }
        let leaf_last = leaf.virt.get() + (leaf.size.bytes() - 1);
        if leaf_last >= part.last.get() {
            return true;
        }
        virt = VirtAddr::new(leaf_last + 1);
    }
}

/// Tells whether walks from the cached entry at `level` on end as those from the root do, in all of `part`.
fn leads_to_the_same(
    memory: &HostedTables,
    root: Root,
    (level, cached): (u8, &TableEntry),
    part: Part,
) -> bool {
    let mut virt = part.start;
    loop {
        let (here, here_level) = walk_below(memory, root, (level, cached), virt);
        let walk = rhumb_pagetable::walk(memory, root, virt);
        let (there, there_level) = (walk.leaf(), walk.steps().last().map_or(level, |step| step.level));
        let meant = |leaf: Option<Leaf>| leaf.map(|leaf| meaning(&leaf, virt));
        if meant(here) != meant(there) {
            return false;
        }
        let last = virt.get() | (span_bytes(here_level.min(there_level)) - 1);
        if last >= part.last.get() {
            return true;
        }
        virt = VirtAddr::new(last + 1);
    }
}

/// Walks `virt` from the cached entry at `level` on. Returns the page, if there is one, and the level of the last entry.
fn walk_below(
    memory: &HostedTables,
    root: Root,
    (level, cached): (u8, &TableEntry),
    virt: VirtAddr,
) -> (Option<Leaf>, u8) {
    let (mut table, mut permissions, mut level) = (cached.table, cached.permissions, level - 1);
    loop {
        let entry = memory.read(table, root.levels.index(virt, level));
        if let Some(size) = entry.page_size(level) {
            return (Some(leaf(virt, size, entry, permissions)), level);
        }
        let Some(child) = entry.child(level).filter(|_| level > 1) else { return (None, level) };
        (table, permissions, level) = (child, permissions.and(entry.permissions()), level - 1);
    }
}

/// Returns the page of `size` around `virt` that `entry` maps, below entries that allow what `above` says.
fn leaf(virt: VirtAddr, size: PageSize, entry: Entry, above: Permissions) -> Leaf {
    Leaf {
        virt: virt.align_down(size),
        phys: entry.phys(size),
        size,
        permissions: above.and(entry.permissions()),
        cache: entry.cache_mode(size),
        scope: entry.scope(),
        entry,
    }
}

/// Tells whether the walk still goes through the cached entry.
fn refers(walk: &Walk, level: u8, cached: &TableEntry) -> bool {
    let mut permissions = Permissions::ALL;
    for step in walk.steps() {
        permissions = permissions.and(step.entry.permissions());
        if step.level == level {
            return step.entry.child(level) == Some(cached.table) && permissions == cached.permissions;
        }
    }
    false
}

fn what(cached: &Translation, virt: VirtAddr) -> What {
    let frame = cached.leaf.phys.plus(virt.since(cached.leaf.virt)).pfn();
    What::Translation { size: cached.leaf.size, frame, entry: cached.leaf.entry }
}

fn table_what(cached: &TableEntry, level: u8) -> What {
    What::Table { level, table: cached.table, entry: cached.entry }
}
