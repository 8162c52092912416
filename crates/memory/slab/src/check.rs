//! Which caches are checked, and for what: `slab_debug=`, in Linux's letters.
//!
//! ```text
//!   F  each free: an object, of this cache, and not free       Z  red zones around the object
//!   P  poison: free objects are filled, and checked when taken  U  users: the call sites of allocation and free
//!   Q  quarantine: freed objects are used again late            -  nothing
//! ```
//! A checked cache has magazines of no rounds: each of its operations takes the slow path, so that the common path of
//! all others has no branch for it. The data of checks lies beside the object in its slot (see `checked.rs`).

use core::fmt;

use arrayvec::ArrayString;
use rhumb_machine::CpuId;

use crate::magazine::Magazine;
use crate::shape::Margins;

/// Checks of one cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checks(u8);

impl Checks {
    /// None.
    pub const OFF: Self = Self(0);
    /// `F`: sanity of frees.
    pub const SANITY: Self = Self(1);
    /// `Z`: red zones.
    pub const RED_ZONES: Self = Self(1 << 1 | 1);
    /// `P`: poison.
    pub const POISON: Self = Self(1 << 2 | 1);
    /// `U`: users.
    pub const USERS: Self = Self(1 << 3 | 1);
    /// `Q`: quarantine.
    pub const QUARANTINE: Self = Self(1 << 4 | 1);
    /// The checks of a list without letters: all but the quarantine.
    pub const USUAL: Self = Self(0b1111);
    /// All.
    pub const ALL: Self = Self(0b11111);

    /// Returns these checks and those of `more`.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Tells whether all of `other` are among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Tells whether there are none.
    pub const fn is_off(self) -> bool {
        self.0 == 0
    }

    fn of_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'F' | b'f' => Self::SANITY,
            b'Z' | b'z' => Self::RED_ZONES,
            b'P' | b'p' => Self::POISON,
            b'U' | b'u' => Self::USERS,
            b'Q' | b'q' => Self::QUARANTINE,
            b'-' => Self::OFF,
            _ => return None,
        })
    }

    fn of_letters(letters: &str) -> Result<Self, CheckListError> {
        if letters.is_empty() {
            return Ok(Self::USUAL);
        }
        letters.bytes().try_fold(Self::OFF, |sum, letter| {
            Self::of_letter(letter).map(|check| sum.with(check)).ok_or(CheckListError::NoSuchLetter(letter))
        })
    }

    /// Returns the room that these need around an object.
    pub(crate) const fn margins(self) -> Margins {
        if self.is_off() {
            return Margins { lead: 0, tail: 0 };
        }
        let zone = if self.has(Self::RED_ZONES) { RED_ZONE_BYTES } else { 0 };
        let users = if self.has(Self::USERS) { 2 * size_of::<Track>() as u32 } else { 0 };
        // Seven bytes to reach a multiple of eight, and the state.
        Margins { lead: zone, tail: zone + 7 + 8 + users }
    }
}

/// Bytes of a red zone, at least.
pub(crate) const RED_ZONE_BYTES: u32 = 16;

/// The longest text of a list.
const LIST_BYTES: usize = 192;

/// Which caches are checked, as the kernel's command line says it: `FZPU,kmalloc-64,task*;P,inode`.
#[derive(Clone, Copy, Debug)]
pub struct CheckList(ArrayString<LIST_BYTES>, Origin);

/// Whether there is a list at all.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Off,
    Listed,
}

/// The fault in the text of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckListError {
    /// A letter that means no check.
    NoSuchLetter(u8),
    /// More bytes than can be kept.
    TooLong(usize),
}

impl fmt::Display for CheckListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchLetter(letter) => {
                write!(f, "slab_debug: no check is called {:?}", char::from(letter))
            }
            Self::TooLong(bytes) => write!(f, "slab_debug: {bytes} bytes, more than {LIST_BYTES}"),
        }
    }
}

impl core::error::Error for CheckListError {}

impl CheckList {
    /// No cache is checked.
    pub const NONE: Self = Self(ArrayString::new_const(), Origin::Off);

