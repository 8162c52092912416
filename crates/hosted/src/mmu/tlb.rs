//! What one CPU has cached of the tables.

use std::collections::BTreeMap;

use rhumb_machine::{FlushScope, PageSize, Pfn, PhysAddr, VirtAddr};
use rhumb_pagetable::levels::span_bytes;
use rhumb_pagetable::{CacheMode, Entry, Leaf, Permissions, Root, Scope, TableMemory, Walk};

use crate::mmu::MmuConfig;
use crate::mmu::report::{Fault, Use, What};
use crate::mmu::tables::HostedTables;

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

    /// Translations and table entries.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.translations.len(), self.tables.len())
    }

    /// What was used since the last call although it should be gone.
    pub(super) fn take_condemned(&mut self) -> Vec<(What, VirtAddr)> {
        std::mem::take(&mut self.condemned)
    }

    pub(super) fn translate(
        &mut self,
        memory: &HostedTables,
        root: Root,
        virt: VirtAddr,
        access: Use,
    ) -> Result<PhysAddr, Fault> {
        self.speculate(memory, root, virt);
        let found = match self.lookup(virt) {
            Some(found) => found,
            None => self.walk(memory, root, virt).inspect_err(|_| self.drop_page(virt))?,
        };
        if found.standing == Standing::Condemned {
            let first = virt.align_down(found.fragment);
            self.condemned.push((what(&found, first), first));
        }
        if access.is_allowed_by(found.leaf.permissions) {
            Ok(found.leaf.phys.plus(virt.since(found.leaf.virt)))
        } else {
            self.drop_page(virt);
            Err(Fault::Protection)
        }
    }

    /// A cached translation of `virt`; where there are several, any of them.
    fn lookup(&mut self, virt: VirtAddr) -> Option<Translation> {
        let sizes = PageSize::DESCENDING;
        let first = self.number(sizes.len() as u64) as usize;
        (0..sizes.len()).find_map(|step| {
            let size = sizes[(first + step) % sizes.len()];
            self.translations.get(&(virt.align_down(size), size)).copied()
        })
    }

    /// Walks from the lowest cached table entry, or from a higher one, and caches what it reads.
    fn walk(&mut self, memory: &HostedTables, root: Root, virt: VirtAddr) -> Result<Translation, Fault> {
        if !root.levels.is_canonical(virt) {
            return Err(Fault::NotCanonical);
        }
        let (mut table, mut permissions) = (root.table, Permissions::ALL);
        let mut level = root.levels.top();
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
            break;
        }
        loop {
            let entry = memory.read(table, root.levels.index(virt, level));
            if entry.reserved_bits(level, root.phys_bits()) != 0 {
                return Err(Fault::Reserved);
            }
            if let Some(size) = entry.page_size(level) {
                return Ok(self.fill(virt, size, entry, permissions));
            }
            let Some(child) = entry.child(level) else { return Err(Fault::NotPresent) };
            permissions = permissions.and(entry.permissions());
            let cached = TableEntry { table: child, entry, permissions, standing: Standing::Good };
            self.tables.insert((spanned(virt, level), level), cached);
            table = child;
            level -= 1;
        }
    }

    /// Caches a page, whole or as a fragment.
    fn fill(&mut self, virt: VirtAddr, size: PageSize, entry: Entry, above: Permissions) -> Translation {
        let leaf = Leaf {
            virt: virt.align_down(size),
            phys: entry.phys(size),
            size,
            permissions: above.and(entry.permissions()),
            cache: entry.cache_mode(size),
            scope: entry.scope(),
            entry,
        };
        let fragment = if self.happens(self.config.fragments) { PageSize::Size4K } else { size };
        let translation = Translation { leaf, fragment, standing: Standing::Good };
        self.translations.insert((virt.align_down(fragment), fragment), translation);
        translation
    }

    /// Walks that no program asked for, and evictions that no flush asked for.
    fn speculate(&mut self, memory: &HostedTables, root: Root, virt: VirtAddr) {
        if self.happens(self.config.evictions) {
            self.translations.pop_first();
            self.tables.pop_last();
        }
        if self.happens(self.config.speculation) {
            let size = if self.happens(512) { PageSize::Size4K } else { PageSize::Size2M };
            let distance = self.number(2 * NEIGHBOURHOOD + 1).wrapping_sub(NEIGHBOURHOOD);
            let there = VirtAddr::new(virt.get().wrapping_add(distance.wrapping_mul(size.bytes())));
            if self.lookup(there).is_none() {
                // A walk that finds nothing leaves nothing behind but table entries.
                let _ = self.walk(memory, root, there);
            }
        }
    }

    /// What a flush drops.
    pub(super) fn flush(&mut self, scope: FlushScope<'_>) {
        match scope {
            FlushScope::Pages { runs, .. } => {
                runs.iter().flat_map(|run| run.addresses()).for_each(|page| self.drop_page(page));
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

    /// What `invlpg`, or a fault, drops: the page around the address, by the size that it was walked with, and table
    /// entries.
    fn drop_page(&mut self, page: VirtAddr) {
        self.translations.retain(|_, cached| cached.leaf.virt != page.align_down(cached.leaf.size));
        self.tables.clear();
    }

    /// Marks what the tables do not have in the part that `concerns` picks of an entry, and names it.
    pub(super) fn condemn(
        &mut self,
        memory: &HostedTables,
        root: Root,
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
            if concerns(what, virt, span_bytes(level)).is_some() && !refers(&walk, level, cached) {
                cached.standing = Standing::Condemned;
                condemned.push((what, virt));
            }
        }
        condemned
    }

    /// A number below `bound` (splitmix64).
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

/// The first address that an entry at `level` spans.
fn spanned(virt: VirtAddr, level: u8) -> VirtAddr {
    VirtAddr::new(virt.get() & !(span_bytes(level) - 1))
}

/// What a walk says of a page, as far as a program can tell.
fn meaning(leaf: &Leaf, virt: VirtAddr) -> (PhysAddr, Permissions, CacheMode, Scope) {
    (leaf.phys.plus(virt.since(leaf.virt)), leaf.permissions, leaf.cache, leaf.scope)
}

/// Whether the cached translation is what the tables say in `part`, whatever the sizes of the pages there.
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

/// Whether the walk still goes through the cached entry.
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
