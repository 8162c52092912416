//! The contents of the page tables: offset (I1), largest pages (I3), W^X (I4), and that the audit sees breaches.

use rhumb_machine::{Machine, PageSize, PhysAddr, VirtAddr};
use rhumb_pagetable::{Finding, Join, Leaves, PageCounts, Spans};

use super::Test;
use crate::cpu::machine::MACHINE;
use crate::debug::audit::audit;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::inject;
use crate::lab::inject::tables::TableFault;
use crate::layout;
use crate::mm::{direct_map, protect, tables};

pub const TESTS: &[Test] = &[
    Test { name: "tables::i1_offset", run: i1_offset },
    Test { name: "tables::i3_largest", run: i3_largest },
    Test { name: "tables::holes_are_absent", run: holes_are_absent },
    Test { name: "tables::walk_reads", run: walk_reads },
    Test { name: "tables::identity_map_is_gone", run: identity_map_is_gone },
    Test { name: "tables::audit_is_sound", run: audit_is_sound },
    Test { name: "tables::audit_sees_writable_text", run: audit_sees_writable_text },
    Test { name: "tables::audit_sees_a_second_mapping", run: audit_sees_a_second_mapping },
    Test { name: "tables::audit_sees_a_cached_device", run: audit_sees_a_cached_device },
];

/// Both ends of each piece of RAM are at their offset.
fn i1_offset(boot: &'static Boot) -> Result<(), Failure> {
    let map = boot.memory.lock().clone();
    for piece in map.ram() {
        for phys in [piece.start(), PhysAddr::new(piece.end().get() - 1)] {
            if boot.direct_map.high_bytes > 0
                && boot.options.direct_map_limit_bytes.is_some_and(|limit| phys.get() >= limit)
            {
                continue;
            }
            let found = tables::walk(MACHINE.direct(phys)).phys();
            ensure!(found == Some(phys), "{phys} in the direct map is {found:?}");
        }
    }
    Ok(())
}

/// The tables hold what is counted, and no two neighbouring pages could be one larger page.
fn i3_largest(boot: &'static Boot) -> Result<(), Failure> {
    let (counted, held) =
        direct_map::with(|map| (map.pages(), map.hold_count() > 0)).unwrap_or((boot.direct_map.pages, false));
    let mut pages = PageCounts::NONE;
    for span in
        Spans::new(Leaves::new(tables::reader(), tables::root(), layout::direct_map()), Join::Physical)
    {
        pages.add_all(span.pages);
        for (size, smaller) in [(PageSize::Size1G, PageSize::Size2M), (PageSize::Size2M, PageSize::Size4K)] {
            // A hold may keep pages small.
            if size > boot.largest_page || held {
                continue;
            }
            let whole = span.phys_range().align_inward(size).bytes() / size.bytes();
            let present = match size {
                PageSize::Size1G => span.pages.size_1g,
                _ => {
                    span.pages.size_2m
                        + span.pages.size_1g * (PageSize::Size1G.frames() / PageSize::Size2M.frames())
                }
            };
            ensure!(
                present >= whole,
                "{span}: {whole} pages of {size} would fit, {present} are there, the rest {smaller}"
            );
        }
    }
    ensure!(pages == counted, "the tables hold {pages}, {counted} are counted");
    Ok(())
}

/// Just outside each piece of RAM nothing is mapped.
fn holes_are_absent(boot: &'static Boot) -> Result<(), Failure> {
    let map = boot.memory.lock().clone();
    let is_ram = |phys: PhysAddr| map.ram().any(|piece| piece.contains(phys));
    for piece in map.ram() {
        let before = piece.start().get().checked_sub(1).map(PhysAddr::new);
        for phys in [before, Some(piece.end())].into_iter().flatten().filter(|&phys| !is_ram(phys)) {
            let found = tables::walk(MACHINE.direct(phys)).phys();
            ensure!(found.is_none(), "{phys} is not RAM, but mapped");
        }
    }
    Ok(())
}

/// A translation takes 2, 3 or 4 reads of memory with four levels, one more with five.
fn walk_reads(_: &'static Boot) -> Result<(), Failure> {
    let extra = tables::root().levels.top() as usize - 4;
    for leaf in Leaves::kernel_half(tables::reader(), tables::root()).take(20_000) {
        let reads = tables::walk(leaf.virt).memory_reads();
        let expected = 5 - leaf.size.level() as usize + extra;
        ensure!(
            reads == expected,
            "{} is a {} page: {reads} reads, {expected} expected",
            leaf.virt,
            leaf.size
        );
    }
    Ok(())
}

/// The lower half holds nothing at all.
fn identity_map_is_gone(_: &'static Boot) -> Result<(), Failure> {
    ensure!(tables::trampoline_root().is_none(), "the trampoline's tables are still in use");
    let first = Leaves::new(tables::reader(), tables::root(), layout::user()).next();
    ensure!(first.is_none(), "something is mapped at {}", first.map_or(VirtAddr::ZERO, |leaf| leaf.virt));
    Ok(())
}

fn audit_is_sound(boot: &'static Boot) -> Result<(), Failure> {
    let mut first = None;
    let summary = audit(boot, |finding| {
        first.get_or_insert(finding);
    });
    let mut flaw = None;
    protect::audit::run(|found| {
        flaw.get_or_insert(found);
    });
    if let Some(flaw) = flaw {
        return Err(Failure::because(flaw));
    }
    match first {
        Some(finding) => Err(Failure::because(finding)),
        None => {
            let counted = direct_map::with(|map| map.pages()).unwrap_or(boot.direct_map.pages);
            ensure!(summary.direct_map_pages == counted, "the audit saw {}", summary.direct_map_pages);
            Ok(())
        }
    }
}

fn audit_sees_writable_text(boot: &'static Boot) -> Result<(), Failure> {
    sees(boot, TableFault::WritableText, |finding| matches!(finding, Finding::WriteExecuteAlias { .. }))
}

fn audit_sees_a_second_mapping(boot: &'static Boot) -> Result<(), Failure> {
    sees(boot, TableFault::SecondMapping, |finding| matches!(finding, Finding::Overlap { .. }))
}

fn audit_sees_a_cached_device(boot: &'static Boot) -> Result<(), Failure> {
    let device = boot.devices.first().map_or(PhysAddr::new(0xfee0_0000), |device| device.phys.start());
    sees(boot, TableFault::CachedDevice(device), |finding| matches!(finding, Finding::CachedDevice { .. }))
}

/// Plants a fault, looks whether the audit reports it, and takes it away.
pub(super) fn sees(
    boot: &'static Boot,
    what: TableFault,
    expected: fn(&Finding) -> bool,
) -> Result<(), Failure> {
    inject::tables::inject(what).map_err(Failure::because)?;
    let mut seen = false;
    let summary = audit(boot, |finding| seen |= expected(&finding));
    inject::tables::inject(TableFault::Nothing).map_err(Failure::because)?;
    ensure!(seen, "{what:?} was injected; {} findings, none of them it", summary.findings);
    let after = audit(boot, |_| ()).findings;
    ensure!(after == 0, "{after} findings are left after the fault was taken away");
    Ok(())
}