    /// Reads the value of `slab_debug=`: blocks of `letters[,name[,name...]]`, separated by `;`. A name may end in `*`;
    /// a block without names is for every cache; no letters stand for `FZPU`. The last block that fits a cache counts.
    ///
    /// # Errors
    /// An unknown letter, or a text that is too long.
    pub fn parse(text: &str) -> Result<Self, CheckListError> {
        for block in text.split(';') {
            Checks::of_letters(block.split(',').next().unwrap_or_default())?;
        }
        let kept = ArrayString::from(text).map_err(|_| CheckListError::TooLong(text.len()))?;
        Ok(Self(kept, Origin::Listed))
    }

    /// Returns the names in the list, as they are given: of caches, or first parts of them with a `*` behind.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let named = self.0.split(';').filter_map(|block| block.split_once(','));
        named.flat_map(|(_, names)| names.split(','))
    }

    /// Tells whether `pattern`, one of [`CheckList::names`], names the cache `name`.
    pub fn fits(pattern: &str, name: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        }
    }

    /// Returns the checks of the cache with this name.
    pub fn of(&self, name: &str) -> Checks {
        if matches!(self.1, Origin::Off) {
            return Checks::OFF;
        }
        let fits = |pattern: &str| Self::fits(pattern, name);
        let mut block = self.0.split(';').filter_map(|block| {
            let (letters, names) = block.split_once(',').unwrap_or((block, "*"));
            names.split(',').any(fits).then(|| Checks::of_letters(letters).unwrap_or_default())
        });
        block.next_back().unwrap_or_default()
    }
}

/// Return addresses, innermost first, as the caller's hook finds them; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallSite(pub [usize; Self::DEPTH]);

impl CallSite {
    /// Return addresses in a call site.
    pub const DEPTH: usize = 8;
    /// No address is known.
    pub const UNKNOWN: Self = Self([0; Self::DEPTH]);
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0[0] == 0 {
            return f.write_str("unknown");
        }
        for (index, address) in self.0.iter().take_while(|&&address| address != 0).enumerate() {
            let separator = if index == 0 { "" } else { " < " };
            write!(f, "{separator}{address:#x}")?;
        }
        Ok(())
    }
}

/// The caller that did something with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Track {
    /// Where.
    pub site: CallSite,
    /// On which CPU.
    pub cpu: CpuId,
    /// When, in nanoseconds since boot.
    pub at_ns: u64,
}

impl Track {
    pub(crate) const NONE: Self = Self { site: CallSite::UNKNOWN, cpu: CpuId::BOOT, at_ns: 0 };
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, us) = (self.cpu, self.at_ns / 1000);
        write!(f, "by CPU {cpu} at {us} us, from {}", self.site)
    }
}

/// Objects that were freed and are used again late: a ring, the oldest leaving first.
#[derive(Default)]
pub(crate) struct Quarantine {
    pub(crate) ring: Option<Magazine>,
    pub(crate) oldest: u32,
    pub(crate) count: u32,
}

impl Quarantine {
    /// The most objects that it holds.
    pub(crate) const MOST: u32 = 126;

    /// Takes `object` in, and returns the object that leaves for it: `object` itself where there is no ring.
    pub(crate) fn exchange(&mut self, object: core::ptr::NonNull<u8>) -> Option<core::ptr::NonNull<u8>> {
        let leaving = if self.count == Self::MOST { self.pop() } else { None };
        let Some(ring) = &mut self.ring else { return Some(object) };
        ring.set_round((self.oldest + self.count) % Self::MOST, object);
        self.count += 1;
        leaving
    }

    /// Takes the oldest object.
    pub(crate) fn pop(&mut self) -> Option<core::ptr::NonNull<u8>> {
        let ring = self.ring.as_ref().filter(|_| self.count > 0)?;
        let object = ring.round(self.oldest);
        self.oldest = (self.oldest + 1) % Self::MOST;
        self.count -= 1;
        Some(object)
    }
}
