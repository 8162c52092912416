//! The parts of the kernel that own memory: one registry, from which all owners' numbers come.
//!
//! | asked by | an owner is |
//! |---|---|
//! | the frame allocator | the number in a frame's descriptor ([`Owner::in_frames`]): `frames FRAME` names it |
//! | the direct map | a number of the journal ([`Owner::in_map`]), for owners that change the map |
//! | the pool of unmapped frames | an account under the number in descriptors, for owners that have one |
//!
//! The kernel's own owners are listed here. Others have numbers from [`FIRST_FREE`] on and register before the direct
//! map is taken over ([`register`]). Frames that boot took before there was an allocator are named by the memory map
//! instead.

use core::fmt;

use rhumb_directmap::OwnerId;
use rhumb_machine::impossible;
use spin::Once;

use crate::cpu::once;

/// Owners that there can be, and one more: number 0 is for frames of no owner.
pub const MAX_OWNERS: usize = 16;

/// An owner, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(u16);

/// A description of an owner.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    pub name: &'static str,
    pub map: MapUse,
    pub pool: PoolUse,
}

/// The changes of the direct map that an owner may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapUse {
    /// None.
    Nothing,
    /// All but to executable.
    Changes,
    /// Also to executable, of frames that it holds.
    ChangesAndExecutes,
}

/// Whether an owner takes frames from the pool of unmapped frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolUse {
    Nothing,
    Account,
}

/// Object caches.
pub const OBJECTS: Owner = Owner(1);
/// Page tables and records that the direct map keeps for changes.
pub const DIRECT_MAP: Owner = Owner(2);
/// A person at the prompt.
pub const MONITOR: Owner = Owner(3);
/// `directmap age`.
pub const AGE: Owner = Owner(4);
/// The pool of unmapped frames, for all that have an account there: [`crate::mm::unmapped`].
pub const UNMAPPED_POOL: Owner = Owner(5);
/// Page tables, where they are protected: [`crate::mm::protect`].
pub const PAGE_TABLES: Owner = Owner(6);

/// Executable memory and the data beside it: [`crate::mm::code`].
pub const CODE: Owner = Owner(7);

/// Loadable modules: [`crate::modules`].
pub const MODULES: Owner = Owner(8);

/// Pageable memory: [`crate::mm::pageable`].
pub const PAGEABLE: Owner = Owner(9);

/// Kernel stacks: [`crate::mm::stacks`].
pub const STACKS: Owner = Owner(10);

/// Devices that boot has mapped: `boot::devices`.
pub const DEVICES: Owner = Owner(11);

/// The first number that the kernel does not use itself.
pub const FIRST_FREE: u16 = OWN.len() as u16 + 1;

/// The kernel's own owners, by number from 1 on.
const OWN: [Description; 11] = [
    Description { name: "object caches", map: MapUse::Nothing, pool: PoolUse::Nothing },
    Description { name: "direct map", map: MapUse::Nothing, pool: PoolUse::Nothing },
    Description { name: "monitor", map: MapUse::ChangesAndExecutes, pool: PoolUse::Account },
    Description { name: "age", map: MapUse::Changes, pool: PoolUse::Nothing },
    Description { name: "unmapped pool", map: MapUse::Changes, pool: PoolUse::Nothing },
    Description { name: "page tables", map: MapUse::Changes, pool: PoolUse::Nothing },
    Description { name: "code pool", map: MapUse::Changes, pool: PoolUse::Nothing },
    Description { name: "modules", map: MapUse::Nothing, pool: PoolUse::Nothing },
    Description { name: "pageable memory", map: MapUse::Nothing, pool: PoolUse::Nothing },
    Description { name: "kernel stacks", map: MapUse::Nothing, pool: PoolUse::Nothing },
    Description { name: "devices", map: MapUse::Nothing, pool: PoolUse::Nothing },
];

/// The descriptions of registered owners, by number.
static REGISTERED: [Once<Description>; MAX_OWNERS] = [const { Once::new() }; MAX_OWNERS];
/// Each owner's number in the direct map's journal, by the owner's own number.
static IN_MAP: [Once<OwnerId>; MAX_OWNERS] = [const { Once::new() }; MAX_OWNERS];

impl Owner {
    /// Returns the owner with this number, which is one of [`FIRST_FREE`] and those behind it.
    #[cfg_attr(
        not(feature = "lab"),
        expect(dead_code, reason = "only the laboratory has owners of its own so far")
    )]
    pub const fn numbered(number: u16) -> Self {
        assert!(
            number >= FIRST_FREE && (number as usize) < MAX_OWNERS,
            "a number of the kernel's own, or too high"
        );
        Self(number)
    }

    fn description(self) -> Option<&'static Description> {
        let number = self.0 as usize;
        match number.checked_sub(1) {
            Some(index) if index < OWN.len() => Some(&OWN[index]),
            Some(_) if number < MAX_OWNERS => REGISTERED[number].get(),
            _ => None,
        }
    }

    /// Returns its name; empty for an owner that has not registered.
    pub fn name(self) -> &'static str {
        self.description().map_or("", |description| description.name)
    }

    /// Returns its number in descriptors of frames, and in the pool.
    pub const fn in_frames(self) -> rhumb_frames::Owner {
        rhumb_frames::Owner(self.0)
    }

    /// Returns its number in the direct map's journal; `None` for an owner that changes nothing there, and before the
    /// map is taken over.
    pub fn in_map(self) -> Option<OwnerId> {
        IN_MAP.get(usize::from(self.0))?.get().copied()
    }

    /// Keeps its number in the direct map's journal. Once, when the map is taken over.
    pub(super) fn set_in_map(self, id: OwnerId) {
        match IN_MAP.get(usize::from(self.0)) {
            Some(place) => _ = once::fill(place, id),
            None => impossible!("owner {} is above the highest", self.0),
        }
    }

    /// Returns the owner with a number of the journal.
    pub(super) fn of_map(id: OwnerId) -> Option<Self> {
        all().find(|owner| owner.in_map() == Some(id))
    }

    /// Tells whether it changes the direct map.
    pub fn changes_map(self) -> bool {
        self.description().is_some_and(|description| description.map != MapUse::Nothing)
    }

    /// Tells whether it may make frames that it holds executable in the direct map.
    pub fn may_execute(self) -> bool {
        self.description().is_some_and(|description| description.map == MapUse::ChangesAndExecutes)
    }

    /// Tells whether it has an account with the pool of unmapped frames.
    pub fn has_account(self) -> bool {
        self.description().is_some_and(|description| description.pool == PoolUse::Account)
    }
}

/// Registers an owner that is not the kernel's own. Once for each, before the direct map is taken over.
#[cfg_attr(
    not(feature = "lab"),
    expect(dead_code, reason = "only the laboratory has owners of its own so far")
)]
pub fn register(owner: Owner, description: Description) {
    match REGISTERED.get(usize::from(owner.0)) {
        Some(place) => _ = once::fill(place, description),
        None => impossible!("`Owner::numbered` made owner {}", owner.0),
    }
}

/// Returns all owners, by number.
pub fn all() -> impl Iterator<Item = Owner> {
    (1..MAX_OWNERS as u16).map(Owner).filter(|owner| owner.description().is_some())
}

/// An owner by its name; by its number where no owner has it.
pub struct Name(pub rhumb_frames::Owner);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Owner(self.0.0).name() {
            "" => write!(f, "owner {}", self.0.0),
            name => f.write_str(name),
        }
    }
}
