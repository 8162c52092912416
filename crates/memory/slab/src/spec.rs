//! [`CacheSpec`]: the wish for a cache; and [`Name`]: its name.

use core::fmt;

use arrayvec::ArrayString;
use rhumb_frames::{AllocClass, Zone};

/// The description of a cache that is to be made.
#[derive(Clone, Copy)]
#[must_use]
pub struct CacheSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) class: AllocClass,
    pub(crate) ceiling: Zone,
}

impl<'a> CacheSpec<'a> {
    /// Describes a cache for objects of `size` bytes, at multiples of 8.
    pub const fn new(name: &'a str, size: usize) -> Self {
        Self { name, size, align: 8, class: AllocClass::Ordinary, ceiling: Zone::High }
    }

    /// Describes a cache for objects with the size and alignment of `T`.
    pub const fn of<T>(name: &'a str) -> Self {
        Self { align: align_of::<T>(), ..Self::new(name, size_of::<T>()) }
    }

    /// Puts objects at multiples of `align` bytes, at least 8.
    pub const fn align(self, align: usize) -> Self {
        Self { align, ..self }
    }

    /// Takes the cache's slabs with requests of this class: [`AllocClass::Atomic`] where interrupt handlers allocate.
    pub const fn class(self, class: AllocClass) -> Self {
        Self { class, ..self }
    }

    /// Takes the cache's slabs from this zone or those below.
    pub const fn ceiling(self, zone: Zone) -> Self {
        Self { ceiling: zone, ..self }
    }
}

/// The most bytes of a cache's name.
pub const NAME_BYTES: usize = 24;

/// A cache's name, cut to [`NAME_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(ArrayString<NAME_BYTES>);

impl Name {
    /// Makes a name of `name`, or of its beginning where it is too long.
    pub fn new(name: &str) -> Self {
        let mut short = ArrayString::new();
        for letter in name.chars() {
            if short.try_push(letter).is_err() {
                break;
            }
        }
        Self(short)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
