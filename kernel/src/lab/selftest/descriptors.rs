//! The array of frame descriptors: there for all RAM and for nothing else, and filled in when first used.

use rhumb_bootinfo::Reservation;
use rhumb_frames::{Owner, Request};
use rhumb_machine::{Machine, PageSize, PhysRange};
use rhumb_pagetable::{Join, Leaves, PageCounts, Permissions, Spans};

use super::memory::allocator;
use super::{Test, memory};
use crate::boot::descriptors::ARRAY;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::{Failure, ensure};
use crate::lab::owners;
use crate::lab::sizes::order;
use crate::layout;
use crate::mm::tables;

pub const TESTS: &[Test] = &[
    Test { name: "descriptors::stand_for_ram_alone", run: stand_for_ram_alone },
    Test { name: "descriptors::are_of_their_node", run: are_of_their_node },
    Test { name: "descriptors::are_filled_in_by_their_holder", run: are_filled_in_by_their_holder },
];

/// Every page that RAM needs is mapped, in frames that boot reserved for it, writable and never executable; and no
/// other.
fn stand_for_ram_alone(boot: &'static Boot) -> Result<(), Failure> {
    let map = boot.memory.lock().clone();
    let mut needed = 0;
    for run in ARRAY.runs(map.ram().flat_map(|ram| boot.topology.pieces(ram))) {
        needed += run.virt.bytes();
        let mut at = run.virt.start();
        while at < run.virt.end() {
            let found = tables::walk(at).phys();
            ensure!(found.is_some(), "{at} describes RAM and is not mapped");
            at = at.plus(PageSize::Size4K.bytes());
            // All of a small array; of a large one, each large page once.
            if run.virt.bytes() > 64 << 20 {
                at = at.checked_align_up(PageSize::Size2M).unwrap_or(at);
            }
        }
    }
    let mut pages = PageCounts::NONE;
    let array = layout::range(layout::DESCRIPTORS, layout::DESCRIPTORS_BYTES);
    for span in Spans::new(Leaves::new(tables::reader(), tables::root(), array), Join::Physical) {
        pages.add_all(span.pages);
        let frames: PhysRange = span.phys_range();
        let is_ours = map
            .reservations()
            .iter()
            .any(|taken| taken.why == Reservation::FrameDescriptors && taken.range.covers(frames));
        ensure!(is_ours, "{span}: not reserved for it");
        let wanted = Permissions { writable: true, executable: false, user: false };
        ensure!(span.permissions == wanted, "{span}: should be {wanted}");
    }
    ensure!(pages.bytes() == needed, "{} bytes are mapped, {needed} needed", pages.bytes());
    ensure!(pages == boot.descriptors.pages, "the tables hold {pages}, boot said {}", boot.descriptors.pages);
    Ok(())
}

/// Boot's account of pages on other nodes is true.
fn are_of_their_node(boot: &'static Boot) -> Result<(), Failure> {
    if boot.descriptors.far_bytes > 0 {
        // Said in the log; a node too full for its own descriptors is no fault.
        return Ok(());
    }
    let map = boot.memory.lock().clone();
    for run in ARRAY.runs(map.ram().flat_map(|ram| boot.topology.pieces(ram))) {
        let node = tables::walk(run.virt.start()).phys().map(|phys| boot.topology.node_of(phys));
        ensure!(
            node == Some(run.node),
            "{} describes node {} and lies on {node:?}",
            run.virt.start(),
            run.node
        );
    }
    Ok(())
}

/// A block's frames have no descriptor or a clean one until it is written; the written words stay until it is
/// freed.
fn are_filled_in_by_their_holder(_: &'static Boot) -> Result<(), Failure> {
    let frames = allocator()?;
    let guard = MACHINE.pin();
    let order = order(3);
    let request = Request::new(order).owner(owners::SELF_TEST.in_frames());
    let frame = memory::take(frames, guard.pinned(), request)?;
    let (pfn, last) = (frame.pfn(), frame.pfn().plus(7));
    // SAFETY: the frame is part of the block that the test holds.
    let known = match (frames.descriptor_of(&frame), unsafe { frames.descriptor_to_write(last) }) {
        (Some(first), Some(second)) => {
            let clean = first.private() == 0 && second.private() == 0 && second.owner() == Owner::NONE;
            first.set_private(7);
            second.set_page_type(5);
            let known = frames.describe(last).filter(|_| clean);
            second.set_page_type(0);
            known
        }
        _ => None,
    };
    frames.free(guard.pinned(), frame);
    let Some(known) = known else { return Err(Failure::because("no descriptor, or not a clean one")) };
    ensure!(known.owner == owners::SELF_TEST.in_frames(), "its owner is {:?}", known.owner);
    ensure!(known.block == Some((pfn, order)) && known.page_type == 5, "{known:?}");
    let after = frames.describe(pfn).map(|known| (known.owner, known.private));
    ensure!(after == Some((Owner::NONE, 0)), "after its free it is {after:?}");
    Ok(())
}
