//! The changes of the direct map that frames may not have.
//!
//! *Executable in the direct map is what a declared owner holds so* ([`Owner::may_execute`]), and nothing by default:
//! code runs elsewhere. Frames that are executable are read-only and inside their holder's `direct_map::Changed`, so
//! no code can show them anywhere else, through a window, say, until they are ordinary again (I4). `maps audit` holds
//! each executable page against the holds.
//!
//! *Boot's memory stays as it is*: the kernel image, its tables, stacks, areas, the frame allocator's own
//! memory, the trampoline. The image and the trampoline are executable elsewhere, so they may not become writable here
//! either (I4). Frames allocated since need no list: a change takes the handle of its frames, and there is one handle
//! only.

use arrayvec::ArrayVec;
use rhumb_bootinfo::Reservation;
use rhumb_bootinfo::memory_map::MAX_RESERVATIONS;
use rhumb_bpf::{Context, Field};
use rhumb_directmap::{Cause, Forbidden, OffLimits, OwnerId, Rule, Rules, State};
use rhumb_machine::{Block, PfnRange, PhysRange};
use rhumb_pagetable::Access;
use spin::Once;

use crate::cpu::reasons;
use crate::cpu::trace::{self, Event};
use crate::facts::Boot;
use crate::mm::frames::boot_data;
use crate::mm::owners::{self, Owner};
use crate::mm::protection;

static LIST: Once<ArrayVec<(PhysRange, Rule), MAX_RESERVATIONS>> = Once::new();

/// The kernel's rules.
#[derive(Clone, Copy, Debug)]
pub struct KernelRules(OffLimits<'static>);

impl KernelRules {
    /// Returns the rules with the list of reservations in the memory map.
    pub fn of(boot: &'static Boot) -> Self {
        let list = LIST.call_once(|| {
            let map = boot.memory.lock();
            let kept = map.reservations().iter().filter(|taken| boot_data(taken).is_none());
            kept.map(|taken| (taken.range, rule_of(taken.why))).collect()
        });
        Self(OffLimits(list))
    }
}

impl Rules for KernelRules {
    fn check(&self, id: OwnerId, frames: PfnRange, wanted: State) -> Result<(), Forbidden> {
        let owner = Owner::of_map(id);
        match self.0.check(id, frames, wanted) {
            // A change that protects them is allowed.
            Err(Forbidden { rule: Rule::PageTables, .. })
                if owner == Some(owners::PAGE_TABLES) && protection::state() == Some(wanted) => {}
            other => other?,
        }
        if wanted.access == Access::ReadExecute && !owner.is_some_and(Owner::may_execute) {
            return Err(Forbidden { frames, rule: Rule::ExecutableHere });
        }
        Ok(())
    }

    fn note_split(&self, block: Block, cause: impl FnOnce() -> Option<Cause>) {
        trace::tell(Event::Split, || {
            let cause = cause();
            let owner = cause.and_then(|cause| Owner::of_map(cause.owner()));
            page_context(block)
                .with(Field::Owner, owner.map_or(0, |owner| owner.in_frames().0.into()))
                .with(Field::Reason, cause.map_or(0, |cause| reasons::number_of(cause.reason)))
        });
    }

    fn note_merge(&self, block: Block) {
        trace::tell(Event::Merge, || page_context(block));
    }
}

/// Returns what is told of a large page.
fn page_context(block: Block) -> Context {
    let frames = block.frames();
    Context::EMPTY.with(Field::Address, frames.start().get()).with(Field::Size, frames.frames())
}

const fn rule_of(why: Reservation) -> Rule {
    match why {
        Reservation::KernelImage => Rule::KernelImage,
        Reservation::PageTables => Rule::PageTables,
        Reservation::Trampoline => Rule::ExecutableElsewhere,
        _ => Rule::Reserved,
    }
}
