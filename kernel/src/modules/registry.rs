//! The places of modules: which are there, in what state, with how many users.
//!
//! ```text
//!  free ──> loading ──> live ──> going ──> free        loading ──> free, where an error ends it
//! ```
//!
//! Only a live module gets users; only one without users goes. Both are decided under one lock, which is a leaf, held for a
//! look at [`MAX_MODULES`] places.

use arrayvec::{ArrayString, ArrayVec};
use rhumb_machine::{VirtAddr, VirtRange, impossible};
use rhumb_module_abi::types::Header;
use rhumb_modules::Part;
use rhumb_symbols::SymbolTable;

use super::error::{MAX_MODULES, ModuleError};
use super::header::Checked;
use super::parts::Parts;
use crate::cpu::lock::IrqMutex;
use crate::layout;
use crate::mm::owners::{self, Owner};

/// The longest name of a module.
const NAME_BYTES: usize = 32;

/// The name of a module.
pub type ModuleName = ArrayString<NAME_BYTES>;

/// The state of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    Loading,
    Live,
    Going,
}

/// A module as reports show it.
#[derive(Clone, Copy)]
pub struct Info {
    pub name: ModuleName,
    pub state: State,
    /// Commands and ticks that run.
    pub users: u32,
    /// Uses that the module itself has counted.
    pub holds: u32,
    /// On whose behalf it was loaded.
    pub owner: Owner,
    /// The bytes of each part.
    pub bytes: [u64; 3],
    /// The addresses of its code.
    pub code: VirtRange,
    /// The names of its functions, counted from the start of its code.
    pub symbols: Option<SymbolTable<'static>>,
}

/// A place.
struct Place {
    info: Info,
    /// Where its header lies; zero until it has one.
    header: VirtAddr,
    /// Its memory, while it is live.
    parts: Option<Parts>,
    /// When its tick is due; `None` where it has none, or is not live.
    due_ns: Option<u64>,
}

impl Place {
    const FREE: Self = Self {
        info: Info {
            name: ArrayString::new_const(),
            state: State::Free,
            users: 0,
            holds: 0,
            owner: owners::MODULES,
            bytes: [0; 3],
            code: layout::range(VirtAddr::ZERO, 0),
            symbols: None,
        },
        header: VirtAddr::ZERO,
        parts: None,
        due_ns: None,
    };
}

static PLACES: IrqMutex<[Place; MAX_MODULES]> = IrqMutex::new([const { Place::FREE }; MAX_MODULES]);

/// A place for a module that is being loaded. Dropping gives it back.
pub(super) struct Claim(usize);

impl Claim {
    /// Claims a place for a module of this name.
    pub(super) fn new(name: &str) -> Result<Self, ModuleError> {
        let name = ModuleName::from(name).map_err(|_| ModuleError::LongName)?;
        let mut places = PLACES.lock();
        if places.iter().any(|place| place.info.state != State::Free && place.info.name == name) {
            return Err(ModuleError::Loaded);
        }
        let index = places.iter().position(|place| place.info.state == State::Free);
        let index = index.ok_or(ModuleError::Full)?;
        places[index].info.state = State::Loading;
        places[index].info.name = name;
        Ok(Self(index))
    }

    /// Notes all of the module, which is still being loaded.
    pub(super) fn fill(
        self,
        parts: Parts,
        header: Checked,
        symbols: Option<SymbolTable<'static>>,
        owner: Owner,
        bytes: [u64; 3],
    ) -> Exclusive {
        let place = &mut PLACES.lock()[self.0];
        let info = Info { owner, bytes, code: parts.range(Part::Code), symbols, ..place.info };
        place.info = info;
        place.header = VirtAddr::from(header.address().cast::<u8>());
        Exclusive { parts, header, claim: self }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        PLACES.lock()[self.0] = Place::FREE;
    }
}

/// A module that this code alone uses: while it is loaded, or unloaded.
pub(super) struct Exclusive {
    // In this order: first the memory goes, then the place.
    parts: Parts,
    header: Checked,
    claim: Claim,
}

impl Exclusive {
    pub(super) fn header(&self) -> &Checked {
        &self.header
    }

    /// Lets the module be used.
    pub(super) fn go_live(self) {
        let Self { parts, header, claim } = self;
        let place = &mut PLACES.lock()[claim.0];
        place.parts = Some(parts);
        // The first one is due at once.
        place.due_ns = header.tick().map(|_| 0);
        place.info.state = State::Live;
        // The place is the live module's from here on.
        core::mem::forget(claim);
    }

