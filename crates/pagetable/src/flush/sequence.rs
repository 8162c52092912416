//! Which instructions drop what a scope names, by what the CPU has. A function of its arguments alone, so that it is
//! tested for CPUs that no emulator at hand plays.
//!
//! | scope | no PCID | PCID on |
//! |---|---|---|
//! | pages, reach current | `invlpg` each | `invlpg` each |
//! | pages, reach every | `invlpg` each | all |
//! | non-global | write CR3 | INVPCID 3, or toggle CR4.PGE |
//! | all | INVPCID 2, or toggle CR4.PGE, or write CR3 | INVPCID 2, or toggle CR4.PGE |
//!
//! `invlpg` and a write of CR3 drop nothing of other address spaces but global translations. Toggling CR4.PGE drops
//! everything of all of them. Without global pages turned on, a write of CR3 drops everything there is. Source: Intel
//! SDM volume 3, 5.10.4.1.

use rhumb_machine::{FlushReach, FlushScope};

use crate::flush::batch::FLUSH_PAGES_MAX;

/// Whether a feature is there and, where it has a bit in CR4, turned on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushFeatures {
    /// CR4.PCIDE is set.
    pub pcid_enabled: bool,
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
    /// INVPCID type 2: every address space, global translations included.
    InvpcidAll,
    /// INVPCID type 3: every address space, but no global translation.
    InvpcidNonGlobal,
    /// Clear CR4.PGE and set it again: drops everything.
    ToggleGlobal,
    /// Write CR3 with what it holds: the current address space, but no global translation.
    ReloadRoot,
}

/// The cheapest sequence that drops at least what `scope` names.
pub fn sequence(scope: FlushScope<'_>, features: FlushFeatures) -> Sequence {
    match scope {
        FlushScope::Pages { reach: FlushReach::Every, .. } if features.pcid_enabled => everything(features),
        FlushScope::Pages { runs, .. } => {
            let pages: u64 = runs.iter().map(|run| u64::from(run.pages())).sum();
            if pages > u64::from(FLUSH_PAGES_MAX) { everything(features) } else { Sequence::EachPage }
        }
        FlushScope::NonGlobal if !features.pcid_enabled => Sequence::ReloadRoot,
        FlushScope::NonGlobal if features.invpcid => Sequence::InvpcidNonGlobal,
        FlushScope::NonGlobal => Sequence::ToggleGlobal,
        FlushScope::All => everything(features),
    }
}

fn everything(features: FlushFeatures) -> Sequence {
    if features.invpcid {
        Sequence::InvpcidAll
    } else if features.global_enabled || features.pcid_enabled {
        // Every CPU with PCID has global pages, turned on or not: changing the bit either way drops everything.
        Sequence::ToggleGlobal
    } else {
        Sequence::ReloadRoot
    }
}
