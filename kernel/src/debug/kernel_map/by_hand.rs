//! `kmap move`: another node's frames for an area. `kmap take`, `kmap give`: areas that a person holds, to try it on.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;
use rhumb_frames::Preference;
use rhumb_kernelmap::{Area, AreaError, AreaKind, AreaRequest, Moved};
use rhumb_machine::{Counted, NodeId, PageSize, VirtAddr, impossible};
use rhumb_monitor::{Arguments, CommandError, Output};

use crate::cpu::lock::IrqMutex;
use crate::facts::Boot;
use crate::mm::{kernel_map, owners};

/// Areas that a person can hold.
const MOST: usize = 16;
/// Pages of one of them, at most: 1 GiB.
const MOST_PAGES: u64 = 1 << 18;

/// The areas that were taken by hand.
static TAKEN: IrqMutex<ArrayVec<Area, MOST>> = IrqMutex::new(ArrayVec::new_const());

/// `kmap move ADDRESS|all NODE`.
pub fn exchange(boot: &Boot, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let address = match arguments.peek() {
        Some("all") => arguments.one_of("address", &["all"]).map(|_| None)?,
        _ => Some(arguments.virt_addr("address")?),
    };
    let node = node(boot, &mut arguments)?;
    arguments.end()?;
    let mut sum = Moved::default();
    let result = match address {
        Some(address) => exchange_one(address, node, &mut sum),
        None => exchange_all(node, out, &mut sum),
    };
    // Pages that have moved are counted, although another area could not move.
    if result.is_err() && sum == Moved::default() {
        return result;
    }
    write!(out, "{} moved to node {node}", Counted(sum.moved, "page"));
    if sum.there > 0 {
        write!(out, "; {} there before", sum.there);
    }
    writeln!(out);
    result?;
    if sum.left > 0 {
        return Err(CommandError::failed(format_args!(
            "{} left where they are, because node {node} has no free block of their size",
            Counted(sum.left, "page")
        )));
    }
    Ok(())
}

fn exchange_one(address: VirtAddr, node: NodeId, sum: &mut Moved) -> Result<(), CommandError> {
    kernel_map::move_at(address, node).map(|moved| sum.add(moved)).map_err(CommandError::failed)
}

/// Moves every movable area. One that another CPU changes is left, and the others move still.
fn exchange_all(node: NodeId, out: &mut dyn Output, sum: &mut Moved) -> Result<(), CommandError> {
    let map = super::the_map()?;
    let mut result = Ok(());
    let walked = map.for_each_area(|area| {
        let mut flow = ControlFlow::Continue(());
        if area.kind == AreaKind::Memory && area.is_movable {
            match kernel_map::move_at(area.range.start(), node) {
                Ok(moved) => sum.add(moved),
                // Its holder has given it back meanwhile.
                Err(AreaError::NoArea(_)) => {}
                Err(error) => {
                    if error != AreaError::Busy {
                        flow = ControlFlow::Break(());
                    }
                    result = Err(CommandError::failed(error));
                }
            }
        }
        if out.interrupted() { ControlFlow::Break(()) } else { flow }
    });
    if out.interrupted() {
        return Err(CommandError::Interrupted);
    }
    result?;
    walked.map_err(CommandError::failed)
}

/// `kmap take PAGES [NODE]`.
pub fn take(boot: &Boot, mut arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    let pages = arguments.number_to("pages", MOST_PAGES)?;
    let node = arguments.optional(|words| node(boot, words))?;
    arguments.end()?;
    if TAKEN.lock().is_full() {
        return Err(CommandError::failed(format_args!("{MOST} areas are held by hand already")));
    }
    let near = node.map_or(Preference::Any, Preference::Bind);
    let request = AreaRequest::new(pages).near(near).movable();
    let area = kernel_map::alloc(owners::MONITOR, request).map_err(CommandError::failed)?;
    for page in 0..pages {
        // SAFETY: the area is this function's own, mapped and writable.
        unsafe { word_of(&area, page).write_volatile(!page) };
    }
    writeln!(out, "{} at {}", Counted(pages, "page"), area.start());
    if let Err(full) = TAKEN.lock().try_push(area) {
        impossible!("there was room, and one person types at a time");
        kernel_map::free(full.element());
    }
    Ok(())
}

/// `kmap give`.
pub fn give(arguments: Arguments<'_>, out: &mut dyn Output) -> Result<(), CommandError> {
    arguments.end()?;
    let (mut areas, mut wrong) = (0u64, 0);
    loop {
        let Some(area) = TAKEN.lock().pop() else { break };
        // SAFETY: the area is mapped, and nothing else writes it.
        let is_wrong = |&page: &u64| unsafe { word_of(&area, page).read_volatile() } != !page;
        wrong += (0..area.pages()).filter(is_wrong).count() as u64;
        areas += 1;
        kernel_map::free(area);
    }
    writeln!(out, "{} given back", Counted(areas, "area"));
    if wrong > 0 {
        return Err(CommandError::failed(format_args!("{} held other data", Counted(wrong, "page"))));
    }
    Ok(())
}

/// The first word of a page holds the inverse of its number.
fn word_of(area: &Area, page: u64) -> *mut u64 {
    area.start().plus(page * PageSize::Size4K.bytes()).as_mut_ptr()
}

fn node(boot: &Boot, arguments: &mut Arguments<'_>) -> Result<NodeId, rhumb_monitor::ArgumentError> {
    let last = boot.topology.domains.len().saturating_sub(1);
    let number = arguments.number_to("node", last as u64)?;
    Ok(NodeId::new(number as usize).unwrap_or(NodeId::FIRST))
}
