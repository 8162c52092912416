//! The facts about one frame, for reports: from the allocator, the direct map and the tables.

use core::fmt;

use rhumb_frames::{Description, Owner};
use rhumb_machine::{Counted, Machine, Order, Pfn};
use rhumb_monitor::Human;

use super::frames::frames;
use super::owners::Name;
use super::{direct_map, tables};
use crate::cpu::machine::MACHINE;

/// Returns the facts about a frame, in a few lines; `None` of one that the allocator does not manage.
pub fn known(pfn: Pfn) -> Option<Known> {
    Some(Known(pfn, frames()?.describe(pfn)?))
}

/// A frame and what is known of it.
pub struct Known(Pfn, Description);

impl Known {
    /// Tells whether its owner is known.
    pub fn is_owned(&self) -> bool {
        self.1.owner != Owner::NONE
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pfn, known) = self;
        writeln!(f, "frame {pfn}: physical {} to {}", pfn.addr(), pfn.plus(1).addr())?;
        let (at, why) = (MACHINE.direct(pfn.addr()), direct_map::with(|map| map.why(*pfn)).ok());
        // The map's books name the page that it would be in, too: the tables say whether it is.
        match (tables::walk(at).phys(), why.as_ref().and_then(|why| why.page)) {
            (None, _) => writeln!(f, "  not in the direct map")?,
            (Some(_), Some(page)) => writeln!(f, "  direct map {at}, in a page of {page}")?,
            (Some(_), None) => writeln!(f, "  direct map {at}")?,
        }
        if let Some(held) = why.and_then(|why| why.held) {
            writeln!(f, "  changed there: {held}")?;
        }
        writeln!(f, "  node {}, zone {}, in a 2-MiB block of kind {}", known.node, known.zone, known.kind)?;
        writeln!(f, "  {}", Place(known.place))?;
        if let Some((start, order)) = known.block {
            let bytes = Human(order.bytes());
            writeln!(f, "  part of a block of order {order} ({bytes}) from frame {start}")?;
        }
        if self.is_owned() {
            writeln!(f, "  held by {}, page type {}", Name(known.owner), known.page_type)?;
            writeln!(f, "  private word {:#x}", known.private)?;
        }
        let history = known.history;
        if history.allocations == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "  allocated {}, last by CPU {}; last freed by CPU {}",
            Counted(history.allocations, "time"),
            history.allocated_by,
            history.freed_by
        )
    }
}

/// Where a frame is, in words.
struct Place(rhumb_frames::Place);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rhumb_frames::Place::{Cached, Free, InUse, InUseLarge};
        match self.0 {
            // The allocator looks at a block of 2 MiB and no further.
            Free(order) if order == Order::LARGE => f.write_str("free, like all of its 2-MiB block"),
            Free(order) => write!(f, "free, in a run of order {order} ({})", Human(order.bytes())),
            Cached(cpu) => write!(f, "free, in the cache of CPU {cpu}"),
            InUse => f.write_str("in use"),
            InUseLarge(order) => write!(f, "in use, in a block of order {order} ({})", Human(order.bytes())),
        }
    }
}