    /// Gives memory and place back.
    pub(super) fn unload(self) {
        drop(self);
    }
}

/// Takes a live module without users out of use.
pub(super) fn retire(name: &str) -> Result<Exclusive, ModuleError> {
    let mut places = PLACES.lock();
    let named = |place: &Place| place.info.state != State::Free && place.info.name.as_str() == name;
    let index = places.iter().position(named).ok_or(ModuleError::NotLoaded)?;
    let place = &mut places[index];
    match (place.info.state, place.info.users.saturating_add(place.info.holds)) {
        (State::Live, 0) => {}
        (State::Live, users) => return Err(ModuleError::InUse { users }),
        _ => return Err(ModuleError::Busy),
    }
    let Some(parts) = place.parts.take() else {
        return impossible!("a live module has parts" => Err(ModuleError::Busy));
    };
    place.info.state = State::Going;
    // SAFETY: the header was checked when the module was loaded, and its parts are held here.
    let header = unsafe { Checked::assume(place.header) };
    Ok(Exclusive { parts, header, claim: Claim(index) })
}

/// A use of a live module: it stays loaded meanwhile.
pub(super) struct Use {
    index: usize,
    header: Checked,
}

impl Use {
    pub(super) fn header(&self) -> &Checked {
        &self.header
    }

    /// Returns a use of the module at a place, if it is live.
    pub(super) fn of(index: usize) -> Option<Self> {
        let place = &mut PLACES.lock()[index];
        if place.info.state != State::Live {
            return None;
        }
        place.info.users += 1;
        // SAFETY: the header was checked when the module was loaded; the module is live, and stays so while it has a user.
        Some(Self { index, header: unsafe { Checked::assume(place.header) } })
    }

    /// Returns a use of the module at a place whose tick is due, and sets the time of the next one.
    pub(super) fn of_due(index: usize, now_ns: u64) -> Option<Self> {
        let user = Self::of(index)?;
        let (_, every_ns) = user.header.tick()?;
        let due_ns = &mut PLACES.lock()[index].due_ns;
        due_ns.filter(|&due_ns| due_ns <= now_ns)?;
        *due_ns = Some(now_ns.saturating_add(every_ns));
        Some(user)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let users = &mut PLACES.lock()[self.index].info.users;
        match users.checked_sub(1) {
            Some(left) => *users = left,
            None => impossible!("a use was counted"),
        }
    }
}

/// Counts a use of the module with this header, at its own wish; tells whether it may be used.
pub(super) fn hold(header: *const Header) -> bool {
    let mut places = PLACES.lock();
    let is_its = |place: &&mut Place| place.info.state != State::Free && place.header == address_of(header);
    match places.iter_mut().find(is_its) {
        Some(place) if matches!(place.info.state, State::Live | State::Loading) => {
            let more = place.info.holds.checked_add(1);
            place.info.holds = more.unwrap_or(u32::MAX);
            more.is_some()
        }
        _ => false,
    }
}

/// Counts a use less of those that the module has counted, and none of those that the kernel has; tells whether there was
/// one.
pub(super) fn release_hold(header: *const Header) -> bool {
    let mut places = PLACES.lock();
    let is_its = |place: &&mut Place| place.info.state != State::Free && place.header == address_of(header);
    let holds = places.iter_mut().find(is_its).map(|place| &mut place.info.holds);
    match holds {
        Some(holds) if *holds > 0 => {
            *holds -= 1;
            true
        }
        _ => false,
    }
}

fn address_of(header: *const Header) -> VirtAddr {
    VirtAddr::from(header.cast::<u8>())
}

/// Returns when the first tick of a live module is due.
pub(super) fn first_due_ns() -> Option<u64> {
    let places = PLACES.lock();
    places.iter().filter(|place| place.info.state == State::Live).filter_map(|place| place.due_ns).min()
}

/// Returns all modules.
pub fn list() -> ArrayVec<Info, MAX_MODULES> {
    let places = PLACES.lock();
    places.iter().map(|place| place.info).filter(|info| info.state != State::Free).collect()
}

/// Gives `look` each module, where the list can be had without waiting.
pub(super) fn try_each<T>(look: impl FnMut(&Info) -> Option<T>) -> Option<T> {
    let places = PLACES.try_lock()?;
    places.iter().map(|place| &place.info).filter(|info| info.state != State::Free).find_map(look)
}
