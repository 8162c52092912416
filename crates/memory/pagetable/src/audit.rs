//! Whether what some trees map is sound, taken together.
//!
//! The audit trusts nothing but the tables: it goes through every entry of every tree and reports what breaks a rule,
//! one [`Finding`] after the other.
//!
//! # The rules
//! 1. No page is writable and executable, neither by itself nor by any two mappings of one frame (invariant I4).
//! 2. In the direct map's address range, `virt = phys + base` (I1), and nothing is executable.
//! 3. Memory that is not RAM is not cached.
//! 4. The kernel's half holds nothing for users, the user half nothing for the supervisor alone: no identity map of
//!    boot is left.
//! 5. No frame is mapped twice in the kernel's half outside the direct map's address range, unless declared. (Within
//!    the address range rule 2 makes it impossible; one mapping in it and one outside is what the kernel image has.)
//! 6. No entry has reserved bits set.
//!
//! # How, without memory
//! Pages are joined to spans whose virtual and physical addresses both adjoin; there are few of those. A rule about one
//! span is checked in one pass. A rule about two is checked in batches: the first [`BATCH`] spans of the one kind are
//! kept, a pass holds all spans of the other kind against them, then come the next [`BATCH`]. No list is ever full, so
//! no audit is cut short; executable spans of a kernel usually fit in one batch.
//!
//! Several trees share the kernel's half: root entries that are the same in the first tree are looked at only there.
//!
//! No CPU changes the trees meanwhile; otherwise findings may be missed or made up.

use rhumb_machine::{PhysAddr, PhysRange, VirtAddr, VirtRange};

use crate::finding::Finding;
use crate::levels::Root;
use crate::memory::TableMemory;
use crate::runs::PageCounts;
use crate::scan::{Malformed, Scan, Visit};
use crate::span::{Join, Joiner, Span};

/// Spans kept at a time: 32 of 64 bytes stay small on a kernel stack, and hold the executable spans of a kernel.
pub const BATCH: usize = 32;

/// The direct map's address range and base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectMapRule {
    /// The addresses that belong to the direct map alone, all of them in the kernel's half.
    pub range: VirtRange,
    /// The virtual address of physical address 0.
    pub base: VirtAddr,
}

/// The trees to audit, and the rules.
#[derive(Clone, Debug)]
pub struct Audit<'lists, R> {
    /// The trees. All of the same depth; one is enough where no task has its own.
    pub roots: &'lists [Root],
    /// The physical memory that is RAM: ascending, may adjoin.
    pub ram: R,
    /// The direct map, if there is one.
    pub direct_map: Option<DirectMapRule>,
    /// Frames that may be mapped more than once outside the direct map's address range.
    pub aliases: &'lists [PhysRange],
}

/// The extent of an audit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AuditSummary {
    /// Findings reported: 0 is sound.
    pub findings: u64,
    /// Spans looked at.
    pub spans: u64,
    /// Pages looked at, those in the direct map's address range included.
    pub pages: PageCounts,
    /// Pages in the direct map's address range.
    pub direct_map_pages: PageCounts,
}

/// Which rules hold at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    User,
    Kernel,
    DirectMap,
}

/// A span that waits for its counterpart.
#[derive(Clone, Copy)]
struct Kept {
    /// Which of all spans of its pass it is.
    number: u64,
    /// Index of the tree that it is in.
    tree: usize,
    span: Span,
}

