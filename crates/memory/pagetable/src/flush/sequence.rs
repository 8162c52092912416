//! Which instructions drop what a scope names, by what the CPU has. A function of its arguments alone, so that it is
//! tested for CPUs that no emulator at hand plays.
//!
//! | scope | instructions |
//! |---|---|
//! | pages | `invlpg` each |
//! | non-global | write CR3 |
//! | all | INVPCID 2, or toggle CR4.PGE, or write CR3 |
//!
//! Toggling CR4.PGE drops everything. Without global pages turned on, a write of CR3 drops everything there is. Source:
//! Intel SDM volume 3, 5.10.4.1.
//!
//! Why CR4.PCIDE stays clear: there is one address space, so tags would save nothing; and with PCIDs enabled `invlpg`
//! may leave *global* translations on Alder Lake and Raptor Lake processors without a later microcode (Linux, commit
//! ce0b15d11ad8), which breaks every promise of a flush. INVPCID works with PCIDs disabled.

use rhumb_machine::FlushScope;

use crate::flush::batch::FLUSH_PAGES_MAX;

/// Whether a feature is there and, where it has a bit in CR4, turned on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushFeatures {
    /// CR4.PGE is set.
    pub global_enabled: bool,
    /// CPUID says INVPCID.
    pub invpcid: bool,
}

/// How to drop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequence {
    /// `invlpg` for each page of each run.
    EachPage,
    /// INVPCID type 2: drops everything.
    InvpcidAll,
    /// Clear CR4.PGE and set it again: drops everything.
    ToggleGlobal,
    /// Write CR3 with what it holds: drops all but global translations.
    ReloadRoot,
}

/// Returns the cheapest sequence that drops at least what `scope` names.
pub fn sequence(scope: FlushScope<'_>, features: FlushFeatures) -> Sequence {
    match scope {
        FlushScope::Pages { runs } => {
            let pages: u64 = runs.iter().map(|run| u64::from(run.pages())).sum();
            if pages > u64::from(FLUSH_PAGES_MAX) { everything(features) } else { Sequence::EachPage }
        }
        FlushScope::NonGlobal => Sequence::ReloadRoot,
        FlushScope::All => everything(features),
    }
}

fn everything(features: FlushFeatures) -> Sequence {
    if features.invpcid {
        Sequence::InvpcidAll
    } else if features.global_enabled {
        Sequence::ToggleGlobal
    } else {
        Sequence::ReloadRoot
    }
}
