//! Entries against the manual's tables, mapping against a plain model, audits against planted faults.

extern crate std;

mod audit;
mod edit;
mod entry;
mod list;
mod mapper;

use proptest::prelude::*;
use rhumb_machine::{Pfn, PhysAddr, PhysRange, VirtAddr, VirtRange};

use super::sim::{SimTables, SimTree};
use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The root of a tree.
const TABLES: Pfn = SimTree::ROOT;

impl SimTree {
    fn map(&mut self, mapping: &Mapping) -> Result<MapOutcome, MapError> {
        Mapper::new(self.root, &mut self.memory).map(mapping, &mut self.source)
    }

    fn unmap(&mut self, range: VirtRange, empty: EmptyTables) -> Result<PageCounts, MapError> {
        let unmapped = Mapper::new(self.root, &mut self.memory).unmap(range, empty)?;
        let pages = unmapped.pages;
        // SAFETY: no CPU walks tables in a hash map.
        unsafe { unmapped.tables.never_walked().release(&mut self.memory, &mut self.source) };
        Ok(pages)
    }
}

fn virt(value: u64) -> VirtAddr {
    VirtAddr::new(value)
}

fn phys(start: u64, bytes: u64) -> PhysRange {
    PhysRange::of_length(PhysAddr::new(start), bytes).unwrap()
}

fn virt_range(start: u64, bytes: u64) -> VirtRange {
    VirtRange::of_length(VirtAddr::new(start), bytes).unwrap()
}

fn accesses() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::ReadOnly), Just(Access::ReadWrite), Just(Access::ReadExecute)]
}

fn caches() -> impl Strategy<Value = CacheMode> {
    prop_oneof![
        Just(CacheMode::WriteBack),
        Just(CacheMode::WriteThrough),
        Just(CacheMode::Uncached),
        Just(CacheMode::UncachedStrong),
        Just(CacheMode::WriteCombining),
        Just(CacheMode::WriteProtected),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let privilege = prop_oneof![Just(Privilege::Supervisor), Just(Privilege::User)];
    let scope = prop_oneof![Just(Scope::Global), Just(Scope::AddressSpace)];
    let key = (0u8..16).prop_map(Key::new);
    (accesses(), caches(), privilege, scope, key).prop_map(|(access, cache, privilege, scope, key)| {
        Attributes { access, cache, privilege, scope, key }
    })
}

fn levels() -> impl Strategy<Value = Levels> {
    prop_oneof![Just(Levels::Four), Just(Levels::Five)]
}