impl<R> Audit<'_, R>
where
    R: Clone + IntoIterator<Item = PhysRange>,
{
    /// Goes through all trees and reports each finding.
    ///
    /// Cost: one read for each entry of each table, three times; twice more for each further [`BATCH`] of executable
    /// spans, and, outside the direct map, of spans of the kernel's half.
    pub fn run<M, F>(&self, memory: &M, mut report: F) -> AuditSummary
    where
        M: TableMemory + ?Sized,
        F: FnMut(Finding),
    {
        let mut summary = AuditSummary::default();
        let mut findings = 0;
        let mut report = |finding| {
            findings += 1;
            report(finding);
        };
        self.check_each(memory, &mut summary, &mut report);
        self.check_aliases(memory, &mut report);
        self.check_overlaps(memory, &mut report);
        summary.findings = findings;
        summary
    }

    /// Checks the rules about one span, and about malformed entries.
    fn check_each<M>(&self, memory: &M, summary: &mut AuditSummary, report: &mut impl FnMut(Finding))
    where
        M: TableMemory + ?Sized,
    {
        self.visit(
            memory,
            |_| true,
            |_, area, found| {
                let span = match found {
                    Ok(span) => span,
                    Err(malformed) => return report(Finding::Malformed(malformed)),
                };
                summary.spans += 1;
                summary.pages.add_all(span.pages);
                if span.permissions.writable && span.permissions.executable {
                    report(Finding::WriteExecute { span });
                }
                if let Some(phys) = self.first_cached_device(&span) {
                    report(Finding::CachedDevice { span, phys });
                }
                match area {
                    Area::User if !span.permissions.user => report(Finding::SupervisorInUserHalf { span }),
                    Area::Kernel | Area::DirectMap if span.permissions.user => {
                        report(Finding::UserInKernelHalf { span });
                    }
                    _ => {}
                }
                if area == Area::DirectMap {
                    summary.direct_map_pages.add_all(span.pages);
                    self.check_direct(span, report);
                }
            },
        );
    }

    fn check_direct(&self, span: Span, report: &mut impl FnMut(Finding)) {
        let expected = self.direct_map.and_then(|rule| rule.base.checked_add(span.phys.get()));
        if expected != Some(span.virt) {
            report(Finding::OffsetBroken { span, expected });
        }
        if span.permissions.executable {
            report(Finding::ExecutableDirectMap { span });
        }
    }

    /// Returns the first frame of a cached span that is not RAM.
    fn first_cached_device(&self, span: &Span) -> Option<PhysAddr> {
        if !span.cache.is_cached() {
            return None;
        }
        let frames = span.phys_range();
        let mut checked = frames.start();
        for ram in self.ram.clone() {
            if ram.contains(checked) {
                checked = ram.end();
            }
        }
        (checked < frames.end()).then_some(checked)
    }

    /// Compares each executable span with each writable one, wherever they are.
    fn check_aliases<M>(&self, memory: &M, report: &mut impl FnMut(Finding))
    where
        M: TableMemory + ?Sized,
    {
        let everywhere = |_| true;
        self.in_batches(
            memory,
            everywhere,
            |span| span.permissions.executable,
            |kept, batch| {
                if !kept.span.permissions.writable {
                    return;
                }
                for executable in batch {
                    let phys = executable.span.phys_range().intersection(kept.span.phys_range());
                    if !phys.is_empty() && executable.span != kept.span {
                        let (writable, executable) = (kept.span, executable.span);
                        report(Finding::WriteExecuteAlias { phys, writable, executable });
                    }
                }
            },
        );
    }

    /// Compares each span of the kernel's half outside the direct map with each later one.
    fn check_overlaps<M>(&self, memory: &M, report: &mut impl FnMut(Finding))
    where
        M: TableMemory + ?Sized,
    {
        self.in_batches(
            memory,
            |area| area == Area::Kernel,
            |_| true,
            |other, batch| {
                for one in batch.iter().filter(|one| one.number < other.number) {
                    let phys = one.span.phys_range().intersection(other.span.phys_range());
                    if phys.is_empty() || self.aliases.iter().any(|declared| declared.covers(phys)) {
                        continue;
                    }
                    // The same frames at the same addresses of two trees are one place.
                    let same_place = offset(&one.span) == offset(&other.span) && one.tree != other.tree;
                    if !same_place {
                        report(Finding::Overlap { phys, one: one.span, other: other.span });
                    }
                }
            },
        );
    }

    /// Holds every span of the areas against every span that is to be `keep`t, batch by batch.
    fn in_batches<M>(
        &self,
        memory: &M,
        areas: impl Fn(Area) -> bool + Copy,
        keep: impl Fn(&Span) -> bool,
        mut compare: impl FnMut(&Kept, &[Kept]),
    ) where
        M: TableMemory + ?Sized,
    {
        let mut done = 0;
        loop {
            let mut batch: [Option<Kept>; BATCH] = [None; BATCH];
            let (mut number, mut kept) = (0, 0);
            self.visit(memory, areas, |tree, _, found| {
                let Ok(span) = found else { return };
                number += 1;
                if !keep(&span) {
                    return;
                }
                kept += 1;
                if kept > done
                    && let Some(slot) = batch.get_mut(kept - done - 1)
                {
                    *slot = Some(Kept { number, tree, span });
                }
            });
            // The slots fill from the front; the rest repeats nothing.
            let Some(Some(first)) = batch.first().copied() else { return };
            let mut dense = [first; BATCH];
            let mut filled = 0;
            for (slot, kept) in dense.iter_mut().zip(batch.into_iter().flatten()) {
                *slot = kept;
                filled += 1;
            }
            let dense = dense.get(..filled).unwrap_or(&dense);
            number = 0;
            self.visit(memory, areas, |tree, _, found| {
                let Ok(span) = found else { return };
                number += 1;
                compare(&Kept { number, tree, span }, dense);
            });
            done += BATCH;
            if done >= kept {
                return;
            }
        }
    }

    /// Returns all spans and malformed entries of the chosen areas of all trees.
    fn visit<M>(
        &self,
        memory: &M,
        areas: impl Fn(Area) -> bool,
        mut visitor: impl FnMut(usize, Area, Result<Span, Malformed>),
    ) where
        M: TableMemory + ?Sized,
    {
        for (tree, &root) in self.roots.iter().enumerate() {
            let first_tree = self.roots.first().copied().filter(|_| tree > 0);
            for (area, positions) in self.areas(root) {
                if !areas(area) {
                    continue;
                }
                let mut joiner = Joiner::new(Join::Physical);
                let mut scan = Scan::over(memory, root, positions).without_shared(first_tree);
                while let Some((visit, count)) = scan.next_run(u64::MAX) {
                    match visit {
                        Visit::Leaf(leaf) => {
                            if let Some(span) = joiner.push(&leaf, count) {
                                visitor(tree, area, Ok(span));
                            }
                        }
                        Visit::Malformed(malformed) => visitor(tree, area, Err(malformed)),
                    }
                }
                if let Some(span) = joiner.finish() {
                    visitor(tree, area, Ok(span));
                }
            }
        }
    }

    /// Returns the address space of a tree in ascending order: user half, kernel below the range, range, kernel above
    /// it.
    fn areas(&self, root: Root) -> [(Area, Option<(u64, u64)>); 4] {
        let half = 1 << (root.levels.virt_bits() - 1);
        let last = 2 * half - 1;
        let range = self.direct_map.and_then(|rule| root.levels.positions(rule.range));
        let (below, above) = match range {
            Some((first, end)) => {
                ((half < first).then(|| (half, first - 1)), (end < last).then(|| (end + 1, last)))
            }
            None => (Some((half, last)), None),
        };
        [
            (Area::User, Some((0, half - 1))),
            (Area::Kernel, below),
            (Area::DirectMap, range),
            (Area::Kernel, above),
        ]
    }
}

/// Returns the distance of a span from its frames, which tells whether two mappings of a frame are one place.
const fn offset(span: &Span) -> u64 {
    span.virt.get().wrapping_sub(span.phys.get())
}
